"""What happens in a `power` episode, drawn for a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...acting.frames import GREEN, RED, Film

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scene(film: Film, axes: Axes) -> tuple[str, np.ndarray]:
    """Who disturbs whom, in dB over the noise; the dot of a transmitter grows with its power."""
    env = film.simulator
    gains = 10.0 * np.log10(np.maximum(env.links[0].cpu().numpy(), 1e-3))
    axes.imshow(gains, cmap="Greys", aspect="auto", vmin=-10.0, vmax=50.0)
    power = film.choices[-1] if film.choices else np.zeros(len(gains))
    served = film.delivered[-1] > 0 if film.delivered else power > 0
    axes.scatter(range(len(gains)), range(len(gains)), s=4 + 60 * power, c=np.where(served, GREEN, RED))
    axes.set(xlabel="transmitter", ylabel="receiver")
    axes.set_title("gain (dark: strong); dots: amplitude, green where bits arrive", fontsize=9)
    return "backlog in slots of arrivals", (env.backlog / env.need)[0].cpu().numpy()

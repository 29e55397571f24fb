"""What happens in an `offload` episode, drawn for a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...acting.frames import Film

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scene(film: Film, axes: Axes) -> tuple[str, np.ndarray]:
    """Devices over slots by the server of their task; and the work that waits at each edge."""
    film.show_choices(axes, cmap="tab10", vmin=0, vmax=9)
    work = film.simulator.queues()[1][:, 0]
    waits = ", ".join(f"edge {k + 1}: {each:.1f}" for k, each in enumerate(work.sum(-1).cpu().numpy()))
    axes.set(ylabel="device", xlabel="slot")
    axes.set_title(f"server chosen (colour; blue: local). Gcycle that wait: {waits}", fontsize=9)
    return "Gcycle in edges and on the way", work.sum(0).cpu().numpy()

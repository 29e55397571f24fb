"""What happens in a `handover` episode, drawn for a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...acting.frames import Film
from .picture import draw_place, draw_users

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scene(film: Film, axes: Axes) -> tuple[str, np.ndarray]:
    """The streets, the stations, and the users in the colours of the stations that serve them."""
    env = film.simulator
    draw_place(axes, env.places[0])
    draw_users(axes, env.where[len(film.choices) + 1, 0].cpu().numpy(), env.serving[0].cpu().numpy())
    axes.set_title("level of the best station (dark: strong); users in the colours of their stations", fontsize=9)
    return film.last_delivered()

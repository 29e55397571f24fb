"""A site as a picture: the gain of the best station on the streets, the stations, and users with what serves them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import MissingPackageError
from ...family import Family, Variant
from ...rollout import Slot, play
from ...seeds import DEV_SEEDS
from .layout import METRES, View
from .maps import districts
from .site import Site, draw_site
from .variant import HandoverVariant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "tab20"  # of the stations
WEAKEST, BEST = -10.0, 50.0  # dB over the noise that the greys span


def draw_place(axes: Axes, place: Site) -> Any:
    """Draw streets by the level of the station that is strongest there, and the stations; returns what a colour bar needs."""
    xy = districts()[place.district].positions @ place.turn.T
    level = axes.scatter(xy[:, 0], xy[:, 1], c=place.level.max(1), s=4, marker="s", cmap="Greys", vmin=WEAKEST, vmax=BEST)
    stations = np.arange(len(place.stations))
    axes.scatter(
        place.stations[:, 0],
        place.stations[:, 1],
        c=stations,
        s=90,
        marker="^",
        cmap=COLOURS,
        vmin=0,
        vmax=19,
        edgecolors="k",
        zorder=3,
    )
    for k, (x, y, _) in enumerate(place.stations):
        axes.annotate(str(k + 1), (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.set(aspect="equal", xlabel="m", ylabel="m")
    return level


def draw_users(axes: Axes, where: np.ndarray, serving: np.ndarray, size: float = 30.0) -> None:
    """Draw positions [..., 2] in m in the colours of the stations that serve there [...]."""
    places = where.reshape(-1, 2)
    axes.scatter(
        places[:, 0],
        places[:, 1],
        c=serving.ravel(),
        s=size,
        cmap=COLOURS,
        vmin=0,
        vmax=19,
        edgecolors="w",
        linewidths=0.4,
        zorder=4,
    )


def draw_way(axes: Axes, where: np.ndarray, serving: np.ndarray) -> None:
    """Draw the way of one user, positions [T, 2] in the colours of what served it [T], with a ring at every handover."""
    draw_users(axes, where, serving, size=22.0)
    moved = np.flatnonzero(np.diff(serving)) + 1
    axes.scatter(where[moved, 0], where[moved, 1], s=110, facecolors="none", edgecolors="tab:red", linewidths=1.5, zorder=5)


def save_picture(family: Family, variant: Variant, site: int, path: Path) -> None:
    """Write a picture of a site, with the way of the user that makes most handovers when `oracle` plays an episode there.

    Raises:
        MissingPackageError: matplotlib is not there.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError('pictures need matplotlib. Try: pip install "wbench[docs]"') from error
    assert isinstance(variant, HandoverVariant)
    slots: list[Slot] = []
    play(family, variant, family.policies["oracle"](), [site], [DEV_SEEDS], record=slots.append)
    views = [View(slot.next_obs[0]) for slot in slots]
    where = np.stack([view.position.numpy() * METRES for view in views])  # [T, N, 2]
    serving = np.stack([view.serving.argmax(-1).numpy() for view in views])
    user = int((np.diff(serving, axis=0) != 0).sum(0).argmax())
    place = draw_site(variant, site)
    figure = Figure((7.0, 6.0), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    figure.colorbar(draw_place(axes, place), label="level of the best station, dB over the noise")
    draw_way(axes, where[:, user], serving[:, user])
    axes.set_title(
        f"{districts()[place.district].city}: a user's way in the colours of its stations, rings: handovers", fontsize=9
    )
    figure.savefig(path)

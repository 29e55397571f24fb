"""Where each quantity stands in a `handover` observation, for the environment that writes it and the policies that read it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import PHASE, Named
from ..permutation import renumber_choices

MAX_STATIONS = 12  # observations and actions of fewer stations are padded to this
LOWEST, DB_SCALE = -10.0, 40.0  # dB over the noise: levels are shown as (level - LOWEST) / DB_SCALE
METRES = 150.0  # a position of 1 is the edge of the district
LOOKS = (4, 8, 16, 24)  # slots ahead that a user knows its own route
FASTEST = 14.0  # m/s, shown as 1

LAYOUT = {  # floats of each part, and what they are
    "free": (1, "whether a handover may be asked for"),
    "wait": (3, "interrupted; slots until the link is there again / 8; until the next handover is allowed / 8"),
    "level": (
        MAX_STATIONS,
        "measured level of the serving and of the reported stations, one slot old; 0: not reported",
    ),
    "reported": (MAX_STATIONS, "whether the station is a reported neighbour"),
    "serving": (MAX_STATIONS, "serving station, one-hot"),
    "load": (2, "of the serving station in the last slot: users / N, share of its airtime in use"),
    "rate": (2, "own rate of the last slot as a share of the need; log2(1 + SINR) / 8"),
    "moved": (1, "whether a handover was made in the last slot"),
    "failed": (1, "whether the link failed in the last slot"),
    "position": (2, "own position / 150 m"),
    "heading": (3, "direction of travel, and speed / 14 m/s"),
    "route": (2 * len(LOOKS), f"own way in {', '.join(map(str, LOOKS))} slots by the planned route / 50 m"),
    "phase": PHASE,
    "index": (1, "own index / N"),
}
ROUTE_SCALE = 50.0


class View(Named, layout=LAYOUT):
    """Named views into observations [..., O]."""


def permute_stations(windows: dict[str, Tensor], generator: torch.Generator) -> None:
    """Give the stations random numbers among MAX_STATIONS, the same for all users and all windows, so that a site stays one.

    Which number a station has means nothing; a network trained on six and eight stations has then met every number.
    """
    order = torch.randperm(MAX_STATIONS, generator=generator)  # new station k is old station order[k]
    view = View(windows["obs"])
    renumber_choices(windows, order)
    for stations in (view.level, view.reported, view.serving):
        stations[:] = stations[..., order]

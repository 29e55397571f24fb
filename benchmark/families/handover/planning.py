"""What is thought of a site, and what a user makes of it: levels along its way, room at the stations, value of each choice.

The marginal value of one more user at a station is the chance that there is room for its need: a full station gives the new
user what it takes from the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...physics.interference import SINR_CAP, rate
from .env import FAILURE
from .layout import METRES
from .maps import CELL, CELLS, districts, traffic
from .site import SILENT, TARIFF_MEAN, TENANT_ACTIVE, TENANT_DUTY, TENANT_SHARE, Site, same_carrier, stacked
from .variant import BAND, HandoverVariant

LOAD = 0.4  # share of its airtime that a station is thought to use
FAILS = 2.0  # dB around the failure level within which it is uncertain
POINTS = (1, 3, 5, 7, 10, 14, 18, 22)  # slots ahead at which a choice is valued
WEIGHTS = (2.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0)  # slots that each stands for
LATER = 4  # points up to which a user may wait with a handover
ROUNDS, TEMPERATURE = 20, 0.15  # of the common forecast of who is where


@dataclass(frozen=True)
class Knowledge:
    """What is thought of P sites. Cells are those of the square that users are in, row by row.

    Attributes:
        level: mean level of each station over the noise in each cell, dB, [P, G, S].
        sure: how far each of these is known, 0 to 1, [P, G, S].
        street: weight of each cell in where users are, [P, G].
        backhaul: Mbit/s, [P, S].
        available: expected part of the airtime that other tenants leave, [P, S, L].
        tariff: expected part of PRICE that a handover into a station costs, [P, S, L].
    """

    level: Tensor
    sure: Tensor
    street: Tensor
    backhaul: Tensor
    available: Tensor
    tariff: Tensor


def average(variant: HandoverVariant, device: torch.device | str = "cpu") -> Knowledge:
    """What sites of a variant are like on average: no map, all stations alike. One site (P = 1)."""
    s, cells = variant.stations, CELLS * CELLS
    nothing = torch.zeros(1, cells, s, device=device)
    taken = math.prod(sum(bounds) / 2.0 for bounds in (TENANT_SHARE, TENANT_DUTY, TENANT_ACTIVE))
    return Knowledge(
        level=nothing,
        sure=nothing,
        street=nothing[..., 0],
        backhaul=torch.full((1, s), variant.capacity / s, device=device),
        available=torch.full((1, s, variant.period), 1.0 - taken, device=device),
        tariff=torch.full((1, s, variant.period), TARIFF_MEAN, device=device),
    )


def told(places: list[Site], device: torch.device | str = "cpu") -> Knowledge:
    """Sites as they are."""
    grids, streets = [], []
    for place in places:
        xy = districts()[place.district].positions @ place.turn.T
        at = cell_of(torch.from_numpy(xy))
        grid = torch.full((CELLS * CELLS, place.level.shape[1]), SILENT)
        grid[at] = torch.from_numpy(place.level)
        grids.append(grid)
        streets.append(torch.zeros(CELLS * CELLS).index_add_(0, at, torch.from_numpy(traffic(place.district))))
    share, active = stacked(places, "share", device), stacked(places, "active", device)
    street = torch.stack(streets).to(device)
    level = torch.stack(grids).to(device)
    sure = (street > 0).float().unsqueeze(-1).expand_as(level).contiguous()
    left = 1.0 - share * active.unsqueeze(-1)
    return Knowledge(level, sure, street, stacked(places, "backhaul", device), left, stacked(places, "tariff", device))


def cell_of(where: Tensor) -> Tensor:
    """The cell of positions in m [..., 2], row by row: [...]."""
    index = ((where + METRES) / CELL).long().clamp(0, CELLS - 1)
    return index[..., 1] * CELLS + index[..., 0]


def crowd(variant: HandoverVariant, known: Knowledge) -> Tensor:
    """Users that are expected at each station, [P, S]: every cell's users go where there is room; averaged best responses."""
    v = variant
    users = torch.full_like(known.backhaul, v.agents / v.stations)
    if not bool((known.street > 0).any()):
        return users
    weight = (known.street / known.street.sum(1, keepdim=True)).unsqueeze(-1)
    bits = signal(known.level)[1] * known.sure  # [P, G, S]
    cap = torch.minimum(BAND * bits * known.available.mean(-1).unsqueeze(1), known.backhaul.unsqueeze(1)) / v.need
    for k in range(ROUNDS):
        value = room(cap, users.unsqueeze(1)) * (bits > 0.3)
        share = torch.softmax(value / TEMPERATURE, dim=-1) * weight
        users = users + (v.agents * share.sum(1) - users) / (k + 2)
    return users


def room(cap: Tensor, others: Tensor) -> Tensor:
    """Chance that a station which serves `cap` users has room for one more, where about `others` are there (a normal law)."""
    return torch.sigmoid(1.7 * (cap - others - 0.5) / (others + 0.5).sqrt()) * (cap.clamp(max=1.0))


def signal(level: Tensor) -> tuple[Tensor, Tensor]:
    """SINR in dB and efficiency in bit/s/Hz that levels [..., S] mean, were all stations on the air for LOAD of the time."""
    ratio = 10.0 ** (level / 10.0)
    sinr = ratio / (1.0 + torch.matmul(ratio, same_carrier(level.shape[-1]).to(level.device) * LOAD))
    return 10.0 * torch.log10(sinr), rate(sinr, SINR_CAP)


def worth(variant: HandoverVariant, sinr: Tensor, bits: Tensor, cap: Tensor, backhaul: Tensor, others: Tensor) -> Tensor:
    """Expected worth of a slot at each station, in satisfied slots: room for the need, unless the link fails.

    Args:
        variant: the variant.
        sinr: dB, [..., S].
        bits: efficiency, [..., S].
        cap: part of the airtime that tenants leave, [..., S].
        backhaul: Mbit/s, [..., S].
        others: users that are there, [..., S].
    """
    fits = torch.minimum(BAND * bits * cap, backhaul) / variant.need
    fails = torch.sigmoid((FAILURE - sinr) / FAILS)
    return room(fits, others) * (1.0 - fails)

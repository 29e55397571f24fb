"""What is hidden at a site of `handover`: the place with its gains, backhaul, other tenants, and the price of handovers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...physics.channel import noise_power
from ...physics.traffic import arcsine, scheduled_runs
from ...site import range_of, site_generator
from .maps import districts, numbers_of
from .variant import BAND, HandoverVariant

Single = NDArray[np.float32]

POWER = 44.0  # dBm of a station in 20 MHz (UMi of ITU-R M.2135-1)
NOISE_FIGURE = 9.0  # dB
SPREAD = 3.0  # dB, standard deviation of a station's antenna and cable against the nominal ones
COVERED, TWICE, TRIED = 5.0, 2, 8  # dB over the noise that covers a cell; how often a cell should be; candidates a station
CARRIERS = 3  # the band of a station is one of these; only stations on the same one disturb each other
BACKHAUL_RATIO = 16.0  # greatest over least, log-uniform
TENANT_SHARE = (0.5, 0.95)  # of a station's airtime that other tenants take where they are active
TENANT_DUTY = (0.3, 0.6)  # part of the period that they are scheduled
TENANT_ACTIVE = (0.5, 0.95)  # probability that they are active in a scheduled slot
TENANT_RUN = 6  # mean length in slots of a scheduled run
PRICE_RUN, TARIFF_MEAN = 4, 0.25  # slots that a tariff holds; mean of x y, x of the station and y of each of its runs
SILENT = -60.0  # dB over the noise of a station that is not heard at all
TURNS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])  # by quarters


@dataclass(frozen=True)
class Site:
    """Hidden parameters of one place.

    Attributes:
        district: number of the district.
        turn: how its coordinates are turned and mirrored, [2, 2].
        stations: positions in the turned coordinates and heights, m, [S, 3].
        level: received power over the noise in each street cell, dB, [C, S].
        backhaul: Mbit/s of each station, [S].
        share: part of a station's airtime that other tenants take where they are active, by slot of the period, [S, L].
        active: probability that they are active in a scheduled slot, [S].
        tariff: probability that a handover into a station is billed, by slot of the period, [S, L].
    """

    district: int
    turn: Single
    stations: Single
    level: Single
    backhaul: Single
    share: Single
    active: Single
    tariff: Single


def places(city: str, kind: str) -> list[int]:
    """Districts that sites of a range may lie in: none that train or dev sites show is a held-out or sealed one.

    Of the cities seen, every third district is held out. In the city that no train site shows, all are.
    """
    found = numbers_of(city)
    if city == "unseen":
        return found
    held = found[2::3]
    return held if kind in ("held-out", "sealed") else [k for k in found if k not in held]


@lru_cache(maxsize=2048, typed=True)  # typed: True is not site 1
def draw_site(variant: HandoverVariant, number: int) -> Site:
    """The hidden parameters of a site; the same whatever else is drawn."""
    rng = site_generator(variant.name, number)
    s, period = variant.stations, variant.period
    allowed = places(variant.city, range_of(number))
    district = allowed[rng.integers(len(allowed))]
    place = districts()[district]
    mirror = np.diag([1.0, rng.choice((-1.0, 1.0))])
    turn = TURNS[rng.integers(4)] @ mirror
    gain = place.gain + rng.normal(0.0, SPREAD, size=len(place.stations))
    level = np.maximum(POWER + gain - noise_power(BAND * 1e6, NOISE_FIGURE), SILENT)
    chosen = _covering(level, s, rng)
    level = level[:, chosen]
    backhaul = BACKHAUL_RATIO ** rng.random(s)
    backhaul *= variant.capacity / backhaul.sum()
    share, active = rng.uniform(*TENANT_SHARE, size=(s, 1)), rng.uniform(*TENANT_ACTIVE, size=s)
    scheduled = np.stack([scheduled_runs(period, duty, TENANT_RUN, rng) for duty in rng.uniform(*TENANT_DUTY, size=s)])
    cells = rng.random((s, math.ceil(period / PRICE_RUN))).repeat(PRICE_RUN, axis=1)[:, :period]
    tariff = arcsine(rng.random((s, 1))) * arcsine(cells)
    where = np.concatenate([place.stations[chosen, :2] @ turn.T, place.stations[chosen, 2:]], axis=1)
    fields = (turn, where, level, backhaul, share * scheduled, active, tariff)
    return Site(district, *(np.ascontiguousarray(x, dtype=np.float32) for x in fields))


def _covering(level: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Stations one after another: of TRIED that are drawn, the one that covers most cells that are not yet covered TWICE."""
    covers = level > COVERED
    often = np.zeros(len(level))
    chosen: list[int] = []
    for _ in range(count):
        left = np.setdiff1d(np.arange(level.shape[1]), chosen)
        some = rng.permutation(left)[:TRIED]
        new = int(some[(covers[:, some] & (often < TWICE)[:, None]).sum(0).argmax()])
        chosen.append(new)
        often += covers[:, new]
    return np.array(chosen)[_by_carrier(covers[:, chosen], rng)]


def _by_carrier(covers: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """An order in which station k has carrier k mod CARRIERS, and those on one carrier cover few street cells in common."""
    overlap = covers.T.astype(float) @ covers
    count = len(overlap)
    groups: list[list[int]] = [[] for _ in range(CARRIERS)]
    for k in rng.permutation(count):
        sizes = [len(range(c, count, CARRIERS)) for c in range(CARRIERS)]
        met = [overlap[k, group].sum() if len(group) < size else np.inf for group, size in zip(groups, sizes, strict=True)]
        groups[int(np.argmin(met))].append(int(k))
    return np.array([groups[k % CARRIERS][k // CARRIERS] for k in range(count)])


def same_carrier(stations: int) -> Tensor:
    """Whether two stations disturb each other, [S, S]: station k has carrier k mod CARRIERS, which is public."""
    carrier = torch.arange(stations) % CARRIERS
    return ((carrier == carrier.unsqueeze(1)) & ~torch.eye(stations, dtype=torch.bool)).float()


def stacked(found: Sequence[Site], name: str, device: torch.device | str) -> Tensor:
    """One field of several sites as a tensor [B, ...]."""
    return torch.from_numpy(np.stack([getattr(site, name) for site in found])).to(device)

"""What is random in one episode of `handover`: ways of the users, shadowing, fading, measurement errors, tenants' coins."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...site import scenario_generator
from .layout import LOOKS
from .maps import PACE, WAYPOINTS, streets
from .site import Site
from .variant import HandoverVariant

Single = NDArray[np.float32]

SLOT = 0.5  # s
WALKING, DRIVING = (0.8, 1.8), (6.0, 14.0)  # m/s
LEGS = 14  # ways between two waypoints, one after another
SHADOWING, DECORRELATION = 3.0, 10.0  # dB, m: what the map does not know; the distance of 3GPP TR 38.901, table 7.5-6
FADING = 2.0  # dB, of the mean over a slot
ERROR = 2.0  # dB, of a measured level: within the relative accuracy of 3GPP TS 38.133, 10.1.2


def draw_scenario(variant: HandoverVariant, place: Site, site: int, seed: int) -> tuple[NDArray, ...]:
    """One episode's world. Row 0 is the slot before the first one.

    Returns:
        Level of every station over the noise in dB [T + 2, N, S], measured level [T + 2, N, S], positions
        [T + 2 + max(LOOKS), N, 2] in m, speed [N] in m/s, whether other tenants are there, as uniforms [T, S].
    """
    rng = scenario_generator(variant.name, site, seed)
    n, s, rows = variant.agents, variant.stations, variant.horizon + 2
    speed, cell, where = _ways(variant, place, rng, rows)
    drives = rng.standard_normal((rows, n, s), dtype=np.float32)
    memory = np.exp(-speed * SLOT / DECORRELATION).astype(np.float32)[:, None]
    drive = SHADOWING * np.sqrt(1.0 - memory**2)
    shadow = np.empty_like(drives)
    shadow[0] = SHADOWING * drives[0]
    for t in range(1, rows):
        shadow[t] = memory * shadow[t - 1] + drive * drives[t]
    level = place.level[cell[:rows]] + shadow
    measured = level + np.float32(math.hypot(FADING, ERROR)) * rng.standard_normal((rows, n, s), dtype=np.float32)
    level += FADING * rng.standard_normal((rows, n, s), dtype=np.float32)
    return level, measured, where, speed.astype(np.float32), *_coins(rng, variant)


def _coins(rng: np.random.Generator, variant: HandoverVariant) -> tuple[Single, Single]:
    slots = variant.horizon
    return rng.random((slots, variant.stations), dtype=np.float32), rng.random((slots, variant.agents), dtype=np.float32)


def _ways(
    variant: HandoverVariant, place: Site, rng: np.random.Generator, rows: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], Single]:
    """Random waypoint on the street graph: speed [N], street cell and position of every user in every slot."""
    n, graph = variant.agents, streets(place.district)
    drives = rng.random(n) < variant.vehicles
    speed = np.where(drives, rng.uniform(*DRIVING, size=n), rng.uniform(*WALKING, size=n))
    hops = rng.integers(1, WAYPOINTS, size=(n, LEGS))
    stops = (rng.integers(WAYPOINTS, size=(n, 1)) + np.concatenate([np.zeros((n, 1), int), hops.cumsum(1)], 1)) % WAYPOINTS
    legs = graph.length[stops[:, :-1], stops[:, 1:]]
    ends = legs.cumsum(1)
    slots = np.arange(rows + max(LOOKS))
    run = rng.random(n) * legs[:, 0] + speed * SLOT * slots[:, None]  # [rows, N]
    leg = (run[..., None] >= ends[:, :-1]).sum(-1)
    user = np.arange(n)
    into = run - np.where(leg > 0, ends[user, np.maximum(leg - 1, 0)], 0.0)
    point = np.minimum(np.rint(into / PACE), np.rint(legs[user, leg] / PACE)).astype(np.int64)
    point = np.clip(point, 0, graph.cell.shape[-1] - 1)
    start, end = stops[user, leg], stops[user, leg + 1]
    where = graph.place[start, end, point] @ place.turn.T
    return speed, graph.cell[start, end, point], where.astype(np.float32)

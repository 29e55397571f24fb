"""The variants of `handover`: what is public about a task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal

from ....errors import require
from ...family import Split, Variant, require_number
from .layout import MAX_STATIONS

City = Literal["seen", "unseen"]

BAND = 20.0  # MHz of a station; all stations use the same
EFFICIENCY = 2.0  # bit/s/Hz that the public capacity of a station is reckoned with
MOST_USERS = 100


@dataclass(frozen=True)
class HandoverVariant:
    """One `handover` task.

    Attributes:
        agents: users N.
        stations: base stations S.
        vehicles: share of the users that drive; the others walk.
        load: what all users ask for, as a share of what all stations' backhaul carries.
        period: slots after which the pattern of the other tenants repeats, L.
        city: places in cities that train sites show (`seen`), or in the one that they do not (`unseen`).
        split: train or held-out.
        horizon: slots in an episode.
    """

    agents: int = 20
    stations: int = 8
    vehicles: float = 0.5
    load: float = 0.6
    period: int = 32
    city: City = "seen"
    split: Split = "train"
    horizon: int = 96

    family = "handover"

    def __post_init__(self) -> None:
        require(1 <= self.agents <= MOST_USERS, "agents", self.agents, f"in [1, {MOST_USERS}]")
        require(2 <= self.stations <= MAX_STATIONS, "stations", self.stations, f"in [2, {MAX_STATIONS}]")
        require_number("vehicles", self.vehicles, 0.0, 1.0)
        require_number("load", self.load, 0.01, 10.0)
        require(1 <= self.period <= 64, "period", self.period, "in [1, 64]")
        require(self.city in ("seen", "unseen"), "city", self.city, "'seen' or 'unseen'")
        require(1 <= self.horizon <= 10_000, "horizon", self.horizon, "in [1, 10000]")

    @property
    def name(self) -> str:
        """E.g. `handover/n20-b8-v0.5-load0.6-l32`; what differs from the usual is appended."""
        name = f"handover/n{self.agents}-b{self.stations}-v{self.vehicles:g}-load{self.load:g}-l{self.period}"
        return name + "-unseen" * (self.city == "unseen") + f"-t{self.horizon}" * (self.horizon != 96)

    @property
    def capacity(self) -> float:
        """Mbit/s of all stations' backhaul together: public, unlike the part of each."""
        return self.stations * BAND * EFFICIENCY

    @property
    def need(self) -> float:
        """Mbit/s that each user asks for."""
        return self.load * self.capacity / self.agents

    def descriptor(self) -> tuple[float, ...]:
        """Users, stations, vehicles, load, period, city, users a station, each of order 1."""
        return (
            math.log(self.agents / 20.0),
            (self.stations - 8.0) / 4.0,
            2.0 * self.vehicles - 1.0,
            math.log(self.load / 0.6) * 2.0,
            math.log2(self.period / 32.0),
            float(self.city == "unseen"),
            self.agents / self.stations / 2.5 - 1.0,
        )


def _listed() -> dict[str, Variant]:
    """Train: users x stations x (vehicles, load, period). Held out: one value that is new each, beside a load of .8."""
    kinds = ((0.5, 0.9, 64), (0.8, 0.7, 32), (0.5, 0.9, 32), (0.8, 0.7, 64))
    grid = ((n, b, kinds[2 * (k % 2) + j]) for k, (n, b) in enumerate(product((16, 24), (6, 8))) for j in range(2))
    train = [HandoverVariant(n, b, *kind) for n, b, kind in grid]
    held_out = [
        HandoverVariant(20, 8, 0.6, 0.8, 64, city="unseen", split="held-out"),
        HandoverVariant(40, 8, 0.6, 0.8, 64, split="held-out"),
        HandoverVariant(24, 12, 0.6, 0.8, 64, split="held-out"),
        HandoverVariant(20, 8, 1.0, 0.8, 64, split="held-out"),
        HandoverVariant(20, 8, 0.6, 0.6, 64, split="held-out"),
        HandoverVariant(20, 8, 0.6, 0.8, 48, split="held-out"),
    ]
    return {variant.name: variant for variant in (*train, *held_out)}


VARIANTS = _listed()

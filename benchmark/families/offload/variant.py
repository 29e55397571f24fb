"""The variants of `offload`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...family import Split, Variant, require, require_number
from .layout import (
    MAX_EDGES,
    MEAN_SIZE,
    MEAN_WORK,
    SLOT,
)

OTHER_SPEEDS = (21.0, 10.0, 10.0)  # GHz, the edges after the first


@dataclass(frozen=True)
class OffloadVariant:
    """One `offload` task.

    Attributes:
        agents: devices N.
        edges: edge servers E.
        arrival: probability of a new task, a device and slot.
        uplink: rate of each edge's band at the reference SNR, Mbit/s.
        fastest: speed of the first edge, GHz; the others have OTHER_SPEEDS.
        deadline: slots that a task may take.
        split: train or held-out.
        horizon: slots in an episode.
    """

    agents: int
    edges: int
    arrival: float
    uplink: float = 60.0
    fastest: float = 42.0
    deadline: int = 10
    split: Split = "train"
    horizon: int = 128

    family = "offload"

    def __post_init__(self) -> None:
        require(1 <= self.agents <= 1000, "agents", self.agents, "in [1, 1000]")
        require(1 <= self.edges <= MAX_EDGES, "edges", self.edges, f"in [1, {MAX_EDGES}]")
        require_number("arrival", self.arrival, 0.0, 1.0)
        require_number("uplink", self.uplink, 1.0, 1e5)
        require_number("fastest", self.fastest, 1.0, 1e5)
        require(2 <= self.deadline <= 100, "deadline", self.deadline, "in [2, 100]: an edge needs two slots")
        require(1 <= self.horizon <= 100_000, "horizon", self.horizon, "in [1, 100000]")

    @property
    def name(self) -> str:
        """E.g. `offload/n10-e3-p0.2`; what differs from the usual is appended."""
        usual = {"uplink": 60.0, "fastest": 42.0, "deadline": 10}
        extras = "".join(f"-{key}{getattr(self, key):g}" for key, value in usual.items() if getattr(self, key) != value)
        return f"offload/n{self.agents}-e{self.edges}-p{self.arrival:g}{extras}"

    @property
    def speeds(self) -> tuple[float, ...]:
        """Speed of each edge, GHz."""
        return (self.fastest, *OTHER_SPEEDS)[: self.edges]

    def descriptor(self) -> tuple[float, ...]:
        """Devices, edges, arrivals, uplink, speed ratio, deadline, load of bands and of edges, each of order 1."""
        tasks = self.agents * self.arrival
        return (
            math.log(self.agents / 15.0),
            self.edges - 2.5,
            (self.arrival - 0.25) * 10.0,
            self.uplink / 60.0 - 1.0,
            math.log2(self.fastest / OTHER_SPEEDS[0]) - 1.0,
            self.deadline / 10.0 - 1.0,
            tasks * MEAN_SIZE / (self.edges * self.uplink * SLOT) - 1.0,
            tasks * MEAN_WORK / (sum(self.speeds) * SLOT) - 0.5,
        )


def _listed() -> dict[str, Variant]:
    """Train: the grid as usual, and again with other speeds, bands, deadlines: any two values of two axes meet.

    Held out: one axis away from the usual grid each, and one compound.
    """
    grid = [(n, e, p) for n in (10, 15, 20) for e in (2, 3) for p in (0.2, 0.3)]
    train = [OffloadVariant(*axes) for axes in grid]
    for (n, e, p), (i, j, k) in zip(grid, np.ndindex(3, 2, 2), strict=True):
        fastest, uplink, deadline = (63.0, 126.0, 21.0)[(i + j + k) % 3], (90.0, 50.0)[(i + j) % 2], (8, 14)[(i + k) % 2]
        train.append(OffloadVariant(n, e, p, uplink, fastest, deadline))
    held_out = [
        OffloadVariant(10, 3, 0.4, split="held-out"),
        OffloadVariant(10, 3, 0.3, fastest=84.0, split="held-out"),
        OffloadVariant(30, 3, 0.2, split="held-out"),
        OffloadVariant(15, 4, 0.3, split="held-out"),
        OffloadVariant(10, 3, 0.3, uplink=40.0, split="held-out"),
        OffloadVariant(10, 3, 0.3, deadline=6, split="held-out"),
        OffloadVariant(20, 4, 0.4, uplink=40.0, split="held-out"),
    ]
    return {variant.name: variant for variant in (*train, *held_out)}

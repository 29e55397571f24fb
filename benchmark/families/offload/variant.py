"""The variants of `offload`: what is public about a task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from ....errors import require
from ...family import Split, Variant, require_number
from .layout import MAX_EDGES, MEAN_SIZE, MEAN_WORK, SLOT

SPEED_PER_DEVICE = 10.0  # GHz of all edges together, a device: the first edition's 42 + 21 + 10 GHz for 12 devices
BAND_PER_DEVICE = 28.0  # Mbit/s of all bands together at the reference SNR, a device: its 60 Mbit/s an edge, likewise


@dataclass(frozen=True)
class OffloadVariant:
    """One `offload` task.

    Attributes:
        agents: devices N.
        edges: edge servers E.
        arrival: probability of a new task, a device and slot.
        deadline: slots that a task may take.
        period: slots after which the other tenants' pattern and the tariffs repeat, L.
        split: train or held-out.
        horizon: slots in an episode.
    """

    agents: int
    edges: int
    arrival: float
    deadline: int = 10
    period: int = 32
    split: Split = "train"
    horizon: int = 96

    family = "offload"

    def __post_init__(self) -> None:
        require(1 <= self.agents <= 1000, "agents", self.agents, "in [1, 1000]")
        require(1 <= self.edges <= MAX_EDGES, "edges", self.edges, f"in [1, {MAX_EDGES}]")
        require_number("arrival", self.arrival, 0.0, 1.0)
        require(2 <= self.deadline <= 100, "deadline", self.deadline, "in [2, 100]: an edge needs two slots")
        require(1 <= self.period <= 64, "period", self.period, "in [1, 64]")
        require(1 <= self.horizon <= 100_000, "horizon", self.horizon, "in [1, 100000]")

    @property
    def name(self) -> str:
        """E.g. `offload/n10-e3-p0.25`; what differs from the usual is appended."""
        usual = {"deadline": 10, "period": 32}
        extras = "".join(f"-{key}{getattr(self, key)}" for key, value in usual.items() if getattr(self, key) != value)
        return f"offload/n{self.agents}-e{self.edges}-p{self.arrival:g}{extras}"

    @property
    def speed(self) -> float:
        """Gcycle a slot of all edges together: public, unlike the part of each."""
        return SPEED_PER_DEVICE * SLOT * self.agents

    @property
    def band(self) -> float:
        """Mbit a slot of all bands together at the reference SNR: public, unlike the part of each."""
        return BAND_PER_DEVICE * SLOT * self.agents

    def descriptor(self) -> tuple[float, ...]:
        """Devices, edges, arrivals, deadline, period, load of bands and of edges, each of order 1."""
        tasks = self.agents * self.arrival
        return (
            math.log(self.agents / 12.0),
            self.edges - 2.5,
            (self.arrival - 0.25) * 10.0,
            self.deadline / 10.0 - 1.0,
            math.log2(self.period / 32.0),
            tasks * MEAN_SIZE / self.band - 0.5,
            tasks * MEAN_WORK / self.speed - 0.5,
        )


def _listed() -> dict[str, Variant]:
    """Train: devices x edges x arrivals, with deadlines and periods that take turns. Held out: one value that is new each."""
    grid = product(enumerate((8, 12)), enumerate((2, 3)), enumerate((0.15, 0.25)))
    train = [
        OffloadVariant(n, e, p, deadline=(10, 14)[(i + k) % 2], period=(32, 24)[(i + j) % 2]) for (i, n), (j, e), (k, p) in grid
    ]
    held_out = [
        OffloadVariant(18, 3, 0.15, split="held-out"),
        OffloadVariant(12, 4, 0.15, split="held-out"),
        OffloadVariant(12, 3, 0.28, split="held-out"),
        OffloadVariant(12, 3, 0.2, split="held-out"),
        OffloadVariant(12, 3, 0.15, deadline=7, split="held-out"),
        OffloadVariant(12, 3, 0.15, period=48, split="held-out"),
    ]
    return {variant.name: variant for variant in (*train, *held_out)}


VARIANTS = _listed()

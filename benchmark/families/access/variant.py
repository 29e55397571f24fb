"""The public side of an `access` task: what an agent is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ....errors import require
from ...family import Split, Variant, require_number
from .layout import MAX_CHANNELS, MAX_SUPERFRAME

BURST_DUTY, BURST_MEAN_ON = 0.25, 16.0  # bursty sources: on a quarter of the time, 16 slots at a stretch


@dataclass(frozen=True)
class AccessVariant:
    """One `access` task.

    Attributes:
        agents: users N.
        channels: channels C.
        load: new packets a slot and channel, all users together.
        superframe: slots L after which the incumbents' schedule repeats; all users know its clock.
        traffic: `steady` (Bernoulli) or `bursty` (on-off) arrivals, of the same mean.
        split: train or held-out.
        buffer: packets that a user can hold.
        horizon: slots in an episode.
    """

    agents: int
    channels: int
    load: float
    superframe: int
    traffic: Literal["steady", "bursty"] = "steady"
    split: Split = "train"
    buffer: int = 16
    horizon: int = 128

    family = "access"

    def __post_init__(self) -> None:
        require(1 <= self.agents <= 1000, "agents", self.agents, "in [1, 1000]")
        require(1 <= self.channels <= MAX_CHANNELS, "channels", self.channels, f"in [1, {MAX_CHANNELS}]")
        require_number("load", self.load, 0.0, self.agents / self.channels)
        require(1 <= self.superframe <= MAX_SUPERFRAME, "superframe", self.superframe, f"in [1, {MAX_SUPERFRAME}]")
        require(self.traffic in ("steady", "bursty"), "traffic", self.traffic, "'steady' or 'bursty'")
        peak = self.rate / BURST_DUTY if self.traffic == "bursty" else self.rate
        require(peak <= 1.0, "load", self.load, "low enough for one packet a user and slot")
        require(1 <= self.buffer <= 4096, "buffer", self.buffer, "in [1, 4096]")
        require(1 <= self.horizon <= 100_000, "horizon", self.horizon, "in [1, 100000]")

    @property
    def name(self) -> str:
        """E.g. `access/n8-c3-load0.3-l48`."""
        extra = "-bursty" if self.traffic == "bursty" else ""
        return f"access/n{self.agents}-c{self.channels}-load{self.load:g}-l{self.superframe}{extra}"

    @property
    def period(self) -> int:
        """Slots after which a site repeats."""
        return self.superframe

    @property
    def rate(self) -> float:
        """New packets a slot of one user."""
        return self.load * self.channels / self.agents

    @property
    def frame(self) -> int:
        """Slots in which every user has one turn."""
        return math.ceil(self.agents / self.channels)

    def descriptor(self) -> tuple[float, ...]:
        """Agents, channels, load, users a channel, superframe and traffic, each of order 1."""
        return (
            math.log(self.agents) / math.log(8.0) - 1.0,
            self.channels - 3.0,
            (self.load - 0.25) * 10.0,
            math.log(self.agents / self.channels) / math.log(8.0),
            self.superframe / 48.0 - 1.0,
            1.0 if self.traffic == "bursty" else 0.0,
        )


def _listed() -> dict[str, Variant]:
    """Train: a grid. Held out: one axis away from it each."""
    train = [AccessVariant(n, c, load, length) for n, c in ((8, 3), (12, 4)) for load in (0.15, 0.25) for length in (48, 64)]
    held_out = [
        AccessVariant(16, 4, 0.2, 64, split="held-out"),
        AccessVariant(12, 4, 0.2, 40, split="held-out"),
        AccessVariant(8, 2, 0.2, 48, split="held-out"),
        AccessVariant(8, 3, 0.3, 48, split="held-out"),
        AccessVariant(8, 3, 0.2, 56, split="held-out"),
        AccessVariant(8, 3, 0.2, 48, "bursty", split="held-out"),
        AccessVariant(24, 4, 0.2, 64, split="held-out"),
    ]
    return {variant.name: variant for variant in (*train, *held_out)}


VARIANTS = _listed()

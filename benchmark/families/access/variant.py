"""The variants of `access`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...family import Split, Variant, require, require_number
from .layout import MAX_CHANNELS

BURST_DUTY, BURST_MEAN_ON = 0.25, 16.0  # bursty sources: on a quarter of the time, 16 slots at a stretch


@dataclass(frozen=True)
class AccessVariant:
    """One `access` task.

    Attributes:
        agents: users N.
        channels: channels C.
        load: new packets a slot and channel, all users together.
        traffic: `steady` (Bernoulli) or `bursty` (on-off) arrivals, of the same mean.
        legacy: whether two nodes that follow other rules share the channels.
        split: train or held-out.
        buffer: packets that a user can hold.
        horizon: slots in an episode.
    """

    agents: int
    channels: int
    load: float
    traffic: Literal["steady", "bursty"] = "steady"
    legacy: bool = False
    split: Split = "train"
    buffer: int = 16
    horizon: int = 128

    family = "access"

    def __post_init__(self) -> None:
        require(1 <= self.agents <= 1000, "agents", self.agents, "in [1, 1000]")
        require(1 <= self.channels <= MAX_CHANNELS, "channels", self.channels, f"in [1, {MAX_CHANNELS}]")
        require_number("load", self.load, 0.0, self.agents / self.channels)
        require(self.traffic in ("steady", "bursty"), "traffic", self.traffic, "'steady' or 'bursty'")
        peak = self.rate / BURST_DUTY if self.traffic == "bursty" else self.rate
        require(peak <= 1.0, "load", self.load, "low enough for one packet a user and slot")
        require(1 <= self.buffer <= 4096, "buffer", self.buffer, "in [1, 4096]")
        require(1 <= self.horizon <= 100_000, "horizon", self.horizon, "in [1, 100000]")

    @property
    def name(self) -> str:
        """E.g. `access/n8-c1-load0.4`."""
        extras = ("-bursty" if self.traffic == "bursty" else "") + ("-legacy" if self.legacy else "")
        return f"access/n{self.agents}-c{self.channels}-load{self.load:g}{extras}"

    @property
    def rate(self) -> float:
        """New packets a slot of one user."""
        return self.load * self.channels / self.agents

    @property
    def frame(self) -> int:
        """Slots in which every user has one turn."""
        return math.ceil(self.agents / self.channels)

    def descriptor(self) -> tuple[float, ...]:
        """Agents, channels, load, users a channel, turn-taking room, traffic and neighbours, each of order 1."""
        return (
            math.log(self.agents) / math.log(8.0) - 1.0,
            self.channels - 1.0,
            (self.load - 0.3) * 5.0,
            math.log(self.agents / self.channels) / math.log(8.0) - 1.0,
            1.0 if self.traffic == "bursty" else 0.0,
            1.0 if self.legacy else 0.0,
        )


def _listed() -> dict[str, Variant]:
    """Train: the grid. Held out: one axis away from it each, and one compound."""
    grid = [(n, 1, load) for n in (4, 8, 12) for load in (0.2, 0.3, 0.4)]
    # Four users on two channels hardly contend below load .4 (the admission rule fails), so six stand in for them.
    grid += [(4, 2, 0.4), (6, 2, 0.3), (6, 2, 0.4)] + [(n, 2, load) for n in (8, 12) for load in (0.2, 0.3, 0.4)]
    train = [AccessVariant(*axes) for axes in grid]
    held_out = [
        AccessVariant(8, 1, 0.5, split="held-out"),
        AccessVariant(16, 1, 0.3, split="held-out"),
        AccessVariant(24, 1, 0.3, split="held-out"),
        AccessVariant(8, 3, 0.3, split="held-out"),
        AccessVariant(8, 1, 0.3, traffic="bursty", split="held-out"),
        AccessVariant(8, 1, 0.3, legacy=True, split="held-out"),
        AccessVariant(16, 3, 0.4, traffic="bursty", split="held-out"),
    ]
    return {variant.name: variant for variant in (*train, *held_out)}

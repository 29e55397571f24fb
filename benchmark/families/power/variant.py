"""Variants of `power`: what an agent is told about a task before it has seen the place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import jn_zeros

from ....errors import require
from ...family import Split, Variant, require_number
from ...physics.channel import LIGHT, jakes_correlation

Layout = Literal["d2d", "macro", "umi"]

SLOT = 0.02  # s
CARRIER = {"d2d": 2.4e9, "macro": 2e9, "umi": 3.5e9}  # Hz
LINKS_PER_CELL = 2


@dataclass(frozen=True)
class PowerVariant:
    """One `power` task.

    Attributes:
        agents: links N.
        size: side of the square of device-to-device pairs, or the distance between neighbouring base stations, in m.
        speed: of the users, m/s; sets the fading.
        load: mean arrivals as a share of the rate of a link that is alone in the world.
        layout: `d2d` (pairs in a square), `macro` or `umi` (a cellular downlink).
        period: slots after which the outside interference of a site repeats, L.
        split: train or held-out.
        horizon: slots in an episode.
    """

    agents: int = 20
    size: float = 500.0
    speed: float = 1.0
    load: float = 0.12
    layout: Layout = "d2d"
    period: int = 48
    split: Split = "train"
    horizon: int = 96

    family = "power"

    def __post_init__(self) -> None:
        require(2 <= self.agents <= 128, "agents", self.agents, "in [2, 128]")
        require(self.layout in CARRIER, "layout", self.layout, "'d2d', 'macro' or 'umi'")
        require_number("size", self.size, 100.0, 10_000.0)
        require_number("speed", self.speed, 0.0, self.fastest)
        require_number("load", self.load, 0.001, 2.0)
        require(1 <= self.period <= 1000, "period", self.period, "in [1, 1000]")
        require(1 <= self.horizon <= 10_000, "horizon", self.horizon, "in [1, 10000]")

    @property
    def name(self) -> str:
        """E.g. `power/d2d-n20-s500-v1-load0.12-l48`."""
        return (
            f"power/{self.layout}-n{self.agents}-s{self.size:g}-v{self.speed:g}-load{self.load:g}-l{self.period}"
            + f"-t{self.horizon}" * (self.horizon != 96)
        )

    @property
    def fastest(self) -> float:
        """Speed in m/s up to which the fading's correlation from slot to slot falls monotonically to 0."""
        return float(jn_zeros(0, 1)[0]) * LIGHT / (2.0 * math.pi * CARRIER[self.layout] * SLOT)

    @property
    def transmitters(self) -> int:
        """Number of transmitters C: one a pair, or a base station for two links."""
        return self.agents if self.layout == "d2d" else math.ceil(self.agents / LINKS_PER_CELL)

    @property
    def correlation(self) -> float:
        """Correlation of the complex fading from slot to slot."""
        return jakes_correlation(self.speed, CARRIER[self.layout], SLOT)

    def descriptor(self) -> tuple[float, ...]:
        """Links, size, speed, fading correlation, load, period, layout (two places), each of order 1."""
        return (
            math.log(self.agents / 20.0),
            math.log(self.size / 500.0) * 2.0,
            math.log1p(self.speed) - 0.7,
            self.correlation,
            math.log(self.load / 0.12),
            self.period / 48.0 - 1.0,
            float(self.layout == "macro"),
            float(self.layout == "umi"),
        )


def _listed() -> dict[str, Variant]:
    """Train: pairs of devices. Held out: one axis away from the train grid each."""
    train = [
        PowerVariant(n, size, speed, load)
        for n, size, speed, load in (
            (20, 500.0, 1.0, 0.12),
            (20, 500.0, 0.3, 0.16),
            (20, 400.0, 1.0, 0.12),
            (20, 400.0, 0.3, 0.12),
            (14, 400.0, 1.0, 0.12),
            (14, 400.0, 0.3, 0.16),
            (14, 500.0, 1.0, 0.16),
            (14, 500.0, 0.3, 0.12),
        )
    ]
    held_out = [
        PowerVariant(size=300.0, split="held-out"),
        PowerVariant(load=0.2, split="held-out"),
        PowerVariant(30, split="held-out"),
        PowerVariant(40, split="held-out"),
        PowerVariant(speed=2.0, split="held-out"),
        PowerVariant(period=64, split="held-out"),
        PowerVariant(size=800.0, load=0.15, layout="macro", split="held-out"),
        PowerVariant(size=200.0, load=0.15, layout="umi", split="held-out"),
    ]
    return {variant.name: variant for variant in (*train, *held_out)}


VARIANTS = _listed()

"""The variants of `power`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...family import Split, Variant, require, require_number
from ...physics.channel import (
    Propagation,
    UmiStreetCanyon,
    jakes_correlation,
)

SLOT = 0.02  # s


CARRIER = 2e9  # Hz, macro cells


UMI = UmiStreetCanyon(carrier=3.5e9)


LINKS_PER_CELL = 2


@dataclass(frozen=True)
class PowerVariant:
    """One `power` task.

    Attributes:
        agents: links N.
        spacing: distance between neighbouring sites in m.
        speed: of the users, m/s; sets the fading.
        load: mean arrivals as a share of the rate of a link that has its cell, but not its neighbourhood, to itself.
        propagation: `macro` (path loss 128.1 + 37.6 log10 km, shadowing 10 dB) or `umi` (3GPP TR 38.901 street canyon).
        split: train or held-out.
        horizon: slots in an episode.
    """

    agents: int
    spacing: float = 800.0
    speed: float = 1.0
    load: float = 0.5
    propagation: Propagation = "macro"
    split: Split = "train"
    horizon: int = 128

    family = "power"

    def __post_init__(self) -> None:
        require(2 <= self.agents <= 1000, "agents", self.agents, "in [2, 1000]")
        require_number("spacing", self.spacing, 100.0, 10_000.0)
        require_number("speed", self.speed, 0.0, 100.0)
        require_number("load", self.load, 0.0, 2.0)
        require(self.propagation in ("macro", "umi"), "propagation", self.propagation, "'macro' or 'umi'")
        require(1 <= self.horizon <= 100_000, "horizon", self.horizon, "in [1, 100000]")

    @property
    def name(self) -> str:
        """E.g. `power/n10-d800-v1-load0.5`."""
        extra = "-umi" if self.propagation == "umi" else ""
        return f"power/n{self.agents}-d{self.spacing:g}-v{self.speed:g}-load{self.load:g}{extra}"

    @property
    def cells(self) -> int:
        """Number of base stations C."""
        return math.ceil(self.agents / LINKS_PER_CELL)

    @property
    def correlation(self) -> float:
        """Correlation of the fading from slot to slot."""
        return jakes_correlation(self.speed, UMI.carrier if self.propagation == "umi" else CARRIER, SLOT)

    def descriptor(self) -> tuple[float, ...]:
        """Links, spacing, speed, fading correlation, load, propagation, each of order 1."""
        return (
            math.log(self.agents / 10.0),
            math.log(self.spacing / 800.0) * 2.0,
            math.log1p(self.speed) - 0.7,
            self.correlation,
            (self.load - 0.6) * 5.0,
            1.0 if self.propagation == "umi" else 0.0,
        )


def _listed() -> dict[str, Variant]:
    """Train: an orthogonal array: any two values of two axes meet. Held out: one axis away from it each, and one compound."""
    train = [
        PowerVariant(n, spacing, speed, load)
        for i, n in enumerate((10, 15, 20))
        for j, speed in enumerate((0.0, 1.0, 2.5))
        for spacing, load in zip((800.0, 1200.0), ((0.5, 0.7), (0.7, 0.5))[(i + j + 1) % 2], strict=True)
    ]
    held_out = [
        PowerVariant(10, spacing=500.0, split="held-out"),
        PowerVariant(10, propagation="umi", split="held-out"),
        PowerVariant(10, speed=8.0, split="held-out"),
        PowerVariant(10, load=0.85, split="held-out"),
        PowerVariant(40, split="held-out"),
        PowerVariant(60, split="held-out"),
        PowerVariant(20, spacing=500.0, speed=8.0, load=0.85, split="held-out"),
    ]
    return {variant.name: variant for variant in (*train, *held_out)}

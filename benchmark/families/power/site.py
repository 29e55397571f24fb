"""Sites of `power`: where links stand and who disturbs whom, what disturbs from outside, what energy costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...physics.channel import (
    UmiStreetCanyon,
    from_db,
    hexagon_sites,
    macro_path_loss,
    noise_power,
    pairs_in_square,
    short_range_path_loss,
    users_in_hexagons,
)
from ...physics.interference import SINR_CAP
from ...site import site_generator
from .variant import CARRIER, PowerVariant

Array = NDArray[np.float64]
Single = NDArray[np.float32]

BAND = {"d2d": 1e7, "macro": 1e6, "umi": 1e7}  # Hz
P_MAX = {"d2d": 10.0, "macro": 38.0, "umi": 24.0}  # dBm
NOISE_FIGURE = 9.0  # dB
SHADOWING = {"d2d": 7.0, "macro": 10.0}  # dB
SHORTEST, LONGEST = 2.0, 65.0  # m, link distances of the pairs
NEAREST = {"macro": 35.0, "umi": 10.0}  # m, of a user to the base station in whose hexagon it stands
OUTSIDE = (20.0, 50.0)  # dB over the noise
DUTY = (0.3, 0.6)  # share of slots with outside interference
PRICE = (0.0, 2.4)  # of a slot at full power
LEAST_NEED = 0.02  # bit/s/Hz: links that hardly hear their transmitter ask for this much
UMI = UmiStreetCanyon(carrier=CARRIER["umi"])


@dataclass(frozen=True)
class Site:
    """Hidden parameters of one place. Gains are mean ones at full power, over the noise.

    Attributes:
        gain: from transmitter c to the receiver of link n, [N, C].
        transmitter: of each link, [N].
        need: mean arrivals of each link in bit/s/Hz, [N].
        outside: mean interference from outside in each slot of the period, over the noise, [N, L].
        price: of one link's slot at full power; the charge.
    """

    gain: Single
    transmitter: NDArray[np.int64]
    need: Single
    outside: Single
    price: float

    @property
    def links(self) -> Single:
        """Gains from the transmitter of link m to the receiver of link n, [N, N]."""
        return self.gain[:, self.transmitter]


@lru_cache(maxsize=4096)
def draw_site(variant: PowerVariant, site: int) -> Site:
    """The hidden parameters of a site; the same whatever else is drawn."""
    return draw(variant, site_generator(variant.name, site))


def draw(variant: PowerVariant, rng: np.random.Generator) -> Site:
    """A site from any generator; for what sites are like on average."""
    gain, transmitter = (_pairs if variant.layout == "d2d" else _cells)(variant, rng)
    direct = gain[np.arange(variant.agents), transmitter]
    alone = np.round(np.log2(1.0 + np.minimum(direct, SINR_CAP)), 3)  # the last bits of a logarithm change no arrival
    need = np.maximum(variant.load * alone, LEAST_NEED)
    level = from_db(rng.uniform(*OUTSIDE, size=(variant.agents, 1)))
    duty = rng.uniform(*DUTY, size=(variant.agents, 1))
    outside = level * (rng.random((variant.agents, variant.period)) < duty)
    single = np.float32
    return Site(gain.astype(single), transmitter, need.astype(single), outside.astype(single), float(rng.uniform(*PRICE)))


def _over_noise(variant: PowerVariant) -> float:
    """dB between full power and the noise of the band."""
    return P_MAX[variant.layout] - noise_power(BAND[variant.layout], NOISE_FIGURE)


def _pairs(variant: PowerVariant, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    senders, receivers = pairs_in_square(variant.agents, variant.size, SHORTEST, LONGEST, rng)
    distance = np.maximum(np.linalg.norm(receivers[:, None] - senders, axis=-1), 1.0)
    shadow = SHADOWING["d2d"] * rng.standard_normal(distance.shape)
    loss = short_range_path_loss(distance, CARRIER["d2d"])
    return from_db(_over_noise(variant) - loss + shadow), np.arange(variant.agents)


def _cells(variant: PowerVariant, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Users uniform over the cells; each is served by the base station that it hears best."""
    stations = hexagon_sites(variant.transmitters, variant.size)
    near = rng.integers(variant.transmitters, size=variant.agents)
    users = users_in_hexagons(stations[near], variant.size, NEAREST[variant.layout], rng)
    distance = np.linalg.norm(users[:, None] - stations, axis=-1)
    sight, shadow = rng.random(distance.shape), rng.standard_normal(distance.shape)
    if variant.layout == "umi":
        large = UMI.gain(distance, sight, shadow)
    else:
        large = from_db(SHADOWING["macro"] * shadow - macro_path_loss(distance))
    gain = large * from_db(_over_noise(variant))
    return gain, gain.argmax(1)

"""Radio channels: path loss, shadowing, fading, hexagonal layouts. NumPy, pure functions; distances in m, gains linear."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

Array = NDArray[np.float64]
LIGHT = 299_792_458.0  # m/s


def from_db(value: Array | float) -> Array:
    """DB to linear power ratio."""
    return 10.0 ** (np.asarray(value, dtype=np.float64) / 10.0)


def macro_path_loss(distance: Array) -> Array:
    """Path loss in dB of a macro cell at 2 GHz: 128.1 + 37.6 log10(d in km) (3GPP TR 36.814 case 1; Nasir and Guo 2019)."""
    return 128.1 + 37.6 * np.log10(np.asarray(distance, dtype=np.float64) / 1000.0)


def short_range_path_loss(distance: Array, carrier: float = 2.4e9, height: float = 1.5) -> Array:
    """Path loss in dB between two low antennas with line of sight: the median of ITU-R P.1411, section 4.3.

    Free space up to the breakpoint, 40 dB a decade after it (as in Cui, Shen and Yu, 'Spatial deep learning for wireless
    scheduling', IEEE JSAC 2019).

    Args:
        distance: in m.
        carrier: in Hz.
        height: of both antennas in m.
    """
    wave = LIGHT / carrier
    edge = 4.0 * height**2 / wave
    at_edge = abs(20.0 * math.log10(wave**2 / (8.0 * math.pi * height**2))) + 6.0
    decades = np.log10(np.asarray(distance, dtype=np.float64) / edge)
    return at_edge + np.where(decades > 0.0, 40.0, 20.0) * decades


def noise_power(band: float, figure: float) -> float:
    """Thermal noise in dBm: -174 dBm/Hz over a band in Hz, plus the receiver's noise figure in dB."""
    return -174.0 + 10.0 * math.log10(band) + figure


@dataclass(frozen=True)
class UmiStreetCanyon:
    """The UMi street-canyon model of 3GPP TR 38.901 (tables 7.4.1-1 and 7.4.2-1).

    Attributes:
        carrier: carrier frequency in Hz, .5 to 100 GHz.
        base_height: of the base station in m.
        user_height: of the user in m.
    """

    carrier: float = 3.5e9
    base_height: float = 10.0
    user_height: float = 1.5

    LOS_SHADOWING = 4.0  # dB
    NLOS_SHADOWING = 7.82

    def breakpoint(self) -> float:
        """Effective breakpoint distance in m; one metre off both heights is the effective environment height."""
        return 4.0 * (self.base_height - 1.0) * (self.user_height - 1.0) * self.carrier / 3.0e8

    def los_path_loss(self, distance: Array) -> Array:
        """Path loss in dB with line of sight at horizontal distances >= 10 m."""
        d2 = np.asarray(distance, dtype=np.float64)
        rise, ghz = self.base_height - self.user_height, self.carrier / 1e9
        d3 = np.hypot(d2, rise)
        near = 32.4 + 21.0 * np.log10(d3) + 20.0 * math.log10(ghz)
        edge = self.breakpoint()
        far = 32.4 + 40.0 * np.log10(d3) + 20.0 * math.log10(ghz) - 9.5 * math.log10(edge**2 + rise**2)
        return np.where(d2 <= edge, near, far)

    def nlos_path_loss(self, distance: Array) -> Array:
        """Path loss in dB without line of sight: never below that with it."""
        d3 = np.hypot(np.asarray(distance, dtype=np.float64), self.base_height - self.user_height)
        loss = 35.3 * np.log10(d3) + 22.4 + 21.3 * math.log10(self.carrier / 1e9) - 0.3 * (self.user_height - 1.5)
        return np.maximum(self.los_path_loss(distance), loss)

    @staticmethod
    def los_probability(distance: Array) -> Array:
        """Probability of line of sight at horizontal distances."""
        d = np.maximum(np.asarray(distance, dtype=np.float64), 1e-9)
        return np.where(d <= 18.0, 1.0, 18.0 / d + np.exp(-d / 36.0) * (1.0 - 18.0 / d))

    def gain(self, distance: Array, uniform: Array, normal: Array) -> Array:
        """Large-scale gain (linear) with line of sight where `uniform` falls below its probability, and its shadowing."""
        sight = uniform < self.los_probability(distance)
        loss = np.where(sight, self.los_path_loss(distance), self.nlos_path_loss(distance))
        return from_db(-loss + normal * np.where(sight, self.LOS_SHADOWING, self.NLOS_SHADOWING))


def jakes_correlation(speed: float, carrier: float, slot: float) -> float:
    """Correlation of the complex channel from slot to slot: J0(2 pi f_d T), f_d = v f_c / c (Clarke 1968; Jakes 1974).

    Args:
        speed: m/s.
        carrier: Hz.
        slot: s.
    """
    return float(j0(2.0 * math.pi * speed * carrier / LIGHT * slot))


def rayleigh_gains(normals: NDArray[np.float32], correlation: float) -> NDArray[np.float32]:
    """Power gains |h|^2 of mean one of first-order Gauss-Markov Rayleigh fading: h' = rho h + sqrt(1 - rho^2) w.

    Args:
        normals: standard normal innovations [T, ..., 2] of real and imaginary part; the first row is the stationary start.
        correlation: rho in [-1, 1].

    Returns:
        [T, ...].
    """
    drive = normals * np.float32(math.sqrt(0.5 * max(0.0, 1.0 - correlation**2)))
    drive[0] = normals[0] * np.float32(math.sqrt(0.5))
    return np.square(autoregression(drive, correlation)).sum(-1, dtype=np.float32)


def autoregression(drive: NDArray[Any], memory: float) -> NDArray[Any]:
    """x[t] = memory x[t - 1] + drive[t] along the first axis, x[0] = drive[0]: same shape and type.

    What SciPy's `lfilter` gives, to the bit, without the second that importing `scipy.signal` takes in every command.
    """
    path = drive.copy()
    for before, now in pairwise(path):
        now += path.dtype.type(memory) * before
    return path


def hexagon_sites(count: int, spacing: float) -> Array:
    """Positions [count, 2] of the first `count` sites of a hexagonal grid, from the centre outwards."""
    reach = range(-math.isqrt(count) - 1, math.isqrt(count) + 2)
    axial = np.array([(q, r) for q in reach for r in reach], dtype=np.float64)
    xy = spacing * np.stack([axial[:, 0] + 0.5 * axial[:, 1], math.sqrt(0.75) * axial[:, 1]], axis=-1)
    order = np.lexsort((np.round(np.arctan2(xy[:, 1], xy[:, 0]), 6), np.round(np.hypot(*xy.T), 6)))
    return xy[order[:count]]


def users_in_hexagons(sites: Array, spacing: float, minimum: float, rng: np.random.Generator) -> Array:
    """One user a row of `sites` [N, 2], uniform over its hexagon (inradius spacing / 2) but for a disc around the site."""
    found = np.zeros_like(sites)
    missing = np.ones(len(sites), dtype=bool)
    normals = np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)], [-0.5, math.sqrt(0.75)]])
    while missing.any():
        offset = rng.uniform(-1.0, 1.0, size=(len(sites), 2)) * (spacing / math.sqrt(3.0))
        inside = (np.abs(offset @ normals.T) <= spacing / 2.0).all(-1) & (np.hypot(*offset.T) >= minimum)
        found[missing & inside] = offset[missing & inside]
        missing &= ~inside
    return sites + found


def pairs_in_square(count: int, side: float, shortest: float, longest: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Transmitters and receivers [N, 2] in a square, link distances uniform (Cui, Shen and Yu, IEEE JSAC 2019).

    Transmitters are uniform in the square; the distance is kept while the direction is drawn until the receiver is inside.
    """
    senders = rng.uniform(0.0, side, size=(count, 2))
    distance = rng.uniform(shortest, longest, size=count)
    receivers = np.full_like(senders, -1.0)
    missing = np.ones(count, dtype=bool)
    while missing.any():
        angle = rng.uniform(0.0, 2.0 * math.pi, size=count)
        placed = senders + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        found = missing & ((placed >= 0.0) & (placed <= side)).all(-1)
        receivers[found] = placed[found]
        missing &= ~found
    return senders, receivers

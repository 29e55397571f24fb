"""What is random in one episode of `offload`: tasks, shadowing, and the coins of tenants and bills."""

from __future__ import annotations

import math

import numpy as np

from ...physics.channel import autoregression
from ...site import scenario_generator
from .layout import MAX_DENSITY, MAX_SIZE, MIN_DENSITY, MIN_SIZE
from .site import SNR_REFERENCE
from .variant import OffloadVariant

SHADOWING, SHADOWING_MEMORY = 3.0, 0.95  # dB; correlation from slot to slot (Gudmundson, Electronics Letters 1991)
AXES = (-2, -2, -1, -2)  # where a batch stands in the parts of a scenario


def draw_scenario(variant: OffloadVariant, site: int, seed: int) -> tuple[np.ndarray, ...]:
    """What is random in one episode. Row t is what is there at the start of slot t.

    Returns:
        Task size (Mbit, 0 = no task) and work (Gcycle) [T + 1, 2, N], what drives the shadowing [T + 1, E, N], uniforms of the
        other tenants [T, E] and of the bills [T, N]; float32.
    """
    rng = scenario_generator(variant.name, site, seed)
    slots, n, e = variant.horizon, variant.agents, variant.edges
    arrive, size, density = rng.random((3, slots + 1, n), dtype=np.float32)
    size = np.where(arrive < variant.arrival, MIN_SIZE + (MAX_SIZE - MIN_SIZE) * size, 0.0).astype(np.float32)
    work = size * (MIN_DENSITY + (MAX_DENSITY - MIN_DENSITY) * density)
    drive = rng.standard_normal((slots + 1, e, n), dtype=np.float32)
    tenants, billing = rng.random((slots, e), dtype=np.float32), rng.random((slots, n), dtype=np.float32)
    return np.stack([size, work], axis=1), drive, tenants, billing


def shadowing(drive: np.ndarray) -> np.ndarray:
    """Shadowing in dB, float64, of what drives it [T + 1, ...]: of all episodes at once, as slot follows on slot."""
    drive = drive.copy()
    drive[1:] *= math.sqrt(1.0 - SHADOWING_MEMORY**2)  # the first row starts the process in its stationary distribution
    return SHADOWING * autoregression(drive.astype(np.float64), SHADOWING_MEMORY)


def efficiency(snr: np.ndarray) -> np.ndarray:
    """Spectral efficiency log2(1 + SNR) of an SNR in dB, as a multiple of that at SNR_REFERENCE."""
    return np.log2(1.0 + 10.0 ** (snr / 10.0)) / math.log2(1.0 + 10.0 ** (SNR_REFERENCE / 10.0))

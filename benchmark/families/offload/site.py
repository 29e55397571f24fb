"""What is hidden at a site of `offload`: speeds and bands of the edges, their other tenants, their tariffs, mean channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...physics.traffic import arcsine, scheduled_runs
from ...site import site_generator
from .variant import OffloadVariant

CAPACITY_RATIO, BAND_RATIO = 16.0, 4.0  # greatest over least, each log-uniform
TENANT_SHARE = (0.5, 0.9)  # of an edge that other tenants take where they are active
TENANT_DUTY = (0.3, 0.6)  # part of the period that they are scheduled
TENANT_ACTIVE = (0.5, 0.95)  # probability that they are active in a scheduled slot
TENANT_RUN = 4  # mean length in slots of a scheduled run
TARIFF_RUN, TARIFF_SPREAD = 2, 0.8  # slots that a tariff holds; how much of it is of these slots, not of the edge
SNR_MEAN, SNR_REFERENCE = (3.0, 15.0), 9.0  # dB: range of a device's mean to an edge; where the band has its nominal rate


@dataclass(frozen=True)
class Sites:
    """Hidden parameters of a batch of B sites.

    Attributes:
        capacity: Gcycle a slot of each edge, [B, E].
        band: Mbit a slot of each edge's band at the reference SNR, [B, E].
        share: part of an edge that its other tenants take where they are active, by slot of the period, 0 where they are not
            scheduled, [B, E, L].
        active: probability that they are active in a scheduled slot, [B, E].
        tariff: probability that a task sent to an edge in a slot of the period is billed, [B, E, L].
        snr: mean SNR of each device at each edge, dB, [B, E, N].
    """

    capacity: Tensor
    band: Tensor
    share: Tensor
    active: Tensor
    tariff: Tensor
    snr: Tensor

    def available(self) -> Tensor:
        """Expected part of each edge that is left to the devices, [B, E, L]."""
        return 1.0 - self.share * self.active.unsqueeze(-1)


def sites(variant: OffloadVariant, numbers: Sequence[int], device: torch.device | str = "cpu") -> Sites:
    """The hidden parameters of these sites, as one batch of float32 tensors."""
    drawn = [_draw(variant, number) for number in numbers]
    return Sites(*(torch.from_numpy(np.stack(parts)).to(device) for parts in zip(*drawn, strict=True)))


@lru_cache(maxsize=4096, typed=True)  # typed: True is not site 1
def _draw(variant: OffloadVariant, number: int) -> tuple[np.ndarray, ...]:
    """The fields of `Sites` for one site, float32."""
    rng = site_generator(variant.name, number)
    e, period = variant.edges, variant.period
    capacity = _parts(CAPACITY_RATIO ** rng.random(e)) * variant.speed
    band = _parts(BAND_RATIO ** rng.random(e)) * variant.band
    share, active = rng.uniform(*TENANT_SHARE, size=(e, 1)), rng.uniform(*TENANT_ACTIVE, size=e)
    scheduled = np.stack([scheduled_runs(period, duty, TENANT_RUN, rng) for duty in rng.uniform(*TENANT_DUTY, size=e)])
    cells = rng.random((e, math.ceil(period / TARIFF_RUN))).repeat(TARIFF_RUN, axis=1)[:, :period]
    tariff = (1.0 - TARIFF_SPREAD) * arcsine(rng.random((e, 1))) + TARIFF_SPREAD * arcsine(cells)
    snr = rng.uniform(*SNR_MEAN, size=(e, variant.agents))
    return tuple(x.astype(np.float32) for x in (capacity, band, share * scheduled, active, tariff, snr))


def _parts(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


FIELDS = tuple(field.name for field in fields(Sites))

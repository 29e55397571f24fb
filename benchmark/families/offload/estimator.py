"""Reads a site off K joint episodes, as an engineer would who knows the family: by counting and averaging."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...agent import Support
from .env import TARIFF_WEIGHT
from .layout import MAX_SIZE, MEAN_SIZE, MEAN_WORK, View
from .planning import Estimate, average
from .site import SNR_REFERENCE, TARIFF_RUN, TARIFF_SPREAD
from .variant import OffloadVariant

BILL_NOISE = 0.18  # variance of a bill of 0 or 1
CELL_VARIANCE, EDGE_VARIANCE = TARIFF_SPREAD**2 / 8.0, (1.0 - TARIFF_SPREAD) ** 2 / 8.0  # of tariffs, within and between
AVAILABLE_WEIGHT = 1.0  # samples that the mean of an edge is worth in the estimate of one of its slots
DOUBT = 0.1


def estimate(variant: OffloadVariant, support: Support) -> Estimate:
    """What K joint episodes say of their site."""
    e, prior = variant.edges, average(variant, support.obs.device)
    view = View(support.obs)
    slots = torch.arange(support.obs.shape[1] - 1, device=support.obs.device) % variant.period
    capacity, available = _capacity(view, e, slots, variant.period, prior)
    return Estimate(
        capacity.unsqueeze(0),
        _band(view, support.action, e, prior).unsqueeze(0),
        available.unsqueeze(0),
        _tariff(variant, support, slots).unsqueeze(0),
        _snr(view.channel[..., :e]).unsqueeze(0),
        DOUBT,
    )


def _snr(channel: Tensor) -> Tensor:
    """Mean SNR in dB of each device at each edge, [E, N], from efficiencies [K, T, N, E]."""
    bits = channel * math.log2(1.0 + 10.0 ** (SNR_REFERENCE / 10.0))
    return (10.0 * torch.log10(2.0**bits - 1.0)).mean((0, 1)).T


def _band(view: View, action: Tensor, edges: int, prior: Estimate) -> Tensor:
    """Mbit a slot of each band, [E]: the median of what a device that had more to send got, times the sharers."""
    server = action[:, :-1, :, :1] == torch.arange(1, edges + 1, device=action.device)
    new = view.task[:, :-1, :, 1:2] * MAX_SIZE * server
    held = view.sending[:, :-1, :, :edges].expm1() * MEAN_SIZE + new
    sent = view.sent[:, 1:, :, :edges] * MEAN_SIZE
    sharers = (sent > 0).sum(2, keepdim=True)
    sample = sent * sharers / view.channel[:, :-1, :, :edges]
    found = torch.where((sent > 0) & (held > sent + 1e-3), sample, torch.nan).flatten(0, 2).nanmedian(0).values
    return torch.where(found.isnan(), prior.band[0], found)


def _capacity(view: View, edges: int, slots: Tensor, period: int, prior: Estimate) -> tuple[Tensor, Tensor]:
    """Gcycle a slot of each edge [E], and the part that other tenants leave of it by slot of the period [E, L]."""
    held = view.pending[:, :-1, :, :edges].expm1() * MEAN_WORK
    served = view.served[:, 1:, :, :edges] * MEAN_WORK
    sharers = (served > 0).sum(2)  # [K, T - 1, E]
    full = (served > 0) & (held > served + 1e-3)
    sample = torch.where(full, served, 0.0).amax(2) * sharers  # what the edge did in the slot, 0 where it is not known
    capacity = sample.amax((0, 1))
    capacity = torch.where(capacity > 0, capacity, prior.capacity[0])
    seen = (sample > 0).float()
    part = sample / capacity
    mean = (part.sum((0, 1)) + 2.0 * prior.available[0, :, 0]) / (seen.sum((0, 1)) + 2.0)
    totals, counts = (x.new_zeros(period, edges).index_add(0, slots, x.sum(0)) for x in (part, seen))
    return capacity, ((totals + AVAILABLE_WEIGHT * mean) / (counts + AVAILABLE_WEIGHT)).T


def _tariff(variant: OffloadVariant, support: Support, slots: Tensor) -> Tensor:
    """Expected bill of each edge in each slot of the period, [E, L].

    What a slot cost a device beyond its tasks and its drops is a bill and some energy; a bill costs TARIFF_WEIGHT, and the energy far below half of it.
    """
    v, view = variant, View(support.obs)
    rest = -v.agents * support.reward[:, :-1] - view.alive[:, :-1, :, 0] - view.outcome[:, 1:, :, 1]
    server = support.action[:, :-1, :, 0] * view.task[:, :-1, :, 0]
    used = (server.unsqueeze(-1) == torch.arange(1, v.edges + 1, device=server.device)).float()
    bills = used * (rest > 0.5 * TARIFF_WEIGHT).unsqueeze(-1)
    cells = math.ceil(v.period / TARIFF_RUN)
    count, billed = (x.new_zeros(cells, v.edges).index_add(0, slots // TARIFF_RUN, x.sum((0, 2))) for x in (used, bills))
    found = billed / count.clamp(min=1.0)
    weight = count / (BILL_NOISE + CELL_VARIANCE * count)  # precision of a cell about the mean of its edge
    mean = ((weight * found).sum(0) + 0.5 / EDGE_VARIANCE) / (weight.sum(0) + 1.0 / EDGE_VARIANCE)
    sure = CELL_VARIANCE * count / (BILL_NOISE + CELL_VARIANCE * count)
    return (mean + sure * (found - mean)).T.repeat_interleave(TARIFF_RUN, dim=1)[:, : v.period]

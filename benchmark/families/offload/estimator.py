"""Reads a site off K joint episodes, as an engineer would who knows the family: by counting and averaging."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...agent import Support
from .env import TARIFF_WEIGHT
from .layout import MAX_SIZE, MEAN_SIZE, MEAN_WORK, View
from .planning import Estimate, average
from .site import SNR_REFERENCE, TARIFF_RUN, TARIFF_SPREAD, TENANT_ACTIVE, TENANT_DUTY, TENANT_SHARE
from .variant import OffloadVariant

BILL_NOISE = 0.16  # variance of a bill of 0 or 1
CELL_VARIANCE, EDGE_VARIANCE = TARIFF_SPREAD**2 / 8.0, (1.0 - TARIFF_SPREAD) ** 2 / 8.0  # of tariffs, within and between
SHARE, DUTY, ACTIVE = (sum(bounds) / 2.0 for bounds in (TENANT_SHARE, TENANT_DUTY, TENANT_ACTIVE))
SHARE_WEIGHT, ACTIVE_WEIGHT = 0.1, 4.0  # samples that these means are worth
DOUBT = 0.05


def estimate(variant: OffloadVariant, support: Support) -> Estimate:
    """What K joint episodes say of their site."""
    e, prior = variant.edges, average(variant, support.obs.device)
    view = View(support.obs)
    slots = torch.arange(support.obs.shape[1] - 1, device=support.obs.device) % variant.period
    bound, exact = _work_done(view, e)
    capacity = _capacity(variant, bound, exact, prior)
    return Estimate(
        capacity.unsqueeze(0),
        _band(view, support.action, e, prior).unsqueeze(0),
        _available(bound, exact, capacity, slots, variant.period).unsqueeze(0),
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


def _work_done(view: View, edges: int) -> tuple[Tensor, Tensor]:
    """The least that each edge can do in each slot, [K, T - 1, E] Gcycle, and whether it is just that.

    All sharers get the same, but for those that have less work there: what the most that one got, times the sharers, says is
    a bound, and exact where that device had more work left.
    """
    held = view.pending[:, :-1, :, :edges].expm1() * MEAN_WORK
    served = view.served[:, 1:, :, :edges] * MEAN_WORK
    bound = served.amax(2) * (served > 0).sum(2)
    return bound, ((served > 0) & (held > served + 1e-3)).any(2)


def _capacity(variant: OffloadVariant, bound: Tensor, exact: Tensor, prior: Estimate) -> Tensor:
    """Gcycle a slot of each edge, [E].

    An edge that was seen with and without its tenants can do the most that was seen; the others share what is left of the
    public total.
    """
    most, flat = bound.amax((0, 1)), torch.where(exact, bound, torch.inf).flatten(0, 1)
    sure = (flat.amin(0) < 0.6 * most) & (torch.where(exact, bound, 0.0).amax((0, 1)) > 0.99 * most)
    guess = torch.where(most > 0, most, prior.capacity[0])
    rest = (variant.speed - torch.where(sure, most, 0.0).sum()).clamp(min=0.0)
    part = torch.where(sure, 0.0, guess)
    return torch.where(sure, most, torch.maximum(most, rest * part / part.sum().clamp(min=1e-9)))


def _available(bound: Tensor, exact: Tensor, capacity: Tensor, slots: Tensor, period: int) -> Tensor:
    """The part of each edge that other tenants leave by slot of the period, [E, L], by Bayes' rule.

    In a slot they are there (`low`) or not (`high`). One `low` says that they are scheduled in that slot of the period; with
    each `high` alone it is less likely that they are.
    """
    part = bound / capacity
    low, high = exact & (part < 0.75), part > 0.75
    share = 1.0 - (torch.where(low, part, 0.0).sum((0, 1)) + SHARE_WEIGHT * (1.0 - SHARE)) / (low.sum((0, 1)) + SHARE_WEIGHT)
    taken, free = (torch.zeros(period, x.shape[-1], device=x.device).index_add(0, slots, x.float().sum(0)) for x in (low, high))
    scheduled = taken > 0
    often = torch.where(scheduled, taken - 1.0, 0.0).sum(0) + ACTIVE_WEIGHT * ACTIVE
    seen = torch.where(scheduled, taken + free - 1.0, 0.0).sum(0) + ACTIVE_WEIGHT
    active = (often / seen).clamp(*TENANT_ACTIVE)
    likely = DUTY * (1.0 - active) ** free
    chance = torch.where(scheduled, 1.0, likely / (likely + 1.0 - DUTY))
    return (1.0 - share * active * chance).T


def _tariff(variant: OffloadVariant, support: Support, slots: Tensor) -> Tensor:
    """Expected bill of each edge in each slot of the period, [E, L].

    What a slot cost a device beyond its tasks and its drops is a bill and some energy; a bill costs TARIFF_WEIGHT, and the
    energy far below half of it.
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

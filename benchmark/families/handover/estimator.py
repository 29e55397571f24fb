"""Reads a site off K joint episodes, as an engineer would who knows the family: by counting and averaging."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...agent import Support
from .env import NEIGHBOURS, PRICE
from .layout import DB_SCALE, LOWEST, METRES, View
from .maps import CELLS
from .planning import Knowledge, average, cell_of
from .site import PRICE_RUN, TARIFF_MEAN, TENANT_ACTIVE, TENANT_DUTY
from .variant import BAND, HandoverVariant

UNHEARD = -14.0  # dB that a station counts as which is surely below detection
SAMPLES = 1.0  # measurements that ignorance of a cell's level is worth
BILL_NOISE = 0.16  # variance of a bill of 0 or 1
CELL_VARIANCE, STATION_VARIANCE = 0.375 / 8.0, 0.25 / 8.0  # of x y about x / 2, and of x / 2
NEAR = 0.25  # of a measurement's weight counts in each of the eight cells around
ENOUGH = 0.98  # of the need, or of the airtime: more counts as all of it
BUSY = 0.3  # of the airtime: more is taken by other tenants alone, and they take at least .5


def estimate(variant: HandoverVariant, support: Support) -> Knowledge:
    """What K joint episodes say of their site."""
    v, view, prior = variant, View(support.obs), average(variant, support.obs.device)
    served = Served(v, view)
    found = (*_map(v, view), _backhaul(v, served), _available(v, served, prior), _tariff(v, view, support))
    return Knowledge(*(each.unsqueeze(0) for each in found))


class Served:
    """What the stations did in each slot, as their users saw it one slot later; slots but the last, [K, T - 1, S] each.

    Attributes:
        flow: Mbit/s that all users got.
        short: whether one got less than its need while its station had airtime left.
        seen: whether there was a user.
        taken: part of the airtime that other tenants took: the load that a station broadcasts, less what its users took.
    """

    def __init__(self, v: HandoverVariant, view: View) -> None:
        here = view.serving[:, 1:, :, : v.stations]
        rate, bits = view.rate[:, 1:, :, :1], view.rate[:, 1:, :, 1:] * 8.0
        linked = (bits > 0) * here  # but for those that came back elsewhere, whose rate was 0
        self.flow = (rate * v.need * linked).sum(2)
        self.seen = linked.amax(2)
        load = (view.load[:, 1:, :, 1:] * linked).amax(2)
        used = (rate * v.need / (BAND * bits).clamp(min=1e-3) * linked).sum(2)
        self.taken = (load - used).clamp(0.0, 1.0)
        self.short = ((rate < ENOUGH) & (linked > 0)).any(2) & (load < ENOUGH)


def _map(v: HandoverVariant, view: View) -> tuple[Tensor, Tensor, Tensor]:
    """Mean level and how sure it is, [G, S], by cell, and the share of users in each cell, [G].

    A measurement is of the slot before. Where fewer neighbours are reported than could be, the others are below detection.
    """
    s, cells = v.stations, CELLS * CELLS
    at = cell_of(view.position * METRES)
    there = at[:, :-1].flatten()
    heard = (view.reported + view.serving)[:, 1:, :, :s] > 0
    level = view.level[:, 1:, :, :s] * DB_SCALE + LOWEST
    few = (view.reported.sum(-1) < min(NEIGHBOURS, s - 1))[:, 1:].unsqueeze(-1)
    value = torch.where(heard, level, UNHEARD).flatten(0, 2)
    weight = (heard | few).float().flatten(0, 2)
    total, count = (x.new_zeros(cells, s).index_add_(0, there, x) for x in (value * weight, weight))
    total, count = (x + NEAR * _around(x) for x in (total, count))
    street = torch.zeros(cells, device=value.device).index_add_(0, there, torch.ones_like(value[:, 0]))
    return total / count.clamp(min=1e-6), count / (count + SAMPLES), street / street.sum()


def _around(cells: Tensor) -> Tensor:
    """Sum over the eight cells around each, [G, S]."""
    grid = cells.T.reshape(1, -1, CELLS, CELLS)
    near = torch.nn.functional.avg_pool2d(grid, 3, stride=1, padding=1, divisor_override=1) - grid
    return near.reshape(-1, CELLS * CELLS).T


def _backhaul(v: HandoverVariant, served: Served) -> Tensor:
    """Mbit/s of each station, [S].

    What all users got is the least that a backhaul carries, and just that where one of them was short. Stations that never
    were have what is left of the public total.
    """
    sure = torch.where(served.short, served.flow, 0.0).amax((0, 1))
    least, unknown = served.flow.amax((0, 1)), sure == 0
    rest = (v.capacity - sure.sum()).clamp(min=0.0) / unknown.sum().clamp(min=1)
    return torch.where(unknown, torch.maximum(least, rest), sure)


def _available(v: HandoverVariant, served: Served, prior: Knowledge) -> Tensor:
    """The part of the airtime that other tenants leave by slot of the period, [S, L], by Bayes' rule.

    Tenants seen once in a slot of the period are scheduled there; with each time that they are not seen it is less likely.
    """
    slots = torch.arange(served.taken.shape[1], device=served.taken.device) % v.period
    busy = served.seen * (served.taken > BUSY)
    parts = (served.seen, busy, busy * served.taken)
    count, met, taken = (x.new_zeros(v.period, v.stations).index_add_(0, slots, x.sum(0)) for x in parts)
    scheduled = (met > 0).float()
    active = (met.sum(0) / (count * scheduled).sum(0).clamp(min=1.0)).clamp(*TENANT_ACTIVE)
    duty = sum(TENANT_DUTY) / 2.0
    unseen = duty * (1.0 - active) ** count
    chance = torch.where(met > 0, 1.0, unseen / (unseen + 1.0 - duty))
    share = torch.where(met.sum(0) > 0, taken.sum(0) / met.sum(0).clamp(min=1.0), 1.0 - prior.available[0, :, 0])
    return (1.0 - chance * active * share).T


def _tariff(v: HandoverVariant, view: View, support: Support) -> Tensor:
    """Expected bill of a handover into each station in each slot of the period, [S, L], as a part of PRICE."""
    s = v.stations
    bill = (view.rate[:, 1:, :, 0] - support.reward[:, :-1] * v.agents) / PRICE
    into = (support.action[:, :-1].unsqueeze(-1) == torch.arange(1, s + 1, device=bill.device)) * view.moved[:, 1:]
    runs = math.ceil(v.period / PRICE_RUN)
    slots = torch.arange(bill.shape[1], device=bill.device) % v.period // PRICE_RUN
    count, billed = (x.new_zeros(runs, s).index_add_(0, slots, x.sum((0, 2))) for x in (into, into * bill.unsqueeze(-1)))
    found = billed / count.clamp(min=1.0)
    weight = count / (BILL_NOISE + CELL_VARIANCE * count)  # precision of a cell about the mean of its station
    mean = ((weight * found).sum(0) + TARIFF_MEAN / STATION_VARIANCE) / (weight.sum(0) + 1.0 / STATION_VARIANCE)
    sure = CELL_VARIANCE * count / (BILL_NOISE + CELL_VARIANCE * count)
    return (mean + sure * (found - mean)).T.repeat_interleave(PRICE_RUN, dim=1)[:, : v.period]

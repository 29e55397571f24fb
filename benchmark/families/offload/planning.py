"""A common split of the devices over the edges: what everybody who holds the same estimate of a site can compute alone.

For each slot of the period it looks for the loads at which no device would rather go elsewhere, when it pays for the delay
that it causes (the social optimum of a congestion game, by averaged best responses). The result is a table of congestion
factors; a device then weighs its own task, channel and queues by them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .env import TARIFF_WEIGHT
from .layout import LOCAL_SPEED, MEAN_SIZE, MEAN_WORK, SLOT
from .site import SNR_MEAN, SNR_REFERENCE, TENANT_ACTIVE, TENANT_DUTY, TENANT_SHARE, Sites
from .variant import OffloadVariant

ITERATIONS = 24
TEMPERATURE = 0.06  # of the softmin, in units of cost: tasks and channels differ more in play than in the plan
AHEAD = 4  # slots that a task looks ahead for what the other tenants leave
FULLEST = 0.85  # load up to which a shared server slows down by 1 / (1 - load); from there on the tangent goes on
LOCAL_ENERGY = 0.3  # cost of the energy of a Gcycle at the usual clock
SIZES = (0.5, 1.0, 1.5)  # tasks that the plan thinks of, as multiples of the mean


@dataclass(frozen=True)
class Estimate:
    """What is thought of P sites.

    Attributes:
        capacity: Gcycle a slot of each edge, [P, E].
        band: Mbit a slot of each band at the reference SNR, [P, E].
        available: expected part of each edge that other tenants leave, [P, E, L].
        tariff: expected bill of a task, [P, E, L].
        snr: mean SNR of S devices (all, or a sample), dB, [P, E, S].
        doubt: variance of the logarithm of a speed, 0 or more; what is seen in play moves the estimate by it.
    """

    capacity: Tensor
    band: Tensor
    available: Tensor
    tariff: Tensor
    snr: Tensor
    doubt: float


def average(variant: OffloadVariant, device: torch.device | str = "cpu") -> Estimate:
    """The average site: all edges alike."""
    e, even = variant.edges, torch.ones(1, variant.edges, device=device) / variant.edges
    taken = math.prod(sum(bounds) / 2.0 for bounds in (TENANT_SHARE, TENANT_DUTY, TENANT_ACTIVE))
    cells = torch.ones(1, e, variant.period, device=device)
    sample = (torch.arange(24, device=device) + 0.5) / 24
    spread = torch.stack([sample[torch.randperm(24, generator=torch.Generator().manual_seed(k))] for k in range(e)])
    snr = SNR_MEAN[0] + (SNR_MEAN[1] - SNR_MEAN[0]) * spread
    return Estimate(even * variant.speed, even * variant.band, cells * (1.0 - taken), cells * 0.5, snr.unsqueeze(0), 0.5)


def told(sites: Sites) -> Estimate:
    """The sites as they are."""
    return Estimate(sites.capacity, sites.band, sites.available(), sites.tariff, sites.snr, 0.05)


def efficiency(snr: Tensor) -> Tensor:
    """Spectral efficiency of an SNR in dB, as a multiple of that at SNR_REFERENCE."""
    return torch.log2(1.0 + 10.0 ** (snr / 10.0)) / math.log2(1.0 + 10.0 ** (SNR_REFERENCE / 10.0))


@dataclass(frozen=True)
class Plan:
    """Congestion of each edge by slot of the period, each [P, E, L].

    Attributes:
        speed: Gcycle a slot that an edge gives to the devices over the next slots.
        band_slower: how much slower than alone a band is; `band_price`: with the delay that one causes to others.
        edge_slower: how much slower than alone a processor is; `edge_price`: with the delay that one causes to others.
        tariff: expected cost of the bill.
    """

    speed: Tensor
    band_slower: Tensor
    band_price: Tensor
    edge_slower: Tensor
    edge_price: Tensor
    tariff: Tensor


def slower(load: Tensor) -> Tensor:
    """Slowdown of a server shared equally, 1 / (1 - load) (processor sharing), its tangent beyond FULLEST."""
    room = 1.0 / (1.0 - load.clamp(max=FULLEST))
    return room + room.square() * (load - FULLEST).clamp(min=0.0)


def price(load: Tensor) -> Tensor:
    """Derivative of load * slower(load): own slowdown and that of all others, 1 / (1 - load)^2 up to FULLEST."""
    room = 1.0 / (1.0 - load.clamp(max=FULLEST))
    return room.square() + 2.0 * room.square() * (load - FULLEST).clamp(min=0.0)


def window(values: Tensor, first: int, slots: int) -> Tensor:
    """Mean of values [..., L] over the slots l + first ... l + first + slots - 1, round the period."""
    return torch.stack([values.roll(-k, -1) for k in range(first, first + slots)]).mean(0)


def late(delay: Tensor, deadline: int) -> Tensor:
    """Expected penalty of a task that is expected to take `delay` slots."""
    return torch.sigmoid((delay - deadline) / (0.15 * deadline))


def plan(variant: OffloadVariant, thought: Estimate) -> Plan:
    """The congestion at the social optimum of what is thought."""
    v, n = variant, thought.snr.shape[-1]
    each = v.arrival * v.agents / (n * len(SIZES))  # tasks a slot of a (device, size)
    sizes = torch.tensor(SIZES, device=thought.snr.device)
    # [P, S, J, E] slots alone on the band; [P, 1, J, E, L] slots alone on the processor.
    rate = thought.band.unsqueeze(1) * efficiency(thought.snr).transpose(1, 2)
    air = (sizes * MEAN_SIZE).view(1, 1, -1, 1) / rate.unsqueeze(2)
    speed = window(thought.capacity.unsqueeze(-1) * thought.available, 1, AHEAD)
    cpu = (sizes * MEAN_WORK).view(1, 1, -1, 1, 1) / speed[:, None, None]
    alone = sizes.view(1, 1, -1, 1, 1) * MEAN_WORK / (LOCAL_SPEED * SLOT)
    bill = TARIFF_WEIGHT * thought.tariff
    band_load = edge_load = local_load = None
    for k in range(ITERATIONS):
        band = torch.zeros_like(speed) if band_load is None else band_load
        edge = torch.zeros_like(speed) if edge_load is None else edge_load
        own = alone.new_zeros(1, 1, 1, 1, v.period) if local_load is None else local_load
        held = air.unsqueeze(-1) * slower(band)[:, None, None] + 1.0 + cpu * slower(edge)[:, None, None]
        paid = air.unsqueeze(-1) * price(band)[:, None, None] + 1.0 + cpu * price(edge)[:, None, None]
        there = paid / v.deadline + late(held, v.deadline) + bill[:, None, None]
        here = local_cost(v, alone, own)
        cost = torch.cat([here.expand(*there.shape[:3], 1, v.period), there], dim=3)
        chosen = each * torch.softmax(cost / -TEMPERATURE, dim=3)
        new = (
            window((chosen[..., 1:, :] * air.unsqueeze(-1)).sum((1, 2)), -2, 4),
            window((chosen[..., 1:, :] * cpu).sum((1, 2)), -4, 5),
            (chosen[..., :1, :] * alone).sum(2, keepdim=True).mean(-1, keepdim=True) * n / v.agents,
        )
        step = 1.0 if k == 0 else 2.0 / (k + 2)
        band_load, edge_load, local_load = (a + step * (b - a) for a, b in zip((band, edge, own), new, strict=True))
    assert band_load is not None and edge_load is not None
    return Plan(speed, slower(band_load), price(band_load), slower(edge_load), price(edge_load), bill)


def local_cost(variant: OffloadVariant, slots: Tensor, load: Tensor | float = 0.0) -> Tensor:
    """Cost of a task that takes so many slots on the own CPU, which is loaded otherwise."""
    wait = slots * (price(load) if isinstance(load, Tensor) else 1.0)
    return wait / variant.deadline + late(wait, variant.deadline) + LOCAL_ENERGY * slots * LOCAL_SPEED * SLOT

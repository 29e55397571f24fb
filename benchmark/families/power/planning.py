"""What a site's parameters say about when to send: powers that are best for all links, and a plan of an episode from them.

The worth of serving a bit grows with the backlog (max-weight; Tassiulas and Ephremides 1992), and energy has its price:
`sum_n worth(x_n) min(rate_n / A_n, x_n) - price p_n` over the powers of all links, with backlogs x in slots of mean arrivals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...physics.interference import SINR_CAP
from .variant import PowerVariant

AMPLITUDES = (0.0, 0.1, 0.2, 0.35, 0.6, 1.0)
REFERENCE, EXPONENT = 16.0, 0.5  # a bit is worth what it earns where this many slots of arrivals wait
FULL = 32.0  # slots of mean arrivals that a buffer holds
START = 2.0  # slots of mean arrivals that wait at first, on average
MOVES = 64  # changes of a single power at most, a slot of a plan


@dataclass
class Knowledge:
    """What one knows of S sites. Gains are mean ones at full power, over the noise.

    Attributes:
        cross: from transmitter m to the receiver of link n, [S, N, N]; 0 where m = n.
        direct: of each link, [S, N].
        need: mean arrivals in bit/s/Hz, [S, N].
        outside: mean interference from outside, [S, N, L].
        price: of a slot at full power, [S].
        count: how many observations each entry of `outside` rests on, [S, N, L]; infinite = it is known.
    """

    cross: Tensor
    direct: Tensor
    need: Tensor
    outside: Tensor
    price: Tensor
    count: Tensor


@dataclass
class Plan:
    """What all links can compute alike from the same knowledge.

    Attributes:
        power: of each link in each slot, [S, T, N].
        interference: that each link meets from the others, [S, T, N].
        harm: what the others lose in worth when a link sends at each of `AMPLITUDES`, [S, T, N, K].
    """

    power: Tensor
    interference: Tensor
    harm: Tensor


def worth(slots: Tensor) -> Tensor:
    """Worth of serving one slot of mean arrivals, where so many wait."""
    return (slots / REFERENCE) ** EXPONENT


def served(ratio: Tensor, need: Tensor, slots: Tensor) -> Tensor:
    """Slots of mean arrivals that a link serves in a slot at this SINR."""
    return torch.minimum(torch.log1p(ratio.clamp(max=SINR_CAP)) / (need * math.log(2.0)), slots)


def levels(like: Tensor) -> Tensor:
    """Powers [K] of `AMPLITUDES`."""
    return torch.tensor(AMPLITUDES, dtype=like.dtype, device=like.device).square()


def effects(power: Tensor, noise: Tensor, direct: Tensor, cross: Tensor, need: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """What each link and all others would earn if only that link changed its power.

    Args:
        power: now, [S, N].
        noise: interference plus noise now, [S, N].
        direct: gains, [S, N].
        cross: gains from m to n, [S, N, N].
        need: mean arrivals, [S, N].
        slots: backlogs in slots of mean arrivals, [S, N].

    Returns:
        Worth to the link itself and to all others at each level, [S, N, K] each.
    """
    change = levels(power) - power.unsqueeze(-1)
    hurt = noise[:, None, None] + cross.transpose(1, 2).unsqueeze(2) * change.unsqueeze(-1)  # [S, link, K, victim]
    signal = (direct * power)[:, None, None]
    value = worth(slots)[:, None, None] * served(signal / hurt.clamp(min=1.0), need[:, None, None], slots[:, None, None])
    others = value.sum(-1) - value.diagonal(dim1=1, dim2=3).transpose(1, 2)
    alone = (direct / noise).unsqueeze(-1) * levels(power)
    return worth(slots).unsqueeze(-1) * served(alone, need.unsqueeze(-1), slots.unsqueeze(-1)), others


def ascend(noise: Tensor, direct: Tensor, cross: Tensor, need: Tensor, slots: Tensor, price: Tensor) -> tuple[Tensor, Tensor]:
    """Powers from silence by steepest ascent: the best change of a single power, until none is left.

    Args: see `effects`; `noise` [S, N] is that without the links, `price` is [S].

    Returns:
        Powers [S, N] and interference plus noise [S, N].
    """
    power, total = torch.zeros_like(direct), noise
    for _ in range(MOVES):
        own, others = effects(power, total, direct, cross, need, slots)
        gain = own + others - price[:, None, None] * levels(power)
        now = (power.unsqueeze(-1) == levels(power)).int().argmax(-1, keepdim=True)
        gain = (gain - gain.gather(-1, now)).flatten(1)
        best, where = gain.max(1)
        if not bool((best > 1e-5).any()):
            break
        link, level = torch.div(where, len(AMPLITUDES), rounding_mode="floor"), where % len(AMPLITUDES)
        changed = torch.where(best > 1e-5, levels(power)[level], power.gather(1, link[:, None])[:, 0])
        power = power.scatter(1, link[:, None], changed[:, None])
        total = noise + (cross * power.unsqueeze(1)).sum(-1)
    return power, total


def make_plan(variant: PowerVariant, known: Knowledge) -> Plan:
    """Plays an episode on mean channels with mean arrivals, each slot at the powers that are best for all links."""
    slots = torch.full_like(known.direct, START)
    parts = []
    for t in range(variant.horizon):
        outside = 1.0 + known.outside[..., t % variant.period]
        power, noise = ascend(outside, known.direct, known.cross, known.need, slots, known.price)
        _, others = effects(power, noise, known.direct, known.cross, known.need, slots)
        parts.append((power, noise - outside, others[..., :1] - others))
        slots = (slots - served(known.direct * power / noise, known.need, slots) + 1.0).clamp(max=FULL)
    return Plan(*(torch.stack(part, dim=1) for part in zip(*parts, strict=True)))

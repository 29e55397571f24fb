"""The central reference of `power`: sees all channels, queues and what disturbs from outside in the very slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, State
from ...physics.interference import wmmse
from .planning import AMPLITUDES, levels, served, worth

if TYPE_CHECKING:
    from .env import PowerEnv

SWEEPS = 3
ITERATIONS = 20


class Genie(Agent):
    """Powers of `sum_n worth(x_n) min(rate_n / A_n, x_n) - price p_n`, one power at a time, from several starts.

    Starts are silence, full power and the max-weight powers of WMMSE (Shi et al. 2011). It looks one slot ahead.
    """

    name = "genie"
    privileged = True

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        env = cast("PowerEnv", state.env)
        gain = env.link_channel(state.slot)
        direct = gain.diagonal(dim1=1, dim2=2).contiguous()
        base = 1.0 + env.outside_now(state.slot)
        slots = env.backlog / env.need
        cross = gain - torch.diag_embed(direct)
        problem = Problem(cross, direct, base, env.need, slots, env.price)
        weight = worth(slots) / env.need
        scaled = gain / base.unsqueeze(-1)  # WMMSE takes one noise for all
        starts = (torch.zeros_like(direct), torch.ones_like(direct), wmmse(scaled, weight, 1.0, 1.0, ITERATIONS))
        found, value = problem.polish(starts[0])
        for start in starts[1:]:
            other, reached = problem.polish(start)
            found = torch.where((reached > value).unsqueeze(-1), other, found)
            value = torch.maximum(value, reached)
        return found.sqrt()


class Problem:
    """One slot's problem in B episodes; see `planning.effects` for the arguments."""

    def __init__(self, cross: Tensor, direct: Tensor, base: Tensor, need: Tensor, slots: Tensor, price: Tensor) -> None:
        self.outgoing = cross.transpose(1, 2).contiguous()
        self.cross, self.direct, self.base, self.need, self.slots, self.price = cross, direct, base, need, slots, price
        self.worth = worth(slots)
        self.order = (self.worth * served(direct / base, need, slots)).argsort(1, descending=True)

    def value(self, power: Tensor) -> Tensor:
        """What powers [B, N] are worth, [B]."""
        noise = self.base + (self.cross * power.unsqueeze(1)).sum(-1)
        gained = self.worth * served(self.direct * power / noise, self.need, self.slots)
        return (gained - self.price[:, None] * power).sum(-1)

    def polish(self, power: Tensor) -> tuple[Tensor, Tensor]:
        """Best level of one link after the other, in order of what each could earn alone; returns powers and their worth."""
        row = torch.arange(len(power), device=power.device)
        level = levels(power)
        power = power.clone()
        noise = self.base + (self.cross * power.unsqueeze(1)).sum(-1)
        for _ in range(SWEEPS):
            for link in self.order.unbind(1):
                change = level - power[row, link].unsqueeze(-1)  # [B, K]
                met = noise.unsqueeze(1) + self.outgoing[row, link].unsqueeze(1) * change.unsqueeze(-1)
                signal = (self.direct * power).unsqueeze(1).repeat(1, len(level), 1)
                signal[row, :, link] = self.direct[row, link].unsqueeze(-1) * level
                gained = served(signal / met.clamp(min=1.0), self.need.unsqueeze(1), self.slots.unsqueeze(1))
                gained = (self.worth.unsqueeze(1) * gained).sum(-1) - self.price[:, None] * level
                best = gained.argmax(-1)
                chosen = change.gather(1, best[:, None])
                noise = noise + self.outgoing[row, link] * chosen
                power[row, link] = level[best]
        return power, self.value(power)


assert AMPLITUDES[0] == 0.0

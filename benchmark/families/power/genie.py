"""The central reference of `power`: sees all channels, queues and what disturbs from outside in the very slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, State
from ...physics.interference import wmmse
from .env import BUFFER, DELAY_COST
from .planning import levels, served, worth
from .site import BAND
from .variant import SLOT

if TYPE_CHECKING:
    from .env import PowerEnv

SWEEPS = 3
ITERATIONS = 20
REPLAYS = 5  # of an episode in hindsight; later ones add little
STEP = 0.3  # of the way from one replay's worths to those that it would have called for


class Genie(Agent):
    """Powers of `sum_n worth(x_n) min(rate_n / A_n, x_n) - price p_n`, one power at a time, from several starts.

    Starts are silence, full power and the max-weight powers of WMMSE (Shi et al. 2011). It looks one slot ahead.
    """

    name = "genie"
    privileged = True

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        env = cast("PowerEnv", state.env)
        return amplitudes(env, state.slot, worth(env.backlog / env.need))


class Hindsight(Genie):
    """The genie, told the whole episode: it plays a copy several times and keeps the best. A bound to go by, no policy.

    The genie's worth of serving a bit is a guess. After an episode one knows how long the bit would have waited otherwise, and
    whether it would have been dropped; the next replay goes part of the way to that worth.
    """

    name = "hindsight"

    def begin(self, state: State) -> None:
        """Play the episodes, and remember the best replay of each."""
        env, value = cast("PowerEnv", state.env), None
        everyone = torch.arange(state.batch, device=env.device)
        best, most = env.backlog.new_zeros(()), torch.full((state.batch,), -torch.inf, device=env.device)
        for _ in range(REPLAYS):
            amplitude, used, called_for, earned = replay(env.clone_episodes(everyone), value)
            best = torch.where((earned > most)[:, None], amplitude, best)
            most, value = torch.maximum(earned, most), used + STEP * (called_for - used)
        state.memory["amplitude"] = best

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        return cast(Tensor, state.memory["amplitude"])[state.slot]


def amplitudes(env: PowerEnv, slot: int, value: Tensor) -> Tensor:
    """Amplitudes [B, N] for a slot, where serving one slot of mean arrivals of a link is worth `value` [B, N]."""
    gain = env.link_channel(slot)
    direct = gain.diagonal(dim1=1, dim2=2).contiguous()
    base = 1.0 + env.outside_now(slot)
    slots = env.backlog / env.need
    cross = gain - torch.diag_embed(direct)
    problem = Problem(cross, direct, base, env.need, slots, env.price, value)
    scaled = gain / base.unsqueeze(-1)  # WMMSE takes one noise for all
    weighted = wmmse(scaled, value / env.need, 1.0, 1.0, ITERATIONS)
    starts = (torch.zeros_like(direct), torch.ones_like(direct), weighted)
    found, most = problem.polish(starts[0])
    for start in starts[1:]:
        other, reached = problem.polish(start)
        found = torch.where((reached > most).unsqueeze(-1), other, found)
        most = torch.maximum(most, reached)
    return found.sqrt()


def replay(env: PowerEnv, value: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Play episodes from their start to their end, as the genie does.

    Args:
        env: at its first slot.
        value: what serving one slot of mean arrivals is worth, [T, B, N]; None = the genie's guess.

    Returns:
        Amplitudes [T, B, N], the worths used, those that it would have called for, [T, B, N] each, and returns [B].
    """
    megabits = SLOT * BAND[env.variant.layout] / 1e6
    amplitude, used, emptied, dropped, rewards = [], [], [], [], []
    for t in range(env.variant.horizon):
        before = env.backlog
        used.append(worth(before / env.need) if value is None else value[t])
        amplitude.append(amplitudes(env, t, used[-1]))
        _, reward, _, _, info = env.step(amplitude[-1])
        emptied.append(info["delivered"] >= before * megabits * (1.0 - 1e-6))
        dropped.append(info["dropped"] > 0)
        rewards.append(reward.sum(1))
    later, called_for = torch.zeros_like(env.backlog), []  # what one slot of mean arrivals more in the next slot's queue earns
    for empty, drop in zip(reversed(emptied), reversed(dropped), strict=True):
        called_for.append(1.0 - later)
        later = torch.where(empty, 1.0, torch.where(drop, 0.0, later)) - DELAY_COST / BUFFER
    return torch.stack(amplitude), torch.stack(used), torch.stack(called_for[::-1]), torch.stack(rewards).sum(0)


class Problem:
    """One slot's problem in B episodes; `value` [B, N] as in `amplitudes`, other arguments as in `planning.effects`."""

    def __init__(
        self, cross: Tensor, direct: Tensor, base: Tensor, need: Tensor, slots: Tensor, price: Tensor, value: Tensor
    ) -> None:
        self.outgoing = cross.transpose(1, 2).contiguous()
        self.cross, self.direct, self.base, self.need, self.slots, self.price = cross, direct, base, need, slots, price
        self.worth = value
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

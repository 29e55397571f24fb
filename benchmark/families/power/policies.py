"""Reference policies of `power`. Those marked privileged see all channels and queues; the others what a link may see."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, RandomPolicy, State
from ...physics.interference import fractional_programming, rate, wmmse
from .layout import DB_SCALE, View

if TYPE_CHECKING:
    from .env import PowerEnv

ITERATIONS = 20  # more give sparser powers, which overserve some queues: 60 score 2 points less


def _ratio(level: Tensor) -> Tensor:
    """Inverse of the observation's levels: power over the noise."""
    return 10.0 ** (level * (DB_SCALE / 10.0))


class FullPower(Agent):
    """Everybody at full power: the private greedy rule, best for each whatever the others do."""

    name = "full"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        return torch.ones_like(obs[..., 0])


class RoundRobin(Agent):
    """The links of a cell take turns at full power."""

    name = "round-robin"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        return View(obs).turn[..., 1].clone()


class Pricing(Agent):
    """Turns within the cell, prices between cells: the power whose weighted rate most exceeds what it costs the victims.

    After asynchronous distributed pricing (Huang, Berry and Honig, 'Distributed interference compensation', IEEE JSAC 2006),
    with the exact loss of a victim's rate instead of its derivative. Rates are weighted by backlog to the power `exponent` over
    mean arrivals (max-weight; Tassiulas and Ephremides 1992). Uses only the own observation, neighbours' figures one slot old.

    Args:
        strength: share of the victims' losses that counts; below one, as not all of them transmit at full power.
        exponent: of the backlog.
    """

    name = "pricing"

    def __init__(self, strength: float = 0.4, exponent: float = 1.5) -> None:
        self._strength, self._exponent = strength, exponent

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        view = View(obs)
        levels = torch.linspace(0.0, 1.0, 11, device=obs.device)
        shared = view.turn[..., 0] > 0  # the first neighbour is in the own cell, and silent in this link's turn
        noise = _ratio(view.noise[..., 0])
        noise = torch.where(shared, (noise - _ratio(view.interferers[..., 0])).clamp(min=1.0), noise)
        signal = _ratio(view.snr[..., 0])
        weight = self._weight(view.queue[..., 1], view.need[..., 0])
        worth = weight.unsqueeze(-1) * rate((signal / noise).unsqueeze(-1) * levels)
        losses = self._losses(view, levels)
        partner = torch.where(shared.unsqueeze(-1), 0.0, losses[..., 0, :])
        cost = self._strength * (partner + losses[..., 1:, :].sum(-2))
        return levels[(worth - cost).argmax(-1)] * view.turn[..., 1]

    def _weight(self, queue: Tensor, need: Tensor) -> Tensor:
        """Worth of a bit: backlog in slots (its log is shown) to the exponent, over mean arrivals."""
        return torch.expm1(queue) ** self._exponent / torch.expm1(need * math.log(2.0)).clamp(min=1e-3)

    def _losses(self, view: View, levels: Tensor) -> Tensor:
        """Weighted rate that each victim loses at each power level, [B, N, NEIGHBOURS, levels]."""
        leak = _ratio(view.leak)
        noise = (_ratio(view.victim_noise) - leak * view.sent[..., :1]).clamp(min=1.0)  # without this link's own part
        signal = _ratio(view.victim_snr)
        hurt = signal.unsqueeze(-1) / (noise.unsqueeze(-1) + leak.unsqueeze(-1) * levels)
        lost = rate(signal / noise).unsqueeze(-1) - rate(hurt)
        weight = self._weight(view.victim_queue, view.victim_need) * (view.victim_need > 0)
        return weight.unsqueeze(-1) * lost


class MaxWeight(Agent):
    """Solves for the powers that maximise backlog-weighted rates, from all channels and queues.

    Args:
        name: its name.
        solver: `wmmse` or `fractional_programming`.
        delayed: whether it knows the channels of the last slot only.
        exponent: of the backlog.
    """

    privileged = True

    def __init__(self, name: str, solver: Callable[..., Tensor], delayed: bool = False, exponent: float = 2.0) -> None:
        self.name, self._solver, self._delayed, self._exponent = name, solver, delayed, exponent

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        env = cast("PowerEnv", state.env)
        gain = env.link_gains(max(0, state.slot - 1) if self._delayed else state.slot)
        weight = (env.backlog / env.arrival) ** self._exponent / env.arrival
        weight = weight / weight.amax(1, keepdim=True).clamp(min=1e-9)
        return self._solver(gain, weight, 1.0, 1.0, ITERATIONS)


POLICIES: dict[str, Callable[[], Agent]] = {
    "random": RandomPolicy,
    "full": FullPower,
    "round-robin": RoundRobin,
    "pricing": Pricing,
    "fp-delayed": lambda: MaxWeight("fp-delayed", fractional_programming, delayed=True),
    "fp": lambda: MaxWeight("fp", fractional_programming),
    "wmmse": lambda: MaxWeight("wmmse", wmmse),
}

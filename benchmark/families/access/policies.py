"""Reference policies of `access`. All but the genie use only what a user may see."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, RandomPolicy, State
from .layout import FEEDBACK_SLOTS, MAX_CHANNELS, View

if TYPE_CHECKING:
    from .env import AccessEnv
    from .variant import AccessVariant


def _variant(state: State) -> AccessVariant:
    return cast("AccessVariant", state.variant)


def _random_channel(state: State) -> Tensor:
    """A channel in 1..C for every user, [B, N]."""
    v = _variant(state)
    return 1 + (state.random.uniform(v.agents) * v.channels).long()


class Aloha(Agent):
    """Slotted ALOHA: a user with a packet sends with probability q on a random channel; q = min(1, C/N) by default.

    Abramson, 'The ALOHA system', AFIPS 1970. With q = 1 it is the private greedy rule: send whatever you have at once.
    """

    def __init__(self, probability: float | None = None, name: str = "aloha") -> None:
        self.name = name
        self._probability = probability

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v = _variant(state)
        q = min(1.0, v.channels / v.agents) if self._probability is None else self._probability
        send = (state.random.uniform(v.agents) < q) & (View(obs).queue[..., 0] > 0)
        return torch.where(send, _random_channel(state), 0)


def _backlog_estimate(obs: Tensor, state: State) -> Tensor:
    """Each user's estimate of the number of users with packets, [B, N], from the common channel feedback that it saw.

    Rivest's pseudo-Bayesian rule ('Network control by Bayesian broadcast', IEEE Trans. Inf. Theory 1987), a channel at a time.
    """
    v = _variant(state)
    estimate = cast(Tensor, state.memory.get("estimate", obs.new_ones(obs.shape[:2])))
    if state.slot > 0:
        newest = View(obs).feedback.unflatten(-1, (FEEDBACK_SLOTS, MAX_CHANNELS, 2))[..., 0, : v.channels, :]
        collisions = newest[..., 1].sum(-1)
        estimate = estimate + v.load * v.channels + collisions / (math.e - 2.0) - (v.channels - collisions)
        estimate = estimate.clamp(min=v.load * v.channels, max=v.agents)
    state.memory["estimate"] = estimate
    return estimate


class BacklogAloha(Agent):
    """ALOHA that estimates the backlog from the feedback and sends with probability min(1, C / estimate)."""

    name = "backlog-aloha"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v = _variant(state)
        probability = v.channels / _backlog_estimate(obs, state)
        send = (state.random.uniform(v.agents) < probability) & (View(obs).queue[..., 0] > 0)
        return torch.where(send, _random_channel(state), 0)


class Backoff(Agent):
    """Binary exponential back-off: after the k-th collision in a row wait a random number of slots below 2^k (at most 2^10)."""

    name = "backoff"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v, view = _variant(state), View(obs)
        stage = cast(Tensor, state.memory.get("stage", torch.zeros_like(obs[..., 0])))
        wait = cast(Tensor, state.memory.get("wait", torch.zeros_like(obs[..., 0])))
        acked, nacked = view.outcome[..., 1] > 0, view.outcome[..., 2] > 0
        stage = torch.where(acked, 0.0, torch.where(nacked, (stage + 1).clamp(max=10), stage))
        fresh = (state.random.uniform(v.agents) * 2.0**stage).floor()
        wait = torch.where(acked, 0.0, torch.where(nacked, fresh, (wait - 1).clamp(min=0)))
        state.memory["stage"], state.memory["wait"] = stage, wait
        send = (wait == 0) & (view.queue[..., 0] > 0)
        return torch.where(send, _random_channel(state), 0)


class Tdma(Agent):
    """Fixed turns: user i sends on channel 1 + i mod C in slot floor(i / C) of every frame of ceil(N / C) slots."""

    name = "tdma"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        view = View(obs)
        send = (view.turn[..., 0] > 0) & (view.queue[..., 0] > 0)
        return torch.where(send, 1 + view.static[..., 1:].argmax(-1), 0)


class Genie(Agent):
    """Longest queue first, the oldest packet among equals, on every channel that no legacy node uses; sees everything."""

    name = "genie"
    privileged = True

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        length, age, busy = cast("AccessEnv", state.env).oldest()
        order = torch.where(length > 0, length * 4096 + age.clamp(max=4095), -1).argsort(dim=1, descending=True, stable=True)
        free = (~busy).long()
        channel_of_rank = torch.where(free.bool(), 0, MAX_CHANNELS + 1)  # the k-th ranked user gets the k-th free channel
        ids = torch.arange(1, busy.shape[1] + 1, device=busy.device)
        channel_of_rank = (channel_of_rank + ids).sort(dim=1).values
        channel_of_rank = torch.where(channel_of_rank <= MAX_CHANNELS, channel_of_rank, 0)
        action = torch.zeros_like(length)
        ranks = min(busy.shape[1], length.shape[1])
        action.scatter_(1, order[:, :ranks], channel_of_rank[:, :ranks])
        return action * (length > 0)


POLICIES: dict[str, Callable[[], Agent]] = {
    "random": RandomPolicy,
    "greedy": lambda: Aloha(1.0, "greedy"),
    "aloha": Aloha,
    "backlog-aloha": BacklogAloha,
    "backoff": Backoff,
    "tdma": Tdma,
    "genie": Genie,
}

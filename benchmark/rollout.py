"""The harness: plays episodes, carries messages between agents, counts what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import require
from .agent import Agent, State
from .family import Env, Family, Variant, closed
from .randomness import EpisodeRandom

BITS_PER_FLOAT = 32
LOUDEST = 1e30
MOST_FLOATS = 1_000_000  # of a message, as many as a result file takes


@dataclass(frozen=True)
class Rollout:
    """What a batch of B episodes yielded.

    Attributes:
        returns: sum of the team reward over the slots, [B].
        qos: quality of service by name, each [B].
        message_bits: bits broadcast by all agents in all episodes.
        environment_steps: slots played, all episodes together.
    """

    returns: Tensor
    qos: dict[str, Tensor]
    message_bits: int
    environment_steps: int


@dataclass(frozen=True)
class Slot:
    """What a recorder is shown after every slot.

    Attributes:
        obs: what the action was chosen on, [B, N, O].
        action_mask: the same.
        action: what was done.
        reward: what it earned, [B, N].
        info: of the step, with the quality of service and the next action mask.
        next_obs: what the action led to.
        terminated: whether the episode has ended, [B].
        truncated: whether its time is up, [B].
    """

    obs: Tensor
    action_mask: Tensor
    action: Tensor
    reward: Tensor
    info: dict[str, Tensor]
    next_obs: Tensor
    terminated: Tensor
    truncated: Tensor


def mean_field(messages: Tensor) -> Tensor:
    """Inbox of every agent: the mean of the others' messages [..., N, M]; zero for an agent that is alone."""
    others = messages.shape[-2] - 1
    return (messages.sum(-2, keepdim=True) - messages) / max(others, 1)


class Team:
    """An agent in the middle of a batch of B episodes: what it remembers, and the messages that are under way.

    Args:
        agent: who plays; already adapted.
        family: the family.
        variant: its variant.
        sites: site of each episode; with the seeds they key the agent's coin flips, and tell it nothing.
        seeds: scenario seed of each episode.
        device: where the agent computes.
        env: the environment, for agents marked `privileged`; others do not get it.
    """

    def __init__(
        self,
        agent: Agent,
        family: Family,
        variant: Variant,
        sites: Sequence[int],
        seeds: Sequence[int],
        device: torch.device | str,
        env: Env | None,
    ) -> None:
        self._agent, self._inbox, self._begun, self.floats = agent, torch.zeros(0), False, 0
        random, nothing = EpisodeRandom(variant.name, sites, seeds, device), torch.zeros(0, dtype=torch.bool)
        self._state = State(family, variant, random, len(seeds), 0, nothing, env if agent.privileged else None)

    @property
    def slot(self) -> int:
        """Slots that it has acted in."""
        return self._state.slot + self._begun

    def act(self, obs: Tensor, action_mask: Tensor) -> Tensor:
        """Actions [B, N] or [B, N, D] of the next slot, from observations [B, N, O] and masks [B, N, A]."""
        state, agent = self._state, self._agent
        state.slot, state.action_mask = self.slot, action_mask
        if not self._begun:
            agent.begin(state)
            self._begun, self.floats = True, _message_size(agent)
            self._inbox = obs.new_zeros(*obs.shape[:2], self.floats)
        action = agent.act(obs, self._inbox, state)
        if self.floats:
            self._inbox = mean_field(_checked(agent.message(obs, state), agent, (*obs.shape[:2], self.floats)))
        return action


@torch.no_grad()
def play(
    family: Family,
    variant: Variant,
    agent: Agent,
    sites: Sequence[int],
    seeds: Sequence[int],
    *,
    device: torch.device | str = "cpu",
    record: Callable[[Slot], None] | None = None,
    on_slot: Callable[[], None] | None = None,
) -> Rollout:
    """Play one episode a (site, seed), all in one batch.

    Args:
        family: the family.
        variant: its variant.
        agent: who plays; already adapted.
        sites: site of each episode; a batch may mix sites.
        seeds: scenario seed of each episode.
        device: where the environment runs.
        record: called after every slot with what happened, for data collection.
        on_slot: called after every slot, for progress bars.

    Returns:
        Returns, quality of service and costs.
    """
    env = family.make(variant, device)
    obs, info = env.reset(sites, seeds)
    team = Team(agent, family, variant, sites, seeds, obs.device, env)
    returns = torch.zeros(len(seeds), dtype=torch.float64, device=obs.device)
    with nullcontext() if agent.privileged else closed():
        for _ in range(variant.horizon):
            before, mask = obs, info["action_mask"]
            action = team.act(obs, mask)
            obs, reward, terminated, truncated, info = env.step(action)
            returns += reward.sum(1, dtype=torch.float64)
            if record:
                record(Slot(before, mask, action, reward, info, obs, terminated, truncated))
            if on_slot:
                on_slot()
    bits = BITS_PER_FLOAT * team.floats * variant.agents * variant.horizon * len(seeds)
    return Rollout(returns, env.qos(), bits, variant.horizon * len(seeds))


def _message_size(agent: Agent) -> int:
    """Floats that an agent broadcasts a slot, fixed once it has begun: what it says of them later counts for nothing."""
    floats = agent.message_size
    fine = type(floats) is int and 0 <= floats <= MOST_FLOATS
    require(fine, f"message_size of {agent.name}", floats, f"a whole number in [0, {MOST_FLOATS}]")
    return floats


def _checked(message: object, agent: Agent, shape: tuple[int, ...]) -> Tensor:
    """A message of the right shape in the float32 that the ledger counts, small enough that no sum of them is infinite."""
    require(isinstance(message, Tensor), f"message of {agent.name}", type(message).__name__, "a torch tensor")
    assert isinstance(message, Tensor)
    require(tuple(message.shape) == shape, f"message of {agent.name}", tuple(message.shape), str(shape))
    require(not message.is_complex(), f"dtype of {agent.name}'s message", message.dtype, "real numbers")
    message = message.float()
    require(bool((message.abs() <= LOUDEST).all()), f"message of {agent.name}", "NaN or huge", f"within +-{LOUDEST:g}")
    return message

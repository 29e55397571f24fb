"""Several agents in one batch, each in episodes of its own: the environment steps once for all of them.

A policy may offer a faster way: `join(agents)` gives one agent that plays for all of them, each in its own equal part of the
batch, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..agent import Agent, State
from ..family import Cloneable, Env
from ..randomness import EpisodeRandom


class PartState(State):
    """The state of one agent's episodes; its environment is a copy of those episodes, made when it is asked for.

    Args:
        state: of the whole batch.
        random: of these episodes.
        rows: these episodes in the whole batch.
        whole: the environment of the whole batch, where the agent is privileged.
    """

    def __init__(self, state: State, random: EpisodeRandom, rows: slice, whole: Env | None) -> None:
        super().__init__(state.family, state.variant, random, rows.stop - rows.start, 0, state.action_mask[rows])
        self.rows, self._whole = rows, whole

    @property
    def env(self) -> Env:
        """The environment of these episodes alone."""
        if self._whole is None:
            return super().env
        assert isinstance(self._whole, Cloneable)
        return self._whole.clone_episodes(torch.arange(self.rows.start, self.rows.stop, device=self.action_mask.device))


def joined(agents: Sequence[Agent], sites: Sequence[Sequence[int]], seeds: Sequence[int]) -> Agent:
    """One agent that plays for all of them; arguments as in `SideBySide`."""
    if type(agents[0]).adapt is Agent.adapt:
        return agents[0]  # they have read nothing, so all are alike
    join = getattr(agents[0], "join", None)
    return join(agents) if join else SideBySide(agents, sites, seeds)


class SideBySide(Agent):
    """A agents that were adapted apart. Agent a plays rows a E to (a + 1) E of the batch as if it played them alone.

    Args:
        agents: of one class, already adapted.
        sites: site of each of its episodes, by agent, [A][E].
        seeds: scenario seed of each of its episodes, [E].
    """

    name = "side-by-side"

    def __init__(self, agents: Sequence[Agent], sites: Sequence[Sequence[int]], seeds: Sequence[int]) -> None:
        self._agents, self._sites, self._seeds = agents, sites, seeds
        self.privileged, self.message_size = agents[0].privileged, agents[0].message_size

    def begin(self, state: State) -> None:
        """Start each agent on its own episodes."""
        parts, size, env = [], len(self._seeds), state.env if self.privileged else None
        for k, (agent, sites) in enumerate(zip(self._agents, self._sites, strict=True)):
            random = EpisodeRandom(state.variant.name, sites, self._seeds, state.action_mask.device)
            part = PartState(state, random, slice(k * size, (k + 1) * size), env)
            agent.begin(part)
            parts.append(part)
        state.memory["parts"] = parts

    def message(self, obs: Tensor, state: State) -> Tensor:
        """What the agents broadcast, [B, N, M]."""
        return self._each(state, lambda agent, part: agent.message(obs[part.rows], part))

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        return self._each(state, lambda agent, part: agent.act(obs[part.rows], inbox[part.rows], part))

    def _each(self, state: State, ask: Callable[[Agent, PartState], Tensor]) -> Tensor:
        answers = []
        for agent, part in zip(self._agents, state.memory["parts"], strict=True):
            part.slot, part.action_mask = state.slot, state.action_mask[part.rows]
            answers.append(ask(agent, part))
        return torch.cat(answers)

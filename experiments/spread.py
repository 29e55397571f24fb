"""VMAS simple_spread as a family, a playground and an evaluation, for the scripts that compare us with BenchMARL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from vmas import make_env
from wbench.benchmark.agent import RandomPolicy
from wbench.benchmark.family import ActionComponent, Family, Info

AGENTS, HORIZON, OBS, MOVES = 3, 100, 14, 9
EVALUATION = 256  # episodes
Act = Callable[[Tensor, bool], Tensor]  # observations [B, N, O], whether to act greedily -> actions [B, N]


@dataclass(frozen=True)
class SpreadVariant:
    """Three agents that have to cover three landmarks and not collide."""

    name: str = "spread/n3"
    family: str = "spread"
    split: str = "train"
    agents: int = AGENTS
    horizon: int = HORIZON

    def descriptor(self) -> tuple[float, ...]:
        """There is but one variant."""
        return (1.0,)


def _refuse(*_: object) -> None:
    raise NotImplementedError("VMAS draws its own scenarios: use `Spread`")


FAMILY = Family(
    name="spread",
    version="vmas",
    summary="VMAS simple_spread, discrete actions",
    variants={"spread/n3": SpreadVariant()},
    make=_refuse,
    obs_size=OBS,
    descriptor_size=1,
    actions=(ActionComponent("move", "categorical", MOVES),),
    reward_range=(-30.0, 0.0),
    policies={"random": RandomPolicy},
    behaviours={},
    hidden=lambda variant, site: {},
)


class Spread:
    """A playground (`wbench.baselines.common.rollout.Playground`) with the meter that our value-based learners read.

    Args:
        seed: of the scenarios.
        frames: the budget, in slots.
    """

    family, variant = FAMILY, SpreadVariant()

    def __init__(self, seed: int, frames: int) -> None:
        self.seed, self.budget, self.used = seed, frames, 0
        self._env, self._batch = None, 0

    @property
    def left(self) -> int:
        """Slots that may still be played."""
        return self.budget - self.used

    def reset(self, episodes: int) -> tuple[Tensor, Info]:
        """Start episodes; returns obs [B, N, O] and info."""
        if episodes != self._batch:
            state = torch.get_rng_state()  # VMAS seeds the global generator
            self._env, self._batch = vmas(episodes, 1000 * self.seed + self.used), episodes
            torch.set_rng_state(state)
        mask = torch.ones(episodes, AGENTS, MOVES, dtype=torch.bool)
        self._info = {"action_mask": mask, "agent_mask": mask[..., 0]}
        return torch.stack(self._env.reset(), 1), self._info

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot; the common reward is split among the agents, so that their sum is the team's."""
        obs, reward, _, _ = self._env.step(list(action.unbind(1)))
        self.used += self._batch
        assert self.used <= self.budget
        over = torch.zeros(self._batch, dtype=torch.bool)
        return torch.stack(obs, 1), torch.stack(reward, 1) / AGENTS, over, over, self._info


def vmas(episodes: int, seed: int) -> object:
    """The environment, with BenchMARL's settings."""
    return make_env("simple_spread", episodes, continuous_actions=False, seed=seed, n_agents=AGENTS, clamp_actions=True)


def evaluate(act: Act, greedy: bool) -> float:
    """Mean return of EVALUATION episodes, the same for everybody."""
    env = vmas(EVALUATION, 10_000)
    obs, total = env.reset(), torch.zeros(EVALUATION)
    for _ in range(HORIZON):
        obs, reward, _, _ = env.step(list(act(torch.stack(obs, 1), greedy).unbind(1)))
        total += reward[0]
    return float(total.mean())

"""A variant as a Gymnasium `VectorEnv`; see `spaces`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ...errors import require
from ..acting.environment import TRAIN_SITES, Environment, Sites, describe, places_text, scenario_seed
from ..data.schema import QOS
from ..family import Family, Info, Variant
from .arrays import batch_action
from .spaces import action_space, allow_only, as_numpy, draw_seeds, real_box


class VectorEpisodes(VectorEnv[np.ndarray, Any, np.ndarray]):
    """B episodes of one variant, stepped together; each has all N agents, as one centralised controller would meet them.

    Observations are float32 [B, N, O] and the reward is the *team* reward [B], which the benchmark scores. Infos hold arrays
    for the whole batch: `action_mask` [B, N, A] int8 and `agent_mask` [B, N] bool always; after a step also the agents' own
    `rewards`, `delivered`, `delay`, `dropped` and `energy`, each [B, N]; after the last step `qos` of the episode, each [B].

    All episodes are truncated together at the horizon. Autoreset is Gymnasium's default, `NEXT_STEP`: the step after it ignores
    its actions, starts the next B scenarios and gives reward 0, so that the last observation is there to bootstrap from.
    """

    def __init__(
        self,
        family: Family,
        variant: Variant,
        num_envs: int,
        device: torch.device | str = "cpu",
        sites: Sites | None = None,
    ) -> None:
        self.family, self.variant, self.num_envs = family, variant, num_envs
        self.metadata = {"name": variant.name, "render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = real_box(variant.agents, family.obs_size)
        self.single_action_space = action_space(family, variant.agents)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._environment = Environment(family, variant, TRAIN_SITES if sites is None else sites, num_envs, device)
        self.simulator = self._environment.simulator
        self._begun = self._over = False
        self._mask = torch.zeros(0, dtype=torch.bool)

    @property
    def played(self) -> tuple[tuple[int, int], ...]:
        """Site and seed of each episode."""
        return self._environment.played

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start scenarios `seed`, `seed + 1`, ..., or those of a list of B, or the next ones drawn.

        Args:
            seed: which scenarios.
            options: there are none; a `reset_mask` is refused, for the episodes of a batch run in step.
        """
        fits = "reset_mask" not in (options or {})
        require(fits, "options", "a reset_mask", "empty: the episodes of a batch start and end together")
        if seed is None:
            return self._start(None)
        scenarios = [
            scenario_seed(s) for s in (seed if isinstance(seed, Sequence) else range(scenario_seed(seed), seed + self.num_envs))
        ]
        require(len(scenarios) == self.num_envs, "seed", scenarios, f"one integer or {self.num_envs} of them")
        super().reset(seed=scenarios[0])
        return self._start(scenarios)

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one slot, or start the next episodes after the last one.

        Args:
            actions: of `action_space`: an array [B, N] or [B, N, D], or a pair of choices [B, N] and levels [B, N, D].

        Returns:
            observations [B, N, O], team rewards [B], terminations [B], truncations [B], infos.
        """
        require(self._begun, "step", "an episode that has not begun", "an episode that runs; reset first")
        if self._over:
            obs, infos = self._start(None)
            none = np.zeros(self.num_envs, dtype=bool)
            return obs, np.zeros(self.num_envs), none, none.copy(), infos
        action = allow_only(self.family, batch_action(self.family, actions), self._mask)
        obs_, reward, terminated, truncated, info = self._environment.step(action)
        self._mask = info["action_mask"].cpu()
        infos = _infos(info) | {"rewards": as_numpy(reward)}
        self._over = bool((terminated | truncated).any())
        if self._over:
            infos["qos"] = self.qos()
        team = as_numpy(reward.sum(1, dtype=torch.float64))
        return as_numpy(obs_), team, as_numpy(terminated), as_numpy(truncated), infos

    def qos(self) -> dict[str, np.ndarray]:
        """Quality of service of the episodes so far, each [B]."""
        return {name: as_numpy(value) for name, value in self._environment.qos().items()}

    def __repr__(self) -> str:
        sites = places_text(self._environment.sites)
        return f"VectorEpisodes({describe(self.family, self.variant, self.num_envs)}; sites {sites})"

    def _start(self, scenarios: list[int] | None) -> tuple[np.ndarray, dict[str, Any]]:
        seeds = scenarios if scenarios is not None else draw_seeds(self.np_random, self.num_envs)
        obs, info = self._environment.reset(seeds=seeds)
        self._begun, self._over, self._mask = True, False, info["action_mask"].cpu()
        return as_numpy(obs), _infos(info)


def _infos(info: Info) -> dict[str, Any]:
    shown = {name: as_numpy(info[name]) for name in ("action_mask", "agent_mask", *QOS) if name in info}
    return shown | {"action_mask": shown["action_mask"].astype(np.int8)}

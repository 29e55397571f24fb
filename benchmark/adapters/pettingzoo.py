"""A variant as a PettingZoo `ParallelEnv`, an episode at a time; see `spaces`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.utils.seeding import np_random
from pettingzoo import ParallelEnv
from torch import Tensor

from ...errors import require
from ..acting.environment import TRAIN_SITES, Environment, Sites, describe, places_text, scenario_seed
from ..acting.frames import FPS, MODES, Film, check_mode
from ..data.schema import QOS
from ..family import Family, Info, Variant
from .arrays import chooses, joint_action
from .spaces import action_space, allow_only, as_numpy, draw_seeds, observation_space, real_box


class ParallelEpisode(ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """One episode at a time of one variant; agents `agent_0` to `agent_{N-1}`, who all live until the horizon.

    Observations are float32 [O]. In families that choose they are PettingZoo's dictionaries `{"observation": [O],
    "action_mask": [A] int8}`, and infos repeat the mask; a choice that it forbids is played as choice 0, to do nothing.
    After a step infos hold the agent's `delivered`, `delay`, `dropped` and `energy` of that slot. Rewards are the agents' own;
    the benchmark scores their sum.
    """

    def __init__(
        self,
        family: Family,
        variant: Variant,
        device: torch.device | str = "cpu",
        sites: Sites | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.family, self.variant = family, variant
        self.metadata = {"name": variant.name, "render_modes": list(MODES), "render_fps": FPS}
        self.render_mode = check_mode(render_mode)
        self.possible_agents = [f"agent_{i}" for i in range(variant.agents)]
        self.agents: list[str] = []
        self.observation_spaces = {agent: observation_space(family) for agent in self.possible_agents}
        self.action_spaces = {agent: action_space(family) for agent in self.possible_agents}
        self.state_space = real_box(variant.agents * family.obs_size)
        self._environment = Environment(family, variant, TRAIN_SITES if sites is None else sites, 1, device)
        self.simulator = self._environment.simulator
        self._random, _ = np_random()
        self._joint = np.zeros((0, family.obs_size), np.float32)
        self._film = Film(family, variant, self.simulator)

    @property
    def played(self) -> tuple[tuple[int, int], ...]:
        """Site and seed of the episode."""
        return self._environment.played

    def observation_space(self, agent: str) -> Space[Any]:
        """The space of an agent's observations; the same object every time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """The space of an agent's actions; the same object every time."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Start the episode of scenario `seed`, or of the next one drawn; there are no options."""
        if seed is not None:
            self._random, _ = np_random(scenario_seed(seed))
        obs, info = self._environment.reset(seeds=draw_seeds(self._random, 1) if seed is None else [seed])
        self.agents = list(self.possible_agents)
        self._film.begin()
        return self._show(obs, info), self._infos(info)

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play one slot with an action of every agent."""
        require(bool(self.agents), "step", "an episode that is over or not begun", "an episode that runs; reset first")
        require(set(actions) == set(self.agents), "actions", sorted(actions), f"one for each of {len(self.agents)} agents")
        action = joint_action(self.family, [actions[agent] for agent in self.agents])
        action = allow_only(self.family, action, torch.from_numpy(self._masks))
        obs, reward, terminated, truncated, info = self._environment.step(action.unsqueeze(0))
        self._film.add(action.unsqueeze(0), reward, info["delivered"])
        if self.render_mode == "human":
            self._film.show()
        observations, infos = self._show(obs, info), self._infos(info)
        rewards = dict(zip(self.agents, reward[0].tolist(), strict=True))
        terminations = dict.fromkeys(self.agents, bool(terminated[0]))
        truncations = dict.fromkeys(self.agents, bool(truncated[0]))
        if terminated[0] or truncated[0]:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def state(self) -> np.ndarray:
        """All observations in a row, [N * O] float32: a global view for centralised *training* only."""
        require(len(self._joint) > 0, "state", "an episode that has not begun", "an episode that runs; reset first")
        return self._joint.reshape(-1).copy()

    def qos(self) -> dict[str, float]:
        """Quality of service of the episode so far."""
        return {name: float(value[0]) for name, value in self._environment.qos().items()}

    def render(self) -> np.ndarray | None:
        """A frame [height, width, 3] in the mode `rgb_array`."""
        require(bool(self.played), "render", "an episode that has not begun", "an episode that runs; reset first")
        return self._film.frame() if self.render_mode == "rgb_array" else None

    def __repr__(self) -> str:
        return f"ParallelEpisode({describe(self.family, self.variant)}; sites {places_text(self._environment.sites)})"

    def _show(self, obs: Tensor, info: Info) -> dict[str, Any]:
        self._joint = as_numpy(obs)[0]
        self._masks = as_numpy(info["action_mask"])[0].astype(np.int8)
        if not chooses(self.family):
            return dict(zip(self.possible_agents, self._joint.copy(), strict=True))
        parts = zip(self.possible_agents, self._joint.copy(), self._masks, strict=True)
        return {agent: {"observation": own, "action_mask": mask} for agent, own, mask in parts}

    def _infos(self, info: Info) -> dict[str, dict[str, Any]]:
        columns = {name: info[name][0].tolist() for name in QOS if name in info}
        infos = {agent: {name: column[i] for name, column in columns.items()} for i, agent in enumerate(self.possible_agents)}
        if chooses(self.family):
            for mask, own in zip(self._masks, infos.values(), strict=True):
                own["action_mask"] = mask.copy()
        return infos

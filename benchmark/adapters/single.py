"""A variant as a plain Gymnasium environment, an episode at a time: what `gymnasium.make("wbench/access-v0")` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from ...errors import require
from ..acting.environment import Sites, make, scenario_seed, site_numbers
from ..acting.frames import FPS, MODES, Film, check_mode
from ..data.schema import QOS
from ..family import Family, Variant
from ..registry import get_family
from .arrays import batch_action
from .gymnasium import VectorEpisodes
from .spaces import action_space, allow_only, as_numpy, draw_seeds, real_box


class TeamEpisode(gymnasium.Env[np.ndarray, Any]):
    """One episode at a time; one controller sees and steers all N agents, and the reward is the *team's*.

    Observations are float32 [N, O]; actions are those of `VectorEpisodes` without the batch; a choice that the `action_mask` in
    the infos forbids is played as choice 0.

    Args:
        task: name of the variant.
        sites: where it is played, in turns; None = the first 200 train sites.
        render_mode: `rgb_array` or `human`; None = no frames.
        device: where the simulator runs.
    """

    def __init__(
        self, task: str, sites: Sites | None = None, render_mode: str | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self._environment = make(task, sites, device=device)
        self.family, self.variant = self._environment.family, self._environment.variant
        self.simulator = self._environment.simulator
        self.metadata = {"name": self.variant.name, "render_modes": list(MODES), "render_fps": FPS}
        self.render_mode = check_mode(render_mode)
        self.observation_space = real_box(self.variant.agents, self.family.obs_size)
        self.action_space = action_space(self.family, self.variant.agents)
        self._film = Film(self.family, self.variant, self.simulator)
        self._mask = torch.zeros(0, dtype=torch.bool)

    @property
    def played(self) -> tuple[tuple[int, int], ...]:
        """Site and seed of the episode."""
        return self._environment.played

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the episode of scenario `seed`, or of the next one drawn; there are no options."""
        super().reset(seed=None if seed is None else scenario_seed(seed))
        obs, info = self._environment.reset(seeds=draw_seeds(self.np_random, 1) if seed is None else [seed])
        self._film.begin()
        return as_numpy(obs)[0], self._infos(info)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play one slot with a joint action of `action_space`."""
        require(bool(self.played), "step", "before reset", "after it: obs, info = env.reset()")
        joint = allow_only(self.family, batch_action(self.family, action), self._mask).unsqueeze(0)
        obs, reward, terminated, truncated, info = self._environment.step(joint)
        self._film.add(joint, reward, info["delivered"])
        infos = self._infos(info) | {name: as_numpy(info[name])[0] for name in QOS} | {"rewards": as_numpy(reward)[0]}
        if self.render_mode == "human":
            self._film.show()
        return as_numpy(obs)[0], float(reward.sum()), bool(terminated[0]), bool(truncated[0]), infos

    def render(self) -> np.ndarray | None:
        """A frame [height, width, 3] in the mode `rgb_array`."""
        require(bool(self.played), "render", "before reset", "after it: obs, info = env.reset()")
        return self._film.frame() if self.render_mode == "rgb_array" else None

    def _infos(self, info: dict[str, Any]) -> dict[str, Any]:
        self._mask = info["action_mask"][0].cpu()
        return {"action_mask": as_numpy(info["action_mask"])[0].astype(np.int8), "agent_mask": as_numpy(info["agent_mask"])[0]}


def single(family: str, variant: str | None = None, **options: Any) -> TeamEpisode:
    """The entry point of `gymnasium.make`: a variant of a family by its label; None = the first train variant."""
    return TeamEpisode(_named(family, variant)[1].name, **options)


def vector(
    family: str, num_envs: int, variant: str | None = None, sites: Sites | None = None, **options: Any
) -> VectorEpisodes:
    """The entry point of `gymnasium.make_vec(..., vectorization_mode="vector_entry_point")`."""
    places: Sequence[int] | None = None if sites is None else site_numbers(sites)
    return VectorEpisodes(*_named(family, variant), num_envs, sites=places, **options)


def _named(family: str, variant: str | None) -> tuple[Family, Variant]:
    found = get_family(family)
    if variant is None:
        return found, found.select("train")[0]
    return found, found.variant(variant if "/" in variant else f"{family}/{variant}")

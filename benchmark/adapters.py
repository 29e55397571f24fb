"""wbench's tasks in other people's interfaces: a PettingZoo `ParallelEnv`, and a Gymnasium `VectorEnv`; numpy in and out.

Needs the optional packages: `pip install "wbench[envs]"`. Both take a variant by name or as an object, and play scenarios: the
same seed is the same episode, here and everywhere in wbench. A reset without a seed draws the next scenarios from
[0, 10 000 000), a range that query episodes never come from. Do not train on seeds above it.

| a family's action | PettingZoo, an agent | Gymnasium, N agents together |
| --- | --- | --- |
| one categorical component of A choices | `Discrete(A)` | `MultiDiscrete`, [N] |
| one ordinal component | `Box`, [1] | `Box`, [N] |
| D ordinal components | `Box`, [D] | `Box`, [N, D] |
| a categorical and D ordinal ones | `Tuple(Discrete(A), Box [D])` | `Tuple(MultiDiscrete [N], Box [N, D])` |

Episodes never terminate, they are truncated at the horizon: bootstrap from the last observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidValueError, MissingPackageError
from .data.collect import SUPPORT_SEEDS
from .data.schema import QOS
from .family import Family, Info, Variant, require
from .registry import get_family, get_variant

try:
    from gymnasium import Space, spaces
    from gymnasium.utils.seeding import np_random
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
    from pettingzoo import ParallelEnv
except ImportError as error:
    hint = 'Try: pip install "wbench[envs]"'
    raise MissingPackageError(f"the environment adapters need pettingzoo and gymnasium ({error}). {hint}") from error


def parallel_env(task: str | Variant, *, family: Family | None = None, device: torch.device | str = "cpu") -> ParallelEpisode:
    """One variant as a PettingZoo environment, an episode at a time.

    Args:
        task: a variant or its name, e.g. `access/n8-c1-load0.4`.
        family: its family; None = the registered one.
        device: where the simulator runs.
    """
    return ParallelEpisode(*_resolve(task, family), device)


def vector_env(
    task: str | Variant, num_envs: int, *, family: Family | None = None, device: torch.device | str = "cpu"
) -> VectorEpisodes:
    """One variant as a Gymnasium vector environment of `num_envs` episodes, each of all N agents together.

    Args:
        task: a variant or its name, e.g. `access/n8-c1-load0.4`.
        num_envs: number of episodes B.
        family: its family; None = the registered one.
        device: where the simulator runs.
    """
    require(isinstance(num_envs, int) and num_envs >= 1, "num_envs", num_envs, "a whole number, 1 or more")
    return VectorEpisodes(*_resolve(task, family), num_envs, device)


class HybridSpace(spaces.Tuple):
    """A choice and some levels; `sample` also takes the mask of the choice alone, as observations and infos hold it."""

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[Any, ...]:
        """A random (choice, levels [D])."""
        return super().sample((mask, None) if isinstance(mask, np.ndarray) else mask, probability)


class ParallelEpisode(ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """One episode at a time of one variant; agents `agent_0` to `agent_{N-1}`, who all live until the horizon.

    Observations are float32 [O]. In families that choose they are PettingZoo's dictionaries `{"observation": [O],
    "action_mask": [A] int8}`, and infos repeat the mask; a choice that it forbids is played as choice 0, to do nothing.
    After a step infos hold the agent's `delivered`, `delay`, `dropped` and `energy` of that slot. Rewards are the agents' own;
    the benchmark scores their sum.
    """

    def __init__(self, family: Family, variant: Variant, device: torch.device | str = "cpu") -> None:
        self.family, self.variant = family, variant
        self.metadata = {"name": variant.name, "render_modes": []}
        self.render_mode = None
        self.possible_agents = [f"agent_{i}" for i in range(variant.agents)]
        self.agents: list[str] = []
        self.observation_spaces = {agent: _observation_space(family) for agent in self.possible_agents}
        self.action_spaces = {agent: _action_space(family) for agent in self.possible_agents}
        self.state_space = _real(variant.agents * family.obs_size)
        self._env = family.make(variant, device)
        self._device = device
        self._random, _ = np_random()
        self._joint = np.zeros((0, family.obs_size), np.float32)

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
            self._random, _ = np_random(_scenario(seed))
        scenario = _draw(self._random, 1)[0] if seed is None else seed
        obs, info = self._env.reset([scenario])
        self.agents = list(self.possible_agents)
        return self._show(obs, info), self._infos(info)

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play one slot with an action of every agent."""
        require(bool(self.agents), "step", "an episode that is over or not begun", "an episode that runs; reset first")
        require(set(actions) == set(self.agents), "actions", sorted(actions), f"one for each of {len(self.agents)} agents")
        action = _joint_action(self.family, [actions[agent] for agent in self.agents])
        action = _allowed(self.family, action, torch.from_numpy(self._masks))
        obs, reward, terminated, truncated, info = self._env.step(action.unsqueeze(0).to(self._device))
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
        return {name: float(value[0]) for name, value in self._env.qos().items()}

    def render(self) -> None:
        """Nothing to look at."""

    def _show(self, obs: Tensor, info: Info) -> dict[str, Any]:
        self._joint = _numpy(obs)[0]
        self._masks = _numpy(info["action_mask"])[0].astype(np.int8)
        if not _chooses(self.family):
            return dict(zip(self.possible_agents, self._joint.copy(), strict=True))
        parts = zip(self.possible_agents, self._joint.copy(), self._masks, strict=True)
        return {agent: {"observation": own, "action_mask": mask} for agent, own, mask in parts}

    def _infos(self, info: Info) -> dict[str, dict[str, Any]]:
        columns = {name: info[name][0].tolist() for name in QOS if name in info}
        infos = {agent: {name: column[i] for name, column in columns.items()} for i, agent in enumerate(self.possible_agents)}
        if _chooses(self.family):
            for mask, own in zip(self._masks, infos.values(), strict=True):
                own["action_mask"] = mask.copy()
        return infos


class VectorEpisodes(VectorEnv[np.ndarray, Any, np.ndarray]):
    """B episodes of one variant, stepped together; each has all N agents, as one centralised controller would meet them.

    Observations are float32 [B, N, O] and the reward is the *team* reward [B], which the benchmark scores. Infos hold arrays
    for the whole batch: `action_mask` [B, N, A] int8 and `agent_mask` [B, N] bool always; after a step also the agents' own
    `rewards`, `delivered`, `delay`, `dropped` and `energy`, each [B, N]; after the last step `qos` of the episode, each [B].

    All episodes are truncated together at the horizon. Autoreset is Gymnasium's default, `NEXT_STEP`: the step after it ignores
    its actions, starts the next B scenarios and gives reward 0, so that the last observation is there to bootstrap from.
    """

    def __init__(self, family: Family, variant: Variant, num_envs: int, device: torch.device | str = "cpu") -> None:
        self.family, self.variant, self.num_envs = family, variant, num_envs
        self.metadata = {"name": variant.name, "render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = _real(variant.agents, family.obs_size)
        self.single_action_space = _action_space(family, variant.agents)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._env = family.make(variant, device)
        self._device = device
        self._begun = self._over = False
        self._mask = torch.zeros(0, dtype=torch.bool)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start scenarios `seed`, `seed + 1`, ..., or those of a list of B, or the next ones drawn.

        Args:
            seed: which scenarios.
            options: there are none; a `reset_mask` is refused, for the episodes of a batch run in step.
        """
        if "reset_mask" in (options or {}):
            raise InvalidValueError("options", "a reset_mask", "empty: the episodes of a batch start and end together")
        if seed is None:
            return self._start(None)
        scenarios = [
            _scenario(s) for s in (seed if isinstance(seed, Sequence) else range(_scenario(seed), seed + self.num_envs))
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
        action = _allowed(self.family, _batch_action(self.family, actions), self._mask)
        obs_, reward, terminated, truncated, info = self._env.step(action.to(self._device))
        self._mask = info["action_mask"].cpu()
        infos = _infos(info) | {"rewards": _numpy(reward)}
        self._over = bool((terminated | truncated).any())
        if self._over:
            infos["qos"] = self.qos()
        team = _numpy(reward.sum(1, dtype=torch.float64))
        return _numpy(obs_), team, _numpy(terminated), _numpy(truncated), infos

    def qos(self) -> dict[str, np.ndarray]:
        """Quality of service of the episodes so far, each [B]."""
        return {name: _numpy(value) for name, value in self._env.qos().items()}

    def _start(self, scenarios: list[int] | None) -> tuple[np.ndarray, dict[str, Any]]:
        obs, info = self._env.reset(scenarios if scenarios is not None else _draw(self.np_random, self.num_envs))
        self._begun, self._over, self._mask = True, False, info["action_mask"].cpu()
        return _numpy(obs), _infos(info)


def _resolve(task: str | Variant, family: Family | None) -> tuple[Family, Variant]:
    if isinstance(task, str):
        return (family, family.variant(task)) if family else get_variant(task)
    return family or get_family(task.family), task


def _chooses(family: Family) -> bool:
    return family.actions[0].kind == "categorical"


def _real(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def _observation_space(family: Family) -> Space[Any]:
    own = _real(family.obs_size)
    if not _chooses(family):
        return own
    return spaces.Dict({"observation": own, "action_mask": spaces.Box(0, 1, (family.mask_size,), np.int8)})


def _action_space(family: Family, agents: int | None = None) -> Space[Any]:
    """Actions of one agent (None), or of all together; see the table above."""
    levels = [component for component in family.actions if component.kind == "ordinal"]
    low, high = (np.array([getattr(c, end) for c in levels], np.float32) for end in ("low", "high"))
    if agents is not None:
        low, high = (np.tile(end, (agents, 1)) for end in (low, high))
        low, high = (end[:, 0] if len(family.actions) == 1 and levels else end for end in (low, high))
    box = spaces.Box(low, high, dtype=np.float32)
    if not _chooses(family):
        return box
    size = family.actions[0].size
    choice: Space[Any] = spaces.Discrete(size) if agents is None else spaces.MultiDiscrete([size] * agents)
    return HybridSpace((choice, box)) if levels else choice


def _joint_action(family: Family, actions: Sequence[Any]) -> Tensor:
    """Actions of N agents, each of its own space, as [N] or [N, D]."""
    if _chooses(family) and len(family.actions) > 1:
        pairs = all(isinstance(action, tuple) and len(action) == 2 for action in actions)
        require(pairs, "action", actions, "a pair (choice, levels) of every agent")
        choices, levels = zip(*actions, strict=True)
        return _batch_action(family, (_array(choices), _array(levels).reshape(len(actions), -1)))
    array = _array(actions)
    if not _chooses(family) and len(family.actions) == 1:
        require(array.size == len(actions), "action.shape", array.shape[1:], "(1,) for every agent")
        array = array.reshape(-1)
    return _batch_action(family, array)


def _batch_action(family: Family, actions: Any) -> Tensor:
    """Actions of the families' spaces, whatever the leading axes, as the tensor that `Env.step` takes; it checks the rest."""
    if not _chooses(family):
        return torch.from_numpy(_array(actions).astype(np.float32))
    if len(family.actions) == 1:
        return torch.from_numpy(_choices(actions))
    require(isinstance(actions, tuple) and len(actions) == 2, "action", type(actions).__name__, "a pair (choices, levels)")
    choices, levels = _choices(actions[0]), _array(actions[1])
    expected = (*choices.shape, len(family.actions) - 1)
    require(levels.shape == expected, "action.shape of the levels", levels.shape, f"{expected}")
    return torch.from_numpy(np.concatenate([choices[..., None], levels], axis=-1).astype(np.float32))


def _allowed(family: Family, action: Tensor, mask: Tensor) -> Tensor:
    """Actions [..., N] or [..., N, D] with 0 for a choice that the mask [..., N, A] forbids; what the space lacks is kept."""
    if not _chooses(family) or action.shape[: mask.dim() - 1] != mask.shape[:-1]:
        return action
    choice = action.unsqueeze(-1) if len(family.actions) == 1 else action[..., :1]
    known = (choice >= 0) & (choice < mask.shape[-1])
    forbidden = known & ~mask.bool().gather(-1, torch.where(known, choice, 0).long())
    played = torch.where(forbidden, 0, choice).to(action.dtype)
    return played.squeeze(-1) if len(family.actions) == 1 else torch.cat([played, action[..., 1:]], dim=-1)


def _choices(values: Any) -> np.ndarray:
    array = _array(values)
    require(np.issubdtype(array.dtype, np.integer), "action.dtype", str(array.dtype), "an integer type")
    return array.astype(np.int64)


def _array(values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidValueError("action", values, "of the same shape for every agent") from None
    require(np.issubdtype(array.dtype, np.number), "action", values, "numbers")
    return array


def _scenario(seed: object) -> int:
    require(isinstance(seed, int | np.integer) and int(seed) >= 0, "seed", seed, "a whole number, 0 or more")
    return int(seed)  # type: ignore[call-overload]


def _draw(random: np.random.Generator, count: int) -> list[int]:
    """Scenarios for training: below those of support, query and reference episodes."""
    return random.integers(SUPPORT_SEEDS, size=count).tolist()


def _infos(info: Info) -> dict[str, Any]:
    shown = {name: _numpy(info[name]) for name in ("action_mask", "agent_mask", *QOS) if name in info}
    return shown | {"action_mask": shown["action_mask"].astype(np.int8)}


def _numpy(tensor: Tensor) -> np.ndarray:
    """A copy: nobody outside can write into the simulator."""
    return tensor.detach().cpu().numpy().copy()

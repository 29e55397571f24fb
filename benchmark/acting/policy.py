"""An agent in a loop of one's own: `Policy` carries its messages, keeps its memory and knows what is allowed.

policy = wbench.load_policy("estimator")
policy.adapt("access/n8-c3-load0.15-l48", wbench.load_support("access/n8-c3-load0.15-l48", "dev:0", shots=5))
action = policy.act(obs)  # again and again; policy.reset() when an episode begins
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidValueError, require
from ..adapters.arrays import gymnasium_action, pettingzoo_actions
from ..agent import Adaptation, Agent, Support
from ..data.support import support as record_support
from ..family import Env, Family, Variant
from ..registry import get_variant, make_agent, resolve
from ..rollout import Team
from .environment import Sites, describe, site_numbers
from .logs import as_support
from .observation import allowed, choices

if TYPE_CHECKING:
    from datasets import Dataset


def load_policy(agent: str | Path | Agent, checkpoint: str | Path | None = None, *, device: str = "cpu") -> Policy:
    """An agent that acts in your own loop.

    Args:
        agent: a name of `list_agents`; or `FILE.py[:ATTR]`, which is run as your own code; or an `Agent`.
        checkpoint: folder, Hub id or packaged name; None = the packaged one.
        device: where it computes.

    Raises:
        UnknownNameError: there is no such agent.
        CheckpointError: its checkpoint is missing, damaged or of another model.
        InvalidValueError: this is no agent, or a checkpoint for one that is an object already.
    """
    fits = isinstance(agent, Agent | str | Path)
    require(fits, "agent", agent, "a name of wbench list, FILE.py, or an Agent that was made: Mine(), not Mine")
    if isinstance(agent, Agent):
        require(checkpoint is None, "checkpoint", checkpoint, "None for an Agent, which has its weights")
        return Policy(agent, device)
    name = None if checkpoint is None else str(checkpoint)
    return Policy(make_agent(str(agent), name, device, run_files=True), device)


def load_support(name: str, site: str | int = "held-out:0", shots: int = 5) -> Support:
    """K logged episodes of a site, as agents adapt on them; recorded from their seeds.

    Args:
        name: of the variant.
        site: where: `"held-out:0"`, `"dev:3"`, or a number.
        shots: K.

    Raises:
        UnknownNameError: there is no such variant.
        InvalidValueError: this is no site, or a sealed one, or there are no such shots.
    """
    family, variant = get_variant(name)
    places = site_numbers(site)
    require(len(places) == 1, "site", site, "one site, e.g. dev:0")
    require(isinstance(shots, int) and 1 <= shots <= 1000, "shots", shots, "a whole number in [1, 1000]")
    found = record_support(family, variant, places[0], shots)
    assert found is not None
    return found


class Policy:
    """An agent that acts in somebody's loop: see `adapt`, `reset` and `act`.

    It takes torch tensors, NumPy arrays as Gymnasium has them, and PettingZoo's dicts by agent, and gives back the same kind.

    Args:
        agent: the agent.
        device: where it computes.

    Attributes:
        agent: the agent.
        family: what it was adapted to, None before.
        variant: the same.
        adaptation: what it did with the logs.
    """

    def __init__(self, agent: Agent, device: str = "cpu") -> None:
        self.agent, self.device = agent, device
        self.family: Family | None = None
        self.variant: Variant | None = None
        self.adaptation = Adaptation()
        self._team: Team | None = None
        self._episodes: Sequence[tuple[int, int]] | None = None
        self._env: Env | None = None
        self._begun = self._shots = 0
        self._choices: Tensor | None = None

    def adapt(
        self, task: str | Variant, shots: Support | Dataset | str | Path | None = None, *, family: Family | None = None
    ) -> Adaptation:
        """Prepare for a variant at a site; forgets what it was adapted to before.

        Args:
            task: the variant or its name.
            shots: logged episodes of the site: a `Support`, a `Dataset` of format 2, or a file of logs (see `load_logs`); None
                = zero shots.
            family: its family; None = the registered one.

        Returns:
            What it did with the logs.

        Raises:
            InvalidValueError: the agent does not know the family, or these are no logs of the variant.
        """
        found, variant = resolve(task, family)
        known = self.agent.knows(found)
        require(known, "variant", variant.name, f"of a family that {self.agent.name} was trained on, which {found.name} is not")
        logs = None if shots is None else as_support(found, variant, shots)
        self.adaptation = self.agent.adapt(found, variant, logs)
        self.family, self.variant, self._choices = found, variant, None
        self._shots = 0 if logs is None else logs.shots
        self.reset()
        return self.adaptation

    def reset(self, env: Any = None, *, sites: Sites | None = None, seeds: Sequence[int] | None = None) -> None:
        """Begin new episodes: the next `act` is their first slot. Memory and messages are gone, what was adapted to stays.

        Args:
            env: the environment, after its own `reset`: then an agent that tosses coins tosses those that it does in `play`.
                Agents marked privileged (`oracle`, `genie`) need it, as they are told the site; no other looks into it.
            sites: sites of the episodes in its place, for the coins alone.
            seeds: seeds of the episodes in its place; None = fresh ones.
        """
        self._team, self._env, self._episodes = None, None, None
        if env is not None:
            bare = getattr(env, "unwrapped", env)
            require(hasattr(bare, "simulator"), "env", type(env).__name__, "an environment of wbench; or leave it out")
            self._env, self._episodes = bare.simulator, bare.played
            require(bool(self._episodes), "env", "not reset yet", "reset before the policy is: obs, info = env.reset()")
            played, ours = bare.variant.name, self.variant.name if self.variant else ""
            require(ours in ("", played), "env", f"of {played}", f"of {ours}, which the policy was adapted to")
        elif seeds is not None:
            places = [0] * len(seeds) if sites is None else list(site_numbers(sites))
            places = places * len(seeds) if len(places) == 1 else places
            require(len(places) == len(seeds), "sites", f"{len(places)} sites", f"one, or one a seed: {len(seeds)}")
            self._episodes = list(zip(places, map(int, seeds), strict=True))

    @torch.no_grad()
    def act(self, obs: Any, info: Any = None) -> Any:
        """Actions of all agents in the next slot of their episodes.

        Args:
            obs: a tensor or array [B, N, O], or [N, O] of one episode; or a PettingZoo dict by agent.
            info: what came with it, or its `action_mask`; None = the mask follows from the observations.

        Returns:
            [B, N] or [B, N, D] as `Env.step` takes them, a tensor for a tensor. For an array: as the Gymnasium action space has
            them. For a dict: a dict.

        Raises:
            InvalidValueError: it was not adapted, the episode is over, or these are no observations of the variant.
        """
        if self.family is None or self.variant is None:
            raise InvalidValueError("act", "before adapt", 'after it: policy.adapt("access/n8-c3-load0.15-l48", shots)')
        names = list(obs) if isinstance(obs, Mapping) else []
        if names:
            obs, info = _stacked(obs, self.variant)
        seen, mask = self._seen(obs), None if info is None else self._mask(info)
        alone = seen.dim() == 2
        batch = seen.unsqueeze(0) if alone else seen
        mask = self._derived(batch) if mask is None else mask.reshape(*batch.shape[:2], self.family.mask_size)
        action = self._playing(len(batch)).act(batch, mask)
        action = action[0] if alone else action
        if names:
            return dict(zip(names, pettingzoo_actions(self.family, action), strict=True))
        return action if isinstance(obs, Tensor) else gymnasium_action(self.family, action)

    def _playing(self, batch: int) -> Team:
        """The agent in its episodes, which begin now if none do."""
        assert self.family is not None and self.variant is not None
        if self._team is None:
            episodes = self._episodes or [(0, self._begun + k) for k in range(batch)]
            require(len(episodes) == batch, "obs", f"{batch} episodes", f"{len(episodes)} episodes, as the policy was reset to")
            told = self.agent.privileged and self._env is None
            require(not told, self.agent.name, "without the environment", "told it: policy.reset(env) after env.reset()")
            sites, seeds = zip(*episodes, strict=True)
            self._begun += batch
            self._team = Team(self.agent, self.family, self.variant, sites, seeds, self.device, self._env)
            self._size = batch
        require(batch == self._size, "obs", f"{batch} episodes", f"{self._size} episodes; policy.reset() when new ones begin")
        over = self._team.slot >= self.variant.horizon
        require(not over, "act", f"slot {self._team.slot}", f"below {self.variant.horizon}; policy.reset() when episodes begin")
        return self._team

    def _seen(self, obs: Any) -> Tensor:
        """Observations as a tensor, [B, N, O] or [N, O]."""
        assert self.family is not None and self.variant is not None
        shape = (self.variant.agents, self.family.obs_size)
        try:
            seen = torch.as_tensor(obs, dtype=torch.float32, device=self.device)
        except (TypeError, ValueError, RuntimeError):
            raise InvalidValueError("obs", type(obs).__name__, "a tensor, an array, or a PettingZoo dict") from None
        fits = seen.dim() in (2, 3) and tuple(seen.shape[-2:]) == shape and len(seen) > 0
        allowed = f"(B, {shape[0]}, {shape[1]}) or {shape} in {self.variant.name}"
        require(fits, "obs.shape", tuple(seen.shape), allowed)
        require(bool(torch.isfinite(seen).all()), "obs", "with NaN or infinity", "finite numbers")
        return seen

    def _mask(self, info: Any) -> Tensor:
        """The mask that somebody gave, as bools."""
        given = info.get("action_mask") if isinstance(info, Mapping) else info
        require(given is not None, "info", sorted(info) if isinstance(info, Mapping) else info, "with an action_mask")
        return torch.as_tensor(given, device=self.device).bool()

    def _derived(self, obs: Tensor) -> Tensor:
        """What is allowed, [B, N, A], from observations [B, N, O]."""
        assert self.family is not None and self.variant is not None
        if self._choices is None:
            self._choices = choices(self.family, self.variant).to(self.device)
        return allowed(self.family, self._choices, obs)

    def __repr__(self) -> str:
        if self.family is None or self.variant is None:
            return f"Policy({self.agent.label}, not adapted)"
        slot = f"slot {self._team.slot} of {self.variant.horizon}" if self._team else "at the start of an episode"
        return f"Policy({self.agent.label}; {describe(self.family, self.variant)}; {self._shots} shots; {slot})"


Acting = Policy | Agent | str | Callable[[Any, Any], Any]


def acting(
    policy: Acting, family: Family, variant: Variant, shots: Support | None = None
) -> Policy | Callable[[Any, Any], Any]:
    """What acts in a loop: a policy of this variant, made of an agent (which reads the logs) if one is given; or a function."""
    if isinstance(policy, Agent | str):
        policy = load_policy(policy)
        policy.adapt(variant, shots, family=family)
    if isinstance(policy, Policy):
        require(policy.variant == variant, "policy", repr(policy), f"adapted to {variant.name}")
    elif not callable(policy):
        raise InvalidValueError("policy", type(policy).__name__, "a Policy, an agent, or a function (obs, info) -> actions")
    return policy


def _stacked(obs: Mapping[str, Any], variant: Variant) -> tuple[np.ndarray, np.ndarray | None]:
    """Observations [N, O] and masks [N, A] of PettingZoo's dict, in the order of its agents."""
    require(len(obs) == variant.agents, "obs", f"{len(obs)} agents", f"one for each of the {variant.agents} agents")
    parts = list(obs.values())
    if not isinstance(parts[0], Mapping):
        return np.stack(parts), None
    return np.stack([part["observation"] for part in parts]), np.stack([part["action_mask"] for part in parts])

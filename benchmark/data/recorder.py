"""Records episodes of behaviour policies: the raw material of datasets and of support episodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import require_known
from ..agent import Agent, State, random_action
from ..family import QUALITIES, Family, Variant
from ..rollout import Slot, play
from .schema import QOS, SUPPORT, TRAIN_FILES

Columns = dict[str, np.ndarray]
Behaviour = tuple[str, float]  # a policy, and how likely an agent plays a random action instead
BATCH = 256  # episodes played together: what bounds memory


class NoisyPolicy(Agent):
    """A policy that, with probability `noise`, plays a uniformly random allowed action instead; agent by agent."""

    def __init__(self, policy: Agent, noise: float) -> None:
        self.name, self.privileged, self.message_size = policy.name, policy.privileged, policy.message_size
        self._policy, self._noise = policy, noise

    def begin(self, state: State) -> None:
        """Start the wrapped policy."""
        self._policy.begin(state)

    def message(self, obs: Tensor, state: State) -> Tensor:
        """The wrapped policy's message."""
        return self._policy.message(obs, state)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        action = self._policy.act(obs, inbox, state)
        instead = random_action(state)
        explore = state.random.uniform(action.shape[1]) < self._noise
        return torch.where(explore.view(*explore.shape, *(1,) * (action.dim() - 2)), instead, action)


def behaviours(family: Family) -> list[Behaviour]:
    """Every (policy, noise) that records data, without repeats; the `behaviour` column is an index into it."""
    return sorted({*family.support, *(behaviour for several in family.behaviours.values() for behaviour in several)})


def support_qualities(family: Family) -> np.ndarray:
    """The quality that each of the behaviours counts as where it recorded a support: `random`, else `medium`."""
    return np.array([QUALITIES.index("random" if policy == "random" else "medium") for policy, _ in behaviours(family)])


def mixture(family: Family, quality: str) -> tuple[Behaviour, ...]:
    """The behaviours that record a train file, in turns; raises `UnknownNameError`."""
    require_known("quality", quality, TRAIN_FILES, f"wbench show {family.name}")
    return family.support if quality == SUPPORT else family.behaviours[quality]


def record(family: Family, variant: Variant, turns: Sequence[Behaviour], sites: Sequence[int], seeds: Sequence[int]) -> Columns:
    """Play one episode a (site, seed); the behaviours take turns, episode by episode.

    Returns:
        Columns with leading axes [E, T], in the order of the seeds; `obs` and `action_mask` are [E, T + 1, ...], since they
        hold what the last action led to; `site` and `behaviour` are [E].
    """
    parts: dict[Behaviour, list[int]] = defaultdict(list)
    for k in range(len(seeds)):
        parts[turns[k % len(turns)]].append(k)
    found, order = [], []
    for behaviour, own in parts.items():
        for batch in (own[start : start + BATCH] for start in range(0, len(own), BATCH)):
            found.append(_play(family, variant, behaviour, [sites[k] for k in batch], [seeds[k] for k in batch]))
            order += batch
    place = np.argsort(order)
    return {name: np.concatenate([part[name] for part in found])[place] for name in found[0]}


def _play(family: Family, variant: Variant, behaviour: Behaviour, sites: Sequence[int], seeds: Sequence[int]) -> Columns:
    policy, noise = behaviour
    slots: list[Slot] = []
    play(family, variant, NoisyPolicy(family.policies[policy](), noise), sites, seeds, record=slots.append)
    return columns_of(slots, sites, behaviours(family).index(behaviour))


def columns_of(slots: Sequence[Slot], sites: Sequence[int], behaviour: int) -> Columns:
    """The columns of one batch of episodes, of which these are all slots; the behaviour's number goes into all rows."""
    names = ("obs", "action_mask", "action", "reward", "terminated", "truncated")
    found = {name: [getattr(slot, name) for slot in slots] for name in names}
    found |= {name: [slot.info[name] for slot in slots] for name in QOS}
    found["obs"].append(slots[-1].next_obs)
    found["action_mask"].append(slots[-1].info["action_mask"])
    columns = {name: torch.stack(values, dim=1).cpu().numpy() for name, values in found.items()}
    return columns | {"site": np.array(sites, np.int32), "behaviour": np.full(len(sites), behaviour, np.int8)}

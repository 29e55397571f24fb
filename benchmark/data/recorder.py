"""Records episodes of behaviour policies: the raw material of datasets and of support episodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...errors import UnknownNameError
from ..agent import Agent, State, Support, random_action
from ..family import QUALITIES, Family, Variant
from ..rollout import Slot, play
from ..seeds import TRAIN_SEEDS, support_seeds
from .schema import QOS

Columns = dict[str, np.ndarray]

SUPPORT_ORDER = ("mixed", "expert", "medium", "random")  # K shots are the first K of a draw: every K is stratified


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


def behaviours(family: Family) -> list[tuple[str, float]]:
    """Every (policy, noise) that records data, without repeats; the `behaviour` column is an index into it."""
    return sorted({behaviour for several in family.behaviours.values() for behaviour in several})


def record(family: Family, variant: Variant, behaviour: tuple[str, float], seeds: Sequence[int]) -> Columns:
    """Play one episode a seed with one behaviour (policy, noise).

    Returns:
        Columns of the schema with leading axes [E, T]; `behaviour` is [E].
    """
    slots: dict[str, list[np.ndarray]] = defaultdict(list)

    def keep(slot: Slot) -> None:
        columns = {"obs": slot.obs, "action_mask": slot.action_mask, "action": slot.action, "reward": slot.reward}
        for name, value in (columns | {name: slot.info[name] for name in QOS}).items():
            slots[name].append(value.cpu().numpy())

    policy, noise = behaviour
    play(family, variant, NoisyPolicy(family.policies[policy](), noise), seeds, record=keep)
    columns = {name: np.stack(values, axis=1) for name, values in slots.items()}
    return columns | {"behaviour": np.full(len(seeds), behaviours(family).index(behaviour), np.int8)}


def record_quality(family: Family, variant: Variant, quality: str, seeds: Sequence[int]) -> Columns:
    """Play one episode a seed; the behaviours of the quality take turns. Columns as in `record`, in the order of the seeds."""
    if quality not in QUALITIES:
        raise UnknownNameError("quality", quality, QUALITIES, "wbench show " + family.name)
    mixture = family.behaviours[quality]
    turns = [range(turn, len(seeds), len(mixture)) for turn in range(min(len(mixture), len(seeds)))]
    parts = [record(family, variant, mixture[i], [seeds[k] for k in turn]) for i, turn in enumerate(turns)]
    order = np.argsort(np.concatenate([list(turn) for turn in turns]))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def train_seeds(quality: str, episodes: int) -> list[int]:
    """Scenario seeds of a train file; each quality has scenarios of its own."""
    start = TRAIN_SEEDS + QUALITIES.index(quality) * 1_000_000
    return list(range(start, start + episodes))


def support_behaviour(family: Family, draw: int, k: int) -> tuple[str, float]:
    """Who records episode k of a support draw: the qualities take turns, and so do the behaviours of each.

    Where a quality has an even number of behaviours (`medium` of `power`: two), every turn within a draw falls on the same
    half of them, and the other draws have the other half. It is a part of the frozen support.
    """
    mixture = family.behaviours[SUPPORT_ORDER[k % len(SUPPORT_ORDER)]]
    return mixture[(draw + k) % len(mixture)]


def record_support(family: Family, variant: Variant, draw: int, episodes: int) -> Columns:
    """The episodes of a support draw, in order, recorded in one batch a behaviour: the same bits as one by one, sooner."""
    parts: dict[tuple[str, float], list[int]] = defaultdict(list)
    for k in range(episodes):
        parts[support_behaviour(family, draw, k)].append(k)
    seeds = support_seeds(draw, episodes)
    recorded = [record(family, variant, behaviour, [seeds[k] for k in turns]) for behaviour, turns in parts.items()]
    order = np.argsort(np.concatenate(list(parts.values())))
    return {name: np.concatenate([part[name] for part in recorded])[order] for name in recorded[0]}


def support(family: Family, variant: Variant, draw: int, shots: int) -> Support | None:
    """The K support episodes of a draw, or None at zero shots. Episode k is the same for every K > k and every agent."""
    if shots == 0:
        return None
    qualities = tuple(SUPPORT_ORDER[k % len(SUPPORT_ORDER)] for k in range(shots))
    column = {name: torch.from_numpy(values) for name, values in record_support(family, variant, draw, shots).items()}
    return Support(column["obs"], column["action"], column["reward"], column["action_mask"], qualities)

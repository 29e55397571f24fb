"""Random training windows: short joint stretches of all agents, straight from contiguous memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..agent import Support
from ..family import Family, Variant
from .schema import QUALITIES
from .store import Release, ensure, load_columns


@dataclass(frozen=True)
class Windows:
    """A batch of windows, one row an agent: R rows of W slots.

    Attributes:
        obs: [R, W, O] float32; zero before the episode's start.
        action: [R, W] int64 or float32, or [R, W, D] float32.
        action_mask: [R, W, A] bool.
        reward: [R, W] float32, the *team* reward (sum over the agents) of each slot.
        valid: [R, W] bool, false before the episode's start.
        group: [R] int64, rows of the same joint window share a number in [0, groups).
        others: [R] float32, number of other agents.
        descriptor: [R, D] float32, the variant's public description.
    """

    obs: Tensor
    action: Tensor
    action_mask: Tensor
    reward: Tensor
    valid: Tensor
    group: Tensor
    others: Tensor
    descriptor: Tensor

    @property
    def groups(self) -> int:
        """Number of joint windows."""
        return int(self.group[-1]) + 1

    def to(self, device: torch.device | str) -> Windows:
        """The same on a device."""
        return Windows(**{name: value.to(device) for name, value in vars(self).items()})


class Episodes:
    """Episodes of one variant in contiguous memory, padded in front by `history` empty slots.

    Args:
        variant: the variant.
        obs: [E, T, N, O].
        action: [E, T, N] or [E, T, N, D].
        action_mask: [E, T, N, A].
        reward: [E, T, N].
        history: slots before the current one in a window.
        horizon: slots after it.
    """

    def __init__(
        self, variant: Variant, obs: Tensor, action: Tensor, action_mask: Tensor, reward: Tensor, history: int, horizon: int
    ) -> None:
        self.variant, self.history, self.horizon = variant, history, horizon
        self.count, self.length = obs.shape[:2]
        self._obs = _pad_front(obs.half(), history)
        self._action = _pad_front(action.float() if action.is_floating_point() else action.to(torch.int16), history)
        self._mask = _pad_front(action_mask.bool(), history)
        self._reward = _pad_front(reward.float().sum(-1), history)

    @classmethod
    def from_support(cls, variant: Variant, support: Support, history: int, horizon: int) -> Episodes:
        """The episodes of a support set."""
        return cls(variant, support.obs, support.action, support.action_mask, support.reward, history, horizon)

    def starts(self) -> int:
        """Number of different current slots in an episode."""
        return self.length - self.horizon

    def gather(self, episode: Tensor, slot: Tensor) -> dict[str, Tensor]:
        """Joint windows around slot `slot` of episode `episode` (both [b]), as rows [b * N, W, ...]."""
        width = self.history + 1 + self.horizon
        padded = self.length + self.history
        index = (episode * padded + slot)[:, None] + torch.arange(width)
        flat = index.reshape(-1)
        n = self.variant.agents

        def rows(source: Tensor) -> Tensor:
            picked = source.flatten(0, 1).index_select(0, flat).view(len(episode), width, n, *source.shape[3:])
            return picked.transpose(1, 2).flatten(0, 1)

        valid = (slot[:, None] + torch.arange(width)) >= self.history
        action = rows(self._action)
        reward = self._reward.flatten().index_select(0, flat).view(len(episode), width)
        return {
            "obs": rows(self._obs).float(),
            "action": action if action.is_floating_point() else action.long(),
            "action_mask": rows(self._mask),
            "reward": reward.repeat_interleave(n, 0),
            "valid": valid.repeat_interleave(n, 0),
        }


def _pad_front(x: Tensor, slots: int) -> Tensor:
    return torch.cat([x.new_zeros(x.shape[0], slots, *x.shape[2:]), x], dim=1)


class WindowSampler:
    """Draws batches of random windows, an equal number of rows from each of several random variants.

    Args:
        family: the family, for the relabelling of interchangeable parts.
        sources: episodes by variant.
        generator: the random source; its state is the sampler's state.
        variants_per_batch: how many variants a batch mixes.
    """

    def __init__(
        self, family: Family, sources: Sequence[Episodes], generator: torch.Generator, variants_per_batch: int = 8
    ) -> None:
        self.sources = list(sources)
        self._relabel = family.relabel
        self.generator = generator
        self._mix = min(variants_per_batch, len(self.sources))

    def sample(self, rows: int, episodes: slice | None = None) -> Windows:
        """About `rows` rows. `episodes` restricts every source to a slice of its episodes."""
        chosen = torch.randperm(len(self.sources), generator=self.generator)[: self._mix]
        parts: list[dict[str, Tensor]] = []
        groups = 0
        for source in (self.sources[i] for i in chosen.tolist()):
            pool = torch.arange(source.count)[episodes or slice(None)]
            n = source.variant.agents
            count = max(1, rows // (self._mix * n))
            episode = pool[torch.randint(len(pool), (count,), generator=self.generator)]
            slot = torch.randint(source.starts(), (count,), generator=self.generator)
            part = source.gather(episode, slot)
            if self._relabel:
                self._relabel(part, self.generator)
            part["group"] = groups + torch.arange(count).repeat_interleave(n)
            part["others"] = torch.full((count * n,), float(n - 1))
            part["descriptor"] = torch.tensor([source.variant.descriptor()]).expand(count * n, -1)
            parts.append(part)
            groups += count
        return Windows(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def load_episodes(family: Family, release: Release, history: int, horizon: int) -> list[Episodes]:
    """All train variants of a release, all qualities together."""
    ensure(family, release)
    sources = []
    for variant in family.select("train"):
        columns = [load_columns(family, variant, quality, release) for quality in QUALITIES]
        joined = {
            name: torch.from_numpy(np.concatenate([c[name] for c in columns]))
            for name in ("obs", "action", "action_mask", "reward")
        }
        sources.append(Episodes(variant, **joined, history=history, horizon=horizon))
    return sources

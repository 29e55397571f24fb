"""Random training windows: short joint stretches of all agents, straight from contiguous memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..agent import Support
from ..family import PRIVILEGED, QUALITIES, Family, Variant
from .cache import Cache
from .mapped import map_columns
from .release import Release, contents
from .store import ensure


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
        quality: [R] int64, which of `schema.QUALITIES` recorded the window's episode.
    """

    obs: Tensor
    action: Tensor
    action_mask: Tensor
    reward: Tensor
    valid: Tensor
    group: Tensor
    others: Tensor
    descriptor: Tensor
    quality: Tensor

    @property
    def groups(self) -> int:
        """Number of joint windows."""
        return int(self.group[-1]) + 1

    def team_sum(self, x: Tensor) -> Tensor:
        """Sums over the agents of each joint window: [R, ...] -> [groups, ...]."""
        return x.new_zeros(self.groups, *x.shape[1:]).index_add_(0, self.group, x)

    def team_mean(self, x: Tensor) -> Tensor:
        """Means over the agents of each joint window: [R, ...] -> [groups, ...]."""
        return self.team_sum(x) / self.team_sum(x.new_ones(len(x), *(1,) * (x.dim() - 1)))

    def without_genie(self) -> Tensor:
        """[groups] float: 1, or 0 for joint windows of the quality where a genie acts on what no agent sees."""
        return self.team_mean((self.quality != QUALITIES.index(PRIVILEGED)).float())

    @classmethod
    def join(cls, parts: Sequence[Windows]) -> Windows:
        """Several batches as one, joint windows numbered through; the parts' numbers are changed."""
        first = 0
        for part in parts:
            count = part.groups
            part.group.add_(first)
            first += count
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})

    def to(self, device: torch.device | str) -> Windows:
        """The same on a device."""
        return Windows(**{name: value.to(device) for name, value in vars(self).items()})


class Episodes:
    """Episodes of one variant in contiguous memory or memory maps; nothing is copied before it is asked for.

    Args:
        variant: the variant.
        obs: [E, T, N, O], float16 or float32.
        action: [E, T, N] or [E, T, N, D].
        action_mask: [E, T, N, A] bool.
        reward: [E, T, N].
        history: slots before the current one in a window.
        horizon: slots after it.
        quality: index into `schema.QUALITIES` of each episode, [E]; None = `PRIVILEGED`, as nobody said who recorded them.
    """

    def __init__(
        self,
        variant: Variant,
        obs: Tensor,
        action: Tensor,
        action_mask: Tensor,
        reward: Tensor,
        history: int,
        horizon: int,
        quality: Tensor | None = None,
    ) -> None:
        self.variant, self.history, self.horizon = variant, history, horizon
        self.count, self.length = obs.shape[:2]
        self.quality = torch.full((self.count,), QUALITIES.index(PRIVILEGED)) if quality is None else quality
        self._columns = {"obs": obs, "action": action, "action_mask": action_mask, "reward": reward.float().sum(-1)}

    @classmethod
    def from_support(cls, variant: Variant, support: Support, history: int, horizon: int) -> Episodes:
        """The episodes of a support set."""
        quality = torch.tensor([QUALITIES.index(name) for name in support.quality])
        return cls(variant, support.obs, support.action, support.action_mask, support.reward, history, horizon, quality)

    @property
    def transitions(self) -> int:
        """Number of agent transitions."""
        return self.count * self.length * self.variant.agents

    def starts(self) -> int:
        """Number of different current slots in an episode."""
        return self.length - self.horizon

    def returns_to_go(self, discount: float) -> Tensor:
        """Discounted team reward from every slot to the end of its episode, [E, T]."""
        value, found = torch.zeros(self.count), []
        for reward in self._columns["reward"].flip(1).unbind(1):
            value = reward + discount * value
            found.append(value)
        return torch.stack(found[::-1], dim=1)

    def value_range(self, discount: float) -> tuple[float, float]:
        """Least and greatest discounted team reward from any slot to the end of its episode; 0 is within it."""
        values = self.returns_to_go(discount)
        return min(0.0, float(values.min())), max(0.0, float(values.max()))

    def joint(self, column: str, episode: Tensor, slot: Tensor) -> Tensor:
        """A column's windows around slot `slot` of episode `episode` (both [b]): [b, W, ...].

        What lies before an episode's start is its first slot again; see `gather` for how it is marked.
        """
        index = (episode * self.length)[:, None] + self._slots(slot).clamp(min=0)
        found = self._columns[column].flatten(0, 1).index_select(0, index.flatten())
        return found.unflatten(0, index.shape)

    def gather(self, episode: Tensor, slot: Tensor) -> dict[str, Tensor]:
        """Joint windows around slot `slot` of episode `episode` (both [b]), as rows [b * N, W, ...]."""
        valid = self._slots(slot) >= 0

        def rows(column: str) -> Tensor:
            found = self.joint(column, episode, slot)
            found = found * valid.view(*valid.shape, *(1,) * (found.dim() - 2))  # empty before the episode's start
            return found.transpose(1, 2).flatten(0, 1)

        n, action = self.variant.agents, rows("action")
        reward = self.joint("reward", episode, slot) * valid
        return {
            "obs": rows("obs").float(),
            "action": action if action.is_floating_point() else action.long(),
            "action_mask": rows("action_mask").bool(),
            "reward": reward.repeat_interleave(n, 0),
            "valid": valid.repeat_interleave(n, 0),
            "quality": self.quality[episode].repeat_interleave(n, 0),
        }

    def _slots(self, slot: Tensor) -> Tensor:
        return slot[:, None] + torch.arange(-self.history, self.horizon + 1)


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
        self._relabel = family.permute
        self.generator = generator
        self._mix = min(variants_per_batch, len(self.sources))

    @property
    def transitions(self) -> int:
        """Number of agent transitions in all sources."""
        return sum(source.transitions for source in self.sources)

    def value_range(self, discount: float) -> tuple[float, float]:
        """Least and greatest of all sources; see `Episodes.value_range`."""
        lows, highs = zip(*(source.value_range(discount) for source in self.sources), strict=True)
        return min(lows), max(highs)

    def sample(self, rows: int, episodes: slice | None = None) -> Windows:
        """About `rows` rows. `episodes` restricts every source to a slice of its episodes."""
        chosen = torch.randperm(len(self.sources), generator=self.generator)[: self._mix]
        parts: list[Windows] = []
        for source in (self.sources[i] for i in chosen.tolist()):
            pool = torch.arange(source.count)[episodes or slice(None)]
            count = max(1, rows // (self._mix * source.variant.agents))
            episode = pool[torch.randint(len(pool), (count,), generator=self.generator)]
            slot = torch.randint(source.starts(), (count,), generator=self.generator)
            parts.append(self.windows(source, episode, slot))
        return Windows.join(parts)

    def windows(self, source: Episodes, episode: Tensor, slot: Tensor, action: Tensor | None = None) -> Windows:
        """The joint windows around these slots of these episodes (both [b]), relabelled where the family has relabellings.

        Actions [b * N, ...] that are given are relabelled alike and take the place of those that were recorded.
        """
        part = source.gather(episode, slot)
        if action is not None:
            part["action"] = action
        if self._relabel:
            self._relabel(part, self.generator)
        count, n = len(episode), source.variant.agents
        return Windows(
            **part,
            group=torch.arange(count).repeat_interleave(n),
            others=torch.full((count * n,), float(n - 1)),
            descriptor=torch.tensor([source.variant.descriptor()]).expand(count * n, -1),
        )


def load_episodes(family: Family, release: Release, history: int, horizon: int) -> list[Episodes]:
    """All train variants of a release, all qualities together, from memory maps."""
    cache = Cache(family, release)
    ensure(cache, [shard for shard in contents(family, release) if shard.quality is not None])
    return [
        Episodes(variant, **map_columns(cache, variant), history=history, horizon=horizon) for variant in family.select("train")
    ]


def load_samplers(
    families: Sequence[Family], release: Release, history: int, horizon: int, generator: torch.Generator
) -> dict[str, WindowSampler]:
    """A sampler for each family, by name, over `load_episodes`; they share the random source."""
    return {
        family.name: WindowSampler(family, load_episodes(family, release, history, horizon), generator) for family in families
    }

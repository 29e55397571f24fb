"""Random training windows: short joint stretches of all agents, straight from contiguous memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..agent import Support
from ..family import PRIVILEGED, QUALITIES, Family, Variant
from .cache import Cache
from .context import Context, pools
from .release import Release, train_files
from .store import ensure, map_columns

MIXED = 8  # variants in a batch, at most


@dataclass(frozen=True, repr=False)
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
        quality: [R] int64, which of `family.QUALITIES` recorded the window's episode.
        own_reward: [R, W] float32, the agent's own part of the reward.
        slot: [R] int64, number of the window's current slot in its episode.
        agent: [R] int64, number of the agent.
        context: other episodes of the sites that the windows are of, where they were asked for.
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
    own_reward: Tensor
    slot: Tensor
    agent: Tensor
    context: Context | None = None

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
        names = [name for name in vars(parts[0]) if name != "context"]
        contexts = [part.context for part in parts if part.context is not None]
        columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(**columns, context=Context.join(contexts) if contexts else None)

    def to(self, device: torch.device | str) -> Windows:
        """The same on a device."""
        moved: dict[str, Any] = {name: value if value is None else value.to(device) for name, value in vars(self).items()}
        return Windows(**moved)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(getattr(self, name).shape)}" for name in ("obs", "action", "action_mask", "reward"))
        return f"Windows({shapes}; {self.groups} joint windows)"


class Episodes:
    """Episodes of one variant in contiguous memory or memory maps; nothing is copied before it is asked for.

    Args:
        variant: the variant.
        obs: [E, T, N, O] or, with the last ones, [E, T + 1, N, O]; float16 or float32.
        action: [E, T, N] or [E, T, N, D].
        action_mask: [E, T, N, A] or [E, T + 1, N, A], bool or int8.
        reward: [E, T, N].
        history: slots before the current one in a window.
        horizon: slots after it.
        quality: index into `family.QUALITIES` of each episode, [E]; None = `PRIVILEGED`, as nobody said who recorded them.
        site: site of each episode, [E]; None = all are of one site.
        telling: whether an episode may stand in a context, [E]; None = all may.
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
        site: Tensor | None = None,
        telling: Tensor | None = None,
    ) -> None:
        self.variant, self.history, self.horizon = variant, history, horizon
        self.count, self.length = action.shape[:2]
        self.quality = torch.full((self.count,), QUALITIES.index(PRIVILEGED)) if quality is None else quality
        self._columns = {"obs": obs, "action": action, "action_mask": action_mask, "own_reward": reward}
        self._columns["reward"] = reward.float().sum(-1)
        self._logs = {"obs": obs, "action": action, "action_mask": action_mask, "reward": reward}
        self.site = torch.zeros(self.count, dtype=torch.long) if site is None else site.long()
        self._pool = pools(self.site, torch.ones(self.count, dtype=torch.bool) if telling is None else telling)

    @classmethod
    def from_support(cls, variant: Variant, support: Support, history: int, horizon: int) -> Episodes:
        """The episodes of a support set."""
        names = (name if name in QUALITIES else "medium" for name in support.quality)  # `belief` is none of the qualities
        quality = torch.tensor([QUALITIES.index(name) for name in names])
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
        source = self._columns[column]
        index = (episode * source.shape[1])[:, None] + self._slots(slot).clamp(min=0)
        return source.flatten(0, 1).index_select(0, index.flatten()).unflatten(0, index.shape)

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
            "own_reward": rows("own_reward"),
            "slot": slot.repeat_interleave(n, 0),
            "agent": torch.arange(n).repeat(len(episode)),
        }

    def others(self, episode: Tensor, shots: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Up to so many other episodes of the sites of these ones ([p]), at random: numbers [p, shots], and which are there."""
        pool = self._pool[self.site[episode]]
        open_ = (pool >= 0) & (pool != episode[:, None])
        order = torch.where(open_, torch.rand(pool.shape, generator=generator), 2.0).argsort(1)[:, :shots]
        return pool.gather(1, order).clamp(min=0), open_.gather(1, order)

    def logs(self, episodes: Tensor, there: Tensor) -> dict[str, Tensor]:
        """Whole joint episodes [p, C], zero where none is there: columns of `Context`."""
        found = {name: x.index_select(0, episodes.flatten()).unflatten(0, episodes.shape) for name, x in self._logs.items()}
        if not there.all():
            found = {name: x.mul_(there.view(*there.shape, *(1,) * (x.dim() - 2))) for name, x in found.items()}
        return found

    def _slots(self, slot: Tensor) -> Tensor:
        return slot[:, None] + torch.arange(-self.history, self.horizon + 1)


class WindowSampler:
    """Draws batches of random windows, an equal number of rows from each of several random variants.

    Args:
        family: the family, for the permutation of interchangeable parts.
        sources: episodes by variant.
        generator: the random source; its state is the sampler's state.
    """

    def __init__(self, family: Family, sources: Sequence[Episodes], generator: torch.Generator) -> None:
        self.sources = list(sources)
        self._permute = family.permute
        self.generator = generator
        self._mix = min(MIXED, len(self.sources))

    def __repr__(self) -> str:
        names, first = ", ".join(source.variant.name for source in self.sources), self.sources[0]
        return f"WindowSampler({names}: {first.history} + 1 + {first.horizon} slots; {self.transitions:,} agent transitions)"

    @property
    def transitions(self) -> int:
        """Number of agent transitions in all sources."""
        return sum(source.transitions for source in self.sources)

    def value_range(self, discount: float) -> tuple[float, float]:
        """Least and greatest of all sources; see `Episodes.value_range`."""
        lows, highs = zip(*(source.value_range(discount) for source in self.sources), strict=True)
        return min(lows), max(highs)

    def sample(self, rows: int, episodes: slice | None = None, shots: Sequence[int] = (), per_context: int = 1) -> Windows:
        """About `rows` rows.

        Args:
            rows: how many.
            episodes: restricts every source to a slice of its episodes.
            shots: with these, the batch has a `context` of K other episodes of each site, K drawn from them for the batch.
            per_context: joint windows, of one episode, that share a context, at most.
        """
        chosen = torch.randperm(len(self.sources), generator=self.generator)[: self._mix]
        drawn = shots[int(torch.randint(len(shots), (1,), generator=self.generator))] if shots else None
        parts: list[Windows] = []
        for source in (self.sources[i] for i in chosen.tolist()):
            pool = torch.arange(source.count)[episodes or slice(None)]
            windows = max(1, rows // (self._mix * source.variant.agents))
            each = min(per_context, windows)
            episode = pool[torch.randint(len(pool), (windows // each,), generator=self.generator)].repeat_interleave(each)
            slot = torch.randint(source.starts(), (len(episode),), generator=self.generator)
            parts.append(self.windows(source, episode, slot, shots=drawn, per_context=each))
        return Windows.join(parts)

    def windows(
        self,
        source: Episodes,
        episode: Tensor,
        slot: Tensor,
        shots: int | None = None,
        per_context: int = 1,
    ) -> Windows:
        """The joint windows around these slots of these episodes (both [b]), permuted where the family has permutations.

        With `shots` they have a context, which is permuted alike.
        """
        part = source.gather(episode, slot)
        state = self.generator.get_state()  # of the permutation, which the context shares
        if self._permute:
            self._permute(part, self.generator)
        count, n = len(episode), source.variant.agents
        return Windows(
            **part,
            group=torch.arange(count).repeat_interleave(n),
            others=torch.full((count * n,), float(n - 1)),
            descriptor=torch.tensor([source.variant.descriptor()]).expand(count * n, -1),
            context=None if shots is None else self._context(source, episode, shots, per_context, state),
        )

    def _context(self, source: Episodes, episode: Tensor, shots: int, per_context: int, state: Tensor) -> Context:
        """The context of every `per_context`-th window; `state` is that of the generator when the windows were permuted."""
        own = episode[::per_context]
        agents, period = (torch.full((len(own),), value) for value in (source.variant.agents, source.variant.period))

        def context(episodes: Tensor, there: Tensor, whole: Context | None = None) -> Context:
            logs = source.logs(episodes, there)
            if self._permute:
                self._permute(logs, torch.Generator().set_state(state))
            place = torch.arange(len(episode)) // per_context
            return Context(**logs, mask=there, agents=agents, period=period, place=place, whole=whole)

        whole = context(own.unsqueeze(1), torch.ones(len(own), 1, dtype=torch.bool))
        return context(*source.others(own, shots, self.generator), whole)


def load_episodes(
    family: Family, release: Release, history: int, horizon: int, variants: Sequence[Variant] | None = None
) -> list[Episodes]:
    """Some train variants of a release, or all, all qualities together, from memory maps."""
    cache, chosen = Cache(family, release), family.select("train") if variants is None else variants
    names = {variant.name for variant in chosen}
    ensure(cache, [shard for shard in train_files(family, release) if shard.variant in names])
    return [Episodes(variant, **map_columns(cache, variant), history=history, horizon=horizon) for variant in chosen]


def load_samplers(
    families: Sequence[Family], release: Release, history: int, horizon: int, generator: torch.Generator
) -> dict[str, WindowSampler]:
    """A sampler for each family, by name, over `load_episodes`; they share the random source."""
    return {
        family.name: WindowSampler(family, load_episodes(family, release, history, horizon), generator) for family in families
    }

"""Train sites to play that were logged before: where a learner that plays learns to read logs too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...benchmark.data.context import Context
from ...benchmark.data.release import Release
from ...benchmark.data.windows import Episodes, load_samplers
from ...benchmark.family import Family, Info, Variant, require
from ...benchmark.site import RANGES
from ...learning.context import SiteCode, SupportEncoder


@dataclass(frozen=True)
class Logs:
    """What was logged at P places of one variant.

    Attributes:
        context: K episodes of each.
        descriptor: of the variant, [P, D].
    """

    context: Context
    descriptor: Tensor

    def choose(self, places: Tensor) -> Logs:
        """Those of some places, by number [p]."""
        names = ("obs", "action_mask", "action", "reward", "mask", "agents", "period")
        columns: dict[str, Any] = {name: getattr(self.context, name)[places] for name in names}
        return Logs(Context(**columns, place=torch.arange(len(places))), self.descriptor[places])

    def read(self, encoder: SupportEncoder, family: str) -> SiteCode:
        """What they say of the places."""
        code: SiteCode = encoder(self.context, self.descriptor, family)
        return code

    def to(self, device: torch.device) -> Logs:
        """The same on a device."""
        return Logs(self.context.to(device), self.descriptor.to(device))


class Places:
    """A playground of logged train sites of one variant, an episode at each.

    Args:
        family: the family.
        variant: its variant.
        sites: number of each site.
        first: seed of the first scenario; every site has one of its own.
        logs: of other episodes of the sites.
        device: where they are played.
    """

    def __init__(
        self, family: Family, variant: Variant, sites: Sequence[int], first: int, logs: Logs, device: torch.device
    ) -> None:
        self.family, self.variant, self.logs = family, variant, logs.to(device)
        self._env, self._sites, self._next = family.make(variant, device), list(sites), first

    def reset(self, episodes: int) -> tuple[Tensor, Info]:
        """Start the next scenario of every site; returns obs [B, N, O] and info."""
        require(episodes == len(self._sites), "episodes", episodes, f"{len(self._sites)}, one a site")
        seeds = range(self._next, self._next + episodes)
        self._next += episodes
        return self._env.reset(self._sites, seeds)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot; see `learning.world.Playground.step`."""
        return self._env.step(action)


class LoggedSites:
    """The train sites of a release, which agents may play and of which they may read logs.

    Data that are not here are recorded first.

    Args:
        families: the families.
        release: the data.
        generator: the random source.
    """

    def __init__(self, families: Sequence[Family], release: Release, generator: torch.Generator) -> None:
        self._families, self._generator = {family.name: family for family in families}, generator
        self.samplers = load_samplers(families, release, 1, 0, generator)

    @property
    def transitions(self) -> int:
        """Logged agent transitions of all of them."""
        return sum(sampler.transitions for sampler in self.samplers.values())

    def draw(
        self, family: str, variants: int, sites: int, shots: Sequence[int], first: int, device: torch.device
    ) -> list[Places]:
        """Sites of some variants of a family at random, with K logged episodes of each or as many as there are.

        K is drawn anew for every variant.
        """
        sources = self.samplers[family].sources
        chosen = torch.randperm(len(sources), generator=self._generator)[:variants].tolist()
        return [self._places(family, sources[i], sites, shots, first, device) for i in chosen]

    def _places(
        self, family: str, source: Episodes, sites: int, shots: Sequence[int], first: int, device: torch.device
    ) -> Places:
        variant, generator = source.variant, self._generator
        episodes = torch.randint(source.count, (sites,), generator=generator)  # a site has as many as any other
        numbers, there = source.others(episodes, shots[int(torch.randint(len(shots), (1,), generator=generator))], generator)
        agents, period = (torch.full((sites,), value) for value in (variant.agents, variant.period))
        logged: dict[str, Any] = source.logs(numbers, there)
        context = Context(**logged, mask=there, agents=agents, period=period, place=torch.arange(sites))
        logs = Logs(context, torch.tensor([variant.descriptor()]).expand(sites, -1))
        played = [RANGES["train"][site] for site in source.site[episodes].tolist()]
        return Places(self._families[family], variant, played, first, logs, device)


@dataclass
class SlotCount:
    """Slots played so far, a `run.Part`."""

    count: int = 0

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"count": self.count}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Go on counting from there."""
        self.count = state_dict["count"]

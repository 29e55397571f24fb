"""Train sites to play that were logged before: where a learner that plays learns to read logs too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...benchmark.data.context import Context
from ...benchmark.data.release import Release
from ...benchmark.data.windows import Episodes, load_samplers
from ...benchmark.family import Family, Info, Variant
from ...benchmark.site import RANGES
from ...learning.context import SiteCode, SupportEncoder

SITES = 10_000  # train sites that learners play, each now and then


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
    """A playground without a meter: train sites of one variant, each episode at one of them.

    Args:
        family: the family.
        variant: its variant.
        first: seed of the first scenario; the next ones follow.
        device: where they are played.
        sites: number of each site, an episode at each; None = all in turns, by the seeds.
        logs: of other episodes of the sites; None = nothing is read of them.
    """

    def __init__(
        self,
        family: Family,
        variant: Variant,
        first: int,
        device: torch.device | str = "cpu",
        sites: Sequence[int] | None = None,
        logs: Logs | None = None,
    ) -> None:
        self.family, self.variant, self.logs = family, variant, logs and logs.to(torch.device(device))
        self._env, self._sites, self._next = family.make(variant, device), sites, first

    def reset(self, episodes: int) -> tuple[Tensor, Info]:
        """Start the next scenarios; returns obs [B, N, O] and info."""
        seeds = range(self._next, self._next + episodes)
        self._next += episodes
        return self._env.reset(self._sites or [RANGES["train"][seed % SITES] for seed in seeds], seeds)

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
        return Places(self._families[family], variant, first, device, played, logs)

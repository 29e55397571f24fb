"""A variant's simulator for loops of one's own: it knows where it is played, says what it is, and takes NumPy arrays too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidValueError, require
from ..adapters.arrays import batch_action
from ..family import ActionComponent, Env, Family, Info, Variant
from ..registry import get_variant
from ..site import RANGES, parse_sites, spans

TRAIN_SITES = RANGES["train"][:200]  # those of the data sets
Sites = str | int | Sequence[int] | Sequence[str]


def make(
    name: str, sites: Sites | None = None, *, episodes: int | None = None, device: torch.device | str = "cpu"
) -> Environment:
    """The environment of a variant, vectorised over episodes.

    Args:
        name: of the variant, e.g. `access/n8-c3-load0.15-l48`.
        sites: where it is played: `"dev:0-3"`, `"held-out:0"`, or numbers, of which the train sites are the first; seed s is
            played at `sites[s % len(sites)]`. None = the first 200 train sites.
        episodes: episodes B that a reset without seeds starts; None = one a site that is given, else 1.
        device: where the simulator runs.

    Raises:
        UnknownNameError: there is no such variant.
        InvalidValueError: these are no sites, or sealed ones.
    """
    family, variant = get_variant(name)
    chosen = TRAIN_SITES if sites is None else site_numbers(sites)
    each = 1 if sites is None else len(chosen)
    return Environment(family, variant, chosen, each if episodes is None else episodes, device)


class Environment:
    """B episodes of one variant, stepped together: a `family.Env` that has sites of its own; torch tensors out.

    Args:
        family: the family.
        variant: its variant.
        sites: the sites, which take turns, as numbers or text.
        episodes: episodes that a reset without seeds starts.
        device: where the simulator runs.

    Attributes:
        simulator: the family's own environment.
        sites: numbers of the sites, which take turns.
        played: (site, seed) of each episode, empty before the first reset.
    """

    def __init__(
        self, family: Family, variant: Variant, sites: Sites, episodes: int, device: torch.device | str = "cpu"
    ) -> None:
        require(isinstance(episodes, int) and episodes >= 1, "episodes", episodes, "a whole number, 1 or more")
        self.family, self.variant, self.episodes = family, variant, episodes
        self.simulator: Env = family.make(variant, device)
        self.played: tuple[tuple[int, int], ...] = ()
        self.sites: Sequence[int] = tuple(site_numbers(sites))
        self._device, self._next, self._slot = torch.device(device), 0, 0

    @property
    def charged(self) -> bool:
        """Whether rewards hold the site's charge."""
        return self.simulator.charged

    @charged.setter
    def charged(self, charged: bool) -> None:
        self.simulator.charged = charged

    def reset(self, sites: Sites | None = None, seeds: int | Sequence[int] | None = None) -> tuple[Tensor, Info]:
        """Start a batch of episodes.

        Args:
            sites: the site of each episode; None = those of `make`, in turns.
            seeds: scenario of each episode; None = the next ones, from 0.

        Returns:
            obs [B, N, O], and info with `action_mask` [B, N, A] and `agent_mask` [B, N].
        """
        places = None if sites is None else site_numbers(sites)
        if seeds is None:
            count = self.episodes if places is None else len(places)
            seeds, self._next = range(self._next, self._next + count), self._next + count
        several = isinstance(seeds, Iterable) and not isinstance(seeds, str)
        numbers = [scenario_seed(seed) for seed in (cast(Iterable, seeds) if several else [seeds])]
        places = [self.sites[seed % len(self.sites)] for seed in numbers] if places is None else places
        if len(places) == 1:
            places = [*places] * len(numbers)
        require(len(places) == len(numbers), "sites", f"{len(places)} sites", f"one, or one a seed: {len(numbers)}")
        obs, info = self.simulator.reset(places, numbers)
        self.played, self._slot = tuple(zip(places, numbers, strict=True)), 0
        return obs, info

    def step(self, action: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot.

        Args:
            action: [B, N] or [B, N, D], a tensor or numbers; or a pair of choices [B, N] and levels [B, N, D - 1].

        Returns:
            obs [B, N, O], reward [B, N], terminated [B], truncated [B], info with the slot's quality of service.

        Raises:
            InvalidValueError: no episode runs, or the action is not one.
        """
        require(bool(self.played), "step", "before reset", "after it: obs, info = env.reset()")
        require(self._slot < self.variant.horizon, "step", self._slot, f"below the horizon {self.variant.horizon}; reset first")
        result = self.simulator.step(self.action(action))
        self._slot += 1
        return result

    def action(self, action: Any) -> Tensor:
        """Actions of any form that `step` takes, as the tensor that the simulator gets."""
        return batch_action(self.family, action).to(self._device)

    def qos(self) -> dict[str, Tensor]:
        """Quality of service of the episodes so far, each [B]."""
        require(bool(self.played), "qos", "before reset", "after it: obs, info = env.reset()")
        return self.simulator.qos()

    def __repr__(self) -> str:
        batch = len(self.played) or self.episodes
        slot = f"slot {self._slot} of {self.variant.horizon}" if self.played else "not reset"
        return f"Environment({describe(self.family, self.variant, batch)}; sites {places_text(self.sites)}; {slot})"


def describe(family: Family, variant: Variant, batch: int | None = None) -> str:
    """A variant with the shapes of its observations and actions."""
    lead = "" if batch is None else f"{batch}, "
    parts = ", ".join(map(_range, family.actions))
    depth = f", {len(family.actions)}" if len(family.actions) > 1 else ""
    n = variant.agents
    return f"{variant.name}: obs [{lead}{n}, {family.obs_size}], action [{lead}{n}{depth}] of {parts}"


def _range(component: ActionComponent) -> str:
    if component.kind == "categorical":
        return f"{component.name} 0-{component.size - 1} (see action_mask)"  # a variant may have fewer
    return f"{component.name} {component.low:g}-{component.high:g}"


def places_text(sites: Sequence[int]) -> str:
    """Sites for people, e.g. `dev:0-3`."""
    return ", ".join(spans(sites)[:4]) + (", ..." if len(spans(sites)) > 4 else "")


def site_numbers(sites: Sites) -> Sequence[int]:
    """Numbers of sites that are given as numbers or as text such as `dev:0-3`; raises `InvalidValueError`."""
    if isinstance(sites, str):
        return parse_sites(sites)
    if isinstance(sites, int | np.integer):
        return [int(sites)]
    require(isinstance(sites, Iterable), "sites", sites, "a number, a text such as dev:0-3, or several of these")
    found = [number for site in sites for number in (parse_sites(site) if isinstance(site, str) else [int(site)])]
    require(len(found) > 0, "sites", list(sites), "one or more")
    return found


def scenario_seed(seed: object) -> int:
    """A seed as an integer, or an `InvalidValueError`."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidValueError("seed", seed, "a whole number, 0 or more")
    return int(seed)

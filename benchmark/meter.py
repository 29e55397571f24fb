"""A site to learn in, with a budget of slots that nobody can overdraw: what agents that practise get instead of logs."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

import torch
from torch import Tensor

from ..errors import BudgetError, require
from .family import Family, Info, Variant
from .randomness import generator
from .seeds import SUPPORT_SEEDS

_SCENARIOS = 1000  # of a site


class MeteredEnvironment:
    """K episodes' worth of slots at one site of a variant; scenarios are those of its support, in order, then further ones.

    The meter counts slots: a step of a batch of B episodes costs B. Episodes may be left before their end, but a site has a
    thousand scenarios to practise on and no more.

    Args:
        family: the family.
        variant: its variant.
        site: where it is played; the learner is not told.
        shots: K; the budget is K episodes of slots.
        device: where the environment runs.

    Attributes:
        seed: for whatever the learner draws at random; tells nothing of the site.
    """

    def __init__(self, family: Family, variant: Variant, site: int, shots: int, device: torch.device | str = "cpu") -> None:
        self.family, self.variant, self._site = family, variant, site
        self.seed = int(generator(variant.name, site, "practice").integers(2**31))
        self.budget, self.used = shots * variant.horizon, 0
        self._env, self._next, self._batch = family.make(variant, device), 0, 0

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Neither `copy` nor `pickle`: what a copy played would be in no budget."""
        raise BudgetError(f"{self.variant.name}: a metered environment cannot be copied; its budget is one.")

    @property
    def left(self) -> int:
        """Slots that may still be played."""
        return self.budget - self.used

    def reset(self, episodes: int) -> tuple[Tensor, Info]:
        """Start the next `episodes` scenarios; returns obs [B, N, O] and info. Free of charge.

        Raises:
            BudgetError: the site has no scenarios left.
        """
        require(episodes >= 1, "episodes", episodes, "1 or more")
        if self._next + episodes > _SCENARIOS:
            raise BudgetError(
                f"{self.variant.name}: a site has {_SCENARIOS} scenarios, {self._next} are used. Play longer episodes."
            )
        first = SUPPORT_SEEDS + self._next
        self._next, self._batch = self._next + episodes, episodes
        return self._env.reset([self._site] * episodes, range(first, first + episodes))

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot of the batch; Gymnasium's five-tuple, see `benchmark.family.Env`.

        Raises:
            BudgetError: the slots of this step are not in the budget any more; nothing is played.
        """
        require(self._batch > 0, "step", "before reset", "after it")
        if self._batch > self.left:
            wanted = f"{self._batch} more slots wanted, {self.left} of {self.budget} left"
            raise BudgetError(f"{self.variant.name}: {wanted}. Stop at `left`, or play a smaller batch.")
        result = self._env.step(action)
        self.used += self._batch
        return result

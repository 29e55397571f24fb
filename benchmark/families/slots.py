"""What the environments of all families share: how a batch of episodes starts, is stepped slot by slot, and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...errors import require
from ..family import ActionComponent, Info, check_action, clone_rows
from ..processes import plain_types


class SlotEnv(ABC):
    """B episodes of one variant, stepped together, each of `variant.horizon` slots (see `benchmark.family.Env`).

    Attributes:
        variant: what is being played.
        device: where.
        charged: whether rewards hold the site's charge; see `benchmark.family.Env`.
        choices: components of an action.
        episodic: what it holds of each episode, and on which axis; the first of them tells how many episodes there are.
    """

    charged = True
    choices: Sequence[ActionComponent]
    episodic: ClassVar[Mapping[str, int]]

    def __init__(self, variant: Any, device: torch.device | str = "cpu") -> None:
        self.variant = variant
        self.device = torch.device(device)

    @plain_types()
    def reset(self, sites: Sequence[int], seeds: Sequence[int]) -> tuple[Tensor, Info]:
        """Draw the scenario of each (site, seed) and start its episode; returns obs [B, N, O] and info."""
        require(len(seeds) > 0, "seeds", list(seeds), "at least one integer")
        require(len(sites) == len(seeds), "sites", len(sites), f"{len(seeds)}, one a seed")
        self._slot = 0
        self._begin(sites, seeds)
        return self._observe()

    @plain_types()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot.

        Args:
            action: [B, N] or [B, N, D] by `choices`, see `benchmark.family.Env`.

        Returns:
            obs [B, N, O], reward [B, N], terminated [B], truncated [B], info with the slot's quality of service.
        """
        v, t = self.variant, self._slot
        require(t < v.horizon, "step", t, f"below the horizon {v.horizon}; reset first")
        reward, slot = self._play(check_action(action, self.choices, self._batch, v.agents))
        obs, info = self._observe()
        terminated = torch.zeros(len(reward), dtype=torch.bool, device=self.device)
        return obs, reward, terminated, torch.full_like(terminated, self._slot == v.horizon), info | slot

    def clone_episodes(self, episodes: Tensor) -> Self:
        """A copy that goes on with these episodes; see `benchmark.family.Cloneable`."""
        return clone_rows(self, episodes, self.episodic)  # type: ignore[type-var]

    @property
    def _batch(self) -> int:
        name, axis = next(iter(self.episodic.items()))
        return int(getattr(self, name).shape[axis])

    @abstractmethod
    def _begin(self, sites: Sequence[int], seeds: Sequence[int]) -> None:
        """Draw these scenarios; slot 0 is next."""

    @abstractmethod
    def _play(self, action: Tensor) -> tuple[Tensor, Info]:
        """Play a slot with an action that was checked; returns reward [B, N] and quality of service."""

    @abstractmethod
    def _observe(self) -> tuple[Tensor, Info]:
        """Observations [B, N, O] and masks of the slot that is next."""

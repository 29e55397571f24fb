"""Joint episodes of one variant that grow while a learner plays."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...benchmark.data.windows import Episodes, Windows, WindowSampler
from ...benchmark.family import QUALITIES, Family, Variant


class Replay:
    """Joint episodes of one variant, as they grow.

    Args:
        family: the family.
        variant: its variant.
        capacity: episodes that it can hold.
        history: slots before the current one in a window.
        slots: transitions in a window.
        memory: episodes, the latest, that samples are taken from.
        generator: the random source of the samples.
        quality: which of `schema.QUALITIES` its episodes are taken for.
    """

    def __init__(
        self,
        family: Family,
        variant: Variant,
        capacity: int,
        history: int,
        slots: int,
        memory: int,
        generator: torch.Generator,
        quality: str = "mixed",
    ) -> None:
        self._family, self._variant, self._generator = replace(family, permute=None), variant, generator
        self._history, self._slots, self._memory, self._quality = history, slots, memory, QUALITIES.index(quality)
        shape = (capacity, variant.horizon, variant.agents)
        parts = len(family.actions)
        kind = torch.int64 if parts == 1 and family.actions[0].kind == "categorical" else torch.float32
        self._columns = {
            "obs": torch.zeros(*shape, family.obs_size),
            "action": torch.zeros(*shape, *((parts,) if parts > 1 else ()), dtype=kind),
            "action_mask": torch.zeros(*shape, family.mask_size, dtype=torch.bool),
            "reward": torch.zeros(shape),
        }
        self._played = torch.zeros(capacity)
        self._episodes: Episodes | None = None  # of all that was added so far

    def add(self, first: int, slot: int, **columns: Tensor) -> None:
        """Store slot `slot` of the episodes from `first` on; columns [B, N, ...]."""
        for name, values in columns.items():
            self._columns[name][first : first + len(values), slot] = values
        self._played[first : first + len(columns["reward"])] = slot + 1
        self._episodes = None

    def observations(self) -> Tensor:
        """Those of the episodes that were played to their end, [R, O]."""
        return self._columns["obs"][self._played == self._variant.horizon].flatten(0, -2)

    @property
    def ready(self) -> bool:
        """Whether an episode is long enough for a window."""
        return bool((self._played > self._slots).any())

    def sample(self, rows: int) -> Windows:
        """About `rows` rows of windows, every slot that is remembered as likely."""
        choices = (self._played - self._slots).clamp(min=0)
        choices[: max(0, int((choices > 0).sum()) - self._memory)] = 0
        count = max(1, rows // self._variant.agents)
        episode = torch.multinomial(choices, count, replacement=True, generator=self._generator)
        slot = (torch.rand(count, generator=self._generator) * choices[episode]).long()
        if self._episodes is None:
            own = torch.full((len(choices),), self._quality)
            self._episodes = Episodes(self._variant, **self._columns, history=self._history, horizon=self._slots, quality=own)
        return WindowSampler(self._family, [self._episodes], self._generator).windows(self._episodes, episode, slot)

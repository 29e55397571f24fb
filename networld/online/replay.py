"""What NetWorld played itself and learns from, round by round; see `online`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...benchmark.data.paths import write_atomically
from ...benchmark.data.windows import Episodes, Windows, WindowSampler
from ...benchmark.family import QUALITIES, Family, Variant
from ...benchmark.rollout import Slot, play
from ...learning.codec import ActionCodec
from ..config import NetWorldConfig
from ..model import NetWorld
from .counterfactual import Deviations, Explorer

if TYPE_CHECKING:
    from .config import OnlineConfig

FIRST_SEED = 50_000_000  # scenarios that nobody else meets: no dataset, support draw, query episode, reference or MAPPO
ROUND = 100_000  # seeds kept for a round, a thousand a variant
MIXED = 8  # variants in a batch
PLAYED = "play"  # folder of what was played, while training is under way
FORKED = "forked"  # name of the number of slots that were played in forks


@dataclass(frozen=True)
class Kept:
    """What is kept of the rounds of a variant.

    Attributes:
        played: episodes to go on learning from.
        deviations: in these episodes.
        seen: the same episodes, to read off what agents saw when they deviated.
    """

    played: Episodes
    deviations: Deviations
    seen: Episodes


class OwnPlay:
    """What NetWorld played itself in a family, round by round; kept in a file each, so that training can be resumed.

    Args:
        family: the family.
        config: how it plays.
        network: who plays.
        folder: of the training.
        choice: the random source of windows.

    Attributes:
        slots: slots played so far, all episodes together.
    """

    def __init__(
        self, family: Family, config: OnlineConfig, network: NetWorldConfig, folder: Path, choice: torch.Generator
    ) -> None:
        self._family = replace(family, permute=family.permute_played or family.permute)
        self._config, self._network, self._choice, self._codec = config, network, choice, ActionCodec(family.actions)
        self._folder = folder / PLAYED / family.name
        self._variants = family.select("train")
        self._last: dict[str, deque[dict[str, Tensor]]] = {}
        self._rounds, self.slots = 0, 0
        self._kept: list[Kept] = []
        self._windows = WindowSampler(self._family, [], choice)

    def reach(self, number: int, player: NetWorld) -> None:
        """Have all rounds up to this one: read those that were played, play what is new."""
        for missing in range(self._rounds, number + 1):
            path = self._folder / f"round-{missing:03d}.safetensors"
            if missing == number and not path.exists():
                parts = {variant.name: self._play(variant, number, player) for variant in self.drawn(number)}
                found = {f"{variant}:{name}": column for variant, part in parts.items() for name, column in part.items()}
                write_atomically(path, partial(save_file, found))
            self._take(load_file(path))
            self._rounds, self._kept = missing + 1, []

    def drawn(self, number: int) -> list[Variant]:
        """The variants of a round."""
        order = torch.randperm(len(self._variants), generator=torch.Generator().manual_seed(self._config.seed * 1009 + number))
        return [self._variants[i] for i in order[: self._config.variants].tolist()]

    def sample(self, rows: int) -> Windows:
        """A batch of windows of what is kept of the rounds."""
        self._open()
        return self._windows.sample(rows)

    def sample_deviations(self, rows: int) -> tuple[Windows, Tensor, Tensor, Tensor]:
        """About so many agents who deviated: what they saw, and what they would have done, did and gained, [R] each."""
        self._open()
        chosen = torch.randperm(len(self._kept), generator=self._choice)[:MIXED].tolist()
        parts, gains, table = [], [], self._codec.table()
        for kept in (self._kept[i] for i in chosen):
            count = max(1, rows // (len(chosen) * kept.seen.variant.agents))
            some = torch.randint(len(kept.deviations.place), (count,), generator=self._choice)
            place, usual, other, gain = (getattr(kept.deviations, f.name)[some] for f in fields(Deviations))
            actions = self._codec.decode(table[torch.stack([usual, other], dim=-1).flatten(0, 1)])
            parts.append(self._windows.windows(kept.seen, place[:, 0], place[:, 1], actions))
            gains.append(gain.flatten())
        seen = Windows.join(parts)
        usual, other = self._codec.index(seen.action).unbind(1)
        return seen, usual, other, torch.cat(gains)

    def _open(self) -> None:
        """Have what is kept ready to draw from."""
        if not self._kept:
            self._kept = [self._join(variant) for variant in self._variants if variant.name in self._last]
            self._windows = WindowSampler(self._family, [kept.played for kept in self._kept], self._choice, MIXED)

    def _join(self, variant: Variant) -> Kept:
        rounds, c = self._last[variant.name], self._network
        columns = {name: torch.cat([part[name] for part in rounds]) for name in rounds[0] if name != FORKED}
        deviations = Deviations(*(columns.pop(field.name) for field in fields(Deviations)))
        first = torch.tensor([0, *(len(part["reward"]) for part in rounds)]).cumsum(0)
        deviations.place[:, 0] += first[:-1].repeat_interleave(torch.tensor([len(part["place"]) for part in rounds]))
        quality = torch.full((len(columns["reward"]),), QUALITIES.index(c.aim))
        played, seen = (Episodes(variant, **columns, history=c.history, horizon=h, quality=quality) for h in (c.horizon, 0))
        return Kept(played, deviations, seen)

    def _take(self, found: dict[str, Tensor]) -> None:
        rounds: dict[str, dict[str, Tensor]] = {}
        for key, column in found.items():
            variant, _, name = key.rpartition(":")
            rounds.setdefault(variant, {})[name] = column
        for variant, columns in rounds.items():
            self._last.setdefault(variant, deque(maxlen=self._config.kept)).append(columns)
            self.slots += columns["reward"].shape[:2].numel() + int(columns[FORKED])

    def _play(self, variant: Variant, number: int, player: NetWorld) -> dict[str, Tensor]:
        """Columns [E, T, ...] of a round in one variant, and the deviations in it."""
        temperatures = torch.tensor(dict(self._config.exploring)[self._family.name]).repeat_interleave(self._config.episodes)
        first = FIRST_SEED + number * ROUND + 1000 * self._variants.index(variant)
        luck = torch.Generator().manual_seed(self._config.seed * 1_000_003 + first)
        agent, slots = Explorer(player, temperatures, self._config.forks, luck), list[Slot]()
        agent.adapt(self._family, variant, None)
        device = next(player.parameters()).device
        play(self._family, variant, agent, range(first, first + len(temperatures)), device=device, record=slots.append)
        kinds = {"obs": torch.float16, "action_mask": torch.int8}
        columns = {name: torch.stack([getattr(slot, name) for slot in slots], 1).cpu() for name in (*kinds, "action", "reward")}
        columns = {name: column.to(kinds.get(name, column.dtype)) for name, column in columns.items()}
        found = {f.name: torch.cat([getattr(d, f.name) for d in agent.deviations]).cpu() for f in fields(Deviations)}
        return columns | found | {FORKED: torch.tensor([agent.forked])}

"""What an on-policy learner played in a round, as rows to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from .places import Logs


@dataclass(frozen=True)
class Frames:
    """What was played in a family: R rows (one an agent and slot) in F frames (all agents of an episode in one slot).

    Attributes:
        features: what each agent saw, [R, I], without what logs say of its site.
        mask: its allowed choices, [R, A] bool.
        code: the code of its action, [R, size].
        log_prob: of the action when it was chosen, [R].
        advantage: of the team, [R].
        target: of the agent's own value, [R].
        agents: rows of each frame, which stand together, [F].
        logs: of the P places of one variant, where logs are read; the frames are then an episode at each, F = slots P, slot
            after slot.
    """

    features: Tensor
    mask: Tensor
    code: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    agents: Tensor
    logs: Logs | None = None

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Several without logs, one after another."""
        names = [field.name for field in fields(cls) if field.name != "logs"]
        columns: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(**columns)

    @property
    def most(self) -> int:
        """Minibatches that it can be split into, at most."""
        return len(self.agents if self.logs is None else self.logs.descriptor)

    def minibatches(self, parts: int, generator: torch.Generator) -> list[Self]:
        """Equal parts at random, or nearly: of frames, or of whole places where logs are read, so that each is read once."""
        if self.logs is None:
            return self.select(torch.randperm(len(self.agents), generator=generator)).split(parts)
        order = torch.randperm(len(self.logs.descriptor), generator=generator)
        return [self._at(places, self.logs) for places in order.tensor_split(parts)]

    def _at(self, places: Tensor, logs: Logs) -> Self:
        """What was played at some places, by number [p]."""
        frames = torch.arange(len(self.agents)).unflatten(0, (-1, len(logs.descriptor)))[:, places]
        return replace(self.select(frames.flatten().to(self.agents.device)), logs=logs.choose(places))

    def select(self, frames: Tensor) -> Self:
        """Some frames, by number [f]."""
        agents = self.agents[frames]
        first = (self.agents.cumsum(0) - self.agents)[frames]
        within = torch.arange(int(agents.sum()), device=agents.device) - (agents.cumsum(0) - agents).repeat_interleave(agents)
        rows = first.repeat_interleave(agents) + within
        columns: dict[str, Any] = {name: column.index_select(0, rows) for name, column in self._columns().items()}
        return type(self)(**columns, agents=agents)

    def split(self, parts: int) -> list[Self]:
        """Equal numbers of frames, or nearly, in order; nothing is copied."""
        agents = self.agents.tensor_split(parts)
        rows = [int(part.sum()) for part in agents]
        columns: dict[str, Any] = {name: column.split(rows) for name, column in self._columns().items()}
        return [type(self)(**{name: of[i] for name, of in columns.items()}, agents=agents[i]) for i in range(parts)]

    def _columns(self) -> dict[str, Tensor]:
        """What has a row an agent."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("agents", "logs")}

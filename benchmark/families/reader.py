"""What the estimators of all families share: they read logs before they play, and several of them join into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..agent import Adaptation, Agent, State, Support
from ..family import Family, Variant


class Reader(Agent):
    """To be put before the policy of a family that starts from the average site; without logs it plays as that one does."""

    name = "estimator"
    _read: Any = None  # a record of what the logs say of a site, or of several: the first axis of its tensors

    def read(self, variant: Any, support: Support) -> Any:
        """What joint logs say of their site."""
        raise NotImplementedError

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Read the logs, where there are some."""
        self._read = None if support is None else self.read(variant, support)
        return Adaptation()

    def join(self, several: Sequence[Any]) -> Any:
        """One agent that plays for several, each in its own equal part of a batch."""
        one, read = type(self)(), [each._read for each in several]
        tensors = [name for name, value in vars(read[0]).items() if isinstance(value, Tensor)]
        one._read = replace(read[0], **{name: torch.cat([getattr(found, name) for found in read]) for name in tensors})
        return one


def part(state: State, parts: int) -> Tensor:
    """Which of so many equal parts of the batch each episode is in, [B]."""
    return torch.arange(state.batch, device=state.action_mask.device) * parts // state.batch

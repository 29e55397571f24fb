"""The control of the admission: an estimator that is shown the site, and reads logs besides; they should tell it nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..agent import Adaptation, Agent, Support
from ..family import Family, Variant

CERTAINTY = 100.0  # logged episodes that the truth counts as


class Revealed(Agent):
    """To be put before the estimator of a family: what is true counts as `CERTAINTY` episodes, the K that are read as K."""

    name = "revealed"
    privileged = True
    _shots: tuple[int, ...] = (0,)

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Read the logs, as every estimator does."""
        self._shots = (0 if support is None else support.shots,)
        return super().adapt(family, variant, support)

    def join(self, several: Sequence[Any]) -> Any:
        """One agent that plays for several, as the estimator joins them."""
        one = super().join(several)  # type: ignore[misc]
        one._shots = tuple(shots for each in several for shots in each._shots)
        return one

    def mixed(self, true: Tensor, read: Tensor, log: Tensor) -> Tensor:
        """What it knows of B sites: the truth [B, ...] mixed with what the logs say [B, ...]; which log each has read, [B]."""
        shots = torch.tensor(self._shots, device=log.device)[log]
        part = shots / (shots + CERTAINTY)
        return true.lerp(read, part.view(-1, *[1] * (true.dim() - 1)))

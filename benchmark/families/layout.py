"""Where each quantity stands in an observation: named parts, one after the other; and what several families show alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

HARMONICS = (1, 2, 4, 8, 16)  # of the period, as sine and cosine
Parts = Mapping[str, tuple[int, str]]  # floats of each part, and what they are


class Named:
    """Named views into observations [..., O]: the parts of a family's layout are attributes.

    Attributes:
        slices: where each part stands.
        size: length O of an observation.
    """

    slices: ClassVar[Mapping[str, slice]]
    size: ClassVar[int]

    def __init_subclass__(cls, layout: Parts) -> None:
        sizes = [size for size, _ in layout.values()]
        ends = zip(layout, sizes, accumulate(sizes), strict=True)
        cls.slices, cls.size = {name: slice(end - size, end) for name, size, end in ends}, sum(sizes)

    def __init__(self, obs: Tensor) -> None:
        self._obs = obs

    def __getattr__(self, name: str) -> Tensor:
        """The part of this name, [..., size]."""
        if name not in self.slices:
            raise AttributeError(f"an observation has no part {name!r}, only {', '.join(self.slices)}")
        return self._obs[..., self.slices[name]]


PHASE = (1 + 2 * len(HARMONICS), "slot of the period / 64; sine and cosine of its harmonics")


def phases(period: int) -> Tensor:
    """What the part `PHASE` shows of each slot of the period, [L, 1 + 2 * harmonics]."""
    slot = torch.arange(period)
    angle = 2.0 * math.pi * slot.unsqueeze(-1) * torch.tensor(HARMONICS) / period
    return torch.cat([slot.unsqueeze(-1) / 64.0, angle.sin(), angle.cos()], dim=-1)

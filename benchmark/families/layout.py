"""Where each quantity stands in an observation: named parts, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import ClassVar

from torch import Tensor

Parts = Mapping[str, tuple[int, str]]  # floats of each part, and what they are


def slices(parts: Parts) -> dict[str, slice]:
    """Where each part stands."""
    sizes = [size for size, _ in parts.values()]
    return {name: slice(end - size, end) for name, size, end in zip(parts, sizes, accumulate(sizes), strict=True)}


class Named:
    """Named views into observations [..., O]: the parts of a family's layout are attributes."""

    slices: ClassVar[Mapping[str, slice]]

    def __init__(self, obs: Tensor) -> None:
        self._obs = obs

    def __getattr__(self, name: str) -> Tensor:
        """The part of this name, [..., size]."""
        if name not in self.slices:
            raise AttributeError(f"an observation has no part {name!r}, only {', '.join(self.slices)}")
        return self._obs[..., self.slices[name]]

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
    """Named views into observations [..., O]; a family names its parts as attributes."""

    slices: ClassVar[Mapping[str, slice]]

    def __init__(self, obs: Tensor) -> None:
        for name, where in self.slices.items():
            setattr(self, name, obs[..., where])

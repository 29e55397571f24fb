"""Small modules that several networks are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ..benchmark.data.windows import WindowSampler

SAMPLE = 20_000  # observations that are enough to be fitted to
FAR = 5.0  # deviations; a variant unlike those of training must not drive a network out of its range


class Standardiser(nn.Module):
    """Zero mean and unit deviation for every feature of each family: one scale for networks that see several.

    It changes nothing until it is fitted.

    Args:
        sizes: length of an observation of each family.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        for name, size in sizes.items():
            self.register_buffer(f"mean_{name}", torch.zeros(size))
            self.register_buffer(f"std_{name}", torch.ones(size))

    def size(self, family: str) -> int:
        """Length of an observation of a family."""
        return len(cast(Tensor, getattr(self, f"mean_{family}")))

    def fit(self, obs: Tensor, family: str) -> None:
        """Set mean and deviation from observations [R, O]; of features that never vary the mean alone."""
        std = obs.std(0)
        cast(Tensor, getattr(self, f"mean_{family}")).copy_(obs.mean(0))
        cast(Tensor, getattr(self, f"std_{family}")).copy_(torch.where(std > 1e-4, std, 1.0))

    def fit_sources(self, samplers: Mapping[str, WindowSampler]) -> None:
        """`fit` to observations of each family's source data."""
        for family, sampler in samplers.items():
            obs = sampler.sample(SAMPLE).obs[:, -1]
            self.fit(obs.to(next(self.buffers()).device), family)

    def standardise(self, obs: Tensor, family: str) -> Tensor:
        """Observations [..., O] with zero mean and unit deviation over the source data, clipped far outside it."""
        return ((obs - getattr(self, f"mean_{family}")) / getattr(self, f"std_{family}")).clamp(-FAR, FAR)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, norm, SiLU, linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs))

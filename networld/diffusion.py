"""The noise process: cosine schedule, clean-sample prediction, deterministic (DDIM) sampling.

Ho et al. 2020 (DDPM), Song et al. 2021 (DDIM), Nichol and Dhariwal 2021 (cosine). Time runs from 0 (clean) to 1 (noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

LAST = 0.98  # sampling starts just short of pure noise, where the clean plan is still defined by the noisy one


def levels(time: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise amplitude at times [...]: cosine and sine, so that their squares add up to one."""
    angle = time * (math.pi / 2)
    return angle.cos(), angle.sin()


def add_noise(clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Noisy plans [..., W] of clean plans and unit noise at times [...]."""
    signal, sigma = levels(time)
    return signal.unsqueeze(-1) * clean + sigma.unsqueeze(-1) * noise


def ddim(
    denoise: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    steps: int,
    first: float = LAST,
    steer: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Clean plans from noisy ones.

    Args:
        denoise: (noisy [..., W], time, broadcastable to [...]) -> predicted clean plan [..., W].
        start: plans at noise level `first`, [..., W].
        steps: network evaluations.
        first: time at which `start` is.
        steer: (noisy, time) -> shift of the predicted clean plan [..., W]: classifier guidance.

    Returns:
        Plans at time 0, [..., W].
    """
    times = torch.linspace(first, 0.0, steps + 1)
    noisy, clean = start, start
    for now, after in pairwise(times):
        time = now.to(start.device).expand((1,) * (start.dim() - 1))
        clean = denoise(noisy, time)
        if steer is not None:
            clean = clean + steer(noisy, time)
        signal, sigma = levels(now)
        noise = (noisy - signal * clean) / sigma
        signal, sigma = levels(after)
        noisy = signal * clean + sigma * noise
    return clean

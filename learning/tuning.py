"""Descent on a few episodes, with the right to decline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..benchmark.agent import Support
from ..benchmark.data.context import Context
from ..benchmark.data.windows import Episodes, Windows, WindowSampler
from ..benchmark.family import Family, Variant
from .context import WINDOWS

PARTS = 8  # batches that a validation split is judged by


Notes = dict[str, float | int | str | bool]
B = TypeVar("B", Windows, Context)


def support_draws(
    family: Family, variant: Variant, support: Support, history: int, horizon: int, batch_size: int, seed: int
) -> tuple[Callable[[], Windows], Callable[[], Windows]]:
    """What draws windows of a support to learn from, and of the part kept aside, each beside all other episodes as context.

    Kept aside is the last fifth of the episodes, or the last quarter of a single one, which then has no context. A batch has
    `batch_size` rows to learn from; all `PARTS` batches to judge by have twice as many together.
    """
    generator = torch.Generator().manual_seed(seed)

    def sampler(part: Support) -> Callable[..., Windows]:
        return WindowSampler(family, [Episodes.from_support(variant, part, history, horizon)], generator).sample

    few = max(1, 2 * batch_size // PARTS)
    if support.shots == 1:
        first, last = (partial(sampler(part), shots=(0,)) for part in support.split())
        return partial(first, batch_size), partial(last, few)
    cut = support.shots - max(1, support.shots // 5)
    whole = partial(sampler(support), shots=(support.shots - 1,), per_context=WINDOWS)
    return partial(whole, batch_size, slice(cut)), partial(whole, few, slice(cut, None))


def tune(
    parameters: Sequence[Tensor],
    loss: Callable[[B], Tensor],
    draw: Callable[[], B],
    held: Callable[[], B],
    *,
    steps: int,
    learning_rate: float,
    check: int,
    max_grad_norm: float = math.inf,
) -> Notes:
    """Descend on a few episodes, with the right to decline: what has the least loss on a validation split is kept.

    A loss that is lower by luck is no reason to change what works: the gain on `PARTS` batches of the validation split must
    exceed twice its standard error.

    Args:
        parameters: are left with the values kept, which are those at the start unless others were better.
        loss: of a batch.
        draw: a batch of the episodes to learn from.
        held: a batch of the episodes kept aside.
        steps: gradient steps.
        learning_rate: of Adam.
        check: steps between looks at the validation split.
        max_grad_norm: greatest norm of the gradient.

    Returns:
        Figures to publish: the validation loss before and after, and whether the values are others than at the start.
    """
    device, optimiser = parameters[0].device, torch.optim.Adam(parameters, learning_rate)

    validation = [held().to(device) for _ in range(PARTS)]

    def validate() -> Tensor:
        with torch.no_grad():
            return torch.stack([loss(part).float() for part in validation])

    before = best = validate()
    kept = [parameter.detach().clone() for parameter in parameters]
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        loss(draw().to(device)).backward()
        nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        optimiser.step()
        if step % check == 0 and (now := validate()).mean() < best.mean() and _clear(before - now):
            best, kept = now, [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return {"loss_before": float(before.mean()), "loss_after": float(best.mean()), "kept": best is not before}


def _clear(gain: Tensor) -> bool:
    """Whether gains on several batches [n] are above zero by more than two standard errors."""
    return bool(gain.mean() > 2.0 * gain.std() / math.sqrt(len(gain)))

"""What a learner may know of a site: other episodes of it, beside the windows that it trains on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Context:
    """Other joint episodes of the sites that a batch of windows is of: what a support of C episodes would tell.

    P places, C episodes, T slots, N agents (the most of any variant in the batch; what is beyond a place's own is zero).

    Attributes:
        obs: [P, C, T + 1, N, O], in the precision in which it is stored; the last one is what the last action led to.
        action_mask: [P, C, T + 1, N, A] int8.
        action: [P, C, T, N] or [P, C, T, N, D].
        reward: [P, C, T, N].
        mask: [P, C] bool, false where a site has no more episodes.
        agents: [P] int64, number of agents.
        period: [P] int64, slots after which the site repeats.
        place: [groups] int64, the place of each joint window.
        whole: the episodes that the windows are of, as a context of one episode a place.
    """

    obs: Tensor
    action_mask: Tensor
    action: Tensor
    reward: Tensor
    mask: Tensor
    agents: Tensor
    period: Tensor
    place: Tensor
    whole: Context | None = None

    @classmethod
    def join(cls, parts: Sequence[Context]) -> Context:
        """Several contexts as one, places numbered through."""
        if len(parts) == 1:
            return parts[0]
        names = [name for name in vars(parts[0]) if name not in ("place", "whole")]
        columns = {name: _stack([getattr(part, name) for part in parts]) for name in names}
        starts = [0, *itertools.accumulate(len(part.agents) for part in parts)]
        place = torch.cat([part.place + start for part, start in zip(parts, starts, strict=False)])
        wholes = [part.whole for part in parts if part.whole is not None]
        return cls(**columns, place=place, whole=cls.join(wholes) if wholes else None)

    def to(self, device: torch.device | str) -> Context:
        """The same on a device."""
        moved: dict[str, Any] = {name: value if value is None else value.to(device) for name, value in vars(self).items()}
        return Context(**moved)


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """`torch.cat` of tensors that differ in other axes too: the smaller ones end in zeros."""
    shape = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    if all(list(part.shape[1:]) == shape for part in parts):
        return torch.cat(list(parts))
    joined, start = parts[0].new_zeros(sum(map(len, parts)), *shape), 0
    for part in parts:
        joined[(slice(start, start + len(part)), *(slice(size) for size in part.shape[1:]))] = part
        start += len(part)
    return joined


def pools(site: Tensor, telling: Tensor) -> Tensor:
    """The telling episodes of every site up to the greatest number: [S, most], filled up with -1."""
    chosen = telling.bool().nonzero().squeeze(1)
    places = site[chosen]
    counts = torch.bincount(places, minlength=int(site.max()) + 1 if len(site) else 1)
    order = places.argsort(stable=True)
    rank = torch.arange(len(chosen)) - (counts.cumsum(0) - counts)[places[order]]
    found = torch.full((len(counts), max(1, int(counts.max()))), -1)
    found[places[order], rank] = chosen[order]
    return found

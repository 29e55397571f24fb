"""What agents hear of each other, as networks learn it from windows; `rollout` delivers the same in play."""

from __future__ import annotations

import torch
from torch import Tensor

from ..benchmark.data.windows import Windows


def inboxes(message: Tensor, batch: Windows) -> Tensor:
    """Mean of the *others'* messages in each joint window: [R, ...] -> [R, ...]; zero for an agent that is alone."""
    others = batch.others.clamp(min=1).view(-1, *(1,) * (message.dim() - 1))
    return (batch.team_sum(message)[batch.group] - message) / others


def read(inbox: Tensor, others: Tensor) -> Tensor:
    """Inbox [..., M] and the number of other agents (broadcastable) -> features [..., 2 M].

    How *many* of the others are in some state is often what counts, so their mean is read twice: as it is, and scaled by their
    number and squashed.
    """
    total = inbox * others
    return torch.cat([inbox, total / (1.0 + total.abs())], dim=-1)


def delivered(message: Tensor, batch: Windows) -> Tensor:
    """Features [R, W, 2 M] of what agents hear in W slots where all broadcast messages [R, W, M]: the others, a slot late."""
    inbox = inboxes(message * batch.valid[:, : message.shape[1]].unsqueeze(-1), batch)
    late = torch.cat([torch.zeros_like(inbox[:, :1]), inbox[:, :-1]], dim=1)
    return read(late, batch.others[:, None, None])

"""Numbering interchangeable parts of a task (channels, servers) at random: what all families that do it share."""

from __future__ import annotations

import torch
from torch import Tensor


def renumber_choices(windows: dict[str, Tensor], order: Tensor) -> Tensor:
    """Renumber the parts in the action masks and actions of joint windows, in place.

    Args:
        windows: columns of `data.windows.Windows`; choice 0 is none of the parts, choice 1 + k is part k.
        order: new part k is old part `order[k]`, [K].

    Returns:
        The old choice of every new one, [1 + K].
    """
    choices = torch.cat([torch.zeros(1, dtype=torch.long), 1 + order])
    windows["action_mask"] = windows["action_mask"][..., choices]
    action, renumbered = windows["action"], choices.argsort()
    if not action.is_floating_point():
        windows["action"] = renumbered[action]
    else:  # a choice, and levels after it
        chosen = renumbered[action[..., :1].long()].to(action.dtype)
        windows["action"] = torch.cat([chosen, action[..., 1:]], dim=-1)
    return choices

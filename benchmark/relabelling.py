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
    windows["action"] = renumber_actions(windows["action"], choices.argsort())
    return choices


def renumber_actions(action: Tensor, numbers: Tensor) -> Tensor:
    """Actions with other numbers for their choices: integers [...] that are choices, or floats [..., D], a choice and levels.

    Args:
        action: the actions.
        numbers: the new choice of every old one, [1 + K].
    """
    numbers = numbers.to(action.device)
    if not action.is_floating_point():
        return numbers[action]
    return torch.cat([numbers[action[..., :1].long()].to(action.dtype), action[..., 1:]], dim=-1)

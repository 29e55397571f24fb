"""Actions as tensors, and as what PettingZoo and Gymnasium call them; needs neither package. See `spaces` for the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidValueError, require
from ..family import Family


def chooses(family: Family) -> bool:
    """Whether an agent's action begins with a choice."""
    return family.actions[0].kind == "categorical"


def batch_action(family: Family, actions: Any) -> Tensor:
    """Actions of any form, whatever the leading axes, as the tensor that `Env.step` takes; it checks the rest.

    Args:
        family: the family.
        actions: a tensor; or numbers [..., N] or [..., N, D]; or, where an action is a choice and levels, a pair of both.
    """
    if isinstance(actions, Tensor):
        return actions
    if len(family.actions) == 1 and chooses(family):
        return torch.from_numpy(as_choices(actions))
    if not (chooses(family) and isinstance(actions, tuple)):
        return torch.from_numpy(as_array(actions).astype(np.float32))
    require(len(actions) == 2, "action", f"{len(actions)} parts", "a pair (choices, levels)")
    choices, levels = as_choices(actions[0]), as_array(actions[1])
    expected = (*choices.shape, len(family.actions) - 1)
    require(levels.shape == expected, "action.shape of the levels", levels.shape, f"{expected}")
    return torch.from_numpy(np.concatenate([choices[..., None], levels], axis=-1).astype(np.float32))


def joint_action(family: Family, actions: Sequence[Any]) -> Tensor:
    """Actions of N agents, each of its own PettingZoo space, as [N] or [N, D]."""
    if chooses(family) and len(family.actions) > 1:
        pairs = all(isinstance(action, tuple) and len(action) == 2 for action in actions)
        require(pairs, "action", actions, "a pair (choice, levels) of every agent")
        choices, levels = zip(*actions, strict=True)
        return batch_action(family, (as_array(choices), as_array(levels).reshape(len(actions), -1)))
    array = as_array(actions)
    if not chooses(family) and len(family.actions) == 1:
        require(array.size == len(actions), "action.shape", array.shape[1:], "(1,) for every agent")
        array = array.reshape(-1)
    return batch_action(family, array)


def gymnasium_action(family: Family, action: Tensor) -> Any:
    """Actions [..., N] or [..., N, D] as Gymnasium's spaces have them: an array, or a pair of choices and levels."""
    array = action.detach().cpu().numpy()
    if chooses(family) and len(family.actions) > 1:
        return array[..., 0].astype(np.int64), array[..., 1:].copy()
    return array.copy()


def pettingzoo_actions(family: Family, action: Tensor) -> list[Any]:
    """Actions [N] or [N, D] of one episode as PettingZoo's spaces have them, an agent each."""
    array = action.detach().cpu().numpy()
    if not chooses(family):
        return [own.reshape(-1).copy() for own in array]
    if len(family.actions) == 1:
        return [int(choice) for choice in array]
    return [(int(own[0]), own[1:].copy()) for own in array]


def as_choices(values: Any) -> np.ndarray:
    """Integers, or an `InvalidValueError`."""
    array = as_array(values)
    require(np.issubdtype(array.dtype, np.integer), "action.dtype", str(array.dtype), "an integer type")
    return array.astype(np.int64)


def as_array(values: Any) -> np.ndarray:
    """Numbers of one shape, or an `InvalidValueError`."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidValueError("action", values, "of the same shape for every agent") from None
    require(np.issubdtype(array.dtype, np.number), "action", values, "numbers")
    return array

"""What an observation says: what each number is called, means and usually is, and which choices it allows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...errors import require
from ..agent import RandomPolicy
from ..family import Family, Variant
from ..rollout import Slot, play

EPISODES = 4  # of a random and of a good policy each, at as many train sites


def columns_of(family: Family) -> tuple[list[str], list[str]]:
    """Names of the observation's columns in a log, [O]: by index, and by part; none by part where the family names none."""
    indexed = [f"obs_{k}" for k in range(family.obs_size)]
    named = [
        f"obs_{name}" if size == 1 else f"obs_{name}_{k}" for name, (size, _) in family.layout.items() for k in range(size)
    ]
    return indexed, named


def acted_of(family: Family) -> list[str]:
    """Names of the action's columns in a log."""
    parts = family.actions
    return ["action"] if len(parts) == 1 else [f"action_{part.name}" for part in parts]


def meaning_of(family: Family, index: int) -> str:
    """What a number of an observation is, in words."""
    for name, (size, meaning) in family.layout.items():
        if index < size:
            return f"{name}: {meaning}"
        index -= size
    return "a number of order 1"


def usual_range(family: Family, variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each number of an observation, [O], in some played episodes."""
    slots: list[Slot] = []
    for policy in ("random", "belief"):
        play(family, variant, family.policies[policy](), range(EPISODES), range(EPISODES), record=slots.append)
    obs = torch.cat([slot.obs.reshape(-1, family.obs_size) for slot in slots]).double().numpy()
    return obs.min(0), obs.max(0)


def allowed(family: Family, exists: Tensor, obs: Tensor) -> Tensor:
    """Masks [..., A] of observations [..., O], from the choices [A] that the variant has."""
    mask = exists.expand(*obs.shape[:-1], -1).clone()
    if family.choice is not None:
        mask[..., 1:] &= (obs[..., family.choice] > 0.5).unsqueeze(-1)
    return mask


def choices(family: Family, variant: Variant) -> Tensor:
    """The choices [A] that a variant has, as one random episode shows them.

    Raises:
        InvalidValueError: its masks do not follow from observations by `Family.choice`.
    """
    slots: list[Slot] = []
    play(family, variant, RandomPolicy(), [0], [0], record=slots.append)
    masks, obs = (torch.cat([getattr(slot, name) for slot in slots]) for name in ("action_mask", "obs"))
    exists = masks.flatten(0, -2).any(0)
    follows = torch.equal(allowed(family, exists, obs), masks)
    require(follows, "act", f"observations of {variant.name} alone", "given the action mask too: policy.act(obs, info)")
    return exists

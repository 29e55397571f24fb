"""wbench's tasks in other people's interfaces: a PettingZoo `ParallelEnv`, and a Gymnasium `VectorEnv`; numpy in and out.

Needs the optional packages: `pip install "wbench[envs]"`. Both take a variant by name or as an object, and play scenarios: the
same seed is the same episode, here and everywhere in wbench. A reset without a seed draws the next scenarios from
[0, 10 000 000), a range that query episodes never come from. Do not train on seeds above it. The sites take turns: seed s is
played at `sites[s % len(sites)]`, by default the first 200 train sites.

| a family's action | PettingZoo, an agent | Gymnasium, N agents together |
| --- | --- | --- |
| one categorical component of A choices | `Discrete(A)` | `MultiDiscrete`, [N] |
| one ordinal component | `Box`, [1] | `Box`, [N] |
| D ordinal components | `Box`, [D] | `Box`, [N, D] |
| a categorical and D ordinal ones | `Tuple(Discrete(A), Box [D])` | `Tuple(MultiDiscrete [N], Box [N, D])` |

Episodes never terminate, they are truncated at the horizon: bootstrap from the last observation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import MissingPackageError
from ..family import Family
from ..seeds import SUPPORT_SEEDS
from .arrays import chooses

try:
    import pettingzoo  # noqa: F401 - both are asked for together, so that one line says what is missing
    from gymnasium import Space, spaces
except ImportError as error:
    hint = 'Try: pip install "wbench[envs]"'
    raise MissingPackageError(f"the environment adapters need pettingzoo and gymnasium ({error}). {hint}") from error


class HybridSpace(spaces.Tuple):
    """A choice and some levels; `sample` also takes the mask of the choice alone, as observations and infos hold it."""

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[Any, ...]:
        """A random (choice, levels [D])."""
        return super().sample((mask, None) if isinstance(mask, np.ndarray) else mask, probability)


def real_box(*shape: int) -> spaces.Box:
    """Unbounded float32 numbers of this shape."""
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def observation_space(family: Family) -> Space[Any]:
    """What one agent observes."""
    own = real_box(family.obs_size)
    if not chooses(family):
        return own
    return spaces.Dict({"observation": own, "action_mask": spaces.Box(0, 1, (family.mask_size,), np.int8)})


def action_space(family: Family, agents: int | None = None) -> Space[Any]:
    """Actions of one agent (None), or of all together; see the table above."""
    levels = [component for component in family.actions if component.kind == "ordinal"]
    low, high = (np.array([getattr(c, end) for c in levels], np.float32) for end in ("low", "high"))
    if agents is not None:
        low, high = (np.tile(end, (agents, 1)) for end in (low, high))
        low, high = (end[:, 0] if len(family.actions) == 1 and levels else end for end in (low, high))
    box = spaces.Box(low, high, dtype=np.float32)
    if not chooses(family):
        return box
    size = family.actions[0].size
    choice: Space[Any] = spaces.Discrete(size) if agents is None else spaces.MultiDiscrete([size] * agents)
    return HybridSpace((choice, box)) if levels else choice


def allow_only(family: Family, action: Tensor, mask: Tensor) -> Tensor:
    """Actions [..., N] or [..., N, D] with 0 for a choice that the mask [..., N, A] forbids; what the space lacks is kept."""
    if not chooses(family) or action.shape[: mask.dim() - 1] != mask.shape[:-1]:
        return action
    choice = action.unsqueeze(-1) if len(family.actions) == 1 else action[..., :1]
    known = (choice >= 0) & (choice < mask.shape[-1])
    forbidden = known & ~mask.bool().gather(-1, torch.where(known, choice, 0).long())
    played = torch.where(forbidden, 0, choice).to(action.dtype)
    return played.squeeze(-1) if len(family.actions) == 1 else torch.cat([played, action[..., 1:]], dim=-1)


def draw_seeds(random: np.random.Generator, count: int) -> list[int]:
    """Scenarios for training: below those of support, query and reference episodes."""
    return random.integers(SUPPORT_SEEDS, size=count).tolist()


def as_numpy(tensor: Tensor) -> np.ndarray:
    """A copy: nobody outside can write into the simulator."""
    return tensor.detach().cpu().numpy().copy()

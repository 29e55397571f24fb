"""Support: the K logged joint episodes of a site that an agent may adapt on, and the controls that are played in their place.

They are recorded by policies that are not told the site, so that cloning a log tells nothing (see `Family.support`).
"""

from __future__ import annotations

import numpy as np
import torch

from ...errors import require_known
from ..agent import Support
from ..family import Family, Variant
from ..seeds import support_seeds
from .recorder import Columns, record

SUPPORTS = ("site", "wrong", "shifted")  # of the site itself; of another site; all recorded by `random`
_SHIFTED = (("random", 0.0),)


def support(family: Family, variant: Variant, site: int, shots: int, kind: str = "site") -> Support | None:
    """The K support episodes of a site, or None at zero shots. Episode k is the same for every K > k and every agent.

    Args:
        family: the family.
        variant: the variant.
        site: number of the site.
        shots: K.
        kind: `site`; or a control: `wrong` (the support of its neighbour, 3 for 2 and 2 for 3) or `shifted` (all random).

    Raises:
        UnknownNameError: there is no such kind.
    """
    require_known("support", kind, SUPPORTS, "--support site")
    if shots == 0:
        return None
    turns = _SHIFTED if kind == "shifted" else family.support
    columns = record_support(family, variant, [site ^ 1 if kind == "wrong" else site], shots, kind)
    return of_columns(columns, tuple(turns[k % len(turns)][0] for k in range(shots)))


def record_support(family: Family, variant: Variant, sites: list[int], shots: int, kind: str = "site") -> Columns:
    """The support episodes of some sites, site after site; columns as in `recorder.record`."""
    turns = _SHIFTED if kind == "shifted" else family.support
    each = tuple(turns[k % len(turns)] for k in range(shots))
    return record(family, variant, each, np.repeat(sites, shots).tolist(), support_seeds(shots) * len(sites))


def of_columns(columns: Columns, quality: tuple[str, ...]) -> Support:
    """Recorded columns as an agent sees them: without the last observation."""
    slots = columns["reward"].shape[1]
    found = {name: torch.from_numpy(columns[name][:, :slots]) for name in ("obs", "action", "reward", "action_mask")}
    return Support(found["obs"], found["action"], found["reward"], found["action_mask"], quality)

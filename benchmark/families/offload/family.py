"""`offload` as a family: its variants, references and behaviours."""

from __future__ import annotations

import torch

from ...family import ActionComponent, Env, Family, Variant
from . import policies as policies
from .env import OffloadEnv
from .layout import (
    MAX_EDGES,
    OBS_SIZE,
    SLICES,
)
from .variant import OffloadVariant, _listed


def _make(variant: Variant, device: torch.device | str) -> Env:
    assert isinstance(variant, OffloadVariant)
    return OffloadEnv(variant, device)


FAMILY = Family(
    name="offload",
    version="1",
    summary="mobile-edge computing offload with queues; hybrid action: a server and the local clock",
    variants=_listed(),
    make=_make,
    obs_size=OBS_SIZE,
    descriptor_size=8,
    actions=(ActionComponent("server", "categorical", MAX_EDGES + 1), ActionComponent("frequency", "ordinal", 5)),
    reward_range=(-1.5, 0.0),
    policies=policies.POLICIES,
    random="random",
    greedy="greedy",
    heuristic="softmax",
    reference="genie",
    shown={"queue": SLICES["local"].start, "alive": SLICES["alive"].start},
    choice=SLICES["task"].start,
    behaviours={
        "random": (("random", 0.0),),
        # Herd and local-only do worse than random: they are in the mixture, but no middle quality.
        "medium": (("greedy", 0.05), ("split", 0.05), ("softmax", 0.5)),
        "expert": (("softmax", 0.05),),
        "mixed": (("random", 0.0), *((name, 0.1) for name in ("local", "herd", "greedy", "split", "softmax", "genie"))),
    },
)

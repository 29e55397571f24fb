"""`power` as a family: its variants, references and behaviours."""

from __future__ import annotations

import torch

from ...family import ActionComponent, Env, Family, Variant
from . import policies as policies
from .env import LEVELS, PowerEnv
from .layout import OBS_SIZE, SLICES
from .variant import PowerVariant, _listed


def _make(variant: Variant, device: torch.device | str) -> Env:
    assert isinstance(variant, PowerVariant)
    return PowerEnv(variant, device)


FAMILY = Family(
    name="power",
    version="1",
    summary="distributed power control with queues in a cellular downlink; continuous action: transmit power",
    variants=_listed(),
    make=_make,
    obs_size=OBS_SIZE,
    descriptor_size=6,
    actions=(ActionComponent("power", "ordinal", LEVELS),),
    reward_range=(-0.5, 4.0),
    policies=policies.POLICIES,
    random="random",
    greedy="full",
    heuristic="pricing",
    reference="wmmse",
    shown={"queue": SLICES["queue"].start, "rate": SLICES["sent"].start + 1},
    behaviours={
        "random": (("random", 0.0),),
        "medium": (("full", 0.1), ("round-robin", 0.3)),
        "expert": (("pricing", 0.05),),
        "mixed": (("random", 0.0), ("full", 0.1), ("round-robin", 0.1), ("pricing", 0.05), ("wmmse", 0.1)),
    },
)

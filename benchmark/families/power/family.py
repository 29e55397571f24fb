"""The `power` family: its variants, environment and policies in one record."""

from __future__ import annotations

from typing import Any

import torch

from ...family import Env, Family, Variant
from .env import ACTIONS, PowerEnv
from .genie import Genie, Hindsight
from .layout import LAYOUT, OBS_SIZE, SLICES
from .policies import reference_policies
from .site import draw_site
from .variant import PowerVariant, listed


def _make(variant: Variant, device: torch.device | str) -> Env:
    assert isinstance(variant, PowerVariant)
    return PowerEnv(variant, device)


def _hidden(variant: Variant, site: int) -> dict[str, Any]:
    assert isinstance(variant, PowerVariant)
    return vars(draw_site(variant, site))


FAMILY = Family(
    name="power",
    version="2",
    summary="power control with queues among links that disturb each other; continuous action: amplitude",
    variants=listed(),
    make=_make,
    hidden=_hidden,
    obs_size=OBS_SIZE,
    descriptor_size=8,
    actions=ACTIONS,
    reward_range=(-3.0, 10.0),
    policies={**reference_policies(), "genie": Genie, "hindsight": Hindsight},
    layout=LAYOUT,
    shown={"queue": SLICES["queue"].start, "rate": SLICES["sent"].start + 1},
    behaviours={
        "random": (("random", 0.0),),
        "medium": (("medium", 0.05),),
        "expert": (("oracle", 0.05),),
        "mixed": (("random", 0.0), ("medium", 0.05), ("belief", 0.05), ("oracle", 0.05)),
    },
)

"""`access` as a family: its variants, references and behaviours."""

from __future__ import annotations

import torch

from ...family import ActionComponent, Env, Family, Variant
from . import policies as policies
from .env import AccessEnv
from .layout import MAX_CHANNELS, OBS_SIZE, SLICES, permute_channels
from .variant import AccessVariant, _listed


def _make(variant: Variant, device: torch.device | str) -> Env:
    assert isinstance(variant, AccessVariant)
    return AccessEnv(variant, device)


FAMILY = Family(
    name="access",
    version="1",
    summary="multichannel slotted random access with queues; discrete action: idle or a channel",
    variants=_listed(),
    make=_make,
    obs_size=OBS_SIZE,
    descriptor_size=6,
    actions=(ActionComponent("channel", "categorical", MAX_CHANNELS + 1),),
    reward_range=(0.0, 1.0),
    policies=policies.POLICIES,
    random="random",
    greedy="greedy",
    heuristic="tdma",
    reference="genie",
    shown={"queue": SLICES["queue"].start + 1, "silence": SLICES["silence"].start},
    behaviours={
        "random": (("random", 0.0),),
        "medium": (("backlog-aloha", 0.05), ("aloha", 0.05), ("backoff", 0.05)),
        "expert": (("tdma", 0.05),),
        "mixed": (("random", 0.0), ("backlog-aloha", 0.05), ("backoff", 0.05), ("tdma", 0.05), ("genie", 0.1)),
    },
    permute=permute_channels,
    choice=SLICES["queue"].start,
)

"""The `access` family, as the harness, the data and the agents know it."""

from __future__ import annotations

from typing import Any

from ...family import ActionComponent, Family
from .env import CHARGE, INITIAL_MAX, AccessEnv
from .layout import LAYOUT, MAX_CHANNELS, View, permute_channels
from .policies import POLICIES
from .revealed import RevealedEstimator
from .scene import scene
from .site import draw_site
from .variant import VARIANTS, AccessVariant


def _hidden(variant: AccessVariant, site: int) -> dict[str, Any]:
    return vars(draw_site(variant, site))


def _qos_range(variant: AccessVariant) -> dict[str, tuple[float, float]]:
    """A channel carries a packet a slot; a user sends once a slot and gets one new packet at most."""
    slots, users = float(variant.horizon), variant.agents
    longest = {"delay_mean": (0.0, slots), "delay_p95": (0.0, slots)}
    return {"goodput": (0.0, 1.0), **longest, "drops": (0.0, users * (slots + INITIAL_MAX)), "energy": (0.0, users * slots)}


FAMILY = Family(
    name="access",
    version="2",
    summary="slotted random access on several channels beside hopping incumbents; discrete action: idle or a channel",
    variants=VARIANTS,
    make=AccessEnv,
    hidden=_hidden,
    obs_size=View.size,
    descriptor_size=6,
    actions=(ActionComponent("channel", "categorical", MAX_CHANNELS + 1),),
    reward_range=(-CHARGE, 1.0),
    policies=POLICIES | {"revealed": RevealedEstimator},
    layout=LAYOUT,
    turns=("turn", "static", "clock"),
    shown={"queue": View.slices["queue"].start + 1, "silence": View.slices["silence"].start},
    behaviours={
        "random": (("random", 0.0),),
        "medium": (("medium", 0.05), ("aloha", 0.05), ("backoff", 0.05)),
        "expert": (("told-tdma", 0.05),),
        "mixed": (("random", 0.0), ("medium", 0.05), ("belief", 0.05), ("oracle", 0.1)),
    },
    permute=permute_channels,
    choice=View.slices["queue"].start,
    qos_range=_qos_range,
    scene=scene,
)

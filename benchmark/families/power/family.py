"""The `power` family: its variants, environment and policies in one record."""

from __future__ import annotations

from typing import Any

from ...family import Family
from ...physics.channel import from_db
from ...physics.interference import RATE_CAP
from .env import ACTIONS, INITIAL_MAX, PowerEnv
from .genie import Genie, Hindsight
from .layout import LAYOUT, View
from .policies import POLICIES
from .scene import scene
from .site import BAND, P_MAX, draw_site
from .variant import SLOT, VARIANTS, PowerVariant


def _hidden(variant: PowerVariant, site: int) -> dict[str, Any]:
    return vars(draw_site(variant, site))


def _qos_range(variant: PowerVariant) -> dict[str, tuple[float, float]]:
    """No link is faster than the cap, offered more than it on average, or louder than full power."""
    slots, links, fastest = variant.horizon, variant.agents, RATE_CAP * BAND[variant.layout] / 1e6  # Mbit/s
    longest = {"delay_mean": (0.0, slots + 1.0), "delay_p95": (0.0, slots + 1.0)}
    joules = float(from_db(P_MAX[variant.layout] - 30.0)) * SLOT
    drops, energy = links * (slots + INITIAL_MAX) * SLOT * fastest, links * slots * joules
    return {"goodput": (0.0, fastest), **longest, "drops": (0.0, drops), "energy": (0.0, energy)}


FAMILY = Family(
    name="power",
    version="2",
    summary="power control with queues among links that disturb each other; continuous action: amplitude",
    variants=VARIANTS,
    make=PowerEnv,
    hidden=_hidden,
    obs_size=View.size,
    descriptor_size=8,
    actions=ACTIONS,
    reward_range=(-3.0, 10.0),
    policies={**POLICIES, "genie": Genie, "hindsight": Hindsight},
    layout=LAYOUT,
    qos_range=_qos_range,
    scene=scene,
    shown={"queue": View.slices["queue"].start, "rate": View.slices["sent"].start + 1},
    behaviours={
        "random": (("random", 0.0),),
        "medium": (("medium", 0.05),),
        "expert": (("oracle", 0.05),),
        "mixed": (("random", 0.0), ("medium", 0.05), ("belief", 0.05), ("oracle", 0.05)),
    },
)

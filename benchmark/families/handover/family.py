"""The family `handover`, as the registry finds it."""

from __future__ import annotations

from typing import Any

from ...agent import RandomPolicy
from ...family import Family
from .env import ACTIONS, PRICE, WATTS, HandoverEnv
from .genie import Genie
from .layout import LAYOUT, View, permute_stations
from .maps import districts
from .picture import save_picture
from .policies import A3, Belief, Estimator, MaxSinr, Medium, Oracle, RevealedEstimator
from .scenario import SLOT
from .scene import scene
from .site import draw_site
from .variant import VARIANTS, HandoverVariant


def _hidden(variant: HandoverVariant, site: int) -> dict[str, Any]:
    found = draw_site(variant, site)
    place = districts()[found.district]
    told: dict[str, Any] = {"city": place.city, "centre": place.centre}
    return told | {name: value for name, value in vars(found).items() if name != "district"}


def _qos_range(variant: HandoverVariant) -> dict[str, tuple[float, float]]:
    """A user gets its need at most; a link fails a slot at most; a station has a greatest power."""
    slots, users = float(variant.horizon), float(variant.agents)
    joules = WATTS * SLOT * variant.stations * slots
    outage = {"delay_mean": (0.0, slots), "delay_p95": (0.0, slots + 1.0)}
    return {"goodput": (0.0, variant.need), **outage, "drops": (0.0, users * slots), "energy": (0.0, joules)}


FAMILY = Family(
    name="handover",
    version="1",
    summary="user association with mobility in ray-traced cities; hidden maps, backhaul, tenants and tariffs; discrete action",
    variants=VARIANTS,
    make=HandoverEnv,
    hidden=_hidden,
    obs_size=View.size,
    descriptor_size=7,
    actions=ACTIONS,
    reward_range=(-PRICE, 1.0),
    policies={
        "random": RandomPolicy,
        "max-sinr": MaxSinr,
        "medium": Medium,
        "prior": A3,
        "belief": Belief,
        "estimator": Estimator,
        "oracle": Oracle,
        "revealed": RevealedEstimator,
        "genie": Genie,
    },
    layout=LAYOUT,
    shown={"rate": View.slices["rate"].start, "level": View.slices["level"].start},
    permute=permute_stations,
    choice=View.slices["free"].start,
    qos_range=_qos_range,
    draw=save_picture,
    scene=scene,
    behaviours={
        "random": (("random", 0.0),),
        "medium": (("medium", 0.05), ("prior", 0.05), ("belief", 0.3)),
        "expert": (("oracle", 0.05),),
        "mixed": (("random", 0.0), *((name, 0.1) for name in ("max-sinr", "prior", "belief", "oracle", "genie"))),
    },
)

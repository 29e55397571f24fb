"""The family `offload`, as the registry finds it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ...agent import RandomPolicy
from ...family import ActionComponent, Family
from .env import CPU_ENERGY, RADIO_POWER, OffloadEnv
from .genie import Genie, Hindsight
from .layout import LAYOUT, LOCAL_SPEED, MAX_EDGES, SLOT, View
from .policies import Belief, Estimator, Local, Medium, Oracle, Prior, RevealedEstimator, Shortest
from .scene import scene
from .site import sites
from .variant import VARIANTS, OffloadVariant


def _hidden(variant: OffloadVariant, site: int) -> dict[str, Any]:
    found = sites(variant, [site])
    return {field.name: getattr(found, field.name)[0] for field in fields(found)}


def _qos_range(variant: OffloadVariant) -> dict[str, tuple[float, float]]:
    """A device gets a task a slot at most, which ends by its deadline; its CPU and its radio have a greatest power."""
    slots, devices, deadline = variant.horizon, variant.agents, float(variant.deadline)
    joules = CPU_ENERGY * LOCAL_SPEED**2 * (LOCAL_SPEED * SLOT) + RADIO_POWER * SLOT
    longest = {"delay_mean": (0.0, deadline), "delay_p95": (0.0, deadline + 1.0)}
    tasks, energy = devices * (slots + 1.0), devices * slots * joules
    return {"goodput": (0.0, (slots + 1.0) / slots), **longest, "drops": (0.0, tasks), "energy": (0.0, energy)}


FAMILY = Family(
    name="offload",
    version="2",
    summary="mobile-edge computing offload with queues and hidden tenants and tariffs; hybrid action: a server and the clock",
    variants=VARIANTS,
    make=OffloadEnv,
    hidden=_hidden,
    obs_size=View.size,
    descriptor_size=7,
    actions=(ActionComponent("server", "categorical", MAX_EDGES + 1), ActionComponent("frequency", "ordinal", 5)),
    reward_range=(-2.0, 0.0),
    policies={
        "random": RandomPolicy,
        "local": Local,
        "shortest": Shortest,
        "medium": Medium,
        "prior": Prior,
        "belief": Belief,
        "estimator": Estimator,
        "oracle": Oracle,
        "revealed": RevealedEstimator,
        "genie": Genie,
        "hindsight": Hindsight,
    },
    layout=LAYOUT,
    shown={"queue": View.slices["local"].start, "alive": View.slices["alive"].start},
    choice=View.slices["task"].start,
    qos_range=_qos_range,
    scene=scene,
    behaviours={
        "random": (("random", 0.0),),
        "medium": (("medium", 0.05), ("prior", 0.05), ("belief", 0.3)),
        "expert": (("oracle", 0.05),),
        "mixed": (("random", 0.0), *((name, 0.1) for name in ("local", "shortest", "belief", "oracle", "genie"))),
    },
)

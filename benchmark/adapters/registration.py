"""Makes the families known to Gymnasium as `wbench/FAMILY-v0`; imports nothing heavy, as it runs when wbench is imported."""

from __future__ import annotations

from ..registry import BUILT_IN

_AT = "wbench.benchmark.adapters.single"


def register() -> None:
    """Register every built-in family, unless that is done."""
    from gymnasium.envs.registration import register, registry

    for name in BUILT_IN:
        if f"wbench/{name}-v0" not in registry:
            register(f"wbench/{name}-v0", f"{_AT}:single", kwargs={"family": name}, vector_entry_point=f"{_AT}:vector")

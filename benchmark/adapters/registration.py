"""Makes the families known to Gymnasium as `wbench/FAMILY-v0`; imports nothing heavy, for Gymnasium asks when it is imported."""

from __future__ import annotations

from ..registry import BUILT_IN


def register() -> None:
    """Register every built-in family: the entry point `gymnasium.envs` of the package, and `import wbench` after gymnasium."""
    from gymnasium.envs.registration import register, registry

    for name in BUILT_IN:
        if f"wbench/{name}-v0" not in registry:
            at = f"{__package__}.single"
            register(f"wbench/{name}-v0", f"{at}:single", kwargs={"family": name}, vector_entry_point=f"{at}:vector")

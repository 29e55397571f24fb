"""Finds families and agents: wbench's own, and those that other packages register by entry point.

A third party registers a `Family` under the group `wbench.families`, or a function `(checkpoint, device) -> Agent` under
`wbench.agents`; nothing in wbench has to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import UnknownNameError

if TYPE_CHECKING:
    import torch

    from .agent import Agent
    from .family import Env, Family, Variant

AgentFactory = Callable[[str | None, str], "Agent"]
ROOT = __package__.rpartition(".")[0]

_FAMILIES = {
    "access": "benchmark.families.access:FAMILY",
    "power": "benchmark.families.power:FAMILY",
    "offload": "benchmark.families.offload:FAMILY",
}
_AGENTS = {
    "networld": "networld.agent:build",
    "bc": "baselines.bc:build",
    "random": "baselines.heuristics:build_random",
    "greedy": "baselines.heuristics:build_greedy",
    "heuristic": "baselines.heuristics:build_heuristic",
    "genie": "baselines.heuristics:build_genie",
}
_TRAINERS = {"networld": "networld.train:train_preset", "bc": "baselines.bc:train_preset"}


def _sources(group: str, own: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Loaders by name; wbench's own names cannot be taken over by a plug-in."""
    found: dict[str, Callable[[], object]] = {entry.name: entry.load for entry in entry_points(group=group)}
    for name, target in own.items():
        module, _, attribute = target.partition(":")
        found[name] = partial(_load, module, attribute)
    return found


def _load(module: str, attribute: str) -> object:
    return getattr(import_module(f"{ROOT}.{module}"), attribute)


def family_names() -> list[str]:
    """Names of all families."""
    return sorted(_sources("wbench.families", _FAMILIES))


def agent_names() -> list[str]:
    """Names of all agents."""
    return sorted(_sources("wbench.agents", _AGENTS))


@cache
def get_family(name: str) -> Family:
    """The family of this name; raises `UnknownNameError`."""
    sources = _sources("wbench.families", _FAMILIES)
    if name not in sources:
        raise UnknownNameError("family", name, sources, "wbench list")
    return sources[name]()  # type: ignore[return-value]


def get_variant(name: str) -> tuple[Family, Variant]:
    """Family and variant of a full name such as `access/n8-c1-load0.4`; raises `UnknownNameError`."""
    family = get_family(name.partition("/")[0])
    return family, family.variant(name)


def make(name: str, device: torch.device | str = "cpu") -> Env:
    """The vectorised environment of a variant, e.g. `make("access/n8-c1-load0.4")`."""
    family, variant = get_variant(name)
    return family.make(variant, device)


def make_agent(name: str, checkpoint: str | None = None, device: str = "cpu") -> Agent:
    """The agent of this name.

    Args:
        name: see `agent_names()`.
        checkpoint: folder or Hub id; None = the one in the package, where the agent needs one.
        device: where it computes.

    Raises:
        UnknownNameError: no such agent.
        CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    sources = _sources("wbench.agents", _AGENTS)
    if name not in sources:
        raise UnknownNameError("agent", name, sources, "wbench list")
    factory: AgentFactory = sources[name]()  # type: ignore[assignment]
    return factory(checkpoint, device)


class Trainer(Protocol):
    """Trains an agent from a preset and writes its checkpoint."""

    def __call__(
        self,
        families: Sequence[Family],
        preset: str,
        folder: Path,
        *,
        resume: bool,
        seed: int,
        device: str,
        on_step: Callable[[int, int], None],
    ) -> None:
        """`on_step` is told the step and the number of steps."""


def trainer_names() -> list[str]:
    """Names of the agents that `wbench train` knows."""
    return sorted(_TRAINERS)


def get_trainer(name: str) -> Trainer:
    """The trainer of an agent; raises `UnknownNameError`."""
    if name not in _TRAINERS:
        raise UnknownNameError("trainable agent", name, _TRAINERS, "wbench train networld --preset debug")
    return _sources("wbench.trainers", _TRAINERS)[name]()  # type: ignore[return-value]

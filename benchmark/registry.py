"""Finds families and agents: wbench's own, and those that other packages register by entry point.

A third party registers a `Family` under the group `wbench.families`, or a function `(checkpoint, device) -> Agent` under
`wbench.agents`, or one that returns a `World` under `wbench.worlds`; nothing in wbench has to change. An agent may also be
run from a file that no package holds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from ..errors import DataError, InvalidValueError, UnknownNameError, WbenchError
from .user_code import is_file, load

if TYPE_CHECKING:
    import torch

    from .agent import Agent
    from .family import Env, Family, Variant
    from .training import Trainer
    from .world import World

AgentFactory = Callable[[str | None, str], "Agent"]
WorldFactory = Callable[[str | None, str], "World"]
ROOT = __package__.rpartition(".")[0]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")  # what a result file takes

_FAMILIES = {
    "access": "benchmark.families.access.family:FAMILY",
    "power": "benchmark.families.power.family:FAMILY",
    "offload": "benchmark.families.offload.family:FAMILY",
}
_AGENTS = {
    "networld": "networld.agent:build",
    "networld-online": "networld.agent:build_online",
    "bc": "baselines.bc:build",
    "bc-inbox": "baselines.bc:build_inbox",
    "bcq": "baselines.bcq:build",
    "bcq-taught": "baselines.bcq_taught:build",
    "iql": "baselines.iql:build",
    "mappo": "baselines.mappo:build",
    "mappo-imagined": "baselines.mappo_imagined:build",
    "qmix": "baselines.qmix:build",
    "random": "baselines.heuristics:build_random",
    "greedy": "baselines.heuristics:build_greedy",
    "heuristic": "baselines.heuristics:build_heuristic",
    "genie": "baselines.heuristics:build_genie",
}
_WORLDS = {"networld": "networld.imagination:build"}
_TRAINERS = {
    "networld": "networld.train:TRAINER",
    "networld-online": "networld.online:TRAINER",
    "bc": "baselines.bc:TRAINER",
    "bc-inbox": "baselines.bc:INBOX_TRAINER",
    "bcq": "baselines.bcq:TRAINER",
    "bcq-taught": "baselines.bcq_taught:TRAINER",
    "iql": "baselines.iql:TRAINER",
    "mappo": "baselines.mappo_train:TRAINER",
    "mappo-imagined": "baselines.mappo_imagined:TRAINER",
    "qmix": "baselines.qmix:TRAINER",
}


def _sources(group: str, own: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Loaders by name; wbench's own names cannot be taken over by a plug-in."""
    found: dict[str, Callable[[], object]] = {entry.name: partial(_load_plugin, entry) for entry in entry_points(group=group)}
    for name, target in own.items():
        module, _, attribute = target.partition(":")
        found[name] = partial(_load, module, attribute)
    return found


def _load(module: str, attribute: str) -> object:
    return getattr(import_module(f"{ROOT}.{module}"), attribute)


def _load_plugin(entry: EntryPoint) -> object:
    """What another package registers; raises `DataError` where it cannot be imported."""
    try:
        return entry.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}. Its traceback: WBENCH_DEBUG=1"
        raise DataError(f"plug-in {entry.name!r} ({entry.value}) cannot be loaded: {reason}") from error


def family_names() -> list[str]:
    """Names of all families."""
    return sorted(_sources("wbench.families", _FAMILIES))


def all_families() -> list[Family]:
    """Every family that can be loaded; of a plug-in that cannot be, a line on standard error."""
    found = []
    for name in family_names():
        try:
            found.append(get_family(name))
        except DataError as error:
            print(f"wbench: left out: {error}", file=sys.stderr)
    return found


def agent_names() -> list[str]:
    """Names of all agents."""
    return sorted(_sources("wbench.agents", _AGENTS))


def plugins() -> dict[str, EntryPoint]:
    """Agents that other packages register, by name; reading it imports none of them."""
    return {entry.name: entry for entry in entry_points(group="wbench.agents") if entry.name not in _AGENTS}


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


def make_agent(
    name: str, checkpoint: str | None = None, device: str = "cpu", arm: str | None = None, *, run_files: bool = False
) -> Agent:
    """The agent of this name, in one of its arms.

    Args:
        name: see `agent_names()`; or, with `run_files`, `FILE.py[:ATTR]` with a function like those of the entry point,
            `build` by default.
        checkpoint: folder or Hub id; None = the one in the package, where the agent needs one.
        device: where it computes.
        arm: see `Agent.arms`; None = its first.
        run_files: whether a file may be run, as the user's own code; never for a name out of somebody's result file.

    Raises:
        UnknownNameError: no such agent, or it has no such arm.
        CheckpointError: the checkpoint is missing, damaged or of another model.
        InvalidValueError: there is no such file, or it holds no such function, or its agent's name is not its own.
        DataError: the file, or its function, cannot be run.
    """
    sources = _sources("wbench.agents", _AGENTS)
    if name in sources:
        factory: AgentFactory = sources[name]()  # type: ignore[assignment]
        agent = factory(checkpoint, device)
    elif run_files and is_file(name):
        agent = _agent_of_file(name, checkpoint, device)
    else:
        hint = "wbench list, or --agent FILE.py" if run_files else "wbench list"
        raise UnknownNameError("agent", name, sources, hint)
    if not agent.arms:
        raise InvalidValueError(f"arms of {agent.name}", "()", "one or more")
    agent.enter(agent.arms[0] if arm is None else arm)
    return agent


def _agent_of_file(target: str, checkpoint: str | None, device: str) -> Agent:
    """The agent that a user's file builds."""
    from .agent import Agent

    where, factory = load(target, "build")
    if not callable(factory):
        raise InvalidValueError(where, type(factory).__name__, "a function (checkpoint, device) that returns an Agent")
    try:
        agent = factory(checkpoint, device)
    except WbenchError:
        raise
    except Exception as error:
        raise DataError(f"{where} failed: {type(error).__name__}: {error}. Its traceback: WBENCH_DEBUG=1") from error
    if not isinstance(agent, Agent):
        raise InvalidValueError(f"what {where} returned", type(agent).__name__, "a wbench.benchmark.agent.Agent")
    if agent.name in (Agent.name, *agent_names()) or not _NAME.fullmatch(str(agent.name)):
        allowed = "one of its own, none of `wbench list`; letters, digits, . _ + and -, up to 64"
        raise InvalidValueError(f"name of the agent in {target}", agent.name, allowed)
    return agent


def make_world(name: str, checkpoint: str | None = None, device: str = "cpu") -> World:
    """The world model of this name; raises `UnknownNameError`, or `CheckpointError` like `make_agent`."""
    sources = _sources("wbench.worlds", _WORLDS)
    if name not in sources:
        raise UnknownNameError("world", name, sources, "networld")
    factory: WorldFactory = sources[name]()  # type: ignore[assignment]
    return factory(checkpoint, device)


def trainer_names() -> list[str]:
    """Names of the agents that `wbench train` knows."""
    return sorted(_TRAINERS)


def get_trainer(name: str) -> Trainer:
    """The trainer of an agent; raises `UnknownNameError`."""
    if name not in _TRAINERS:
        raise UnknownNameError("trainable agent", name, _TRAINERS, "wbench train networld --preset debug")
    return _sources("wbench.trainers", _TRAINERS)[name]()  # type: ignore[return-value]

"""Finds families and agents: wbench's own, and those that other packages register by entry point.

A third party registers a `Family` under the group `wbench.families`, a function `(checkpoint, device) -> Agent` under
`wbench.agents`, a `Trainer` of that agent under `wbench.trainers`, or a function `(checkpoint, device) -> World` under
`wbench.worlds`; nothing in wbench has to change. An agent may also be run from a file that no package holds, and so may a
family: the files that `WBENCH_FAMILIES` names are run in every process of the user's, by whom alone it is set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..console import note
from ..errors import DataError, InvalidValueError, UnknownNameError, WbenchError, foreign, require, require_known
from .processes import plain_torch
from .user_code import is_file, kind_of, load

if TYPE_CHECKING:
    from .agent import Agent
    from .family import Family, Variant

AgentFactory = Callable[[str | None, str], "Agent"]
ROOT = __package__.rpartition(".")[0]
_FILES = "WBENCH_FAMILIES"  # names files of own families, with semicolons between them
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")  # what a result file takes

_FAMILIES = {
    "access": "benchmark.families.access.family:FAMILY",
    "power": "benchmark.families.power.family:FAMILY",
    "offload": "benchmark.families.offload.family:FAMILY",
    "handover": "benchmark.families.handover.family:FAMILY",
}
BUILT_IN = tuple(_FAMILIES)
_AGENTS = {  # a line an agent: the module that gives `build`, and perhaps `TRAINER` and `WORLD`; or another function
    "networld": "networld",
    "bc": "baselines.bc",
    "brq": "baselines.brq",
    "iql": "baselines.iql",
    "mappo": "baselines.mappo",
    "qmix": "baselines.qmix",
    "random": "baselines.references:build_random",
    "prior": "baselines.references:build_prior",
    "belief": "baselines.references:build_belief",
    "estimator": "baselines.references:build_estimator",
    "oracle": "baselines.references:build_oracle",
    "genie": "baselines.references:build_genie",
}
OWN_AGENTS = tuple(_AGENTS)
REFERENCES = tuple(name for name, target in _AGENTS.items() if target.startswith("baselines.references:"))  # never ranked
PARTS = {"trainers": "TRAINER", "worlds": "WORLD"}  # what a module of an agent may give, by group of entry points


def sources(group: str, own: Mapping[str, str]) -> dict[str, Callable[[], object]]:
    """Loaders by name; wbench's own names cannot be taken over by a plug-in."""
    found: dict[str, Callable[[], object]] = {entry.name: partial(_load_plugin, entry) for entry in entry_points(group=group)}
    for name, target in own.items():
        module, _, attribute = target.partition(":")
        found[name] = partial(_load, module, attribute or "build")
    return found


def _load(module: str, attribute: str) -> object:
    return getattr(_module(module), attribute)


def _module(name: str) -> ModuleType:
    return import_module(f"{ROOT}.{name}")


def _load_plugin(entry: EntryPoint) -> object:
    """What another package registers; raises `DataError` where it cannot be imported."""
    try:
        return entry.load()
    except BaseException as error:
        reason = f"{foreign(error)}. Its traceback: WBENCH_DEBUG=1"
        raise DataError(f"plug-in {entry.name!r} ({entry.value}) cannot be loaded: {reason}") from error


def provided(group: str) -> dict[str, Callable[[], object]]:
    """Loaders of what agents bring along, by name: those of wbench's own modules, and of other packages.

    Args:
        group: one of `PARTS`; other packages' entry points stand in the group `wbench.GROUP`.
    """
    attribute = PARTS[group]
    modules = {name: target for name, target in _AGENTS.items() if ":" not in target}
    own = {name: f"{module}:{attribute}" for name, module in modules.items() if hasattr(_module(module), attribute)}
    return sources(f"wbench.{group}", own)


def register_family(target: str) -> Family:
    """Run a file of the user's, `FILE.py[:ATTR]`, and know its family by name from now on, in this process and its children.

    Raises:
        InvalidValueError: there is no such file, or it holds no `Family`, or one of a name that is taken.
        DataError: the file cannot be run.
    """
    family = _family_of_file(target)
    place, sign, attribute = target.rpartition(":") if re.search(r":\w+$", target) else (target, "", "")
    path = f"{Path(place).resolve()}{sign}{attribute}"
    known = list(filter(None, os.environ.get(_FILES, "").split(";")))
    os.environ[_FILES] = ";".join([*(other for other in known if other != path), path])
    get_family.cache_clear()
    return family


def _family_of_file(target: str) -> Family:
    from .family import Family

    where, family = load(target, "FAMILY")
    if not isinstance(family, Family):
        raise InvalidValueError(where, kind_of(family), "a wbench.benchmark.family.Family")
    if family.name in (taken := sources("wbench.families", _FAMILIES)) or not _NAME.fullmatch(family.name):
        raise InvalidValueError(f"name of the family in {target}", family.name, f"one of its own, none of {', '.join(taken)}")
    return family


def _own_files() -> dict[str, str]:
    """The user's files by the name of the family in each."""
    return {_family_of_file(target).name: target for target in filter(None, os.environ.get(_FILES, "").split(";"))}


def typed(name: str) -> str:
    """What stands for a family on the command line: its name, or the file of the user's that it is in."""
    return _own_files().get(name, name)


def _families() -> dict[str, Callable[[], object]]:
    """Loaders of all families by name; of the user's files too."""
    own = {name: partial(_family_of_file, target) for name, target in _own_files().items()}
    return {**own, **sources("wbench.families", _FAMILIES)}


def list_families() -> list[str]:
    """Names of all families."""
    return sorted(_families())


def all_families() -> list[Family]:
    """Every family that can be loaded; of a plug-in that cannot be, a line on standard error."""
    found = []
    for name in list_families():
        try:
            found.append(get_family(name))
        except DataError as error:
            note(f"left out: {error}")
    return found


def list_agents() -> list[str]:
    """Names of all agents."""
    return sorted(sources("wbench.agents", _AGENTS))


def plugins() -> dict[str, EntryPoint]:
    """Agents that other packages register, by name; reading it imports none of them."""
    return {entry.name: entry for entry in entry_points(group="wbench.agents") if entry.name not in _AGENTS}


@cache
def get_family(name: str) -> Family:
    """The family of this name; raises `UnknownNameError`."""
    found = _families()
    require_known("family", name, found, "wbench list")
    return found[name]()  # type: ignore[return-value]


def resolve(task: str | Variant, family: Family | None = None) -> tuple[Family, Variant]:
    """A variant or its name, with its family, which is the registered one where none is given; raises `UnknownNameError`."""
    if isinstance(task, str):
        return (family, family.variant(task)) if family else get_variant(task)
    return family or get_family(task.family), task


def get_variant(name: str) -> tuple[Family, Variant]:
    """Family and variant of a full name such as `access/n8-c3-load0.25-l48`; raises `UnknownNameError`."""
    if not isinstance(name, str):
        raise InvalidValueError("the name of a variant", name, "a text such as 'access/n8-c3-load0.25-l48'")
    family = get_family(name.partition("/")[0])
    return family, family.variant(name)


def make_agent(
    name: str, checkpoint: str | None = None, device: str = "cpu", track: str | None = None, *, run_files: bool = False
) -> Agent:
    """The agent of this name, in one of its tracks.

    Args:
        name: see `list_agents()`; or, with `run_files`, `FILE.py[:ATTR]` with a function like those of the entry point,
            `build` by default.
        checkpoint: folder or Hub id; None = the one in the package, where the agent needs one.
        device: where it computes.
        track: see `Agent.tracks`; None = its first.
        run_files: whether a file may be run, as the user's own code; never for a name out of somebody's result file.

    Raises:
        UnknownNameError: no such agent, or it has no such track.
        CheckpointError: the checkpoint is missing, damaged or of another model.
        InvalidValueError: there is no such file, or it holds no such function, or its agent's name is not its own.
        DataError: the file, or its function, cannot be run.
    """
    found = sources("wbench.agents", _AGENTS)
    if name in found:
        factory: AgentFactory = found[name]()  # type: ignore[assignment]
        agent = factory(checkpoint, device)
    elif run_files and is_file(name):
        agent = _agent_of_file(name, checkpoint, device)
    else:
        hint = "wbench list, or --agent FILE.py" if run_files else "wbench list"
        raise UnknownNameError("agent", name, found, hint)
    require(bool(agent.tracks), f"tracks of {agent.name}", "()", "one or more")
    agent.enter(agent.tracks[0] if track is None else track)
    return agent


def _agent_of_file(target: str, checkpoint: str | None, device: str) -> Agent:
    """The agent that a user's file builds."""
    from .agent import Agent

    where, factory = load(target, "build")
    if not callable(factory):
        raise InvalidValueError(where, kind_of(factory), "a function (checkpoint, device) that returns an Agent")
    with plain_torch(), code_of_others(where):
        agent = factory(checkpoint, device)
    if not isinstance(agent, Agent):
        raise InvalidValueError(f"what {where} returned", type(agent).__name__, "a wbench.benchmark.agent.Agent")
    require_own_name(agent, f"in {target}")
    return agent


@contextmanager
def code_of_others(what: str) -> Iterator[None]:
    """Raise `DataError` for whatever somebody's code raises in here, unless it is of wbench."""
    try:
        yield
    except WbenchError:
        raise
    except BaseException as error:
        raise DataError(f"{what} failed: {foreign(error)}. Its traceback: WBENCH_DEBUG=1") from error


def require_own_name(agent: Agent, where: str) -> None:
    """Raise `InvalidValueError` where an agent that no package registers goes by the name of one that is registered."""
    if not isinstance(agent.name, str) or agent.name in ("agent", *list_agents()) or not _NAME.fullmatch(agent.name):
        allowed = "one of its own, none of `wbench list`; letters, digits, . _ + and -, up to 64"
        raise InvalidValueError(f"name of the agent {where}", agent.name, allowed)

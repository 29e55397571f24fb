"""What this package knows of a row without playing it: its own agents, and the bounds of rewards and physics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from ...benchmark.protocol.runner import CellResult
from ...benchmark.registry import OWN_AGENTS, get_family, get_variant, make_agent
from ...errors import WbenchError
from ..names import WBENCH, imitated
from ..provenance import UNREGISTERED, agent_record, packaged_digests
from ..schema import AgentRecord, Row
from .unlike import unlike

_NO_VERSION = re.compile(r"0+(\.0+)*")
_ALWAYS = ("label", "privileged")  # what no weights change
_OF_WEIGHTS = ("checkpoint", "settings", "recipe", "parameters", "privileged_training", "source_transitions", "source_steps")
_SLACK = 1e-3  # of a range: what float32 sums, and the digits of a file, may be off by


def about_names(row: AgentRecord) -> Iterator[str]:
    """Names that would be taken for others, and versions that name nothing."""
    for what, name in (("agent", row.agent), ("label", row.label), ("package.name", row.package.name)):
        if meant := imitated(name):
            yield f"{what} is {name!r}, which looks like {meant!r} of wbench; give it a name of its own"
    if _NO_VERSION.fullmatch(row.package.version):
        yield f"package.version is {row.package.version!r}, which names no code. Play an agent out of a file or a package"
    if row.package.name == UNREGISTERED and not re.fullmatch("[0-9a-f]{64}", row.package.version):
        yield f"package.version is {row.package.version!r:.40}, but must be the SHA-256 of the agent's file"
    if (row.agent in OWN_AGENTS) != (row.package.name == WBENCH):
        yield f"agent {row.agent!r} is of package {row.package.name!r}, but {_where(row.agent)}"


def _where(agent: str) -> str:
    return "wbench has it" if agent in OWN_AGENTS else f"wbench has none of this name, only {', '.join(OWN_AGENTS)}"


def about_own(row: Row) -> Iterator[str]:
    """Where a row of one of wbench's agents contradicts the registry: tracks, digests of packaged weights, what follows."""
    if row.package.name != WBENCH or row.agent not in OWN_AGENTS:
        return
    if wrong := _weights_named_wrongly(row):
        yield wrong
        return
    packaged = row.origin.name if row.origin.kind == "packaged" else None
    try:
        known = _known(row.agent, row.track, packaged)
    except WbenchError as error:  # no such track, or the weights of another agent
        yield str(error).rstrip(".")
        return
    fixed = row.origin.kind in ("none", "packaged") or known.origin.kind == "none"  # a rule has no weights of somebody's
    names = _ALWAYS + (_OF_WEIGHTS if fixed else ())
    yield from unlike({name: getattr(row, name) for name in names}, {name: getattr(known, name) for name in names}, "")
    if fixed:
        floats = {name: _floats(row.agent, row.track, packaged, name) for name in row.message_floats}
        yield from unlike(row.message_floats, floats, "message_floats.")


def _weights_named_wrongly(row: AgentRecord) -> str | None:
    packaged = packaged_digests()
    if row.origin.kind == "packaged" and row.origin.name not in packaged.values():
        return f"origin.name is {row.origin.name!r}, but packaged are {', '.join(packaged.values())}"
    if row.origin.kind == "packaged" and packaged.get(row.checkpoint) != row.origin.name:
        return f"checkpoint is {row.checkpoint[:12]}..., which are not the weights of {row.origin.name!r}"
    return None


@cache
def _known(agent: str, track: str, packaged: str | None) -> AgentRecord:
    """The record of an agent of wbench as the registry builds it."""
    return agent_record(make_agent(agent, packaged, "cpu", track), packaged)


@cache
def _floats(agent: str, track: str, packaged: str | None, family: str) -> int:
    """What an agent of wbench broadcasts a slot in a family."""
    built, found = make_agent(agent, packaged, "cpu", track), get_family(family)
    built.adapt(found, next(iter(found.variants.values())), None)
    return built.message_size


def about_bounds(cell: CellResult) -> Iterator[str]:
    """Returns beyond what the reward range allows over the horizon, and quality of service beyond physics."""
    family, variant = get_variant(cell.variant)
    low, high = (end * variant.horizon for end in family.reward_range)
    yield from _outside("returns", cell.returns, low, high)
    if cell.failure or family.qos_range is None:
        return
    known = family.qos_range(variant)
    if cell.qos.keys() != known.keys():
        yield f"qos has {', '.join(cell.qos) or 'nothing'}, but {family.name} measures {', '.join(known)}"
        return
    for name, (least, most) in known.items():
        yield from _outside(f"qos.{name}", cell.qos[name], least, most)


def _outside(where: str, values: Iterable[float], low: float, high: float) -> Iterator[str]:
    slack = _SLACK * (high - low)
    for value in values:
        if not low - slack <= value <= high + slack:
            yield f"{where} holds {value:g}, outside [{low:g}, {high:g}]: no play has that"
            return

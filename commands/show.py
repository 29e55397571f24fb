"""What `wbench show NAME` says of a family, variant, agent or protocol."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..benchmark.data.store import list_datasets
from ..benchmark.family import Family, Variant
from ..benchmark.protocol.references import references
from ..benchmark.protocol.spec import SIZES, protocol
from ..benchmark.registry import all_families, get_family, list_agents, list_families, make_agent
from ..errors import UnknownNameError


@dataclass(frozen=True)
class Description:
    """Plain data for scripts; a text and perhaps a table for people."""

    data: dict[str, Any]
    text: str
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def describe(name: str) -> Description:
    """Describe whatever has this name; raises `UnknownNameError`."""
    if name in list_families():
        return _family(get_family(name))
    if name.partition("/")[0] in list_families() and "/" in name:
        family = get_family(name.partition("/")[0])
        return _variant(family.variant(name))
    if name in SIZES:
        return describe_protocol(name)
    if name in list_agents():
        return _agent(name)
    allowed = [*list_families(), *SIZES, *list_agents(), *(v for family in all_families() for v in family.variants)]
    raise UnknownNameError("name", name, allowed, "wbench list")


def _family(family: Family) -> Description:
    rows = []
    for name, variant in family.variants.items():
        frame = references(name)
        returns = (f"{x:.2f}" for x in (frame.random, frame.heuristic, frame.reference))
        rows.append([name, variant.split, str(variant.agents), *returns])
    data: dict[str, Any] = {
        "name": family.name,
        "version": family.version,
        "summary": family.summary,
        "observation": family.obs_size,
        "actions": [asdict(component) for component in family.actions],
        "policies": list(family.policies),
        "behaviours": {quality: [list(pair) for pair in mix] for quality, mix in family.behaviours.items()},
        "variants": {name: variant.split for name, variant in family.variants.items()},
        "datasets": [row for row in list_datasets() if row["family"] == family.name],
    }
    text = f"{family.name} (version {family.version}): {family.summary}\npolicies: {', '.join(family.policies)}"
    for row in data["datasets"]:
        text += (
            f"\ndataset {row['release']} v{row['version']}: {row['agent_transitions']:,} agent transitions in {row['files']}"
        )
        text += f" files, {row['here']} of them here ({row['folder']})"
    return Description(data, text, ["variant", "split", "agents", "random", "heuristic", "genie"], rows)


def _variant(variant: Variant) -> Description:
    frame = references(variant.name)
    data = {"name": variant.name, **asdict(variant), "references": asdict(frame)}  # type: ignore[call-overload]
    rows = [[key, str(value)] for key, value in data.items() if key not in ("name", "references")]
    rows += [[f"return of {key}", f"{getattr(frame, key):.3f}"] for key in ("random", "greedy", "heuristic", "reference")]
    return Description(data, variant.name, ["field", "value"], rows)


def describe_protocol(name: str) -> Description:
    """Describe a protocol; raises `UnknownNameError`."""
    found = protocol(name)
    data: dict[str, Any] = {"name": name, "hash": found.hash(), **found.contract()}
    slots = sorted({tuple(budget) for budget in data["practice"]["slots"].values()})
    rows = [
        ["variants", ", ".join(found.variants)],
        ["shots", ", ".join(map(str, found.shots))],
        ["seeds", str(found.seeds)],
        ["query episodes a cell", str(found.episodes)],
        ["cells an agent", str(len(found.cells()))],
        ["slots to practise online", "; ".join(", ".join(map(str, budget)) for budget in slots)],
        ["score", data["metric"]],
        ["hash", found.hash()],
    ]
    return Description(data, f"{data['version']} {name}", ["field", "value"], rows)


def _agent(name: str) -> Description:
    agent = make_agent(name)
    data = {
        "name": name,
        "tracks": list(agent.tracks),
        "parameters": agent.parameters,
        "message_floats": agent.message_size,
        "privileged": agent.privileged,
        "checkpoint": agent.checkpoint_digest,
    }
    doc = next(iter((type(agent).__doc__ or "").strip().splitlines()), "")
    rows = [[key, ", ".join(value) if isinstance(value, list) else str(value)] for key, value in data.items()]
    return Description(data, f"{name}: {doc}", ["field", "value"], rows)

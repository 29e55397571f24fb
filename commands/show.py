"""What `wbench show NAME` says of a family, variant, agent or protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..benchmark.acting.observation import acted_of, columns_of
from ..benchmark.data.paths import require_ours
from ..benchmark.data.store import list_datasets
from ..benchmark.family import Family, Variant
from ..benchmark.protocol.references import references
from ..benchmark.protocol.spec import SIZES, protocol
from ..benchmark.registry import all_families, get_family, list_agents, list_families, make_agent
from ..benchmark.site import spans, text_of
from ..console import answer
from ..errors import InvalidValueError, UnknownNameError, require
from ..learning.settings import described
from ..learning.training import get_trainer, trainer_names


@dataclass(frozen=True)
class Description:
    """Plain data for scripts; a text and perhaps a table for people."""

    data: dict[str, Any]
    text: str
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def print_description(found: Description, as_json: bool) -> None:
    """Print it for scripts or for people."""
    if not as_json:
        print(found.text)
    if as_json or found.rows:
        answer(as_json, found.data, found.header, found.rows)


def describe(name: str, sites: Sequence[int] = ()) -> Description:
    """Describe whatever has this name, a variant with what is hidden at these sites; raises `UnknownNameError`."""
    if name in list_families():
        return _family(get_family(name))
    if name.partition("/")[0] in list_families() and "/" in name:
        family = get_family(name.partition("/")[0])
        return _variant(family, family.variant(name), sites)
    if name in SIZES:
        return describe_protocol(name)
    if name in list_agents():
        return _agent(name)
    allowed = [*list_families(), *SIZES, *list_agents(), *(v for family in all_families() for v in family.variants)]
    raise UnknownNameError("name", name, allowed, "wbench list")


def observation(name: str) -> Description:
    """What the numbers of a family's observation are, and what a log calls them; raises `UnknownNameError`."""
    family = get_family(name.partition("/")[0])
    allowed = f"of a family that names its parts: Family(layout=...); its logs have obs_0 to obs_{family.obs_size - 1}"
    require(bool(family.layout), "--observation", family.name, allowed)
    rows, place, named = [], 0, columns_of(family)[1]
    for size, meaning in family.layout.values():
        first, last = named[place], named[place + size - 1]
        rows.append(
            [f"{place}-{place + size - 1}" if size > 1 else str(place), first + (f" .. {last}" if size > 1 else ""), meaning]
        )
        place += size
    data = {"name": family.name, "size": family.obs_size, "columns": named}
    data |= {"parts": {part: {"size": size, "meaning": meaning} for part, (size, meaning) in family.layout.items()}}
    keys = ", ".join(["episode", "t", "agent", *acted_of(family), "reward"])
    text = f"an agent of {family.name} observes {family.obs_size} numbers"
    text += f"\ncolumns of a log: {keys}, and obs_0, obs_1, ... or the names below"
    return Description(data, text, ["place", "column", "meaning"], rows)


def draw(name: str, sites: Sequence[int], path: Path) -> None:
    """Write a picture of a site of a variant.

    Raises:
        InvalidValueError: its family draws none, these are not one site, or the file has no ending of a picture.
        OutputError: the file is there already.
    """
    family = get_family(name.partition("/")[0])
    if family.draw is None or "/" not in name:
        known = [one.name for one in all_families() if one.draw]
        raise InvalidValueError(
            "--picture", name, f"a variant of {', '.join(known)}, which draws its sites: wbench show {known[0]}"
        )
    require(len(sites) == 1, "--picture", f"{len(sites)} sites", "one site, e.g. --site 3")
    picture = path.suffix.lower() in (".png", ".svg", ".pdf")
    require(picture, "--picture", str(path), "a file that ends in .png, .svg or .pdf")
    require_ours(path, (), "Give another --picture, or delete it.")
    family.draw(family, family.variant(name), sites[0], path)


def _family(family: Family) -> Description:
    rows = [[name, variant.split, str(variant.agents), str(variant.horizon)] for name, variant in family.variants.items()]
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
    return Description(data, text, ["variant", "split", "agents", "slots"], rows)


def _variant(family: Family, variant: Variant, sites: Sequence[int]) -> Description:
    """Its public description, and its scores at some sites: what is hidden there is told to people alone."""
    data: dict[str, Any] = {"name": variant.name, **asdict(variant)}  # type: ignore[call-overload]
    rows = [[key, str(value)] for key, value in data.items() if key != "name"]
    data["sites"] = {}
    for site in sites:
        hidden = {name: _plain(value) for name, value in family.hidden(variant, site).items()}
        frame = references(variant.name, site)
        data["sites"][text_of(site)] = {"hidden": hidden, "random": frame.random, "genie": frame.genie}
        rows += [[f"{text_of(site)}: {name}", _shown(value)] for name, value in family.hidden(variant, site).items()]
        rows += [[f"{text_of(site)}: return of {name}", f"{getattr(frame, name):.3f}"] for name in ("random", "genie")]
    return Description(data, variant.name, ["field", "value"], rows)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _shown(value: Any) -> str:
    """A number, or an array as the lines that a terminal has room for."""
    if not hasattr(value, "tolist"):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    import numpy as np

    return np.array2string(np.asarray(value), precision=2, suppress_small=True, threshold=200, max_line_width=110)


def describe_protocol(name: str) -> Description:
    """Describe a protocol; raises `UnknownNameError`."""
    found = protocol(name)
    data: dict[str, Any] = {"name": name, "hash": found.hash(), **found.contract()}
    rows = [
        ["variants", ", ".join(found.variants)],
        ["shots", ", ".join(map(str, found.shots))],
        ["sites", ", ".join(spans(found.sites))],
        ["query episodes a cell", str(found.episodes)],
        ["cells an agent", str(len(found.cells()))],
        ["support", f"logs of the {found.support}" if found.support != "site" else "logs of the site"],
        ["score", data["metric"]],
        ["hash", found.hash()],
    ]
    return Description(data, f"{data['version']} {name}", ["field", "value"], rows)


def _agent(name: str) -> Description:
    agent = make_agent(name)
    data: dict[str, Any] = {
        "name": name,
        "tracks": list(agent.tracks),
        "parameters": agent.parameters,
        "message_floats": agent.message_size,
        "privileged": agent.privileged,
        "checkpoint": agent.checkpoint_digest,
    }
    rows = [[key, ", ".join(value) if isinstance(value, list) else str(value)] for key, value in data.items()]
    if name in trainer_names():
        data |= (trained := _training(name))
        rows.append(["packaged checkpoints", ", ".join(trained["packaged"]) or "none"])
        rows.append(["presets", ", ".join(f"{preset} ({steps} steps)" for preset, steps in trained["presets"].items())])
        own = "the network's default"
        rows += [[f"--set {key}=", own if value is None else str(value)] for key, value in trained["settings"].items()]
    doc = next(iter((type(agent).__doc__ or "").strip().splitlines()), "")
    return Description(data, f"{name}: {doc}", ["field", "value"], rows)


def _training(name: str) -> dict[str, Any]:
    """How `wbench train` trains an agent: presets, and the settings of the last one; what is packaged."""
    trainer = get_trainer(name)
    names = trainer.preset_names
    return {
        "packaged": [checkpoint for checkpoint in trainer.network.shipped() if checkpoint.startswith(f"{name}-")],
        "presets": {preset: trainer.preset(preset).steps for preset in names},
        "settings": dict(described(trainer.preset(names[-1]), trainer.network)),
    }

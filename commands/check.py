"""The commands that judge a family or an agent before it is used: check, protocol admission."""

from __future__ import annotations

from typing import Annotated

import typer

from ..console import Json, OneFamily, answer, apart, progress
from ..errors import ConformanceError, InvalidValueError


def check(
    target: Annotated[
        str,
        typer.Argument(
            help="A family or variant; FILE.py[:ATTR] of a family or agent; MODULE:ATTR. Files run as your own code."
        ),
    ],
    episodes: Annotated[int, typer.Option(help="Episodes behind the references of each variant.")] = 32,
    checkpoint: Annotated[
        str | None, typer.Option(help="Of an agent: folder or Hub id. Left out: what its file names.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that a family keeps the contract, or that an agent's file acts on its own observation and inbox alone.

    The contract: shapes, seeds, actions, decentralised policies, references, data.
    """
    from dataclasses import asdict

    from ..benchmark.check import run as conformance
    from ..benchmark.protocol.spec import FAMILIES

    with apart():
        agent = conformance.agent_of(target, checkpoint)
    if checkpoint is not None and agent is None:
        raise InvalidValueError("--checkpoint", checkpoint, f"left out: {target} is no agent's file")
    with progress() as add, apart():
        if agent is not None:
            kind, name, advance = "agent", agent.name, add(f"check {agent.name}", len(FAMILIES), 0)
            findings = conformance.check_agent(agent, lambda _: advance(1))
        else:
            family, variants = conformance.find(target)
            kind, name, advance = "family", family.name, add(f"check {family.name}", len(conformance.CHECKS), 0)
            findings = conformance.check(family, episodes, variants, lambda _: advance(1))
    broken = [finding.check for finding in findings if not finding.passed]
    told = {kind: name, "passed": not broken, "findings": [asdict(found) for found in findings]}
    rows = [[f.check, "ok" if f.passed else "FAILED", f.found + (f" -> {f.advice}" if f.advice else "")] for f in findings]
    answer(as_json, told, ["check", "", "found"], rows)
    if broken:
        raise ConformanceError(f"{name}: {len(broken)} of {len(findings)} checks failed: {', '.join(broken)}")


def admission(
    family: OneFamily = None,
    variant: Annotated[list[str] | None, typer.Option(help="This variant only; may be repeated. Left out: all.")] = None,
    sites: Annotated[str, typer.Option(help="At these sites. Settings of the families were chosen on dev:0-49.")] = "dev:50-99",
    episodes: Annotated[int, typer.Option(help="Episodes of each site and policy.")] = 4,
    write: Annotated[
        bool, typer.Option("--write", help="Put the table into the package (for developers of a family).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure what the reference policies earn by reading logs, and whether each variant is admitted."""
    from ..benchmark.protocol import admission as table
    from ..benchmark.registry import get_family, get_variant, list_families
    from ..benchmark.site import parse_sites

    numbers = parse_sites(sites)
    if episodes < 1 or len(numbers) < 2:
        raise InvalidValueError("--episodes, --sites", f"{episodes}, {sites}", "1 or more episodes at 2 or more sites")
    chosen = [get_variant(name)[1] for name in variant or ()] or [
        one for name in ([family] if family else list_families()) for one in get_family(name).variants.values()
    ]
    found = {}
    with progress() as add:
        bar = add("columns", len(chosen) * len(table.COLUMNS), 0)
        for one in chosen:
            found[one.name] = table.measure(get_family(one.family), one, numbers, episodes, bar)
            if write:
                table.freeze({one.name: found[one.name]})
    told = {name: {c: row.score(c) for c in row.returns} | {"failures": row.failures()} for name, row in found.items()}
    shown = ("belief", *(f"estimator@{k}" for k in table.SHOTS), "oracle", "wrong@20", "revealed@20")
    rows = []
    for name, row in found.items():
        scores = ["{:.1f} +-{:.1f}".format(*row.score(column)) if column in row.returns else "-" for column in shown]
        rows.append([name, *scores, "; ".join(row.failures()) or "yes"])
    answer(as_json, told, ["variant", *shown, "admitted"], rows)

"""The commands that judge a family or an agent before it is used: check, protocol admission."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..console import Json, print_rows, progress
from ..errors import ConformanceError, InvalidValueError


def check(
    target: Annotated[
        str,
        typer.Argument(
            help="A family or variant; FILE.py[:ATTR] of a family or agent; MODULE:ATTR. Files run as your own code.",
            show_default=False,
        ),
    ],
    episodes: Annotated[int, typer.Option(help="Episodes behind the references of each variant.")] = 32,
    as_json: Json = False,
) -> None:
    """Check that a family keeps the contract: shapes, seeds, actions, decentralised policies, references, data.

    Of a file that builds an agent: whether it acts on its own observation and inbox alone.
    """
    from dataclasses import asdict

    from rich.markup import escape

    from ..benchmark.check import run as conformance
    from ..benchmark.protocol.spec import FAMILIES

    agent = conformance.agent_of(target)
    with progress() as add:
        if agent is not None:
            kind, name, advance = "agent", agent.name, add(f"check {agent.name}", len(FAMILIES), 0)
            findings = conformance.check_agent(agent, lambda _: advance(1))
        else:
            family, variants = conformance.find(target)
            kind, name, advance = "family", family.name, add(f"check {family.name}", len(conformance.CHECKS), 0)
            findings = conformance.check(family, episodes, variants, lambda _: advance(1))
    broken = [finding.check for finding in findings if not finding.passed]
    if as_json:
        print(json.dumps({kind: name, "passed": not broken, "findings": [asdict(found) for found in findings]}))
    else:
        said = [escape(f.found + (f" -> {f.advice}" if f.advice else "")) for f in findings]
        passed = ["ok" if finding.passed else "FAILED" for finding in findings]
        print_rows(["check", "", "found"], zip((finding.check for finding in findings), passed, said, strict=True))
    if broken:
        raise ConformanceError(f"{name}: {len(broken)} of {len(findings)} checks failed: {', '.join(broken)}")


def admission(
    family: Annotated[str | None, typer.Option(help="This family only. Left out: all of them.", show_default=False)] = None,
    episodes: Annotated[int, typer.Option(help="Episodes of each variant and policy.")] = 1000,
    write: Annotated[
        bool, typer.Option("--write", help="Freeze the references in the package (for developers of a family).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the reference policies that frame the scores of every variant, and whether each variant is admitted."""
    from dataclasses import asdict

    from ..benchmark.protocol import references
    from ..benchmark.registry import get_family, list_families

    if episodes < 2:
        raise InvalidValueError("--episodes", episodes, "2 or more")
    table = {}
    with progress() as add:
        for task in [get_family(name) for name in ([family] if family else list_families())]:
            advance = add(task.name, len(task.variants), 0)
            for name, variant in task.variants.items():
                table[name] = references.measure(task, variant, episodes)
                advance(1)
    if write:
        references.write(table)
    if as_json:
        print(json.dumps({name: {**asdict(row), "admitted": row.admitted()} for name, row in table.items()}))
        return
    rows = []
    for name, row in table.items():
        means = zip((row.random, row.greedy, row.heuristic, row.reference), row.errors, strict=True)
        shown = [f"{mean:.2f} ±{error:.2f}" for mean, error in means]
        rows.append([name, *shown, f"{row.score(row.heuristic):.1f}", "yes" if row.admitted() else "NO"])
    print_rows(["variant", "random", "greedy", "heuristic", "genie", "heuristic scores", "admitted"], rows)

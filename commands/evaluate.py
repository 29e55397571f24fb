"""The commands that score agents: eval, and the group `protocol` with show, hash and freeze."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import Device, Json, OnlyFamilies, apart, note, numbers, plain, progress, terminal
from ..errors import FailedCellsError

if TYPE_CHECKING:
    from ..leaderboard.result import Result

protocols = typer.Typer(help="What a protocol plays, and the hash over all that defines a score.")


Agent = Annotated[str, typer.Option(help="Who plays; see `wbench list`; or FILE.py[:ATTR], run as your own code.")]
Track = Annotated[str | None, typer.Option(help="offline, scratch or online; default: the agent's first.")]
Variants = Annotated[list[str] | None, typer.Option(help="These variants instead; may be repeated. Left out: the protocol's.")]
Shots = Annotated[str | None, typer.Option(help="Numbers of support episodes instead, e.g. 0,5. Left out: the protocol's.")]
Sites = Annotated[
    str | None, typer.Option(help="Sites instead: 0-4 of the held-out ones, dev:0-9, train:3. Left out: the protocol's.")
]
Support = Annotated[
    str, typer.Option(help="Whose logs agents adapt on: site, or a control: wrong (another site's), shifted (all random).")
]
Referee = Annotated[bool, typer.Option("--referee", help="Allow sealed sites; the result cannot be submitted.")]
Episodes = Annotated[int | None, typer.Option(help="Query episodes a cell instead. Left out: the protocol's.")]
Checkpoint = Annotated[str | None, typer.Option(help="Folder, Hub id or packaged name; default: the packaged one.")]
Against = Annotated[
    list[str] | None,
    typer.Option(help="Agents (NAME or NAME/TRACK) on the same episodes, or none; default: random,belief,estimator."),
]
Jobs = Annotated[int | None, typer.Option(help="Workers; default: 1 here, all free cores with Ray.")]
Executor = Annotated[str, typer.Option(help="local, or ray for a cluster. The numbers are the same.")]
Address = Annotated[str | None, typer.Option(help="Of a running Ray cluster, e.g. auto; default: start one here.")]
Out = Annotated[Path | None, typer.Option(help="Result file; an interrupted run goes on from its cells. Left out: none.")]


def evaluate(
    agent: Agent,
    track: Track = None,
    family: OnlyFamilies = None,
    variant: Variants = None,
    shots: Shots = None,
    sites: Sites = None,
    support: Support = "site",
    referee: Referee = False,
    episodes: Episodes = None,
    protocol: Annotated[str, typer.Option(help="quick, lite or full.")] = "quick",
    checkpoint: Checkpoint = None,
    against: Against = None,
    device: Device = "cpu",
    jobs: Jobs = None,
    executor: Executor = "local",
    address: Address = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Score an agent under the few-shot protocol, beside others on the same episodes."""
    from ..benchmark.processes import last_words
    from ..leaderboard.evaluate import evaluate as play

    kept = f"finished cells are beside {out}, and the same command goes on" if out else "with --out FILE it could go on"
    with apart(), last_words(plain(kept)):
        result = play(
            agent,
            protocol,
            family=family,
            variant=variant,
            shots=None if shots is None else numbers("--shots", shots),
            sites=sites,
            episodes=episodes,
            against=_rivals(against),
            jobs=jobs,
            executor=executor,
            out=out,
            track=track,
            checkpoint=checkpoint,
            device=device,
            address=address,
            support=support,
            referee=referee,
        )
    _print(result, as_json)
    _note_next(result, out, agent)
    _note_cores(executor, jobs)
    _require_all_played(result)


def _print(result: Result, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.document(), allow_nan=False))
    else:
        terminal().print(result)


def _rivals(against: list[str] | None) -> list[str] | None:
    """The rivals that the user named; None = the usual ones."""
    names = [name.strip() for name in ",".join(against or []).split(",")]
    return [name for name in names if name not in ("", "none")] if against else None


def _note_next(result: Result, out: Path | None, agent: str) -> None:
    """Say what was written and what to do with it, and which sites are no test of few-shot skill."""
    from ..benchmark.registry import typed
    from ..benchmark.site import range_of, spans
    from ..benchmark.user_code import is_file
    from ..leaderboard.summary import Grid

    grid = Grid.of(result.contract)
    if out:
        own = ";".join(typed(name) for name in grid.families() if typed(name) != name)
        file = shlex.quote(str(out))
        known = f"WBENCH_FAMILIES={shlex.quote(own)} " if own else ""
        after = "" if result.protocol in ("quick", "custom") else f", then wbench submit {file}"
        trusted = f" --trust --agent {shlex.quote(agent)}" if is_file(agent) else ""
        note(f"wrote {out}. Next: {known}wbench results verify {file}{trusted}{after}")
    if seen := [site for site in grid.sites if range_of(site) == "train"]:
        note(f"pretrained agents have learned from these sites: {', '.join(spans(seen))}")


def _note_cores(executor: str, jobs: int | None) -> None:
    """Tell whoever waits that it need not take so long."""
    cores = os.cpu_count() or 1
    if executor == "local" and jobs is None and cores > 1 and sys.stderr.isatty():
        note(f"played on one of {cores} cores; --jobs {cores} plays on all of them, the same numbers")


def _require_all_played(result: Result) -> None:
    """Raise `FailedCellsError` where an agent failed in a cell."""
    rows = [result, *result.comparison]
    failed = [(row.label, cell) for row in rows for cell in row.failed]
    if not failed:
        return
    label, first = failed[0]
    where = f"{label} on {first.cell}"
    raise FailedCellsError(
        f"{len(failed)} of {sum(len(row.cells) for row in rows)} cells failed and have no score, e.g. {where}: "
        f"{first.failure}. "
        "The others are kept; with --out, the same command plays the failed ones again."
    )


Size = Annotated[str, typer.Argument(help="quick, lite or full.")]


@protocols.command("show")
def show_protocol(name: Size, as_json: Json = False) -> None:
    """What a protocol plays: variants, sites, shots, and its hash."""
    from .show import describe_protocol, print_description

    print_description(describe_protocol(name), as_json)


@protocols.command("hash")
def hash_protocol(name: Size) -> None:
    """The hash of a protocol: scores under different hashes are never ranked together."""
    from ..benchmark.protocol.spec import protocol

    print(protocol(name).hash())


@protocols.command("freeze")
def freeze(
    family: OnlyFamilies = None,
) -> None:
    """Freeze references and support of the held-out sites: for those who change a family.

    They go into the package; of a family of your own, beside the file that it names, else into wbench's cache.
    """
    from ..benchmark.protocol import references
    from ..benchmark.protocol import support as manifest
    from ..benchmark.protocol.spec import FAMILIES
    from ..benchmark.registry import get_family

    variants = [(task, one) for task in map(get_family, family or FAMILIES) for one in task.variants.values()]
    with progress() as add:
        bar = add("sites", len(variants) * manifest.SITES, 0)
        for task, one in variants:
            frames, prints = {}, {}
            for site in manifest.held_out():
                frames[site], prints[site] = references.measure(task, one, site), manifest.measure(task, one, site)
                bar(1)
            references.freeze(one.name, frames)
            manifest.freeze(one.name, prints)
    note("references and support are frozen; protocol hashes have changed if the data has")

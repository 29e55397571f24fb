"""The commands that score agents: eval, and the group `protocol` with show, hash and freeze."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import Json, check_device, note, print_rows, progress
from ..errors import CheckpointError, FailedCellsError, InterruptedRunError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..benchmark.agent import Agent
    from ..benchmark.protocol.executor import Player, Task
    from ..benchmark.protocol.journal import Journal
    from ..benchmark.protocol.spec import Protocol
    from ..leaderboard.result import Run

protocols = typer.Typer(help="What a protocol plays, and the hash over all that defines a score.")
RIVALS = "random,heuristic,bc"


@dataclass(frozen=True)
class Entrant:
    """Somebody who plays: how to build it, and what it is once built."""

    player: Player
    agent: Agent

    @classmethod
    def of(cls, name: str, checkpoint: str | None, device: str, track: str | None) -> Entrant:
        """An agent that is built here first: its name, its track and its checkpoint are checked, its weights are noted."""
        from ..benchmark.protocol.executor import Player

        if checkpoint and "/" in checkpoint and Path(checkpoint).is_dir():
            checkpoint = str(Path(checkpoint).resolve())  # workers on a cluster start in a folder of their own
        player = Player(name, checkpoint, device, track)
        agent = player.build()
        found = agent.checkpoint_digest, agent.settings_digest
        return cls(replace(player, track=agent.track, weights=found), agent)

    def start(self) -> Run:
        """A run without cells."""
        from ..leaderboard.result import Run

        return Run.start(self.agent, self.player.checkpoint, self.player.device)


def evaluate(
    agent: Annotated[str, typer.Option(help="Who plays; see `wbench list`; or FILE.py[:ATTR], run as your own code.")],
    track: Annotated[str | None, typer.Option(help="offline, online or online-pretrained; default: the agent's first.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="These families only; may be repeated.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="These variants instead; may be repeated.")] = None,
    shots: Annotated[str | None, typer.Option(help="Numbers of support episodes instead, e.g. 0,5.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds instead.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Query episodes a cell instead.")] = None,
    protocol: Annotated[str, typer.Option(help="quick, lite or full.")] = "quick",
    checkpoint: Annotated[str | None, typer.Option(help="Folder, Hub id or packaged name; default: the packaged one.")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Agents (NAME or NAME/TRACK) on the same episodes, or none; default: random,heuristic,bc."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    jobs: Annotated[int | None, typer.Option(help="Workers; default: 1 here, all free cores with Ray.")] = None,
    executor: Annotated[str, typer.Option(help="local, or ray for a cluster. The numbers are the same.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, e.g. auto; default: start one here.")] = None,
    out: Annotated[Path | None, typer.Option(help="Result file; an interrupted run goes on from its cells.")] = None,
    as_json: Json = False,
) -> None:
    """Score an agent under the few-shot protocol, beside others on the same episodes."""
    from ..benchmark.protocol.executor import check_options
    from ..benchmark.protocol.journal import alone
    from ..benchmark.protocol.spec import protocol as get_protocol
    from ..leaderboard import result

    check_device(device)
    check_options(executor, jobs, address)
    chosen = get_protocol(
        protocol, families=family, variants=variant, shots=_numbers("--shots", shots), seeds=seeds, episodes=episodes
    )
    entrant = Entrant.of(agent, checkpoint, device, track)
    entrants = [entrant, *_rivals(entrant, chosen, against)]
    _require_knowledge(entrants, chosen)
    with alone(out):
        runs, others, journal = _resume(entrants, chosen, out)
        _note_seen(chosen)
        _note_cores(executor, jobs)
        runs = _play(entrants, runs, chosen, journal, executor, jobs, address)
        document = result.document(chosen, runs[0], [*runs[1:], *others])
        if out:
            result.save(out, document)
        if journal:
            journal.finish(entrant.agent for entrant in entrants)
    if as_json:
        print(json.dumps(document, allow_nan=False))
    else:
        _print_table(document)
    _require_all_played(runs, chosen)


def _note_seen(protocol: Protocol) -> None:
    """Say which variants are no test of few-shot skill."""
    from ..benchmark.registry import get_variant

    if seen := [name for name in protocol.variants if get_variant(name)[1].split == "train"]:
        note(f"train variants, which pretrained agents have learned from: {', '.join(seen)}")


def _note_cores(executor: str, jobs: int | None) -> None:
    """Tell whoever waits that it need not take so long."""
    cores = os.cpu_count() or 1
    if executor == "local" and jobs is None and cores > 1 and sys.stderr.isatty():
        note(f"on one of {cores} cores; --jobs {cores} plays on all of them, the same numbers")


def _rivals(ours: Entrant, protocol: Protocol, against: Sequence[str] | None) -> list[Entrant]:
    """Whom to play against; by default only those that were trained for all the families."""
    from ..benchmark.registry import get_family

    names = [name.strip() for name in ",".join(against or [RIVALS]).split(",")]
    parts = [name.partition("/") for name in dict.fromkeys(names) if name not in ("", "none")]
    found = [Entrant.of(name, None, ours.player.device, track or None) for name, _, track in parts]
    families = list(map(get_family, protocol.families()))
    rivals = {rival.agent.label: rival for rival in found if rival.agent.label != ours.agent.label}
    return [rival for rival in rivals.values() if against or all(map(rival.agent.knows, families))]


def _require_knowledge(entrants: Sequence[Entrant], protocol: Protocol) -> None:
    """Raise an error before anything is played if somebody was not trained on a family that is."""
    from ..benchmark.registry import get_family

    families = list(map(get_family, protocol.families()))
    for agent in (entrant.agent for entrant in entrants):
        if strange := [family.name for family in families if not agent.knows(family)]:
            known = [f"--family {family.name}" for family in families if agent.knows(family)]
            hint = f"Add {' '.join(known)}." if known else "Train it there, or play others."
            raise CheckpointError(f"{agent.label} was not trained on {' and '.join(strange)}. {hint}")


def _resume(entrants: Sequence[Entrant], protocol: Protocol, out: Path | None) -> tuple[list[Run], list[Run], Journal | None]:
    """What was played before: runs of the entrants, runs of others in the result file, and the journal of this run."""
    from ..benchmark.protocol.journal import Journal
    from ..leaderboard import result

    runs = [entrant.start() for entrant in entrants]
    if out is None:
        return runs, [], None
    first, earlier = result.load(out, protocol, runs[0])
    journal = Journal(out.with_name(out.name + ".cells.jsonl"), protocol)
    for place, entrant in enumerate(entrants):
        run = next((known for known in (first, *earlier) if known.same_agent(runs[place])), runs[place])
        for cell in journal.cells(entrant.agent).values():
            run = run.add(cell)
        runs[place] = run
    return runs, [run for run in earlier if not any(map(run.same_agent, runs))], journal


def _play(
    entrants: Sequence[Entrant],
    runs: Sequence[Run],
    protocol: Protocol,
    journal: Journal | None,
    executor: str,
    jobs: int | None,
    address: str | None,
) -> list[Run]:
    """Play the cells that have no score yet; each is in the journal before the next one is waited for."""
    from ..benchmark.protocol.executor import Task, play_all

    by_player = {entrant.player: (entrant.agent, run) for entrant, run in zip(entrants, runs, strict=True)}
    tasks = [
        Task(player, cell, protocol.episodes)
        for player, (_, run) in by_player.items()
        for cell in protocol.cells()
        if cell not in run.cells or run.cells[cell].failure
    ]
    with _bars(entrants, tasks, protocol) as (on_slot, on_cell), redirect_stdout(sys.stderr):
        try:  # whatever an agent prints is no part of what a script reads
            for task, found in play_all(tasks, executor, jobs, address, on_slot):
                agent, run = by_player[task.player]
                by_player[task.player] = agent, run.add(found)
                if journal:
                    journal.add(agent, found)
                on_cell(task)
        except KeyboardInterrupt:
            count = f"{sum(len(run.cells) for _, run in by_player.values())} of {len(runs) * len(protocol.cells())} cells"
            kept = f"{count} are in {journal.path}; the same command goes on" if journal else "to resume, add --out FILE"
            raise InterruptedRunError(f"interrupted; {kept}.") from None
    return [run for _, run in by_player.values()]


@contextmanager
def _bars(
    entrants: Sequence[Entrant], tasks: Sequence[Task], protocol: Protocol
) -> Iterator[tuple[Callable[[Task], None], Callable[[Task], None]]]:
    """A bar an entrant, in slots: one function to call after a slot, one after a cell, which may have been played elsewhere."""
    from ..benchmark.registry import get_variant

    horizons = {name: get_variant(name)[1].horizon for name in protocol.variants}
    total = sum(horizons[cell.variant] for cell in protocol.cells())
    shown: dict[Task, int] = {}
    with progress() as add:
        bars = {}
        for entrant in entrants:
            left = sum(horizons[task.cell.variant] for task in tasks if task.player == entrant.player)
            bars[entrant.player] = add(entrant.agent.label, total, total - left)

        def on_slot(task: Task) -> None:
            shown[task] = shown.get(task, 0) + 1
            bars[task.player](1)

        def on_cell(task: Task) -> None:
            bars[task.player](horizons[task.cell.variant] - shown.pop(task, 0))

        yield on_slot, on_cell


def _require_all_played(runs: Sequence[Run], protocol: Protocol) -> None:
    """Raise `FailedCellsError` where an agent failed in a cell."""
    failed = [(run.agent, found) for run in runs for found in run.cells.values() if found.failure]
    if not failed:
        return
    label, first = failed[0]
    where = f"{label} on {first.cell.variant}, {first.cell.shots} shots, seed {first.cell.seed}"
    raise FailedCellsError(
        f"{len(failed)} of {len(runs) * len(protocol.cells())} cells failed and have no score, e.g. {where}: {first.failure}. "
        "The others are kept; with --out, the same command plays the failed ones again."
    )


def _numbers(option: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InvalidValueError(option, text, "whole numbers with commas, e.g. 0,5") from None


def _print_table(document: Mapping[str, Any]) -> None:
    from rich.console import Console

    from ..leaderboard.tables import render

    Console(width=None if sys.stdout.isatty() else 160).print(render(document))


Size = Annotated[str, typer.Argument(help="quick, lite or full.")]


@protocols.command("show")
def show_protocol(name: Size, as_json: Json = False) -> None:
    """What a protocol plays: variants, shots, seeds, budgets, and its hash."""
    from .show import describe_protocol

    found = describe_protocol(name)
    if as_json:
        print(json.dumps(found.data))
    else:
        print(found.text)
        print_rows(found.header, found.rows)


@protocols.command("hash")
def hash_protocol(name: Size) -> None:
    """The hash of a protocol: scores under different hashes are never ranked together."""
    from ..benchmark.protocol.spec import protocol

    print(protocol(name).hash())


@protocols.command("freeze")
def freeze_support(
    family: Annotated[list[str] | None, typer.Option(help="These families only; may be repeated.")] = None,
) -> None:
    """Record the support episodes of held-out variants and freeze their digests in the package: for who changes a family."""
    from ..benchmark.protocol import support as support_manifest
    from ..benchmark.protocol.spec import FAMILIES
    from ..benchmark.registry import get_family

    variants = [(task, held) for task in map(get_family, family or FAMILIES) for held in task.select("held-out")]
    with progress() as add:
        advance = add("support", len(variants) * support_manifest.DRAWS, 0)
        for task, held in variants:
            rows = []
            for row in support_manifest.measure(task, held):
                rows.append(row)
                advance(1)
            support_manifest.freeze({held.name: rows})
    note("the support manifest is frozen; protocol hashes have changed if the data has")

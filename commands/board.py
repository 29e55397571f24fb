"""The commands about results: the group `results`; submit and leaderboard are for the top level too."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import Device, Json, note, print_rows, progress, terminal
from ..errors import InvalidValueError, ResultError, VerificationError

if TYPE_CHECKING:
    from ..leaderboard.verification.verify import Verification

app = typer.Typer(help="Result files: submit, verify, compare, export and rank them.")

Store = Annotated[Path | None, typer.Option(help="Folder of results; default: leaderboard/results of the checkout you are in.")]
ResultFile = Annotated[Path, typer.Argument(help="A result file of wbench eval.")]


@app.command()
def submit(
    file: ResultFile,
    store: Store = None,
    namespace: Annotated[
        str | None, typer.Option(help="Of the Hub: open a pull request on NAMESPACE/wbench-results. Left out: none.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate, and only say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Validate a result and add it to a store: one more immutable file, or a pull request on the Hub."""
    from ..leaderboard import store as stores

    submission = stores.Submission.read(file)
    if namespace is not None:
        if store is not None:
            raise InvalidValueError("--store", str(store), "left out where --namespace is given: a folder or the Hub, not both")
        done = stores.propose(submission, namespace, dry_run)
    else:
        folder = _store(store, stores.default_store())
        done = stores.submit(submission, folder, dry_run, _same(folder, submission.played))
    if as_json:
        print(json.dumps(asdict(done)))
        return
    said = {"added": "added", "known": "this very play is there already", "dry run": "valid; nothing done (dry run)"}
    print(f"{done.where}/{done.name}: {said[done.status]}" + (f", {done.url}" if done.url else ""))


@app.command()
def verify(
    file: ResultFile,
    tier: Annotated[
        str | None,
        typer.Option(help="How deep: reported, arithmetic or rerun; default: rerun with --trust or --agent, else arithmetic."),
    ] = None,
    cells: Annotated[int, typer.Option(help="How many cells to play again; --record takes 6 or more.")] = 6,
    seed: Annotated[int | None, typer.Option(help="Draws the same cells as before; default: a fresh sample.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="Points a score may be off, 0.5 at most with --record; default: the same episodes.")
    ] = 0.0,
    trust: Annotated[
        bool, typer.Option("--trust", help="May run code of plug-ins and --agent, and fetch checkpoints from the Hub.")
    ] = False,
    agent: Annotated[
        str | None, typer.Option(help="FILE.py[:ATTR] of an agent in no package: the file that was played. Left out: none.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Folder of the weights. Left out: what the result names.")] = None,
    device: Device = "cpu",
    record: Annotated[bool, typer.Option("--record", help="Note a rerun that holds beside the file, for the board.")] = False,
    as_json: Json = False,
) -> None:
    """Check a result in three depths, down to playing some of its episodes again. Exit code 1 where it does not hold."""
    from ..benchmark.processes import check_device
    from ..leaderboard.verification import verify as library
    from ..leaderboard.verification.rerun import Plan

    check_device(device)
    tier = tier or ("rerun" if trust or agent else "arithmetic")
    if record and tier == "rerun":
        library.require_recordable(cells, tolerance)
    with ExitStack() as shown:  # no bar before it is known that something may be played

        def bar(total: int) -> Callable[[], None]:
            return partial(shown.enter_context(progress())("playing again", total, 0), 1)

        found = library.verify(file, tier, Plan(cells, seed, trust, checkpoint, agent, tolerance, device, bar))
    if record and found.holds:
        note(f"recorded in {library.record(file, found)}")
    if as_json:
        print(json.dumps(asdict(found) | {"holds": found.holds}))
    else:
        _print_verification(found)
    if not found.holds:
        more = f" And {len(found.problems) - 1} more." if len(found.problems) > 1 else ""
        raise VerificationError(f"{found.file} does not hold when {_DEEPER[found.tier]}: {found.problems[0]}.{more}")


_DEEPER = {"reported": "its arithmetic is checked", "arithmetic": "rerun"}


def _print_verification(found: Verification) -> None:
    from ..leaderboard.tables import TIER_NAMES

    said = f"holds as {TIER_NAMES[found.tier]}" if found.holds else f"does not hold when {_DEEPER[found.tier]}"
    print(f"{found.file}: {said}")
    for problem in found.problems:
        print(f"  {problem}")
    if found.replayed:
        from ..benchmark.site import place

        rows = [
            [v.variant, place(v.site), f"{v.shots}", *map(_points, (v.score, v.score_again)), f"{v.same_episodes}/{v.episodes}"]
            for v in found.replayed
        ]
        print_rows(["variant", "site", "shots", "score", "played again", "same episodes"], rows)
        close = f"scores within {found.tolerance:g} points" if found.tolerance else "every episode the same"
        print(f"{len(found.replayed)} of {found.cells} cells, asked for: {close}. The same cells again: --seed {found.seed}")


def _points(score: float | None) -> str:
    return "failed" if score is None else f"{score:.2f}"


@app.command("board")
def leaderboard(
    store: Store = None,
    protocol: Annotated[
        str | None, typer.Option(help="quick, lite, full or custom; default: lite, and all with --html.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="Rank by this family only. Left out: by all.")] = None,
    shots: Annotated[int | None, typer.Option(help="Rank at this number of shots; default: 5, or the most played.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the board as a page into this folder. Left out: it is printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rank the results of a store, with intervals and ties; rows of different protocol hashes are never ranked together."""
    from ..leaderboard import board as library
    from ..leaderboard.index.index import Index
    from ..leaderboard.page import render as page
    from ..leaderboard.store import SHIPPED, default_store
    from ..leaderboard.tables import ALL, of_boards

    wanted, folder = protocol or (None if html else "lite"), _store(store, default_store() or SHIPPED)
    with Index(folder, note) as index:
        entries = library.load(folder, wanted, note, index)
        library.check_selection(entries, family, shots)
        if html:
            written = str(page.write(library.ranked(entries, index=index), html))
            print(json.dumps({"page": written}) if as_json else written)
            return
        k, part = library.headline(entries) if shots is None else shots, family or ALL
        entries = library.order(library.ranked(entries, (part,), (k,), index), k, part)
    if as_json:
        rows = [asdict(library.standing(entry, k, part)) for entry in entries]
        print(json.dumps({"shots": k, "family": part, "rows": rows}))
    else:
        boards = [[library.standing(entry, k, part) for entry in group] for group in library.by_protocol(entries)]
        console = terminal()
        console.print(of_boards(boards, k, part, console.width))


@app.command()
def compare(
    a: ResultFile,
    b: ResultFile,
    shots: Annotated[int | None, typer.Option(help="At this number of shots only. Left out: at each.")] = None,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit code 1 where A is below B and the interval excludes 0.")
    ] = False,
    as_json: Json = False,
) -> None:
    """By how much A is ahead of B, paired on the same episodes, with intervals; over everything and by family."""
    from ..benchmark.protocol.statistics import MIN_SITES
    from ..leaderboard import compare as library
    from ..leaderboard.reading import load_result
    from ..leaderboard.tables import ALL

    ours, theirs = load_result(a), load_result(b)
    leads = library.compare(ours, theirs, shots)
    if as_json:
        told = [asdict(lead) | {"verdict": lead.verdict} for lead in leads]
        print(json.dumps({"a": ours.label, "b": theirs.label, "leads": told}))
    else:
        header = ["shots", "over", ours.label, theirs.label, "difference", "P(better run)", "episodes ahead", "so it is"]
        rows = [
            [
                str(lead.shots),
                lead.family,
                f"{lead.ours:.1f}",
                f"{lead.theirs:.1f}",
                f"{lead.difference:+.1f}",
                f"{lead.improvement:.2f}",
                f"{100 * lead.episodes_ahead:.0f} % of {lead.episodes}",
                lead.verdict,
            ]
            for lead in leads
        ]
        print_rows(header, rows)
    left_out = [k for k in ours.contract["shots"] if k not in {lead.shots for lead in leads}] if shots is None else []
    if left_out:
        where = f"cells are missing at {', '.join(map(str, left_out))} shots"
        if fail_if_worse:
            raise ResultError(f"{where}, so nothing can be said there. Finish the runs, or give --shots.")
        note(f"left out: {where}")
    if any(lead.verdict == "undecided" for lead in leads):
        fewer = f"fewer than {MIN_SITES} sites give no interval, so nothing is decided"
        if fail_if_worse:
            raise ResultError(f"{fewer}. Play both at {MIN_SITES} sites or more, e.g. --sites 0-4.")
        note(fewer)
    worse = [str(lead.shots) for lead in leads if lead.family == ALL and lead.verdict == "worse"]
    if fail_if_worse and worse:
        raise VerificationError(f"{ours.label} is worse than {theirs.label} at {', '.join(worse)} shots.")


@app.command()
def export(
    files: Annotated[list[Path], typer.Argument(help="Result files; eval-results and model-index take one.")],
    form: Annotated[str, typer.Option("--format", help="eval-results, model-index, csv or latex.")],
    namespace: Annotated[
        str | None, typer.Option(help="Of the datasets on the Hub, for eval-results. Left out: none is named.")
    ] = None,
) -> None:
    """Print results in another format: the Hub's .eval_results YAML, a model card's model-index, CSV, a LaTeX table."""
    from ..leaderboard.export import export as convert
    from ..leaderboard.reading import load_result
    from ..leaderboard.verification.verify import arithmetic_holds

    results = [load_result(path) for path in files]
    for path, result in zip(files, results, strict=True):
        if not arithmetic_holds(result):
            raise ResultError(
                f"{path}: its numbers do not follow from its episodes. See: wbench results verify {shlex.quote(str(path))}"
            )
    print(convert(results, form, namespace), end="")


def _same(store: Path, played: str) -> str | None:
    """The file of a store that holds the very same play, if there is one."""
    from ..leaderboard.index.index import Index

    if not store.is_dir():
        return None
    with Index(store) as index:
        return index.same(played)


def _store(given: Path | None, default: Path | None) -> Path:
    found = given or default
    if found is None:
        raise InvalidValueError(
            "--store", None, "a folder, since you are in no checkout with leaderboard/results; or give --namespace for the Hub"
        )
    return found

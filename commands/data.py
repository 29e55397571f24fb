"""The commands about data: the group `data`; download and doctor are for the top level too."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import Json, OneFamily, answer, note, print_rows, progress
from ..errors import DataError, InvalidValueError, WbenchError, require

if TYPE_CHECKING:
    from ..benchmark.data.cache import Cache
    from ..benchmark.data.download import Report
    from ..benchmark.data.publish import Published
    from ..benchmark.data.release import Release, Shard
    from ..benchmark.family import Family

app = typer.Typer(help="The offline datasets: get, record, verify, list and publish them.")

SizeName = Annotated[str, typer.Option("--release", help="Which release: mini or standard.")]
Families = Annotated[list[str] | None, typer.Argument(help="Names of families. Left out: all of them.")]
To = Annotated[Path | None, typer.Option(help="The folder of the datasets. Left out: the cache of wbench (WBENCH_HOME).")]
Namespace = Annotated[str, typer.Option(help="The user or organisation of the Hub that it is published under.")]
Private = Annotated[bool, typer.Option("--private", help="Make the repository private if it is new.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done; nothing is written or sent.")]


def _families(names: list[str] | None) -> list[Family]:
    from ..benchmark.registry import all_families, get_family

    return [get_family(name) for name in dict.fromkeys(names)] if names else all_families()


@app.command()
def build(
    release: SizeName = "mini",
    family: OneFamily = None,
    jobs: Annotated[int, typer.Option(help="How many processes record.")] = 1,
    to: To = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Record into a scratch folder and freeze the manifest in the package (for developers)."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Record the datasets from their seeds. Files that are here and verified are kept, so the same command resumes."""
    from ..benchmark.data.cache import Cache
    from ..benchmark.data.manifest import NAME, Manifest, freeze
    from ..benchmark.data.release import contents, dataset_folder, get_release

    require(1 <= jobs <= 256, "--jobs", jobs, "in [1, 256]")
    size, reports = get_release(release), []
    for task in _families([family] if family else None):
        wanted = contents(task, size)
        if write:
            with tempfile.TemporaryDirectory() as folder:
                _obtain(Cache(task, size, Path(folder), pinned=False), wanted, "recording", card=False, jobs=jobs)
                print(freeze(Manifest.read(dataset_folder(task, size, Path(folder)) / NAME), size.id))
            continue
        reports.append(_obtain(Cache(task, size, to), wanted, "recording", jobs=jobs))
    _print_reports(reports, as_json)


@app.command()
def download(
    families: Families = None,
    release: Annotated[str | None, typer.Option(help="Which release: mini or standard. Left out: mini.")] = None,
    revision: Annotated[
        str | None, typer.Option(help="A tag or commit of the Hub repository. Left out: the tag of the release.")
    ] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option(
            help="These files only: random, medium, expert, mixed, support, held-out; may be repeated. Left out: all."
        ),
    ] = None,
    variant: Annotated[list[str] | None, typer.Option(help="These variants only; may be repeated. Left out: all.")] = None,
    to: To = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="A folder or URL with dataset folders, asked before anything is recorded. Left out: none."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="The user or organisation of the Hub. Left out: WBENCH_NAMESPACE, if set.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Get datasets and verify them. Sources, in order: the cache, the Hub, a folder or URL, the simulators here.

    The same command resumes.
    """
    from ..benchmark.data.cache import Cache
    from ..benchmark.data.download import mirrors_for
    from ..benchmark.data.release import select

    size, reports = _release(release, revision), []
    variants = variant or []
    for task in _families(families or sorted({name.partition("/")[0] for name in variants if "/" in name}) or None):
        own = [name for name in variants if "/" not in name or name.startswith(f"{task.name}/")]
        require(bool(not variants or own), "--variant", variants, f"of the family {task.name} too, or name fewer families")
        wanted = select(task, size, own, quality)
        mirrors = mirrors_for(task, size, source=source, namespace=namespace, revision=revision)
        reports.append(_obtain(Cache(task, size, to), wanted, "getting", card=not dry_run, mirrors=mirrors, dry_run=dry_run))
    _print_reports(reports, as_json)


def _release(name: str | None, revision: str | None) -> Release:
    """The release that --release and --revision name together."""
    from ..benchmark.data.release import get_release, release_of_tag

    tagged = release_of_tag(revision) if revision else None
    if tagged and name and tagged.name != name:
        raise InvalidValueError("--revision", revision, f"a tag of release {name}, such as {get_release(name).tag}")
    return tagged or get_release(name or "mini")


def _obtain(cache: Cache, wanted: Sequence[Shard], verb: str, *, card: bool = True, **options: Any) -> Report:
    """Run the library's `obtain` with a progress bar, then write the folder's card."""
    from ..benchmark.data.download import obtain
    from ..benchmark.data.paths import writable

    with progress() as add:
        advance = add(f"{verb} {cache.family.name} {cache.release.name}", len(wanted), 0)
        report = obtain(cache, wanted, on_file=lambda _: advance(1), note=note, **options)
    if card and writable(report.folder):  # of a share that may only be read the card is its owner's
        _write_card(cache)
    return report


def _write_card(cache: Cache) -> None:
    """The card of what is here; needs a manifest, from this wbench, a mirror or a complete build."""
    from ..benchmark.data.paths import writing
    from ..cards.dataset_card import write_dataset_card

    manifest = cache.local or cache.pinned
    if manifest:
        with writing(cache.folder):
            write_dataset_card(cache.folder, cache.family, cache.release, manifest)


def _print_reports(reports: list[Report], as_json: bool) -> None:
    if as_json:
        told = [asdict(report) | {"bytes": sum(file.bytes for file in report.files)} for report in reports]
        print(json.dumps({"datasets": told}, default=str))
        return
    for report in reports:
        kinds: dict[tuple[str, str, str], list[int]] = {}
        for file in report.files:
            kinds.setdefault((file.source, file.revision or "", file.verified), []).append(file.bytes)
        print(f"{report.folder}")
        for (source, revision, verified), sizes in kinds.items():
            at = f" at {revision}" if revision else ""
            size = f"{sum(sizes) / 1e6:.1f} MB" if all(sizes) else "of a size that is known once they are recorded"
            print(f"  {len(sizes)} files, {size}, from {source}{at}; verified: {_VERIFIED[verified]}")


_VERIFIED = {
    "sha256": "SHA-256 of the release",
    "numbers": "the release's numbers, in other bytes (recorded on another platform)",
    "unpinned": "no; they are what their source says, and no published manifest is known to compare with",
    "recorded": "recorded here; no published manifest is known to compare with",
    "no": "no (dry run)",
}


@app.command("verify")
def verify_data(families: Families = None, release: SizeName = "mini", to: To = None, as_json: Json = False) -> None:
    """Read every data file that is here and compare it with the manifest of the release. Nothing is changed."""
    from ..benchmark.data.cache import verify
    from ..benchmark.data.release import contents, dataset_folder, get_release

    size = get_release(release)
    tasks = _families(families)
    if not families:
        tasks = [task for task in tasks if dataset_folder(task, size, to).is_dir()] or tasks
    verdicts = []
    for task in tasks:
        with progress() as add:
            advance = add(f"verifying {task.name} {size.name}", len(contents(task, size)), 0)
            verdicts.append(verify(task, size, to, lambda _: advance(1)))  # noqa: B023
    if as_json:
        told = [asdict(verdict) | {"worst": verdict.worst} for verdict in verdicts]
        print(json.dumps({"datasets": told}, default=str))
    for verdict in () if as_json else verdicts:
        kinds = ("same bytes", "same numbers", "unpublished", "different", "missing")
        counts = ", ".join(f"{verdict.count(kind)} {kind}" for kind in kinds if verdict.count(kind))
        print(f"{verdict.folder}\n  {counts}")
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    if problems:
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        bad = " ".join(task.name for task, verdict in zip(tasks, verdicts, strict=True) if verdict.problems)
        where = f" --to {shlex.quote(str(to))}" if to else ""
        raise DataError(f"{problems[0]} Repair with: wbench download {bad} --release {size.name}{where}.{more}")


@app.command("list")
def print_datasets(as_json: Json = False) -> None:
    """Show every release of every family, its size, and what of it is here."""
    from ..benchmark.data.store import list_datasets

    rows = list_datasets()
    if as_json:
        print(json.dumps({"datasets": rows}))
        return
    header = ["family", "release", "version", "files", "agent transitions", "here", "MB here", "manifest"]
    shown = [
        [
            *(str(row[name]) for name in ("family", "release", "version", "files")),
            f"{row['agent_transitions']:,}",
            f"{row['here']} files",
            f"{int(row['bytes']) / 1e6:.1f}",
            "in the package" if row["manifest"] else "of the mirror or build",
        ]
        for row in rows
    ]
    print_rows(header, shown)
    for row in rows:  # below the table, which would cut them
        print(row["folder"])


def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, threads, cache, disk, mirrors, packaged checkpoints."""
    from .doctor import examine

    found = examine()
    ill = [symptom for symptom in found if not symptom.healthy]
    told = {"healthy": not ill, "findings": [asdict(symptom) for symptom in found]}
    answer(as_json, told, ["what", "found", ""], [[s.what, s.found, "ok" if s.healthy else "NOT OK"] for s in found])
    if ill:
        raise WbenchError(f"{len(ill)} of {len(found)} checks failed: {', '.join(symptom.what for symptom in ill)}")


@app.command()
def card(families: Families = None, release: SizeName = "mini", to: To = None) -> None:
    """Write the dataset card (README.md) of what is here, and print where it is."""
    from ..benchmark.data.cache import Cache
    from ..benchmark.data.release import dataset_folder, get_release

    size = get_release(release)
    for task in _families(families):
        folder = dataset_folder(task, size, to)
        if not folder.is_dir():
            raise DataError(f"nothing of {release} of {task.name} is in {folder}. Get it with: wbench download {task.name}")
        _write_card(Cache(task, size, to))
        print(folder / "README.md")


@app.command("publish")
def publish_datasets(
    namespace: Namespace,
    release: SizeName = "mini",
    family: OneFamily = None,
    version: Annotated[str | None, typer.Option(help="Refused unless it is the release's version. Left out: that one.")] = None,
    to: To = None,
    private: Private = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Publish a release that is here and complete as NAMESPACE/wbench-FAMILY: one commit, then a tag that never moves."""
    from ..benchmark.data.publish import publish_dataset
    from ..benchmark.data.release import get_release
    from ..cards.dataset_card import render

    size = get_release(release)
    require(version in (None, size.version), "--version", version, f"{size.version}, the version of {release} in this wbench")
    done = []
    for task in _families([family] if family else None):
        card = partial(render, task, size)
        done.append(publish_dataset(task, size, namespace, card, root=to, private=private, dry_run=dry_run))
    print_published(done, as_json)


def print_published(done: list[Published], as_json: bool) -> None:
    """What was published, or would be."""
    if as_json:
        print(json.dumps({"published": [asdict(one) | {"bytes": sum(one.files.values())} for one in done]}))
        return
    for one in done:
        size = f"{len(one.files)} files, {sum(one.files.values()) / 1e6:.1f} MB"
        print(f"{one.repo} at tag {one.tag}: {size}, " + (f"commit {one.commit}" if one.commit else "nothing done (dry run)"))

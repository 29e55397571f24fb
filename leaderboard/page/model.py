"""What the page shows, as plain data: every number is computed here, and the page's scripts only give it a place.

The model is small, since ten thousand rows of it travel inside one file: a list of protocols, each with its rows. Whatever
depends on the family is keyed by its name, or `ALL`; whatever depends on the shots is a list in the protocol's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...benchmark.protocol.statistics import Interval, profile
from ...benchmark.site import place
from .. import board
from ..index.entry import CONTROLS, Entry
from ..index.line import Line, rounded
from ..names import link
from ..provenance import UNREGISTERED
from ..summary import Grid
from ..tables import ALL
from ..verification.verify import TIERS

THRESHOLDS = tuple(x / 2 for x in range(-40, 245, 5))  # of the performance profiles
PROFILED = 100  # rows of a protocol that have profiles and gains by family, a bootstrap each, and their scores site by site
SHOWN = 1  # digits of a score; the scripts show as many, so that a number is rounded once, as the terminal's table is
WIDEST = (-50, 130)  # of the small bars; what lies beyond is drawn at the edge
_TOLD = ("agent", "trainings", "tier", "file", "command", "unranked", "parameters", "environment_steps", "privileged_training")
_SIZES = {"full": 0, "lite": 1, "quick": 3}  # the order of protocols; `custom` comes between


def model(entries: Iterable[Entry]) -> dict[str, Any]:
    """The view-model of all entries: `{"protocols": [...]}`, one for each protocol hash; rows best first."""
    found = [_protocol(group) for group in board.by_protocol(entries)]
    return {"protocols": sorted(found, key=lambda p: (_SIZES.get(p["name"], 2), -len(p["rows"]), p["hash"]))}


def _protocol(entries: Sequence[Entry]) -> dict[str, Any]:
    """One board: rows of one protocol hash, and what they have in common."""
    result = entries[0].line
    grid = entries[0].grid
    headline = board.headline(entries)
    ordered = board.order(entries, headline)
    rows = [_row(entry, grid, headline) for entry in ordered]
    for row, entry in zip(rows[:PROFILED], ordered, strict=False):
        row["profiles"] = _profiles(entry, grid)
        row["strip"] = _strip(entry, grid)
        row["gains"] |= {family: [_ends(entry.gain(k, family)) for k in grid.shots] for family in grid.families()}
    return {
        "name": result.protocol,
        "version": result.contract.get("version", ""),
        "hash": result.protocol_hash,
        "shots": grid.shots,
        "headline": headline,
        "ranked": any(entry.ranks for entry in entries),
        "sites": [place(site) for site in grid.sites],
        "tracks": sorted({row["track"] for row in rows}),
        "controls": [logs for logs in CONTROLS if any(logs in row.get("controls", ()) for row in rows)],
        "episodes": result.contract["episodes"],
        "families": grid.families(),
        "variants": grid.variants,
        "domain": _domain(rows),
        "thresholds": THRESHOLDS,
        "profiled": PROFILED,
        "fronts": {family: [_front(rows, family, k) for k in range(len(grid.shots))] for family in grid.families()},
        "rows": rows,
    }


def _domain(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Ends of the scale of the small bars: 0 and 100, further where scores are."""
    scores = [score for row in rows for scope in row["scores"].values() for score in scope if score]
    found = [end for score in scores for end in score if end is not None]
    return max(WIDEST[0], min([0, *found])), min(WIDEST[1], max([100, *found]))


def _row(entry: Entry, grid: Grid, headline: int) -> dict[str, Any]:
    result, told = entry.line, board.standing(entry, headline)
    summaries = list(entry.summaries.values())
    scopes = [ALL, *grid.families()]
    return {
        **{name: getattr(told, name) for name in _TOLD},
        "track": result.track,
        "checkpoint": result.checkpoint,
        "complete": result.complete,
        "cells": grid.cells,
        "missing": grid.cells - result.cells + result.failed,
        "failures": _failures(result),
        "privileged": result.privileged,
        "latency": None if told.latency is None else rounded(1000 * told.latency),
        "bits": rounded(told.message_bits),
        "ranks": {scope: [entry.rank(k, scope) for k in grid.shots] for scope in scopes},
        "scores": {scope: [_ends(entry.estimate(k, scope)) for k in grid.shots] for scope in scopes},
        "gains": {ALL: [_ends(entry.gain(k)) for k in grid.shots]},
        "variants": [[s and round(s.variants[name].iqm, SHOWN) for s in summaries] for name in grid.variants],
        "samples": list(result.samples),
        "qos": {name: [pair and list(pair) for pair in pairs] for name, pairs in result.delivery.items()},
        "facts": _facts(result) | ({"Rerun": str(entry.record)} if entry.record else {}),
        "ledger": asdict(result.ledger),
        "versions": result.versions,
        **({"controls": {logs: _control(entry, logs, grid) for logs in entry.controls}} if entry.controls else {}),
    }


def _control(entry: Entry, logs: str, grid: Grid) -> dict[str, Any]:
    """A row's scores with other logs by scope, and what these logs added to no logs, by number of shots."""
    control, found = entry.controls[logs], [entry.control(logs, k) for k in grid.shots]
    return {
        "files": [one.file for one in control.trainings],
        "tier": min((one.tier for one in control.trainings), key=TIERS.index),
        "scores": {scope: [_ends(control.estimate(k, scope)) for k in grid.shots] for scope in (ALL, *grid.families())},
        "gains": [one and _ends(one.gain) for one in found],
    }


def _ends(found: Interval | None) -> list[float | None] | None:
    """`[iqm, low, high]`, the ends None where there are too few sites; None where cells are missing."""
    if found is None:
        return None
    return [None if end is None else round(end, SHOWN) for end in (found.iqm, found.ci_low, found.ci_high)]


def _profiles(entry: Entry, grid: Grid) -> dict[str, Any]:
    """By scope and shots: `[fraction, low, high]`, lists over `THRESHOLDS`; None where cells are missing.

    A cell of several trainings counts by its mean over them.
    """

    def at(family: str, shots: int) -> list[list[float] | None] | None:
        table = entry.table(shots, family)
        if table is None:
            return None
        found = profile(table.mean(0), THRESHOLDS)
        return [None if ends is None else [round(x, 2) for x in ends] for ends in (found.fraction, found.ci_low, found.ci_high)]

    return {scope: [at(scope, k) for k in grid.shots] for scope in (ALL, *grid.families())}


def _strip(entry: Entry, grid: Grid) -> list[list[list[float]] | None]:
    """By shots: scores [variant][site], means over trainings; None where cells are missing."""
    tables = [None if (table := entry.table(k)) is None else table.mean(0).tolist() for k in grid.shots]
    return [table and [[round(score, SHOWN) for score in line] for line in table] for table in tables]


def _front(rows: Sequence[Mapping[str, Any]], family: str, k: int) -> list[int]:
    """Numbers of the rows that no other beats in both delay and energy, by growing energy.

    References see too much to count, and rows that do not hold may say anything.
    """
    counted = (n for n, row in enumerate(rows) if not row["privileged"] and row["tier"] != "reported")
    known = ((rows[number]["qos"][family][k], number) for number in counted)
    points = sorted((energy, delay, number) for (delay, energy), number in (each for each in known if each[0]))
    front, least = [], float("inf")
    for _, delay, number in points:
        if delay < least:
            front.append(number)
            least = delay
    return front


def _facts(result: Line) -> dict[str, Any]:
    """What the details of a row tell besides."""
    package, origin, hardware = result.package, result.origin, result.hardware
    in_file = package.name == UNREGISTERED
    return {
        "Package": "" if in_file else f"{package.name} {package.version}",
        "File of the agent": package.version if in_file else "",
        "Weights from": " ".join(filter(None, (origin.kind, origin.name, origin.revision))),
        "Link": link(result),
        "Parameters": result.parameters,
        "Pretrained: logged": result.source_transitions,
        "Pretrained: played": result.source_steps,
        "Message floats": ", ".join(f"{family} {floats}" for family, floats in result.message_floats.items()),
        "Releases": ", ".join(f"{r.family} {r.release} {r.version}" for r in result.releases),
        "Hardware": f"{hardware.cpu}, {hardware.cores} cores, {hardware.device}",
    }


def _failures(result: Line) -> list[str]:
    more = result.failed - len(result.failures)
    return [*result.failures, *([f"and {more} more"] if more else [])]

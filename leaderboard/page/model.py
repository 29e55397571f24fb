"""What the page shows, as plain data: every number is computed here, and the page's scripts only give it a place.

The model is small, since ten thousand rows of it travel inside one file: a list of protocols, each with its rows. Whatever
depends on the family is keyed by its name, or `ALL`; whatever depends on the shots is a list in the protocol's order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from operator import mul
from typing import Any

from ...benchmark.protocol.statistics import Interval, profile
from .. import board
from ..board import Entry
from ..provenance import UNREGISTERED
from ..result import Result
from ..summary import Grid, agents_of, scores_of
from ..tables import ALL

THRESHOLDS = tuple(x / 2 for x in range(-40, 245, 5))  # of the performance profiles
PROFILED = 100  # rows of a protocol that have profiles and gains by family: a bootstrap each, for every number of shots
FAILURES = 8  # that a row tells of
WIDEST = (-50, 130)  # of the small bars; what lies beyond is drawn at the edge
_TOLD = ("agent", "tier", "file", "command", "unranked", "parameters", "environment_steps", "privileged_training")
_SIZES = {"full": 0, "lite": 1, "quick": 3}  # the order of protocols; `custom` comes between


def model(entries: Iterable[Entry]) -> dict[str, Any]:
    """The view-model of all entries: `{"protocols": [...]}`, one for each protocol hash; rows best first."""
    found = [_protocol(group) for group in board.by_protocol(entries)]
    return {"protocols": sorted(found, key=lambda p: (_SIZES.get(p["name"], 2), -len(p["rows"]), p["hash"]))}


def _protocol(entries: Sequence[Entry]) -> dict[str, Any]:
    """One board: rows of one protocol hash, and what they have in common."""
    result = entries[0].result
    grid = Grid.of(result.contract)
    headline = board.headline(entries)
    ordered = board.order(entries, headline)
    rows = [_row(entry, grid, headline) for entry in ordered]
    for row, entry in zip(rows[:PROFILED], ordered, strict=False):
        row["profiles"] = _profiles(entry.result, grid)
        row["gains"] |= {family: [_ends(entry.gain(k, family)) for k in grid.shots] for family in grid.families()}
    return {
        "name": result.protocol,
        "version": result.contract.get("version", ""),
        "hash": result.protocol_hash,
        "shots": grid.shots,
        "headline": headline,
        "ranked": any(entry.ranks for entry in entries),
        "sites": len(grid.sites),
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
    result, told = entry.result, board.standing(entry, headline)
    summaries = [result.summary[str(k)] for k in grid.shots]
    scopes = [ALL, *grid.families()]
    return {
        **{name: getattr(told, name) for name in _TOLD},
        "track": result.track,
        "checkpoint": result.checkpoint,
        "complete": result.complete,
        "cells": grid.cells,
        "missing": grid.cells - len(result.cells) + len(result.failed),
        "failures": _failures(result),
        "privileged": result.privileged,
        "latency": None if told.latency is None else _round(1000 * told.latency),
        "bits": _round(told.message_bits),
        "ranks": {scope: [entry.rank(k, scope) for k in grid.shots] for scope in scopes},
        "scores": {scope: [_ends(entry.estimate(k, scope)) for k in grid.shots] for scope in scopes},
        "gains": {ALL: [_ends(entry.gain(k)) for k in grid.shots]},
        "variants": [[s and round(s.variants[name].iqm, 1) for s in summaries] for name in grid.variants],
        "samples": _samples(result, grid),
        "qos": _delivery(result, grid),
        "facts": _facts(result),
        "ledger": asdict(result.ledger),
        "versions": result.versions,
    }


def _ends(found: Interval | None) -> list[float | None] | None:
    """`[iqm, low, high]`, the ends None where there are too few sites; None where cells are missing."""
    if found is None:
        return None
    return [None if end is None else round(end, 2) for end in (found.iqm, found.ci_low, found.ci_high)]


def _samples(result: Result, grid: Grid) -> list[int | None]:
    """Agent transitions of the target seen in learning, by number of shots: the mean over finished cells."""
    agents = {name: agents_of(result.contract, name) for name in grid.variants}
    seen: dict[int, list[int]] = defaultdict(list)
    for cell in result.cells:
        if not cell.failure:
            steps = cell.ledger.environment_steps * agents[cell.variant]
            seen[cell.shots].append(cell.ledger.support_transitions + steps)
    return [round(_mean(seen[k])) if seen[k] else None for k in grid.shots]


def _delivery(result: Result, grid: Grid) -> dict[str, list[list[float] | None]]:
    """Of what was delivered, by family and shots: `[mean delay, energy over goodput]`, both means over the family's variants.

    Episodes that deliver nothing have a delay of 0 in a result file, and an agent that does nothing spends nothing. So each
    episode counts by its goodput; None where a variant has none, or cells are missing.
    """
    played: dict[tuple[str, int], list[Mapping[str, Sequence[float]]]] = defaultdict(list)
    for cell in result.cells:
        if not cell.failure:
            played[cell.variant, cell.shots].append(cell.qos)

    def at(part: Grid, shots: int) -> list[float] | None:
        cells = [played[variant, shots] for variant in part.variants]
        pairs = [_per_unit(found) for found in cells if len(found) == len(grid.sites)]
        known = [pair for pair in pairs if pair is not None]
        return [_round(_mean(column)) for column in zip(*known, strict=True)] if len(known) == len(cells) else None

    return {family: [at(grid.select(family), k) for k in grid.shots] for family in grid.families()}


def _per_unit(cells: Sequence[Mapping[str, Sequence[float]]]) -> tuple[float, float] | None:
    """Delay and energy for each unit that was delivered in some cells; None where nothing was."""
    goodput, delay, energy = ([x for qos in cells for x in qos.get(name, ())] for name in ("goodput", "delay_mean", "energy"))
    total = sum(goodput)
    return (sum(map(mul, goodput, delay)) / total, sum(energy) / total) if total > 0 else None


def _profiles(result: Result, grid: Grid) -> dict[str, Any]:
    """By scope and shots: `[fraction, low, high]`, lists over `THRESHOLDS`; None where cells are missing."""
    scores = scores_of(result.contract, result.cells)

    def at(part: Grid, shots: int) -> list[list[float] | None] | None:
        table = part.lay_out(scores, shots)
        if table is None:
            return None
        found = profile(table, THRESHOLDS)
        return [None if ends is None else [round(x, 3) for x in ends] for ends in (found.fraction, found.ci_low, found.ci_high)]

    parts = {ALL: grid} | {family: grid.select(family) for family in grid.families()}
    return {scope: [at(part, k) for k in grid.shots] for scope, part in parts.items()}


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


def _facts(result: Result) -> dict[str, Any]:
    """What the details of a row tell besides."""
    package, origin, hardware = result.package, result.origin, result.hardware
    in_file = package.name == UNREGISTERED
    return {
        "Package": "" if in_file else f"{package.name} {package.version}",
        "File of the agent": package.version if in_file else "",
        "Weights from": " ".join(filter(None, (origin.kind, origin.name, origin.revision))),
        "Parameters": result.parameters,
        "Pretrained: logged": result.source_transitions,
        "Pretrained: played": result.source_steps,
        "Message floats": ", ".join(f"{family} {floats}" for family, floats in result.message_floats.items()),
        "Releases": ", ".join(f"{r.family} {r.release} {r.version}" for r in result.releases),
        "Hardware": f"{hardware.cpu}, {hardware.cores} cores, {hardware.device}",
    }


def _failures(result: Result) -> list[str]:
    told = [f"{c.cell}: {c.failure}" for c in result.failed[:FAILURES]]
    return told + ([f"and {len(result.failed) - FAILURES} more"] if len(result.failed) > FAILURES else [])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _round(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")

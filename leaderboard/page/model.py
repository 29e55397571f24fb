"""What the page shows, as plain data: every number is computed here, and the page's scripts only give it a place.

The model is small, since ten thousand rows of it travel inside one file: a list of protocols, each with its rows. Whatever
depends on the family is keyed by its name, or `ALL`; whatever depends on the shots is a list in the protocol's order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from typing import Any

from ...benchmark.protocol.statistics import profile
from .. import board
from ..entries import ALL, Entry
from ..provenance import UNREGISTERED
from ..summary import Grid

THRESHOLDS = tuple(x / 2 for x in range(-40, 245, 5))  # of the performance profiles
PROFILED = 100  # rows of a protocol that have profiles: a bootstrap each, for every family and number of shots
FAILURES = 8  # that a row tells of
WIDEST = (-50, 130)  # of the small bars; what lies beyond is drawn at the edge
_TOLD = ("agent", "tier", "file", "command", "unranked", "parameters", "environment_steps", "privileged_training")
_SIZES = {"full": 0, "lite": 1, "quick": 3}  # the order of protocols; `custom` comes between


def model(entries: Iterable[Entry]) -> dict[str, Any]:
    """The view-model of all entries: `{"protocols": [...]}`, one for each protocol hash; rows best first."""
    by_hash: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_hash[entry.document["protocol_hash"]].append(entry)
    found = [_protocol(group) for group in by_hash.values()]
    return {"protocols": sorted(found, key=lambda p: (_SIZES.get(p["name"], 2), -len(p["rows"]), p["hash"]))}


def _protocol(entries: Sequence[Entry]) -> dict[str, Any]:
    """One board: rows of one protocol hash, and what they have in common."""
    document = entries[0].document
    contract, grid = document["contract"], Grid.of(document["contract"])
    headline = board.headline(entries)
    ordered = board.order(entries, headline)
    rows = [_row(entry, grid, headline) for entry in ordered]
    for row, entry in zip(rows[:PROFILED], ordered, strict=False):
        row["profiles"] = _profiles(entry.document, grid)
    return {
        "name": document["protocol"],
        "version": contract.get("version", ""),
        "hash": document["protocol_hash"],
        "shots": grid.shots,
        "headline": headline,
        "ranked": any(entry.ranks for entry in entries),
        "seeds": grid.seeds,
        "episodes": contract["episodes"],
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
    document, told = entry.document, board.row(entry, headline)
    summaries = [document["summary"][str(k)] for k in grid.shots]
    scopes = [ALL, *grid.families()]
    cells = len(grid.variants) * len(grid.shots) * grid.seeds
    return {
        **{name: told[name] for name in _TOLD},
        "track": document["track"],
        "checkpoint": document["checkpoint"],
        "complete": document["complete"],
        "cells": cells,
        "missing": cells - len(board.scores(document)),
        "failures": _failures(document),
        "privileged": document["privileged"],
        "latency": None if told["latency"] is None else _round(1000 * told["latency"]),
        "bits": _round(told["message_bits"]),
        "ranks": {scope: [_places(entry, k, scope) for k in grid.shots] for scope in scopes},
        "scores": {scope: [_score(entry, k, scope) for k in grid.shots] for scope in scopes},
        "variants": [[summary and round(summary["variants"][v]["iqm"], 1) for summary in summaries] for v in grid.variants],
        "samples": _samples(document, grid),
        "qos": _delivery(document, grid),
        "facts": _facts(document),
        "ledger": document["ledger"],
        "versions": document["versions"],
    }


def _places(entry: Entry, shots: int, scope: str) -> tuple[int, int] | None:
    rank = entry.rank(shots, scope)
    return None if rank is None else (rank.best, rank.worst)


def _score(entry: Entry, shots: int, scope: str) -> list[float | None] | None:
    """`[iqm, low, high]`, the ends None where there are too few seeds; None where cells are missing."""
    found = board.estimate_of(entry, shots, scope)
    if found is None:
        return None
    return [None if found[end] is None else round(found[end], 2) for end in ("iqm", "ci_low", "ci_high")]


def _samples(document: Mapping[str, Any], grid: Grid) -> list[int | None]:
    """Agent transitions of the target seen in learning, by number of shots: the mean over finished cells."""
    agents = {name: variant["spec"]["agents"] for name, variant in document["contract"]["variants"].items()}
    seen: dict[int, list[int]] = defaultdict(list)
    for cell in document["cells"]:
        if not cell["failure"]:
            costs = cell["ledger"]
            steps = costs["environment_steps"] * agents[cell["variant"]]
            seen[cell["shots"]].append(costs["support_transitions"] + steps)
    return [round(_mean(seen[k])) if seen[k] else None for k in grid.shots]


def _delivery(document: Mapping[str, Any], grid: Grid) -> dict[str, list[list[float] | None]]:
    """Of what was delivered, by family and shots: `[mean delay, energy over goodput]`, both means over the family's variants.

    Episodes that deliver nothing have a delay of 0 in a result file, and an agent that does nothing spends nothing. So each
    episode counts by its goodput; None where a variant has none, or cells are missing.
    """
    played: dict[tuple[str, int], list[Mapping[str, Sequence[float]]]] = defaultdict(list)
    for cell in document["cells"]:
        if not cell["failure"]:
            played[cell["variant"], cell["shots"]].append(cell["qos"])

    def at(part: Grid, shots: int) -> list[float] | None:
        cells = [played[variant, shots] for variant in part.variants]
        pairs = [_per_unit(found) for found in cells if len(found) == grid.seeds]
        known = [pair for pair in pairs if pair is not None]
        return [_round(_mean(column)) for column in zip(*known, strict=True)] if len(known) == len(cells) else None

    return {family: [at(grid.select(family), k) for k in grid.shots] for family in grid.families()}


def _per_unit(cells: Sequence[Mapping[str, Sequence[float]]]) -> tuple[float, float] | None:
    """Delay and energy for each unit that was delivered in some cells; None where nothing was."""
    goodput, delay, energy = ([x for qos in cells for x in qos.get(name, ())] for name in ("goodput", "delay_mean", "energy"))
    total = sum(goodput)
    return (sum(map(mul, goodput, delay)) / total, sum(energy) / total) if total > 0 else None


def _profiles(document: Mapping[str, Any], grid: Grid) -> dict[str, Any]:
    """By scope and shots: `[fraction, low, high]`, lists over `THRESHOLDS`; None where cells are missing."""
    scores = board.scores(document)

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


def _facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the details of a row tell besides; empty where a file does not say."""
    package, origin, hardware = document["package"], document["origin"], document["hardware"]
    in_file = package["name"] == UNREGISTERED
    return {
        "Package": "" if in_file else f"{package['name']} {package['version']}",
        "File of the agent": package["version"] if in_file else "",
        "Weights from": " ".join(filter(None, (origin["kind"], origin["name"], origin["revision"]))),
        "Parameters": document["parameters"],
        "Pretrained: logged": document["source_transitions"],
        "Pretrained: played": document["source_steps"],
        "Message floats": ", ".join(f"{family} {floats}" for family, floats in document["message_floats"].items()),
        "Releases": ", ".join(f"{r['family']} {r['release']} {r['version']}" for r in document["releases"]),
        "Hardware": f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['device']}" if hardware else "",
    }


def _failures(document: Mapping[str, Any]) -> list[str]:
    failed = [cell for cell in document["cells"] if cell["failure"]]
    told = [f"{c['variant']}, {c['shots']} shots, seed {c['seed']}: {c['failure']}" for c in failed[:FAILURES]]
    return told + ([f"and {len(failed) - FAILURES} more"] if len(failed) > FAILURES else [])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _round(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")

"""The board as a terminal table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .board import row
from .entries import ALL, Entry, RankInterval
from .tables import empty, score

_NOTES = (
    "Rank: 1 + agents significantly better to n - those significantly worse (paired difference's 95 % interval excludes 0).\n"
    "Score: 0 = random, 100 = genie; interquartile mean [95 % interval].\n"
    "Verified: see docs/results.md. Env. steps: of training and of all cells together.\n"
    "Bits: broadcast by all agents in a slot. Priv.: saw global state in training."
)
_LEFT = ("rank", "agent", "verified", "priv.")
_GAP = 3  # between two columns


def render(entries: Sequence[Entry], shots: int, family: str = ALL, width: int = 200) -> Group:
    """Ranked entries, in this order, as one table for each protocol hash, the greatest first; as wide as there is room."""
    boards: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        boards[entry.document["protocol_hash"]].append(entry)
    greatest = sorted(boards.values(), key=len, reverse=True)
    return Group(*(_table(board, shots, family, width) for board in greatest), Text(_NOTES, style="dim"))


def _table(entries: Sequence[Entry], shots: int, family: str, width: int) -> Table:
    rows = [row(entry, shots, family) for entry in entries]
    columns = _columns(rows)
    shown = _fitting(columns, width)
    missing = ", ".join(title for title in columns if title not in shown)
    part = "" if family == ALL else f", {family}"
    title = f"{rows[0]['protocol']}  {rows[0]['protocol_hash'][:12]}  at {shots} shots{part}"
    table = empty(title, f"Wider terminals, --json and --html also show: {missing}" if missing else None)
    for name in shown:
        table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=True)
    for one, above, *cells in zip(rows, [None, *rows], *shown.values(), strict=False):
        if above and above["rank"] and not one["rank"]:
            table.add_section()
        table.add_row(*map(Text, cells), style="" if one["rank"] else "dim")
    return table


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What is told of every row, by title, most important first."""
    return {
        "rank": [_places(one["rank"]) or one["unranked"] for one in rows],
        "agent": [one["agent"] for one in rows],
        "score": [score(one["score"]) for one in rows],
        **{name: [_iqm(one["families"][name]) for one in rows] for name in rows[0]["families"]},
        "verified": [one["tier"] for one in rows],
        "parameters": [short(one["parameters"]) for one in rows],
        "ms a slot": ["-" if one["latency"] is None else f"{1000 * one['latency']:.2g}" for one in rows],
        "env. steps": [short(one["environment_steps"]) for one in rows],
        "bits": [f"{one['message_bits']:.0f}" for one in rows],
        "priv.": ["yes" if one["privileged_training"] else "no" for one in rows],
    }


def _fitting(columns: Mapping[str, list[str]], width: int) -> dict[str, list[str]]:
    """The first of the columns, as many as a terminal has room for; three at least."""
    shown: dict[str, list[str]] = {}
    used = -_GAP
    for title, cells in columns.items():
        used += _GAP + max(map(len, (title, *cells)))
        if used > width and len(shown) >= 3:
            break
        shown[title] = cells
    return shown


def _places(rank: Sequence[int] | None) -> str:
    return str(RankInterval(*rank)) if rank else ""


def _iqm(estimate: Mapping[str, Any] | None) -> str:
    return "-" if estimate is None else f"{estimate['iqm']:.1f}"


def short(count: int) -> str:
    """E.g. `950`, `12.3k`, `2.86M`."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * size:  # which rounds to it
            return f"{count / size:.3g}{letter}"
    return str(count)

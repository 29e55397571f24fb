"""The board as a terminal table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .board import row
from .entries import ALL, Entry
from .table import score

_NOTES = (
    "Rank: 1 + agents significantly better to n - those significantly worse (paired difference's 95 % interval excludes 0).\n"
    "Score: 0 = random, 100 = genie; interquartile mean [95 % interval].\n"
    "Env. steps: of training and of all cells together. Bits: broadcast by all agents in a slot. Priv.: saw global state in\n"
    "training. Verified: see docs/results.md."
)


def render(entries: Sequence[Entry], shots: int, family: str = ALL) -> Group:
    """Ranked entries, in this order, as one table for each protocol hash, the greatest first."""
    boards: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        boards[entry.document["protocol_hash"]].append(entry)
    greatest = sorted(boards.values(), key=len, reverse=True)
    return Group(*(_table(board, shots, family) for board in greatest), Text(_NOTES, style="dim"))


def _table(entries: Sequence[Entry], shots: int, family: str) -> Table:
    rows = [row(entry, shots, family) for entry in entries]
    title = f"{rows[0]['protocol']}  {rows[0]['protocol_hash'][:12]}  at {shots} shots" + (
        "" if family == ALL else f", {family}"
    )
    table = Table(title=title, title_style="bold")
    table.add_column("rank")
    table.add_column("agent")
    for name in ("score", *rows[0]["families"], "parameters", "ms a slot", "env. steps", "bits"):
        table.add_column(name, justify="right")
    table.add_column("priv.")
    table.add_column("verified")
    for entry, above, one in zip(entries, [None, *rows], rows, strict=False):
        if above and above["rank"] and not one["rank"]:
            table.add_section()
        table.add_row(*map(Text, _shown(entry, one, shots, family)), style="" if one["rank"] else "dim")
    return table


def _shown(entry: Entry, one: Mapping[str, Any], shots: int, family: str) -> list[str]:
    latency = one["latency"]
    return [
        str(entry.rank(shots, family) or one["unranked"]),
        one["agent"],
        score(one["score"]),
        *("-" if found is None else f"{found['iqm']:.1f}" for found in one["families"].values()),
        short(one["parameters"]),
        "-" if latency is None else f"{1000 * latency:.2g}",
        short(one["environment_steps"]),
        f"{one['message_bits']:.0f}",
        "yes" if one["privileged_training"] else "no",
        one["tier"],
    ]


def short(count: int) -> str:
    """E.g. `950`, `12.3k`, `2.86M`."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)

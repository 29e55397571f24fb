"""The terminal table of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text


def empty(title: str, caption: str | None = None) -> Table:
    """A table without lines between its columns, so that a terminal of 80 has room for them."""
    return Table(title=title, caption=caption, title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def interval(value: float, low: float | None, high: float | None, form: str = ".1f") -> str:
    """A figure with its interval, e.g. `71.2 [68.0, 74.1]`; alone where there are too few seeds for one."""
    text = format(value, form)
    return text if low is None or high is None else f"{text} [{low:{form}}, {high:{form}}]"


def score(cell: Mapping[str, Any] | None, signed: bool = False) -> str:
    """An IQM with its interval; a dash where cells are missing."""
    return "-" if cell is None else interval(cell["iqm"], cell["ci_low"], cell["ci_high"], "+.1f" if signed else ".1f")


def render(data: Mapping[str, Any]) -> Group:
    """A result document as tables: scores by agent and shots, and by variant."""
    shots = list(data["summary"])
    rows = [data, *data["comparison"]]
    main = empty(f"{data['protocol']}  {data['protocol_hash'][:12]}")
    main.add_column("agent")
    for k in shots:
        main.add_column(f"score, {k} shots", justify="right")
    compared = shots if data["comparison"] else []
    for k in compared:
        main.add_column(f"lead at {k}", justify="right")
    main.add_column("bits a slot", justify="right")
    main.add_column("seconds", justify="right")
    for row in rows:
        ahead = [score(row["difference"][k], signed=True) if "difference" in row else "" for k in compared]
        ledger = row["ledger"]
        bits = ledger["message_bits"] / max(ledger["query_steps"], 1)
        style = "bold" if row is data else ""
        values = [score(row["summary"][k]) for k in shots]
        main.add_row(row["label"], *values, *ahead, f"{bits:.0f}", f"{ledger['seconds']:.1f}", style=style)
    notes = "Scores: 0 = random, 100 = genie; interquartile mean over variants and seeds [95 % bootstrap interval]."
    if compared:
        notes += (
            f"\nLead: of {data['label']} over the row, interquartile mean of paired differences (not the scores' difference)."
        )
    if any(cell and cell["ci_low"] is None for row in rows for cell in row["summary"].values()):
        notes += "\nFewer than 3 seeds: no interval. For one, add --seeds 5, or --protocol lite."
    failed = [f"{row['label']} failed in {sum(bool(c['failure']) for c in row['cells'])} cells" for row in rows]
    notes += "".join(f"\n{line}." for line in failed if " in 0 " not in line)
    return Group(main, _by_variant(rows, shots), Text(notes, style="dim"))


def _by_variant(rows: list[Mapping[str, Any]], shots: list[str]) -> Table:
    table = empty(f"\nmean score, {' / '.join(shots)} shots")
    table.add_column("variant", no_wrap=True)
    for row in rows:
        table.add_column(row["label"], justify="right")
    for variant in dict.fromkeys(cell["variant"] for cell in rows[0]["cells"]):
        table.add_row(variant, *(" / ".join(_mean(row, variant, k) for k in shots) for row in rows))
    return table


def _mean(row: Mapping[str, Any], variant: str, shots: str) -> str:
    cells = [cell for cell in row["cells"] if cell["variant"] == variant and str(cell["shots"]) == shots]
    found = [cell["score"] for cell in cells if not cell["failure"]]
    return f"{sum(found) / len(found):.1f}" if found else "-"

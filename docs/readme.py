"""Writes the table of results into README.md, between its two markers, from the results in leaderboard/results.

python docs/readme.py
"""

from __future__ import annotations

import re
from pathlib import Path

from wbench.benchmark.protocol.spec import Protocol, protocol
from wbench.console import note
from wbench.leaderboard import board
from wbench.leaderboard.board import Entry
from wbench.leaderboard.store import result_files
from wbench.leaderboard.tables import TIER_NAMES, Standing, short, shown

ROOT = Path(__file__).parents[1]
README, STORE = ROOT / "README.md", ROOT / "leaderboard" / "results"
MARKED = re.compile(r"(?<=<!-- leaderboard -->\n).*?(?=<!-- /leaderboard -->)", re.DOTALL)
NONE = "No results yet.\n"


def table(store: Path = STORE) -> str:
    """The board of today's `lite` as Markdown; results under another protocol hash belong to another board."""
    lite = protocol("lite")
    found = board.load(store, None, note) if any(result_files(store)) else []
    entries = board.ranked([entry for entry in found if entry.line.protocol_hash == lite.hash()])
    return _rows(board.order(entries, board.HEADLINE), lite) if entries else NONE


def _rows(entries: list[Entry], lite: Protocol) -> str:
    families = lite.families()
    shots = board.HEADLINE
    lines = [
        f"| rank | agent | {shots} shots | 0 shots | {' | '.join(f'`{name}`' for name in families)} | parameters | verified |",
        "| --- | --- | --: | --: " + "| --: " * len(families) + "| --: | --- |",
    ]
    for entry in entries:
        one = board.standing(entry, shots)
        parts = ["-" if (found := one.families[name]) is None else f"{found.iqm:.1f}" for name in families]
        cells = [
            str(one.rank or one.unranked),
            one.agent + _code(one),
            shown(one.score),
            shown(entry.estimate(0)),
            *parts,
            short(one.parameters),
            TIER_NAMES[one.tier],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    places = f"{len(lite.variants)} variants at {len(lite.sites)} sites that no agent was trained on"
    played = f"{places}, {lite.episodes} episodes a cell"
    lines += ["", f"`lite`, protocol `{lite.hash()[:12]}`: {played}; families at {shots} shots."]
    return "\n".join(lines) + "\n"


def _code(row: Standing) -> str:
    """What a row of others' code is shown with: its digest or version, and a link."""
    if row.code.startswith("wbench "):
        return ""
    return f" ([{row.code}]({row.link}))" if row.link else f" ({row.code})"


def updated(readme: str, store: Path = STORE) -> str:
    """A README with the table of a store between its markers."""
    text, times = MARKED.subn(lambda _: table(store), readme)
    if times != 1:
        raise SystemExit(f"README.md has {times} pairs of leaderboard markers, but must have one")
    return text


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")

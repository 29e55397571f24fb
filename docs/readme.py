"""Writes the table of results into README.md, between its two markers, and draws its picture, from leaderboard/results.

python docs/readme.py
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from wbench.benchmark.protocol.spec import Protocol, protocol
from wbench.console import note
from wbench.leaderboard import board
from wbench.leaderboard.index.entry import Entry
from wbench.leaderboard.store import result_files
from wbench.leaderboard.tables import ALL, TIER_NAMES, Standing, short, shown

ROOT = Path(__file__).parents[1]
README, STORE = ROOT / "README.md", ROOT / "leaderboard" / "results"
MARKED = re.compile(r"(?<=<!-- leaderboard -->\n).*?(?=<!-- /leaderboard -->)", re.DOTALL)
NONE = "No results yet.\n"
PICTURE = ROOT / "docs" / "figures" / "shots.png"
DASHED = {
    "oracle": "0.25",
    "estimator": "0.45",
    "belief": "0.65",
}  # rules: told the site, reading, neither
LEARNERS = 5  # the best ones are drawn


def rows(store: Path) -> list[Entry]:
    """Today's `lite`, ranked; results under another protocol hash belong to another board."""
    found = board.load(store, None, note) if any(result_files(store)) else []
    entries = board.ranked([entry for entry in found if entry.line.protocol_hash == protocol("lite").hash()])
    return board.order(entries, board.HEADLINE) if entries else []


def table(store: Path = STORE) -> str:
    """The board of today's `lite` as Markdown."""
    entries = rows(store)
    return _rows(entries, protocol("lite")) if entries else NONE


def _rows(entries: list[Entry], lite: Protocol) -> str:
    families = lite.families()
    shots = board.HEADLINE
    lines = [
        f"| rank | agent | {shots} shots | 0 shots | {' | '.join(f'`{name}`' for name in families)} "
        "| trainings | parameters | verified |",
        "| --- | --- | --: | --: " + "| --: " * len(families) + "| --: | --: | --- |",
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
            str(one.trainings or "-"),
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


def draw(store: Path = STORE, target: Path = PICTURE) -> None:
    """Score against shots, of the best learners and of rules that know the family: over everything, and by family."""
    entries = rows(store)
    learners = [entry for entry in entries if entry.rank(board.HEADLINE)][:LEARNERS]
    families = protocol("lite").families()
    figure, panels = plt.subplots(1, 1 + len(families), figsize=(11, 3.4), sharey=True, layout="constrained")
    for axes, family in zip(panels, [ALL, *families], strict=True):
        for entry in entries:
            if entry.line.label in DASHED:
                _curve(axes, entry, family, color=DASHED[entry.line.label], linestyle="--", linewidth=1.3)
        for entry in learners:
            _curve(axes, entry, family, marker="o", markersize=4)
        axes.set_title("all families" if family == ALL else family, fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("score: 0 = random, 100 = genie", fontsize=9)
    figure.supxlabel("shots: logged episodes of the site that are read before it is played", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _curve(axes: Axes, entry: Entry, family: str, **style: object) -> None:
    """One agent's scores by number of shots."""
    shots = entry.grid.shots
    found = [entry.estimate(k, family) for k in shots]
    axes.plot(range(len(shots)), [one.iqm if one else float("nan") for one in found], label=entry.line.label, **style)  # type: ignore[arg-type]
    axes.set_xticks(range(len(shots)), [str(k) for k in shots])


if __name__ == "__main__":
    draw()
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")

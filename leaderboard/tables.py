"""The tables of the terminal: of a run, and of a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..benchmark.protocol.statistics import Interval
from .schema import Rival, Row

ALL = "all"  # the key of what is over all families
_NOTES = (
    "Rank: 1 + agents significantly better to n - those significantly worse (paired difference's 95 % interval excludes 0).\n"
    "A learner of fewer than three trainings counts as better than none of three.\n"
    "Score: 0 = random, 100 = genie; interquartile mean [95 % interval]. Gain: over the agent's own scores at 0 shots.\n"
    "Claimed: not run again yet by a maintainer. Verified: see docs/reference/results.md.\n"
    "Env. steps: of training and of all cells together.\n"
    "Bits: broadcast by all agents in a slot. Priv.: saw global state in training."
)
_OTHER_LOGS = "Wrong, shifted: score with logs of another site, and with logs of random play at this one, if played."
TIER_NAMES = {"reported": "does not hold", "arithmetic": "arithmetic checked", "rerun": "rerun"}
_LEFT = ("rank", "agent", "verified", "priv.")
HEADLINE = "5"  # shots at which a run's adaptation gain is shown
_GAP = 3  # between two columns
_INTERVAL, _BESIDE = 15, 20  # columns of a terminal: of an interval, and of agent and costs


class RankInterval(NamedTuple):
    """The places that an agent may hold: `best` = 1 + agents significantly better, `worst` = agents - significantly worse."""

    best: int
    worst: int

    def __str__(self) -> str:
        """E.g. `2` or `2-4`."""
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


@dataclass(frozen=True)
class Control:
    """What other logs than the row's do to an agent: the score with them, and what they add to its score without logs.

    Attributes:
        score: over all families, or over one.
        gain: over the same trainings' scores at 0 shots, paired; None where these are not known.
        trainings: that it is of; a row may have more.
        file: its name in the store; of several trainings the first's.
    """

    score: Interval
    gain: Interval | None
    trainings: int
    file: str


@dataclass(frozen=True)
class Standing:
    """What a board says of a row at a number of shots.

    Attributes:
        file: its name in the store.
        protocol: size of its protocol.
        protocol_hash: of its contract.
        agent: its label.
        trainings: that its scores are of; 0 of a rule, which nobody trained.
        rank: the places that it may hold; None where it is not ranked.
        unranked: why it is not.
        score: over all families, or over one; None where cells are missing.
        gain: adaptation gain, likewise; None at 0 shots too.
        families: scores by family.
        controls: what other logs do, `wrong` (another site's) and `shifted` (random play at this site); those that were played.
        tier: how far it was verified.
        parameters: trained parameters.
        latency: seconds a slot of play.
        environment_steps: of training and of all cells together.
        message_bits: broadcast by all agents in a slot.
        privileged_training: a part of it saw global state in training.
        command: runs it again.
        code: where its code comes from: a distribution with its version, or the SHA-256 of a file.
        link: where a reader finds code or weights of others; empty where nobody knows.
    """

    file: str
    protocol: str
    protocol_hash: str
    agent: str
    trainings: int
    rank: RankInterval | None
    unranked: str | None
    score: Interval | None
    gain: Interval | None
    families: Mapping[str, Interval | None]
    controls: Mapping[str, Control]
    tier: str
    parameters: int
    latency: float | None
    environment_steps: int
    message_bits: float
    privileged_training: bool
    command: str
    code: str
    link: str


def shown(found: Interval | None, form: str = ".1f") -> str:
    """An interquartile mean with its interval; a dash where cells are missing."""
    return "-" if found is None else format(found, form)


def short(count: int) -> str:
    """E.g. `950`, `12.3k`, `2.86M`."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * size:  # which rounds to it
            return f"{count / size:.3g}{letter}"
    return str(count)


def _empty(title: str, caption: str | None = None) -> Table:
    """A table without lines between its columns, so that a terminal of 80 has room for them."""
    return Table(title=title, caption=caption, title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


# A run


def of_run(title: str, ours: Row, rivals: Sequence[Rival], width: int) -> Group:
    """An agent and its rivals as tables: scores by number of shots, and by variant; no interval breaks."""
    shots, rows = list(ours.summary), [ours, *rivals]
    compared = shots if rivals else []
    gained = [k for k in [_headline(ours.gain)] if k]
    titles = (*(f"score,\n{k} shots" for k in shots), *(f"gain at {k}" for k in gained), *(f"lead at {k}" for k in compared))
    lines = []
    for row in rows:
        scores = [shown(row.summary[k]) for k in shots] + [shown(row.gain[k], "+.1f") for k in gained]
        leads = [shown(row.difference[k], "+.1f") if isinstance(row, Rival) else "" for k in compared]
        costs = f"{row.ledger.bits_a_slot:.0f}\n{row.ledger.seconds:.1f}"
        lines.append([*(text.replace(" [", "\n[") for text in (*scores, *leads)), costs])
    room = max(1, (width - _BESIDE) // _INTERVAL)
    beside = ceil(len(titles) / ceil(len(titles) / room))
    mains = []
    for first in range(0, len(titles), beside):
        columns = slice(first, None if first + beside >= len(titles) else first + beside)
        mains.append(main := _empty("" if first else title))
        main.collapse_padding = True
        main.add_column("agent", no_wrap=True)
        for column in (*titles, "bits,\nseconds")[columns]:
            main.add_column(column, justify="right", no_wrap=True)
        for row, cells in zip(rows, lines, strict=True):
            main.add_row(row.label, *cells[columns], style="bold" if row is ours else "")
    return Group(*mains, _by_variant(rows, shots), Text("\n".join(_notes(rows)), style="dim"))


def _headline(gain: Mapping[str, Interval | None]) -> str | None:
    """Where a run's gain is shown: at 5 shots, or the most that it has one at."""
    known = [shots for shots, found in gain.items() if found is not None]
    return HEADLINE if HEADLINE in known else max(known, key=int, default=None)


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = ["Scores: 0 = random, 100 = genie; interquartile mean over variants and sites [95 % bootstrap interval]."]
    if _headline(rows[0].gain):
        notes.append("Gain: of a row over its own scores at 0 shots, interquartile mean of paired differences.")
    if len(rows) > 1:
        notes.append(
            f"Lead: of {rows[0].label} over the row, interquartile mean of paired differences (not the scores' difference)."
        )
    if any(summary and summary.ci_low is None for row in rows for summary in row.summary.values()):
        notes.append("Fewer than 3 sites: no interval. For one, add --sites 0-4, or --protocol lite.")
    return notes + [f"{row.label} failed in {len(row.failed)} cells." for row in rows if row.failed]


def _by_variant(rows: Sequence[Row], shots: Sequence[str]) -> Table:
    table = _empty(f"\nmean score, {' / '.join(shots)} shots")
    table.add_column("variant", no_wrap=True)
    for row in rows:
        table.add_column(row.label, justify="right")
    for variant in dict.fromkeys(cell.variant for cell in rows[0].cells):
        table.add_row(variant, *(" / ".join(_mean(row, variant, k) for k in shots) for row in rows))
    return table


def _mean(row: Row, variant: str, shots: str) -> str:
    cells = [cell for cell in row.cells if cell.variant == variant and str(cell.shots) == shots]
    found = [cell.score for cell in cells if cell.score is not None]
    return f"{sum(found) / len(found):.1f}" if found else "-"


# A board


def of_boards(boards: Sequence[Sequence[Standing]], shots: int, family: str = ALL, width: int = 200) -> Group:
    """Boards, each of one protocol hash, as tables; as wide as there is room."""
    notes = [_NOTES, _OTHER_LOGS] if any(one.controls for rows in boards for one in rows) else [_NOTES]
    return Group(*(_board(rows, shots, family, width) for rows in boards), Text("\n".join(notes), style="dim"))


def _board(rows: Sequence[Standing], shots: int, family: str, width: int) -> Table:
    columns = _columns(rows, shots)
    kept = _fitting(columns, width)
    missing = ", ".join(title for title in columns if title not in kept)
    part = "" if family == ALL else f", {family}"
    title = f"{rows[0].protocol}  {rows[0].protocol_hash[:12]}  at {shots} shots{part}"
    table = _empty(title, f"Wider terminals, COLUMNS=200, --json and --html also show: {missing}" if missing else None)
    for name in kept:
        table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=True)
    for one, above, *cells in zip(rows, [None, *rows], *kept.values(), strict=False):
        if above and above.rank and not one.rank:
            table.add_section()
        table.add_row(*map(Text, cells), style="" if one.rank else "dim")
    return table


def _columns(rows: Sequence[Standing], shots: int) -> dict[str, list[str]]:
    """What is told of every row, by title, most important first."""
    controls = dict.fromkeys(logs for one in rows for logs in one.controls)
    return {
        "rank": [str(one.rank or one.unranked) for one in rows],
        "agent": [one.agent for one in rows],
        "score": [shown(one.score) for one in rows],
        **({f"gain at {shots}": [shown(one.gain, "+.1f") for one in rows]} if shots else {}),
        **{name: ["-" if (f := one.families[name]) is None else f"{f.iqm:.1f}" for one in rows] for name in rows[0].families},
        "trainings": [str(one.trainings or "-") for one in rows],
        "verified": [TIER_NAMES[one.tier] for one in rows],
        "parameters": [short(one.parameters) for one in rows],
        "ms a slot": ["-" if one.latency is None else f"{1000 * one.latency:.3g}" for one in rows],
        "env. steps": [short(one.environment_steps) for one in rows],
        "bits": [f"{one.message_bits:.0f}" for one in rows],
        "priv.": ["yes" if one.privileged_training else "no" for one in rows],
        **{logs: [_control(one.controls.get(logs)) for one in rows] for logs in controls},
    }


def _control(found: Control | None) -> str:
    return "-" if found is None else f"{found.score.iqm:.1f}"


def _fitting(columns: Mapping[str, list[str]], width: int) -> dict[str, list[str]]:
    """The first of the columns, as many as a terminal has room for; three at least."""
    kept: dict[str, list[str]] = {}
    used = -_GAP
    for title, cells in columns.items():
        used += _GAP + max(map(len, (title, *cells)))
        if used > width and len(kept) >= 3:
            break
        kept[title] = cells
    return kept

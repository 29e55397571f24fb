"""The board: a store's results, verified and ranked, ties shown as ties."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from ..benchmark.protocol import trainings
from ..benchmark.protocol.spec import SIZES
from ..benchmark.protocol.statistics import Interval
from ..benchmark.registry import REFERENCES
from ..errors import InvalidValueError, ResultError, require_known
from .index.entry import CONTROLS, Entry, with_controls
from .index.index import Index
from .index.ranks import counts
from .names import code, link, told_apart
from .summary import HEADLINE as HEADLINE
from .summary import headline_shots
from .tables import ALL, RankInterval, Standing
from .verification.verify import TIERS, recorded

PROTOCOLS = (*SIZES, "custom")
UNRANKED = "quick"  # a first look, with too few sites to rank by
_REFERENCE = "reference"  # why a row is unranked: a reference policy, or an agent that sees hidden state


def load(store: Path, protocol: str | None, note: Callable[[str], None], index: Index | None = None) -> list[Entry]:
    """The results of a store, checked as far as `arithmetic`, or as a maintainer's record beside it says; not yet ranked.

    One row a (label, package, checkpoint, settings, protocol): of several runs of one agent the one that holds furthest, and
    then the first by name, stands for all. Several trainings of one recipe that hold as far are one row. Runs with other logs
    are no rows: they stand beside that of the same agent.

    Args:
        store: the folder.
        protocol: of this size only; None = of all.
        note: told of files that are left out: malformed, named wrongly, or further runs of a row.
        index: of this store; None = it is opened for this.

    Raises:
        UnknownNameError: there is no such protocol.
        OutputError: there is no such folder.
        ResultError: it holds no results, or none of this protocol.
    """
    if protocol is not None:
        require_known("protocol", protocol, PROTOCOLS, "wbench leaderboard --protocol lite")
    with nullcontext(index) if index else Index(store, note) as index:
        found = [_recorded(store, entry, note) for entry in index.files(protocol)]
        controls = [_recorded(store, entry, note) for entry in index.controls()]
        others = index.protocols()
    if not found:
        hint = f"Try: --protocol {min(others)}" if others else "Add one: wbench submit FILE"
        raise ResultError(f"no results{f' of protocol {protocol}' if protocol else ''} in {store}. {hint}")
    unused = note if protocol is None else lambda _: None  # those of other sizes are of rows that were not asked for
    rows = list(with_controls(_one_a_recipe(_one_a_row(found, note)), _one_a_row(controls, note), unused))
    names: dict[str, str] = {}
    for board in by_protocol(rows):
        names |= told_apart({one.file: one.line for one in board})
    return [replace(one, name=names[one.file]) for one in rows]


def _recorded(store: Path, entry: Entry, note: Callable[[str], None]) -> Entry:
    """A file with the tier that its record gives it, which is believed only of the same bytes."""
    try:
        holds = entry.tier != "reported"
        found = recorded(store / entry.file, entry.sha256, entry.line.cells) if holds else None
    except ResultError as error:
        note(f"{entry.file} counts as claimed: {error}")
        return entry
    return replace(entry, tier="rerun", record=found) if found else entry


def _one_a_row(entries: Sequence[Entry], note: Callable[[str], None]) -> Iterator[Entry]:
    """The entries without further runs of the same row."""
    runs: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        runs[entry.line.identity].append(entry)
    for group in runs.values():
        best, *others = sorted(group, key=lambda one: (-TIERS.index(one.tier), not one.line.complete, one.file))
        yield best
        for other in others:
            note(f"{other.file} is left out: another run of the row in {best.file}")


def _one_a_recipe(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with complete trainings of one recipe, verified alike, as one; each may be played with its own version.

    A recipe is what a checkpoint says of itself, so that anybody could join another's row: they must be of one origin too, all
    packaged, all in folders, or all in one namespace of the Hub.
    """
    rows: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        line = entry.line
        several = line.recipe and line.complete
        origin = (line.origin.kind, line.origin.name.rpartition("/")[0])
        who = (line.label, line.package.name, line.recipe, *origin, line.protocol_hash, entry.tier)
        rows[who if several else (entry.file,)].append(entry)
    found = (sorted(group, key=lambda one: (one.line.origin.name, one.file)) for group in rows.values())
    return [replace(first, others=tuple(others)) for first, *others in found]


def headline(entries: Iterable[Entry]) -> int:
    """The number of shots that a board of these entries opens with: 5, or the most that is played."""
    return headline_shots(shots for entry in entries for shots in entry.line.contract["shots"])


def check_selection(entries: Sequence[Entry], family: str | None, shots: int | None) -> None:
    """Raise unless some entry was played on this family, and at this number of shots."""
    grids = [entry.grid for entry in entries]
    families = sorted({name for grid in grids for name in grid.families()})
    if family is not None:
        require_known("family on this board", family, families, "wbench leaderboard")
    played = sorted({k for grid in grids for k in grid.shots})
    if shots is not None and shots not in played:
        raise InvalidValueError("--shots", shots, f"one of {', '.join(map(str, played))} on this board")


def ranked(
    entries: Sequence[Entry],
    families: Sequence[str] | None = None,
    shots: Sequence[int] | None = None,
    index: Index | None = None,
) -> list[Entry]:
    """The entries with their rank intervals, in the order given.

    Args:
        entries: of any protocols; each is ranked among those of its own hash.
        families: of these only (`ALL` for all together); None = all together and each.
        shots: at these only; None = at each.
        index: of the store that they are of, which keeps comparisons; None = all are made.
    """
    ranks: dict[str, dict[str, dict[int, RankInterval]]] = defaultdict(dict)
    for board in by_protocol(filter(eligible, entries)):
        grid = board[0].grid
        for family in families or (ALL, *grid.families()):
            part = grid.select(None if family == ALL else family)
            for k in [k for k in shots or grid.shots if k in grid.shots and part.variants]:
                for entry, place in zip(board, intervals(board, k, family, index), strict=True):
                    ranks[entry.file].setdefault(family, {})[k] = place
    return [replace(entry, ranks=ranks.get(entry.file, {})) for entry in entries]


def by_protocol(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries of each protocol hash, the greatest board first."""
    boards: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        boards[entry.line.protocol_hash].append(entry)
    return sorted(boards.values(), key=len, reverse=True)


def eligible(entry: Entry) -> bool:
    """Whether a row is ranked at all: run again by a maintainer, complete, no reference, and not `quick`."""
    return _why_unranked(entry) is None


def intervals(entries: Sequence[Entry], shots: int, family: str = ALL, index: Index | None = None) -> list[RankInterval]:
    """Rank intervals at K shots: who is significantly better or worse by the paired difference on common episodes.

    A learner of fewer than `trainings.ENOUGH` trainings is better than no row of as many.

    Args:
        entries: eligible ones of one protocol hash.
        shots: K.
        family: of this family, or `ALL`.
        index: where comparisons of an earlier time are kept; None = all are made.
    """
    found = [entry.table(shots, family) for entry in entries]
    tables = [table for table in found if table is not None]
    assert len(tables) == len(entries)  # eligible rows are complete
    better, worse = np.zeros((2, len(entries)), dtype=np.int64)
    single = [i for i, table in enumerate(tables) if len(table) == 1]
    if single:
        one, key = np.stack([tables[i][0] for i in single]), f"{entries[0].line.protocol_hash} {family} {shots}"
        better[single], worse[single] = index.counts(key, [entries[i].sha256 for i in single], one) if index else counts(one)
    several = [i for i, table in enumerate(tables) if len(table) > 1]
    for i, j in [*product(several, single), *combinations(several, 2)]:
        sign = trainings.paired(tables[i], tables[j]).sign or 0
        above, below = (j, i) if sign < 0 else (i, j)
        if sign and not _stands_on_less(entries[above], entries[below]):
            better[below] += 1
            worse[above] += 1
    return [RankInterval(1 + int(b), len(tables) - int(w)) for b, w in zip(better, worse, strict=True)]


def _stands_on_less(entry: Entry, other: Entry) -> bool:
    """Whether a learner has too few trainings to be ranked above another that has enough."""
    return bool(entry.line.checkpoint) and len(entry.trainings) < trainings.ENOUGH <= len(other.trainings)


def order(entries: Sequence[Entry], shots: int, family: str = ALL) -> list[Entry]:
    """Rows by rank at K shots, equal ranks by score; then references; then the others, complete ones first."""

    def key(entry: Entry) -> tuple[Any, ...]:
        estimate, rank = entry.estimate(shots, family), entry.rank(shots, family)
        apart = (rank is None, rank is None and _why_unranked(entry) != _REFERENCE, not entry.line.complete)
        return *apart, rank or (), -(estimate.iqm if estimate else float("-inf")), entry.file

    return sorted(entries, key=key)


def standing(entry: Entry, shots: int, family: str = ALL) -> Standing:
    """What the board says of an entry at K shots."""
    result, rank, estimate = entry.line, entry.rank(shots, family), entry.estimate(shots, family)
    families = entry.grid.families() if family == ALL else []
    return Standing(
        file=entry.file,
        protocol=result.protocol,
        protocol_hash=result.protocol_hash,
        agent=entry.name or result.label,
        trainings=len(entry.trainings) if result.checkpoint else 0,
        rank=rank,
        unranked=None if rank else _why_unranked(entry) or f"not played at {shots} shots",
        score=estimate and Interval(estimate.iqm, estimate.ci_low, estimate.ci_high),
        gain=entry.gain(shots, family),
        families={name: entry.estimate(shots, name) for name in families},
        controls={logs: found for logs in CONTROLS if (found := entry.control(logs, shots, family))},
        tier=entry.tier,
        parameters=result.parameters,
        latency=result.latency,
        environment_steps=result.ledger.environment_steps + result.source_steps,
        message_bits=result.ledger.bits_a_slot,
        privileged_training=result.privileged_training,
        command=result.command,
        code=code(result),
        link=link(result),
    )


def _why_unranked(entry: Entry) -> str | None:
    """Why a row is ranked at no number of shots; None where it is."""
    result = entry.line
    reasons = {
        "does not hold": entry.tier == "reported",
        "incomplete": not result.complete,
        _REFERENCE: result.privileged or result.agent in REFERENCES,
        "too few sites": result.protocol == UNRANKED,
        "claimed": entry.tier != TIERS[-1],
    }
    return next((said for said, holds in reasons.items() if holds), None)

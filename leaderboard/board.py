"""The board: a store's results, verified and ranked, ties shown as ties."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ..benchmark.protocol.spec import SIZES
from ..benchmark.protocol.statistics import Interval, paired
from ..errors import InvalidValueError, ResultError, UnknownNameError
from .reading import parse, read_bytes
from .result import Result
from .store import result_files
from .summary import HEADLINE as HEADLINE
from .summary import Grid, gains, headline_shots, scores_of
from .tables import ALL, RankInterval, Standing
from .verification.verify import TIERS, arithmetic_holds, recorded

PROTOCOLS = (*SIZES, "custom")
UNRANKED = "quick"  # a first look, with too few sites to rank by
REFERENCE = "random"  # an end of the scale; `privileged` agents are references too


@dataclass(frozen=True)
class Entry:
    """One result file of a store.

    Attributes:
        file: its name in the store, e.g. `networld-lite-1f0c2a9be7d4.json`.
        result: what it says.
        tier: how far it was verified, one of `TIERS`.
        ranks: rank interval by family (`ALL` for all of them) and number of shots, among rows of the same protocol hash; empty
            for a row that is not ranked: incomplete, a reference, under `quick`, or one that nobody has run again.
    """

    file: str
    result: Result
    tier: str
    ranks: Mapping[str, Mapping[int, RankInterval]] = field(default_factory=dict)

    def rank(self, shots: int, family: str = ALL) -> RankInterval | None:
        """Its rank interval at K shots, or None where it is not ranked."""
        return self.ranks.get(family, {}).get(shots)

    def estimate(self, shots: int, family: str = ALL) -> Interval | None:
        """IQM with its interval at K shots, over everything or over a family; None where cells are missing."""
        summary = self.result.summary.get(str(shots))
        return summary if summary is None or family == ALL else summary.families.get(family)

    def gain(self, shots: int, family: str = ALL) -> Interval | None:
        """Adaptation gain at K shots, likewise; None at 0 shots too."""
        result = self.result
        if family == ALL:
            return result.gain.get(str(shots))
        part = replace(Grid.of(result.contract).select(family), shots=(0, shots) if shots else ())
        return gains(part, scores_of(result.contract, result.cells)).get(str(shots))


def load(store: Path, protocol: str | None, note: Callable[[str], None]) -> list[Entry]:
    """The results of a store, verified as far as `arithmetic`, or as a maintainer's record beside it says; not yet ranked.

    Args:
        store: the folder.
        protocol: of this size only; None = of all.
        note: told of files that are left out because they are malformed.

    Raises:
        UnknownNameError: there is no such protocol.
        OutputError: there is no such folder.
        ResultError: it holds no results, or none of this protocol.
    """
    if protocol not in (None, *PROTOCOLS):
        raise UnknownNameError("protocol", str(protocol), PROTOCOLS, "wbench leaderboard --protocol lite")
    found: list[Entry] = []
    others: set[str] = set()
    for path in result_files(store):
        try:
            content = read_bytes(path)
            result = parse(content)
            if protocol not in (None, result.protocol):
                others.add(result.protocol)
            else:
                found.append(Entry(path.name, result, _tier(path, content, result)))
        except ResultError as error:
            note(f"{path.name} is left out: {error}")
    if not found:
        hint = f"Try: --protocol {min(others)}" if others else "Add one: wbench submit FILE"
        raise ResultError(f"no results{f' of protocol {protocol}' if protocol else ''} in {store}. {hint}")
    return found


def _tier(path: Path, content: bytes, result: Result) -> str:
    if not arithmetic_holds(result):
        return "reported"
    return "rerun" if recorded(path, hashlib.sha256(content).hexdigest(), len(result.cells)) else "arithmetic"


def headline(entries: Iterable[Entry]) -> int:
    """The number of shots that a board of these entries opens with: 5, or the most that is played."""
    return headline_shots(shots for entry in entries for shots in entry.result.contract["shots"])


def check_selection(entries: Sequence[Entry], family: str | None, shots: int | None) -> None:
    """Raise unless some entry was played on this family, and at this number of shots."""
    grids = [Grid.of(entry.result.contract) for entry in entries]
    families = sorted({name for grid in grids for name in grid.families()})
    if family is not None and family not in families:
        raise UnknownNameError("family on this board", family, families, "wbench leaderboard")
    played = sorted({k for grid in grids for k in grid.shots})
    if shots is not None and shots not in played:
        raise InvalidValueError("--shots", shots, f"one of {', '.join(map(str, played))} on this board")


def ranked(entries: Sequence[Entry], families: Sequence[str] | None = None, shots: Sequence[int] | None = None) -> list[Entry]:
    """The entries with their rank intervals, in the order given.

    Args:
        entries: of any protocols; each is ranked among those of its own hash.
        families: of these only (`ALL` for all together); None = all together and each.
        shots: at these only; None = at each.
    """
    ranks: dict[str, dict[str, dict[int, RankInterval]]] = defaultdict(dict)
    for board in by_protocol(filter(eligible, entries)):
        grid = Grid.of(board[0].result.contract)
        for family in families or (ALL, *grid.families()):
            part = grid.select(None if family == ALL else family)
            for k in [k for k in shots or grid.shots if k in grid.shots and part.variants]:
                for entry, place in zip(board, intervals(part, board, k), strict=True):
                    ranks[entry.file].setdefault(family, {})[k] = place
    return [replace(entry, ranks=ranks.get(entry.file, {})) for entry in entries]


def by_protocol(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries of each protocol hash, the greatest board first."""
    boards: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        boards[entry.result.protocol_hash].append(entry)
    return sorted(boards.values(), key=len, reverse=True)


def eligible(entry: Entry) -> bool:
    """Whether a row is ranked at all: run again by a maintainer, complete, no reference, and not `quick`."""
    return _why_unranked(entry) is None


def intervals(grid: Grid, entries: Sequence[Entry], shots: int) -> list[RankInterval]:
    """Rank intervals at K shots: who is significantly better or worse by the paired difference on common episodes."""
    tables = [grid.lay_out(scores_of(entry.result.contract, entry.result.cells), shots) for entry in entries]
    better, worse = [0] * len(tables), [0] * len(tables)
    for (i, ours), (j, theirs) in combinations(enumerate(tables), 2):
        assert ours is not None and theirs is not None  # eligible rows are complete
        if sign := paired(ours, theirs).sign:
            winner, loser = (i, j) if sign > 0 else (j, i)
            worse[winner] += 1
            better[loser] += 1
    return [RankInterval(1 + better[i], len(tables) - worse[i]) for i in range(len(tables))]


def order(entries: Sequence[Entry], shots: int, family: str = ALL) -> list[Entry]:
    """Ranked rows by their score at K shots, best first; then the others, complete ones first."""

    def key(entry: Entry) -> tuple[Any, ...]:
        estimate = entry.estimate(shots, family)
        unranked, incomplete = entry.rank(shots, family) is None, not entry.result.complete
        return unranked, incomplete, -(estimate.iqm if estimate else float("-inf")), entry.file

    return sorted(entries, key=key)


def standing(entry: Entry, shots: int, family: str = ALL) -> Standing:
    """What the board says of an entry at K shots."""
    result, rank, estimate = entry.result, entry.rank(shots, family), entry.estimate(shots, family)
    families = Grid.of(result.contract).families() if family == ALL else []
    return Standing(
        file=entry.file,
        protocol=result.protocol,
        protocol_hash=result.protocol_hash,
        agent=result.label,
        rank=rank,
        unranked=None if rank else _why_unranked(entry) or f"not played at {shots} shots",
        score=estimate and Interval(estimate.iqm, estimate.ci_low, estimate.ci_high),
        gain=entry.gain(shots, family),
        families={name: entry.estimate(shots, name) for name in families},
        tier=entry.tier,
        parameters=result.parameters,
        latency=result.latency,
        environment_steps=result.ledger.environment_steps + result.source_steps,
        message_bits=result.ledger.bits_a_slot,
        privileged_training=result.privileged_training,
        command=result.command,
    )


def _why_unranked(entry: Entry) -> str | None:
    """Why a row is ranked at no number of shots; None where it is."""
    result = entry.result
    reasons = {
        "does not hold": entry.tier == "reported",
        "incomplete": not result.complete,
        "reference": result.privileged or result.agent == REFERENCE,
        "too few sites": result.protocol == UNRANKED,
        "claimed": entry.tier != TIERS[-1],
    }
    return next((said for said, holds in reasons.items() if holds), None)

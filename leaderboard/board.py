"""The board: a store's results, verified and ranked, ties shown as ties."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ..benchmark.protocol.spec import SIZES
from ..benchmark.protocol.statistics import paired
from ..errors import InvalidValueError, ResultError, UnknownNameError
from .entries import ALL, TIERS, Entry, RankInterval
from .reading import parse, read_bytes
from .schema import Result
from .store import result_files
from .summary import Grid, plain_score
from .verification.verify import holds_recomputed, recorded_tier

PROTOCOLS = (*SIZES, "custom")
UNRANKED = "quick"  # a first look, with too few seeds to rank by
HEADLINE = 5  # shots that a board shows unless told otherwise


def load(store: Path, protocol: str | None, note: Callable[[str], None]) -> list[Entry]:
    """The results of a store, verified as far as `recomputed`, or as a maintainer's record beside it says; not yet ranked.

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
                found.append(Entry(path.name, result.document(), _tier(path, content, result)))
        except ResultError as error:
            note(f"{path.name} is left out: {error}")
    if not found:
        hint = f"Try: --protocol {min(others)}" if others else "Add one: wbench submit FILE"
        raise ResultError(f"no results{f' of protocol {protocol}' if protocol else ''} in {store}. {hint}")
    return found


def _tier(path: Path, content: bytes, result: Result) -> str:
    if not holds_recomputed(result):
        return "reported"
    return recorded_tier(path, content) or "recomputed"


def headline(entries: Iterable[Entry]) -> int:
    """The number of shots that a board of these entries opens with: 5, or the most that is played."""
    played = {shots for entry in entries for shots in entry.document["contract"]["shots"]}
    return HEADLINE if HEADLINE in played else max(played, default=HEADLINE)


def check_selection(entries: Sequence[Entry], family: str | None, shots: int | None) -> None:
    """Raise unless some entry was played on this family, and at this number of shots."""
    grids = [Grid.of(entry.document["contract"]) for entry in entries]
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
    boards: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if eligible(entry):
            boards[entry.document["protocol_hash"]].append(entry)
    ranks: dict[str, dict[str, dict[str, RankInterval]]] = defaultdict(dict)
    for board in boards.values():
        grid = Grid.of(board[0].document["contract"])
        for family in families or (ALL, *grid.families()):
            part = grid.select(None if family == ALL else family)
            for k in [k for k in shots or grid.shots if k in grid.shots and part.variants]:
                for entry, place in zip(board, intervals(part, board, k), strict=True):
                    ranks[entry.file].setdefault(family, {})[str(k)] = place
    return [replace(entry, ranks=ranks.get(entry.file, {})) for entry in entries]


def eligible(entry: Entry) -> bool:
    """Whether a row is ranked at all: complete, no privileged reference, not `quick`, and its numbers hold."""
    document = entry.document
    sound = TIERS.index(entry.tier) >= TIERS.index("recomputed")
    return sound and document["complete"] and not document["privileged"] and document["protocol"] != UNRANKED


def intervals(grid: Grid, entries: Sequence[Entry], shots: int) -> list[RankInterval]:
    """Rank intervals at K shots: who is significantly better or worse by the paired difference on common episodes."""
    tables = [grid.lay_out(scores(entry.document), shots) for entry in entries]
    better, worse = [0] * len(tables), [0] * len(tables)
    for (i, ours), (j, theirs) in combinations(enumerate(tables), 2):
        assert ours is not None and theirs is not None  # eligible rows are complete
        ahead = paired(ours, theirs)
        if ahead.ci_low is not None and ahead.ci_high is not None and (ahead.ci_low > 0 or ahead.ci_high < 0):
            winner, loser = (i, j) if ahead.ci_low > 0 else (j, i)
            worse[winner] += 1
            better[loser] += 1
    return [RankInterval(1 + better[i], len(tables) - worse[i]) for i in range(len(tables))]


def scores(document: Mapping[str, Any]) -> dict[tuple[str, int, int], float]:
    """Scores by (variant, shots, seed), from the episodes: what a file says of them is rounded; failed cells have none."""
    played = (cell for cell in document["cells"] if not cell["failure"])
    return {(c["variant"], c["shots"], c["seed"]): plain_score(document["contract"], c) for c in played}


def order(entries: Sequence[Entry], shots: int, family: str = ALL) -> list[Entry]:
    """Ranked rows by their score at K shots, best first; then the others, complete ones first."""

    def key(entry: Entry) -> tuple[Any, ...]:
        estimate = estimate_of(entry, shots, family)
        unranked, incomplete = entry.rank(shots, family) is None, not entry.document["complete"]
        return unranked, incomplete, -(estimate["iqm"] if estimate else float("-inf")), entry.file

    return sorted(entries, key=key)


def estimate_of(entry: Entry, shots: int, family: str = ALL) -> Mapping[str, Any] | None:
    """IQM with its interval at K shots, over everything or over a family; None where cells are missing."""
    summary = entry.document["summary"].get(str(shots))
    return summary if summary is None or family == ALL else summary["families"].get(family)


def row(entry: Entry, shots: int, family: str = ALL) -> dict[str, Any]:
    """What the board says of an entry at K shots, as plain data."""
    document: Any = entry.document
    rank, ledger = entry.rank(shots, family), document["ledger"]
    families = Grid.of(document["contract"]).families() if family == ALL else []
    return {
        "file": entry.file,
        "protocol": document["protocol"],
        "protocol_hash": document["protocol_hash"],
        "agent": document["label"],
        "rank": rank and [rank.best, rank.worst],
        "unranked": None if rank else _why_unranked(entry, shots),
        "score": _interval(estimate_of(entry, shots, family)),
        "families": {name: _interval(estimate_of(entry, shots, name)) for name in families},
        "tier": entry.tier,
        "parameters": document["parameters"],
        "latency": document["latency"],
        "environment_steps": ledger["environment_steps"] + document["source_steps"],
        "message_bits": ledger["message_bits"] / max(ledger["query_steps"], 1),
        "privileged_training": document["privileged_training"],
        "command": document["command"],
    }


def _interval(estimate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if estimate is None else {name: estimate[name] for name in ("iqm", "ci_low", "ci_high")}


def _why_unranked(entry: Entry, shots: int) -> str:
    if entry.tier == "reported":
        return "does not hold"
    if not entry.document["complete"]:
        return "incomplete"
    if entry.document["privileged"]:
        return "reference"
    return "too few seeds" if entry.document["protocol"] == UNRANKED else f"not played at {shots} shots"

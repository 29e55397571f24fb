"""What a board and its page need of a result: a line of some kilobytes instead of every episode."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, fields
from operator import mul
from typing import Annotated, Any

import numpy as np
from pydantic import FailFast, Field

from ...benchmark.protocol.fields import Count, Digest, Name, Number, ShotsKey, Text, record
from ...benchmark.protocol.ledger import Ledger
from ...benchmark.protocol.spec import Contract, Size, hash_of
from ...benchmark.protocol.statistics import Interval, Summary
from ..result import Result
from ..schema import AgentRecord, Hardware, Release
from ..summary import Grid, Scores, agents_of, scores_of

FAILURES = 8  # that a line tells of
OWN_LOGS = "site"  # whose logs a row adapts on; a control's are of others
Pair = tuple[Number, Number]
Delivery = dict[Name, list[Pair | None]]


@record
class Line(AgentRecord):
    """A result in short: everything but its episodes, and the contract, which many share."""

    protocol: Size
    """Size of its protocol."""
    protocol_hash: Digest
    """SHA-256 of the contract."""
    releases: tuple[Release, ...]
    """Releases of the datasets of the families played."""
    command: Text
    """Runs it again."""
    versions: dict[Name, Text]
    """Of Python and the packages that numbers depend on."""
    hardware: Hardware
    """What it was played on."""
    message_floats: dict[Name, int]
    """Floats that each agent broadcasts a slot, by family."""
    complete: bool
    """Every cell is there and none failed."""
    summary: dict[ShotsKey, Summary | None]
    """By number of shots."""
    gain: dict[ShotsKey, Interval | None]
    """Adaptation gain by number of shots."""
    latency: float | None
    """Seconds a slot of play."""
    ledger: Ledger
    """Sum over the cells."""
    cells: Count
    """Number of cells, failed ones too."""
    failed: Count
    """Number of those in which the agent failed."""
    failures: tuple[Text, ...]
    """What the first of them said."""
    scores: Annotated[tuple[Number | None, ...], FailFast()]
    """Scores [variant][site][shots], flat, computed from the episodes; null where a cell is missing or failed."""
    samples: tuple[Number | None, ...]
    """Agent transitions of a site seen in learning, by number of shots: the mean over finished cells."""
    delivery: Delivery
    """Of what was delivered, by family and shots: mean delay, energy over goodput."""
    support: Name
    """Whose logs it adapted on: the site's, or those of a control."""
    places: Digest
    """SHA-256 of the contract but for shots and logs: a row and its controls agree in it."""
    played: Digest
    """SHA-256 of who played what, episode by episode; the same for replays, other orders and other timings."""
    contract: Annotated[dict[str, Any], Field(exclude=True)] = field(default_factory=dict)
    """Everything that defines a score."""

    @classmethod
    def of(cls, result: Result) -> Line:
        """The line of a result."""
        grid, shared = Grid.of(result.contract), {one.name for one in fields(cls)} & {one.name for one in fields(Result)}
        found = scores_of(result.contract, result.cells)
        lost = result.failed
        return cls(
            **{name: getattr(result, name) for name in shared - {"cells"}},
            cells=len(result.cells),
            failed=len(lost),
            failures=tuple(f"{cell.cell}: {cell.failure}" for cell in lost[:FAILURES]),
            scores=tuple(found.get((v, site, k)) for v in grid.variants for site in grid.sites for k in grid.shots),
            samples=tuple(_samples(result, grid)),
            delivery=_delivery(result, grid),
            support=logs_of(result.contract),
            places=_places(result.contract),
            played=played(result),
        )

    @property
    def who(self) -> tuple[str, ...]:
        """Who played: label, code, weights, settings."""
        return (self.label, self.package.name, self.package.version, self.checkpoint, self.settings)

    @property
    def player(self) -> tuple[str, ...]:
        """The same, whatever the version of the code: controls are often played later than the row."""
        return (self.label, self.package.name, self.checkpoint, self.settings)

    @property
    def identity(self) -> tuple[str, ...]:
        """Rows that agree in this are one row: who played, and the protocol."""
        return (*self.who, self.protocol_hash)

    def table(self, shots: int, family: str | None = None) -> np.ndarray | None:
        """Scores [variant, site] at K shots, of all families or one; None while one is missing."""
        grid = Grid.of(self.contract)  # type: ignore[arg-type]
        chosen = [i for i, name in enumerate(grid.variants) if family in (None, name.partition("/")[0])]
        whole = np.array(self.scores, dtype=np.float64).reshape(len(grid.variants), len(grid.sites), len(grid.shots))
        found: np.ndarray = whole[chosen][..., grid.shots.index(shots)]
        return None if np.isnan(found).any() else found

    def all_scores(self) -> Scores:
        """Scores by (variant, site, shots)."""
        grid = Grid.of(self.contract)  # type: ignore[arg-type]
        keys = [(v, site, k) for v in grid.variants for site in grid.sites for k in grid.shots]
        return {key: score for key, score in zip(keys, self.scores, strict=True) if score is not None}


def logs_of(contract: Contract) -> str:
    """Whose logs agents adapted on: `OWN_LOGS`, or those of a control."""
    return str(contract.get("support", {}).get("kind", OWN_LOGS))


def _places(contract: Contract) -> str:
    return hash_of({**contract, "shots": [], "support": {**contract.get("support", {}), "kind": OWN_LOGS}})


def played(result: Result) -> str:
    """Digest of who played what: agent, code, weights, settings, protocol, and every episode in one order."""
    package = (result.package.name, result.package.version)
    who = (result.label, *package, result.checkpoint, result.settings, result.protocol_hash)
    found = hashlib.sha256(json.dumps(who).encode())
    for cell in sorted(result.cells, key=lambda one: (one.variant, one.site, one.shots)):
        columns = [("return", cell.returns), *sorted(cell.qos.items())]
        about = [cell.variant, cell.site, cell.shots, cell.failure, [(name, len(values)) for name, values in columns]]
        found.update(json.dumps(about).encode())
        for _, values in columns:  # as bytes: to write them out as text takes a tenth of all that a file takes
            found.update(array("d", values).tobytes())
    return found.hexdigest()


def _samples(result: Result, grid: Grid) -> list[float | None]:
    agents = {name: agents_of(result.contract, name) for name in grid.variants}
    seen: dict[int, list[int]] = defaultdict(list)
    for cell in result.cells:
        if not cell.failure:
            steps = cell.ledger.environment_steps * agents[cell.variant]
            seen[cell.shots].append(cell.ledger.support_transitions + steps)
    return [rounded(_mean(seen[k])) if seen[k] else None for k in grid.shots]


def _delivery(result: Result, grid: Grid) -> Delivery:
    """Episodes that deliver nothing have a delay of 0 in a result file, and an agent that does nothing spends nothing.

    So each episode counts by its goodput; None where a variant has none, or cells are missing.
    """
    found: dict[tuple[str, int], list[Mapping[str, Sequence[float]]]] = defaultdict(list)
    for cell in result.cells:
        if not cell.failure:
            found[cell.variant, cell.shots].append(cell.qos)

    def at(part: Grid, shots: int) -> Pair | None:
        cells = [found[variant, shots] for variant in part.variants]
        pairs = [_per_unit(qos) for qos in cells if len(qos) == len(grid.sites)]
        known = [pair for pair in pairs if pair is not None]
        if len(known) < len(cells):
            return None
        delay, energy = (rounded(_mean(column)) for column in zip(*known, strict=True))
        return delay, energy

    return {family: [at(grid.select(family), k) for k in grid.shots] for family in grid.families()}


def _per_unit(cells: Iterable[Mapping[str, Sequence[float]]]) -> tuple[float, float] | None:
    """Delay and energy for each unit that was delivered in some cells; None where nothing was."""
    goodput, delay, energy = ([x for qos in cells for x in qos.get(name, ())] for name in ("goodput", "delay_mean", "energy"))
    total = sum(goodput)
    return (sum(map(mul, goodput, delay)) / total, sum(energy) / total) if total > 0 else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def rounded(value: float) -> float:
    """Three significant digits, as many as are shown: what is shown is rounded once."""
    return float(f"{value:.3g}")

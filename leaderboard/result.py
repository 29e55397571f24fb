"""What a run yields, and the result file that says it: JSON, versioned, written beside the target and renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..benchmark.agent import Agent
from ..benchmark.data.paths import write_text
from ..benchmark.protocol.ledger import Ledger
from ..benchmark.protocol.runner import CellResult
from ..benchmark.protocol.spec import Cell, Protocol
from ..benchmark.rollout import BITS_PER_FLOAT
from ..errors import OutputError, ResultError
from . import provenance
from .schema import VERSION, Hardware, Player, Row
from .summary import Grid, differences, summarise


@dataclass(frozen=True)
class Run:
    """One agent on one protocol, finished or not.

    Attributes:
        player: the agent, its track and its checkpoint.
        cells: cells played, failed ones too.
        hardware: what it was played on.
    """

    player: Player
    cells: Mapping[Cell, CellResult]
    hardware: Hardware | None

    @classmethod
    def start(cls, agent: Agent, checkpoint: str | None = None, device: str = "cpu") -> Run:
        """A run without cells of an agent that was made from this checkpoint, on this device."""
        return cls(provenance.player(agent, checkpoint), {}, provenance.hardware(device))

    @classmethod
    def of(cls, row: Row, hardware: Hardware | None = None) -> Run:
        """The run that a row of a result file holds."""
        player = Player(**{name: getattr(row, name) for name in Player.model_fields})
        found = [_cell_result(cell.model_dump()) for cell in row.cells]
        return cls(player, {result.cell: result for result in found}, hardware)

    @property
    def agent(self) -> str:
        """What the board shows."""
        return self.player.label

    def same_agent(self, other: Run) -> bool:
        """Whether both are of the same agent in the same track with the same weights, settings and code."""
        names = ("label", "checkpoint", "settings", "package")
        return all(getattr(self.player, name) == getattr(other.player, name) for name in names)

    def add(self, result: CellResult) -> Run:
        """This run with one more cell."""
        return replace(self, cells={**self.cells, result.cell: result})

    def scores(self) -> dict[tuple[str, int, int], float]:
        """Score of every cell that has one, by (variant, shots, seed)."""
        found = {(c.variant, c.shots, c.seed): result.score for c, result in self.cells.items()}
        return {key: score for key, score in found.items() if score is not None}

    def ledger(self) -> Ledger:
        """Costs of all cells."""
        return sum((result.ledger for result in self.cells.values()), Ledger())

    def to_dict(self, protocol: Protocol) -> dict[str, Any]:
        """Plain data, as in a row of the result file."""
        order = {cell: place for place, cell in enumerate(protocol.cells())}
        played = [self.cells[cell] for cell in sorted(self.cells, key=order.__getitem__)]
        contract, scores, ledger = protocol.contract(), self.scores(), self.ledger()
        grid = Grid.of(contract)
        return {
            **self.player.model_dump(mode="json"),
            "message_floats": message_floats(contract, map(_cell_record, played)),
            "complete": grid.complete(scores),
            "cells": [_cell_record(result) for result in played],
            "summary": summarise(grid, scores),
            "latency": latency(ledger.to_dict()),
            "ledger": ledger.to_dict(),
        }


def _cell_record(result: CellResult) -> dict[str, Any]:
    mean, score = result.return_mean, result.score
    notes = {name: provenance.printable(note) if isinstance(note, str) else note for name, note in result.adaptation.items()}
    return {
        **asdict(result.cell),
        "return_mean": None if mean is None else round(mean, 6),
        "score": None if score is None else round(score, 4),
        "returns": list(result.returns),
        "qos": {name: list(values) for name, values in result.qos.items()},
        "adaptation": notes,
        "failure": provenance.printable(result.failure),
        "ledger": result.ledger.to_dict(),
    }


def _cell_result(data: Mapping[str, Any]) -> CellResult:
    cell = Cell(data["family"], data["variant"], data["shots"], data["seed"])
    return CellResult(cell, data["returns"], data["qos"], Ledger(**data["ledger"]), data["adaptation"], data["failure"])


def message_floats(contract: Mapping[str, Any], cells: Any) -> dict[str, int]:
    """Floats that each agent broadcast a slot, by family: what the bits of a cell that was played come from."""
    found: dict[str, int] = {}
    for cell in cells:
        agents = contract["variants"][cell["variant"]]["spec"]["agents"]
        steps = cell["ledger"]["query_steps"]
        if steps and cell["family"] not in found:
            found[cell["family"]] = cell["ledger"]["message_bits"] // (BITS_PER_FLOAT * agents * steps)
    return found


def latency(ledger: Mapping[str, Any]) -> float | None:
    """Seconds a slot of play, all its agents together; None where it was not measured."""
    steps, seconds = ledger["query_steps"], ledger["act_seconds"]
    return round(seconds / steps, 9) if steps and seconds else None


def document(protocol: Protocol, run: Run, others: Sequence[Run] = ()) -> dict[str, Any]:
    """The result file: the run, what it was compared with on the same episodes, and the paired differences."""
    families = dict.fromkeys(name.partition("/")[0] for name in protocol.variants)
    return {
        "schema": VERSION,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash(),
        "contract": protocol.contract(),
        **run.to_dict(protocol),
        "releases": [release.model_dump(mode="json") for release in provenance.releases(families)],
        "comparison": [other.to_dict(protocol) | {"difference": difference(protocol, run, other)} for other in others],
        "command": provenance.command(run.player, protocol, run.hardware.device if run.hardware else "cpu"),
        "versions": provenance.versions(),
        "hardware": run.hardware and run.hardware.model_dump(mode="json"),
    }


def difference(protocol: Protocol, run: Run, other: Run) -> dict[str, Any]:
    """IQM of the paired score difference `run - other` per number of shots, with its interval; null where cells are missing."""
    return differences(Grid.of(protocol.contract()), run.scores(), other.scores())


def save(path: Path, data: Mapping[str, Any]) -> None:
    """Write a result file beside the target and rename it; raises `OutputError` where that cannot be done."""
    try:
        write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        hint = "Give a file in a folder you may write to."
        raise OutputError(f"cannot write --out {str(path)!r} ({error.strerror}). {hint}") from error


def load(path: Path, protocol: Protocol, run: Run) -> tuple[Run, list[Run]]:
    """Cells of the same agent and protocol from an earlier, interrupted run.

    Returns:
        The run and those it was compared with; without cells where the file does not exist yet.

    Raises:
        OutputError: the file holds something else; it is left alone.
    """
    from .reading import read

    if not path.exists():
        return run, []
    refuse = "It is left as it is: give another --out, or move it away."
    if path.is_dir():
        raise OutputError(f"--out {str(path)!r} is a folder. Give a file name.")
    try:
        found = read(path)
    except ResultError as error:
        raise OutputError(f"--out {str(path)!r} exists: {error} {refuse}") from error
    earlier, others = Run.of(found, run.hardware), [Run.of(rival, run.hardware) for rival in found.comparison]
    if not earlier.same_agent(run) or found.protocol_hash != protocol.hash():
        same_name = (earlier.agent, earlier.player.checkpoint) == (run.agent, run.player.checkpoint)
        recoded = same_name and earlier.player.package != run.player.package
        other = "by other code: another version of its file or package" if recoded else "under another protocol or checkpoint"
        raise OutputError(f"--out {str(path)!r} holds a result of {earlier.agent} {other}. {refuse}")
    return earlier, others

"""The result file of a run: JSON, versioned, written after every cell, resumed by the same command."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..benchmark.agent import Agent
from ..benchmark.data.store import write_atomically
from ..benchmark.ledger import Ledger
from ..benchmark.protocol import Cell, Protocol
from ..benchmark.runner import CellResult
from ..benchmark.statistics import interval, paired
from ..errors import OutputError

SCHEMA = "wbench-result/1"
PACKAGES = ("wbench", "torch", "numpy", "scipy", "datasets", "huggingface_hub")


@dataclass(frozen=True)
class Run:
    """One agent on one protocol, finished or not.

    Attributes:
        agent: name of the agent.
        checkpoint: SHA-256 of its weights, empty for a fixed rule.
        parameters: number of trained parameters.
        privileged: sees hidden state when acting.
        cells: finished cells.
    """

    agent: str
    checkpoint: str
    parameters: int
    privileged: bool
    cells: Mapping[Cell, CellResult]

    @classmethod
    def start(cls, agent: Agent) -> Run:
        """A run without cells."""
        return cls(agent.name, agent.checkpoint_digest, agent.parameters, agent.privileged, {})

    def same_agent(self, other: Run) -> bool:
        """Whether both are of the same agent with the same weights."""
        return (self.agent, self.checkpoint) == (other.agent, other.checkpoint)

    def add(self, result: CellResult) -> Run:
        """This run with one more cell."""
        return Run(self.agent, self.checkpoint, self.parameters, self.privileged, {**self.cells, result.cell: result})

    def scores(self, protocol: Protocol, shots: int) -> list[list[float]] | None:
        """Scores [variant][seed] at K shots; None while a cell is missing, which is never averaged away."""
        cells = [[Cell(v.partition("/")[0], v, shots, s) for s in range(protocol.seeds)] for v in protocol.variants]
        if any(cell not in self.cells for row in cells for cell in row):
            return None
        return [[self.cells[cell].score for cell in row] for row in cells]

    def summary(self, protocol: Protocol) -> dict[str, Any]:
        """IQM and interval per number of shots; null where cells are missing."""
        found = {str(shots): self.scores(protocol, shots) for shots in protocol.shots}
        return {shots: asdict(interval(scores)) if scores else None for shots, scores in found.items()}

    def ledger(self) -> Ledger:
        """Costs of all finished cells."""
        return sum((result.ledger for result in self.cells.values()), Ledger())

    def to_dict(self, protocol: Protocol) -> dict[str, Any]:
        """Plain data."""
        return {
            "agent": self.agent,
            "checkpoint": self.checkpoint,
            "parameters": self.parameters,
            "privileged": self.privileged,
            "complete": all(cell in self.cells for cell in protocol.cells()),
            "cells": [_cell_to_dict(result) for result in self.cells.values()],
            "summary": self.summary(protocol),
            "ledger": self.ledger().to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Run:
        """Inverse of `to_dict`."""
        results = [_cell_from_dict(cell) for cell in data["cells"]]
        return cls(data["agent"], data["checkpoint"], data["parameters"], data["privileged"], {r.cell: r for r in results})


def _cell_to_dict(result: CellResult) -> dict[str, Any]:
    return {
        **asdict(result.cell),
        "return_mean": round(result.return_mean, 6),
        "score": round(result.score, 4),
        "returns": list(result.returns),
        "qos": {name: list(values) for name, values in result.qos.items()},
        "adaptation": dict(result.adaptation),
        "ledger": result.ledger.to_dict(),
    }


def _cell_from_dict(data: Mapping[str, Any]) -> CellResult:
    cell = Cell(data["family"], data["variant"], data["shots"], data["seed"])
    qos = {name: tuple(values) for name, values in data["qos"].items()}
    returns = tuple(float(x) for x in data["returns"])
    if not returns or not all(math.isfinite(x) for x in returns):
        raise ValueError(f"cell {cell} has no finite returns")
    return CellResult(cell, returns, qos, Ledger(**data["ledger"]), data["adaptation"])


def document(protocol: Protocol, run: Run, others: Sequence[Run] = ()) -> dict[str, Any]:
    """The result file: the run, what it was compared with on the same episodes, and the paired differences."""
    ours = run.to_dict(protocol)
    comparison = [other.to_dict(protocol) | {"difference": difference(protocol, run, other)} for other in others]
    return {
        "schema": SCHEMA,
        "protocol": protocol.name,
        "protocol_hash": protocol.hash(),
        "contract": protocol.contract(),
        **ours,
        "comparison": comparison,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }


def difference(protocol: Protocol, run: Run, other: Run) -> dict[str, Any]:
    """IQM of the paired score difference `run - other` per number of shots, with its interval; null where cells are missing."""
    found: dict[str, Any] = {}
    for shots in protocol.shots:
        ours, theirs = run.scores(protocol, shots), other.scores(protocol, shots)
        found[str(shots)] = asdict(paired(ours, theirs)) if ours and theirs else None
    return found


def save(path: Path, data: Mapping[str, Any]) -> None:
    """Write a result file beside the target and rename it; raises `OutputError` where that cannot be done."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    try:
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError as error:
        hint = "Give a file in a folder you may write to."
        raise OutputError(f"cannot write --out {str(path)!r} ({error.strerror}). {hint}") from error


def load(path: Path, protocol: Protocol, run: Run) -> tuple[Run, list[Run]]:
    """Finished cells of the same agent and protocol from an earlier, interrupted run.

    Returns:
        The run and those it was compared with; without cells where the file does not exist yet.

    Raises:
        OutputError: the file holds something else; it is left alone.
    """
    if not path.exists():
        return run, []
    refuse = "It is left as it is: give another --out, or move it away."
    if path.is_dir():
        raise OutputError(f"--out {str(path)!r} is a folder. Give a file name.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        earlier, others = Run.from_dict(data), [Run.from_dict(other) for other in data["comparison"]]
        protocol_hash = data["protocol_hash"]
    except OSError as error:
        raise OutputError(f"cannot read --out {str(path)!r} ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"--out {str(path)!r} exists and is no wbench result ({error!r:.80}). {refuse}") from error
    if not earlier.same_agent(run) or protocol_hash != protocol.hash():
        other = f"{earlier.agent} under another protocol or checkpoint"
        raise OutputError(f"--out {str(path)!r} holds a result of {other}. {refuse}")
    return earlier, others

"""The journal of a run: every finished cell, one line each, on disk before the next one is reported.

A line is written in one piece and synced, so a run that is killed at any moment loses at most the cells that were being played.
A torn last line is dropped when the journal is opened again, a cell that stands there twice counts once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...errors import OutputError
from ..agent import Agent
from ..data.paths import held, possible
from ..user_code import digest
from .executor import package_versions
from .fields import MaybeDigest, Slashed, adapter, record
from .runner import CellResult
from .spec import Cell, Protocol
from .strict import loads

SCHEMA = "wbench-cells/2"


@record
class AgentKey:
    """Tells agents apart: an agent with other weights, other settings or other code is another agent."""

    label: Slashed
    """Its name, with its track where it has several."""
    checkpoint: MaybeDigest
    """SHA-256 of its weights."""
    settings: MaybeDigest
    """SHA-256 of its settings."""
    code: MaybeDigest
    """SHA-256 of the file that its class is written in, and of files beside it; empty if it was typed into an interpreter."""

    @classmethod
    def of(cls, agent: Agent) -> AgentKey:
        """The key of an agent in its track."""
        source = getattr(sys.modules.get(type(agent).__module__), "__file__", None)
        code = digest(Path(source)) if source else ""
        return cls(agent.label, agent.checkpoint_digest, agent.settings_digest, code)


@record
class Line:
    """A line of a journal."""

    agent: AgentKey
    """The agent that played the cell."""
    cell: CellResult
    """The cell."""


class Journal:
    """The cells of a run, beside its result file. It stays there: the same command goes on from it, also after its end.

    Args:
        path: the file; made if it is not there.
        protocol: what is played.
        agent: the agent that the run is about. A journal about another one, of another protocol, or of other versions of
            wbench or PyTorch, is refused.

    Raises:
        OutputError: the file cannot be written, or belongs to something else; it is left as it is.
    """

    def __init__(self, path: Path, protocol: Protocol, agent: AgentKey) -> None:
        self.path = path
        about = {"label": agent.label, "checkpoint": agent.checkpoint, "settings": agent.settings}
        self._head = {"schema": SCHEMA, "agent": about, "protocol_hash": protocol.hash(), "versions": package_versions()}
        self._cells: dict[AgentKey, dict[Cell, CellResult]] = {}
        try:
            with possible(f"write --out {str(path)!r}", "Give a file in a folder you may write to."):
                self._read()
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            hint = "It is left as it is: give another --out, or move it away to start anew."
            raise OutputError(f"{path} holds cells of something else ({reason}). {hint}") from error

    def cells(self, agent: AgentKey) -> dict[Cell, CellResult]:
        """The cells of an agent in its track, with its weights, its settings and its code."""
        return dict(self._cells.get(agent, {}))

    def add(self, agent: AgentKey, result: CellResult) -> None:
        """Write a finished cell; when this returns it is on disk."""
        self._cells.setdefault(agent, {})[result.cell] = result
        self._append(adapter(Line).dump_json(Line(agent, result)))

    def _read(self) -> None:
        if self.path.exists() and not self.path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        first, *lines = whole.splitlines() or [b""]
        head = json.dumps(self._head).encode()
        if not first and not head.startswith(content):
            raise ValueError("it does not begin with a line of wbench's")
        if first and first != head:
            raise ValueError(_difference(loads(first), self._head))
        for line in map(adapter(Line).validate_json, lines):
            if bool(line.cell.returns) == bool(line.cell.failure):
                raise ValueError(f"{line.cell.cell} has neither returns nor a failure")
            self._cells.setdefault(line.agent, {})[line.cell.cell] = line.cell
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        if not first:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(head)

    def _append(self, line: bytes) -> None:
        with self.path.open("ab") as stream:
            stream.write(line + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    """In what the first lines of two journals differ."""
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return f"it begins with {json.dumps(found)}"
    said = {"agent": "another agent or checkpoint", "protocol_hash": "another protocol", "versions": "other versions of wbench"}
    return " and ".join(said[name] for name in wanted if found.get(name) != wanted[name])


@contextmanager
def alone(out: Path | None) -> Iterator[None]:
    """Hold a result file, and the journal beside it, for one run; one that is killed lets go.

    Raises:
        OutputError: another run holds it, or nothing can be written there.
    """
    if out is None:
        yield
        return
    if not out.name or out.is_dir():
        raise OutputError(f"--out {str(out)!r} is a folder. Give a file name.")
    if out.is_symlink():  # it would be replaced, not what it leads to
        raise OutputError(f"--out {str(out)!r} is a symlink. It is left as it is: give another --out, or the file it leads to.")
    busy = f"another run is writing --out {str(out)!r}. Wait for it, or give another --out."
    with ExitStack() as stack:
        with possible(f"write --out {str(out)!r}", "Give a file in a folder you may write to."):
            out.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(out.with_name(f".{out.name}.lock"), busy))
        yield

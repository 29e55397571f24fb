"""The journal of a run: every finished cell, one line each, on disk before the next one is reported.

A line is written in one piece and synced, so a run that is killed at any moment loses at most the cells that were being played.
A torn last line is dropped when the journal is opened again, a cell that stands there twice counts once.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...errors import OutputError
from ..agent import Agent
from .executor import package_versions
from .runner import CellResult
from .spec import Cell, Protocol

SCHEMA = "wbench-cells/1"
Key = tuple[str, str, str, str]  # label, hashes of the weights, the settings and the code
_NAMES = ("agent", "checkpoint", "settings", "code")


class Journal:
    """The cells of a run that goes on until `finish`.

    Args:
        path: the file; made if it is not there.
        protocol: what is played. A journal of another protocol, or of other versions of wbench or PyTorch, is refused.

    Raises:
        OutputError: the file cannot be written, or belongs to something else; it is left as it is.
    """

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path = path
        self._head = {"schema": SCHEMA, "protocol_hash": protocol.hash(), "versions": package_versions()}
        self._cells: dict[Key, dict[Cell, CellResult]] = {}
        try:
            self._read()
        except OSError as error:
            hint = "Give a file in a folder you may write to."
            raise OutputError(f"cannot write --out {str(path)!r} ({error.strerror}). {hint}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            hint = "It is left as it is: give another --out, or move it away to start anew."
            raise OutputError(f"{path} holds cells of something else ({reason}). {hint}") from error

    def cells(self, agent: Agent) -> Mapping[Cell, CellResult]:
        """The cells of an agent in its track, with its weights, its settings and its code."""
        return self._cells.get(_key(agent), {})

    def add(self, agent: Agent, result: CellResult) -> None:
        """Write a finished cell; when this returns it is on disk."""
        self._cells.setdefault(_key(agent), {})[result.cell] = result
        self._append({**dict(zip(_NAMES, _key(agent), strict=True)), **result.to_dict()})

    def finish(self, agents: Iterable[Agent]) -> None:
        """Delete it, when the cells of these agents stand in a result file; it stays where it holds cells of others."""
        if self._cells.keys() <= set(map(_key, agents)):
            self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines and content and not json.dumps(self._head).encode().startswith(content):
            raise ValueError("it does not begin with a line of wbench's")
        if lines and lines[0] != self._head:
            raise ValueError(f"it begins with {json.dumps(lines[0])}")
        for line in lines[1:]:
            key = line.pop("agent"), line.pop("checkpoint"), line.pop("settings", ""), line.pop("code", "")
            result = CellResult.from_dict(line)
            self._cells.setdefault(key, {})[result.cell] = result
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        if not lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(self._head)

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("ab") as stream:
            stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


@contextmanager
def alone(out: Path | None) -> Iterator[None]:
    """Hold a result file, and the journal beside it, for one run; one that is killed lets go.

    Raises:
        OutputError: another run holds it, or nothing can be written there.
    """
    if out is None:
        yield
        return
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(f"another run is writing --out {str(out)!r}. Wait for it, or give another --out.") from error
    except OSError as error:
        hint = "Give a file in a folder you may write to."
        raise OutputError(f"cannot write --out {str(out)!r} ({error.strerror}). {hint}") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _key(agent: Agent) -> Key:
    return agent.label, agent.checkpoint_digest, agent.settings_digest, _code(type(agent))


def _code(kind: type[Agent]) -> str:
    """SHA-256 of the file that an agent's class is written in: an agent that was edited is another one."""
    source = getattr(sys.modules.get(kind.__module__), "__file__", None)  # none if typed into an interpreter
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else ""

"""Plays cells again in a process of its own, which knows nothing of what was claimed and holds none of this one's secrets.

`python -P -m wbench.leaderboard.verification.child FILE` reads a job from standard input and writes its answers, a line of JSON
each, into the file: who the agent is, every cell, and what it was caught looking at. It ends with its parent.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ... import errors
from ...benchmark.check.decentralised import Question, peeks
from ...benchmark.data.paths import home
from ...benchmark.processes import leave
from ...benchmark.protocol.fields import adapter, plain, record
from ...benchmark.protocol.runner import CellResult, run_cell
from ...benchmark.protocol.spec import Cell
from ...benchmark.registry import get_variant, make_agent
from ...benchmark.user_code import is_file
from ...errors import ExecutorError, WbenchError, foreign
from ..provenance import agent_record
from ..schema import AgentRecord

T = TypeVar("T")
Answer = CellResult | str
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_KEPT_FROM = ("OMP_", "MKL_", "OPENBLAS_", "WBENCH_PRECISION")
_PATIENCE = 0.05  # seconds between two looks
_LONGEST = 8 << 20  # bytes of an answer


@record
class Job:
    """What is to be played by which agent."""

    agent: str
    """Registered name, or `FILE.py[:ATTR]`."""
    checkpoint: str | None
    """Folder or packaged name."""
    track: str | None
    """In which track; null = the agent's first."""
    run_files: bool
    """Whether `agent` is a file that may be run."""
    cells: list[Cell]
    """Cells to be played."""
    asked: list[Cell]
    """Cells in which it is asked whether it looks at others."""
    episodes: int
    """Query episodes a cell."""
    device: str
    """Where it computes."""
    logs: str
    """Whose support it adapts on."""


@record
class Peeked:
    """What an agent was caught looking at; empty where it was not."""

    found: str
    """In words."""


@dataclass
class _Lines:
    """The lines of a file that grows."""

    path: Path
    process: subprocess.Popen[bytes]
    kept: bytes = b""
    read: int = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The next line, waited for; raises `ExecutorError` where the process ended without it."""
        while b"\n" not in self.kept:
            ended = self.process.poll() is not None  # asked before reading: what it wrote last is read
            with self.path.open("rb") as stream:
                stream.seek(self.read)
                more = stream.read(_LONGEST)
            self.read += len(more)
            self.kept += more
            if not more and ended:
                raise ExecutorError(f"the process that played again ended too early (exit code {self.process.returncode}).")
            if len(self.kept) > _LONGEST and b"\n" not in self.kept:
                raise ExecutorError("the process that played again answered with no end.")
            if not more:
                time.sleep(_PATIENCE)
        line, _, self.kept = self.kept.partition(b"\n")
        return line


@contextmanager
def play_again(job: Job) -> Iterator[tuple[AgentRecord, Iterator[Answer]]]:
    """Who the agent of a job is, and the answers to its cells and its questions, as they come.

    Raises:
        WbenchError: as it was raised there, e.g. since a checkpoint cannot be loaded.
        ExecutorError: the process died, or says something else.
    """
    with tempfile.TemporaryDirectory(prefix="wbench-rerun-") as folder:
        answers = Path(folder) / "answers.jsonl"
        answers.touch()
        command = [sys.executable, "-P", "-m", __name__, str(answers)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=scrubbed(Path(folder)),
            cwd=folder,
        )
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it ended already, which its answers tell
                process.stdin.write(json.dumps(plain(_absolute(job))).encode() + b"\n")
                process.stdin.flush()
            yield heard(job, _Lines(answers, process))
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()


def scrubbed(folder: Path) -> dict[str, str]:
    """The environment of the process: what Python needs to find the same code, a home of its own, and no token."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_FROM)}
    paths = [str(Path(entry).resolve()) for entry in sys.path if entry]
    own = {"HOME": str(folder), "USERPROFILE": str(folder), "PYTHONUSERBASE": site.getuserbase(), "HF_HUB_OFFLINE": "1"}
    return kept | own | {"PYTHONPATH": os.pathsep.join(paths), "WBENCH_HOME": str(home().resolve())}


def _absolute(job: Job) -> Job:
    """A job whose paths hold in another folder."""
    agent, folder = job.agent, job.checkpoint
    if job.run_files and is_file(agent):
        file, _, attribute = agent.partition(":")
        agent = str(Path(file).resolve()) + (f":{attribute}" if attribute else "")
    if folder is not None and Path(folder).expanduser().is_dir():
        folder = str(Path(folder).expanduser().resolve())
    return replace(job, agent=agent, checkpoint=folder)


def heard(job: Job, lines: Iterator[bytes]) -> tuple[AgentRecord, Iterator[Answer]]:
    """What the lines of `answered` say; raises the errors that they tell of."""
    return _read(AgentRecord, next(lines), "agent"), _answers(job, lines)


def _answers(job: Job, lines: Iterator[bytes]) -> Iterator[Answer]:
    for _ in job.cells:
        yield _read(CellResult, next(lines), "cell")
    for _ in job.asked:
        yield _read(Peeked, next(lines), "peeked").found


def _read(kind: type[T], line: bytes, what: str) -> T:
    """The answer in a line; an error is raised here as it was there."""
    try:
        data = json.loads(line)
        if "error" in data:
            name, message = data["error"]
            raised = getattr(errors, str(name), None)
            if not (isinstance(raised, type) and issubclass(raised, WbenchError)):
                raised = ExecutorError
            raise raised.__new__(raised, str(message))
        return adapter(kind).validate_json(json.dumps(data[what]))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        if isinstance(error, WbenchError):
            raise
        said = " ".join(str(error).split())[:100]
        raise ExecutorError(f"the process that played again said something else ({said!r}).") from error


def main(path: str) -> int:
    """The process itself."""
    job = adapter(Job).validate_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Path(path).open("a", encoding="utf-8") as stream:
        for line in answered(job):
            stream.write(f"{line}\n")
            stream.flush()
    return 0


def answered(job: Job) -> Iterator[str]:
    """The answers to a job, a line of JSON each: the agent, then the cells, then the questions; or what went wrong."""
    try:
        agent = make_agent(job.agent, job.checkpoint, job.device, job.track, run_files=job.run_files)
        yield json.dumps({"agent": plain(agent_record(agent, job.checkpoint))})
        for cell in job.cells:
            yield json.dumps({"cell": plain(run_cell(agent, cell, job.episodes, job.device, logs=job.logs))})
        for cell in job.asked:
            asked = Question(cell.site, cell.shots, job.episodes, job.logs)
            yield json.dumps({"peeked": {"found": peeks(agent, *get_variant(cell.variant), asked, job.device)}})
    except WbenchError as error:
        yield json.dumps({"error": [type(error).__name__, str(error)]})
    except GeneratorExit:  # nobody reads on
        raise
    except BaseException as error:  # the agent's own code
        yield json.dumps({"error": ["DataError", f"{job.agent} cannot be played again: {foreign(error)[:300]}"]})


def _end_with_parent() -> None:
    sys.stdin.read()  # ends when the parent does
    leave(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

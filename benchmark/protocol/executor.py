"""Where cells are played: in this process, in several processes of this machine, or on a Ray cluster. Same numbers everywhere.

A worker builds each agent once, from its name, and checks that it got the same weights; a cell's result depends on agent and
cell alone (`runner.run_cell`). So an executor decides nothing but the order in which results arrive.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

from ...errors import ExecutorError, InvalidValueError, MissingPackageError, require_known
from ..agent import Agent
from ..processes import die_with_parent, spawn_context
from ..registry import make_agent
from .runner import CellResult, run_cell
from .spec import Cell

EXECUTORS = ("local", "ray")
MAX_JOBS = 256
_PACKAGES = ("wbench", "torch", "numpy", "scipy")
_OBJECTS = 100 << 20  # bytes of Ray's shared memory on one machine: only tasks and results pass through it


@dataclass(frozen=True)
class AgentSpec:
    """How to build an agent, here or elsewhere.

    Attributes:
        name: see `registry.list_agents`; or a `FILE.py[:ATTR]` of the user's, who typed it.
        checkpoint: folder or Hub id; None = the packaged one.
        device: where it computes.
        track: in which track it plays; None = its first.
        weights: digests that its weights and settings must have; None = any.
    """

    name: str
    checkpoint: str | None = None
    device: str = "cpu"
    track: str | None = None
    weights: tuple[str, str] | None = None

    def build(self) -> Agent:
        """The agent; raises `ExecutorError` where its weights are others than expected."""
        agent = make_agent(self.name, self.checkpoint, self.device, self.track, run_files=True)
        if self.weights not in (None, (agent.checkpoint_digest, agent.settings_digest)):
            raise ExecutorError(f"a worker found other weights of {self.name} than this machine. Give all of them the same.")
        return agent


@dataclass(frozen=True)
class Task:
    """A cell to be played by an agent, with so many query episodes and with these logs (`Protocol.support`)."""

    agent: AgentSpec
    cell: Cell
    episodes: int
    logs: str = "site"


OnSlot = Callable[[Task], None]
Results = Iterator[tuple[Task, CellResult]]


class Worker:
    """Plays tasks one after the other; builds each agent once.

    Args:
        built: agents that are there already.
    """

    def __init__(self, built: Mapping[AgentSpec, Agent] | None = None) -> None:
        self._agents = dict(built or {})

    def check(self, versions: dict[str, str]) -> None:
        """Raise `ExecutorError` unless the packages that a result depends on are the same here."""
        if versions != package_versions():
            raise ExecutorError(f"a worker runs {package_versions()}, this machine {versions}. Install the same everywhere.")

    def play(self, task: Task, on_slot: OnSlot | None = None) -> tuple[Task, CellResult]:
        """Play one cell."""
        tell = None if on_slot is None else partial(on_slot, task)
        if task.agent not in self._agents:
            self._agents[task.agent] = task.agent.build()
        return task, run_cell(self._agents[task.agent], task.cell, task.episodes, task.agent.device, tell, task.logs)


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    return {name: version(name) for name in _PACKAGES}


def check_options(executor: str, jobs: int | None, address: str | None) -> None:
    """Raise an error unless `play_all` can work with these options."""
    require_known("executor", executor, EXECUTORS, "--executor local --jobs 2")
    if jobs is not None and not 1 <= jobs <= MAX_JOBS:
        raise InvalidValueError("--jobs", jobs, f"in [1, {MAX_JOBS}]")
    if executor == "local" and address is not None:
        raise InvalidValueError("--address", address, "left out, or given with --executor ray")
    if executor == "ray":
        try:
            import_module("ray")
        except ImportError as error:
            raise MissingPackageError('--executor ray needs Ray. Try: pip install "wbench[ray]"') from error


def play_all(
    tasks: Sequence[Task],
    executor: str = "local",
    jobs: int | None = None,
    address: str | None = None,
    on_slot: OnSlot | None = None,
    built: Mapping[AgentSpec, Agent] | None = None,
) -> Results:
    """Play tasks and yield each with its result when it is finished, in any order.

    Args:
        tasks: what to play.
        executor: `local` (this process, or several with `jobs` > 1) or `ray`.
        jobs: number of workers; None = one locally, all free cores of the cluster with Ray.
        address: of a Ray cluster that is running, e.g. `auto`; None = start one on this machine.
        on_slot: told after every slot that is played in this very process.
        built: agents that play as they are, where cells are played in this process.

    Raises:
        InvalidValueError: of an option; likewise `UnknownNameError`.
        MissingPackageError: Ray is not installed.
        ExecutorError: a worker died.
        WbenchError: a worker cannot build an agent.
    """
    check_options(executor, jobs, address)
    if not tasks:
        return iter(())
    if executor == "ray":
        return _on_ray(tasks, jobs, address)
    if jobs is not None and jobs > 1:
        return _in_processes(tasks, min(jobs, len(tasks)))
    worker = Worker(built)
    return (worker.play(task, on_slot) for task in tasks)


def _in_processes(tasks: Sequence[Task], jobs: int) -> Results:
    """When one worker fails, what the others have finished is yielded before the error is raised."""
    end, tie = spawn_context().Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, spawn_context(), initializer=_enlist, initargs=(end,))
    failure: Exception | None = None
    try:
        running = [pool.submit(_play, task) for task in tasks]
        for future in as_completed(running):
            if future.cancelled():
                continue
            if (error := future.exception()) is None:
                yield future.result()
                continue
            failure = failure or (error if isinstance(error, Exception) else ExecutorError(_first_line(error)))
            for other in running:
                other.cancel()
    finally:
        tie.close()  # ends the workers, whatever they are doing
        pool.shutdown(cancel_futures=True)
        end.close()
    if isinstance(failure, BrokenProcessPool):
        died = "a worker process died (out of memory, or an agent ended it)"
        raise ExecutorError(f"{died}. The same command goes on; try fewer --jobs.") from failure
    if failure is not None:
        raise failure


def _enlist(tie: Connection) -> None:
    """What a worker process does first."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    die_with_parent(tie)
    with suppress(OSError):  # one of them is closed
        os.dup2(2, 1)  # whatever an agent prints is no part of what a script reads
    _worker = Worker()


def _play(task: Task) -> tuple[Task, CellResult]:
    return _worker.play(task)


_worker: Worker  # of a worker process


def _on_ray(tasks: Sequence[Task], jobs: int | None, address: str | None) -> Results:
    """A worker is an actor with a core of its own, and a GPU if agents compute there; a restarted one plays its cell again."""
    ray = import_module("ray")
    needs = {"num_cpus": 1, "num_gpus": int(any(task.agent.device == "cuda" for task in tasks))}
    try:
        with _cluster(ray, jobs, address):
            free = ray.available_resources()
            most = int(min(free.get("CPU", 1), free.get("GPU", 1) if needs["num_gpus"] else MAX_JOBS))
            actor = ray.remote(**needs, max_restarts=3, max_task_retries=3)(Worker)
            actors = [actor.remote() for _ in range(max(1, min(jobs or most, most, len(tasks))))]
            ray.get([each.check.remote(package_versions()) for each in actors])
            yield from _pooled(import_module("ray.util").ActorPool(actors), tasks, ray.exceptions.RayError)
    except ray.exceptions.RayTaskError as error:
        raise ExecutorError(str(error.cause)) from error
    except ray.exceptions.RayError as error:
        raise ExecutorError(f"Ray: {_first_line(error)}") from error


def _pooled(pool: Any, tasks: Sequence[Task], expected: type[Exception]) -> Results:
    """Keep every actor of a pool busy; when one fails, what the others have finished is yielded before the error is raised."""
    left, failure = iter(tasks), None
    while True:
        while failure is None and pool.has_free() and (task := next(left, None)):
            pool.submit(lambda actor, task: actor.play.remote(task), task)
        if not pool.has_next():
            break
        try:
            found = pool.get_next_unordered()
        except expected as error:
            failure = failure or error
            continue
        yield found
    if failure is not None:
        raise failure


@contextmanager
def _cluster(ray: Any, jobs: int | None, address: str | None) -> Iterator[None]:
    """A connection to a Ray cluster that runs, or one of our own on this machine; a connection that was there is used."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = {"num_cpus": jobs, "object_store_memory": _OBJECTS, "include_dashboard": False} if address is None else {}
    try:
        host, _, port = (address or "").rpartition("://")[2].rpartition(":")
        if port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **own)
    except Exception as error:  # a node that does not start in time is a bare one
        where = "can be started on this machine" if address is None else f"at --address {address}"
        raise ExecutorError(f"no Ray cluster {where} ({_first_line(error)}). Start one with: ray start --head") from error
    try:
        yield
    finally:
        ray.shutdown()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

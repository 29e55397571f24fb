"""Where cells are played: in this process, in several processes of this machine, or on a Ray cluster. Same numbers everywhere.

A worker builds each agent once, from its name, and checks that it got the same weights; a cell's result depends on agent and
cell alone (`runner.run_cell`). So an executor decides nothing but the order in which results arrive.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

from ...errors import ExecutorError, InvalidValueError, MissingPackageError, UnknownNameError, WbenchError
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
class Player:
    """How to build an agent, here or elsewhere.

    Attributes:
        name: see `registry.agent_names`; or a `FILE.py[:ATTR]` of the user's, who typed it.
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
    """A cell to be played by a player, with so many query episodes."""

    player: Player
    cell: Cell
    episodes: int


OnSlot = Callable[[Task], None]
Results = Iterator[tuple[Task, CellResult]]


class Worker:
    """Plays tasks one after the other; builds each agent once."""

    def __init__(self) -> None:
        self._agents: dict[Player, Agent] = {}

    def check(self, versions: dict[str, str]) -> None:
        """Raise `ExecutorError` unless the packages that a result depends on are the same here."""
        if versions != package_versions():
            raise ExecutorError(f"a worker runs {package_versions()}, this machine {versions}. Install the same everywhere.")

    def play(self, task: Task, on_slot: OnSlot | None = None) -> CellResult:
        """Play one cell; what goes wrong outside the agent is an `ExecutorError`, which any process can pass on."""
        tell = None if on_slot is None else partial(on_slot, task)
        try:
            if task.player not in self._agents:
                self._agents[task.player] = task.player.build()
            return run_cell(self._agents[task.player], task.cell, task.episodes, task.player.device, tell)
        except WbenchError as error:
            raise ExecutorError(str(error)) from error


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    return {name: version(name) for name in _PACKAGES}


def check_options(executor: str, jobs: int | None, address: str | None) -> None:
    """Raise an error unless `play_all` can work with these options."""
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS, "--executor local --jobs 2")
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
) -> Results:
    """Play tasks and yield each with its result when it is finished, in any order.

    Args:
        tasks: what to play.
        executor: `local` (this process, or several with `jobs` > 1) or `ray`.
        jobs: number of workers; None = one locally, all free cores of the cluster with Ray.
        address: of a Ray cluster that is running, e.g. `auto`; None = start one on this machine.
        on_slot: told after every slot that is played in this very process.

    Raises:
        InvalidValueError: of an option; likewise `UnknownNameError`.
        MissingPackageError: Ray is not installed.
        ExecutorError: a worker died, or cannot build an agent.
    """
    check_options(executor, jobs, address)
    if not tasks:
        return iter(())
    if executor == "ray":
        return _on_ray(tasks, jobs, address)
    return _in_processes(tasks, jobs) if jobs is not None and jobs > 1 else _in_process(tasks, on_slot)


def _in_process(tasks: Sequence[Task], on_slot: OnSlot | None) -> Results:
    worker = Worker()
    for task in tasks:
        yield task, worker.play(task, on_slot)


def _feed(
    tasks: Sequence[Task],
    workers: Sequence[Any],
    send: Callable[[Any, Task], Any],
    wait: Callable[[list[Any]], Sequence[Any]],
    receive: Callable[[Any], CellResult],
) -> Results:
    """Keep every worker busy: `send` gives a handle, `wait` says which of them are ready, `receive` takes the result."""
    left = iter(tasks)
    running = {send(worker, task): (worker, task) for worker, task in zip(workers, left, strict=False)}
    while running:
        died: ExecutorError | None = None
        for handle in wait(list(running)):
            worker, task = running.pop(handle)
            try:
                result = receive(handle)
            except ExecutorError as error:  # what others have finished by now is kept
                died = error
                continue
            following = None if died else next(left, None)
            if following is not None:
                running[send(worker, following)] = (worker, following)
            yield task, result
        if died:
            raise died


def _in_processes(tasks: Sequence[Task], jobs: int) -> Results:
    """A worker is the pipe to its process, and so is the handle of the task that it works on."""

    def send(pipe: Connection, task: Task) -> Connection:
        pipe.send(task)
        return pipe

    def receive(pipe: Connection) -> CellResult:
        try:
            result = pipe.recv()
        except (EOFError, ConnectionError):
            result = ExecutorError("a worker process died (out of memory?). The same command goes on; try fewer --jobs.")
        if isinstance(result, ExecutorError):
            raise result
        return result

    with _processes(min(jobs, len(tasks))) as pipes:
        yield from _feed(tasks, pipes, send, connection.wait, receive)


@contextmanager
def _processes(count: int) -> Iterator[list[Connection]]:
    """Processes that serve a pipe each; ended with whatever they are doing when the block is left."""
    context, pipes, processes = spawn_context(), [], []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()  # the process now holds the only copy: its death is an end of file here
            pipes.append(ours)
            processes.append(process)
        yield pipes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _serve(pipe: Connection) -> None:
    """The main loop of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    die_with_parent()
    worker = Worker()
    while True:
        try:
            pipe.send(worker.play(pipe.recv()))
        except ExecutorError as error:
            pipe.send(error)


def _on_ray(tasks: Sequence[Task], jobs: int | None, address: str | None) -> Results:
    """A worker is an actor with a core of its own, and a GPU if agents compute there; a restarted one plays its cell again."""
    ray = import_module("ray")

    def send(actor: Any, task: Task) -> Any:
        return actor.play.remote(task)

    def wait(handles: list[Any]) -> list[Any]:
        return ray.wait(handles, num_returns=1)[0]

    needs = {"num_cpus": 1, "num_gpus": int(any(task.player.device == "cuda" for task in tasks))}
    try:
        with _cluster(ray, jobs, address):
            free = ray.available_resources()
            most = int(min(free.get("CPU", 1), free.get("GPU", 1) if needs["num_gpus"] else MAX_JOBS))
            actor = ray.remote(**needs, max_restarts=3, max_task_retries=3)(Worker)
            actors = [actor.remote() for _ in range(max(1, min(jobs or most, most, len(tasks))))]
            ray.get([each.check.remote(package_versions()) for each in actors])
            yield from _feed(tasks, actors, send, wait, ray.get)
    except ray.exceptions.RayTaskError as error:
        raise ExecutorError(str(error.cause)) from error
    except ray.exceptions.RayError as error:
        raise ExecutorError(f"Ray: {_first_line(error)}") from error


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
    except (OSError, ValueError, RuntimeError) as error:
        where = "can be started on this machine" if address is None else f"at --address {address}"
        raise ExecutorError(f"no Ray cluster {where} ({_first_line(error)}). Start one with: ray start --head") from error
    try:
        yield
    finally:
        ray.shutdown()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

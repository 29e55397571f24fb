"""Executors: the same bits in one process, in several and on Ray; workers that die; a run that is killed loses nothing."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import active_children
from types import SimpleNamespace

import pytest
from wbench import errors
from wbench.benchmark.protocol.executor import AgentSpec, Task, Worker, _pooled, package_versions, play_all
from wbench.benchmark.protocol.fields import plain
from wbench.benchmark.protocol.spec import protocol
from wbench.benchmark.site import RANGES
from wbench.errors import ExecutorError, InvalidValueError, MissingPackageError, TrustError, UnknownNameError

from . import plug_in

NAME = "access/n8-c3-load0.15-l48"
HELD_OUT = RANGES["held-out"].start
CHOSEN = protocol("quick", variants=[NAME], shots=[0, 1], sites=[HELD_OUT], episodes=2)
SIX = protocol("quick", variants=[NAME], shots=[0], sites=RANGES["held-out"][:6], episodes=2)
KINDS = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.WbenchError)}
KINDS = sorted(KINDS - {UnknownNameError, InvalidValueError, TrustError}, key=lambda kind: kind.__name__)
ODD = UnknownNameError("a", "b", ["c"], "d"), InvalidValueError("a", 1, "b"), TrustError("a", "b")
HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    """The environment in which the plug-in is installed, here too."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("plug-in")
    environment = plug_in.install(folder, NAME, 6)
    patch.syspath_prepend(str(folder))
    for key, value in environment.items():
        patch.setenv(key, value)
    yield environment
    patch.undo()


AGENTS = (AgentSpec("moody"), AgentSpec("estimator"), AgentSpec("moody", track="scratch"))


def play(executor="local", jobs=None, agents=AGENTS, cells=CHOSEN.cells()):  # noqa: B008
    """Results by (agent, track, cell), without the seconds of their ledgers."""
    tasks = [Task(agent, cell, CHOSEN.episodes) for agent in agents for cell in cells]
    found = {}
    for task, result in play_all(tasks, executor, jobs):
        data = plain(result)
        data["ledger"] = {name: value for name, value in data["ledger"].items() if "seconds" not in name}
        found[task.agent.name, task.agent.track, task.cell] = data
    assert len(found) == len(tasks)
    return found


@pytest.fixture(scope="module")
def in_one_process(moody):
    found = play()
    assert all(result["failure"] == "" for result in found.values())
    assert found["moody", "scratch", CHOSEN.cells()[1]]["ledger"]["environment_steps"] == 1
    return found


def test_several_processes_give_the_same_bits(in_one_process):
    assert play(jobs=2) == in_one_process


@pytest.mark.skipif(not HAS_RAY, reason="needs the extra `ray`")
def test_ray_gives_the_same_bits(in_one_process):
    assert play("ray", 2) == in_one_process


@pytest.mark.skipif(not HAS_RAY, reason="needs the extra `ray`")
def test_what_is_wrong_on_ray_is_one_line(moody):
    with pytest.raises(ExecutorError, match="other weights of belief than this machine"):
        play("ray", 1, [AgentSpec("belief", weights=("0" * 64, ""))], CHOSEN.cells()[:1])
    with pytest.raises(ExecutorError, match=r"no Ray cluster at --address 127.0.0.1:1 "):
        next(play_all([Task(AgentSpec("belief"), CHOSEN.cells()[0], 1)], "ray", address="127.0.0.1:1"))


def test_a_ray_that_does_not_start_is_one_line(monkeypatch):
    def init(**_):
        raise Exception("The current node timed out\nduring startup")  # as Ray does

    kinds = SimpleNamespace(RayTaskError=TimeoutError, RayError=TimeoutError)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init, exceptions=kinds))
    with pytest.raises(ExecutorError, match=r"can be started on this machine \(The current node timed out\)\. Start"):
        next(play_all([Task(AgentSpec("belief"), CHOSEN.cells()[0], 1)], "ray"))


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_message_says_what_to_install():
    with pytest.raises(MissingPackageError, match=r"pip install \"wbench\[ray\]\""):
        play_all([], "ray")


def test_a_worker_that_dies_ends_the_run_with_one_line(moody, monkeypatch):
    monkeypatch.setenv("MOODY", "die 0")
    with pytest.raises(ExecutorError, match="a worker process died"):
        play(jobs=2, agents=[AgentSpec("moody")], cells=CHOSEN.cells()[:1])


def test_what_others_have_finished_when_a_worker_dies_is_kept(moody, monkeypatch):
    monkeypatch.setenv("MOODY", "die 5")
    tasks, found = [Task(AgentSpec("moody"), cell, 2) for cell in SIX.cells()], []
    with pytest.raises(ExecutorError, match="a worker process died"):
        for task, result in play_all(tasks, jobs=2):
            found.append(task.cell.site - HELD_OUT)
            assert not result.failure
    assert 3 <= len(found) < 6 and 5 not in found


def test_what_other_actors_have_finished_when_one_fails_is_kept():
    class Pool:
        """Ray's, with results at hand."""

        waiting: list = []  # noqa: RUF012

        def has_free(self):
            return len(self.waiting) < 2

        def has_next(self):
            return bool(self.waiting)

        def submit(self, play, task):
            self.waiting.append(task)

        def get_next_unordered(self):
            task = self.waiting.pop(0)
            if task.cell.site == HELD_OUT + 1:
                raise KeyError("the actor died")
            return task, "played"

    tasks, found = [Task(AgentSpec("belief"), cell, 1) for cell in SIX.cells()], []
    with pytest.raises(KeyError, match="the actor died"):
        for task, _ in _pooled(Pool(), tasks, KeyError):
            found.append(task.cell.site - HELD_OUT)
    assert found == [0, 2]


def test_workers_end_when_nobody_waits_for_them(moody, monkeypatch):
    monkeypatch.setenv("MOODY", "sleep 30")
    tasks = [Task(AgentSpec("moody"), cell, 2) for cell in SIX.cells()]
    before, started = set(active_children()), time.monotonic()
    running = play_all([Task(AgentSpec("prior"), SIX.cells()[0], 2), *tasks], jobs=2)
    next(running)
    running.close()
    assert set(active_children()) == before and time.monotonic() - started < 25


@pytest.mark.parametrize("error", [*(kind("x") for kind in KINDS), *ODD], ids=lambda error: type(error).__name__)
def test_every_error_can_be_handed_on(error):
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error) and str(other) == str(error) and other.exit_code == error.exit_code


def test_a_worker_with_other_weights_is_refused():
    with pytest.raises(ExecutorError, match="other weights of belief than this machine"):
        play(jobs=2, agents=[AgentSpec("belief", weights=("0" * 64, ""))], cells=CHOSEN.cells()[:1])
    Worker().check(package_versions())
    with pytest.raises(ExecutorError, match="Install the same everywhere"):
        Worker().check({**package_versions(), "torch": "1.0"})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"executor": "slurm"}, UnknownNameError, "Allowed: local, ray"),
        ({"jobs": 0}, InvalidValueError, r"--jobs is 0.*\[1, 256\]"),
        ({"address": "auto"}, InvalidValueError, "--address is 'auto'.*--executor ray"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        play_all([], **options)


ARGUMENTS = ("eval", "--agent", "moody", "--variant", NAME, "--against", "prior", "--shots", "0", "--episodes", "2")


def test_a_failed_cell_costs_itself_and_the_same_command_tries_it_again(wbench, moody, tmp_path, monkeypatch):
    command = (*ARGUMENTS, "--sites", "0-3", "--out", str(tmp_path / "result.json"), "--json")
    monkeypatch.setenv("MOODY", "raise 2")
    done = wbench(*command)
    assert done.code == 2 and len(done.data["cells"]) == 4 and not done.data["complete"]
    assert (
        "1 of 8 cells failed" in done.err and "site held-out:2, 0 shots: RuntimeError: in a mood (moody_agent.py:" in done.err
    )
    assert "Traceback" not in done.err
    failed, fine = done.data["cells"][2], [done.data["cells"][site] for site in (0, 1, 3)]
    assert failed["score"] is None and failed["returns"] == [] and failed["failure"].startswith("RuntimeError: in a mood")
    assert done.data["summary"]["0"] is None  # never averaged away
    assert done.data["comparison"][0]["summary"]["0"] is not None
    monkeypatch.delenv("MOODY")
    again = wbench(*command)
    assert again.code == 0, again.err
    assert [again.data["cells"][site] for site in (0, 1, 3)] == fine and again.data["cells"][2]["failure"] == ""
    assert again.data["complete"] and {path.name for path in tmp_path.iterdir()} == {"result.json", "result.json.cells.jsonl"}


@pytest.mark.parametrize(("how", "jobs"), [(signal.SIGKILL, 2), (signal.SIGINT, 1)])
def test_a_run_that_is_killed_loses_no_finished_cell_and_counts_none_twice(wbench, moody, tmp_path, how, jobs):
    out, journal = tmp_path / "result.json", tmp_path / "result.json.cells.jsonl"
    command = (*ARGUMENTS, "--sites", "0-5", "--jobs", str(jobs), "--out", str(out))
    slowly = {**os.environ, **moody, "MOODY": "sleep 0.3"}
    process = subprocess.Popen(
        [sys.executable, "-m", "wbench", *command],
        stderr=subprocess.PIPE,
        text=True,
        env=slowly,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -9), err
    finished = [json.loads(line) for line in journal.read_text().splitlines()[1:] if line.endswith("}")]
    assert 3 <= len(finished) < 12 and not out.exists()
    if how == signal.SIGINT:
        assert f"{len(finished)} of 12 cells are in {journal}; the same command goes on" in err and "Traceback" not in err
    with journal.open("a") as stream:
        stream.write('{"agent":{"label":"moody/offline","torn')
    resumed = wbench(*command, "--json")
    assert resumed.code == 0, resumed.err
    cells = {row["label"]: row["cells"] for row in (resumed.data, *resumed.data["comparison"])}
    assert [len(rows) for rows in cells.values()] == [6, 6] and resumed.data["complete"]
    for line in finished:
        (kept,) = [row for row in cells[line["agent"]["label"]] if row["site"] == line["cell"]["site"]]
        assert kept == line["cell"]
    whole = play(agents=[AgentSpec("moody")], cells=SIX.cells())
    assert [list(found["returns"]) for found in whole.values()] == [row["returns"] for row in resumed.data["cells"]]
    assert json.loads(out.read_text()) == resumed.data

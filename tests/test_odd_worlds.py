"""Odd worlds and clumsy hands: what is asked for cannot be, and is told in one line; nothing that is not ours is lost."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from wbench.benchmark.data.paths import writing
from wbench.benchmark.protocol import references
from wbench.benchmark.registry import get_family
from wbench.benchmark.site import RANGES
from wbench.errors import OutputError
from wbench.learning.logging import make_logger

ROOT = Path(__file__).parents[1]
PLAY = ("eval", "--family", "access", "--against", "none", "--episodes", "1", "--shots", "0", "--sites", "0")
RANDOM = (*PLAY, "--agent", "random")
TRAIN = ("train", "bc", "--preset", "debug", "--family", "access")


def said(done, code=2):
    """The last line of a command that failed, which is one of wbench's."""
    assert done.code == code and "Traceback" not in done.err, done
    line = [line for line in done.err.splitlines() if line.strip()][-1]
    assert line.startswith("wbench: "), done
    return line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((*RANDOM, "--out", ""), "--out"),
        ((*RANDOM, "--out="), "--out"),
        (("leaderboard", "--html", ""), "--html"),
        (("data", "build", "--to="), "--to"),
        (("eval", "--agent", "random", "--executor", ""), "--executor"),
        (("list", ""), "a word of the command"),
    ],
)
def test_an_empty_word_is_no_folder(command, tmp_path, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    assert re.search(f"{named} is ''.*a variable of the shell", said(command(*words)))
    assert not list(tmp_path.iterdir())


def test_a_setting_may_be_empty_inside_its_word(command):
    assert "--set learning_rate is ''" in said(command(*TRAIN, "--set", "learning_rate="))


@pytest.mark.parametrize("out", [".", "/"])
def test_a_folder_without_a_name_is_a_folder(command, out):
    assert f"--out '{out}' is a folder" in said(command(*RANDOM, "--out", out))


def test_a_journal_that_is_a_pipe_is_not_waited_for(command, tmp_path):
    os.mkfifo(tmp_path / "r.json.cells.jsonl")
    assert "no file" in said(command(*RANDOM, "--out", str(tmp_path / "r.json")))


def test_a_symlink_is_not_replaced_wherever_it_leads(command, tmp_path):
    link = tmp_path / "link.json"
    for target in (tmp_path / "nowhere", link):
        link.symlink_to(target)
        assert "is a symlink" in said(command(*RANDOM, "--out", str(link)))
        assert link.readlink() == target
        link.unlink()


def test_where_no_file_can_be_made_no_other_run_is_blamed(command):
    assert "cannot write --out '/proc/r.json'" in said(command(*RANDOM, "--out", "/proc/r.json"))


def test_what_is_to_be_typed_next_can_be_typed(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*RANDOM, "--out", "a b;c.json")
    assert done.code == 0
    words = shlex.split(done.err.rpartition("Next: ")[2])
    assert words == ["wbench", "results", "verify", "a b;c.json"] and command(*words[1:]).code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_a_file_whose_name_is_no_unicode_does_not_take_the_board_away(command, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / os.fsdecode(b"\xe9.json")).write_text("{}")
    done = command("leaderboard", "--store", str(store), "--json")
    assert "Traceback" not in done.err and r"\udce9.json is left out" in done.err
    odd = tmp_path / os.fsdecode(b"\xe9")
    odd.mkdir()
    assert "no results of protocol lite" in said(command("leaderboard", "--store", str(odd)))


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_a_name_that_the_output_cannot_hold_is_shown_by_its_number(process, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "wbench", "show", "access", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    listed = process("list", env={"PYTHONIOENCODING": "ascii"})
    assert listed.code == 0 and "access, handover" in listed.out


@pytest.mark.slow
def test_full_standard_error_costs_no_result(tmp_path):
    words = " ".join((sys.executable, "-m", "wbench", *RANDOM, "--out", "r.json", "2> /dev/full"))
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads((tmp_path / "r.json").read_text())["complete"], done


AGENT = """
import asyncio, os, random, signal, socket, sys, threading, time
import torch
from wbench.benchmark.agent import Agent

class Mine(Agent):
    name = "mine"
    {more}

    def act(self, obs, inbox, state):
        {act}
        return torch.zeros(obs.shape[:2], dtype=torch.long)

def build(checkpoint, device):
    return Mine()
"""


def agent(folder: Path, more: str = "", act: str = "pass", after: str = "") -> str:
    """The file of an agent."""
    path = folder / "mine.py"
    path.write_text(AGENT.format(more=more, act=act) + after)
    return str(path)


SILENT = "\nclass Silent(Exception):\n    def __str__(self): raise RuntimeError('no')\n"


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("raise Silent", r"Silent: \(its message raises RuntimeError\)"),
        ("raise BaseException('x')", "BaseException: x"),
        ("raise asyncio.CancelledError", "CancelledError"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("os._exit(0)", r"SystemExit: os._exit\(0\)"),
        ("os.execlp('true', 'true')", r"SystemExit: os.execv\("),
        ("self.planner_calls = 0.5", "planner_calls of mine is 0.5"),
        ("self.planner_calls = -3", "planner_calls of mine is -3"),
    ],
)
def test_whatever_an_agent_raises_is_a_failed_cell(command, tmp_path, act, why):
    out = tmp_path / "r.json"
    line = said(command(*PLAY, "--agent", agent(tmp_path, act=act, after=SILENT), "--out", str(out)))
    assert "1 of 1 cells failed" in line and re.search(why, line), line
    assert command("results", "verify", str(out)).code == 0


@pytest.mark.parametrize(
    ("leaving", "why"), [("os._exit(0)", r"os._exit\(0\)"), ("sys.exit()", ""), ("raise SystemExit(0)", "0")]
)
def test_a_file_that_leaves_the_process_is_one_line(command, tmp_path, leaving, why):
    told = f"mine.py: SystemExit: {why}"
    assert re.search(told, said(command(*PLAY, "--agent", agent(tmp_path, after=leaving))))
    assert re.search(told, said(command("check", str(tmp_path / "mine.py"))))


def test_what_leaves_a_command_that_nobody_watches_is_no_success(command, monkeypatch):
    monkeypatch.setattr("wbench.benchmark.registry.list_families", lambda: os._exit(0))
    assert "left wbench before its end (SystemExit: os._exit(0))" in said(command("list"), code=1)


def test_a_reader_that_goes_away_is_no_error_of_ours():
    command = [sys.executable, "-m", "wbench", "data", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


def test_an_interruption_that_nobody_can_have_sent_is_the_agents_own(command, tmp_path):
    def line(listens, code):
        before = signal.signal(signal.SIGINT, listens)
        try:
            return said(command(*PLAY, "--agent", agent(tmp_path, act=f"raise KeyboardInterrupt # {code}")), code=code)
        finally:
            signal.signal(signal.SIGINT, before)

    found = line(signal.SIG_IGN, 2)  # as in a worker, or a shell's background job
    assert re.search("1 of 1 cells failed.*KeyboardInterrupt", found)
    assert "interrupted" in line(signal.default_int_handler, 130)


@pytest.mark.slow
def test_a_run_that_is_killed_says_so_and_one_that_is_left_a_thread_ends(process, tmp_path):
    out = tmp_path / "r.json"
    act = "state.slot == 9 and state.family.name and Mine.slots.append(0); len(Mine.slots) > 1 and os.kill(os.getpid(), 9)"
    words = ("eval", "--family", "access", "--against", "none", "--episodes", "1", "--shots", "0", "--sites", "0,1")
    done = process(*words, "--agent", agent(tmp_path, "slots = []", act), "--out", str(out))
    assert "killed, or crashed, before the end" in said(done, code=-9) and not out.exists()
    assert len(Path(f"{out}.cells.jsonl").read_text().splitlines()) == 2  # its head, and the cell that was finished
    started = time.monotonic()
    done = process(*PLAY, "--agent", agent(tmp_path, act="threading.Thread(target=time.sleep, args=(3600,)).start()"))
    assert done.code == 0 and "mine" in done.out and time.monotonic() - started < 600


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_agents_and_their_programs_print_is_no_part_of_the_answer(process, tmp_path, jobs):
    act = "print('by Python'); os.write(1, b'by a library'); state.slot == 3 and os.system('echo by a program')"
    done = process(*PLAY[:-1], "0,1", "--agent", agent(tmp_path, act=act), "--json", "--jobs", jobs)
    assert done.code == 0 and done.data["complete"], done
    assert all(f"by a{by}" in done.err for by in (" library", " program")) and "by Python" in done.err


@pytest.mark.slow
def test_an_agent_that_forks_leaves_no_second_run_and_no_mask_signal_or_alarm(process, tmp_path):
    act = "state.slot == 3 and (os.umask(0o777), signal.alarm(3600), socket.setdefaulttimeout(1), os.fork())"
    out = tmp_path / "r.json"
    done = process(*PLAY, "--agent", agent(tmp_path, act=act), "--out", str(out), "--json")
    assert done.code == 0 and done.data["complete"], done
    assert out.stat().st_mode & 0o777 == 0o666 & ~umask() and len(Path(f"{out}.cells.jsonl").read_text().splitlines()) == 2


def umask() -> int:
    os.umask(found := os.umask(0))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_agent_that_closes_a_stream_costs_no_result(process, tmp_path, stream):
    out = tmp_path / "r.json"
    done = process(*PLAY, "--agent", agent(tmp_path, act=f"sys.{stream}.close()"), "--out", str(out))
    assert done.code == 0 and "mine" in done.out and json.loads(out.read_text())["complete"], done


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("parameters = -5", "parameters of agent mine is -5"),
        ("parameters = float('nan')", "parameters of agent mine is nan"),
        ("checkpoint_digest = 'zz'", "checkpoint of agent mine is 'zz'"),
        ("privileged = 'no'", "privileged of agent mine is 'no'"),
        ("tracks = ('a\\x1b[31m', 'b')", "label of agent mine is"),
        ("recipe = property(lambda self: 1 / 0)", "agent mine failed: ZeroDivisionError"),
        ("knows = lambda self, family: 1 / 0", "mine.knows failed: ZeroDivisionError"),
        ("name = None", "name of the agent in .*mine.py is None"),
        ("name = 7", "name of the agent in .*mine.py is 7"),
    ],
)
def test_what_no_result_can_say_is_refused_before_anything_is_played(command, tmp_path, more, why):
    out = tmp_path / "r.json"
    line = said(command(*PLAY, "--agent", agent(tmp_path, more=more), "--out", str(out)))
    assert re.search(why, line) and not out.exists(), line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SILENT + "raise Silent", r"Silent: \(its message raises RuntimeError\)"),
        ("raise BaseException('x')", "BaseException: x"),
        ("def __getattr__(name): raise ValueError(name)", "ValueError: "),
    ],
)
def test_whatever_a_file_does_when_it_is_run_is_one_line(command, tmp_path, text, why):
    (tmp_path / "mine.py").write_text(text)
    assert re.search(f"cannot run .*mine.py: {why}", said(command(*PLAY, "--agent", str(tmp_path / "mine.py"))))


def test_a_family_that_leaves_the_process_has_failed_its_check(command, tmp_path):
    example = ROOT / "docs" / "examples" / "own_family.py"
    text = example.read_text(encoding="utf-8")
    assert text.count("    def step(self") == 1
    before, after = text.split("    def step(self", 1)
    signature, body = after.split(":\n", 1)
    path = tmp_path / "own_family.py"
    path.write_text(f"{before}    def step(self{signature}:\n        raise SystemExit(0)\n{body}")
    line = said(command("check", str(path), "--episodes", "2"))
    assert "checks failed" in line


def test_a_training_writes_over_nothing_that_is_not_its_own(command, tmp_path):
    log, figures = tmp_path / "training_log.jsonl", tmp_path / "metrics.csv"
    for path in (log, figures):
        path.write_text("a,b\n1,2\n")
    assert "training_log.jsonl' exists already, and was left as it is" in said(command(*TRAIN, "--out", str(tmp_path)))
    with pytest.raises(OutputError, match=r"metrics[.]csv' exists already, and was left as it is"):
        make_logger("csv", tmp_path, "run", {}).begin(0)
    assert log.read_text() == figures.read_text() == "a,b\n1,2\n"


def test_pictures_and_cards_are_written_over_those_of_wbench_alone(command, tmp_path):
    card, picture = tmp_path / "README.md", tmp_path / "mine.png"
    for file in ("config.json", "model.safetensors"):
        shutil.copy(ROOT / "baselines" / "checkpoints" / "bc-small" / file, tmp_path)
    card.write_text("# My project\n")
    picture.write_bytes(b"mine")
    site = ("show", "handover/" + next(iter(get_family("handover").variants)).rpartition("/")[2], "--site", "3")
    for words in (
        ("checkpoint", "card", str(tmp_path), "--agent", "bc"),
        ("study", "report", "bc-small", "--out", str(picture)),
        (*site, "--picture", str(picture)),
    ):
        assert "exists already, and was left as it is" in said(command(*words))
    assert card.read_text() == "# My project\n" and picture.read_bytes() == b"mine"
    picture.unlink()
    for _ in range(2):
        assert command("study", "report", "bc-small", "--out", str(picture)).code == 0
    card.unlink()
    for _ in range(2):
        assert command("checkpoint", "card", str(tmp_path), "--agent", "bc").code == 0


def test_two_trainings_never_share_a_folder(tmp_path):
    from wbench.learning.run import alone

    with alone(tmp_path):
        with pytest.raises(OutputError, match="another training is at work"), alone(tmp_path):
            raise AssertionError("both are in")
    with alone(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".training.lock"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--seed", "9" * 30), "seed is 9+, but must be in .0, 4294967295"),
        (("--seed", "-1"), "seed is -1"),
        (("--set", f"batch_size={'9' * 30}"), "batch_size is 9+, but must be 65536 at most"),
        (("--set", "hidden=100000"), "hidden is 100000"),
        (("--steps", "9" * 400), "--steps is 9+ ... 9+, but must be 1 or more, 10+ at most"),
        (("--data", "x" * 5000), "cannot use x+: File name too long"),
    ],
)
def test_huge_numbers_and_names_are_refused_before_anything_is_made(command, tmp_path, words, why):
    out = tmp_path / "run"
    assert re.search(why, said(command(*TRAIN, *words, "--out", str(out)))) and not out.exists()


TABLE = '{"access/n8-c3-load0.15-l48": {"1000003": {"random": RANDOM, "genie": 1.0, "errors": [0, 0], "episodes": 64}}}'
SHOW = ("show", "access/n8-c3-load0.15-l48", "--site", "dev:3", "--json")


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """A cache of wbench that holds nothing yet, and a family that knows nothing of another one."""
    monkeypatch.setenv("WBENCH_HOME", str(tmp_path))
    references._read.cache_clear()
    yield tmp_path
    references._read.cache_clear()


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"access/n8', *(TABLE.replace("RANDOM", odd) for odd in ("NaN", '"x"', "[]"))],
)
def test_damaged_references_are_found_and_measured_anew_once_they_are_gone(command, own_home, text):
    kept = own_home / "references" / "access-2.json"
    kept.parent.mkdir()
    kept.write_text(text)
    assert re.search(r"access-2.json is damaged .*Delete it", said(command(*SHOW)))
    assert kept.read_text() == text


def test_references_that_cannot_be_kept_are_measured_all_the_same(monkeypatch, own_home):
    monkeypatch.setattr(references, "measure", lambda *_: references.Frame(1.0, 2.0, (0.0, 0.0), 64))
    monkeypatch.setattr(references, "writable", lambda folder: False)
    assert references.references(SHOW[1], RANGES["dev"].start + 3).genie == 2.0
    assert not list(own_home.iterdir())


def test_references_of_another_process_are_kept(monkeypatch, own_home):
    frame = references.Frame(1.0, 2.0, (0.0, 0.0), 64)
    monkeypatch.setattr(references, "measure", lambda *_: frame)
    first, second = RANGES["dev"].start + 3, RANGES["dev"].start + 4
    assert not references.known(SHOW[1], first)  # from here on this process believes that nothing is kept
    kept = own_home / "references" / "access-2.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({SHOW[1]: {str(first): {"random": 1.0, "genie": 2.0, "errors": [0, 0], "episodes": 64}}}))
    references.references(SHOW[1], second)
    assert set(json.loads(kept.read_text())[SHOW[1]]) == {str(first), str(second)}


@pytest.mark.parametrize("name", [".receipts.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "deep", "many"])
def test_what_lies_beside_data_is_neither_waited_for_nor_read_without_end(command, own_home, name, kind):
    folder = own_home / "datasets" / "access-mini-v2.0.0"
    folder.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "device":
        (folder / name).symlink_to("/dev/zero")
    else:
        (folder / name).write_text("[" * 100_000 if kind == "deep" else json.dumps(dict.fromkeys(map(str, range(100_000)), 1)))
    line = said(command("data", "verify", "access"))
    assert name in line and re.search("it is no file|nested deeper|holds 100000", line), line


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_what_is_no_file_in_the_place_of_data_is_left_as_it_is(command, own_home, kind):
    path = own_home / "datasets" / "access-mini-v2.0.0" / "data" / "n8-c3-load0.15-l48" / "mixed.parquet"
    path.parent.mkdir(parents=True)
    {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda place: place.symlink_to(place.name)}[kind](path)
    line = said(command("download", "access", "--variant", "n8-c3-load0.15-l48", "--quality", "mixed"))
    assert "mixed.parquet is no file, and was left as it is" in line and not path.is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_disk_that_fills_while_numpy_writes_is_a_full_disk(tmp_path):
    with pytest.raises(OutputError, match="no space left in"), writing(tmp_path):
        np.arange(100_000).tofile("/dev/full")  # an error without a number

"""Commands that are killed at any moment: the same command goes on, nothing finished is lost, nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from wbench.baselines.bc import BehaviourCloning
from wbench.leaderboard.reading import load_result
from wbench.learning.checkpoint import digest

from .benchmark.tiny import CODE

KILLS = int(os.environ.get("WBENCH_KILLS", "4"))  # of each command


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        arguments: of Python, given the folder that it writes and one that it may read.
        outcome: what a finished one leaves, to compare.
    """

    arguments: Callable[[Path, Path], list[str]]
    outcome: Callable[[Path], object]


def wbench(*words: str) -> list[str]:
    return ["-m", "wbench", *words]


def play(folder: Path, _: Path) -> list[str]:
    some = ("--family", "access", "--sites", "0-3", "--episodes", "2", "--shots", "0,5", "--against", "none")
    return wbench("eval", "--agent", "belief", *some, "--out", str(folder / "r.json"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


COMMANDS = {
    "eval": Command(play, lambda folder: [(cell.cell, cell.returns) for cell in load_result(folder / "r.json").cells]),
    "build": Command(lambda folder, _: ["-c", f"{CODE}\nbuild(FAMILY, RELEASE, Path({str(folder)!r}))"], contents),
    "download": Command(
        lambda folder, given: [
            "-c",
            f"{CODE}\nobtain(FAMILY, RELEASE, contents(FAMILY, RELEASE), root=Path({str(folder)!r}),"
            f" mirrors=mirrors_for(FAMILY, RELEASE, source={str(given / 'build')!r}))",
        ],
        contents,
    ),
    "train": Command(
        lambda folder, _: wbench("train", "bc", "--preset", "debug", "--family", "access", "--resume", "--out", str(folder)),
        lambda folder: digest(BehaviourCloning.from_pretrained(folder)),
    ),
    "submit": Command(
        lambda folder, given: wbench("submit", str(given / "eval" / "r.json"), "--store", str(folder)),
        lambda folder: [load_result(path).label for path in folder.glob("*.json")],
    ),
}


def start(arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture(scope="module")
def undisturbed(debug_checkpoint, tmp_path_factory) -> tuple[Path, dict[str, float]]:
    """A folder of what each command leaves that nobody kills, and the seconds that it took."""
    root, seconds = tmp_path_factory.mktemp("undisturbed"), {}
    for name, command in COMMANDS.items():
        (root / name).mkdir()
        begun = time.monotonic()
        process = start(command.arguments(root / name, root))
        _, said = process.communicate()
        assert process.returncode == 0, (name, said)
        seconds[name] = time.monotonic() - begun
    return root, seconds


def names(folder: Path) -> list[str]:
    """Files, without locks and without what a result is named after."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment_again_and_again_the_same_command_ends_as_if_nothing_had_been(name, undisturbed, tmp_path):
    given, seconds = undisturbed
    command, chance = COMMANDS[name], random.Random(name)
    left = KILLS
    while left:  # in a new folder where one is finished before all are done
        rounds = len(list(tmp_path.iterdir()))
        assert rounds < 10 * KILLS, "it always ends before it can be killed"
        folder = tmp_path / f"{name}-{rounds}"
        folder.mkdir()
        for _ in range(left):
            process = start(command.arguments(folder, given))
            try:
                process.wait(chance.uniform(0.3, 1.0) * seconds[name])
                ended = True
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, chance.choice((signal.SIGKILL, signal.SIGTERM)))
                ended, left = False, left - 1
            process.communicate()
            if ended:
                break
        process = start(command.arguments(folder, given))
        _, said = process.communicate()
        assert process.returncode == 0 or (process.returncode == 2 and "a finished training" in said), said
        assert command.outcome(folder) == command.outcome(given / name)
        assert names(folder) == names(given / name)

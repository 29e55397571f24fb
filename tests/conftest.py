"""Shared fixtures: a data folder of its own, the debug network, and a way to run the command line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from filelock import FileLock
from wbench.benchmark.registry import get_family
from wbench.cli import main
from wbench.learning.run import REPORT

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"  # tests and the commands they start run beside each other: a thread each
torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def nothing_of_ones_own():
    """Families and data folders that one test makes known are not those of the next."""
    names = ("WBENCH_FAMILIES", "WBENCH_DATASETS")
    before = {name: os.environ.get(name) for name in names}
    yield
    if {name: os.environ.get(name) for name in names} != before:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        get_family.cache_clear()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run have in common, for what takes long to make."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def kept() -> Path:
    """Where what takes long to record stays from one test run to the next: as long as the simulators stay as they are."""
    digest = hashlib.sha256()
    for part in ("families", "physics", "data", "protocol"):
        for path in sorted((ROOT / "benchmark" / part).rglob("*.*")):
            if path.suffix in (".py", ".json"):
                digest.update(path.read_bytes())
    return ROOT / "build" / "tests" / digest.hexdigest()[:16]


@pytest.fixture(scope="session", autouse=True)
def data_home(shared: Path) -> Path:
    """Tests never touch the user's cache; data that an earlier run recorded are there, as copies."""
    home = shared / "wbench-home"
    with FileLock(shared / "home.lock"):
        if not home.exists():
            found = kept()
            shutil.copytree(found, home) if found.is_dir() else home.mkdir()
    os.environ["WBENCH_HOME"] = str(home)
    return home


@pytest.fixture(scope="session")
def debug_checkpoint(data_home: Path, shared: Path) -> Path:
    """A NetWorld trained for seconds through the command line."""
    folder = shared / "debug"
    with FileLock(shared / "debug.lock"):
        if not (folder / REPORT).exists():
            done = here("train", "networld", "--preset", "debug", "--family", "access", "--out", str(folder))
            assert done.code == 0, done.err
            if not kept().is_dir():
                copied = kept().with_name(f"{kept().name}.{os.getpid()}")
                shutil.copytree(data_home, copied)
                copied.replace(kept())
    return folder


class Done(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict:
        """Standard output as JSON."""
        return json.loads(self.out)


def here(*arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    """Run `wbench ARGUMENTS` as its entry point does, in this process unless it is to have another environment.

    A process of its own takes seconds to start.
    """
    if env:
        return apart(*arguments, env=env)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), chdir(cwd or Path.cwd()):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
    return Done(code, out.getvalue(), err.getvalue())


def apart(*arguments: str, env: dict[str, str] | None = None) -> Done:
    """Run `wbench ARGUMENTS` in a process of its own: for what a process sets up or leaves behind."""
    command = [sys.executable, "-m", "wbench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", name="wbench")
def wbench_fixture():
    """Runs a command in this process."""
    return here


@pytest.fixture(scope="session", name="command")
def command_fixture():
    """The same."""
    return here


@pytest.fixture(scope="session")
def process():
    """Runs a command in a process of its own."""
    return apart

"""What a user gets: the README's commands run, and a wheel works far from the checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Fenced code of one language in the README."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Every `wbench` command of the README, without comments."""
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("wbench ")]


def test_the_readme_promises_both_ways_to_start():
    text = "\n".join(blocks("bash"))
    for promise in (
        "make eval",
        "make test",
        "pip install -e . && wbench eval --agent networld",
        'pip install -e ".[test]" && pytest',
    ):
        assert promise in text


@pytest.mark.slow
@pytest.mark.parametrize("line", sorted(set(commands())))
def test_readme_commands_run(line, command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shorter = {
        "--preset small": "--preset debug",
        "--protocol lite": "--protocol lite --episodes 1 --sites 0 --family access",
        "--sites 0-2": "--sites 0-2 --episodes 2 --family access",
        "--agent oracle --family offload": "--agent oracle --family offload --episodes 2",
        "--episodes 4": "--episodes 2",
        "fidelity --family access": "fidelity --family access --rows 200",
        "check access/n8-c3-load0.3-l48": "check access/n8-c3-load0.3-l48 --episodes 16",
    }
    for written, played in shorter.items():
        line = line.replace(written, played)
    if line == "wbench eval --agent networld":
        line += " --episodes 2 --sites 0"
    done = command(*shlex.split(line)[1:])
    assert done.code == 0, done.err


def test_make_targets_do_their_own_set_up():
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # also when make runs the tests
    targets = {
        "eval": ".venv/bin/wbench eval --agent networld",
        "test": ".venv/bin/python -m pytest",
        "check": '.venv/bin/python -m pytest -m "not slow"',
    }
    for target, ends in targets.items():
        plan = subprocess.run(["make", "-Bn", target], capture_output=True, text=True, cwd=ROOT, env=env, check=True).stdout
        assert "-m venv .venv" in plan and "pip install" in plan and plan.strip().endswith(ends)


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_works_without_the_checkout(tmp_path):
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("wbench-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    env = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(run("-c", "import wbench; print(wbench.__file__)").strip()).is_relative_to(site)
    assert run(str(site / "bin" / "wbench"), "--version").startswith("wbench ")
    data = json.loads(
        run("-m", "wbench", "eval", "--agent", "networld", "--shots", "0", "--episodes", "2", "--family", "access", "--json")
    )
    assert data["complete"] and len(data["cells"]) > 0


def test_an_editable_install_is_no_hook_that_a_folder_hides(tmp_path):
    pytest.importorskip("setuptools", "77")
    made = tmp_path / "wheel"
    made.mkdir()
    build = f"import sys; sys.path.insert(0, '.ci'); import backend; print(backend.build_editable({str(made)!r}))"
    subprocess.run([sys.executable, "-c", build], check=True, capture_output=True, cwd=ROOT)
    (wheel,) = made.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert not list((tmp_path / "site").glob("__editable__*"))
    (tmp_path / "wbench").mkdir()  # an empty folder of that name where the user stands
    look = f"import site; site.addsitedir({str(tmp_path / 'site')!r}); import wbench; print(wbench.__file__); wbench.make"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0 and Path(done.stdout.strip()).samefile(ROOT / "__init__.py"), done.stderr

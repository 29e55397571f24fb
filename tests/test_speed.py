"""The scripts that measure: what is measured goes on where it stopped, and straight lines are those that were put in."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from matplotlib.image import imread
from wbench.networld.config import PlannerConfig

SPEED = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def curve(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SPEED))
    return importlib.import_module("latency_curve")


def test_a_latency_curve_goes_on_where_it_stopped(curve, monkeypatch, tmp_path):
    measured: list[tuple] = []
    stop = 5

    def measure(agent, setting, name, episodes):
        if len(measured) == stop:
            raise KeyboardInterrupt
        measured.append((setting.steps, setting.candidates, setting.replan))
        return curve.Point(agent.checkpoint_digest[:12], *measured[-1], episodes, 1.0 + len(measured), 50.0 + len(measured))

    monkeypatch.setattr(curve, "measure", measure)
    ours, path = SimpleNamespace(checkpoint_digest="1" * 64), tmp_path / "access.csv"
    with pytest.raises(KeyboardInterrupt):
        curve.complete(ours, "access/n8-c3-load0.15-l48", 4, path)
    kept = curve.load(path)
    assert len(kept) == 5 and kept[0].is_of(PlannerConfig())  # what ships comes first
    stop = 99
    curve.complete(ours, "access/n8-c3-load0.15-l48", 4, path)
    assert curve.load(path)[:5] == kept and len(set(measured)) == len(measured) == len(curve.load(path)) == 14
    steps, candidates, replans = (sorted(set(column)) for column in zip(*measured, strict=True))
    assert steps == [1, 2, 3, 5, 10, 20] and candidates == [1, 2, 4, 8, 16, 32] and replans == [1, 2, 4, 8]
    curve.complete(ours, "access/n8-c3-load0.15-l48", 4, path)
    assert len(measured) == 14
    for other, episodes in (("2" * 64, 4), ("2" * 64, 8)):  # what is of another network, or of fewer episodes, does not count
        measured.clear()
        curve.complete(SimpleNamespace(checkpoint_digest=other), "access/n8-c3-load0.15-l48", episodes, path)
        assert len(measured) == 14 == len(curve.load(path))
        assert {(point.checkpoint, point.episodes) for point in curve.load(path)} == {(other[:12], episodes)}
    curve.draw(tmp_path)
    assert imread(tmp_path / "latency.png").shape[:2] == (304, 960)


def test_the_straight_line_of_the_agents(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SPEED))
    scale = importlib.import_module("scale")
    *_, slope, intercept, r2 = scale.line([(1, 1, 1.0, 0.0), (1, 2, 2.0, 0.0), (8, 9, 9.0, 0.0), (1, 3, 4.0, 0.0)], 1)
    assert (slope, intercept, r2) == pytest.approx((1.5, -2 / 3, 27 / 28))
    rows = [(e, n, 5.0 + e * n / 2, 256.0) for e in scale.EPISODES for n in scale.AGENTS]
    for episodes in scale.EPISODES:
        agents, times, slope, intercept, r2 = scale.line(rows, episodes)
        assert agents == list(scale.AGENTS) and times[0] == 5.0 + 4 * episodes
        assert (slope, intercept, r2) == pytest.approx((episodes / 2, 5.0, 1.0))
    scale.draw(rows, tmp_path / "agents.png")
    assert imread(tmp_path / "agents.png").shape[:2] == (304, 480)


FAULTS = """
import resource, sys, torch
from wbench.benchmark.processes import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
def step():
    x = torch.ones(9_000_000)  # 36 MB: more than the C library keeps on its own
    y = 2 * x
    return (y + x - y).sum()
for _ in range(6):  # until it has room for all
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_memory_that_is_kept_is_not_asked_for_again():
    usual, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("usual", "kept")
    )
    assert kept < usual / 4 and usual > 4 * 4 * 8000  # pages that the system zeroes, 8,789 a tensor

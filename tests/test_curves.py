"""The script of the learning curves: who is scored when and in which scenarios, and that finished runs are not played again."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from matplotlib.image import imread
from wbench.benchmark.seeds import QUERY_SEEDS, REFERENCE_SEEDS, SUPPORT_SEEDS

SPEED = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(SPEED))
    module = importlib.import_module("curves")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "PICTURE", tmp_path / "curves.png")
    return module


@pytest.mark.parametrize("agent", ["qmix", "iql"])
def test_learners_of_values_are_scored_every_so_many_rounds_in_episodes_of_their_own(curves, monkeypatch, agent):
    for name, value in {
        "ROUNDS": 4,
        "EPISODES": 1,
        "EVERY": 2,
        "PRACTICE": replace(curves.PRACTICE, updates=4, rounds=4),
    }.items():
        monkeypatch.setattr(curves, name, value)
    played: list[range] = []

    def play(family, variant, agent, sites, seeds):
        played.append(seeds)
        return real(family, variant, agent, sites[:2], range(2))

    real = curves.play
    monkeypatch.setattr(curves, "play", play)
    points = curves.RUNS[agent]("access/n8-c3-load0.15-l48", 0)
    assert [slots for slots, _ in points] == [256, 512] and all(-500 < score < 102 for _, score in points)
    assert played == [curves.EVALUATION] * 2 and min(curves.EVALUATION) > max(SUPPORT_SEEDS, QUERY_SEEDS, REFERENCE_SEEDS)


def test_a_finished_run_is_not_played_again(curves, monkeypatch, tmp_path):
    runs: list[tuple[str, int]] = []

    def run(name: str, seed: int):
        runs.append((name, seed))
        if len(runs) == 4:
            raise KeyboardInterrupt
        return [(1024 * (1 + i), 10.0 * seed + i / 3) for i in range(6)]

    monkeypatch.setitem(curves.RUNS, "iql", run)
    monkeypatch.setattr(sys, "argv", ["curves.py", "--agent", "iql", "--seeds", "2"])
    with pytest.raises(KeyboardInterrupt):
        curves.main()
    kept = (tmp_path / "iql.csv").read_text().splitlines()
    assert kept[:3] == [
        "variant,seed,slots,score",
        "access/n8-c3-load0.15-l48,0,1024,0.0",
        "access/n8-c3-load0.15-l48,0,2048,0.33",
    ]
    curves.main()
    assert sorted(set(runs)) == sorted((name, seed) for name in curves.VARIANTS.values() for seed in (0, 1))
    assert len(runs) == 7 and runs[3] == runs[4]  # the one that was stopped is played once more, no other
    assert set(kept) < set((tmp_path / "iql.csv").read_text().splitlines())
    assert imread(tmp_path / "curves.png").shape[:2] == (418, 1320) and not (tmp_path / "mappo.csv").exists()


def test_who_reads_logs_is_scored_at_the_slots_that_were_logged(curves, monkeypatch):
    monkeypatch.setattr(curves, "EVALUATION", range(4))
    points = curves.RUNS["estimator"]("access/n8-c3-load0.15-l48", 0)
    assert [slots for slots, _ in points] == [128, 640, 2560]
    assert points[0][1] < points[2][1] < 102  # one log tells less than twenty

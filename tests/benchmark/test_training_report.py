"""The picture of a training: what goes into it, what it looks like as a file, and what is said where there is none."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from wbench.benchmark.registry import get_family
from wbench.cards.model_card import write_model_card
from wbench.cards.training_report import (
    COLUMNS,
    DPI,
    PANEL,
    PICTURE,
    WHOLE,
    TrainingLog,
    draw,
    read_log,
    smoothed,
)
from wbench.errors import CheckpointError, OutputError
from wbench.learning.run import LOG, REPORT

PACKAGED = Path(__file__).parents[2] / "networld" / "checkpoints" / "networld-small"
ENTRIES = [
    {"step": step, "seconds": 0.5 * step, "slots": step, "returns": {"x": 1.0}, "access/loss": 9.0 - step, "norm": 2.0}
    for step in (0, 2, 4)
]


def pixels(path: Path) -> np.ndarray:
    """The picture, [height, width, channels]."""
    from matplotlib.image import imread

    return imread(path)


def test_figures_are_found_by_part_and_family_and_counters_are_not_drawn():
    late = {"step": 6, "seconds": 3.0, "power/loss": 1.0}
    parts = TrainingLog([*ENTRIES, late], True).parts()
    assert parts == {
        "loss": {"access": ([0, 2, 4], [9.0, 7.0, 5.0]), "power": ([6], [1.0])},
        "norm": {WHOLE: ([0, 2, 4], [2.0, 2.0, 2.0])},
    }


def test_smoothing_keeps_constants_and_lines_and_averages_noise():
    assert smoothed([3.0]).tolist() == [3.0] and smoothed([1.0, 5.0]).tolist() == [1.0, 5.0]
    assert np.allclose(smoothed([2.0] * 100), 2.0)
    line = smoothed([float(i) for i in range(100)])  # over five values: a 20th
    assert np.allclose(line[2:-2], np.arange(2, 98)) and line[0] == 1.0 and line[-1] == 98.0
    peak = smoothed([0.0] * 50 + [5.0] + [0.0] * 49)
    assert peak.max() == 1.0 and np.count_nonzero(peak) == 5


def test_a_training_is_drawn_from_the_command_line_and_shown_in_its_card(wbench, tmp_path):
    folder = Path(shutil.copytree(PACKAGED, tmp_path / "networld-small"))
    (folder / PICTURE).unlink(missing_ok=True)
    write_model_card(folder, "networld", [get_family("access")])
    assert PICTURE not in (folder / "README.md").read_text()
    done = wbench("study", "report", str(folder))
    assert done.code == 0 and done.out.strip() == str(folder / PICTURE), done.err
    drawn = pixels(folder / PICTURE)
    assert drawn.shape[1] == COLUMNS * PANEL[0] * DPI and drawn.std() > 0.1
    write_model_card(folder, "networld", [get_family("access")])
    assert f"]({PICTURE})" in (folder / "README.md").read_text()


def test_fidelity_is_drawn_below_the_losses(tmp_path):
    report = {
        "ks": {"queue": {"1": 0.1, "4": 0.2}, "reward": {"1": 0.3, "4": 0.1}},
        "reward_nats": {"model": -1.0, "marginal": -2.0},
        "value": {"correlation": 0.9, "slope": 1.1, "bias": -0.3},
        "top1": {"inverse_dynamics": 1.0, "behaviour_cloning": 0.5},
    }
    log = TrainingLog(ENTRIES, True)
    draw(log, tmp_path / "losses.png", "title")
    draw(log, tmp_path / "both.png", "title", {"access": report, "power": report})
    losses, both = pixels(tmp_path / "losses.png"), pixels(tmp_path / "both.png")
    assert both.shape[0] > 2 * losses.shape[0]
    assert np.ptp(both[losses.shape[0] :].mean((1, 2))) > 0.1  # panels, not an empty margin
    without_two_hot = {"access": {**report, "reward_nats": {}}}
    with warnings.catch_warnings(action="error"):
        draw(log, tmp_path / "no likelihood.png", "title", without_two_hot)
    assert pixels(tmp_path / "no likelihood.png").shape == both.shape


def test_a_training_that_goes_on_is_drawn_from_its_growing_log(wbench, tmp_path):
    (tmp_path / LOG).write_text("".join(f"{json.dumps(entry)}\n" for entry in ENTRIES))
    (tmp_path / REPORT).write_text(json.dumps({"log": ENTRIES[:1]}))  # of an earlier training in the same folder
    log = read_log(tmp_path)
    assert not log.finished and log.entries == ENTRIES
    draw(log, tmp_path / "a.png", "title")
    assert pixels(tmp_path / "a.png").shape[1] == 2 * PANEL[0] * DPI  # two parts, two panels
    done = wbench("study", "report", str(tmp_path), "--fidelity")
    assert done.code == 2 and "whose training goes on" in done.err and "Traceback" not in done.err


def test_what_holds_no_log_is_named(wbench, tmp_path):
    done = wbench("study", "report", str(tmp_path / "nowhere"))
    assert done.code == 2 and "nowhere has no training_report.json" in done.err and done.err.count("\n") == 1
    for text, said in (("{", "damaged"), ('{"log": 3}', "damaged"), ('{"log": []}', "no figures yet")):
        (tmp_path / REPORT).write_text(text)
        with pytest.raises(CheckpointError, match=said):
            read_log(tmp_path)
    (tmp_path / LOG).write_text("no JSON")
    with pytest.raises(CheckpointError, match=r"training_log\.jsonl is damaged"):
        read_log(tmp_path)


def test_what_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file/a\.png.*another --out"):
        draw(TrainingLog(ENTRIES, True), tmp_path / "file" / "a.png", "title")

"""Controls: runs with logs of another site, or of random play, stand beside the row of the same agent and are never rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from wbench.benchmark.protocol import statistics, trainings
from wbench.benchmark.protocol.spec import protocol
from wbench.benchmark.site import RANGES
from wbench.leaderboard import board
from wbench.leaderboard.index.entry import Entry
from wbench.leaderboard.page.model import model
from wbench.leaderboard.store import Submission, submit
from wbench.leaderboard.verification.verify import SIDECAR, sidecar

from . import samples

RECIPE = hashlib.sha256(b"recipe").hexdigest()


def other_logs(kind: str, shots=(5,), episodes: int = 3):
    """`samples.small` with the logs of a control."""
    sites = RANGES["held-out"][:5]
    return protocol("quick", variants=samples.VARIANTS, sites=sites, episodes=episodes, shots=shots, support=kind)


def add(folder, result, rerun: bool = True) -> str:
    """Submit a result, and record a rerun of it; returns its name in the store."""
    path = folder / submit(Submission.of(result), folder).name
    if rerun:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        told = {"schema": SIDECAR, "tier": "rerun", "sha256": digest, "tolerance": 0.0, "cells": [[]] * 6}
        sidecar(path).write_text(json.dumps(told))
    return path.name


def training(seed: int, share: float, played=None):
    weights = hashlib.sha256(f"learner {seed}".encode()).hexdigest()
    return samples.result("learner", share, played, own=seed + 1, checkpoint=weights, recipe=RECIPE)


def loaded(folder) -> tuple[dict[str, Entry], list[str]]:
    """The rows by label, and what was noted."""
    notes: list[str] = []
    return {row.line.label: row for row in board.ranked(board.load(folder, None, notes.append))}, notes


def test_a_control_is_no_row_and_stands_beside_the_agent_that_played_it(tmp_path):
    for label, share in (("first", 0.8), ("second", 0.5)):
        add(tmp_path, samples.result(label, share))
    name = add(tmp_path, samples.result("first", 0.3, other_logs("wrong")))
    rows, notes = loaded(tmp_path)
    assert rows.keys() == {"first", "second"} and notes == [] and not rows["second"].controls
    assert [str(rows[label].rank(5)) for label in ("first", "second")] == ["1", "2"]  # whatever the control scored

    found = rows["first"].control("wrong", 5)
    control = samples.result("first", 0.3, other_logs("wrong"))
    assert found.score.iqm == control.summary["5"].iqm and (found.trainings, found.file) == (1, name)
    now, before = rows["first"].controls["wrong"].table(5)[0], rows["first"].table(0)[0]
    assert found.gain == statistics.paired(now, before) and found.gain.iqm == pytest.approx(-50, abs=2)
    assert rows["first"].control("wrong", 0) is None and rows["first"].control("shifted", 5) is None
    assert rows["first"].control("wrong", 5, "access").score.iqm == control.summary["5"].families["access"].iqm


def test_a_control_that_a_later_version_of_the_code_played_stands_beside_the_row(tmp_path):
    add(tmp_path, samples.result("first", 0.8))
    control = samples.result("first", 0.3, other_logs("wrong"))
    name = add(tmp_path, replace(control, package=replace(control.package, version="9.9.9")))
    rows, notes = loaded(tmp_path)
    assert notes == [] and rows["first"].control("wrong", 5).file == name


def test_a_control_of_other_weights_cells_or_a_lower_tier_is_nobodys(tmp_path):
    add(tmp_path, samples.result("first", 0.8))
    weights = hashlib.sha256(b"others").hexdigest()
    strange = [
        add(tmp_path, samples.result("first", 0.3, other_logs("wrong"), checkpoint=weights)),
        add(tmp_path, samples.result("first", 0.3, other_logs("wrong", episodes=2))),
        add(tmp_path, samples.result("first", 0.3, other_logs("shifted")), rerun=False),  # the row was run again, this was not
    ]
    rows, notes = loaded(tmp_path)
    assert rows.keys() == {"first"} and rows["first"].controls == {}
    assert sorted(notes) == sorted(
        f"{name} is left out: a control ({logs} logs) of no row here, or of one that is verified further"
        for name, logs in zip(strange, ("wrong", "wrong", "shifted"), strict=True)
    )
    sidecar(tmp_path / strange[2]).write_bytes(sidecar(tmp_path / strange[0]).read_bytes())
    assert loaded(tmp_path)[0]["first"].controls == {}  # the record of another file


def test_controls_of_some_trainings_are_set_beside_those_trainings_alone(tmp_path):
    for seed, share in enumerate((0.3, 0.5, 0.7)):
        add(tmp_path, training(seed, share))
    for seed, share in ((0, 0.2), (2, 0.4)):
        add(tmp_path, training(seed, share, other_logs("shifted", (1, 5))))
    row = loaded(tmp_path)[0]["learner"]
    found = row.control("shifted", 5)
    assert len(row.trainings) == 3 and found.trainings == 2
    weights = {one.line.checkpoint: one.line for one in row.trainings}
    pairs = [(c.line.table(5), weights[c.line.checkpoint].table(0)) for c in row.controls["shifted"].trainings]
    assert found.gain == trainings.interval(np.stack([now - before for now, before in pairs]))
    assert found.score.iqm == pytest.approx(statistics.iqm(np.stack([now for now, _ in pairs]).reshape(2, -1)))


def test_a_store_of_controls_alone_has_no_board(tmp_path):
    add(tmp_path, samples.result("first", 0.3, other_logs("wrong")))
    for protocol_name in (None, "custom"):
        with pytest.raises(board.ResultError, match=r"no results.*Add one"):
            board.load(tmp_path, protocol_name, print)


def test_table_json_and_page_show_them(tmp_path, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # where all columns have room
    add(tmp_path, samples.result("first", 0.8))
    add(tmp_path, samples.result("second", 0.5))
    add(tmp_path, samples.result("first", 0.3, other_logs("wrong")))
    add(tmp_path, samples.result("first", 0.6, other_logs("shifted")))
    chosen = ("leaderboard", "--store", str(tmp_path), "--protocol", "custom")
    table = command(*chosen).out
    head = next(line for line in table.splitlines() if line.startswith("rank"))
    first = next(line for line in table.splitlines() if " first " in line)
    second = next(line for line in table.splitlines() if " second " in line)
    rows, _ = loaded(tmp_path)
    wanted = [f"{rows['first'].control(logs, 5).score.iqm:.1f}" for logs in ("wrong", "shifted")]
    assert head.split()[-2:] == ["wrong", "shifted"] and first.split()[-2:] == wanted and second.split()[-2:] == ["-", "-"]
    assert "Wrong, shifted: score with logs of another site" in table
    assert "shifted" not in command(*chosen, "--shots", "0").out  # nothing was played there

    told = {row["agent"]: row["controls"] for row in command(*chosen, "--json").data["rows"]}
    assert told["second"] == {} and told["first"].keys() == {"wrong", "shifted"}
    assert told["first"]["wrong"]["gain"]["ci_high"] < 0 and told["first"]["wrong"]["trainings"] == 1

    page = model(rows.values())["protocols"]
    assert len(page) == 1 and page[0]["controls"] == ["wrong", "shifted"]
    shown = {row["agent"]: row for row in page[0]["rows"]}
    found, scores = rows["first"].control("wrong", 5), shown["first"]["controls"]["wrong"]
    ends = [round(end, 1) for end in (found.gain.iqm, found.gain.ci_low, found.gain.ci_high)]
    assert "controls" not in shown["second"] and scores["gains"] == [None, ends] and scores["tier"] == "rerun"
    assert scores["scores"]["all"] == [None, [round(x, 1) for x in (found.score.iqm, found.score.ci_low, found.score.ci_high)]]
    without = model([replace(row, controls={}) for row in rows.values()])["protocols"][0]
    assert without["controls"] == []

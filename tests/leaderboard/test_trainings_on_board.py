"""Several trainings of one recipe are one row of a board, with intervals over trainings and sites."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from wbench.benchmark.protocol import statistics, trainings
from wbench.leaderboard import board
from wbench.leaderboard.page.model import model
from wbench.leaderboard.provenance import command
from wbench.leaderboard.schema import Origin
from wbench.leaderboard.store import Submission, submit
from wbench.leaderboard.tables import RankInterval
from wbench.leaderboard.verification.recompute import played
from wbench.leaderboard.verification.verify import SIDECAR, sidecar

from . import samples

RECIPE = hashlib.sha256(b"recipe").hexdigest()


def training(seed: int, share: float, recipe: str = RECIPE, label: str = "learner"):
    weights = hashlib.sha256(f"{label} {seed}".encode()).hexdigest()
    return samples.result(label, share, own=seed + 1, checkpoint=weights, recipe=recipe)


def stored(folder, *results):
    """A store of these, each run again by a maintainer."""
    for result in results:
        path = folder / submit(Submission.of(result), folder).name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        told = {"schema": SIDECAR, "tier": "rerun", "sha256": digest, "tolerance": 0.0, "cells": [[]] * 6}
        sidecar(path).write_text(json.dumps(told))
    return board.load(folder, None, print)


@pytest.fixture
def rows(tmp_path):
    nowhere = Origin(kind="none", name="", revision="")
    rule = samples.result("rule", 0.55, checkpoint="", settings="", parameters=0, origin=nowhere)
    found = stored(tmp_path, *(training(seed, share) for seed, share in enumerate((0.3, 0.5, 0.7))), rule)
    return {row.line.label: row for row in board.ranked(found)}


def test_trainings_of_a_recipe_are_one_row_whose_interval_holds_their_spread(rows):
    assert rows.keys() == {"learner", "rule"} and len(rows["learner"].trainings) == 3
    table = np.stack([one.line.table(5) for one in rows["learner"].trainings])
    found, alone = rows["learner"].estimate(5), rows["learner"].line.summary["5"]
    assert found == trainings.summarise(table, rows["learner"].grid.variants)
    assert found.iqm == pytest.approx(statistics.iqm(table.reshape(2, -1)))
    assert found.ci_high - found.ci_low > 3 * (alone.ci_high - alone.ci_low)
    assert rows["learner"].estimate(5, "access").iqm == pytest.approx(statistics.iqm(table[:, :1].reshape(1, -1)))
    assert rows["learner"].gain(5).iqm == pytest.approx(0, abs=2) and rows["learner"].gain(0) is None


def test_nobody_joins_the_row_of_another_by_naming_its_recipe(tmp_path):
    learner, origins = training(0, 0.5), (("hub", "lab/a"), ("hub", "lab/b"), ("hub", "elsewhere/c"), ("packaged", "bc-small"))
    strangers = (replace(training(i, 0.1), origin=Origin(kind, name, "")) for i, (kind, name) in enumerate(origins, 1))
    found = stored(tmp_path, learner, *(replace(one, command=command(one, played(one))) for one in strangers))
    joined = [[(one.line.origin.kind, one.line.origin.name) for one in row.trainings] for row in found]
    assert sorted(joined) == [[("folder", "")], [("hub", "elsewhere/c")], [("hub", "lab/a"), ("hub", "lab/b")], [origins[3]]]


def test_a_lucky_training_does_not_outrank_a_rule(rows):
    assert rows["learner"].rank(5) == rows["rule"].rank(5) == RankInterval(1, 2)
    alone = board.ranked([rows["rule"], *(replace(one, others=()) for one in rows["learner"].trainings)])
    assert [str(one.rank(5)) for one in sorted(alone, key=lambda one: -one.estimate(5).iqm)] == ["1", "2", "3", "4"]


def test_fewer_than_three_trainings_are_not_ranked_above_three(tmp_path):
    other = hashlib.sha256(b"other").hexdigest()
    three = [training(seed, 0.5 + 0.01 * seed) for seed in range(3)]
    lucky = training(3, 0.9, other, "lucky")
    poor = training(4, 0.1, hashlib.sha256(b"poor").hexdigest(), "poor")
    ranks = {row.line.label: str(row.rank(5)) for row in board.ranked(stored(tmp_path, *three, lucky, poor))}
    assert ranks == {"learner": "1-2", "lucky": "1-2", "poor": "3"}


def test_the_order_of_rows_does_not_change_ranks(rows):
    found = [str(row.rank(5)) for row in board.ranked(list(rows.values()))]
    assert found == [str(row.rank(5)) for row in board.ranked(list(rows.values())[::-1])][::-1]


def test_other_recipes_and_no_recipe_stay_rows_of_their_own(tmp_path):
    other = hashlib.sha256(b"other").hexdigest()
    found = stored(tmp_path, training(0, 0.5), training(1, 0.5), training(2, 0.5, other), training(3, 0.5, ""))
    assert sorted(len(row.trainings) for row in found) == [1, 1, 2]


def test_trainings_that_are_played_with_two_versions_are_one_row(tmp_path):
    later = training(1, 0.5)
    later = replace(later, package=replace(later.package, version="9.9"))
    (row,) = stored(tmp_path, training(0, 0.5), later)
    assert {one.line.package.version for one in row.trainings} == {later.package.version, training(0, 0.5).package.version}


def test_table_and_page_tell_how_many_trainings(rows):
    told = {row.line.label: board.standing(row, 5).trainings for row in rows.values()}
    assert told == {"learner": 3, "rule": 0}
    page = {row["agent"]: row for row in model(rows.values())["protocols"][0]["rows"]}
    assert page["learner"]["trainings"] == 3
    assert page["learner"]["scores"]["all"][1][0] == round(rows["learner"].estimate(5).iqm, 1)

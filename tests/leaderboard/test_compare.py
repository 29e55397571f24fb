"""Comparisons on common episodes, and exports that the formats' own readers read."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries
from wbench.benchmark.protocol.spec import protocol
from wbench.errors import InvalidValueError, ResultError, UnknownNameError
from wbench.leaderboard.compare import compare
from wbench.leaderboard.export import export, latex
from wbench.leaderboard.reading import parse
from wbench.leaderboard.result import Result
from wbench.leaderboard.schema import Release

from . import samples


def result(data: Result | dict) -> Result:
    return data if isinstance(data, Result) else parse(json.dumps(data).encode())


@cache
def named(label: str, share: float, own: int = 0) -> Result:
    return samples.result(label, share, own=own)


def test_a_lead_is_paired_and_says_tie_where_the_interval_holds_0():
    leads = {(lead.shots, lead.family): lead for lead in compare(named("a", 0.6), named("b", 0.5))}
    assert leads.keys() == {(k, family) for k in (0, 5) for family in ("all", "access", "offload")}
    one = leads[5, "all"]
    assert one.difference.iqm == pytest.approx(10, abs=1e-3) and one.verdict == "better"
    assert one.difference.ci_high - one.difference.ci_low < 0.01  # common luck cancels ...
    assert one.ours - one.theirs == pytest.approx(10, abs=1e-3) and (one.episodes_ahead, one.episodes) == (1.0, 30)
    assert named("a", 0.6).summary["5"].ci_high - named("a", 0.6).summary["5"].ci_low > 2  # ... that each one has
    back = compare(named("b", 0.5), named("a", 0.6), 5)[0]
    assert back.verdict == "worse" and back.difference.iqm == pytest.approx(-one.difference.iqm)
    assert back.improvement.value == pytest.approx(1 - one.improvement.value)
    tie = compare(named("a", 0.6, 1), named("b", 0.6, 6), 0)[0]
    assert tie.verdict == "tie" and tie.difference.ci_low < 0 < tie.difference.ci_high and 0.2 < tie.episodes_ahead < 0.8
    same = compare(named("a", 0.6), named("a", 0.6), 0)[0]
    assert (same.verdict, same.improvement.value, same.episodes_ahead) == ("tie", 0.5, 0.5)


def test_too_few_sites_decide_nothing(command, tmp_path):
    paths = []
    for label, share in (("a", 0.2), ("b", 0.8)):
        paths.append(samples.save(tmp_path / f"{label}.json", samples.result(label, share, samples.small(sites=2))))
    done = command("results", "compare", *map(str, paths))
    assert done.code == 0 and "undecided" in done.out and "tie" not in done.out
    assert "fewer than 3 sites give no interval, so nothing is decided" in done.err
    gate = command("results", "compare", *map(str, paths), "--fail-if-worse")
    assert gate.code == 2 and "Play both at 3 sites or more, e.g. --sites 0-4" in gate.err


def test_the_probability_of_improvement_is_that_of_runs_on_the_same_variant():
    ours, theirs = named("a", 0.55), named("b", 0.5)
    pairs = []
    for variant in samples.VARIANTS:
        x, y = (np.array([c.score for c in one.cells if c.variant == variant and c.shots == 5]) for one in (ours, theirs))
        pairs.append((x[:, None] > y[None, :]).mean())
    assert compare(ours, theirs, 5)[0].improvement.value == pytest.approx(np.mean(pairs))


def test_what_cannot_be_compared_is_refused():
    a = samples.result("a")
    released, other_release = (
        replace(a, releases=(Release("access", "mini", version, "2", digit * 64),))
        for version, digit in (("2.0.0", "1"), ("2.0.1", "0"))
    )
    unfinished = samples.run("a")
    part = samples.composed(samples.small(), replace(unfinished, cells=dict(list(unfinished.cells.items())[:3])))
    for left, right, shots, said in (
        (a, samples.result("b", played=samples.small(episodes=2)), None, "of different protocols .custom .* and custom"),
        (released, other_release, None, "releases of the datasets .access mini: 2.0.0 111111111111 and 2.0.1 000000000000"),
        (a, part, None, "cells are missing at every number of shots"),
    ):
        with pytest.raises(ResultError, match=said):
            compare(result(left), result(right), shots)
    with pytest.raises(InvalidValueError, match="one of 0, 5"):
        compare(result(a), result(a), 7)


def test_the_command_fails_where_it_is_worse_only_if_told_to(command, tmp_path):
    good, bad = (
        str(samples.save(tmp_path / f"{n}.json", samples.result(n, share))) for n, share in (("good", 0.7), ("bad", 0.3))
    )
    ahead = command("results", "compare", good, bad, "--fail-if-worse")
    assert ahead.code == 0 and "+40.0" in ahead.out and "better" in ahead.out
    behind = command("results", "compare", bad, good, "--json", "--fail-if-worse", "--shots", "5")
    assert behind.code == 1 and behind.err.strip() == "wbench: bad is worse than good at 5 shots."
    assert [lead["verdict"] for lead in behind.data["leads"]] == ["worse"] * 3
    assert command("results", "compare", bad, good).code == 0


def test_model_index_and_eval_results_are_read_by_the_hub_s_own_classes():
    one = named("a", 0.6)
    block = yaml.safe_load(export([one], "model-index"))
    card = ModelCard(f"---\n{yaml.safe_dump(block)}---\n")
    found = {(r.dataset_name, r.metric_name.split(" shots")[0][-1]): r.metric_value for r in card.data.eval_results}
    assert isinstance(card.data, ModelCardData) and card.data.model_name == "a"
    assert found == {
        (v, k): pytest.approx(s.variants[v].iqm, abs=0.006) for k, s in one.summary.items() for v in samples.VARIANTS
    }
    both = ("access/n8-c3-load0.15-l48", "access/n8-c3-load0.15-l64")  # of one family: told apart by what the Hub groups by
    two = result(samples.result("a", played=protocol("quick", variants=both, shots=[0], episodes=2)))
    block = yaml.safe_load(export([two], "model-index"))
    assert [r["dataset"]["name"] for r in block["model-index"][0]["results"]] == list(both)
    entries = parse_eval_result_entries(yaml.safe_load(export([one], "eval-results", "lab")))
    assert [(e.dataset_id, e.task_id) for e in entries][:2] == [
        ("lab/wbench-access", "custom-0-shots"),
        ("lab/wbench-offload", "custom-0-shots"),
    ]
    assert entries[3].value == pytest.approx(one.summary["5"].families["offload"].iqm, abs=0.006)
    assert one.protocol_hash in entries[0].notes


def test_csv_holds_every_episode_and_latex_every_score():
    a, b = named("a/scratch", 0.6), named("b", 0.5)
    rows = list(csv.DictReader(io.StringIO(export([a, b], "csv"))))
    assert len(rows) == 2 * 20 * 3
    assert [float(row["return"]) for row in rows[:3]] == list(a.cells[0].returns)
    assert {row["label"] for row in rows} == {"a/scratch", "b"} and float(rows[0]["goodput"]) == a.cells[0].qos["goodput"][0]
    lines = export([a, b], "latex").splitlines()
    summary = b.summary["5"]
    assert lines[5:9:3] == ["\\midrule", "\\midrule"] and lines[-1] == "\\end{tabular}"
    assert f"b & 5 & {summary.iqm:.1f} [{summary.ci_low:.1f}, {summary.ci_high:.1f}] & " in lines[-3]
    assert latex(r"50% of a_b & c\d~{e}") == r"50\% of a\_b \& c\textbackslash{}d\textasciitilde{}\{e\}"


def test_numbers_that_do_not_hold_are_not_exported_nor_gates_passed_where_cells_lack(command, tmp_path):
    data = samples.document("a")
    data["summary"]["0"]["iqm"] = 99.0
    path = samples.save(tmp_path / "false.json", data)
    done = command("results", "export", str(path), "--format", "csv")
    assert done.code == 2 and done.out == "" and "do not follow from its episodes" in done.err
    whole, run = samples.result("a"), samples.run("b")
    half = replace(run, cells={cell: found for cell, found in run.cells.items() if cell.shots == 0})
    paths = [
        str(samples.save(tmp_path / f"{i}.json", d)) for i, d in enumerate((samples.composed(samples.small(), half), whole))
    ]
    assert "left out: cells are missing at 5 shots" in command("results", "compare", *paths).err
    gate = command("results", "compare", *paths, "--fail-if-worse")
    assert gate.code == 2 and "cells are missing at 5 shots" in gate.err
    assert command("results", "compare", *paths, "--fail-if-worse", "--shots", "0").code == 0


def test_formats_say_what_they_need():
    one = named("a", 0.6)
    for call, error, said in (
        (lambda: export([one], "xlsx"), UnknownNameError, "Allowed: csv, eval-results, latex, model-index"),
        (lambda: export([one], "eval-results"), InvalidValueError, "--namespace"),
        (lambda: export([one], "eval-results", "a/b"), InvalidValueError, "--namespace"),
        (lambda: export([one, one], "model-index"), InvalidValueError, "one file"),
        (
            lambda: export([one, result(samples.result(played=samples.small(sites=4)))], "latex"),
            ResultError,
            "different protocols",
        ),
    ):
        with pytest.raises(error, match=said):
            call()

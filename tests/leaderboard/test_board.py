"""The board: ranks are intervals, ties are ties, what cannot be ranked says why; the terminal table and its JSON."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from wbench.benchmark.protocol.statistics import paired
from wbench.errors import InvalidValueError, OutputError, ResultError, UnknownNameError
from wbench.leaderboard import board
from wbench.leaderboard.board import Entry
from wbench.leaderboard.result import Result
from wbench.leaderboard.store import Submission, submit
from wbench.leaderboard.summary import Grid, scores_of
from wbench.leaderboard.tables import ALL, RankInterval, of_boards
from wbench.leaderboard.verification.verify import SIDECAR, sidecar

from . import samples


def entry(result: Result, tier: str = "rerun") -> Entry:
    return Entry(Submission.of(result).name, result, tier)


def incomplete(label: str, share: float) -> Result:
    return samples.composed(samples.small(), samples.run(label, share).fail(samples.small().cells()[-1]))


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return [
        entry(samples.result("worst", 0.2)),
        entry(samples.result("first", 0.8, own=1)),
        entry(samples.result("twin", 0.8, own=6)),
        entry(samples.result("middle", 0.5)),
        entry(incomplete("unfinished", 0.9)),
        entry(samples.result("genie", 1.0, privileged=True)),
        entry(samples.result("random", 0.0)),
        entry(samples.result("claimed", 0.95), "arithmetic"),
        entry(samples.result("forged", 0.99), "reported"),
    ]


def ranks(entries: list[Entry], shots: int = 5, family: str = ALL) -> dict[str, str]:
    return {one.result.label: str(one.rank(shots, family)) for one in entries}


def test_who_is_not_significantly_different_shares_a_rank(entries):
    a, b = (Grid.of(one.contract).lay_out(scores_of(one.contract, one.cells), 5) for one in (e.result for e in entries[1:3]))
    difference = paired(a, b)
    assert difference.ci_low < 0 < difference.ci_high  # the twins differ, but not significantly
    found = board.ranked(entries)
    wanted = {"worst": "4", "first": "1-2", "twin": "1-2", "middle": "3"}
    assert ranks(found) == wanted | dict.fromkeys(("unfinished", "genie", "forged", "random", "claimed"), "None")
    assert set(found[0].ranks) == {ALL, "access", "offload"} and set(found[0].ranks["access"]) == {0, 5}
    assert found[0].rank(0, "access") == RankInterval(4, 4)
    shown = [(one.result.label, board.standing(one, 5).unranked) for one in board.order(found, 5)]
    assert {label for label, _ in shown[:2]} == {"first", "twin"} and [label for label, _ in shown[2:4]] == ["middle", "worst"]
    below = [("genie", "reference"), ("forged", "does not hold"), ("claimed", "claimed"), ("random", "reference")]
    assert shown[4:] == [*below, ("unfinished", "incomplete")]


def test_without_intervals_everybody_ties():
    two = samples.small(sites=2)
    found = board.ranked([entry(samples.result(label, share, two)) for label, share in (("a", 0.1), ("b", 0.5), ("c", 0.9))])
    assert ranks(found) == dict.fromkeys("abc", "1-3")


def test_ranks_follow_from_the_episodes_and_not_from_rounded_scores():
    honest, other = samples.result("honest", 0.5), samples.result("other", 0.5)
    other = replace(other, cells=tuple(replace(cell, score=cell.score + 1e-5) for cell in other.cells))  # what NEAR excuses
    assert ranks(board.ranked([entry(honest), entry(other)])) == {"honest": "1-2", "other": "1-2"}


def test_different_protocols_are_never_ranked_together_and_quick_not_at_all(entries):
    other = samples.small(episodes=2)
    found = board.ranked([*entries, entry(samples.result("elsewhere", 0.01, other))], (ALL,), (5,))
    assert ranks(found)["elsewhere"] == "1" and ranks(found)["worst"] == "4" and found[0].ranks.keys() == {ALL}
    quick = entry(samples.result("hasty", 0.5, replace(samples.small(), name="quick")))
    assert board.ranked([quick])[0].ranks == {} and board.standing(quick, 5).unranked == "too few sites"


def rerun(path: Path, of: Path | None = None) -> None:
    """Record that a maintainer has run a file again; or, wrongly, that the record is of another one."""
    digest = hashlib.sha256((of or path).read_bytes()).hexdigest()
    told = {"schema": SIDECAR, "tier": "rerun", "sha256": digest, "tolerance": 0.0, "cells": [[]] * 6}
    sidecar(path).write_text(json.dumps(told))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    for label, share in (("first", 0.8), ("second", 0.4)):
        stored = folder / submit(Submission.of(samples.result(label, share)), folder).name
        rerun(stored)
    submit(Submission.of(samples.result("claimed", 0.9)), folder)
    return folder


def test_tiers_are_found_out_and_records_believed_only_of_the_same_bytes(store, tmp_path):
    forged = samples.changed(samples.result("forged"), lambda data: data["summary"]["5"].update(iqm=99.0))
    paths = [samples.save(tmp_path / "forged.json", forged), samples.save(tmp_path / "good.json", samples.result("good"))]
    samples.save(tmp_path / "seen.json", samples.result("seen"))
    (tmp_path / "junk.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(paths[1])
    for name in ("good", "seen"):
        rerun(tmp_path / f"{name}.json", paths[1])
    notes: list[str] = []
    found = {one.file: one.tier for one in board.load(tmp_path, None, notes.append)}
    assert found == {"forged.json": "reported", "good.json": "rerun", "seen.json": "arithmetic"}
    assert len(notes) == 1 and notes[0].startswith("junk.json is left out: not a result: schema is None")


def test_what_is_not_there_is_said(store, tmp_path):
    cases = (
        (lambda: board.load(tmp_path, None, print), ResultError, "no results in"),
        (lambda: board.load(store, "lite", print), ResultError, "no results of protocol lite in .*Try: --protocol custom"),
        (lambda: board.load(store, "light", print), UnknownNameError, "Did you mean 'lite'"),
        (lambda: board.load(tmp_path / "x", None, print), OutputError, "Give --store DIR"),
        (
            lambda: board.check_selection(board.load(store, None, print), "acces", None),
            UnknownNameError,
            "Did you mean 'access'",
        ),
        (
            lambda: board.check_selection(board.load(store, None, print), None, 7),
            InvalidValueError,
            "one of 0, 5 on this board",
        ),
    )
    for call, error, said in cases:
        with pytest.raises(error, match=said):
            call()


def test_a_narrow_terminal_gets_fewer_columns_and_whole_words(entries):
    def shown(width: int) -> str:
        console = Console(width=width, record=True, file=io.StringIO())
        rows = [board.standing(one, 5) for one in board.order(board.ranked(entries), 5)]
        console.print(of_boards([rows], 5, width=width))
        return console.export_text()

    wide, narrow = shown(200), shown(80)
    titles = ("ms a slot", "priv.", "arithmetic checked", "gain at 5", "12.3k")
    assert all(word in wide for word in titles) and "also show" not in wide
    assert (
        "--json and --html also show: offload, verified, parameters, ms a slot" in " ".join(narrow.split())
        and "12.3k" not in narrow
    )
    for text in (wide, narrow):
        for entry in entries:
            assert re.search(rf"(?m)^\S.* {entry.result.label} ", text)  # its name and what comes before it in one line
        assert "\u2026" not in text and re.search(r"(?m)^1-2 +(first|twin) .* \[\d.*\] +\d", text)


def test_the_command_prints_a_table_json_or_a_page(store, command, tmp_path):
    chosen = ("leaderboard", "--store", str(store), "--protocol", "custom")
    table = command(*chosen, "--shots", "0")
    assert table.code == 0 and table.out.index("first") < table.out.index("second") and "at 0 shots" in table.out
    data = command(*chosen, "--family", "offload", "--json").data
    assert (data["shots"], data["family"]) == (5, "offload") and [one["rank"] for one in data["rows"]] == [[1, 1], [2, 2], None]
    first = data["rows"][0]
    assert (first["agent"], first["tier"], first["message_bits"], first["parameters"]) == ("first", "rerun", 512, 12_345)
    assert (
        first["score"]["iqm"] == pytest.approx(80, abs=8)
        and first["environment_steps"] == 0
        and not first["privileged_training"]
    )
    page = command(*chosen, "--html", str(tmp_path / "page"))
    assert page.code == 0 and page.out.strip() == str(tmp_path / "page" / "index.html")
    assert "wbench leaderboard" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")

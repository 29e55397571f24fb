"""The board: ranks are intervals, ties are ties, what cannot be ranked says why; the terminal table and its JSON."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from wbench.benchmark.protocol.statistics import paired
from wbench.benchmark.registry import OWN_AGENTS
from wbench.errors import InvalidValueError, OutputError, ResultError, UnknownNameError
from wbench.leaderboard import board
from wbench.leaderboard.index import index as indexing
from wbench.leaderboard.index.entry import Entry
from wbench.leaderboard.index.index import Index
from wbench.leaderboard.index.ranks import counts
from wbench.leaderboard.names import imitated, skeleton
from wbench.leaderboard.reading import parse, read_file
from wbench.leaderboard.result import Result
from wbench.leaderboard.schema import Package
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
        entry(samples.result("estimator", 0.7)),
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
    assert ranks(found) == wanted | dict.fromkeys(("unfinished", "genie", "forged", "random", "claimed", "estimator"), "None")
    assert set(found[0].ranks) == {ALL, "access", "offload"} and set(found[0].ranks["access"]) == {0, 5}
    assert found[0].rank(0, "access") == RankInterval(4, 4)
    shown = [(one.result.label, board.standing(one, 5).unranked) for one in board.order(found, 5)]
    assert {label for label, _ in shown[:2]} == {"first", "twin"} and [label for label, _ in shown[2:4]] == ["middle", "worst"]
    assert shown[4:7] == [(name, "reference") for name in ("genie", "estimator", "random")]
    assert shown[7:] == [("forged", "does not hold"), ("claimed", "claimed"), ("unfinished", "incomplete")]


def test_rows_are_listed_by_rank_and_equal_ranks_by_score(entries):
    worst, first, twin, middle, *_ = board.ranked(entries)
    tie, lower = RankInterval(1, 2), RankInterval(3, 4)
    given = [(worst, tie), (first, lower), (twin, RankInterval(3, 3)), (middle, tie)]
    placed = [replace(one, ranks={ALL: {5: rank}}) for one, rank in given]
    assert [one.result.label for one in board.order(placed, 5)] == ["middle", "worst", "twin", "first"]


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


def stored(folder: Path, result: Result) -> Path:
    """A file of a store, by its own name, whatever it says."""
    one = Submission.of(result)
    (folder / one.name).write_bytes(one.content)
    return folder / one.name


def test_tiers_are_found_out_and_records_believed_only_of_the_same_bytes(tmp_path):
    forged = samples.changed(samples.result("forged"), lambda data: data["summary"]["5"].update(iqm=99.0))
    stored(tmp_path, parse(json.dumps(forged).encode()))
    good, seen = (stored(tmp_path, samples.result(name)) for name in ("good", "seen"))
    (tmp_path / "junk.json").write_text("{}")
    (tmp_path / "other.json").write_bytes(good.read_bytes())
    (tmp_path / "link.json").symlink_to(good)
    for path in (good, seen):
        rerun(path, good)
    for _ in range(2):  # as it is read, and as it is kept
        notes: list[str] = []
        found = {one.line.label: one.tier for one in board.load(tmp_path, None, notes.append)}
        assert found == {"forged": "reported", "good": "rerun", "seen": "arithmetic"}
        assert len(notes) == 2 and notes[0].startswith("junk.json is left out: not a result: schema is None")
        assert notes[1].startswith(f"other.json is left out: its name is not that of its content, {good.name}")


def test_one_row_an_agent_whose_runs_are_told_of(tmp_path):
    first, second = stored(tmp_path, samples.result("twice", 0.5)), stored(tmp_path, samples.result("twice", 0.6))
    chosen, other = sorted((first, second))
    for kept, left in ((chosen, other), (other, chosen)):
        notes: list[str] = []
        assert [one.file for one in board.load(tmp_path, None, notes.append)] == [kept.name]
        assert notes == [f"{left.name} is left out: another run of the row in {kept.name}"]
        rerun(other)  # the one that holds furthest stands for both


def test_names_that_look_alike_are_shown_apart(tmp_path):
    for label, changes in (
        ("alike", {}),
        ("al1ke", {}),
        ("ALIKE", {"package": Package(name="other-lab", version="2.0")}),
        ("mine", {"package": Package(name="unregistered", version="ab" * 32)}),
        ("mine", {"package": Package(name="unregistered", version="cd" * 32)}),
        ("two", {"checkpoint": "1" * 64}),
        ("two", {"checkpoint": "2" * 64}),
        ("alone", {}),
    ):
        stored(tmp_path, samples.result(label, **changes))
    found = sorted(one.name for one in board.load(tmp_path, None, print))
    settings = samples.record("two").settings[:8]
    assert found == sorted([
        "alike [some-lab 0.1.0]",
        "al1ke [some-lab 0.1.0]",
        "ALIKE [other-lab 2.0]",
        "mine [file abababababab]",
        "mine [file cdcdcdcdcdcd]",
        f"two [weights 11111111, settings {settings}]",
        f"two [weights 22222222, settings {settings}]",
        "alone",
    ])  # fmt: skip


@pytest.mark.parametrize("name", ["NetWorld", "netw0rld", "net-world", "1ql", "Qmix", "rnappo", "b.c"])
def test_names_that_look_like_wbench_s_own_are_seen(name):
    assert imitated(name) in OWN_AGENTS
    assert imitated("networld") is None and imitated("networld-2") is None and imitated("sac") is None
    assert skeleton("b\u0435lief") == skeleton("belief") == skeleton("\uff42elief")  # Cyrillic and full-width letters


def test_the_index_is_made_again_where_it_is_damaged_and_knows_what_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("WBENCH_HOME", str(tmp_path / "home"))
    (store := tmp_path / "store").mkdir()
    one, two = (stored(store, samples.result(name)) for name in ("one", "two"))
    read: list[Path] = []
    monkeypatch.setattr(indexing, "read_file", lambda path: read.append(path) or read_file(path))

    def labels() -> list[str]:
        read.clear()
        with Index(store) as index:
            return [file.line.label for file in index.files()]

    assert labels() == ["one", "two"] and len(read) == 2
    assert labels() == ["one", "two"] and not read
    (place,) = (tmp_path / "home" / "boards").iterdir()
    for damage in (b"junk", place.read_bytes()[:5000], b"SQLite format 3\0" + bytes(5000)):
        place.write_bytes(damage)
        assert labels() == ["one", "two"] and len(read) == 2, damage[:20]
    place.unlink()
    place.mkdir()  # it can be neither read nor put away, as one of somebody else's
    assert labels() == ["one", "two"] and len(read) == 2
    place.rmdir()
    assert labels() == ["one", "two"]
    two.unlink()
    three = stored(store, samples.result("three"))
    assert labels() == ["one", "three"] and read == [three]
    one.write_bytes(one.read_bytes() + b" ")  # its name is not that of its content any more
    assert labels() == ["three"] and read == [one]
    monkeypatch.setenv("WBENCH_HOME", "/proc/nowhere")  # without a cache all is read
    assert labels() == ["three"] and len(read) == 2


def test_ranks_of_thousands_are_those_of_every_pair(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    for shape in ((6, 5), (2, 5), (1, 3), (3, 4)):
        tables = rng.normal(rng.normal(0, 4, (24, 1, 1)), 3, (24, *shape))
        tables[1] = tables[0]
        signs = [[0 if i == j else paired(a, b).sign for j, b in enumerate(tables)] for i, a in enumerate(tables)]
        better, worse = (np.sum(np.array(signs) == side, axis=1) for side in (-1, 1))
        for found, wanted in zip(counts(tables), (better, worse), strict=True):
            assert found.tolist() == wanted.tolist()
        assert better.any() and (np.array(signs) == 0).sum() > 24
    monkeypatch.setenv("WBENCH_HOME", str(tmp_path / "home"))
    (tmp_path / "store").mkdir()
    names = [str(i) for i in range(24)]
    for _ in range(2):  # what was compared before is kept, whatever order rows come in
        with Index(tmp_path / "store") as index:
            index.counts("k", names[3:15], tables[3:15])
            order = rng.permutation(24)
            found = index.counts("k", [names[i] for i in order], tables[order])
        assert (found[0].tolist(), found[1].tolist()) == (better[order].tolist(), worse[order].tolist())


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
        "--json and --html also show: offload, trainings, verified, parameters, ms a slot" in " ".join(narrow.split())
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

"""The page: the numbers that it is given, and the file that it is."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console
from wbench.benchmark.protocol.statistics import paired
from wbench.errors import OutputError
from wbench.leaderboard.board import standing
from wbench.leaderboard.index.entry import Entry
from wbench.leaderboard.page.model import THRESHOLDS, model
from wbench.leaderboard.page.render import render, write
from wbench.leaderboard.summary import scores_of
from wbench.leaderboard.tables import ALL, of_boards

from .page_data import CAST, CONTRACT, Made, entries, result

HOSTILE = "</script ><script>alert(1)</script>"


@pytest.fixture(scope="module")
def rows() -> list[Entry]:
    """A dozen rows."""
    return entries()


# What the page is told


def test_the_numbers_of_a_row_follow_from_its_result(rows):
    board = model(rows)["protocols"][0]
    shown = next(row for row in board["rows"] if row["agent"] == "qmix")
    entry = next(row for row in rows if row.result.label == "qmix")
    scores = scores_of(entry.result.contract, entry.result.cells)
    at_5 = np.array([[scores[v, s, 5] for s in CONTRACT["sites"]] for v in CONTRACT["variants"]])
    k = board["shots"].index(5)

    summary = entry.result.summary["5"]
    assert shown["scores"][ALL][k] == [round(end, 1) for end in (summary.iqm, summary.ci_low, summary.ci_high)]
    at_0 = np.array([[scores[v, s, 0] for s in CONTRACT["sites"]] for v in CONTRACT["variants"]])
    gain = paired(at_5, at_0)
    assert shown["gains"][ALL][k] == [round(end, 1) for end in (gain.iqm, gain.ci_low, gain.ci_high)]
    power = paired(at_5[2:4], at_0[2:4])
    assert shown["gains"]["power"][k][0] == round(power.iqm, 1) and shown["gains"]["power"][0] is None
    fraction, low, high = shown["profiles"][ALL][k]
    assert fraction == [round(float((at_5 > tau).mean()), 2) for tau in THRESHOLDS]
    assert all(a <= b <= c for a, b, c in zip(low, fraction, high, strict=True))
    assert shown["ranks"][ALL][k] == (entry.rank(5).best, entry.rank(5).worst)
    assert (shown["latency"], shown["bits"], shown["environment_steps"]) == (0.66, 0.0, 0)
    assert shown["samples"] == [0, 1000, 5000, 20000]  # K x 100 slots x 10 agents
    assert shown["strip"][k] == [[round(x, 1) for x in line] for line in at_5.tolist()]
    assert board["sites"] == [f"site held-out:{n}" for n in range(5)]


def test_slots_played_count_as_the_transitions_of_all_agents(rows):
    board = model(rows)["protocols"][0]
    scratch = next(row for row in board["rows"] if row["agent"] == "mappo/scratch")
    assert scratch["samples"] == [0, 1000, 5000, 20000]
    assert scratch["environment_steps"] == 6 * 5 * 100 * (0 + 1 + 5 + 20)


def test_what_is_shown_is_rounded_once(rows):
    """1.23498 ms are 1.23: by way of 1.235 they would be 1.24, so what the page gets has the digits that it shows."""
    slow = replace(rows[0].result, latency=0.00123498)
    (board,) = model([Entry("slow.json", slow, "rerun")])["protocols"]
    assert board["rows"][0]["latency"] == 1.23
    assert " 1.23 " in str_of(Entry("slow.json", slow, "rerun"))


def str_of(entry: Entry) -> str:
    """The board of one row, as the terminal has it."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(of_boards([[standing(entry, 5)]], 5))
    return console.export_text()


def test_protocols_stay_apart_and_a_missing_cell_is_never_averaged_away(rows):
    lite, quick = model(rows)["protocols"]
    assert (lite["name"], len(lite["rows"]), lite["ranked"]) == ("lite", len(CAST) + 1, True)
    assert (quick["name"], [row["agent"] for row in quick["rows"]], quick["ranked"]) == ("quick", ["networld"], False)
    half = next(row for row in lite["rows"] if row["agent"] == "dreamer-mf")
    assert half is lite["rows"][-1] and half["gains"][ALL] == half["strip"] == [None] * 4
    assert (half["agent"], half["missing"], half["scores"][ALL], half["ranks"][ALL]) == (
        "dreamer-mf",
        17,
        [None] * 4,
        [None] * 4,
    )


def test_the_front_holds_what_no_other_beats_in_both_and_no_reference():
    def at(label: str, delay: float, energy: float, privileged: bool = False, tier: str = "arithmetic") -> Entry:
        made, qos = result(Made(label, (50, 50, 50), 0, privileged=privileged)), {"delay_mean": delay, "energy": energy}
        qos = {name: (value, value) for name, value in {"goodput": 1.0, **qos}.items()}
        return Entry(f"{label}.json", replace(made, cells=tuple(replace(cell, qos=qos) for cell in made.cells)), tier)

    given = [at("slow", 9, 1), at("fast", 1, 9), at("good", 3, 3), at("worse", 4, 3), at("same", 3, 4), at("genie", 0, 0, True)]
    given.append(at("made up", 0, 0, tier="reported"))
    board = model(given)["protocols"][0]
    for k in range(4):
        assert [board["rows"][number]["agent"] for number in board["fronts"]["power"][k]] == ["slow", "good", "fast"]


def test_delay_and_energy_are_those_of_what_was_delivered():
    def shown(label: str, change) -> list:
        made = result(Made(label, (50, 50, 50), 0), missing=1)
        qos = {"goodput": [0.0, 1.0, 3.0], "delay_mean": [0.0, 8.0, 4.0], "energy": [6.0, 1.0, 1.0]}
        made = replace(made, cells=tuple(replace(cell, qos=qos | change(cell)) for cell in made.cells))
        return model([Entry("x.json", made, "reported")])["protocols"][0]["rows"][0]["qos"]

    def silent(cell):
        chosen = (cell.variant, cell.shots) == ("power/d2d-n20-s500-v1-load0.12-l48", 1)
        return {"goodput": [0.0] * 3, "delay_mean": [0.0] * 3} if chosen else {}

    found = shown("some", silent)
    assert found["access"] == [[5.0, 2.0]] * 4  # (1 x 8 + 3 x 4) / 4 slots, (6 + 1 + 1) / 4 for each unit
    assert found["power"] == [[5.0, 2.0], None, [5.0, 2.0], [5.0, 2.0]]  # nothing delivered in one of its variants
    assert found["offload"] == [[5.0, 2.0]] * 3 + [None]  # a cell is missing: never averaged away


# What the file is


def test_the_file_lets_nothing_in_and_nothing_out(rows):
    text = render([*rows, Entry("x.json", replace(rows[0].result, label=HOSTILE), "reported")])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    for directive, source in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.search(r'(src|href|action)\s*=\s*"?(https?:)?//', text) and "@import" not in style and "url(" not in style
    assert HOSTILE in [row["agent"] for row in json.loads(data)["protocols"][0]["rows"]]


def test_the_folder_is_a_static_space(rows, tmp_path):
    page = write(rows, tmp_path / "space")
    _, front, _ = (tmp_path / "space" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    space = yaml.safe_load(front)
    assert space["sdk"] == "static" and tmp_path / "space" / space["app_file"] == page and page.is_file()
    assert len(space["short_description"]) <= 60  # the Hub refuses longer ones


def stamp(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


def test_nothing_that_is_somebody_elses_is_written_over(rows, tmp_path):
    write(rows, tmp_path / "ours")
    write(rows, tmp_path / "ours")  # again
    kinds = {
        "text": lambda path: path.write_text("# My project"),
        "empty": lambda path: path.write_text(""),
        "link": lambda path: path.symlink_to(tmp_path / "ours" / path.name),
        "link to nothing": lambda path: path.symlink_to(tmp_path / "nothing"),
        "folder": lambda path: path.mkdir(),
        "pipe": os.mkfifo,
        "binary": lambda path: path.write_bytes(b"\xff\xfe"),
    }
    for name in ("README.md", "index.html"):
        for kind, make in kinds.items():
            folder = tmp_path / f"{name} {kind}"
            folder.mkdir()
            make(folder / name)
            before = stamp(folder / name)
            with pytest.raises(OutputError, match="is not of wbench, and was left as it is"):
                write(rows, folder)
            assert [path.name for path in folder.iterdir()] == [name] and stamp(folder / name) == before
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_cannot_be_written_is_one_line(rows, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write the page into .*taken.*Give a folder"):
        write(rows, tmp_path / "taken")

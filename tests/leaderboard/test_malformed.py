"""Malformed submissions: every one is refused with one printable line and exit code 2, and the store stays as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from wbench.errors import ResultError, WbenchError
from wbench.leaderboard.reading import parse
from wbench.leaderboard.store import Submission, submit

from .corpus import base, corpus


@pytest.fixture
def store(tmp_path) -> Path:
    """A store that holds something."""
    (tmp_path / "good.json").write_text(base())
    submit(Submission.read(tmp_path / "good.json"), tmp_path / "store")
    return tmp_path / "store"


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def refusal(path: Path, store: Path) -> str:
    """What a submission of this file is answered."""
    with pytest.raises(WbenchError) as caught:
        submit(Submission.read(path), store)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_malformed_submission_is_refused_in_one_line(store, tmp_path):
    before, spoilt = contents(store), tmp_path / "spoilt.json"
    assert len(before) == 1
    seen = {}
    for what, content in corpus():
        assert content != base().encode(), f"{what}: nothing is wrong"
        spoilt.write_bytes(content)
        try:
            said = refusal(spoilt, store)
        except BaseException as error:
            raise AssertionError(f"{what}: not refused as it should be") from error
        assert said.isprintable() and 10 < len(said) < 700, (what, said)
        seen[what] = said
    assert len(seen) >= 200 and contents(store) == before
    assert len(set(seen.values())) > 150  # they say what is wrong


@pytest.mark.parametrize(
    ("what", "said"), [("nan", "NaN is no finite number"), ("inf", "Infinity is no"), ("[[[[", "deeper than 16 levels")]
)
def test_reading_alone_refuses_what_the_open_part_of_the_contract_must_not_hold(what, said):
    (content,) = [content for name, content in corpus() if name.startswith(f"parts: the contract's {what}")]
    with pytest.raises(ResultError, match=said):
        parse(content)


def test_files_that_are_no_files_are_refused(store, tmp_path):
    large = tmp_path / "large.json"
    with large.open("wb") as stream:
        stream.truncate(100 << 20)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    cases = {
        large: "larger than 32 MB",
        tmp_path: "is no file|Is a directory",
        tmp_path / "pipe": "is no file",
        Path("/dev/zero"): "is no file",
        tmp_path / "missing.json": "No such file",
        tmp_path / "link": "No such file",
        tmp_path / ("x" * 300): "too long",
        tmp_path / "nul\0": "null",
        tmp_path / "\x1b[31m": r"\?\[31m",
    }
    for path, named in cases.items():
        said = refusal(path, store)
        assert any(part in said for part in named.replace("\\", "").split("|")) and said.isprintable(), said
    assert len(contents(store)) == 1


def test_the_command_line_answers_in_one_line_too(command, wbench, store, tmp_path):
    (tmp_path / "cut.json").write_text(base()[:-2])
    (tmp_path / "red.json").write_text(base().replace('"made-up"', '"\\u001b[31m"', 1))
    (tmp_path / "forged.json").write_text(base().replace('"score": ', '"score": 9', 1))
    for name, named in {"cut": "not a result", "red": "agent", "forged": "does not hold up", "missing": "No such file"}.items():
        run = wbench if name == "red" else command  # one in a process of its own
        done = run("submit", str(tmp_path / f"{name}.json"), "--store", str(store))
        lines = done.err.splitlines()
        assert (done.code, done.out, len(lines)) == (2, "", 1) and named in lines[0] and lines[0].isprintable(), done
    assert len(contents(store)) == 1

"""Forged and heavy submissions: none is ranked without a rerun, none takes long or much memory, none ends in a traceback."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from wbench.errors import ResultError, WbenchError
from wbench.leaderboard import board
from wbench.leaderboard.reading import parse
from wbench.leaderboard.store import Submission, name_of, submit
from wbench.leaderboard.verification import own

from . import forged

SECONDS, MEGABYTES = 2.0, 300


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answer(path: Path, store: Path) -> str:
    """What a submission is answered: `added`, `known`, or the refusal, in one line."""
    try:
        return submit(Submission.read(path), store).status
    except WbenchError as error:
        assert error.exit_code == 2 and str(error).isprintable() and len(str(error)) < 700, str(error)
        return str(error)


def test_what_arithmetic_can_tell_is_refused_and_the_rest_is_claimed(tmp_path):
    store, path, seen = tmp_path / "store", tmp_path / "file.json", 0
    path.write_bytes(forged._file(forged.row()))
    assert answer(path, store) == "added"  # what the forgeries start from holds
    own._known("networld", "offline", None)  # imports much, once, which is no file's doing
    said = set()
    for what, content in forged.refused():
        path.write_bytes(content)
        start = time.process_time()
        found = answer(path, store)
        assert found not in ("added", "known"), what
        assert time.process_time() - start < SECONDS, what
        said.add(found)
        seen += 1
        try:  # put there by somebody with rights to the store, it is shown as what it is
            (store / name_of(parse(content), content)).write_bytes(content)
        except ResultError:
            continue
    assert len(said) > 100
    for what, content in forged.claimed():
        path.write_bytes(content)
        assert answer(path, store) in ("added", "known"), what
        seen += 1
    assert seen >= 300
    entries = board.ranked(board.load(store, None, lambda _: None))
    assert len(entries) > 100 and not any(entry.ranks for entry in entries)
    assert {entry.tier for entry in entries} == {"reported", "arithmetic"}
    holding = [entry.line.label for entry in entries if entry.tier == "arithmetic"]
    assert len(holding) == len(set(holding)) == 44  # one row for each agent that was claimed


def test_a_file_that_no_board_can_hold_is_left_out_and_takes_no_other_row_away(tmp_path):
    honest = Submission.of(forged.row())
    submit(honest, tmp_path)
    left_out = set()
    for what, content in forged.beyond_bounds():
        (tmp_path / "file.json").write_bytes(content)
        assert answer(tmp_path / "file.json", tmp_path / "store") not in ("added", "known"), what
        left_out.add(name_of(parse(content), content))
        (tmp_path / name_of(parse(content), content)).write_bytes(content)
    (tmp_path / "file.json").unlink()
    notes: list[str] = []
    assert [entry.file for entry in board.load(tmp_path, None, notes.append)] == [honest.name]
    assert {note.partition(" ")[0] for note in notes} == left_out and len(left_out) == 8
    assert all("is left out: no board can hold what follows from it: " in note for note in notes), notes


def test_no_file_hangs_a_reader_or_fills_its_memory(tmp_path):
    path, seen = tmp_path / "file.json", 0
    for what, content in forged.heavy():
        path.write_bytes(content)
        before, start = peak(), time.process_time()
        found = answer(path, tmp_path / "store")
        assert found not in ("added", "known"), what
        assert time.process_time() - start < SECONDS, (what, time.process_time() - start)
        assert peak() - before < MEGABYTES, (what, peak() - before)
        seen += 1
    assert seen >= 50 and not (tmp_path / "store").exists()

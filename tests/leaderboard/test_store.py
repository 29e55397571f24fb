"""The results store: immutable files named after their content, added by any number at once; and the maintainer's gate."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from wbench.errors import InvalidValueError, OutputError, ResultError
from wbench.leaderboard import store as stores
from wbench.leaderboard.gate import gate
from wbench.leaderboard.index.index import Index
from wbench.leaderboard.reading import load_result, parse
from wbench.leaderboard.store import Submission, submit
from wbench.leaderboard.verification.verify import verify

from . import samples
from .samples import changed, save


def submission(**changes) -> Submission:
    return Submission.of(samples.result(**changes))


def test_a_submission_is_the_run_alone_under_a_name_of_its_content(tmp_path):
    with_rival = samples.composed(samples.small(), samples.run("made-up/scratch"), samples.run("other")).document()
    first = Submission.read(save(tmp_path / "a.json", with_rival))
    alone = Submission.read(save(tmp_path / "b.json", with_rival | {"comparison": []}))
    assert (
        first == alone
        and first.name.startswith("made-up-scratch-custom-")
        and len(first.name) == len("made-up-scratch-custom-") + 21
    )
    done = submit(first, tmp_path / "store")
    stored = tmp_path / "store" / done.name
    assert done.status == "added" and verify(stored).tier == "arithmetic"
    found = load_result(stored)
    assert found.comparison == () and found.cells == load_result(tmp_path / "a.json").cells
    assert Submission.read(stored) == first  # its own canonical form


def test_a_store_on_a_file_system_without_links_takes_submissions(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    one = submission()
    assert [submit(one, tmp_path).status for _ in range(2)] == ["added", "known"]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(one.name, one.content)]


def test_nothing_is_written_over_and_nothing_is_left_behind(tmp_path):
    one = submission()
    assert [submit(one, tmp_path).status for _ in range(2)] == ["added", "known"]
    slower = samples.document()
    for cell in slower["cells"]:
        cell["ledger"]["cpu_seconds"] = 0.75
    slower["ledger"]["cpu_seconds"] = 0.75 * 20
    again = Submission.of(parse(json.dumps(slower).encode()))
    assert again.name != one.name and again.played == one.played  # a replay, with other timings
    with Index(tmp_path) as index:
        assert submit(again, tmp_path, same=index.same(again.played)).status == "known"
    assert submit(submission(label="else"), tmp_path, dry_run=True).status == "dry run"
    assert [path.name for path in tmp_path.iterdir()] == [one.name]
    (tmp_path / one.name).write_bytes(b"precious")
    with pytest.raises(OutputError, match="A store never changes"):
        submit(one, tmp_path)
    assert (tmp_path / one.name).read_bytes() == b"precious"
    (tmp_path / one.name).unlink()
    (tmp_path / one.name).symlink_to("/etc/passwd")
    with pytest.raises(OutputError, match="A store never changes"):
        submit(one, tmp_path)
    with pytest.raises(OutputError, match=r"cannot write in the store .* Give another --store DIR"):
        submit(one, Path("/proc/nowhere"))


def test_a_name_that_is_taken_at_the_last_moment_is_left_alone(tmp_path, monkeypatch):
    one, make = submission(), tempfile.mkstemp

    def somebody_is_faster(**options):
        (tmp_path / one.name).write_bytes(b"faster")
        return make(**options)

    monkeypatch.setattr(tempfile, "mkstemp", somebody_is_faster)
    with pytest.raises(OutputError, match="A store never changes"):
        submit(one, tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(one.name, b"faster")]


def _submit_together(barrier, store: Path, numbers: list[int]) -> None:
    mine = [submission(parameters=number) for number in numbers]
    barrier.wait()
    for one in mine:
        submit(one, store)


def _read_together(barrier, over, store: Path, most) -> None:
    barrier.wait()
    rows = [0]
    while not over.is_set():
        with Index(store, pytest.fail) as index:  # no file is ever malformed
            rows.append(len(list(index.files(None))))
    assert rows == sorted(rows), "a file that was there is gone"
    most.value = rows[-1]


def test_fifty_at_once_beside_a_board_lose_none(tmp_path):
    context = multiprocessing.get_context("fork")
    submission()  # what is computed once is computed before
    barrier, over, most = context.Barrier(51), context.Event(), context.Value("i", -1)
    (tmp_path / "store").mkdir()
    board = context.Process(target=_read_together, args=(barrier, over, tmp_path / "store", most))
    board.start()
    arguments = [(barrier, tmp_path / "store", [number, 1000]) for number in range(50)]  # one each, and one that all share
    processes = [context.Process(target=_submit_together, args=some) for some in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 50
    over.set()
    board.join(timeout=120)
    assert board.exitcode == 0 and 0 <= most.value <= 51
    found = sorted(load_result(path).parameters for path in (tmp_path / "store").iterdir())
    assert found == [*range(50), 1000]


def test_the_default_store_is_that_of_the_checkout_one_is_in(tmp_path, monkeypatch):
    (tmp_path / "leaderboard" / "results").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    for others in (None, "", "[project]\nname = 'other'", "[tool]", "project = 3", "\x00", "[project]\nname = 'wbench-more'"):
        if others is not None:
            (tmp_path / "pyproject.toml").write_text(others)
        assert stores.default_store() is None  # somebody else's project
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'wbench'\n")
    assert stores.default_store() == tmp_path / "leaderboard" / "results"
    monkeypatch.chdir("/")
    assert stores.default_store() is None


class Checkout:
    """A git repository with a results store, and branches that propose things."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "leaderboard" / "results"
        self.results.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        submit(submission(label="first"), self.results)
        (folder / "code.py").write_text("print('code')")
        self.commit()

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    def propose(self, change) -> list[str]:
        """What the gate says of a branch with this change, looked at from the main branch."""
        self.git("checkout", "-q", "-B", "proposal", "main")
        change()
        self.commit()
        self.git("checkout", "-q", "main")
        return gate("main..proposal", self.folder)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"))


def test_the_gate_lets_honest_additions_pass(checkout):
    def add():
        submit(submission(label="second"), checkout.results)
        submit(submission(label="third"), checkout.results)

    accepted = checkout.propose(add)
    assert [path.split("/")[-1].split("-")[0] for path in accepted] == ["second", "third"]
    checkout.git("checkout", "-q", "main")
    (checkout.folder / "more.py").write_text("1")
    checkout.commit()  # main goes on: what it changes is not the proposal's
    assert gate("main..proposal", checkout.folder) == accepted


def test_the_gate_refuses_all_else(checkout):
    results, good = checkout.results, submission(label="fourth")
    first = next(results.glob("first-*.json"))
    forged = changed(samples.result(), lambda data: data["summary"]["5"].update(iqm=99.0))
    proposals = {
        "is changed or deleted .M": lambda: first.write_bytes(good.content),
        "is changed or deleted .D": first.unlink,
        "'code.py' is changed": lambda: (checkout.folder / "code.py").write_text("import os"),
        "'setup.py' is not directly in": lambda: (checkout.folder / "setup.py").write_text("import os"),
        "sub/x.json' is not directly in": lambda: (
            (results / "sub").mkdir(),
            (results / "sub" / "x.json").write_bytes(good.content),
        ),
        "has mode 120000": lambda: (results / good.name).symlink_to("/etc/passwd"),
        "has mode 100755": lambda: ((results / good.name).write_bytes(good.content), (results / good.name).chmod(0o755)),
        "does not hold up: summary.5.iqm": lambda: save(results / "forged.json", forged),
        f"is not what wbench submit writes, which would be {good.name}": lambda: (results / "x.json").write_bytes(good.content),
        "which would be made-up": lambda: save(results / submission().name, samples.result()),  # not in canonical form
        "not a result: Expecting value": lambda: (results / "x.json").write_text("import os"),
        "x.verified.json' not a result": lambda: (results / "x.verified.json").write_text('{"tier": "rerun"}'),
        "And 1 more": lambda: ((results / "x.json").write_text("{}"), (results / "y.json").write_text("{}")),
    }
    for said, change in proposals.items():
        with pytest.raises(ResultError, match=said):
            checkout.propose(change)
    with pytest.raises(ResultError, match="0 files changed"):
        gate("main..main", checkout.folder)
    with pytest.raises(ResultError, match="git diff failed"):
        gate("main..nowhere", checkout.folder)
    for span in ("main", "--output=x..main", "main..--output=x"):
        with pytest.raises(InvalidValueError, match=r"BASE\.\.HEAD"):
            gate(span, checkout.folder)


def test_the_gate_knows_a_replay_and_runs_in_the_base_alone(checkout):
    slower = changed(samples.result("first"), lambda data: data["hardware"].update(cpu="Another CPU"))
    again = Submission.of(parse(json.dumps(slower).encode()))
    with pytest.raises(ResultError, match=r"is the play of first-custom-[0-9a-f]{16}\.json once more"):
        checkout.propose(lambda: (checkout.results / again.name).write_bytes(again.content))
    twice = [Submission.of(parse(json.dumps(changed(samples.result("sixth"), change)).encode())) for change in (len, _faster)]
    with pytest.raises(ResultError, match=r"is the play of leaderboard/results/sixth-custom-.* once more"):
        checkout.propose(lambda: [(checkout.results / one.name).write_bytes(one.content) for one in twice])
    checkout.git("checkout", "-q", "proposal")
    with pytest.raises(ResultError, match=r"the checkout is not at main, .* git checkout main"):
        gate("main..proposal", checkout.folder)
    checkout.git("checkout", "-q", "main")


def _faster(data) -> None:
    data["hardware"]["cpu"] = "A faster CPU"


def test_the_gate_is_a_command_that_answers_in_one_line(checkout):
    (checkout.folder / "json.py").write_text("raise SystemExit('code of the current folder ran')")

    def run(*arguments: str, safe: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *(["-P"] if safe else []), "-m", "wbench.leaderboard.gate", *arguments]
        return subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)

    refused = [run("main..main"), run()]
    assert [(done.returncode, len(done.stderr.splitlines())) for done in refused] == [(2, 1)] * 2
    (checkout.folder / "json.py").unlink()
    assert "python -P" in (done := run("main..main", safe=False)).stderr and done.returncode == 2
    checkout.propose(lambda: submit(submission(label="fifth"), checkout.results))
    accepted = run("main..proposal")
    assert accepted.returncode == 0 and accepted.stdout.startswith("leaderboard/results/fifth-custom-"), accepted.stderr


def test_what_killed_submissions_left_is_swept_and_what_lives_is_not(tmp_path):
    for name, age in ((".submission.dead", 7200), (".submission.alive", 10)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    submit(one := submission(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((".submission.alive", one.name))

"""Verification of agents that no package holds: the very file is played again, and only with --trust."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from wbench.leaderboard.verification import rerun
from wbench.leaderboard.verification.rerun import Plan
from wbench.leaderboard.verification.verify import verify

from . import samples
from .samples import changed, save

QUIET = """from pathlib import Path
import torch
from wbench.benchmark.agent import Agent

class Quiet(Agent):
    name = "quiet"

    def act(self, obs, inbox, state):
        return torch.zeros(obs.shape[:2], dtype=torch.long)

def build(checkpoint, device):
    Path(__file__).with_name("ran").touch()
    return Quiet()

def louder(checkpoint, device):
    return type("Loud", (Quiet,), {"name": "loud"})()
"""


@pytest.fixture(scope="module")
def quiet(tmp_path_factory) -> tuple[Path, dict]:
    """The file of an agent that no package registers, and a result of it."""
    file = tmp_path_factory.mktemp("mine") / "quiet.py"
    file.write_text(QUIET)
    return file, samples.played(str(file))


def test_an_agent_out_of_a_file_is_played_again_from_the_very_file(quiet, command, tmp_path, monkeypatch):
    file, result = quiet
    assert result["package"] == {"name": "unregistered", "version": hashlib.sha256(QUIET.encode()).hexdigest()}
    row, copy = save(tmp_path / "row.json", result), tmp_path / "a.py copy.py"
    copy.write_text(QUIET)
    for given in (str(file), f"{copy}:build"):  # the digest counts, not the place
        done = command("results", "verify", str(row), "--trust", "--agent", given, "--cells", "2", "--json")
        assert (done.code, done.data["tier"]) == (0, "rerun"), done.err
        assert [(cell["same_episodes"], cell["episodes"]) for cell in done.data["replayed"]] == [(2, 2)] * 2
        monkeypatch.setattr(rerun, "play_again", samples.played_again_here)  # in a process of its own once
    assert command("results", "verify", str(row)).out == "row.json: holds as arithmetic checked\n"
    verdict = verify(row, "rerun", Plan(trust=True, agent=f"{file}:louder"))
    assert verdict.tier == "arithmetic" and verdict.problems == ("label is 'quiet', but 'loud' follows",)


def test_the_file_of_an_agent_is_not_run_unless_it_is_the_same_and_trusted(quiet, command, tmp_path):
    _, result = quiet
    (other := tmp_path / "quiet.py").write_text(QUIET + "\n")
    (trusted := tmp_path / "same.py").write_text(QUIET)
    row = save(tmp_path / "row.json", result)
    before = changed(result, lambda data: data["package"].update(version="0"))  # files did not always say
    digests = (hashlib.sha256(other.read_bytes()).hexdigest()[:16], hashlib.sha256(QUIET.encode()).hexdigest()[:16])
    for path, arguments, said in (
        (row, ("--trust",), "--agent is None, but must be FILE.py, the file of 'quiet'"),
        (row, ("--tier", "rerun"), "--agent is None, but must be FILE.py, the file of 'quiet'"),
        (
            row,
            ("--agent", str(trusted)),
            f"{trusted}, the code of 'quiet', has to be run for this. If you trust it",
        ),
        (row, ("--trust", "--agent", str(other)), f"SHA-256 of {other} is '{digests[0]}...', but must be {digests[1]}..."),
        (row, ("--trust", "--agent", str(tmp_path / "gone.py")), "but must be a file that can be read (No such file"),
        (row, ("--trust", "--agent", "bc"), "--agent is 'bc', but must be FILE.py or FILE.py:ATTR"),
        (
            save(tmp_path / "belief.json", samples.played("belief")),
            ("--trust", "--agent", str(trusted)),
            "left out: 'belief' is of the package wbench",
        ),
    ):
        refused = command("results", "verify", str(path), *arguments)
        assert refused.code == 2 and said in refused.err and len(refused.err.splitlines()) == 1, refused.err
    nameless = command("results", "verify", str(save(tmp_path / "before.json", before)), "--trust", "--agent", str(trusted))
    assert nameless.code == 1 and "package.version is '0', which names no code" in nameless.err
    assert not (tmp_path / "ran").exists()  # neither file ran

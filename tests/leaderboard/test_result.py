"""Result files: the committed schema is the code's, files round-trip, nothing tells of the host. The verb that makes them."""

from __future__ import annotations

import io
import json
import platform
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wbench
from rich.console import Console
from wbench.benchmark import site
from wbench.benchmark.agent import Adaptation
from wbench.benchmark.data.support import support
from wbench.benchmark.protocol.executor import AgentSpec
from wbench.benchmark.protocol.fields import printable
from wbench.benchmark.protocol.spec import protocol
from wbench.benchmark.registry import get_variant, make_agent
from wbench.benchmark.site import parse_sites
from wbench.errors import ExecutorError, InvalidValueError, OutputError, ResultError
from wbench.leaderboard import provenance
from wbench.leaderboard import schema_docs as reference
from wbench.leaderboard.reading import load_result, parse
from wbench.leaderboard.schema import Origin
from wbench.leaderboard.summary import Grid, gains
from wbench.leaderboard.verification.recompute import complaints

from . import samples


def test_the_schema_and_its_page_are_those_of_the_code():
    again = "Generate them with: python -m wbench.leaderboard.schema_docs"
    assert reference.SCHEMA_FILE.read_text(encoding="utf-8") == reference.json_schema_text(), again
    assert reference.START + reference.fields() + reference.END in reference.PAGE.read_text(encoding="utf-8"), again
    about = reference.json_schema()
    for name, one in {"Result": about, **about["$defs"]}.items():
        assert one["description"] and all(field.get("description") for field in one["properties"].values()), name


def test_what_is_written_is_what_is_read(tmp_path):
    made = samples.composed(samples.small(), samples.run(), samples.run("other/scratch", 0.4))
    found = load_result(str(made.save(tmp_path / "r.json")))
    assert found == made and found.document() == json.loads((tmp_path / "r.json").read_text())
    one = found.summary["5"]
    assert one.iqm == pytest.approx(50, abs=8) and one.ci_low < one.iqm < one.ci_high
    assert list(one.families) == ["access", "offload"] and list(one.variants) == list(samples.VARIANTS)
    assert found.comparison[0].difference["5"].iqm == pytest.approx(10, abs=1e-3)
    slots = 10 * 3 * (128 + 96)
    assert found.ledger.query_steps == slots and found.latency == pytest.approx(20 * 0.25 / slots)
    assert found.message_floats == {"access": 2, "offload": 2}
    with pytest.raises(OutputError, match=r"cannot write the result .* Give a file in a folder"):
        made.save("/proc/nowhere/r.json")


def test_a_failed_cell_is_kept_with_its_reason_and_never_averaged_away():
    cell = samples.small().cells()[-1]
    run = samples.run().fail(cell, "ValueError: /home/joe/x.py is odd")
    found = parse(json.dumps(samples.composed(samples.small(), run).document()).encode())
    assert not found.complete and found.summary["5"] is None and found.summary["0"].iqm == pytest.approx(50, abs=8)
    assert (found.cells[-1].score, found.cells[-1].failure) == (None, "ValueError: PATH is odd")
    assert found.failed == [found.cells[-1]] and "made-up failed in 1 cells" in str(found)


def test_files_of_other_schemas_are_named():
    for other in ("wbench-result/3", "wbench-result/5", None):
        with pytest.raises(ResultError, match=f"schema is {other!r}, but must be wbench-result/4. Play it anew: wbench eval"):
            parse(json.dumps(samples.document() | {"schema": other}).encode())


def test_a_result_shows_itself_and_is_a_table_of_cells():
    made = samples.composed(samples.small(), samples.run(), samples.run("other", 0.4))
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123
    console.print(made)
    for text in (str(made), repr(made), console.export_text()):
        assert "made-up" in text and "lead at 5" in text and samples.VARIANTS[1] in text
    frame = made.scores
    assert list(frame.columns[:6]) == ["family", "variant", "site", "shots", "score", "return_mean"]
    assert len(frame) == 20 and frame.score.tolist() == [cell.score for cell in made.cells]
    assert frame.query_steps.sum() == made.ledger.query_steps and len(made.comparison[0].scores) == 20


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_interval_is_split_and_no_line_is_longer_than_the_terminal(width):
    played, console = samples.small(shots=(0, 1, 5, 20)), Console(width=width, record=True, file=io.StringIO())
    console.print(samples.composed(played, samples.run(played=played), samples.run("other", 0.4, played)))
    text = console.export_text()
    assert len(re.findall(r"\[[-+.\d]+, [-+.\d]+\]", text)) == 14 and max(map(len, text.splitlines())) <= width
    assert "lead at 20" in text and "bits," in text and "…" not in text


def test_nothing_in_a_result_tells_of_the_host():
    text = json.dumps(samples.document())
    for secret in (platform.node(), str(Path.home()), str(Path.cwd()), "/home", "/tmp"):
        assert len(secret) < 3 or secret not in text
    said = printable("OSError: no /home/joe/secret/x.pt or C:\\Users\\joe\\x \x1b[31m in access/n8-c1 1/2\n")
    assert said == "OSError: no PATH or PATH ?[31m in access/n8-c1 1/2"


def test_the_command_makes_the_same_hash_again():
    data = samples.document("made-up/scratch", checkpoint="", origin=Origin(kind="none", name="", revision=""))
    expected = "wbench eval --agent made-up --track scratch --variant access/n8-c3-load0.15-l48 --variant offload/n8-e2-p0.15 "
    assert data["command"].startswith(expected + "--sites held-out:0-4 --shots 0,5 --episodes 3 --against none")
    sites = parse_sites("held-out:0-4")
    again = protocol("quick", variants=samples.VARIANTS, shots=[0, 5], sites=sites, episodes=3)
    assert again.hash() == data["protocol_hash"]
    wrong = provenance.command(samples.record("bc"), replace(again, support="wrong"))
    assert "--sites held-out:0-4 --shots 0,5 --episodes 3 --support wrong --against none" in wrong
    lite = provenance.command(samples.record("bc"), protocol("lite"))
    assert lite == "wbench eval --agent bc --checkpoint FOLDER --protocol lite --against none --out result.json"


# The verb.

TINY = {"family": "access", "shots": 0, "sites": "0", "episodes": 2, "progress": False}


class Idle(wbench.Agent):
    """Never sends."""

    name = "idle"

    def act(self, obs, inbox, state):
        return torch.zeros(obs.shape[:2], dtype=torch.long)


def test_a_name_a_file_and_an_object_are_scored_alike(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom wbench import Agent\n\n\nclass Idle(Agent):\n    name = 'idle'\n\n"
        "    def act(self, obs, inbox, state):\n        return torch.zeros(obs.shape[:2], dtype=torch.long)\n\n\n"
        "build = lambda *_: Idle()\n"
    )
    ours = wbench.evaluate(Idle(), against=["belief", Idle()], **TINY)
    assert (ours.label, ours.package.name, [rival.label for rival in ours.comparison]) == (
        "idle",
        "unregistered",
        ["belief"],
    )
    filed = wbench.evaluate(tmp_path / "mine.py", **TINY)
    assert [cell.returns for cell in filed.cells] == [cell.returns for cell in ours.cells]
    named = wbench.evaluate(
        "belief", protocol("quick", families=["access"], shots=[0], sites=[samples.HELD_OUT], episodes=2), progress=False
    )
    assert named.cells[0].returns == ours.comparison[0].cells[0].returns and named.protocol_hash == ours.protocol_hash


def test_what_cannot_be_is_said_in_one_line():
    for call, said in (
        (lambda: wbench.evaluate(Idle(), jobs=2), "jobs is 2, but must be 1 for an Agent, which plays in this process"),
        (lambda: wbench.evaluate(Idle(), checkpoint="x"), "checkpoint is 'x', but must be left out for an Agent"),
        (lambda: wbench.evaluate(type("Prior", (Idle,), {"name": "prior"})()), "name of the agent that was given is 'prior'"),
        (
            lambda: wbench.evaluate("prior", protocol("quick"), sites="0-2"),
            "sites is '0-2', but must be left out where a Protocol",
        ),
        (
            lambda: wbench.evaluate("prior", protocol("quick"), support="wrong"),
            "support is 'wrong', but must be left out where a Protocol",
        ),
        (lambda: wbench.evaluate("prior", sites="sealed:0"), "--sites is 'sealed:0', but must be of the range train, dev or"),
        (lambda: wbench.evaluate("prior", sites=[3_000_000]), "sealed sites are the referee's"),
        (lambda: wbench.evaluate("prior", sites=[4_000_000]), "site is 4000000"),
        (lambda: wbench.evaluate("prior", device="tpu"), "--device is 'tpu'"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            call()


def test_the_journal_beside_a_result_goes_on_and_another_file_is_left_alone(tmp_path, monkeypatch):
    out, more = tmp_path / "r.json", TINY | {"sites": "0-1"}
    first = wbench.evaluate("belief", out=out, **more)
    kept, journal = out.read_text(), out.with_name("r.json.cells.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]))  # one cell is lost, with the end of the run
    again = wbench.evaluate("belief", out=out, **more)
    assert again.cells[0] == first.cells[0] and again.cells[1].returns == first.cells[1].returns
    monkeypatch.setattr(
        "wbench.benchmark.protocol.executor.run_cell", lambda *_: pytest.fail("a finished cell is played again")
    )
    assert wbench.evaluate("belief", out=out, **more) == again
    kept = out.read_text()
    for agent, changes, said in (
        ("random", {}, "another agent or checkpoint"),
        ("belief", {"episodes": 3}, "another protocol"),
    ):
        with pytest.raises(OutputError, match=rf"cells of something else \({said}\)\. It is left as it is"):
            wbench.evaluate(agent, out=out, **{**more, **changes})
    journal.unlink()
    with pytest.raises(OutputError, match=r"exists, without the cells of this run beside it\. It is left as it is"):
        wbench.evaluate("belief", out=out, **more)
    assert out.read_text() == kept


def test_cells_of_other_code_are_not_mixed_in(tmp_path):
    source, out = tmp_path / "mine.py", tmp_path / "r.json"
    text = "import torch\nfrom wbench import Agent\n\n\nclass Mine(Agent):\n    name = 'mine'\n\n"
    text += "    def act(self, obs, inbox, state):\n        return torch.zeros(obs.shape[:2], dtype=torch.long)\n\n\n"
    source.write_text(text + "build = lambda *_: Mine()\n")
    wbench.evaluate(source, out=out, **TINY)
    source.write_text(text + "build = lambda *_: Mine()  # edited\n")
    with pytest.raises(OutputError, match=r"holds a result of other code of mine\. It is left as"):
        wbench.evaluate(source, out=out, **TINY)


# Gain, controls and the referee.


def test_the_adaptation_gain_is_the_paired_difference_from_zero_shots():
    grid = Grid(("a/x", "b/y"), (0, 1, 5), (7, 8, 9))
    table = {0: ([10, 20, 30], [0, 40, 80]), 1: ([10, 20, 30], [0, 40, 80]), 5: ([14, 30, 36], [2, 48, 84])}
    scores = {(v, s, k): table[k][i][j] for i, v in enumerate(grid.variants) for j, s in enumerate(grid.sites) for k in table}
    found = gains(grid, scores)
    assert found.keys() == {"1", "5"} and (found["1"].iqm, found["1"].ci_low, found["1"].ci_high) == (0, 0, 0)
    # differences 4, 10, 6 and 2, 8, 4; sorted 2 4 4 6 8 10, of which the middle half (one cut from each end) is 4 4 6 8
    assert found["5"].iqm == 5.5 and found["5"].ci_low <= 5.5 <= found["5"].ci_high
    del scores["b/y", 8, 0]
    assert gains(grid, scores) == {"1": None, "5": None}  # never averaged away
    assert gains(replace(grid, shots=(1, 5)), scores) == {"1": None, "5": None}


class Reader(wbench.Agent):
    """Keeps its support."""

    name = "reader"
    read: tuple = ()

    def adapt(self, family, variant, support):
        self.read = (*self.read, support)
        return Adaptation()

    act = Idle.act


@pytest.mark.parametrize("kind", ["site", "wrong", "shifted"])
def test_the_support_is_the_sites_own_or_a_control(kind):
    agent = Reader()
    found = wbench.evaluate(agent, support=kind, **TINY | {"sites": "2", "shots": 2})
    family, variant = get_variant(found.cells[0].variant)
    held_out = samples.HELD_OUT
    logs = {
        "site": lambda: support(family, variant, held_out + 2, 2),
        "wrong": lambda: support(family, variant, held_out + 3, 2),
        "shifted": lambda: support(family, variant, held_out + 2, 2, "shifted"),
    }
    expected = {name: make() for name, make in logs.items()}
    assert [name for name, one in expected.items() if torch.equal(one.obs, agent.read[0].obs)] == [kind]
    assert expected["shifted"].quality == ("random", "random") and found.contract["support"]["kind"] == kind
    assert found.command.count(f"--support {kind}") == (kind != "site")
    assert next(complaints(found), None) is None and found.protocol == "custom"


def test_only_the_referee_plays_sealed_sites_and_nobody_submits_them(command, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "_sealed_open", False)  # closed again after this test
    out = tmp_path / "sealed.json"
    arguments = ("eval", "--agent", "prior", "--family", "access", "--sites", "sealed:0-1", "--shots", "0", "--episodes", "2")
    refused = command(*arguments, "--out", str(out))
    assert refused.code == 2 and "sealed sites are the referee's" in refused.err and not out.exists()
    done = command(*arguments, "--referee", "--against", "none", "--out", str(out), "--json")
    assert done.code == 0, done.err
    assert done.data["contract"]["sites"] == [3_000_000, 3_000_001] and done.data["complete"]
    for words in (("submit", str(out), "--store", str(tmp_path / "store")), ("results", "verify", str(out))):
        answer = command(*words)
        assert answer.code != 0 and "sealed" in answer.err and len(answer.err.splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_the_same_weights_with_other_settings_are_another_agent(tmp_path):
    folders = [str(samples.untrained(tmp_path / name, aim=aim)) for name, aim in (("same", "expert"), ("other", "random"))]
    same, other = (provenance.agent_record(make_agent("bc", folder), folder) for folder in folders)
    assert same.checkpoint == other.checkpoint and same.origin == other.origin == Origin(kind="folder", name="", revision="")
    assert len(other.settings) == 64 and other.settings != same.settings
    with pytest.raises(ExecutorError, match="other weights of bc"):
        AgentSpec("bc", folders[1], weights=(same.checkpoint, same.settings)).build()


def test_no_interval_is_split_in_a_terminal_of_100_columns():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(samples.result("networld", 0.5, samples.small(shots=(0, 1, 5, 20))))
    text = console.export_text()
    assert text.count("[") == len(re.findall(r"\[[-+]?\d+\.\d, [-+]?\d+\.\d\]", text)) + 1 == 6  # and one in the note
    assert max(map(len, text.splitlines())) <= 100

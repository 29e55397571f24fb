"""Training that is steered and watched: settings by name, own families, loggers, a folder of data."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from wbench.benchmark.data.release import RELEASES
from wbench.benchmark.registry import get_family, list_families, register_family
from wbench.errors import DataError, InvalidValueError, MissingPackageError, UnknownNameError, WbenchError
from wbench.learning.logging import CSV, make_logger, named
from wbench.learning.run import REPORT
from wbench.learning.settings import shortened
from wbench.learning.training import get_trainer, trainer_names

from . import tiny

FAMILY = Path(__file__).parents[2] / "docs" / "examples" / "own_family.py"


def configured(agent: str, *pairs: str, preset: str = "small", steps: int | None = None):
    """Settings that the command line would train with."""
    return get_trainer(agent).settings(preset, [get_family("access")], steps, pairs, 7)


def test_settings_are_changed_by_name_and_typed():
    bc = configured("bc", "learning_rate=3e-4", "hidden=64", "sampled=access,power")
    assert (bc.learning_rate, bc.hidden, bc.sampled, bc.seed) == (3e-4, 64, ("access", "power"), 7)
    assert configured("mappo", "learning_rate=0.01", "epochs=3").ppo.epochs == 3  # where one setting ends in the name
    networld = configured("networld", "temperatures.access=0.5", "network.width=48", "mean_field=off")
    assert dict(networld.temperatures)["access"] == 0.5 and dict(networld.temperatures)["power"] == 1.4
    assert dict(networld.network)["width"] == 48 and dict(networld.network)["mean_field"] == "off"


@pytest.mark.parametrize("agent", ["bc", "mappo", "networld", "iql"])
def test_steps_keep_the_shares_of_stages_and_tiny_is_short(agent: str):
    trainer = get_trainer(agent)
    small, tiny = trainer.preset("small"), trainer.preset("tiny")
    assert tiny.steps == small.steps // 4 and trainer.preset_names == ["debug", "tiny", "small"]
    assert configured(agent, steps=50).steps == 50 and getattr(configured(agent, steps=50), "warmup", 10) == 10
    with pytest.raises(InvalidValueError, match="--steps is 0"):
        shortened(small, 0)


@pytest.mark.parametrize(
    ("agent", "pair", "error", "said"),
    [
        ("bc", "learning_rat=1", UnknownNameError, "unknown setting of bc 'learning_rat'. Did you mean 'learning_rate'"),
        ("iql", "network.hiden=3", UnknownNameError, "Did you mean 'network.hidden'.*Try: wbench show iql"),
        ("networld", "temperatures.acces=1", UnknownNameError, "Did you mean 'temperatures.access'"),
        ("networld", "transitions=1", UnknownNameError, "unknown setting"),
        ("bc", "hidden", InvalidValueError, "--set is 'hidden', but must be KEY=VALUE"),
        ("bc", "learning_rate=fast", InvalidValueError, "--set learning_rate is 'fast', but must be of type float"),
        ("bc", "hidden=1.5", InvalidValueError, "--set hidden is '1.5', but must be of type int"),
        ("bc", "batch_size=0", InvalidValueError, "--set batch_size is '0', but must be 1 or more"),
        ("bc", "learning_rate=nan", InvalidValueError, "a finite number"),
        ("networld", "mean_field=maybe", InvalidValueError, "of type Literal"),
    ],
)
def test_bad_settings_are_refused_with_the_nearest_name(agent: str, pair: str, error: type[WbenchError], said: str):
    with pytest.raises(error, match=said):
        configured(agent, pair)


def test_every_training_has_settings_to_show(command):
    for agent in trainer_names():
        found = command("show", agent, "--json").data
        assert {"debug", "tiny", "small"} <= set(found["presets"]) and "seed" in found["settings"]
        assert found["packaged"][0] == f"{agent}-small" and all(n.startswith(f"{agent}-small") for n in found["packaged"])
    assert "mappo-small" in command("show", "mappo").out


def test_a_training_is_steered_and_watched_on_a_family_of_ones_own(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RELEASES, "tiny", tiny.RELEASE)  # recorded first, in a moment: logs are read
    run = tmp_path / "run"
    steered = ("--set", "hidden=8", "--set", "episodes=1", "--steps", "3", "--seed", "5", "--log", "csv", "--out", str(run))
    done = command("train", "mappo", "--preset", "debug", "--family", str(FAMILY), "--data", "tiny", *steered)
    assert done.code == 0, done.err
    assert f"play it with: wbench eval --agent mappo --checkpoint {run} --family {FAMILY}" in done.out and "return" in done.err
    report = json.loads((run / REPORT).read_text())
    assert (report["config"]["hidden"], report["config"]["rounds"], report["config"]["seed"]) == (8, 3, 5)
    assert [line["step"] for line in report["log"]] == [0, 1, 2] and "beacon/return" in report["log"][0]
    rows = list(csv.DictReader((run / CSV).open()))
    assert {row["metric"] for row in rows} >= {"train/return", "train/beacon/return", "train/slots"}
    assert [row["step"] for row in rows if row["metric"] == "train/return"] == ["0", "1", "2"]
    played = ("--family", str(FAMILY), "--shots", "0", "--sites", "dev:0", "--episodes", "1", "--against", "none", "--json")
    done = command("eval", "--agent", "mappo", "--checkpoint", str(run), *played)
    assert done.code == 0, done.err
    assert {cell["family"] for cell in done.data["cells"]} == {"beacon"}


def test_a_family_that_breaks_half_way_is_said_in_one_line(command, tmp_path: Path):
    check = "        require(t < v.horizon"
    slip = f"        if t == 30:\n            raise RuntimeError('a slip')\n{check}"
    (file := tmp_path / "slips.py").write_text(FAMILY.read_text().replace("beacon", "slips").replace(check, slip))
    few = ("--sites", "dev:0", "--episodes", "1", "--shots", "0", "--against", "none")
    for words in (("train", "bc", "--preset", "debug"), ("eval", "--agent", "estimator", *few)):
        done = command(*words, "--family", str(file), "--out", str(tmp_path / words[0]))
        assert done.code == 2 and "Traceback" not in done.err
        assert re.search(rf"{file}, line \d+, failed: RuntimeError: a slip\. Try: wbench check {file}", done.err), done.err
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == ["slips.py"]


def test_bad_steering_gets_one_line_and_writes_nothing(command, tmp_path: Path):
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found")
    (tmp_path / "none.py").write_text("FAMILY = 3")
    (tmp_path / "taken.py").write_text("from wbench.benchmark.families.power.family import FAMILY")
    for words, said in (
        (("--set", "hiden=3"), "Did you mean 'hidden'"),
        (("--steps", "0"), "--steps is 0"),
        (("--log", "tensorbord"), "unknown logger 'tensorbord'. Did you mean 'tensorboard'"),
        (("--preset", "tini"), "Did you mean 'tiny'"),
        (("--data", "minni"), "a release .*, or a folder with some"),
        (("--family", str(tmp_path / "broken.py")), "broken.py: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (("--family", str(tmp_path / "none.py")), "FAMILY in .*none.py is 'int'.*Family"),
        (("--family", str(tmp_path / "taken.py")), "name of the family in .*taken.py is 'power', but must be one of its own"),
        (("--family", str(tmp_path / "missing.py")), "must be a file that exists"),
    ):
        done = command("train", "mappo", "--preset", "debug", "--out", str(tmp_path / "run"), *words)
        assert done.code == 2 and done.err.count("\n") == 1, (words, done.err)
        assert re.search(said, done.err), (words, done.err)
    done = command("train", "bc", "--data", str(tmp_path / "empty"), "--out", str(tmp_path / "run"))
    assert done.code == 2 and "a release (mini, standard), or a folder with some" in done.err
    assert not (tmp_path / "run").exists()


def test_a_family_of_a_file_is_known_by_name_in_this_process(tmp_path: Path):
    assert "beacon" not in list_families()
    assert register_family(str(FAMILY)).name == "beacon" and "beacon" in list_families()
    assert get_family("beacon").variant("beacon/n4-load0.8").agents == 4
    with pytest.raises(DataError, match="cannot run"):
        (tmp_path / "broken.py").write_text("1 / 0")
        register_family(str(tmp_path / "broken.py"))
    assert "beacon" in list_families()  # what failed is not kept


def test_names_of_metrics_are_alike():
    assert named({"access/loss": 1.0, "power/loss": 3.0, "gradient_norm": 2}) == {
        "train/access/loss": 1.0,
        "train/power/loss": 3.0,
        "train/gradient_norm": 2.0,
        "train/loss": 2.0,
    }


def test_the_csv_goes_on_where_the_training_does(tmp_path: Path):
    for first, steps in ((0, (0, 10, 20)), (15, (20, 24))):
        logger = make_logger("csv", tmp_path, "run", {})
        logger.begin(first)
        for step in steps:
            logger.log(step, {"train/loss": step / 2})
        logger.finish()
    rows = (tmp_path / CSV).read_text().splitlines()
    assert rows == ["step,metric,value", "0,train/loss,0", "10,train/loss,5", "20,train/loss,10", "24,train/loss,12"]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_is_told_the_settings_and_every_figure(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list = []
    tracker = SimpleNamespace(
        init=lambda **options: told.append(options) or 1,
        log=lambda figures, step: told.append((step, figures)),
        finish=lambda: told.append("finished"),
    )
    monkeypatch.setitem(sys.modules, name, tracker)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logger = make_logger(name, tmp_path, "run", {"seed": 1})
    logger.begin(0)
    logger.log(3, {"train/loss": 0.5})
    logger.finish()
    assert told[0]["project"] == "wbench" and told[0]["name"] == "run" and told[0]["config"] == {"seed": 1}
    assert told[0].get("mode", "offline") == "offline" and told[1:] == [(3, {"train/loss": 0.5}), "finished"]


def test_a_logger_that_is_not_installed_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("trackio", "wandb", "tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingPackageError, match=rf'--log {name} needs .*pip install "wbench\[{name}\]"'):
            make_logger(name, tmp_path, "run", {})


def test_what_an_observation_holds_is_listed(command, tmp_path: Path):
    for family in ("access", "power", "offload"):
        found = command("show", family, "--observation", "--json").data
        assert len(found["columns"]) == len(set(found["columns"])) == found["size"] == get_family(family).obs_size
    assert "obs_queue_0" in command("show", "access", "--observation").out
    assert "t, agent, action_server, action_frequency, reward, and obs_0" in command("show", "offload", "--observation").out
    assert "obs_clock_1" in command("show", str(FAMILY), "--observation").out
    (bare := tmp_path / "lamp.py").write_text(
        re.sub(r"    layout=\{.*?\},\n", "", FAMILY.read_text().replace("beacon", "lamp"), flags=re.S)
    )
    done = command("show", str(bare), "--observation")
    assert done.code == 2 and "Family(layout=...)" in done.err and "obs_0 to obs_4" in done.err
    done = command("show", "access", "--site", "dev:1")
    assert done.code == 2 and "--site is 'dev:1', but must be given with a variant" in done.err
    assert "beacon/n4-load0.8" in command("show", str(FAMILY)).out


def test_long_paths_of_datasets_are_whole(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WBENCH_DATASETS", str(tmp_path / ("long" * 40)))
    assert f"{tmp_path / ('long' * 40)}/access-mini-v2.0.0" in command("list", "datasets").out.splitlines()


def test_what_was_written_is_said(command, tmp_path: Path):
    few = ("--family", "access", "--shots", "0", "--sites", "dev:0", "--episodes", "1", "--against", "none")
    own = str(FAMILY.with_name("own_agent.py"))
    for agent, trusted in (("belief", ""), (own, f" --trust --agent {own}")):
        out = tmp_path / f"{Path(agent).stem}.json"
        done = command("eval", "--agent", agent, *few, "--out", str(out))
        assert done.code == 0 and f"wrote {out}. Next: wbench results verify {out}{trusted}\n" in done.err


def test_a_result_on_a_family_of_ones_own_is_verified_as_it_is_said(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "r.json"
    few = ("--shots", "0", "--sites", "dev:0", "--episodes", "1", "--against", "none", "--out", str(out))
    done = command("eval", "--agent", "belief", "--family", str(FAMILY), *few)
    assert done.code == 0 and f"Next: WBENCH_FAMILIES={FAMILY} wbench results verify {out}" in done.err
    monkeypatch.setenv("WBENCH_FAMILIES", "")
    get_family.cache_clear()
    assert "unknown family 'beacon'" in command("results", "verify", str(out)).err
    monkeypatch.setenv("WBENCH_FAMILIES", str(FAMILY))
    done = command("results", "verify", str(out))
    assert done.code == 0 and "holds as arithmetic checked" in done.out, done.err


@pytest.mark.slow
def test_own_data_in_a_folder_train_on_a_family_of_ones_own(command, tmp_path: Path, data_home: Path):
    own = ("--family", str(FAMILY))
    assert command("data", "build", *own, "--to", str(tmp_path / "DIR")).code == 0
    few = ("--preset", "debug", "--set", "hidden=16", "--steps", "12", "--out", str(tmp_path / "bc"))
    done = command("train", "bc", *own, "--data", str(tmp_path / "DIR"), *few)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "bc" / REPORT).read_text())
    assert report["config"]["release"] == "mini" and "beacon/loss" in report["log"][-1] and "loss" in done.err
    assert not (data_home / "datasets" / "beacon-mini-v2.0.0").exists()

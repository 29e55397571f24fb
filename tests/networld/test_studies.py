"""What looks into NetWorld: ablations on the same episodes, fidelity against fresh ones, training in two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from wbench import NetWorld
from wbench.benchmark.family import QUALITIES
from wbench.benchmark.protocol import trainings
from wbench.benchmark.protocol.spec import protocol
from wbench.benchmark.registry import get_family
from wbench.errors import CheckpointError
from wbench.networld.agent import NetWorldAgent
from wbench.networld.studies import ablate, fidelity
from wbench.networld.train import PRESETS

from ..playing import DEV

FAMILY = get_family("access")
VARIANT = FAMILY.variant("access/n8-c3-load0.15-l48")
ONE_CELL = protocol("quick", variants=[VARIANT.name], shots=[0], sites=[DEV], episodes=2)
THREE_SITES = protocol("quick", variants=[VARIANT.name], shots=[0], sites=[DEV, DEV + 1, DEV + 2], episodes=2)


def test_an_ablation_is_compared_on_the_same_episodes(debug_checkpoint):
    played: list[str] = []
    chosen = ablate.select(["4 candidates, 2 steps", "no value"], [0])
    rows = {row.name: row for row in ablate.ablate([str(debug_checkpoint)], chosen, ONE_CELL, None, played.append)}
    assert list(rows) == ["whole", "4 candidates, 2 steps", "no value"] and rows["whole"].difference[0].iqm == 0.0
    assert played == list(rows)
    for row in rows.values():
        assert row.difference[0].iqm == pytest.approx(row.score[0].iqm - rows["whole"].score[0].iqm)


def test_networks_are_compared_over_trainings_and_sites(tmp_path):
    config = replace(PRESETS["debug"], steps=8)
    chosen, networks = ablate.select(["mean field off"], [0]), ablate.Networks(tmp_path, 3)
    for steps in (1, 0):  # the second time there is nothing left to train
        trained: list[str] = []
        ablate.train_networks([FAMILY], chosen, config, networks, lambda name, step, figures, seen=trained: seen.append(name))
        assert len({*trained}) == 6 * steps
    found = list(ablate.ablate(["networld-small"], chosen, THREE_SITES, networks, lambda name: None))
    assert [row.name for row in found] == ["whole, as long trained", "mean field off"]
    tables = {name: _table(networks.of(name)) for name in ("whole", "mean field off")}
    assert len(np.unique(tables["whole"])) == 9
    known = trainings.paired(tables["mean field off"], tables["whole"])
    assert known.ci_low is not None and found[1].difference[0] == found[1].families["access"][0] == known
    assert found[1].score[0] == trainings.interval(tables["mean field off"])
    with pytest.raises(CheckpointError, match="no network trained 4 times for 'whole', 'mean field off'"):
        next(ablate.ablate(["networld-small"], chosen, ONE_CELL, ablate.Networks(tmp_path, 4), lambda name: None))


def test_play_is_compared_over_trainings_each_with_itself(debug_checkpoint):
    """Two trainings that differ by far, and a change that costs both the same, leave a narrow interval."""
    sources = ["networld-small", str(debug_checkpoint)]
    rows = list(ablate.ablate(sources, ablate.select(["nobody hears"], [0]), THREE_SITES, None, lambda name: None))
    whole, deaf = (
        np.stack([ablate.score_cells(kind(NetWorld.from_pretrained(s)), THREE_SITES, lambda: None)[0] for s in sources])
        for kind in (NetWorldAgent, ablate.DeafAgent)
    )
    assert rows[1].difference[0] == trainings.interval(deaf - whole) and rows[0].score[0] == trainings.interval(whole)


def _table(folders) -> np.ndarray:
    """Scores [trainings, variants, sites] at zero shots."""
    agents = [NetWorldAgent(NetWorld.from_pretrained(folder)) for folder in folders]
    return np.stack([ablate.score_cells(agent, THREE_SITES, lambda: None)[0] for agent in agents])


def test_what_is_unknown_or_not_trained_is_named(wbench, tmp_path):
    done = wbench("study", "ablate", "--only", "mean feild off")
    assert done.code == 2 and "Did you mean 'mean field off'" in done.err
    idle = wbench("study", "ablate", "--only", "no pretraining")
    assert idle.code == 2 and "1 or more for 'no pretraining': at zero shots nothing adapts" in idle.err
    assert "code refined" in {a.name for a in ablate.select([], [0, 5])} - {a.name for a in ablate.select([], [0])}
    missing = wbench("study", "ablate", "--only", "mean field off", "--networks", str(tmp_path))
    assert missing.code == 2 and "no network trained 3 times for 'whole', 'mean field off'" in missing.err
    assert "--train-steps 1000" in missing.err
    none = wbench("study", "ablate", "--networks", str(tmp_path), "--trainings", "0")
    assert none.code == 2 and "1 or more; a claim needs 3" in none.err


def test_fidelity_of_fresh_episodes(debug_checkpoint):
    sources = fidelity.fresh_episodes(FAMILY, VARIANT, 2, history=4, horizon=8)
    assert sources.count == 2 * (len(QUALITIES) + 20) and sources.quality[:8].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sources.site[:4].tolist() == [0, 1, 0, 1] and sources.site[8:].tolist() == [0] * 20 + [1] * 20
    report = fidelity.fidelity(NetWorld.from_pretrained(debug_checkpoint), FAMILY, [VARIANT], sites=2, rows=400)
    assert set(report["ks"]) == {"queue", "silence", "reward"}
    assert all(0.0 <= x <= 1.0 for distances in report["ks"].values() for x in distances.values())
    assert report["reward_nats"]["marginal"] <= 0.0 and set(report["value"]) == {"correlation", "slope", "bias"}
    assert set(report["top1"]) == {"inverse_dynamics", "behaviour_cloning"}


def test_a_trained_world_model_is_truer_than_an_untrained_one(debug_checkpoint):
    trained, raw = NetWorld.from_pretrained("networld-small"), NetWorld.from_pretrained(debug_checkpoint)
    ours, theirs = (fidelity.fidelity(model, FAMILY, [VARIANT], sites=4, rows=1000) for model in (trained, raw))
    assert ours["ks"]["queue"]["1"] < theirs["ks"]["queue"]["1"]
    nats = ours["reward_nats"]
    assert nats["5 shots"] > theirs["reward_nats"]["5 shots"] and nats["5 shots"] > nats["0 shots"] > nats["marginal"]
    assert ours["top1"]["inverse_dynamics"] > 0.9 > ours["top1"]["behaviour_cloning"]


def test_fidelity_goes_into_the_picture_of_a_training(wbench, debug_checkpoint, tmp_path):
    from matplotlib.image import imread

    plain, whole = tmp_path / "plain.png", tmp_path / "whole.png"
    assert wbench("study", "report", str(debug_checkpoint), "--out", str(plain)).code == 0
    done = wbench("study", "report", str(debug_checkpoint), "--fidelity", "--rows", "100", "--out", str(whole))
    assert done.code == 0 and done.out.strip() == str(whole), done.err
    assert imread(whole).shape[0] > 1.5 * imread(plain).shape[0]


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    pytest.importorskip("accelerate")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "wbench", "train", "networld"]
    done = subprocess.run(
        [*launch, "--preset", "debug", "--family", "access", "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checkpoint in") == 1
    log = json.loads((tmp_path / "training_report.json").read_text())["log"]
    assert log[-1]["access/denoiser"] < log[0]["access/denoiser"]
    assert all(torch.isfinite(tensor).all() for tensor in load_file(tmp_path / "model.safetensors").values())

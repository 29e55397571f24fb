"""NetWorld trained, planning and adapting: resumable, batch-independent, careful, and better than what it imitates."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from wbench import NetWorld
from wbench.benchmark.data import release
from wbench.benchmark.data.support import support
from wbench.benchmark.protocol.spec import FAMILIES
from wbench.benchmark.registry import get_family
from wbench.benchmark.seeds import DEV_SEEDS
from wbench.errors import CheckpointError, UnknownNameError
from wbench.learning.checkpoint import digest
from wbench.networld.adapt import AdaptConfig, adapt
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import GUIDANCE, PlannerConfig
from wbench.networld.train import TRAINER

from ..benchmark import tiny
from ..playing import play

FAMILY = get_family("access")
TRAIN = FAMILY.variant("access/n8-c3-load0.15-l48")
HELD_OUT = FAMILY.variant("access/n8-c3-load0.3-l48")
READ = AdaptConfig(steps=0)
SEEDS = range(DEV_SEEDS, DEV_SEEDS + 12)


@pytest.fixture(scope="module")
def small() -> NetWorld:
    return NetWorld.from_pretrained("networld-small")


def mean_return(agent, variant, seeds=SEEDS) -> float:
    agent.adapt(FAMILY, variant, None)
    return float(play(FAMILY, variant, agent, seeds).returns.mean())


def planning(model: NetWorld, adaptation: AdaptConfig | None = None, **settings) -> NetWorldAgent:
    """An agent with some settings of its planner."""
    return NetWorldAgent(model, PlannerConfig(**settings), adaptation)


def test_the_packaged_checkpoint_is_small_and_knows_every_family_as_it_is_today(small):
    assert sum(p.numel() for p in small.parameters()) < 3_000_000
    for name in FAMILIES:
        small.config.require_shape(get_family(name))
    assert small.config.families.keys() == set(FAMILIES)


@pytest.mark.parametrize("guidance", GUIDANCE)
def test_every_guidance_plays_legal_actions_and_counts_its_calls(small, guidance):
    agent = planning(small, guidance=guidance, candidates=2, steps=2)
    agent.adapt(FAMILY, HELD_OUT, None)
    legal = []
    play(FAMILY, HELD_OUT, agent, [0], record=lambda s: legal.append(s.action_mask.gather(-1, s.action.unsqueeze(-1)).all()))
    assert all(legal) and agent.planner_calls == 128 * 2 * (2 if "cg" in guidance else 1)


@pytest.mark.parametrize(("settings", "calls"), [({"replan": 4}, 2 * 4), ({"warm_start": 0.5}, 4 + 7 * 2)])
def test_old_plans_are_followed_or_refined_with_fewer_calls(small, settings, calls):
    agent = planning(small, candidates=2, steps=4, **settings)
    agent.adapt(FAMILY, HELD_OUT, None)
    play(FAMILY, replace(HELD_OUT, horizon=8), agent, [0, 1])
    assert agent.planner_calls == calls


def test_an_episode_hardly_depends_on_its_batch(small):
    """Matrix products round differently in other batch sizes; decisions may flip where two actions tie, and nowhere else."""
    agent, variant = NetWorldAgent(small), replace(HELD_OUT, horizon=64)
    agent.adapt(FAMILY, variant, None)
    together = play(FAMILY, variant, agent, SEEDS).returns
    assert torch.equal(together, play(FAMILY, variant, agent, SEEDS).returns)
    halves = torch.cat([play(FAMILY, variant, agent, list(SEEDS)[i : i + 6]).returns for i in (0, 6)])
    assert float((together - halves).mean().abs()) < 3.0


def test_one_agent_and_many_agents_need_no_change_of_weights(small):
    for agents in (1, 200):
        variant = replace(HELD_OUT, agents=agents, load=0.3, horizon=6)
        agent = planning(small)
        agent.adapt(FAMILY, variant, None)
        played = play(FAMILY, variant, agent, [0, 1])
        assert torch.isfinite(played.returns).all()
        assert agent.message_size <= 8 and played.message_bits == 2 * 6 * agents * 32 * agent.message_size


def test_adaptation_never_touches_the_pretrained_weights_and_declines_what_does_not_help(small):
    before = digest(small)
    shots = support(FAMILY, HELD_OUT, 0, 5)
    careful = planning(small, AdaptConfig(steps=20, check=10)).adapt(FAMILY, HELD_OUT, shots)
    assert careful.gradient_steps == 20 and careful.notes["loss_after"] <= careful.notes["loss_before"]
    wild = adapt(small, FAMILY, HELD_OUT, shots, AdaptConfig(steps=20, check=10, learning_rate=100.0))
    assert wild.notes["kept"] is False and wild.notes["loss_after"] == wild.notes["loss_before"]
    assert torch.equal(wild.site, adapt(small, FAMILY, HELD_OUT, shots, READ).site) and digest(small) == before


def test_the_code_of_a_site_is_read_from_its_logs_in_any_order_and_differs_from_site_to_site(small):
    here, there = (support(FAMILY, HELD_OUT, site, 4) for site in (0, 1))
    turned = replace(here, **{name: getattr(here, name).flip(0) for name in ("obs", "action", "reward", "action_mask")})
    codes = [adapt(small, FAMILY, HELD_OUT, shots, READ).site for shots in (None, here, turned, there)]
    assert all(
        code.shape == (HELD_OUT.agents, HELD_OUT.period, small.config.read_size(small.shape("access"))) for code in codes
    )
    nothing, first, second, other = codes
    assert torch.allclose(first, second, atol=1e-4)
    spread = (first - nothing).abs().mean()
    assert spread > 0.01 and (first - other).abs().mean() > 0.2 * spread


def test_one_episode_alone_is_read_and_not_refined(small):
    assert adapt(small, FAMILY, HELD_OUT, support(FAMILY, HELD_OUT, 0, 1), AdaptConfig(steps=20)).steps == 0


def test_adaptation_is_forgotten_between_cells(small):
    agent = planning(small, AdaptConfig(steps=20, check=10))
    agent.adapt(FAMILY, HELD_OUT, None)
    fresh = play(FAMILY, HELD_OUT, agent, [0, 1]).returns
    agent.adapt(FAMILY, HELD_OUT, support(FAMILY, HELD_OUT, 0, 2))
    agent.adapt(FAMILY, HELD_OUT, None)
    assert torch.equal(play(FAMILY, HELD_OUT, agent, [0, 1]).returns, fresh)


def test_an_unknown_family_is_refused(small):
    with pytest.raises(CheckpointError, match=r"not trained on family 'radar', only on access, offload, power"):
        NetWorldAgent(small).adapt(replace(FAMILY, name="radar"), HELD_OUT, None)


@pytest.mark.slow
def test_training_killed_and_resumed_gives_the_same_weights(debug_checkpoint, tmp_path):
    """Kill -9 after the first save; the resumed run must end where the uninterrupted one did."""
    command = [sys.executable, "-m", "wbench", "train", "networld", "--preset", "debug", "--family", "access"]
    command += ["--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "training_state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "model.safetensors").exists()
    refused = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (debug_checkpoint, tmp_path))
    assert whole.keys() == resumed.keys()
    assert max(float((whole[name] - resumed[name]).abs().max()) for name in whole) == 0.0
    assert (tmp_path / "training_report.json").read_text().count('"step"') == 3
    assert not (tmp_path / "training_state.pt").exists()


def test_training_lowers_its_losses(debug_checkpoint):
    import json

    log = json.loads((debug_checkpoint / "training_report.json").read_text())["log"]
    for name in ("reconstruction", "reward", "critic", "following", "denoiser", "classifier"):
        stage = [entry[f"access/{name}"] for entry in log if f"access/{name}" in entry]
        assert stage[-1] < stage[0], name


def test_a_damaged_training_state_and_an_unknown_preset_are_named(wbench, tmp_path):
    (tmp_path / "training_state.pt").write_bytes(b"no")
    done = wbench("train", "networld", "--preset", "debug", "--out", str(tmp_path), "--resume")
    assert done.code == 2 and "damaged" in done.err and "Traceback" not in done.err
    with pytest.raises(UnknownNameError, match="Did you mean 'small'"):
        TRAINER.preset("smal")


def test_training_resumed_with_the_families_in_another_order_gives_the_same_weights(tmp_path, monkeypatch):
    """Optimiser states go by the names of the parameters, and families by their own."""
    monkeypatch.setitem(release.RELEASES, "tiny", tiny.RELEASE)
    offload = get_family("offload")
    names = [variant.name for variant in (*offload.select("train")[:2], offload.select("held-out")[0])]
    families = [tiny.FAMILY, replace(offload, variants={name: offload.variant(name) for name in names})]
    config = replace(TRAINER.preset("debug"), release="tiny", steps=15, save_every=10)

    def stop(step: int, figures: dict[str, float]) -> None:
        if step >= 10:
            raise KeyboardInterrupt

    whole = TRAINER.fit(families, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        TRAINER.fit(families, config, tmp_path / "cut", on_step=stop)
    resumed = TRAINER.fit(families[::-1], config, tmp_path / "cut", resume=True)
    assert digest(resumed) == digest(whole) and resumed.config == whole.config

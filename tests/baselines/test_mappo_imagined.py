"""MAPPO in a world model: it trains and resumes, learns from the support without one slot of play, and fails in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from wbench.baselines.common.ppo import PpoConfig
from wbench.baselines.mappo import Mappo
from wbench.baselines.mappo_imagined import PRESETS, AdaptConfig, ImaginedMappoAgent, train
from wbench.benchmark.data.recorder import support
from wbench.benchmark.protocol.runner import run_cell
from wbench.benchmark.protocol.spec import Cell
from wbench.benchmark.registry import get_family, get_variant
from wbench.benchmark.rollout import play
from wbench.errors import CheckpointError
from wbench.learning.checkpoint import count_parameters
from wbench.learning.world import make_world

ACCESS = get_family("access")
NAME = "access/n8-c1-load0.5"
BRIEF = AdaptConfig(rounds=2, episodes=4, ppo=PpoConfig(rate=1e-2))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imagined")
    train([ACCESS], PRESETS["debug"], folder)
    return folder


@pytest.fixture(scope="module")
def world():
    return make_world("networld")


def test_training_repeats_to_the_bit_after_an_interruption_in_imagination(checkpoint, tmp_path):
    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        if step == 3:
            raise Killed

    with pytest.raises(Killed):  # cloned twice, imagined once
        train([ACCESS], PRESETS["debug"], tmp_path, on_step=kill)
    resumed, whole = train([ACCESS], PRESETS["debug"], tmp_path, resume=True), Mappo.from_pretrained(checkpoint)
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_a_cell_costs_gradient_steps_and_no_slot_of_play(checkpoint, world):
    agent = ImaginedMappoAgent(Mappo.from_pretrained(checkpoint), world, BRIEF)
    assert agent.parameters == count_parameters(Mappo.from_pretrained(checkpoint)) + world.parameters
    ledgers = {shots: run_cell(agent, Cell("access", NAME, shots, 0), 1) for shots in (0, 1)}
    assert not any(result.failure for result in ledgers.values())
    assert ledgers[0].ledger.gradient_steps == 0 < ledgers[1].ledger.gradient_steps
    assert all(result.ledger.environment_steps == 0 for result in ledgers.values())
    assert ledgers[1].ledger.support_transitions == 128 * 8
    assert ledgers[1].adaptation.keys() == {"first_imagined", "last_imagined", "world"}
    assert agent.tracks == ("offline",) and agent.source_steps == 0 < agent.source_transitions == world.source_transitions
    assert agent.parameters == count_parameters(Mappo.from_pretrained(checkpoint)) + world.parameters


def test_adaptation_repeats_forgets_and_leaves_the_checkpoint_alone(checkpoint, world):
    family, variant = get_variant(NAME)
    agent = ImaginedMappoAgent(Mappo.from_pretrained(checkpoint), world, BRIEF)
    logs, returns = support(family, variant, 0, 1), []
    for given in (None, logs, None, logs):
        agent.adapt(family, variant, given)
        returns.append(play(family, variant, agent, range(3)).returns)
    assert torch.equal(returns[0], returns[2]) and torch.equal(returns[1], returns[3])
    assert not torch.equal(returns[0], returns[1])


def test_a_family_that_policy_or_world_does_not_know_is_refused(checkpoint, world):
    agent = ImaginedMappoAgent(Mappo.from_pretrained(checkpoint), world, BRIEF)
    power, variant = get_variant("power/n10-d500-v1-load0.5")
    assert world.knows(power) and not agent.knows(power) and not agent.knows(replace(ACCESS, name="chess"))
    with pytest.raises(CheckpointError, match="not trained on family 'power', only on access"):
        agent.adapt(power, variant, None)


def test_the_command_line_plays_it(wbench, checkpoint, tmp_path):
    what = ("--protocol", "quick", "--family", "access", "--shots", "0", "--seeds", "1", "--episodes", "1", "--json")
    done = wbench("eval", "--agent", "mappo-imagined", "--checkpoint", str(checkpoint), "--against", "none", *what)
    assert done.code == 0, done.err
    (cell,) = done.data["cells"]
    assert cell["ledger"]["environment_steps"] == 0 and done.data["agent"] == "mappo-imagined"
    wrong = wbench("eval", "--agent", "mappo-imagined", "--checkpoint", "networld-small", *what)
    assert wrong.code == 2 and len(wrong.err.strip().splitlines()) == 1 and "networld-small" in wrong.err

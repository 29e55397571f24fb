"""A NetWorld that was taught: what the second course changes, and how it plays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wbench import NetWorld
from wbench.benchmark.data.recorder import support
from wbench.benchmark.registry import get_family, get_variant, make_agent
from wbench.benchmark.rollout import Slot, play
from wbench.errors import CheckpointError
from wbench.networld.adapt import AdaptConfig
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.imagination import Imagination
from wbench.networld.train import PRESETS, train


def test_lessons_change_the_actors_and_nothing_else(debug_checkpoint, tmp_path):
    """The second course leaves the world model as the first one made it, to the last bit."""
    untaught = replace(PRESETS["debug"], lessons=0)
    before = train([get_family("access")], untaught, tmp_path).state_dict()
    after = NetWorld.from_pretrained(str(debug_checkpoint)).state_dict()
    assert before.keys() == after.keys()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"actors"}


def test_play_follows_what_was_taught_and_few_shots_leave_it_alone(debug_checkpoint):
    """With the taught policy biased to silence nobody sends, and nothing is planned or adapted, unless it is switched off."""
    family, variant = get_variant("access/n8-c1-load0.5")
    model = NetWorld.from_pretrained(str(debug_checkpoint))
    last = model.actor("access").policy[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]))
    shots = support(family, variant, 0, 2)

    def played(planner: PlannerConfig) -> tuple[int, int, int]:
        """Packets sent, gradient steps, calls of the denoiser."""
        agent = NetWorldAgent(model, planner, AdaptConfig(steps=10, check=10))
        slots: list[Slot] = []
        steps = agent.adapt(family, variant, shots).gradient_steps
        play(family, variant, agent, [0, 1], record=slots.append)
        return sum(int((slot.action > 0).sum()) for slot in slots), steps, agent.planner_calls

    assert played(PlannerConfig()) == (0, 0, 0)
    sent, steps, calls = played(PlannerConfig(taught=False))
    assert sent > 0 and steps == 10 and calls > 0


def test_who_was_taught_by_a_critic_of_all_says_so(debug_checkpoint):
    config = NetWorld.from_pretrained(str(debug_checkpoint)).config
    assert config.taught and NetWorldAgent(NetWorld(config)).privileged_training
    assert not NetWorldAgent(NetWorld(replace(config, taught=()))).privileged_training
    assert make_agent("networld").privileged_training and make_agent("bcq-taught").privileged_training
    assert not make_agent("bcq").privileged_training


def test_a_checkpoint_taught_in_a_family_that_it_does_not_know_is_refused(debug_checkpoint):
    config = NetWorld.from_pretrained(str(debug_checkpoint)).config
    with pytest.raises(CheckpointError, match=r"not trained on family 'radar', only on access"):
        NetWorld(replace(config, taught=("radar",)))


def test_an_imagined_world_is_the_same_whoever_was_taught_in_it(debug_checkpoint):
    model = NetWorld.from_pretrained(str(debug_checkpoint))
    other = NetWorld.from_pretrained(str(debug_checkpoint))
    torch.nn.init.zeros_(other.actor("access").policy[-1].weight)
    one, two = Imagination(model), Imagination(other)
    assert (one.digest, one.parameters) == (two.digest, two.parameters)
    assert NetWorldAgent(model).checkpoint_digest != NetWorldAgent(other).checkpoint_digest
    assert "access" in model.actors  # what it was made of is left alone

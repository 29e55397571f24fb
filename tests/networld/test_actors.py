"""A NetWorld with actors: what their training changes, and how it plays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from wbench import NetWorld
from wbench.benchmark.data.support import support
from wbench.benchmark.registry import get_family, get_variant, make_agent
from wbench.benchmark.rollout import Slot
from wbench.errors import CheckpointError
from wbench.networld.adapt import AdaptConfig
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.imagination import Imagination
from wbench.networld.train import PRESETS, TRAINER

from ..playing import play


def test_training_actors_changes_them_and_nothing_else(debug_checkpoint, tmp_path):
    """The second stage leaves the world model as the first one made it, to the last bit."""
    untrained = replace(PRESETS["debug"], actor_steps=0)
    before = TRAINER.fit([get_family("access")], untrained, tmp_path).state_dict()
    after = NetWorld.from_pretrained(str(debug_checkpoint)).state_dict()
    assert before.keys() == after.keys()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"actors"}


def test_play_follows_the_actor_and_few_shots_leave_it_alone(debug_checkpoint):
    """With an actor biased to silence nobody sends, and nothing is planned or adapted, unless it is switched off."""
    family, variant = get_variant("access/n8-c3-load0.3-l48")
    model = NetWorld.from_pretrained(str(debug_checkpoint))
    last = model.actor("access").policy[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0, 0.0]))
    shots = support(family, variant, 0, 2)

    def played(planner: PlannerConfig) -> tuple[int, int, int]:
        """Packets sent, gradient steps, calls of the denoiser."""
        agent = NetWorldAgent(model, planner, AdaptConfig(steps=10, check=10))
        slots: list[Slot] = []
        steps = agent.adapt(family, variant, shots).gradient_steps
        play(family, variant, agent, [0, 1], record=slots.append)
        return sum(int((slot.action > 0).sum()) for slot in slots), steps, agent.planner_calls

    assert played(PlannerConfig()) == (0, 0, 0)
    sent, steps, calls = played(PlannerConfig(use_actors=False))
    assert sent > 0 and steps == 10 and calls > 0


def test_an_agent_that_a_central_critic_trained_says_so(debug_checkpoint):
    config = NetWorld.from_pretrained(str(debug_checkpoint)).config
    assert config.actor_families and NetWorldAgent(NetWorld(config)).privileged_training
    assert not NetWorldAgent(NetWorld(replace(config, actor_families=()))).privileged_training
    assert make_agent("networld").privileged_training and not make_agent("brq").privileged_training


def test_a_checkpoint_with_an_actor_for_a_family_that_it_does_not_know_is_refused(debug_checkpoint):
    config = NetWorld.from_pretrained(str(debug_checkpoint)).config
    with pytest.raises(CheckpointError, match=r"not trained on family 'radar', only on access"):
        NetWorld(replace(config, actor_families=("radar",)))


def test_an_imagined_world_is_the_same_whatever_actors_there_are(debug_checkpoint):
    model = NetWorld.from_pretrained(str(debug_checkpoint))
    other = NetWorld.from_pretrained(str(debug_checkpoint))
    torch.nn.init.zeros_(other.actor("access").policy[-1].weight)
    one, two = Imagination(model), Imagination(other)
    assert (one.digest, one.parameters) == (two.digest, two.parameters)
    assert NetWorldAgent(model).checkpoint_digest != NetWorldAgent(other).checkpoint_digest
    assert "access" in model.actors  # what it was made of is left alone

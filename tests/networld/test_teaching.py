"""A critic of the whole team teaches a policy what to say and when to act."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from wbench import NetWorld
from wbench.benchmark.data.collect import support
from wbench.benchmark.data.windows import Windows
from wbench.benchmark.family import ActionComponent, FamilyShape
from wbench.benchmark.registry import get_family, get_variant
from wbench.benchmark.rollout import Slot, play
from wbench.benchmark.training import follow
from wbench.networld import losses
from wbench.networld.adapt import AdaptConfig
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import NetWorldConfig, PlannerConfig
from wbench.networld.teaching import TeamCritic, critics, lessons_of
from wbench.networld.train import TRAINER, train

AGENTS, OBS, SLOTS = 3, 2, 4
SHAPE = FamilyShape(OBS, 1, (ActionComponent("act", "categorical", 2),), 0.0, 1.0)
TINY = {"stem": 32, "context": 32, "width": 32, "blocks": 1, "head": 32, "actor": 32, "history": 2, "horizon": 1}


def windows(groups: int, generator: torch.Generator) -> Windows:
    """Each agent sees a number of its own; the team is paid where the one with the greatest acts, and acts alone."""
    rows = groups * AGENTS
    numbers = torch.randn(groups, AGENTS, generator=generator)
    action = torch.randint(2, (rows, SLOTS), generator=generator)
    reward = best_alone(numbers, action[:, TINY["history"]].view(groups, AGENTS))
    return Windows(
        obs=torch.stack([numbers, torch.ones_like(numbers)], -1).view(rows, 1, OBS).expand(-1, SLOTS, -1),
        action=action,
        action_mask=torch.ones(rows, SLOTS, 2, dtype=torch.bool),
        reward=reward.repeat_interleave(AGENTS)[:, None].expand(-1, SLOTS),
        valid=torch.ones(rows, SLOTS, dtype=torch.bool),
        group=torch.arange(groups).repeat_interleave(AGENTS),
        others=torch.full((rows,), AGENTS - 1.0),
        descriptor=torch.ones(rows, 1),
        quality=torch.zeros(rows, dtype=torch.long),
    )


def best_alone(numbers: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """1 for each group [groups, agents] in which the agent with the greatest number acts and no other."""
    greatest = torch.nn.functional.one_hot(numbers.argmax(1), AGENTS)
    return (action == greatest).all(1).float()


def network() -> NetWorld:
    torch.manual_seed(0)
    scale = {"units": {"toy": 0.5}, "values": {"toy": (0.0, 3.0)}, "temperatures": {"toy": 1.0}}
    return NetWorld(NetWorldConfig({"toy": SHAPE}, **scale, **TINY, discount=0.05, taught=("toy",)))


def success(model: NetWorld, heard: float) -> float:
    """Share of fresh groups where the taught policy's mode gets paid, with the inbox times `heard`."""
    batch, now = windows(2000, torch.Generator().manual_seed(99)), TINY["history"]
    obs = batch.obs[:, : now + 1]
    with torch.no_grad():
        sights = model.sight(model(obs, "toy"), obs, "toy")
        inboxes = losses.delivered(model.actor("toy").message(sights), batch) * heard
        known = losses.Encoded(sights, inboxes, model.scenario(batch.descriptor, "toy")).until(now, now)
        mode = model.taught_log_policy(*known, batch.action_mask[:, now], "toy").argmax(-1)
    return float(best_alone(batch.obs[:, 0, 0].view(-1, AGENTS), mode.view(-1, AGENTS)).mean())


def test_messages_come_to_say_who_should_act():
    """Agents that cannot hear get at most 3 p (1 - p)^2 <= 4/9 of what there is: they must tell each other their numbers.

    The world model, here untrained, stays as it is.
    """
    model = network()
    critic = critics(model.config)
    target, late = (copy.deepcopy(part).requires_grad_(False) for part in (model, critic))
    lesson = lessons_of(model, target, critic, late, temperature=0.03)["toy"]
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW([*model.actors.parameters(), *critic.parameters()], 1e-3)
    for _ in range(200):
        parts = lesson.losses(windows(100, generator), generator)
        optimiser.zero_grad()
        sum(parts.values()).backward()
        optimiser.step()
        follow(target.actors, model.actors, 0.05)
        follow(late, critic, 0.05)
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if not name.startswith("actors."))
    assert success(target, heard=1.0) > 0.8
    assert success(target, heard=0.0) < 0.5


def test_a_deviation_is_worth_what_the_joint_action_with_it_is():
    torch.manual_seed(1)
    critic, batch = TeamCritic(SHAPE, 2).eval(), windows(5, torch.Generator().manual_seed(3))
    obs, taken = batch.obs[:, 2], batch.action[:, 2]
    with torch.no_grad():
        deviations = critic.deviations(obs, taken, batch)
        assert deviations.shape == (5 * AGENTS, 2)
        for row in (0, 4, 14):
            for action in (0, 1):
                changed = taken.clone()
                changed[row] = action
                joint = critic.joint(obs, changed, batch)
                assert float(deviations[row, action]) == pytest.approx(float(joint[batch.group[row]]), abs=1e-5)


def test_agents_are_interchangeable_to_the_critic():
    torch.manual_seed(1)
    critic, batch = TeamCritic(SHAPE, 2).eval(), windows(4, torch.Generator().manual_seed(3))
    order = torch.tensor([2, 0, 1])
    mixed = (torch.arange(4)[:, None] * AGENTS + order).flatten()
    with torch.no_grad():
        values = critic.joint(batch.obs[:, 2], batch.action[:, 2], batch)
        assert torch.allclose(values, critic.joint(batch.obs[mixed, 2], batch.action[mixed, 2], batch), atol=1e-5)


def test_lessons_change_the_actors_and_nothing_else(debug_checkpoint, tmp_path):
    """The second course leaves the world model as the first one made it, to the last bit."""
    untaught = replace(TRAINER.preset("debug"), lessons=0)
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

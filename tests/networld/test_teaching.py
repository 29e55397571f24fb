"""A critic of the whole team teaches a policy what to say and when to act."""

from __future__ import annotations

import copy

import pytest
import torch
from wbench import NetWorld
from wbench.benchmark.data.collect import support
from wbench.benchmark.data.windows import Windows
from wbench.benchmark.family import ActionComponent, FamilyShape
from wbench.benchmark.registry import get_variant
from wbench.benchmark.rollout import Slot, play
from wbench.benchmark.training import follow
from wbench.networld import losses
from wbench.networld.adapt import AdaptConfig, adapt
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import NetWorldConfig, PlannerConfig
from wbench.networld.teaching import Teacher, TeamCritic, critics

AGENTS, OBS, SLOTS = 3, 2, 4
SHAPE = FamilyShape(OBS, 1, (ActionComponent("act", "categorical", 2),), 0.0, 1.0)
TINY = {"stem": 32, "context": 32, "width": 32, "blocks": 1, "head": 32, "actor": 32, "history": 2, "horizon": 1}


def windows(groups: int, generator: torch.Generator) -> Windows:
    """Each agent sees a number of its own; the team is paid where the one with the greatest acts, and acts alone."""
    rows = groups * AGENTS
    numbers = torch.rand(groups, AGENTS, generator=generator)
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
    batch = windows(2000, torch.Generator().manual_seed(99))
    with torch.no_grad():
        seen = losses.encode(model, batch, "toy", 3)
        latents, inboxes, scenario = seen.until(2, TINY["history"])
        mode = model.taught_log_policy(latents, inboxes * heard, scenario, batch.action_mask[:, 2], "toy").argmax(-1)
    return float(best_alone(batch.obs[:, 0, 0].view(-1, AGENTS), mode.view(-1, AGENTS)).mean())


def test_messages_come_to_say_who_should_act():
    """Agents that cannot hear get at most 3 p (1 - p)^2 <= 4/9 of what there is: they must tell each other their numbers."""
    model = network()
    critic = critics(model)
    target, late = (copy.deepcopy(part).requires_grad_(False) for part in (model, critic))
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW([*model.parameters(), *critic.parameters()], 3e-3)
    for _ in range(500):
        teacher = Teacher(critic["toy"], late["toy"], temperature=0.03)
        loss, parts = losses.total(
            model, target, windows(100, generator), "toy", losses.LossWeights(), generator, teacher=teacher
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        follow(target, model, 0.05)
        follow(late, critic, 0.05)
    assert {"teacher", "actor"} <= set(parts)
    assert success(target, heard=1.0) > 0.75
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


def test_nobody_is_taught_without_a_teacher():
    model = network()
    batch, generator = windows(20, torch.Generator().manual_seed(0)), torch.Generator().manual_seed(0)
    loss, parts = losses.total(model, copy.deepcopy(model), batch, "toy", losses.LossWeights(), generator)
    loss.backward()
    assert not {"teacher", "actor"} & set(parts)
    assert all(parameter.grad is None for parameter in model.actors.parameters())


def test_play_follows_what_was_taught_and_few_shots_leave_it_alone(debug_checkpoint):
    """With the taught policy biased to silence nobody sends, however the adapters are tuned, unless it is switched off."""
    family, variant = get_variant("access/n8-c1-load0.5")
    model = NetWorld.from_pretrained(str(debug_checkpoint))
    last = model.actors["access"].policy[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]))
    adapted = adapt(model, family, variant, support(family, variant, 0, 2), AdaptConfig(steps=10, check=10, rate=1.0))
    assert not adapted.shift.any()

    def sent(network: NetWorld, planner: PlannerConfig) -> int:
        slots: list[Slot] = []
        play(family, variant, NetWorldAgent(network, planner), [0, 1], record=slots.append)
        return sum(int((slot.action > 0).sum()) for slot in slots)

    assert sent(model, PlannerConfig(recovery=0.0)) == sent(adapted.model, PlannerConfig(recovery=0.0)) == 0
    assert sent(model, PlannerConfig(recovery=0.0, taught=False)) > 0

"""A central critic trains actors: what to say, and when to act."""

from __future__ import annotations

import pytest
import torch
from wbench.benchmark.data.windows import Windows
from wbench.benchmark.family import ActionComponent, FamilyShape
from wbench.learning.central_critic import Actor, CentralCritic
from wbench.learning.codec import ActionCodec
from wbench.learning.counterfactual import ActorInputs, ActorTask, CounterfactualActors
from wbench.learning.descent import DescentConfig
from wbench.learning.mean_field import delivered
from wbench.learning.parallel import Processes

AGENTS, OBS, SLOTS = 3, 2, 4
SHAPE = FamilyShape(OBS, 1, (ActionComponent("act", "categorical", 2),), 0.0, 1.0)
CODEC, HISTORY = ActionCodec(SHAPE.actions), 2


def windows(groups: int, generator: torch.Generator) -> Windows:
    """Each agent sees a number of its own; the team is paid where the one with the greatest acts, and acts alone."""
    rows = groups * AGENTS
    numbers = torch.randn(groups, AGENTS, generator=generator)
    action = torch.randint(2, (rows, SLOTS), generator=generator)
    reward = best_alone(numbers, action[:, HISTORY].view(groups, AGENTS))
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


def see(batch: Windows) -> ActorInputs:
    """As it is; the expert acts one time in two."""
    return ActorInputs(batch.obs, batch.descriptor, torch.full((len(batch.action), 2), 0.5).log(), batch.obs[:, HISTORY:])


def success(actor: Actor, heard: float) -> float:
    """Share of fresh groups where the mode of the policy gets paid, with the inbox times `heard`."""
    batch = windows(2000, torch.Generator().manual_seed(99))
    with torch.no_grad():
        inboxes = delivered(actor.message(batch.obs), batch) * heard
        mode = actor(batch.obs[:, 1 : HISTORY + 1], inboxes[:, 1 : HISTORY + 1], batch.descriptor).argmax(-1)
    return float(best_alone(batch.obs[:, 0, 0].view(-1, AGENTS), mode.view(-1, AGENTS)).mean())


def trained(steps: int, temperature: float) -> Actor:
    """The moving average of an actor after so many steps."""
    torch.manual_seed(0)
    actor = Actor(OBS, 1, HISTORY, 8, 32, 2).requires_grad_(False)
    config, tasks = DescentConfig(warmup=0, tau=0.05), {"toy": ActorTask(SHAPE, CODEC, actor, see, unit=0.5)}
    learner = CounterfactualActors(
        None, tasks, {"toy": Sampler()}, config, Processes("cpu"), steps=steps, discount=0.05, temperature=temperature
    )
    for step in range(steps):
        learner.step(step)
    return actor


class Sampler:
    """A hundred of the windows above."""

    def __init__(self) -> None:
        self.generator = torch.Generator()

    def sample(self, rows: int) -> Windows:
        return windows(100, self.generator)


def test_messages_come_to_say_who_should_act():
    """Agents that cannot hear get at most 3 p (1 - p)^2 <= 4/9 of what there is: they must tell each other their numbers."""
    actor = trained(200, temperature=0.03)
    assert success(actor, heard=1.0) > 0.8
    assert success(actor, heard=0.0) < 0.5


def test_what_is_dear_is_not_unlearned():
    """At a great temperature the policy stays the expert's, whatever pays."""
    actor, batch = trained(100, temperature=100.0), windows(100, torch.Generator().manual_seed(1))
    with torch.no_grad():
        inboxes = delivered(actor.message(batch.obs), batch)
        policy = actor(batch.obs[:, 1 : HISTORY + 1], inboxes[:, 1 : HISTORY + 1], batch.descriptor).softmax(-1)
    assert float((policy - 0.5).abs().max()) < 0.05


def test_a_counterfactual_value_is_that_of_the_joint_action_with_the_other_action_in_it():
    torch.manual_seed(1)
    critic, batch = CentralCritic(SHAPE, 2).eval(), windows(5, torch.Generator().manual_seed(3))
    obs, taken = batch.obs[:, 2], batch.action[:, 2]
    with torch.no_grad():
        values = critic.counterfactual(obs, taken, batch)
        assert values.shape == (5 * AGENTS, 2)
        for row in (0, 4, 14):
            for action in (0, 1):
                changed = taken.clone()
                changed[row] = action
                joint = critic.joint(obs, changed, batch)
                assert float(values[row, action]) == pytest.approx(float(joint[batch.group[row]]), abs=1e-5)


def test_agents_are_interchangeable_to_the_critic():
    torch.manual_seed(1)
    critic, batch = CentralCritic(SHAPE, 2).eval(), windows(4, torch.Generator().manual_seed(3))
    order = torch.tensor([2, 0, 1])
    mixed = (torch.arange(4)[:, None] * AGENTS + order).flatten()
    with torch.no_grad():
        values = critic.joint(batch.obs[:, 2], batch.action[:, 2], batch)
        assert torch.allclose(values, critic.joint(batch.obs[mixed, 2], batch.action[mixed, 2], batch), atol=1e-5)

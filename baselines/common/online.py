"""Learning online in a metered environment: play with some exploration, a replay of joint episodes, many updates a slot."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...benchmark.meter import MeteredEnvironment
from ...learning.descent import move_average
from ...learning.precision import mixed
from .networks import AgentView, first_view, next_view, table_mask
from .q_learning import ValueModel
from .replay import Replay

MAX_GRAD_NORM = 10.0


@dataclass(frozen=True)
class PracticeConfig:
    """How to learn online.

    Attributes:
        updates: gradient steps, spread evenly over the slots played.
        batch_size: agent windows a step.
        slots: transitions a window.
        learning_rate: of AdamW.
        tau: share by which the target network moves to the online one after a step.
        epsilon: probability of a random action at first.
        final_epsilon: the same once the share `epsilon_decay` of the budget is spent, falling linearly in between.
        epsilon_decay: see `final_epsilon`.
        rounds: batches of parallel episodes that the budget is spent in, where it is large enough.
        memory: share of the budget that is remembered, the latest: what others did long ago misleads who takes them for
            a part of the world (Foerster et al. 2017).
        cql_alpha: weight of the conservative term; without one, what was learned from logs is soon unlearned.
        standardise: learning waits for the first round to end and standardises observations to it; for a network from scratch.
        bfloat16: matrix products in bfloat16 where the processor has it: faster, but what is learned depends on the processor.
    """

    updates: int = 400
    batch_size: int = 256
    slots: int = 2
    learning_rate: float = 1e-3
    tau: float = 0.02
    epsilon: float = 1.0
    final_epsilon: float = 0.01
    epsilon_decay: float = 0.15
    rounds: int = 5
    memory: float = 1.0
    cql_alpha: float = 0.0
    standardise: bool = False
    bfloat16: bool = False

    def epsilon_at(self, progress: float) -> float:
        """Probability of a random action after this share of the budget."""
        return self.epsilon + (self.final_epsilon - self.epsilon) * min(1.0, progress / self.epsilon_decay)


@dataclass(frozen=True)
class PlayedSlot:
    """A slot of a batch of episodes: number of its first episode, slot, and what `Replay.add` stores, [B, N, ...]."""

    first: int
    slot: int
    columns: dict[str, Tensor]


def spend(
    environment: MeteredEnvironment, budget: int, width: int, history: int, act: Callable[[AgentView, Tensor], Tensor]
) -> Iterator[PlayedSlot]:
    """Play exactly `budget` slots, `width` episodes at a time; `act` maps views and action masks [B, N] to actions."""
    family, variant = environment.family, environment.variant
    spent = first = 0
    while spent < budget:
        batch = min(width, max(1, (budget - spent) // variant.horizon))
        obs, info = environment.reset(batch)
        view = first_view(family, variant, history, batch, obs.device)
        for slot in range(min(variant.horizon, (budget - spent) // batch)):
            view, columns = next_view(view, obs), {"obs": obs, "action_mask": info["action_mask"]}
            columns["action"] = act(view, info["action_mask"])
            obs, columns["reward"], _, _, info = environment.step(columns["action"])
            spent += batch
            yield PlayedSlot(first, slot, columns)
        first += batch


def learn_online(
    model: ValueModel,
    environment: MeteredEnvironment,
    budget: int,
    config: PracticeConfig,
    on_slot: Callable[[ValueModel], None] | None = None,
) -> tuple[ValueModel, int]:
    """Learn while playing.

    Args:
        model: is changed.
        environment: where it plays.
        budget: slots that are spent, all of them.
        config: how to learn.
        on_slot: shown the averaged network after every slot of a batch of episodes and the updates that follow it.

    Returns:
        The averaged network, in evaluation mode, and the gradient steps taken.
    """
    family, variant, length = environment.family, environment.variant, model.config.history
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(environment.seed)
    width = max(1, math.ceil(budget / (config.rounds * variant.horizon)))
    capacity = budget // variant.horizon + 2 * width
    memory = max(width, math.ceil(config.memory * capacity))
    replay = Replay(family, variant, capacity, length - 1, config.slots, memory, generator, model.config.aim)
    model.train().requires_grad_(True)
    target = copy.deepcopy(model).requires_grad_(False)
    parameters, averages = list(model.parameters()), list(target.parameters())
    optimiser = torch.optim.AdamW(parameters, config.learning_rate, fused=True)
    begun, steps = environment.used, 0

    def act(view: AgentView, mask: Tensor) -> Tensor:
        progress = (environment.used - begun) / budget
        return explore(model, view, mask, config.epsilon_at(progress), family.name, generator)

    for played in spend(environment, budget, width, length, act):
        replay.add(played.first, played.slot, **played.columns)
        if config.standardise and played.first == 0:
            if played.slot + 1 < variant.horizon:
                continue
            for network in (model, target):
                network.standardiser.fit(replay.observations().to(device), family.name)
        due = config.updates * (environment.used - begun) // budget
        for _ in range(due - steps if replay.ready else 0):
            optimiser.zero_grad()
            with mixed(device, config.bfloat16):
                loss = model.loss(target, replay.sample(config.batch_size).to(device), family.name, config.cql_alpha)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
            optimiser.step()
            move_average(averages, parameters, config.tau)
            steps += 1
        if on_slot:
            on_slot(target)
    return target.eval(), steps


def explore(
    model: ValueModel, view: AgentView, mask: Tensor, epsilon: float, family: str, generator: torch.Generator
) -> Tensor:
    """The network's actions [B, N, ...], with probability epsilon any allowed ones, every agent on its own."""
    codec = model.codecs[family]
    allowed = table_mask(codec, mask)
    luck = torch.rand(*mask.shape[:2], model.draws(family), generator=generator).to(mask.device)
    with torch.no_grad():
        best = model.choose(view, mask, luck, family)
    draws = torch.rand(allowed.shape, generator=generator).to(allowed.device)
    anything = torch.where(allowed, draws, -1.0).argmax(-1)
    curious = torch.rand(best.shape, generator=generator).to(best.device) < epsilon
    return codec.decode(codec.table(best.device)[torch.where(curious, anything, best)])

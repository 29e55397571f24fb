"""Planning inside the world model: sample plans by DDIM, read off their first actions, choose by Bellman value.

Rows are agents of any episode; each is planned for from its own history and inbox, and nothing is asked of the environment.
Rows go through the network in blocks of a fixed size: matrix products round differently in other shapes, and so an agent's
plan would otherwise depend, in its last bits, on how many episodes happen to be played at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..benchmark.randomness import Draw, gumbel
from .config import PlannerConfig
from .diffusion import LAST, add_noise, ddim
from .model import NetWorld
from .modules import decode

BLOCK = 16  # rows a block
RARE = 1e-3  # actions proposed less often are not chosen for their value alone


@dataclass(frozen=True)
class PlannerInputs:
    """What the planner sees, a row an agent.

    Attributes:
        rows: episode * agents + agent, [R].
        latents: [R, L, D].
        inboxes: read inboxes, [R, L, 2 M].
        scenario: embedding, [R, E].
        prospects: of every action, see `NetWorld.prospects`, [R, number].
        told: see `NetWorld.told`, [R, T].
        action_mask: [R, A] bool.
        last: the plan chosen one slot ago, [R, H, D].
    """

    rows: Tensor
    latents: Tensor
    inboxes: Tensor
    scenario: Tensor
    prospects: Tensor
    told: Tensor
    action_mask: Tensor
    last: Tensor

    def select(self, where: Tensor) -> PlannerInputs:
        """Some rows, by index."""
        return PlannerInputs(*(getattr(self, field.name)[where] for field in fields(self)))


@dataclass(frozen=True)
class Decision:
    """What was decided: action [R], and the plan it belongs to [R, H, D]."""

    action: Tensor
    plan: Tensor


def in_blocks(
    function: Callable[[Tensor], tuple[Tensor, ...]], count: int, device: torch.device, size: int = BLOCK
) -> tuple[Tensor, ...]:
    """Apply a function of row numbers [size] to all of 0 .. count - 1, block by block; the last block is padded with row 0."""
    index = torch.arange(-(-count // size) * size, device=device)
    index[count:] = 0
    parts = [function(block) for block in index.split(size)]
    return tuple(torch.cat(several)[:count] for several in zip(*parts, strict=True))


@dataclass(frozen=True)
class Planner:
    """Plans for the rows of one slot.

    Attributes:
        model: the network.
        config: how to plan.
        family: the family.
        agents: agents an episode.
        temperature: of the policy that is played.
        noise: this slot's numbers for the noise that plans start from.
        luck: this slot's numbers for choosing among candidates.
    """

    model: NetWorld
    config: PlannerConfig
    family: str
    agents: int
    temperature: float
    noise: Draw
    luck: Draw

    def calls(self, slot: int) -> int:
        """Evaluations of denoiser and classifier in a slot."""
        if not self._plans or not self.fresh(slot):
            return 0
        return self._steps(slot) * (2 if "cg" in self.config.guidance else 1)

    def fresh(self, slot: int) -> bool:
        """Whether new plans are made in this slot, rather than the last ones followed."""
        return slot % self.config.replan == 0

    def decide(self, view: PlannerInputs, slot: int) -> Decision:
        """Choose an action for every row."""

        def block(where: Tensor) -> tuple[Tensor, ...]:
            part = view.select(where)
            world, value = self.model.contexts(part.latents, part.inboxes, part.scenario, part.told)
            if not self._plans:
                return self._without_plans(part, world, value)
            plans = self._sample(part, world, value, slot) if self.fresh(slot) else _shift(part.last).unsqueeze(1)
            return self._choose(part, world, value, plans)

        return Decision(*in_blocks(block, len(view.rows), view.rows.device))

    @property
    def _plans(self) -> bool:
        return self.config.plan and self.model.config.world_model

    def _without_plans(self, view: PlannerInputs, world: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Action of every row by value and behaviour head; the plan stays as it was."""
        codec = self.model.codecs[self.family]
        prior = codec.table_log_probs(self.model.behaviour_logits(world, view.action_mask, self.family))
        values = self.model.values(value, view.prospects, float(self.agents), self.family)
        choice = self._select(view, values, prior)
        return codec.decode(codec.table(choice.device)[choice]), view.last

    def _steps(self, slot: int) -> int:
        return max(1, round(self.config.steps * self._first(slot) / LAST))

    def _first(self, slot: int) -> float:
        """Noise level that sampling starts from: full, or that of a warm start once there is a plan."""
        return LAST if slot == 0 else LAST * self.config.warm_start

    def _sample(self, view: PlannerInputs, world: Tensor, value: Tensor, slot: int) -> Tensor:
        """Candidate plans [R, K, H, D]."""
        c, planner = self.model.config, self.config
        candidates = planner.candidates if "mcss" in planner.guidance else 1
        start = self.noise.normal(view.rows, self.agents, candidates, c.horizon * c.latent)
        first = self._first(slot)
        if first < LAST:
            last = _shift(view.last).flatten(1).unsqueeze(1).expand_as(start)
            start = add_noise(last, start, torch.full(start.shape[:-1], first, device=start.device))
        steer = self._steering(value.unsqueeze(1)) if "cg" in planner.guidance else None
        shared = world.unsqueeze(1)  # one condition for all candidates of a row
        plans = ddim(lambda x, time: self.model.denoiser(x, time, shared).float(), start, self._steps(slot), first, steer)
        return plans.unflatten(-1, (c.horizon, c.latent))

    def _steering(self, context: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Classifier guidance: the gradient of the predicted value with respect to the noisy plan, times the noise variance."""
        low, high = self.model.value_range(self.family)

        def steer(noisy: Tensor, time: Tensor) -> Tensor:
            with torch.enable_grad():
                x = noisy.detach().requires_grad_(True)
                value = decode(self.model.classifier(x, time, context), low, high)
                (gradient,) = torch.autograd.grad(value.sum(), x)
            variance = (time * (torch.pi / 2)).sin().square().unsqueeze(-1)
            return self.config.scale * variance * gradient.float()

        return steer

    def _choose(self, view: PlannerInputs, world: Tensor, value: Tensor, plans: Tensor) -> tuple[Tensor, Tensor]:
        """Action and plan of every row.

        Inverse dynamics turns each plan into a distribution over actions; all candidates together propose their mixture. A plan
        is blurred where the next observation shows the action faintly, so the behaviour head has a say of `1 - recovery`.
        """
        model, family, codec = self.model, self.family, self.model.codecs[self.family]
        here = view.latents[:, -1:].expand(-1, plans.shape[1], -1)
        logits = codec.mask(model.inverse(world.unsqueeze(1), here, plans[:, :, 0], family), view.action_mask.unsqueeze(1))
        recovered = codec.table_log_probs(logits)  # [R, K, number]
        proposed = recovered.logsumexp(1) - math.log(plans.shape[1])
        prior = codec.table_log_probs(model.behaviour_logits(world, view.action_mask, family))
        share = self.config.recovery
        values = model.values(value, view.prospects, float(self.agents), family)
        choice = self._select(view, values, share * proposed + (1.0 - share) * prior)
        row = torch.arange(len(choice), device=choice.device)
        closest = recovered[row, :, choice].argmax(-1)
        return codec.decode(codec.table(choice.device)[choice]), plans[row, closest]

    def _select(self, view: PlannerInputs, values: Tensor, prior: Tensor) -> Tensor:
        """An action of the table for every row [R], from the actions' values and log-probabilities [R, number].

        Both together are the improved policy pi_b(a) exp(Q / temperature); its mode, a sample, or the best value among actions
        that are proposed at all.
        """
        weight = values / self.temperature
        if self.config.choice == "best":
            return torch.where(prior > math.log(RARE), weight, -torch.inf).argmax(-1)
        log_policy = weight + prior  # up to a constant
        if self.config.choice == "sample":
            log_policy = log_policy + gumbel(self.luck.uniform(view.rows, self.agents, log_policy.shape[1]))
        return log_policy.argmax(-1)


def _shift(plan: Tensor) -> Tensor:
    """A plan one slot later, its last slot repeated."""
    return torch.cat([plan[:, 1:], plan[:, -1:]], dim=1)

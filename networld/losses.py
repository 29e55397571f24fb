"""What NetWorld learns from a batch of joint windows. One function a mechanism; `total` adds them up.

Notation in shapes: R rows (one an agent), W slots, L history, H horizon; a window has L + 1 + H slots and slot L is 'now'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ..benchmark.data.windows import Windows
from ..learning.counterfactual import ActorInputs
from ..learning.mean_field import delivered
from .diffusion import LAST, add_noise
from .model import NetWorld
from .modules import miss


@dataclass(frozen=True)
class LossWeights:
    """Weight of each loss."""

    reconstruction: float = 1.0
    reward: float = 0.5
    inverse: float = 0.5
    behaviour: float = 1.0
    critic: float = 4.0
    denoiser: float = 1.0
    classifier: float = 0.2


@dataclass(frozen=True)
class Encoded:
    """A batch seen through a network: latents [R, W, D], inbox features [R, W, 2 M], scenario [R, E]."""

    latents: Tensor
    inboxes: Tensor
    scenario: Tensor


def encode(model: NetWorld, batch: Windows, family: str, slots: int, scenario_shift: Tensor | None = None) -> Encoded:
    """Latents and delivered messages of the first W slots of a batch, and its scenarios, as an acting agent has them."""
    known = batch.valid[:, :slots].unsqueeze(-1)
    latents = model.observation(batch.obs[:, :slots], family) * known
    features = delivered(model.mean_field.message(latents), batch)
    scenario = model.scenario(batch.descriptor, family)
    if scenario_shift is not None:
        scenario = scenario + scenario_shift
    return Encoded(latents, features, scenario)


def contexts_at(
    model: NetWorld, encoded: Encoded, slot: int, family: str, behaviour: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """World and value context [R, C] at a slot; see `NetWorld.contexts`."""
    stretch = slice(slot - model.config.history + 1, slot + 1)
    return model.contexts(encoded.latents[:, stretch], encoded.inboxes[:, stretch], encoded.scenario, family, behaviour)


@torch.no_grad()
def actor_inputs(model: NetWorld, family: str, batch: Windows) -> ActorInputs:
    """A batch of windows as actors see it on top of a finished network, and what the expert would do by its behaviour head."""
    now = model.config.history
    obs, known = batch.obs[:, : now + 2], batch.valid[:, : now + 2].unsqueeze(-1)
    encoded = encode(model, batch, family, now + 2)
    world, _ = contexts_at(model, encoded, now, family)
    logits = model.behaviour_logits(world, batch.action_mask[:, now], family)
    return ActorInputs(
        model.actor_features(encoded.latents, obs, family) * known,
        encoded.scenario,
        model.codecs[family].table_log_probs(logits),
        model.observation.standardise(obs[:, now:], family),
    )


@dataclass(frozen=True)
class Targets:
    """What the moving average says of a batch.

    Attributes:
        bellman: the team's rewards and, after them, discounted value of its improved policy, in the family's unit, [groups].
        taken: an agent's share of the value of what was done 'now', [R].
        plan: latents of the slots after 'now', [rows of `planned`, H D].
    """

    bellman: Tensor
    taken: Tensor
    plan: Tensor


@torch.no_grad()
def targets(target: NetWorld, batch: Windows, family: str, planned: Tensor, scenario_shift: Tensor | None) -> Targets:
    """Targets of value, classifier and denoiser from the moving average; arguments as in `total`.

    The team's value is the mean of the agents' shares (Sunehag et al. 2018 add them), and the policy near the recorded one that
    maximises it is then each agent's own pi_b(a) exp(Q / temperature): a local improvement is a global one (Wang et al., OMIGA,
    NeurIPS 2023).
    """
    now, codec = target.config.history, target.codecs[family]
    seen = encode(target, batch, family, now + 2, scenario_shift)
    _, here = contexts_at(target, seen, now, family)
    world, value = contexts_at(target, seen, now + 1, family)
    log_policy, shares = target.improved_log_policy(world, value, batch.action_mask[:, now + 1], family)
    following = batch.team_mean((log_policy.exp() * shares).sum(-1))
    reward = batch.team_mean(batch.reward[:, now]) / target.config.units[family]
    taken = target.critic(here, family).gather(1, codec.index(batch.action[:, now]).unsqueeze(1)).squeeze(1)
    plan = target.observation(batch.obs[planned, now + 1 :], family).flatten(1).float()
    return Targets(reward + target.config.discount * following, taken, plan)


def total(
    model: NetWorld,
    target: NetWorld,
    batch: Windows,
    family: str,
    weights: LossWeights,
    generator: torch.Generator | None = None,
    scenario_shift: Tensor | None = None,
    plan_share: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The training loss of a batch and its parts.

    Args:
        model: the network being trained.
        target: its moving average, which gives Bellman targets and the latents that are planned.
        batch: windows of one family.
        family: its name.
        weights: weight of each part.
        generator: source of diffusion times and noise.
        scenario_shift: few-shot offset of the scenario embedding, [E].
        plan_share: share of the rows that train denoiser and classifier, the costliest parts.
    """
    now = model.config.history
    low, high = model.value_range(family)
    codec, shape = model.codecs[family], model.shape(family)
    seen = encode(model, batch, family, now + 2, scenario_shift)
    world, value = contexts_at(model, seen, now, family, model.scenario.with_behaviour(seen.scenario, batch.quality))
    action, mask = batch.action[:, now], batch.action_mask[:, now]
    code, index = codec.encode(action), codec.index(action)
    count = max(1, round(plan_share * len(action)))
    planned = torch.randperm(len(action), generator=generator, device=action.device)[:count]
    aims = targets(target, batch, family, planned, scenario_shift)

    parts: dict[str, Tensor] = {}
    shown = model.observation.standardise(batch.obs[:, : now + 2], family)
    error = (model.observation.decode(seen.latents, family).float() - shown).square().mean(-1)
    valid = batch.valid[:, : now + 2]
    parts["reconstruction"] = (error * valid).sum() / valid.sum()
    here, following = seen.latents[:, now], seen.latents[:, now + 1]
    reward = model.reward(torch.cat([here, following, seen.scenario], dim=-1))
    parts["reward"] = miss(reward, batch.reward[:, now], shape.reward_low, shape.reward_high).mean()
    inverse = codec.mask(model.inverse(world, here, following, family), mask)
    parts["inverse"] = -codec.log_prob(inverse, code).mean()
    parts["behaviour"] = -codec.log_prob(model.behaviour_logits(world, mask, family), code).mean()
    share = model.critic(value, family).gather(1, index.unsqueeze(1)).squeeze(1)
    parts["critic"] = _value_error(batch.team_mean(share), aims.bellman, batch, family in model.config.behaviour_conditioned)

    time = torch.rand(count, generator=generator, device=action.device) * LAST
    noise = torch.randn(aims.plan.shape, generator=generator, device=action.device)
    noisy = add_noise(aims.plan, noise, time)
    wrong = (model.denoiser(noisy, time, world[planned]).float() - aims.plan).square()
    parts["denoiser"] = (_slot_weights(model.config.horizon, aims.plan) * wrong).mean()
    guess = model.classifier(noisy, time, value[planned].detach())
    parts["classifier"] = miss(guess, aims.taken[planned], low, high).mean()
    loss = sum((getattr(weights, name) * part for name, part in parts.items()), torch.zeros((), device=action.device))
    with torch.no_grad():
        recovered = codec.decode(codec.most_likely(inverse))
        parts["inverse_top1"] = (codec.index(recovered) == index).float().mean()
    return loss, {name: part.detach() for name, part in parts.items()}


def _value_error(value: Tensor, bellman: Tensor, batch: Windows, conditioned: bool) -> Tensor:
    """Mean error of the team's value [groups]; a behaviour-conditioned one leaves out the recordings of a genie.

    Whoever acts on what agents cannot see leaves a false trace: the genie is silent when silence is right, and silence gets the
    credit.
    """
    if not conditioned:
        return smooth_l1_loss(value, bellman)
    seen = batch.without_genie()
    return (smooth_l1_loss(value, bellman, reduction="none") * seen).sum() / seen.sum().clamp(min=1.0)


def _slot_weights(horizon: int, plan: Tensor) -> Tensor:
    """Weight of each of the plan's numbers [H D], mean one: 1, 1/2, 1/3, ... by slot, as the first slot shows the action."""
    weight = 1.0 / torch.arange(1, horizon + 1, device=plan.device)
    return (weight / weight.mean()).repeat_interleave(plan.shape[-1] // horizon)

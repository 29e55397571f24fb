"""What NetWorld learns from a batch of joint windows. One function a mechanism; `total` adds them up.

Notation in shapes: R rows (one an agent), W = L + 1 + H slots, L history, H horizon; slot L is 'now'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..benchmark.data.windows import Windows
from ..benchmark.two_hot import cross_entropy, expectation, two_hot
from .diffusion import LAST, add_noise
from .model import NetWorld, history_windows
from .modules import MeanField


@dataclass(frozen=True)
class LossWeights:
    """Weight of each loss in the total."""

    reconstruction: float = 1.0
    reward: float = 0.5
    inverse: float = 0.5
    behaviour: float = 0.5
    critic: float = 1.0
    denoiser: float = 1.0
    classifier: float = 0.2


@dataclass(frozen=True)
class Encoded:
    """A batch seen through a network: latents [R, W, D], inbox features [R, W, 2 M], scenario [R, E]."""

    latents: Tensor
    inboxes: Tensor
    scenario: Tensor


def encode(model: NetWorld, batch: Windows, family: str, scenario_shift: Tensor | None = None) -> Encoded:
    """Latents, delivered messages and scenario embedding of a batch, exactly as an acting agent would have them."""
    known = batch.valid.unsqueeze(-1)
    latents = model.observation(batch.obs, family) * known
    message = model.mean_field.message(latents) * known
    total = message.new_zeros(batch.groups, *message.shape[1:]).index_add_(0, batch.group, message)
    inbox = (total[batch.group] - message) / batch.others.clamp(min=1)[:, None, None]
    late = torch.cat([torch.zeros_like(inbox[:, :1]), inbox[:, :-1]], dim=1)  # delivered one slot late
    features = MeanField.read(late, batch.others[:, None, None])
    scenario = model.scenario(batch.descriptor, batch.rank, family)
    if scenario_shift is not None:
        scenario = scenario + scenario_shift
    return Encoded(latents, features, scenario)


def slot_contexts(model: NetWorld, encoded: Encoded) -> tuple[Tensor, Tensor]:
    """World and value context at slots 'now' .. 'now + H', each [R, H + 1, C]."""
    length = model.config.history
    latents = history_windows(encoded.latents[:, 1:], length)
    inboxes = history_windows(encoded.inboxes[:, 1:], length)
    scenario = encoded.scenario.unsqueeze(1).expand(-1, latents.shape[1], -1)
    return model.contexts(latents, inboxes, scenario)


def others_follow(log_policy: Tensor, log_behaviour: Tensor, action: Tensor, batch: Windows, limit: float) -> Tensor:
    """How much more likely the others' recorded actions are under the improved policy than under the behaviour.

    A value learned from logs assumes that everybody else goes on behaving as recorded; weighting each slot by this ratio
    (clipped, and normalised to mean one) lets it assume that they improve as well.

    Args:
        log_policy: log of the improved policy at every slot and action, [R, S, number].
        log_behaviour: log of the behaviour, [R, S, number].
        action: recorded actions as indices, [R, S].
        batch: the windows, for their groups.
        limit: clip of the ratio, in [1 / limit, limit].
    """
    index = action.unsqueeze(-1)
    ratio = (log_policy.gather(-1, index) - log_behaviour.gather(-1, index)).squeeze(-1)
    total = ratio.new_zeros(batch.groups, ratio.shape[1]).index_add_(0, batch.group, ratio)
    weight = (total[batch.group] - ratio).clamp(-limit, limit).exp().clamp(max=limit)
    return weight / weight.mean().clamp(min=1e-6)


@dataclass(frozen=True)
class Targets:
    """What the moving average says of a batch.

    Attributes:
        bellman: reward and discounted value of the improved policy, [R, H].
        taken: value of the action at 'now', [R].
        plan: latents of the slots after 'now', [R, H D].
        follow: weight of each slot in the critic's loss, [R, H]; see `others_follow`.
    """

    bellman: Tensor
    taken: Tensor
    plan: Tensor
    follow: Tensor


@torch.no_grad()
def targets(target: NetWorld, batch: Windows, family: str, scenario_shift: Tensor | None, follow_limit: float) -> Targets:
    """Targets of value, classifier and denoiser from the moving average; arguments as in `total`."""
    now, codec = target.config.history, target.codecs[family]
    slots = slice(now, now + target.config.horizon)
    action, mask = batch.action[:, slots], batch.action_mask[:, now:]
    past = encode(target, batch, family, scenario_shift)
    _, value = slot_contexts(target, past)
    log_policy, values = target.improved_log_policy(value, mask, family)
    bellman = batch.reward[:, slots] + target.config.discount * (log_policy.exp() * values).sum(-1)[:, 1:]
    critic = target.critic(value[:, 0], codec.encode(action[:, 0]), family)
    follow = torch.ones_like(bellman)
    if follow_limit:
        behaviour = codec.table_log_probs(target.behaviour_logits(value, mask, family))
        follow = others_follow(log_policy[:, :-1], behaviour[:, :-1], codec.index(action), batch, follow_limit)
    plan = past.latents[:, now + 1 :].flatten(1).float()
    return Targets(bellman, expectation(critic, *target.value_range(family)), plan, follow)


def total(
    model: NetWorld,
    target: NetWorld,
    batch: Windows,
    family: str,
    weights: LossWeights,
    generator: torch.Generator | None = None,
    scenario_shift: Tensor | None = None,
    follow_limit: float = 0.0,
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
        follow_limit: clip of the others-follow weight of the critic; 0 = no weight.
    """
    now, horizon = model.config.history, model.config.horizon
    low, high = model.value_range(family)
    bins = model.config.bins
    codec = model.codecs[family]
    seen = encode(model, batch, family, scenario_shift)
    world, value = slot_contexts(model, seen)
    slots = slice(now, now + horizon)
    action, reward, mask = batch.action[:, slots], batch.reward[:, slots], batch.action_mask[:, slots]
    code = codec.encode(action)

    aims = targets(target, batch, family, scenario_shift, follow_limit)
    plan = aims.plan

    here, following = seen.latents[:, slots], seen.latents[:, now + 1 :]
    parts: dict[str, Tensor] = {}
    shown = model.observation.standardise(batch.obs, family)
    error = (model.observation.decode(seen.latents, family).float() - shown).square().mean(-1)
    parts["reconstruction"] = (error * batch.valid).sum() / batch.valid.sum()
    scenario = seen.scenario.unsqueeze(1).expand(-1, horizon, -1)
    shape = model.shape(family)
    coded_reward = two_hot(reward, shape.reward_low, shape.reward_high, bins)
    reward_logits = model.reward(torch.cat([here, following, scenario], dim=-1))
    parts["reward"] = cross_entropy(reward_logits, coded_reward).mean()
    inverse = codec.mask(model.inverse(world[:, :-1], here, following, family), mask)
    parts["inverse"] = -codec.log_prob(inverse, code).mean()
    parts["behaviour"] = -codec.log_prob(model.behaviour_logits(value[:, :-1], mask, family), code).mean()
    critic = model.critic(value[:, :-1], code, family)
    parts["critic"] = (aims.follow * cross_entropy(critic, two_hot(aims.bellman, low, high, bins))).mean()

    time = torch.rand(len(plan), generator=generator, device=plan.device) * LAST
    noise = torch.randn(plan.shape, generator=generator, device=plan.device)
    noisy = add_noise(plan, noise, time)
    miss = (model.denoiser(noisy, time, world[:, 0]).float() - plan).square()
    parts["denoiser"] = (_slot_weights(horizon, plan) * miss).mean()
    guess = model.classifier(noisy, time, value[:, 0].detach())
    parts["classifier"] = cross_entropy(guess, two_hot(aims.taken, low, high, bins)).mean()
    loss = sum((getattr(weights, name) * part for name, part in parts.items()), torch.zeros((), device=plan.device))
    with torch.no_grad():
        parts["td_error"] = (expectation(critic, low, high) - aims.bellman).abs().mean()
        recovered = codec.decode(codec.most_likely(inverse))
        parts["inverse_top1"] = (codec.index(recovered) == codec.index(action)).float().mean()
    return loss, {name: part.detach() for name, part in parts.items()}


def _slot_weights(horizon: int, plan: Tensor) -> Tensor:
    """Weight of each of the plan's numbers [H D], mean one: 1, 1/2, 1/3, ... by slot, as the first slot shows the action."""
    weight = 1.0 / torch.arange(1, horizon + 1, device=plan.device)
    return (weight / weight.mean()).repeat_interleave(plan.shape[-1] // horizon)

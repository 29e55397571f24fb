"""What NetWorld learns from a batch of joint windows. One function a mechanism; `total` adds them up.

Notation in shapes: R rows (one an agent), W slots, L history, H horizon; a window has L + 1 + H slots and slot L is 'now'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ..benchmark.data.context import Context
from ..benchmark.data.windows import Windows
from ..learning.context import code_of, descriptors
from ..learning.mean_field import delivered
from .diffusion import LAST, add_noise
from .model import NetWorld
from .modules import miss

SLOTS = 48  # of an episode that the slot model is asked about in a step


@dataclass(frozen=True)
class LossWeights:
    """Weight of each loss."""

    reconstruction: float = 1.0
    reward: float = 1.0
    following: float = 1.0
    inverse: float = 0.5
    behaviour: float = 1.0
    critic: float = 4.0
    denoiser: float = 1.0
    classifier: float = 0.2

    @classmethod
    def without_world_model(cls) -> LossWeights:
        """Value and behaviour alone: the control."""
        return cls(reconstruction=0.0, reward=0.0, following=0.0, inverse=0.0, denoiser=0.0, classifier=0.0)


@dataclass(frozen=True)
class Encoded:
    """A batch seen through a network: latents [R, W, D], inbox features [R, W, 2 M], scenario [R, E].

    Prospects [R, Z, number] and what is told [R, Z, T] are those of slot 'now' and of the slots after it.
    """

    latents: Tensor
    inboxes: Tensor
    scenario: Tensor
    prospects: Tensor
    told: Tensor


def encode(model: NetWorld, batch: Windows, family: str, slots: int, site: Tensor, prospects: Tensor | None = None) -> Encoded:
    """Latents and delivered messages of the first W slots of a batch, and what is told, as an acting agent has them.

    What is read of the sites is that for 'now' and the slots after it, [R, Z, S]. Prospects may be given.
    """
    known = batch.valid[:, :slots].unsqueeze(-1)
    latents = model.observation(batch.obs[:, :slots], family) * known
    features = delivered(model.mean_field.message(latents), batch)
    scenario, now = model.scenario(batch.descriptor, family), model.config.history
    here = latents[:, now : now + site.shape[1]]
    site = site[:, : here.shape[1]]
    if prospects is None:
        prospects = model.prospects(here, scenario.unsqueeze(1).expand(-1, here.shape[1], -1), site, family)
    return Encoded(latents, features, scenario, prospects, model.told(site, prospects, family))


def contexts_at(model: NetWorld, encoded: Encoded, slot: int, behaviour: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """World and value context [R, C] at 'now' or the slot after it; see `NetWorld.contexts`."""
    history = model.config.history
    stretch, told = slice(slot - history + 1, slot + 1), encoded.told[:, slot - history]
    return model.contexts(encoded.latents[:, stretch], encoded.inboxes[:, stretch], encoded.scenario, told, behaviour)


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
def targets(
    target: NetWorld, batch: Windows, family: str, planned: Tensor, site: Tensor, prospects: Tensor | None = None
) -> Targets:
    """Targets of value, classifier and denoiser from the moving average; arguments as in `total` and `encode`.

    The team's value is the mean of the agents' shares (Sunehag et al. 2018 add them), and the policy near the recorded one that
    maximises it is then each agent's own pi_b(a) exp(Q / temperature): a local improvement is a global one (Wang et al., OMIGA,
    NeurIPS 2023).
    """
    now, codec = target.config.history, target.codecs[family]
    seen, agents = encode(target, batch, family, now + 2, site, prospects), 1.0 + batch.others
    _, here = contexts_at(target, seen, now)
    world, value = contexts_at(target, seen, now + 1)
    shares = target.values(value, seen.prospects[:, 1], agents, family)
    log_policy = target.improved_log_policy(world, shares, batch.action_mask[:, now + 1], family)
    following = batch.team_mean((log_policy.exp() * shares).sum(-1))
    reward = batch.team_mean(batch.reward[:, now]) / target.config.units[family]
    taken = (
        target.values(here, seen.prospects[:, 0], agents, family)
        .gather(1, codec.index(batch.action[:, now]).unsqueeze(1))
        .squeeze(1)
    )
    plan = target.observation(batch.obs[planned, now + 1 :], family).flatten(1).float()
    return Targets(reward + target.config.discount * following, taken, plan)


def total(
    model: NetWorld,
    target: NetWorld,
    batch: Windows,
    family: str,
    weights: LossWeights,
    generator: torch.Generator | None = None,
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
        plan_share: share of the rows that train denoiser and classifier, the costliest parts.
    """
    now = model.config.history
    codec = model.codecs[family]
    sites = code_of(model.support, batch, family)
    site = sites.of(batch, 2) if sites else batch.reward.new_zeros(len(batch.reward), 2, 0)
    seen = encode(model, batch, family, now + 2, site)
    world, value = contexts_at(model, seen, now, model.scenario.with_behaviour(seen.scenario, batch.quality))
    action, mask = batch.action[:, now], batch.action_mask[:, now]
    code, index = codec.encode(action), codec.index(action)
    count = max(1, round(plan_share * len(action)))
    planned = torch.randperm(len(action), generator=generator, device=action.device)[:count]
    aims = targets(target, batch, family, planned, site.detach(), seen.prospects)

    parts = {"reconstruction": _reconstruction_error(model, seen, batch, family)}
    here, following = seen.latents[:, now], seen.latents[:, now + 1]
    if sites and weights.reward + weights.following:
        assert batch.context is not None and batch.context.whole is not None
        parts |= slot_losses(model, target, batch.context.whole, sites.read, descriptors(batch), family, generator)
    inverse = codec.mask(model.inverse(world, here, following, family), mask)
    parts["inverse"] = -codec.log_prob(inverse, code).mean()
    parts["behaviour"] = -codec.log_prob(model.behaviour_logits(world, mask, family), code).mean()
    shares = model.values(value, seen.prospects[:, 0], 1.0 + batch.others, family)
    share = shares.gather(1, index.unsqueeze(1)).squeeze(1)
    parts["critic"] = _value_error(batch.team_mean(share), aims.bellman, batch, model.config.behaviour_conditioned)
    if weights.denoiser:
        parts |= _plan_losses(model, aims, world[planned], value[planned].detach(), planned, family, generator)
    loss = sum((getattr(weights, name) * part for name, part in parts.items()), torch.zeros((), device=action.device))
    with torch.no_grad():
        recovered = codec.decode(codec.most_likely(inverse))
        parts["inverse_top1"] = (codec.index(recovered) == index).float().mean()
    return loss, {name: part.detach() for name, part in parts.items()}


def _plan_losses(
    model: NetWorld,
    aims: Targets,
    world: Tensor,
    value: Tensor,
    planned: Tensor,
    family: str,
    generator: torch.Generator | None,
) -> dict[str, Tensor]:
    """Of denoiser and classifier on noisy plans, whose contexts [rows of `planned`, C] are given."""
    time = torch.rand(len(planned), generator=generator, device=planned.device) * LAST
    noise = torch.randn(aims.plan.shape, generator=generator, device=planned.device)
    noisy = add_noise(aims.plan, noise, time)
    wrong = (model.denoiser(noisy, time, world).float() - aims.plan).square()
    guess = miss(model.classifier(noisy, time, value), aims.taken[planned], *model.value_range(family))
    weight = _slot_weights(model.config.horizon, aims.plan)
    return {"denoiser": (weight * wrong).mean(), "classifier": guess.mean()}


def slot_losses(
    model: NetWorld,
    target: NetWorld,
    whole: Context,
    read: Callable[[Tensor, Tensor, Tensor], Tensor],
    descriptor: Tensor,
    family: str,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """How well the slot model tells whole episodes [P, 1, ...] of sites, of which other episodes told the codes.

    Args:
        model: the network being trained.
        target: its moving average, which gives the latents that follow.
        whole: the episodes.
        read: what is read of their sites, [..., S], by place, agent and slot, [...] each.
        descriptor: of the places' variants, [P, D].
        family: name of the family.
        generator: which `SLOTS` slots are asked about.
    """
    codec, (places, _, _, n) = model.codecs[family], whole.reward.shape
    slots = whole.obs.shape[2] - 1  # of which it is known what they led to
    chosen = torch.randperm(slots, generator=generator, device=whole.reward.device)[:SLOTS]
    obs, after = whole.obs[:, 0, chosen].float(), whole.obs[:, 0, chosen + 1].float()  # [P, Z, N, O]
    place, slot, agent = torch.meshgrid(torch.arange(places), chosen.cpu(), torch.arange(n), indexing="ij")
    scenario = model.scenario(descriptor, family)[:, None, None].expand(-1, len(chosen), n, -1)
    site = read(*(x.to(obs.device) for x in (place, agent, slot)))
    code = codec.encode(codec.typed(whole.action[:, 0, chosen]))
    paid, following = model.slot(model.observation(obs, family), code, scenario, site, family)
    with torch.no_grad():
        truth = target.observation(after, family).float()
    there = (torch.arange(n, device=obs.device) < whole.agents[:, None]).unsqueeze(1).expand(-1, len(chosen), -1).float()
    wrong = miss(paid, whole.reward[:, 0, chosen].float(), *model.config.own_rewards[family])
    error = (following.float() - truth).square().mean(-1)
    return {name: (part * there).sum() / there.sum() for name, part in (("reward", wrong), ("following", error))}


def _reconstruction_error(model: NetWorld, seen: Encoded, batch: Windows, family: str) -> Tensor:
    """Squared error of the observations that are decoded from the latents, standardised."""
    slots = seen.latents.shape[1]
    shown, valid = model.observation.standardise(batch.obs[:, :slots], family), batch.valid[:, :slots]
    error = (model.observation.decode(seen.latents, family).float() - shown).square().mean(-1)
    return (error * valid).sum() / valid.sum()


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

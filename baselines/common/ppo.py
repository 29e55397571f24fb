"""Proximal policy optimisation for teams: advantages, value normalisation, the clipped objective and one round of updates.

The details are those of Yu et al., 'The surprising effectiveness of PPO in cooperative multi-agent games' (NeurIPS 2022),
Andrychowicz et al., 'What matters for on-policy deep actor-critic methods?' (ICLR 2021) and Huang et al., 'The 37
implementation details of PPO' (ICLR blog track 2022); each is named where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from ...learning.codec import ActionCodec
from ...learning.context import SupportEncoder
from ...learning.descent import set_learning_rate
from ...learning.precision import mixed
from .frames import Frames
from .places import Logs


@dataclass(frozen=True)
class PpoConfig:
    """How to learn from one round of play.

    Attributes:
        epochs: passes over a round.
        batch_size: agent rows an optimiser step, about (frames stay whole, and where logs are read, places).
        learning_rate: of Adam; falls linearly to `final_share` of itself (Huang, detail 4; Andrychowicz, section 3.6).
        final_share: of the learning rate at the end.
        discount: a slot.
        gae_lambda: lambda of the generalised advantage estimate (Schulman et al. 2016).
        clip_coef: clip of the probability ratio (Schulman et al. 2017).
        entropy_coef: weight of the entropy bonus; falls with the learning rate.
        huber_delta: where the value loss turns linear, in units of the normalised value (Yu, appendix).
        max_grad_norm: greatest norm of the gradient, actor and critic each (Huang, detail 11).
        target_kl: the round ends once the policy has moved this far in KL divergence (Huang, 'early stopping'; 0 = never).
        bfloat16: hidden layers in bfloat16 where the processor has it (twice as fast); ratios stay in float32. What is learned
            then depends on the processor, so the tracks of the protocol do without.
    """

    epochs: int = 5
    batch_size: int = 4096
    learning_rate: float = 1e-3
    final_share: float = 0.05
    discount: float = 0.95
    gae_lambda: float = 0.8
    clip_coef: float = 0.3
    entropy_coef: float = 0.001
    huber_delta: float = 10.0
    max_grad_norm: float = 1.0
    target_kl: float = 0.0
    bfloat16: bool = True


def gae(reward: Tensor, value: Tensor, discount: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates [S, ...] of rewards [S, ...] under values [S + 1, ...]; the last value bootstraps.

    Episodes end by the clock alone, which no agent sees: the last value stands for what would have come after (Pardo et al.,
    'Time limits in reinforcement learning', ICML 2018).
    """
    surprise = reward + discount * value[1:] - value[:-1]
    advantage = torch.zeros_like(reward)
    running = torch.zeros_like(reward[0])
    for slot in reversed(range(len(reward))):
        running = surprise[slot] + discount * gae_lambda * running
        advantage[slot] = running
    return advantage


def clipped_objective(ratio: Tensor, advantage: Tensor, clip_coef: float) -> Tensor:
    """The pessimistic one of the plain and the clipped improvement, [...] (Schulman et al. 2017, equation 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef) * advantage)


class ValueNormaliser(nn.Module):
    """Running mean and spread of value targets, so that a critic of any reward scale learns numbers of order one.

    Yu et al. (section 5.1) after van Hasselt et al., 'Learning values across many orders of magnitude' (NeurIPS 2016), with
    exponential averages corrected for their start.

    Args:
        memory: share of the averages kept in an update.
    """

    moments: Tensor

    def __init__(self, memory: float = 0.98) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("moments", torch.zeros(3, dtype=torch.float64))  # mean, mean square, weight so far

    def update(self, target: Tensor) -> None:
        """Take in targets of any shape."""
        target = target.double()
        newest = torch.stack([target.mean(), target.square().mean(), target.new_ones(())])
        self.moments.lerp_(newest, 1.0 - self.memory)

    def normalise(self, value: Tensor) -> Tensor:
        """To units of the spread around the mean, [...]."""
        mean, spread = self._mean_and_spread()
        return (value - mean) / spread

    def restore(self, value: Tensor) -> Tensor:
        """Inverse of `normalise`, [...]."""
        mean, spread = self._mean_and_spread()
        return value * spread + mean

    def _mean_and_spread(self) -> tuple[float, float]:
        mean, square, weight = self.moments.tolist()
        if weight == 0.0:
            return 0.0, 1.0
        variance = square / weight - (mean / weight) ** 2
        return mean / weight, max(variance, 1e-4) ** 0.5


class ActorCritic(nn.Module):
    """What PPO trains: a policy of each agent's own features, a value of everybody's, and a normaliser for each family.

    Attributes:
        codecs: of the actions of each family.
        normalisers: of the values of each family.
        history: own observations that an agent sees.
        support: reads logs of a site; None = no logs are read.
    """

    codecs: dict[str, ActionCodec]
    normalisers: nn.ModuleDict
    history: int
    support: SupportEncoder | None

    def read(self, logs: Logs, family: str, slots: int) -> Tensor:
        """What logs say of P places, for the N agents of each in so many slots from the first: [slots, P, N, S]."""
        assert self.support is not None
        code = logs.read(self.support, family)
        size, device = (slots, len(logs.descriptor), int(logs.context.agents[0])), logs.descriptor.device
        slot, place, agent = (torch.arange(length, device=device) for length in size)
        return code.read(*torch.broadcast_tensors(place[None, :, None], agent[None, None], slot[:, None, None]))

    def logits(self, features: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [R, size] of action codes, from features [R, I + S] and masks [R, A]."""
        raise NotImplementedError

    def values(self, features: Tensor, agents: Tensor, family: str) -> Tensor:
        """Normalised values [R] from the features [R, I + S] of all agents of the frames, which have so many agents [F]."""
        raise NotImplementedError

    def policy_parameters(self) -> list[nn.Parameter]:
        """Those that decide."""
        raise NotImplementedError

    def critic_parameters(self) -> list[nn.Parameter]:
        """Those that judge."""
        raise NotImplementedError

    def reader_parameters(self) -> list[nn.Parameter]:
        """Those that read logs, which actor and critic share."""
        return [] if self.support is None else [*self.support.parameters()]

    def normaliser(self, family: str) -> ValueNormaliser:
        """The family's."""
        found = self.normalisers[family]
        assert isinstance(found, ValueNormaliser)
        return found


@dataclass(frozen=True)
class Updates:
    """What a round of updates did: optimiser steps taken, and figures of the last minibatch by family and name."""

    steps: int
    figures: dict[str, float]


def optimise(
    model: ActorCritic,
    optimiser: torch.optim.Optimizer,
    played: Mapping[str, Sequence[Frames]],
    config: PpoConfig,
    progress: float,
    generator: torch.Generator,
) -> Updates:
    """Learn from one round: `epochs` passes in random minibatches, an equal share of every family in each step.

    Args:
        model: is changed.
        optimiser: Adam over its parameters.
        played: the round, by family.
        config: how.
        progress: share of the training that is over, which sets learning rate and entropy bonus.
        generator: the random source of the minibatches.
    """
    fade = 1.0 + (config.final_share - 1.0) * progress
    set_learning_rate(optimiser, config.learning_rate * fade)
    whole = [frames for of in played.values() for frames in of]
    parts = max(1, round(sum(len(frames.features) for frames in whole) / config.batch_size))
    parts = min(parts, *(frames.most for frames in whole))
    steps, figures = 0, {}
    for _ in range(config.epochs):  # shuffled once an epoch: a minibatch is then a slice
        shuffled = {name: [frames.minibatches(parts, generator) for frames in of] for name, of in played.items()}
        for part in range(parts):
            optimiser.zero_grad(set_to_none=True)
            moved = 0.0
            for name, of in shuffled.items():
                for minibatches in of:
                    loss, figures[name] = _loss(model, minibatches[part], name, config, fade)
                    (loss / (len(played) * len(of))).backward()
                    moved = max(moved, figures[name]["approx_kl"])
            if 0.0 < config.target_kl < moved:
                return Updates(steps, _flat(figures))
            for group in optimiser.param_groups:
                nn.utils.clip_grad_norm_(group["params"], config.max_grad_norm)
            optimiser.step()
            steps += 1
    return Updates(steps, _flat(figures))


def _has_choice(codec: ActionCodec, mask: Tensor) -> Tensor:
    """Rows [R] that have more than one action, from masks [R, A]."""
    return (mask.sum(-1) > 1) | (codec.components[-1].kind == "ordinal")


def _flat(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{family}/{name}": value for family, parts in figures.items() for name, value in parts.items()}


def _with_site(model: ActorCritic, batch: Frames, family: str) -> Tensor:
    """Features of all rows and what logs say of their site, [R, I + S]."""
    if batch.logs is None:
        return batch.features
    slots = len(batch.agents) // len(batch.logs.descriptor)
    return torch.cat([batch.features, model.read(batch.logs, family, slots).flatten(0, 2)], dim=-1)


def _loss(model: ActorCritic, batch: Frames, family: str, config: PpoConfig, fade: float) -> tuple[Tensor, dict[str, float]]:
    with mixed(batch.features.device, config.bfloat16):
        seen = _with_site(model, batch, family)
    codec = model.codecs[family]
    free = _has_choice(codec, batch.mask)  # whoever has no choice has nothing to learn from
    decided = [seen, batch.mask, batch.code, batch.log_prob, batch.advantage]
    if not free.all():
        rows = free.nonzero().squeeze(-1)
        decided = [column.index_select(0, rows) for column in decided]
    features, mask, code, log_prob, advantage = decided
    with mixed(batch.features.device, config.bfloat16):
        logits = model.logits(features, mask, family)
        value = model.values(seen, batch.agents, family)
    log_ratio = codec.log_prob(logits, code) - log_prob
    policy = clipped_objective(log_ratio.exp(), advantage, config.clip_coef).mean()
    spread = sum(-(part.softmax(-1) * part.log_softmax(-1)).sum(-1) for part in codec.split(logits))
    assert isinstance(spread, Tensor)
    fit = huber_loss(value, model.normaliser(family).normalise(batch.target), delta=config.huber_delta)
    with torch.no_grad():  # Schulman's estimate of KL(old || new), never negative: http://joschu.net/blog/kl-approx.html
        approx_kl = (log_ratio.exp() - 1.0 - log_ratio).mean()
    figures = {"entropy": spread.mean(), "value": fit, "approx_kl": approx_kl}
    return fit - policy - config.entropy_coef * fade * spread.mean(), {name: float(x.detach()) for name, x in figures.items()}

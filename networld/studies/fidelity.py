"""How true the world model is: imagined rollouts against episodes that it never saw, and the gates that a planner must pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from ...benchmark.data.recorder import mixture, record
from ...benchmark.data.windows import Episodes, Windows, WindowSampler
from ...benchmark.family import QUALITIES, Family, Variant
from ...benchmark.seeds import FIDELITY_SEEDS
from ...benchmark.site import RANGES
from ...learning.codec import cross_entropy, two_hot
from ..diffusion import LAST, ddim
from ..losses import Encoded, contexts_at, encode
from ..model import NetWorld
from ..modules import decode

TAIL = 60  # slots to the end of an episode beyond which a discounted return is complete to 5 %


def fresh_episodes(family: Family, variant: Variant, episodes: int, history: int, horizon: int) -> Episodes:
    """Episodes of a train variant at dev sites, all qualities: nobody trained on these sites."""
    parts = []
    for quality in QUALITIES:
        seeds = list(range(FIDELITY_SEEDS, FIDELITY_SEEDS + episodes))
        parts.append(record(family, variant, mixture(family, quality), list(RANGES["dev"][:episodes]), seeds))
    columns = {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts]))
        for name in ("obs", "action", "action_mask", "reward")
    }
    who = torch.arange(len(QUALITIES)).repeat_interleave(episodes)
    return Episodes(variant, **columns, history=history, horizon=horizon, quality=who)


@torch.no_grad()
def fidelity(
    model: NetWorld, family: Family, variants: Sequence[Variant], episodes: int = 4, rows: int = 2048, steps: int = 10
) -> dict[str, Any]:
    """Compare the model with fresh episodes of train variants.

    Args:
        model: the network.
        family: a family that it knows.
        variants: its variants.
        episodes: fresh episodes a variant and quality.
        rows: agent windows to compare on.
        steps: DDIM steps of the imagined plans.

    Returns:
        `ks`: Kolmogorov-Smirnov distance of imagined and recorded distributions after 1, H / 2 and H slots, for the
        family's `shown` features and the team reward; `reward_nats`: one-step log-likelihood of the two-hot reward, and of
        its marginal distribution; `value`: correlation, slope and bias of predicted against realised discounted return on
        expert episodes, in the family's unit; `top1`: how often inverse dynamics and the behaviour head name the action.
    """
    model.shape(family.name)
    c = model.config
    sources = [fresh_episodes(family, variant, episodes, c.history, c.horizon) for variant in variants]
    batch = WindowSampler(family, sources, torch.Generator().manual_seed(0)).sample(rows)
    seen = encode(model, batch, family.name, c.history + 2)
    behaviour = model.scenario.with_behaviour(seen.scenario, batch.quality)
    world, _ = contexts_at(model, seen, c.history, family.name, behaviour)
    return {
        "ks": _distances(model, family, batch, seen, world, steps),
        "reward_nats": _likelihood(model, family, batch, seen),
        "value": _calibration(model, family, sources),
        "top1": _recognised(model, family, batch, seen, world),
        "rows": len(batch.reward),
    }


def _distances(
    model: NetWorld, family: Family, batch: Windows, seen: Encoded, world: Tensor, steps: int
) -> dict[str, dict[str, float]]:
    """Distances of marginal distributions, by quantity and slots ahead."""
    c, generator = model.config, torch.Generator().manual_seed(1)
    start = torch.randn(len(world), c.horizon * c.latent, generator=generator)
    flat = ddim(lambda x, time: model.denoiser(x, time, world).float(), start, steps, LAST)
    plan = flat.unflatten(-1, (c.horizon, c.latent))
    mean, std = (cast(Tensor, getattr(model.observation, f"{name}_{family.name}")) for name in ("mean", "std"))
    imagined = model.observation.decode(plan, family.name).float() * std + mean
    before = torch.cat([seen.latents[:, c.history].unsqueeze(1).float(), plan[:, :-1]], dim=1)
    scenario = seen.scenario.unsqueeze(1).expand(-1, c.horizon, -1)
    reward = _draw(model, family, model.reward(torch.cat([before, plan, scenario], dim=-1)), generator)
    found: dict[str, dict[str, float]] = {}
    for ahead in (1, c.horizon // 2, c.horizon):
        truth = batch.obs[:, c.history + ahead]
        pairs = {name: (imagined[:, ahead - 1, place], truth[:, place]) for name, place in family.shown.items()}
        pairs["reward"] = (reward[:, ahead - 1], batch.reward[:, c.history + ahead - 1])
        for name, (ours, theirs) in pairs.items():
            distance = float(ks_2samp(ours.numpy(), theirs.numpy()).statistic)
            found.setdefault(name, {})[str(ahead)] = round(distance, 4)
    return found


def _draw(model: NetWorld, family: Family, output: Tensor, generator: torch.Generator) -> Tensor:
    """A reward drawn from the predicted distribution [..., bins], or the predicted number itself."""
    shape = family.reward_range
    if output.shape[-1] == 1:
        return decode(output, *shape)
    bins = torch.linspace(*shape, output.shape[-1])
    drawn = torch.multinomial(output.float().softmax(-1).flatten(0, -2), 1, generator=generator)
    return bins[drawn.squeeze(-1)].view(output.shape[:-1])


def _likelihood(model: NetWorld, family: Family, batch: Windows, seen: Encoded) -> dict[str, float]:
    now = model.config.history
    logits = model.reward(torch.cat([seen.latents[:, now], seen.latents[:, now + 1], seen.scenario], dim=-1))
    if logits.shape[-1] == 1:
        return {}
    code = two_hot(batch.reward[:, now], *family.reward_range, logits.shape[-1])
    marginal = code.mean(0).clamp(min=1e-9).log().expand_as(code)
    return {
        name: round(-float(cross_entropy(guess, code).mean()), 4) for name, guess in (("model", logits), ("marginal", marginal))
    }


def _calibration(model: NetWorld, family: Family, sources: Sequence[Episodes]) -> dict[str, float]:
    """Predicted against realised return of what the expert did, one joint window in eight slots."""
    c, codec = model.config, model.codecs[family.name]
    predicted, realised = [], []
    for source in sources:
        sampler = WindowSampler(family, [source], torch.Generator())
        experts = (source.quality == QUALITIES.index("expert")).nonzero().squeeze(1)
        slots = torch.arange(0, max(1, min(source.starts(), source.length - TAIL)), 8)
        episode, slot = experts.repeat_interleave(len(slots)), slots.repeat(len(experts))
        batch = sampler.windows(source, episode, slot)
        seen = encode(model, batch, family.name, c.history + 2)
        _, value = contexts_at(model, seen, c.history, family.name)
        index = codec.index(batch.action[:, c.history]).unsqueeze(1)
        predicted.append(batch.team_mean(model.critic(value, family.name).gather(1, index).squeeze(1)))
        realised.append(source.returns_to_go(c.discount)[episode, slot] / c.units[family.name])
    ours, truth = (torch.cat(parts).double() for parts in (predicted, realised))
    spread = ours.var().clamp(min=1e-12)
    slope = ((ours - ours.mean()) * (truth - truth.mean())).mean() / spread
    correlation = float(torch.corrcoef(torch.stack([ours, truth]))[0, 1])
    return {
        "correlation": round(correlation, 4),
        "slope": round(float(slope), 4),
        "bias": round(float((ours - truth).mean()), 4),
    }


def _recognised(model: NetWorld, family: Family, batch: Windows, seen: Encoded, world: Tensor) -> dict[str, float]:
    now, codec = model.config.history, model.codecs[family.name]
    mask, truth = batch.action_mask[:, now], codec.index(batch.action[:, now])
    inverse = codec.mask(model.inverse(world, seen.latents[:, now], seen.latents[:, now + 1], family.name), mask)
    guesses = {"inverse_dynamics": inverse, "behaviour_cloning": model.behaviour_logits(world, mask, family.name)}
    return {
        name: round(float((codec.index(codec.mode(logits)) == truth).float().mean()), 4) for name, logits in guesses.items()
    }

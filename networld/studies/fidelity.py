"""How true the world model is: imagined rollouts against episodes that it never saw, and the gates that a planner must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from ...benchmark.data.recorder import mixture, record
from ...benchmark.data.support import record_support
from ...benchmark.data.windows import Episodes, Windows, WindowSampler
from ...benchmark.family import QUALITIES, Family, Variant
from ...benchmark.seeds import FIDELITY_SEEDS
from ...benchmark.site import RANGES
from ...learning.codec import cross_entropy, two_hot
from ...learning.context import SHOTS, WINDOWS, codes
from ..diffusion import LAST, add_noise, ddim
from ..losses import Encoded, contexts_at, encode
from ..model import NetWorld
from ..modules import decode

TAIL = 60  # slots to the end of an episode beyond which a discounted return is complete to 5 %


def fresh_episodes(family: Family, variant: Variant, sites: int, history: int, horizon: int) -> Episodes:
    """Episodes at dev sites, where nobody trained: first one of every quality, then the support of each site."""
    numbers = list(RANGES["dev"][:sites])
    seeds = list(range(FIDELITY_SEEDS, FIDELITY_SEEDS + sites))
    parts = [record(family, variant, mixture(family, quality), numbers, seeds) for quality in QUALITIES]
    parts.append(record_support(family, variant, numbers, max(SHOTS)))
    columns = {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts]))
        for name in ("obs", "action", "action_mask", "reward")
    }
    place, queries = torch.arange(sites), len(QUALITIES) * sites
    site = torch.cat([place.repeat(len(QUALITIES)), place.repeat_interleave(max(SHOTS))])
    medium = torch.full((sites * max(SHOTS),), QUALITIES.index("medium"))
    quality = torch.cat([torch.arange(len(QUALITIES)).repeat_interleave(sites), medium])
    telling = torch.arange(len(site)) >= queries
    return Episodes(variant, **columns, history=history, horizon=horizon, quality=quality, site=site, telling=telling)


@torch.no_grad()
def fidelity(
    model: NetWorld, family: Family, variants: Sequence[Variant], sites: int = 4, rows: int = 2048, steps: int = 10
) -> dict[str, Any]:
    """Compare the model with fresh episodes of train variants at dev sites, of which it has read 0, 1, 5 and 20 others.

    Args:
        model: the network.
        family: a family that it knows.
        variants: its variants.
        sites: dev sites a variant; of each there is an episode of every quality.
        rows: agent windows to compare on.
        steps: DDIM steps of the imagined plans.

    Returns:
        `ks`: Kolmogorov-Smirnov distance of imagined and recorded distributions after 1, H / 2 and H slots, for the
        family's `shown` features and an agent's reward; `value`: correlation, slope and bias of predicted against realised
        discounted return on expert episodes, in the family's unit; `top1`: how often inverse dynamics and the behaviour head
        name the action; all of these after 5 episodes. By number of shots: `reward_nats`, the mean log-likelihood of the
        two-hot reward, beside that of its marginal distribution; `next_latent_error`, the squared error of the next slot's
        latents, denoised from half noise; `behaviour_top1`.
    """
    model.shape(family.name)
    c = model.config
    sources = [fresh_episodes(family, variant, sites, c.history, c.horizon) for variant in variants]
    queries = slice(0, len(QUALITIES) * sites)

    def see(shots: int) -> SeenBatch:
        """The same windows, beside so many other episodes of their sites."""
        sampler = WindowSampler(family, sources, torch.Generator().manual_seed(0))
        batch = sampler.sample(rows, queries, (shots,), WINDOWS)
        site = codes(model.support, batch, family.name, 2)
        encoded = encode(model, batch, family.name, c.history + 2, site)
        behaviour = model.scenario.with_behaviour(encoded.scenario, batch.quality)
        return SeenBatch(batch, site[:, 0], encoded, contexts_at(model, encoded, c.history, behaviour)[0])

    seen = see(5)
    return {
        "ks": _distances(model, family, seen, steps),
        **_by_shots(model, family, {shots: see(shots) for shots in (0, 1, 5, 20)}),
        "value": _calibration(model, family, sources, queries),
        "top1": _recognised(model, family, seen),
        "rows": len(seen.batch.reward),
    }


@dataclass(frozen=True)
class SeenBatch:
    """A batch, codes of its sites [R, S], what the network sees, and its world contexts [R, C]."""

    batch: Windows
    site: Tensor
    encoded: Encoded
    world: Tensor


def _distances(model: NetWorld, family: Family, seen: SeenBatch, steps: int) -> dict[str, dict[str, float]]:
    """Distances of marginal distributions, by quantity and slots ahead."""
    c, name, generator = model.config, family.name, torch.Generator().manual_seed(1)
    batch, world = seen.batch, seen.world
    start = torch.randn(len(world), c.horizon * c.latent, generator=generator)
    flat = ddim(lambda x, time: model.denoiser(x, time, world).float(), start, steps, LAST)
    plan = flat.unflatten(-1, (c.horizon, c.latent))
    mean, std = (cast(Tensor, getattr(model.observation, f"{part}_{name}")) for part in ("mean", "std"))
    imagined = model.observation.decode(plan, name).float() * std + mean
    paid = _draw(model, name, _slot(model, family, seen)[0], generator)
    found: dict[str, dict[str, float]] = {}
    for ahead in (1, c.horizon // 2, c.horizon):
        truth = batch.obs[:, c.history + ahead]
        pairs = {name: (imagined[:, ahead - 1, place], truth[:, place]) for name, place in family.shown.items()}
        if ahead == 1:
            pairs["reward"] = (paid, batch.own_reward[:, c.history])
        for quantity, (ours, theirs) in pairs.items():
            distance = float(ks_2samp(ours.numpy(), theirs.numpy()).statistic)
            found.setdefault(quantity, {})[str(ahead)] = round(distance, 4)
    return found


def _slot(model: NetWorld, family: Family, seen: SeenBatch) -> tuple[Tensor, Tensor]:
    """What the slot model says of what was done 'now': the reward's output and the next latents."""
    now = model.config.history
    code = model.codecs[family.name].encode(seen.batch.action[:, now])
    return model.slot(seen.encoded.latents[:, now], code, seen.encoded.scenario, seen.site, family.name)


def _draw(model: NetWorld, family: str, output: Tensor, generator: torch.Generator) -> Tensor:
    """A reward drawn from the predicted distribution [..., bins], or the predicted number itself."""
    low, high = model.config.own_rewards[family]
    if output.shape[-1] == 1:
        return decode(output, low, high)
    bins = torch.linspace(low, high, output.shape[-1])
    return bins[torch.multinomial(output.float().softmax(-1), 1, generator=generator).squeeze(-1)]


def _by_shots(model: NetWorld, family: Family, seen: dict[int, SeenBatch]) -> dict[str, dict[str, float]]:
    """How well a slot of the world is told; see `fidelity`."""
    found: dict[str, dict[str, float]] = {"reward_nats": {}, "next_latent_error": {}, "behaviour_top1": {}}
    for shots, part in seen.items():
        for name, value in _likelihoods(model, family, part).items():
            found[name][f"{shots} shots"] = round(value, 4)
    c, last = model.config, seen[max(seen)]
    if c.two_hot:
        code = two_hot(last.batch.own_reward[:, c.history], *c.own_rewards[family.name], c.bins)
        marginal = code.mean(0).clamp(min=1e-9).log().expand_as(code)
        found["reward_nats"]["marginal"] = round(-float(cross_entropy(marginal, code).mean()), 4)
    return found


def _likelihoods(model: NetWorld, family: Family, seen: SeenBatch) -> dict[str, float]:
    now, c, batch = model.config.history, model.config, seen.batch
    clean = model.observation(batch.obs[:, now + 1 :], family.name).flatten(1).float()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    time = torch.full((len(clean),), LAST / 2)
    denoised = model.denoiser(add_noise(clean, noise, time), time, seen.world).float()
    wrong = (denoised - clean)[:, : c.latent].square().mean()
    figures = {"next_latent_error": float(wrong), "behaviour_top1": _recognised(model, family, seen)["behaviour_cloning"]}
    if c.two_hot:
        code = two_hot(batch.own_reward[:, now], *c.own_rewards[family.name], c.bins)
        logits, _ = _slot(model, family, seen)
        figures["reward_nats"] = -float(cross_entropy(logits, code).mean())
    return figures


def _calibration(model: NetWorld, family: Family, sources: Sequence[Episodes], queries: slice) -> dict[str, float]:
    """Predicted against realised return of what the expert did, one joint window in eight slots."""
    c, codec = model.config, model.codecs[family.name]
    predicted, realised = [], []
    for source in sources:
        sampler = WindowSampler(family, [source], torch.Generator())
        experts = (source.quality[queries] == QUALITIES.index("expert")).nonzero().squeeze(1)
        slots = torch.arange(0, max(1, min(source.starts(), source.length - TAIL)), 8)
        episode, slot = experts.repeat_interleave(len(slots)), slots.repeat(len(experts))
        batch = sampler.windows(source, episode, slot, shots=5)
        seen = encode(model, batch, family.name, c.history + 2, codes(model.support, batch, family.name, 2))
        _, value = contexts_at(model, seen, c.history)
        index = codec.index(batch.action[:, c.history]).unsqueeze(1)
        shares = model.values(value, seen.prospects[:, 0], 1.0 + batch.others, family.name)
        predicted.append(batch.team_mean(shares.gather(1, index).squeeze(1)))
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


def _recognised(model: NetWorld, family: Family, seen: SeenBatch) -> dict[str, float]:
    now, codec, batch, world = model.config.history, model.codecs[family.name], seen.batch, seen.world
    mask, truth = batch.action_mask[:, now], codec.index(batch.action[:, now])
    inverse = codec.mask(model.inverse(world, *seen.encoded.latents[:, now : now + 2].unbind(1), family.name), mask)
    guesses = {"inverse_dynamics": inverse, "behaviour_cloning": model.behaviour_logits(world, mask, family.name)}
    return {
        name: round(float((codec.index(codec.mode(logits)) == truth).float().mean()), 4) for name, logits in guesses.items()
    }

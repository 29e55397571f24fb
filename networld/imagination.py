"""NetWorld as a world to act in: episodes that start in recorded slots and go on as the denoiser imagines, slot by slot.

The denoiser imagines what follows when those who were recorded play; nobody tells it the action. The action comes in by Bayes'
rule, with what inverse dynamics knows:

    p(z' | history, a)  ~  p(z' | history) p(a | history, z, z')

That is done twice over, as each way alone misses actions that were rarely recorded: the gradient of the last factor's
logarithm guides the sampling of candidates for z' (classifier guidance, Dhariwal and Nichol 2021), and one candidate is drawn
by that factor as its weight (resampling, Rubin 1987).

All of it is told the code of a site, which a few logs of it gave. Agents are imagined side by side, as they plan, and meet
only in their messages, one slot late. What all do *at the same time* is in a candidate as the recorded teams did it, not as
the imagined one does: the farther a policy goes from the recorded ones, the less its imagined return means.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from ..benchmark.acting.environment import describe
from ..benchmark.adapters.arrays import batch_action
from ..benchmark.agent import Support
from ..benchmark.data.windows import Episodes, WindowSampler
from ..benchmark.family import QUALITIES, Family, Info, Variant, check_action
from ..benchmark.randomness import EpisodeRandom, gumbel
from ..benchmark.rollout import mean_field
from ..errors import require
from ..learning.checkpoint import count_parameters, digest
from ..learning.context import site_table
from ..learning.mean_field import read
from .agent import DEFAULT_CHECKPOINT
from .diffusion import LAST, ddim, levels
from .losses import encode
from .model import NetWorld
from .modules import decode


@dataclass(frozen=True)
class ImaginationConfig:
    """How to imagine.

    Attributes:
        slots: of an imagined episode; errors add up from one to the next.
        candidates: next latents drawn for every agent, of which the action chooses one.
        steps: DDIM steps of a candidate.
        scale: strength of the guidance by the action, in latent deviations a unit of log-probability; 0 = none.
        behaviour: recorded quality whose play the candidates continue.
    """

    slots: int = 8
    candidates: int = 4
    steps: int = 3
    scale: float = 0.3
    behaviour: str = "mixed"

    def __post_init__(self) -> None:
        for name in ("slots", "candidates", "steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.scale >= 0, "scale", self.scale, "0 or more")
        require(self.behaviour in QUALITIES, "behaviour", self.behaviour, "one of " + ", ".join(QUALITIES))


class Imagination:
    """A `benchmark.world.World` made of a pretrained NetWorld.

    Args:
        model: the network; never changed.
        config: how to imagine.
    """

    def __init__(self, model: NetWorld, config: ImaginationConfig | None = None) -> None:
        self._model, self._config = copy.deepcopy(model).eval().requires_grad_(False), config or ImaginationConfig()
        self.history, self.source_transitions = model.config.history, model.config.transitions
        self.parameters, self.digest = count_parameters(self._model), digest(self._model)

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""
        return family.name in self._model.config.families

    def imagine(
        self,
        family: Family,
        recorded: Episodes,
        first: int = 0,
        support: Support | None = None,
        slots: int | None = None,
        start: int | None = None,
    ) -> ImaginedEnvironment:
        """Episodes that go on from these recorded ones; see `learning.world.World.imagine`."""
        self._model.shape(family.name)
        site = site_table(self._model.support, family.name, recorded.variant, support)
        config = self._config if slots is None else replace(self._config, slots=slots)
        return ImaginedEnvironment(self._model, config, family, recorded, site, first, start)


class ImaginedEnvironment:
    """Imagined episodes of one variant, a `benchmark.world.Playground`. An episode depends on its number, not on its batch.

    Args:
        model: the network.
        config: how to imagine.
        family: a family that it knows.
        recorded: where episodes start: random slots of these, with `history` slots before them at least.
        site: code of the site, by agent and slot of the period, [N, L, S].
        first: number of the first imagined episode.
        start: slot of the recorded episodes in which all start; None = each in a random one.

    Raises:
        CheckpointError: the network does not know the family.
        InvalidValueError: the recording shows too little history, or has no such slot.
    """

    def __init__(
        self,
        model: NetWorld,
        config: ImaginationConfig,
        family: Family,
        recorded: Episodes,
        site: Tensor,
        first: int = 0,
        start: int | None = None,
    ) -> None:
        model.shape(family.name)
        least = model.config.history
        require(recorded.history >= least, "history of the recording", recorded.history, f"{least} or more")
        if start is not None:
            require(0 <= start < recorded.starts(), "start", start, f"a recorded slot, in [0, {recorded.starts() - 1}]")
        self.family, self._recorded, self._start = family, recorded, start
        self.variant: Variant = replace(recorded.variant, horizon=config.slots)  # type: ignore[type-var]
        self._model, self._config, self._next, self._site = model, config, first, site
        # Channels keep the numbers that they have in play, so nothing is relabelled, and nothing is drawn here.
        self._windows = WindowSampler(replace(family, permute=None), [recorded], torch.Generator()).windows
        self._slot = -1  # before the first reset

    def __repr__(self) -> str:
        slots, logs = self._config.slots, self._recorded.count
        where = "at random slots" if self._start is None else f"at slot {self._start}"
        return f"ImaginedEnvironment({describe(self.family, self.variant)}; {slots} slots, from {logs} logged episodes {where})"

    @torch.no_grad()
    def reset(self, episodes: int) -> tuple[Tensor, Info]:
        """Start the next episodes in recorded slots; see `benchmark.world.Playground.reset`."""
        require(episodes >= 1, "episodes", episodes, "1 or more")
        first, self._next, self._slot = self._next, self._next + episodes, 0
        c, device, family = self._model.config, next(self._model.parameters()).device, self.family.name
        self._random = EpisodeRandom(f"{self.variant.name} imagined", [0] * episodes, range(first, self._next), device)
        place = self._random.uniform(2).cpu()
        episode = (place[:, 0] * self._recorded.count).long()
        slot = (place[:, 1] * self._recorded.starts()).long() if self._start is None else torch.full_like(episode, self._start)
        batch = self._windows(self._recorded, episode, slot).to(device)
        now = self._recorded.history
        self._begun, self._agent = batch.slot, batch.agent
        seen = encode(self._model, batch, family, now + 1, self._code().unsqueeze(1))
        self._latents = seen.latents[:, now + 1 - c.history : now + 1].float()
        self._inboxes = seen.inboxes[:, now + 1 - c.history : now + 1].float()
        self._scenario, self._mask = seen.scenario, batch.action_mask[:, now]
        quality = torch.full((len(self._scenario),), QUALITIES.index(self._config.behaviour), device=device)
        self._recorded_behaviour = self._model.scenario.with_behaviour(seen.scenario, quality)
        self._ever = batch.action_mask.flatten(0, 1).any(0)  # choices that the variant has at all
        self._rows = torch.arange(len(self._scenario), device=device)
        past = self._by_agent(batch.obs[:, :now]).movedim(2, 0)
        return self._by_agent(batch.obs[:, now]), {**self._info(), "past": past, "begun": torch.stack([episode, slot], 1)}

    @torch.no_grad()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Imagine one slot in which the agents do this, tensors or arrays; see `learning.world.Playground.step`."""
        require(self._slot >= 0, "step", "before reset", "after it: obs, info = env.reset(episodes)")
        require(self._slot < self._config.slots, "step", self._slot, f"below the horizon {self._config.slots}; reset first")
        model, n = self._model, self.variant.agents
        wanted = check_action(batch_action(self.family, action), self.family.actions, len(self._rows) // n, n).flatten(0, 1)
        here = self._latents[:, -1]
        following = self._follow(here, wanted)
        code = model.codecs[self.family.name].encode(wanted)
        reward, _ = model.slot(here, code, self._scenario, self._code(), self.family.name)
        paid = decode(reward, *model.config.own_rewards[self.family.name])
        self._deliver(here, following)
        obs = self._observe(following)
        if self.family.choice is not None:
            self._mask = self._ever.repeat(len(obs), 1)
            self._mask[:, 1:] &= (obs[:, self.family.choice] > 0.5).unsqueeze(-1)
        self._slot += 1
        over = torch.zeros(len(obs) // n, dtype=torch.bool, device=obs.device)
        truncated = torch.full_like(over, self._slot == self._config.slots)
        return self._by_agent(obs), self._by_agent(paid), over, truncated, self._info()

    def _follow(self, here: Tensor, action: Tensor) -> Tensor:
        """Latents of the next slot [R, D], after latents `here` [R, D] and actions [R, ...]."""
        model, config, n = self._model, self._config, self.variant.agents
        c, codec = model.config, model.codecs[self.family.name]
        prospects = model.prospects(here, self._scenario, self._code(), self.family.name)
        told = model.told(self._code(), prospects, self.family.name)
        context, _ = model.contexts(self._latents, self._inboxes, self._scenario, told, self._recorded_behaviour)
        context = context.unsqueeze(1)
        code, mask = codec.encode(action).unsqueeze(1), self._mask.unsqueeze(1)

        def weigh(candidates: Tensor) -> Tensor:
            """Log-probability [R, K] of the action, given that it leads to candidates [R, K, D]."""
            before = here.unsqueeze(1).expand_as(candidates)
            return codec.log_prob(codec.mask(model.inverse(context, before, candidates, self.family.name), mask), code)

        def denoise(noisy: Tensor, time: Tensor) -> Tensor:
            clean = model.denoiser(noisy, time, context).float()
            if config.scale:
                with torch.enable_grad():
                    candidates = clean[..., : c.latent].detach().requires_grad_(True)
                    (gradient,) = torch.autograd.grad(weigh(candidates).sum(), candidates)
                clean[..., : c.latent] += config.scale * levels(time)[1].square().unsqueeze(-1) * gradient
            return clean

        start = self._random.draw().normal(self._rows, n, config.candidates, c.horizon * c.latent)
        candidates = ddim(denoise, start, config.steps, LAST)[..., : c.latent]  # the first slot of each plan
        uniform = self._random.draw().uniform(self._rows, n, config.candidates)
        chosen = (weigh(candidates) + gumbel(uniform)).argmax(-1)
        return candidates[self._rows, chosen]

    def _code(self) -> Tensor:
        """Codes [R, S] of the site, for each agent and the present slot."""
        return self._site[self._agent, (self._begun + self._slot) % self._site.shape[1]]

    def _deliver(self, here: Tensor, following: Tensor) -> None:
        """Move to the next slot [R, D], and deliver what was said in this one."""
        inbox = mean_field(self._by_agent(self._model.mean_field.message(here))).flatten(0, 1)
        heard = read(inbox, torch.tensor(self.variant.agents - 1.0, device=here.device))
        self._latents = torch.cat([self._latents[:, 1:], following.unsqueeze(1)], dim=1)
        self._inboxes = torch.cat([self._inboxes[:, 1:], heard.unsqueeze(1)], dim=1)

    def _observe(self, latent: Tensor) -> Tensor:
        """Observations [R, O] that latents [R, D] stand for."""
        network, family = self._model.observation, self.family.name
        mean, std = (cast(Tensor, getattr(network, f"{name}_{family}")) for name in ("mean", "std"))
        return network.decode(latent, family).float() * std + mean

    def _by_agent(self, x: Tensor) -> Tensor:
        """[B * N, ...] -> [B, N, ...]."""
        return x.unflatten(0, (-1, self.variant.agents))

    def _info(self) -> Info:
        mask = self._by_agent(self._mask)
        return {"action_mask": mask, "agent_mask": torch.ones_like(mask[..., 0])}


def build(checkpoint: str | None, device: str) -> Imagination:
    """The world from a checkpoint: a packaged name, a folder or a Hub id."""
    return Imagination(NetWorld.from_pretrained(checkpoint or DEFAULT_CHECKPOINT).to(device))

"""The parts of NetWorld, each one mechanism: scenario encoder, shared latents, mean field, context, denoiser, heads."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..benchmark.family import QUALITIES, FamilyShape
from ..learning.codec import cross_entropy, expectation, two_hot
from ..learning.context import EVIDENCE
from ..learning.modules import Standardiser, mlp
from .config import DenoiserKind, NetWorldConfig

SPAN = 32.0  # outputs from the least number to the greatest, so that a gradient step moves one about as far as a two-hot mean
REGRESSION = 50.0  # weight of squared errors relative to the range, so that they count about as much as cross-entropies


def decode(output: Tensor, low: float, high: float) -> Tensor:
    """The number [...] that a head's output [..., bins] (two-hot logits) or [..., 1] (regression) stands for."""
    if output.shape[-1] > 1:
        return expectation(output, low, high)
    return low + (high - low) * (0.5 + output.squeeze(-1).float() / SPAN)


def miss(output: Tensor, target: Tensor, low: float, high: float) -> Tensor:
    """Loss [...] of a head's output for targets [...]: cross-entropy of two-hot codes, or a squared error."""
    if output.shape[-1] > 1:
        return cross_entropy(output, two_hot(target, low, high, output.shape[-1]))
    return ((decode(output, low, high) - target) / (high - low)).square() * REGRESSION


class UnitRms(nn.RMSNorm):
    """Root-mean-square norm in float32, also where bfloat16 comes in."""

    def forward(self, x: Tensor) -> Tensor:
        """Any [..., D] -> float32 [..., D]."""
        return super().forward(x.float())


class ScenarioEncoder(nn.Module):
    """A variant's public descriptor -> embedding [.., E]; lets an unseen variant work at zero shots.

    What is *done* in a scenario depends on who acts: `with_behaviour` adds the quality of the recording. Values see it
    where they are behaviour-conditioned alone: others would take the traces of a better behaviour for effects of an action.

    The first layer starts at zero, so that a descriptor that never varied in training has no effect, rather than a random one.
    """

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.stems = nn.ModuleDict()
        for name, shape in config.families.items():
            stem = nn.Linear(shape.descriptor_size, 64)
            nn.init.zeros_(stem.weight)
            self.stems[name] = stem
        self.trunk = nn.Sequential(nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, config.embedding))
        self.qualities = nn.Embedding(len(QUALITIES), config.embedding)

    def forward(self, descriptor: Tensor, family: str) -> Tensor:
        """Descriptors [..., D] -> embeddings [..., E]."""
        return self.trunk(self.stems[family](descriptor))

    def with_behaviour(self, scenario: Tensor, quality: Tensor) -> Tensor:
        """Embeddings [..., E] of scenarios played by these qualities [...] (indices into `QUALITIES`)."""
        return scenario + self.qualities(quality)


class ObservationEncoder(Standardiser):
    """Family-specific standardiser and stem -> shared trunk -> latent of unit root mean square, and back."""

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__({name: shape.obs_size for name, shape in config.families.items()})
        self.stems, self.readouts = nn.ModuleDict(), nn.ModuleDict()
        for name, shape in config.families.items():
            self.stems[name] = nn.Linear(shape.obs_size, config.stem)
            self.readouts[name] = mlp(config.latent, config.stem, shape.obs_size)
        self.shared = config.shared_latents
        self.trunks = nn.ModuleDict({name: _trunk(config) for name in (("shared",) if self.shared else config.families)})

    def forward(self, obs: Tensor, family: str) -> Tensor:
        """Observations [..., O] -> latents [..., D]."""
        trunk = self.trunks["shared" if self.shared else family]
        return trunk(self.stems[family](self.standardise(obs, family)))

    def decode(self, latent: Tensor, family: str) -> Tensor:
        """Latents [..., D] -> standardised observations [..., O]."""
        return self.readouts[family](latent)


def _trunk(config: NetWorldConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(config.stem), nn.SiLU(), mlp(config.stem, config.stem, config.latent), UnitRms(config.latent)
    )


class MeanField(nn.Module):
    """What an agent broadcasts; how an inbox is read, see `learning.mean_field.read`."""

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.latent, config.message)

    def message(self, latent: Tensor) -> Tensor:
        """Latents [..., D] -> messages [..., M] in (-1, 1)."""
        return torch.tanh(self.project(latent).float())


class ContextEncoder(nn.Module):
    """Latent history, inbox history (if it `hears`), scenario and site code -> context vector."""

    def __init__(self, config: NetWorldConfig, hears: bool) -> None:
        super().__init__()
        self.hears = hears
        inputs = config.history * (config.latent + 2 * config.message) + config.embedding + config.site + config.told_pay
        self.net = nn.Sequential(mlp(inputs, config.context, config.context), nn.LayerNorm(config.context), nn.SiLU())

    def forward(self, latents: Tensor, inboxes: Tensor, told: Tensor) -> Tensor:
        """Latents [..., L, D], inbox features [..., L, 2 M], scenario and site [..., E + S] -> [..., C]."""
        if not self.hears:
            inboxes = torch.zeros_like(inboxes)
        return self.net(torch.cat([latents.flatten(-2), inboxes.flatten(-2), told], dim=-1))


class NoiseEmbedding(nn.Module):
    """Diffusion time in [0, 1] -> features [..., size]: sines of octaves, then a small network."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("octaves", 2.0 ** torch.arange(8) * math.pi, persistent=False)
        self.net = mlp(16, size, size)

    def forward(self, time: Tensor) -> Tensor:
        """Times [...] -> [..., size]."""
        angles = time.unsqueeze(-1) * cast(Tensor, self.octaves)
        return self.net(torch.cat([angles.sin(), angles.cos()], dim=-1))


class Denoiser(nn.Module):
    """Predicts the clean plan from a noisy one: residual MLP on the flattened window, conditioned by adaptive layer norm.

    One token an agent. All agents, episodes and candidates are rows of one batch; they meet only through the context's inbox.
    """

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.window, width = config.horizon * config.latent, config.width
        self.enter = nn.Linear(self.window, width)
        self.time = NoiseEmbedding(config.context)
        self.modulate = nn.ModuleList(nn.Linear(config.context, 3 * width) for _ in range(config.blocks))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, self.window)
        for layer in self.modulate:
            nn.init.zeros_(cast(nn.Linear, layer).weight)
            nn.init.zeros_(cast(nn.Linear, layer).bias)

    def forward(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Noisy plans [..., H D], times [...], contexts [..., C] (broadcastable) -> clean plans [..., H D]."""
        condition = nn.functional.silu(context + self.time(time))
        x = self.enter(noisy)
        for modulate, block in zip(self.modulate, self.blocks, strict=True):
            shift, scale, gate = modulate(condition).chunk(3, dim=-1)
            x = x + (1 + gate) * block(self.norm(x) * (1 + scale) + shift)
        return self.leave(self.norm(x))


class SlotDenoiser(nn.Module):
    """The same from a token a slot: a small diffusion transformer with adaptive layer norm (Peebles and Xie 2023)."""

    HEADS = 4

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.shape, width = (config.horizon, config.latent), config.width // 2
        self.enter = nn.Linear(config.latent, width)
        self.place = nn.Parameter(torch.randn(config.horizon, width) * 0.02)
        self.time = NoiseEmbedding(config.context)
        self.modulate = nn.ModuleList(nn.Linear(config.context, 6 * width) for _ in range(config.blocks))
        self.attend = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(config.blocks))
        self.merge = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, config.latent)
        for layer in self.modulate:
            nn.init.zeros_(cast(nn.Linear, layer).weight)
            nn.init.zeros_(cast(nn.Linear, layer).bias)

    def forward(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Noisy plans [..., H D], times [...], contexts [..., C] (broadcastable) -> clean plans [..., H D]."""
        condition = nn.functional.silu(context + self.time(time)).unsqueeze(-2)
        x = self.enter(noisy.unflatten(-1, self.shape)) + self.place
        for modulate, attend, merge, block in zip(self.modulate, self.attend, self.merge, self.blocks, strict=True):
            shift, scale, gate, shift_out, scale_out, gate_out = modulate(condition).chunk(6, dim=-1)
            heads = attend(self.norm(x) * (1 + scale) + shift).unflatten(-1, (3, self.HEADS, -1)).movedim(-4, -2)
            mixed = nn.functional.scaled_dot_product_attention(*heads.unbind(-4))
            x = x + (1 + gate) * merge(mixed.transpose(-3, -2).flatten(-2))
            x = x + (1 + gate_out) * block(self.norm(x) * (1 + scale_out) + shift_out)
        return self.leave(self.norm(x)).flatten(-2)


class DirectPredictor(Denoiser):
    """The mean plan at once, whatever the noise: the control of the same size that is no diffusion model."""

    def forward(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """As `Denoiser`, but of the context alone."""
        return super().forward(torch.zeros_like(noisy), torch.zeros_like(time), context)


DENOISERS: dict[DenoiserKind, type[nn.Module]] = {"window": Denoiser, "slots": SlotDenoiser, "direct": DirectPredictor}


class PlanClassifier(nn.Module):
    """Noisy plan, diffusion time, context -> two-hot logits of the value of the plan's first action.

    Its target is the Bellman value Q(history, action), an expectation over what the agents cannot control, never the realised
    return: a score on the imagined outcome would reward luck.
    """

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.time = NoiseEmbedding(config.context)
        self.plan = nn.Linear(config.horizon * config.latent, config.context)
        self.net = nn.Sequential(nn.LayerNorm(config.context), nn.SiLU(), mlp(config.context, config.head, config.outputs))

    def forward(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Noisy plans [..., H D], times [...], contexts [..., C] -> output of a number's head."""
        return self.net(self.plan(noisy) + context + self.time(time))


class Critic(nn.Module):
    """Context -> an agent's share Q(history, action) of the team's value, for every action of the table.

    The team's value is the *mean* of the agents' shares: additive, so that what one agent did is not credited to another that
    did the same at the same time, and the team's best policy near the recorded one is each agent's own. See `losses.targets`.
    """

    def __init__(self, config: NetWorldConfig, numbers: dict[str, int]) -> None:
        super().__init__()
        self.act = nn.Sequential(nn.Linear(config.context, config.head), nn.LayerNorm(config.head), nn.SiLU())
        self.state = nn.ModuleDict({name: nn.Linear(config.head, config.outputs) for name in numbers})
        self.advantage = nn.ModuleDict({name: nn.Linear(config.head, number) for name, number in numbers.items()})
        self.range = config.values

    def forward(self, context: Tensor, family: str) -> Tensor:
        """Contexts [..., C] -> [..., number of actions] in the family's unit."""
        hidden = self.act(context)
        state = decode(self.state[family](hidden), *self.range[family])
        return state.unsqueeze(-1) + self.advantage[family](hidden).float()


class InverseDynamics(nn.Module):
    """Context, current latent and planned next latent -> logits of the action that leads from one to the other."""

    def __init__(self, config: NetWorldConfig, action_sizes: dict[str, int]) -> None:
        super().__init__()
        self.context = nn.Linear(config.context, config.head)
        self.latents = nn.Linear(2 * config.latent, config.head)
        self.act = nn.Sequential(nn.LayerNorm(config.head), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(config.head, size) for name, size in action_sizes.items()})

    def forward(self, context: Tensor, latent: Tensor, following: Tensor, family: str) -> Tensor:
        """Contexts [..., C] (broadcastable), latents [..., D] -> logits [..., size]."""
        hidden = self.context(context) + self.latents(torch.cat([latent, following], dim=-1))
        return self.heads[family](self.act(hidden))


class SlotModel(nn.Module):
    """One slot of one agent: what it is paid, charges included, and what it sees next, by what it sees and does at a site.

    A plain one-step model. It trains the support encoder, tells value and policy what each action would pay, and its next
    latents are the control of the denoiser's. Of a site it is told the agent's token, and the evidence of the action and of
    the kinds of events that go with it.
    """

    def __init__(self, config: NetWorldConfig, action_sizes: dict[str, int]) -> None:
        super().__init__()
        self.table = config.site
        width = config.slot
        self.acted = nn.ModuleDict({name: nn.Linear(size, width) for name, size in action_sizes.items()})
        self.seen = nn.Linear(config.latent + config.embedding + config.site, width)
        kinds = config.encoder.EVENTS
        self.events = nn.ModuleDict({name: nn.Linear(size, kinds) for name, size in action_sizes.items() if kinds})
        self.evidence = nn.Linear(EVIDENCE, width, bias=False)
        self.trunk = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.pay = nn.Linear(width, config.outputs)
        self.following = nn.Linear(width, config.latent)

    def forward(self, latent: Tensor, code: Tensor, scenario: Tensor, site: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Outputs of the reward's head [..., bins] and next latents [..., D].

        Args:
            latent: of what is seen, [..., D].
            code: of what is done, [..., size]; or of several things each, [..., number, size].
            scenario: embedding, [..., E].
            site: what is read of the site, [..., S].
            family: its name.
        """
        seen = self.seen(torch.cat([latent, scenario, site[..., : self.table]], dim=-1))
        several = code.dim() > latent.dim()
        hidden = self.acted[family](code) + (seen.unsqueeze(-2) if several else seen)
        if self.table:
            kinds = torch.cat([code, self.events[family](code)], dim=-1) if self.events else code
            known = site[..., self.table :].unflatten(-1, (kinds.shape[-1], EVIDENCE))
            hidden = hidden + self.evidence(kinds @ known if several else (kinds.unsqueeze(-2) @ known).squeeze(-2))
        hidden = self.trunk(hidden)
        return self.pay(hidden), self.following(hidden)


def action_sizes(families: dict[str, FamilyShape]) -> dict[str, int]:
    """Length of an action code, by family."""
    return {name: sum(component.size for component in shape.actions) for name, shape in families.items()}

"""The parts of NetWorld, each one mechanism: scenario encoder, shared latents, mean field, context, denoiser, heads."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..benchmark.family import FamilyShape
from .config import NetWorldConfig


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, norm, SiLU, linear: the one small network used everywhere."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs))


class UnitRms(nn.RMSNorm):
    """Root-mean-square norm in float32, also where bfloat16 comes in."""

    def forward(self, x: Tensor) -> Tensor:
        """Any [..., D] -> float32 [..., D]."""
        return super().forward(x.float())


class ScenarioEncoder(nn.Module):
    """A variant's public descriptor and an ambition -> embedding [.., E]; lets an unseen variant work at zero shots.

    The ambition is the rank that an episode should have among those recorded. Recorded behaviours differ widely; told which
    rank an episode had, the network need not mistake the traces of a better behaviour for the effects of an action.

    The first layer starts at zero, so that a descriptor that never varied in training has no effect, rather than a random one.
    """

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.stems = nn.ModuleDict()
        for name, shape in config.families.items():
            stem = nn.Linear(shape.descriptor_size + 1, 64)
            nn.init.zeros_(stem.weight)
            self.stems[name] = stem
        self.trunk = nn.Sequential(nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, config.embedding))

    def forward(self, descriptor: Tensor, ambition: Tensor, family: str) -> Tensor:
        """Descriptors [..., D] and ambitions [...] in [0, 1] -> embeddings [..., E]."""
        return self.trunk(self.stems[family](torch.cat([descriptor, 2.0 * ambition.unsqueeze(-1) - 1.0], dim=-1)))


class ObservationEncoder(nn.Module):
    """Family-specific standardiser and stem -> shared trunk -> latent of unit root mean square, and back."""

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.stems, self.readouts = nn.ModuleDict(), nn.ModuleDict()
        for name, shape in config.families.items():
            self.stems[name] = nn.Linear(shape.obs_size, config.stem)
            self.readouts[name] = mlp(config.latent, config.stem, shape.obs_size)
            self.register_buffer(f"mean_{name}", torch.zeros(shape.obs_size))
            self.register_buffer(f"std_{name}", torch.ones(shape.obs_size))
        self.trunk = nn.Sequential(
            nn.LayerNorm(config.stem), nn.SiLU(), mlp(config.stem, config.stem, config.latent), UnitRms(config.latent)
        )

    def fit(self, obs: Tensor, family: str) -> None:
        """Set the standardiser from observations [R, O]; features that never vary are left as they are."""
        std = obs.std(0)
        cast(Tensor, getattr(self, f"mean_{family}")).copy_(obs.mean(0))
        cast(Tensor, getattr(self, f"std_{family}")).copy_(torch.where(std > 1e-4, std, 1.0))

    def standardise(self, obs: Tensor, family: str) -> Tensor:
        """Observations [..., O] with zero mean and unit deviation over the source data."""
        return (obs - getattr(self, f"mean_{family}")) / getattr(self, f"std_{family}")

    def forward(self, obs: Tensor, family: str) -> Tensor:
        """Observations [..., O] -> latents [..., D]."""
        return self.trunk(self.stems[family](self.standardise(obs, family)))

    def decode(self, latent: Tensor, family: str) -> Tensor:
        """Latents [..., D] -> standardised observations [..., O]."""
        return self.readouts[family](latent)


class MeanField(nn.Module):
    """What an agent broadcasts, and how it reads its inbox.

    The inbox is the others' mean. How *many* of them are in some state is often what counts, so it is read twice: as it is, and
    scaled by the number of others and squashed.
    """

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.latent, config.message)

    def message(self, latent: Tensor) -> Tensor:
        """Latents [..., D] -> messages [..., M] in (-1, 1)."""
        return torch.tanh(self.project(latent).float())

    @staticmethod
    def read(inbox: Tensor, others: Tensor) -> Tensor:
        """Inbox [..., M] and the number of other agents (broadcastable) -> features [..., 2 M]."""
        total = inbox * others
        return torch.cat([inbox, total / (1.0 + total.abs())], dim=-1)


class Context(nn.Module):
    """Latent history, inbox history and scenario -> context vector, with an adapter for few-shot adaptation."""

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        inputs = config.history * (config.latent + 2 * config.message) + config.embedding
        self.net = nn.Sequential(mlp(inputs, config.context, config.context), nn.LayerNorm(config.context), nn.SiLU())
        self.scale = nn.Parameter(torch.zeros(config.context))
        self.shift = nn.Parameter(torch.zeros(config.context))

    def forward(self, latents: Tensor, inboxes: Tensor, scenario: Tensor) -> Tensor:
        """Latents [..., L, D], inbox features [..., L, 2 M], scenario [..., E] -> [..., C]."""
        context = self.net(torch.cat([latents.flatten(-2), inboxes.flatten(-2), scenario], dim=-1))
        return context * (1 + self.scale) + self.shift


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


class PlanClassifier(nn.Module):
    """Noisy plan, diffusion time, context -> two-hot logits of the value of the plan's first action.

    Its target is the Bellman value Q(history, action), an expectation over what the agents cannot control, never the realised
    return: a score on the imagined outcome would reward luck.
    """

    def __init__(self, config: NetWorldConfig) -> None:
        super().__init__()
        self.time = NoiseEmbedding(config.context)
        self.plan = nn.Linear(config.horizon * config.latent, config.context)
        self.net = nn.Sequential(nn.LayerNorm(config.context), nn.SiLU(), mlp(config.context, config.head, config.bins))

    def forward(self, noisy: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Noisy plans [..., H D], times [...], contexts [..., C] -> [..., bins]."""
        return self.net(self.plan(noisy) + context + self.time(time))


class Critic(nn.Module):
    """Context and action code -> two-hot logits of the value of the improved policy, Q(history, action)."""

    def __init__(self, config: NetWorldConfig, action_sizes: dict[str, int]) -> None:
        super().__init__()
        self.context = nn.Linear(config.context, config.head)
        self.actions = nn.ModuleDict({name: nn.Linear(size, config.head, bias=False) for name, size in action_sizes.items()})
        self.net = nn.Sequential(nn.LayerNorm(config.head), nn.SiLU(), nn.Linear(config.head, config.bins))

    def forward(self, context: Tensor, code: Tensor, family: str) -> Tensor:
        """Contexts [..., C] and codes [..., size] (broadcastable) -> [..., bins]."""
        return self.net(self.context(context) + self.actions[family](code))


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


def action_sizes(families: dict[str, FamilyShape]) -> dict[str, int]:
    """Length of an action code, by family."""
    return {name: sum(component.size for component in shape.actions) for name, shape in families.items()}

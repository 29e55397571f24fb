"""Network parts that the learning baselines share: what an agent sees as one vector, a trunk for all families, value heads.

Parameters are shared by all agents and families; an agent tells itself apart by its identity, a variant by its descriptor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ...benchmark.data.windows import Windows
from ...benchmark.family import Family, FamilyShape, Variant
from ...learning.codec import ActionCodec

OCTAVES = 3
IDENTITY = 1 + 2 * OCTAVES  # length of an agent's identity


@dataclass(frozen=True)
class AgentView:
    """What agents decide on; any leading shape of episodes, agents and slots.

    Attributes:
        history: own last observations, the current one last, [..., L, O]; zero before the episode's start.
        descriptor: the variant's public description, [..., D].
        identity: which of the agents it is, [..., IDENTITY].
        site: what logs say of the site, for this agent and slot, [..., S]; empty where no logs are read.
    """

    history: Tensor
    descriptor: Tensor
    identity: Tensor
    site: Tensor

    def seen(self) -> Tensor:
        """What was observed, is public and was read as one vector, [..., L O + D + S]."""
        return torch.cat([self.history.flatten(-2), self.descriptor, self.site], dim=-1)

    def features(self) -> Tensor:
        """All of it as one vector, [..., input_size]."""
        return torch.cat([self.seen(), self.identity], dim=-1)

    def earlier(self) -> AgentView:
        """Without the last slot: [R, S, ...] -> [R, S - 1, ...]."""
        return AgentView(*(part[:, :-1] for part in vars(self).values()))

    def later(self) -> AgentView:
        """Without the first slot: [R, S, ...] -> [R, S - 1, ...]."""
        return AgentView(*(part[:, 1:] for part in vars(self).values()))


def input_size(shape: FamilyShape, history: int, site: int = 0) -> int:
    """Length of `AgentView.features`."""
    return history * shape.obs_size + shape.descriptor_size + site + IDENTITY


def identity(index: Tensor, agents: Tensor) -> Tensor:
    """Index / N of agents [...], with sines and cosines of one, two and four turns around all agents: [..., IDENTITY]."""
    place = (index / agents).unsqueeze(-1)
    angles = place * (2.0 * math.pi * 2.0 ** torch.arange(OCTAVES, device=place.device))
    return torch.cat([place, angles.sin(), angles.cos()], dim=-1)


def agent_views(batch: Windows, history: int, site: Tensor) -> AgentView:
    """The views of all rows at every slot that has `history - 1` slots before it, with codes [R, W - history + 1, S]."""
    whoami = identity(batch.agent, batch.others + 1)
    seen = batch.obs.unfold(1, history, 1).transpose(-1, -2)
    slots = seen.shape[1]
    return AgentView(
        seen,
        batch.descriptor.unsqueeze(1).expand(-1, slots, -1),
        whoami.unsqueeze(1).expand(-1, slots, -1),
        site,
    )


def first_view(family: Family, variant: Variant, history: int, batch: int, device: torch.device) -> AgentView:
    """The view before anything was seen, [B, N]; see `next_view`."""
    agents = torch.tensor(variant.agents, device=device)
    shape = (batch, variant.agents)
    return AgentView(
        torch.zeros(*shape, history, family.obs_size, device=device),
        torch.tensor(variant.descriptor(), device=device).expand(*shape, -1),
        identity(torch.arange(variant.agents, device=device), agents).expand(*shape, -1),
        torch.zeros(*shape, 0, device=device),
    )


def next_view(view: AgentView, obs: Tensor, site: Tensor | None = None) -> AgentView:
    """The view one slot later, with the observations [B, N, O] and site codes [N, S] of that slot; None = as before."""
    history = torch.cat([view.history[..., 1:, :], obs.unsqueeze(-2)], dim=-2)
    return replace(view, history=history, site=view.site if site is None else site.expand(*obs.shape[:2], -1))


def table_mask(codec: ActionCodec, mask: Tensor) -> Tensor:
    """Which rows of an action table are allowed, [..., number], from an action mask [..., A]."""
    number = math.prod(component.size for component in codec.components)
    return mask.repeat_interleave(number // mask.shape[-1], -1)


class Trunk(nn.Module):
    """A linear stem for each family, then layers shared by all: features [..., input_size] -> [..., hidden].

    Layer norm keeps values from running away under bootstrapping (Ball et al., RLPD, 2023).

    Args:
        inputs: length of the features of each family.
        hidden: width.
        layers: shared layers.
    """

    def __init__(self, inputs: Mapping[str, int], hidden: int, layers: int = 2) -> None:
        super().__init__()
        self.stems = nn.ModuleDict({name: nn.Linear(size, hidden) for name, size in inputs.items()})
        shared: list[nn.Module] = [nn.LayerNorm(hidden), nn.SiLU()]
        for _ in range(layers):
            shared += [nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.SiLU()]
        self.shared = nn.Sequential(*shared)

    def forward(self, features: Tensor, family: str) -> Tensor:
        """Features [..., input_size] of a family -> [..., hidden]."""
        return self.shared(self.stems[family](features))


class Dueling(nn.Module):
    """Value of a state plus centred advantages of the actions (Wang et al. 2016): [..., hidden] -> [..., actions]."""

    def __init__(self, hidden: int, actions: int) -> None:
        super().__init__()
        self.both = nn.Linear(hidden, 1 + actions)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden [..., hidden] -> values of the actions [..., actions], in float32."""
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round away what one action is better by
            both = self.both(x.float())
        advantage = both[..., 1:]
        return both[..., :1] + advantage - advantage.mean(-1, keepdim=True)


def orthogonal(module: nn.Module, gain: float) -> None:
    """Orthogonal weights and zero biases for every linear layer in a module (Saxe et al. 2014)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)


class Critic(nn.Module):
    """The value of each agent's own return in the state of all: own features, beside the mean of everybody's.

    A mean does not depend on the order of the agents and takes any number of them (Zaheer et al., 'Deep sets', NeurIPS 2017).
    Own features beside the shared state are the agent-specific global state of Yu et al., section 5.2.
    """

    def __init__(self, inputs: dict[str, int], hidden: int, layers: int) -> None:
        super().__init__()
        self.encoder = Trunk(inputs, hidden, layers=0)
        self.join = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.SiLU())
        rest = [module for _ in range(layers - 1) for module in (nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.SiLU())]
        self.rest = nn.Sequential(*rest)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, 1) for name in inputs})
        orthogonal(self, math.sqrt(2.0))
        orthogonal(self.heads, 1.0)

    def forward(self, features: Tensor, agents: Tensor, family: str) -> Tensor:
        """Features [R, I] of frames with so many agents [F] -> values [R]."""
        own, head = self.encoder(features, family), self.heads[family]
        frame = torch.arange(len(agents), device=own.device).repeat_interleave(agents)
        exact = own.to(head.weight.dtype)  # sums over agents are not left to bfloat16
        mean = exact.new_zeros(len(agents), own.shape[-1]).index_add(0, frame, exact) / agents.unsqueeze(-1)
        first = self.join[0]
        assert isinstance(first, nn.Linear)
        to_own, to_mean = first.weight.split(own.shape[-1], dim=1)
        team = linear(mean.to(own.dtype), to_mean, first.bias)  # alike for all agents of a frame: once is enough
        hidden = self.rest(self.join[1:](linear(own, to_own) + team.index_select(0, frame)))
        with torch.autocast(hidden.device.type, enabled=False):
            return head(hidden.to(head.weight.dtype)).squeeze(-1)

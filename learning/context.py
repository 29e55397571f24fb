"""What a few logged episodes say of a place: the support encoder, which all learners share.

Joint logs become tokens, one an agent and slot: what it saw, did, got, and saw next. Tokens of the same slot of the period are
averaged over episodes, so that the order of the episodes does not matter and any number of them will do (Zaheer et al., Deep
Sets, NeurIPS 2017). What is left is a set of tokens, one an agent and slot of the period; a graph network over the agents,
whose edges are how one's tokens and the other's go together in time, and a convolution round the period make the *site code*
of them. An agent that acts reads the tokens of its own and of the slots ahead; nothing of the log itself is needed any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..benchmark.agent import Support
from ..benchmark.data.context import Context
from ..benchmark.data.windows import Windows, WindowSampler
from ..benchmark.family import FamilyShape, Variant
from .codec import ActionCodec
from .modules import Standardiser, mlp

SHOTS = (0, 1, 2, 5, 10, 20)  # episodes that a context of training holds
WINDOWS = 8  # of an episode that share a context in training
AHEAD = tuple(range(-2, 8))  # slots of the period that are read beside the own one
FEW = 4.0  # agents whose influences on one are of order 1


@dataclass(frozen=True)
class SiteCode:
    """What is known of P sites.

    Attributes:
        table: a token an agent and slot of the period, [P, N, L, D].
        period: slots of each site's period, [P]; the tokens after it mean nothing.
    """

    table: Tensor
    period: Tensor

    def read(self, place: Tensor, agent: Tensor, slot: Tensor) -> Tensor:
        """Codes [..., D] of agents at slots of the episode at places, all [...]."""
        return self.table[place, agent, slot % self.period[place]]

    def of(self, batch: Windows, slots: int) -> Tensor:
        """Codes [R, slots, D] of a batch's rows, at its current slot and those after it."""
        assert batch.context is not None
        place = batch.context.place[batch.group].unsqueeze(1)
        slot = batch.slot.unsqueeze(1) + torch.arange(slots, device=batch.slot.device)
        return self.read(place, batch.agent.unsqueeze(1), slot)


class SupportEncoder(nn.Module):
    """Logs of sites -> `SiteCode`. No logs are a code too, the same at all sites of a variant.

    Args:
        shapes: of the families, by name.
        size: of a token of the code, D.
        width: of the tokens on the way.
        pairs: products of two agents' tokens that are averaged over time.
        rounds: of the graph network.
    """

    def __init__(self, shapes: Mapping[str, FamilyShape], size: int, width: int = 64, pairs: int = 16, rounds: int = 2) -> None:
        super().__init__()
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in shapes.items()}
        self.scale = Standardiser({name: shape.obs_size for name, shape in shapes.items()})
        self.stems, self.told = nn.ModuleDict(), nn.ModuleDict()
        for name, shape in shapes.items():
            self.register_buffer(f"rewards_{name}", torch.ones(2))
            self.stems[name] = nn.Linear(2 * shape.obs_size + self.codecs[name].size + 2, width)
            self.told[name] = nn.Linear(shape.descriptor_size, width)
        self.trunk = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.left, self.right = nn.Linear(width, pairs), nn.Linear(width, pairs)
        self.edge = mlp(6 * pairs + 1, width, width)
        self.own, self.team, self.one, self.all = (nn.Linear(width, width) for _ in range(4))
        self.count = nn.Linear(2, width)
        self.ahead = nn.ParameterList(nn.Parameter(torch.randn(len(AHEAD), width) * 0.3) for _ in range(rounds))
        self.send = nn.ModuleList(nn.Linear(width, width) for _ in range(rounds))
        self.mix = nn.ModuleList(nn.Sequential(nn.LayerNorm(3 * width), mlp(3 * width, width, width)) for _ in range(rounds))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def fit(self, obs: Tensor, reward: Tensor, agents: Tensor, family: str) -> None:
        """Take the scale of observations [R, O] and of agents' rewards [R] in teams of so many [R]."""
        self.scale.fit(obs, family)
        scale = torch.stack([reward.std(), (reward * agents).std()]).clamp(min=1e-6)
        cast(Tensor, getattr(self, f"rewards_{family}")).copy_(1.0 / scale)

    def fit_sources(self, samplers: Mapping[str, WindowSampler]) -> None:
        """`fit` to each family's source data."""
        for name, sampler in samplers.items():
            batch = sampler.sample(20_000)
            self.fit(batch.obs[:, -1], batch.own_reward[:, -1], 1.0 + batch.others, name)

    def forward(self, context: Context, descriptor: Tensor, family: str) -> SiteCode:
        """The code of each place of a context; descriptors are [P, D]."""
        tokens, there = self._tokens(context, family)
        length = int(context.period.max())
        own, visits = self._by_phase(tokens, there, context.period, length)
        agents = torch.arange(tokens.shape[3], device=tokens.device) < context.agents[:, None]  # [P, N]
        shots = context.mask.sum(1)
        known = visits.sum(1).clamp(min=1.0)
        one = torch.einsum("pnlw,pl->pnw", own, visits) / known[:, None, None]
        of_all = one.sum(1) / context.agents[:, None]
        team = own.sum(1) / context.agents[:, None, None]
        counts = torch.stack([visits.log1p(), shots.float().log1p()[:, None].expand_as(visits)], dim=-1)
        edges = self._edges(tokens, there, agents, shots)
        h = self.own(own) + self.team(team).unsqueeze(1) + (self.one(one) + edges.sum(2) / FEW).unsqueeze(2)
        h = h + (self.all(of_all).unsqueeze(1) + self.count(counts) + self.told[family](descriptor).unsqueeze(1)).unsqueeze(1)
        near = self._near(context.period, length)
        for ahead, send, mix in zip(self.ahead, self.send, self.mix, strict=True):
            heard = torch.einsum("pnmw,pmlw->pnlw", edges, send(h)) / FEW
            h = h + mix(torch.cat([h, _look(h, near, ahead), heard], dim=-1))
        return SiteCode(self.leave(h), context.period)

    def of_support(self, variant: Variant, support: Support | None, family: str) -> SiteCode:
        """The code of one site, of its support or of none."""
        device = self.left.weight.device
        context = as_context(variant, support, self.scale.size(family), len(self.codecs[family].components), device)
        return self(context, torch.tensor([variant.descriptor()], device=device), family)

    def _tokens(self, context: Context, family: str) -> tuple[Tensor, Tensor]:
        """Tokens [P, C, T, N, w] of what is there, zero elsewhere, and 1 or 0 of each episode, [P, C]."""
        slots = context.obs.shape[2] - 1
        obs = self.scale.standardise(context.obs.float(), family)
        codec = self.codecs[family]
        code = codec.encode(codec.typed(context.action[:, :, :slots]))
        reward = context.reward[:, :, :slots].float()
        scale = cast(Tensor, getattr(self, f"rewards_{family}"))
        agents = context.agents.view(-1, 1, 1, 1).float()
        rewards = torch.stack([reward * scale[0], reward * agents * scale[1]], dim=-1)
        tokens = self.trunk(self.stems[family](torch.cat([obs[:, :, :-1], obs[:, :, 1:], code, rewards], dim=-1)))
        there = context.mask.float()
        present = torch.arange(tokens.shape[3], device=tokens.device) < context.agents[:, None]
        return tokens.float() * there[:, :, None, None, None] * present[:, None, None, :, None], there

    def _by_phase(self, tokens: Tensor, there: Tensor, period: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Means [P, N, L, w] over what was seen in each slot of the period, and how often it was seen, [P, L]."""
        phase = torch.arange(tokens.shape[2], device=tokens.device) % period[:, None]  # [P, T]
        onto = nn.functional.one_hot(phase, length).float()  # [P, T, L]
        visits = torch.einsum("ptl,p->pl", onto, there.sum(1))
        total = torch.einsum("pctnw,ptl->pnlw", tokens, onto)
        return total / visits.clamp(min=1.0)[:, None, :, None], visits

    def _edges(self, tokens: Tensor, there: Tensor, agents: Tensor, shots: Tensor) -> Tensor:
        """How the tokens of agents n and m go together in time, [P, N, N, w]; zero on the diagonal."""
        left, right = self.left(tokens), self.right(tokens)
        seen = (there.sum(1) * tokens.shape[2]).clamp(min=1.0).view(-1, 1, 1)
        weight = there[:, :, None, None, None]
        left, right = left * weight, right * weight
        a, b = left.sum((1, 2)) / seen, right.sum((1, 2)) / seen  # [P, N, q]
        both = torch.einsum("pctnq,pctmq->pnmq", left, right) / seen.unsqueeze(-1) - a.unsqueeze(2) * b.unsqueeze(1)
        n = tokens.shape[3]
        here = torch.cat([a, b], dim=-1)
        parts = both, both.transpose(1, 2), here.unsqueeze(2).expand(-1, n, n, -1), here.unsqueeze(1).expand(-1, n, n, -1)
        counted = shots.float().log1p().view(-1, 1, 1, 1).expand(-1, n, n, 1)
        edges = self.edge(torch.cat([*parts, counted], dim=-1))
        pair = agents.unsqueeze(2) & agents.unsqueeze(1) & ~torch.eye(n, dtype=torch.bool, device=tokens.device)
        return edges * pair.unsqueeze(-1)

    def _near(self, period: Tensor, length: int) -> Tensor:
        """The slots of the period beside each, [P, L, A]."""
        slot = torch.arange(length, device=period.device)[:, None] + torch.tensor(AHEAD, device=period.device)
        return slot % period[:, None, None]


def codes(encoder: SupportEncoder | None, batch: Windows, family: str, slots: int) -> Tensor:
    """Codes [R, slots, S] of the sites of a batch, from its context, at its current slot and those after it.

    Without an encoder they are empty.
    """
    sites = code_of(encoder, batch, family)
    return batch.reward.new_zeros(len(batch.reward), slots, 0) if sites is None else sites.of(batch, slots)


def code_of(encoder: SupportEncoder | None, batch: Windows, family: str) -> SiteCode | None:
    """Codes of the places of a batch's context; None without encoder."""
    if encoder is None:
        return None
    assert batch.context is not None, "a network that reads logs learns from windows with a context"
    return encoder(batch.context, descriptors(batch), family)


def site_table(encoder: SupportEncoder | None, family: str, variant: Variant, support: Support | None) -> Tensor:
    """The code of a site by agent and slot of the period, [N, L, S], from its support or from none; empty without encoder."""
    if encoder is None:
        return torch.zeros(variant.agents, variant.period, 0)
    return encoder.of_support(variant, support, family).table[0]


def as_context(variant: Variant, support: Support | None, obs_size: int, parts: int, device: torch.device) -> Context:
    """A support as the context of one place; None as one without episodes. Actions have so many parts."""
    n = variant.agents
    if support is None:
        obs, mask = torch.zeros(1, 0, 2, n, obs_size), torch.zeros(1, 0, 2, n, 1, dtype=torch.int8)
        action = torch.zeros(1, 0, 1, n, parts) if parts > 1 else torch.zeros(1, 0, 1, n)
        reward, there = torch.zeros(1, 0, 1, n), torch.zeros(1, 0, dtype=torch.bool)
    else:
        obs, mask, action, reward = (x.unsqueeze(0) for x in (support.obs, support.action_mask, support.action, support.reward))
        there = torch.ones(1, support.shots, dtype=torch.bool)
    numbers = torch.tensor([n]), torch.tensor([variant.period]), torch.tensor([0])
    return Context(obs, mask, action, reward, there, *numbers).to(device)


def descriptors(batch: Windows) -> Tensor:
    """Descriptors [P, D] of the places of a batch's context."""
    assert batch.context is not None
    place = batch.context.place[batch.group]
    found = batch.descriptor.new_zeros(len(batch.context.agents), batch.descriptor.shape[1])
    return found.index_copy(0, place, batch.descriptor)


def _look(h: Tensor, near: Tensor, weight: Tensor) -> Tensor:
    """Weighed tokens of the slots beside each: [P, N, L, w]."""
    found = h.new_zeros(h.shape)
    for k in range(near.shape[2]):
        index = near[:, None, :, k, None].expand(-1, h.shape[1], -1, h.shape[3])
        found = found + h.gather(2, index) * weight[k]
    return found

"""What a few logged episodes say of a place: the support encoder, which all learners share.

Joint logs become tokens, one an agent and slot: what it saw, did, got, saw next, and how far its pay was from what a linear
model of average sites explains. Tokens of the same slot of the period are averaged over episodes, so that the order of the
episodes does not matter and any number of them will do (Zaheer et al., Deep Sets, NeurIPS 2017). Two things come of them:

- the *table*, a token an agent and slot of the period: a graph network over the agents, whose edges are how one's tokens and
  the other's go together in time, and a convolution round the period;
- the *evidence*, a token an action and slot of the period: the mean over the team of what came of that action in that slot.

An agent that acts attends to both by where it is: its own number, the slot, the action that it weighs. Nothing of the log
itself is needed any more.
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
from .modules import FAR, Standardiser, mlp

SHOTS = (0, 1, 2, 5, 10, 20)  # episodes that a context of training holds
WINDOWS = 8  # of an episode that share a context in training
AHEAD = tuple(range(-2, 8))  # slots of the period that are read beside the own one
EVIDENCE = 16  # size of a token of the evidence: learned, pay, what is unexplained of it, how often it was done
PAY = 4  # numbers that tell of a reward: the agent's, the team's, and what is unexplained of both
FEW = 4.0  # agents whose influences on one are of order 1


@dataclass(frozen=True)
class SiteCode:
    """What is known of P sites.

    Attributes:
        table: a token an agent and slot of the period, [P, N, L, D].
        evidence: a token an entry of an action's code and slot of the period, [P, L, A, E].
        period: slots of each site's period, [P]; the tokens after it mean nothing.
    """

    table: Tensor
    evidence: Tensor
    period: Tensor

    def read(self, place: Tensor, agent: Tensor, slot: Tensor) -> Tensor:
        """What agents at slots of the episode at places (all [...]) attend to: token and evidence as one, [..., D + A E]."""
        phase = slot % self.period[place]
        evidence = self.evidence[place, phase].flatten(-2)
        return torch.cat([self.table[place, agent, phase], evidence.expand(*agent.shape, -1)], dim=-1)

    def of(self, batch: Windows, slots: int) -> Tensor:
        """The same [R, slots, D + A E] for a batch's rows, at its current slot and those after it."""
        assert batch.context is not None
        slot = batch.slot.unsqueeze(1) + torch.arange(slots, device=batch.slot.device)
        place, agent = batch.context.place[batch.group].unsqueeze(1), batch.agent.unsqueeze(1)
        return self.read(place.expand_as(slot), agent.expand_as(slot), slot)

    def whole(self) -> Tensor:
        """The same [N, L, D + A E] for all agents and slots of the period of a single place."""
        n, period = self.table.shape[1:3]
        agent, slot = torch.meshgrid(torch.arange(n), torch.arange(period), indexing="ij")
        device = self.table.device
        return self.read(torch.zeros_like(agent).to(device), agent.to(device), slot.to(device))


class SupportEncoder(nn.Module):
    """Logs of sites -> `SiteCode`. No logs are a code too, the same at all sites of a variant.

    This one reads means: what comes of actions, how tokens of two agents go together. `reading.InfluenceEncoder` reads more.

    Args:
        shapes: of the families, by name.
        size: of a token of the table, D.
        width: of the tokens on the way.
        pairs: products of two agents' tokens that are averaged over time.
        rounds: of the graph network.
    """

    EVENTS = 0  # learned kinds of events, which have evidence as actions have

    def __init__(self, shapes: Mapping[str, FamilyShape], size: int, width: int = 64, pairs: int = 16, rounds: int = 2) -> None:
        super().__init__()
        self.width, self.pairs = width, pairs
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in shapes.items()}
        self.scale = Standardiser({name: shape.obs_size for name, shape in shapes.items()})
        self.stems, self.told = nn.ModuleDict(), nn.ModuleDict()
        self.weighed = nn.ModuleDict()
        for name, shape in shapes.items():
            inputs = 2 * shape.obs_size + self.codecs[name].size
            self.register_buffer(f"explained_{name}", torch.zeros(inputs + 1, 2))
            self.register_buffer(f"paid_{name}", torch.ones(2, 2))
            self.stems[name] = nn.Linear(inputs + PAY, width)
            self.told[name] = nn.Linear(shape.descriptor_size, width)
            self.weighed[name] = nn.Linear((self.codecs[name].size + self.EVENTS) * EVIDENCE, width)
        self.trunk = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.value = nn.Linear(width, EVIDENCE - PAY - 1)
        self._add_edges()
        self.own, self.team, self.one, self.all = (nn.Linear(width, width) for _ in range(4))
        self.count = nn.Linear(2, width)
        self.ahead = nn.ParameterList(nn.Parameter(torch.randn(len(AHEAD), width) * 0.3) for _ in range(rounds))
        self.send = nn.ModuleList(nn.Linear(width, width) for _ in range(rounds))
        self.mix = nn.ModuleList(nn.Sequential(nn.LayerNorm(3 * width), mlp(3 * width, width, width)) for _ in range(rounds))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def fit(self, obs: Tensor, after: Tensor, action: Tensor, reward: Tensor, agents: Tensor, family: str) -> None:
        """Take the scale of a family, and fit the linear model of pay by least squares.

        Args:
            obs: what was seen, [R, O].
            after: what was seen next, [R, O].
            action: what was done, [R, ...].
            reward: what it paid the agent, [R].
            agents: of its team, [R].
            family: its name.
        """
        self.scale.fit(obs, family)
        seen = self._seen(obs, after, action, family).double()
        pay = torch.stack([reward, reward * agents], dim=-1).double()
        gram = seen.T @ seen + 1e-3 * len(seen) * torch.eye(seen.shape[1], device=seen.device)
        weights = torch.linalg.solve(gram, seen.T @ pay)
        deviation = torch.stack([pay.std(0), (pay - seen @ weights).std(0)]).clamp(min=1e-6)
        self._set(f"explained_{family}", weights)
        self._set(f"paid_{family}", 1.0 / deviation)

    def fit_sources(self, samplers: Mapping[str, WindowSampler]) -> None:
        """`fit` to each family's source data."""
        for name, sampler in samplers.items():
            batch = sampler.sample(20_000)
            there = batch.valid[:, -2]
            obs, action, reward = batch.obs[there], batch.action[there, -2], batch.own_reward[there, -2]
            self.fit(obs[:, -2], obs[:, -1], action, reward, 1.0 + batch.others[there], name)

    def _set(self, name: str, value: Tensor) -> None:
        cast(Tensor, getattr(self, name)).copy_(value)

    def _seen(self, obs: Tensor, after: Tensor, action: Tensor, family: str) -> Tensor:
        """A constant, observations, those after them and action codes as one, [..., 1 + 2 O + size]."""
        codec = self.codecs[family]
        shown = self.scale.standardise(obs, family), self.scale.standardise(after, family)
        return torch.cat([torch.ones_like(obs[..., :1]), *shown, codec.encode(codec.typed(action))], dim=-1)

    def forward(self, context: Context, descriptor: Tensor, family: str) -> SiteCode:
        """What each place of a context is like; descriptors are [P, D]."""
        inputs = self._slots(context, family)
        there = context.mask[:, :, None, None, None] * self._present(context)[:, None, None, :, None]
        code, pay = inputs[..., -PAY - self.codecs[family].size : -PAY], inputs[..., -PAY:]
        tokens = self.trunk(self.stems[family](inputs)).float() * there
        onto = self._onto(context, inputs.shape[2])
        evidence = self._evidence(torch.cat([self.value(tokens), pay], dim=-1), code * there, onto)
        visits = torch.einsum("ptl,p->pl", onto, context.mask.float().sum(1))
        own = torch.einsum("pctnw,ptl->pnlw", tokens, onto) / visits.clamp(min=1.0)[:, None, :, None]
        return self._code(own, self._edges(tokens, context), evidence, visits, context, descriptor, family)

    def _code(
        self, own: Tensor, edges: Tensor, evidence: Tensor, visits: Tensor, context: Context, descriptor: Tensor, family: str
    ) -> SiteCode:
        """The code, of means of the agents' tokens [P, N, L, w], edges [P, N, N, w] and evidence; visits are [P, L]."""
        h = self._together(own, visits, context) + (edges.sum(2) / FEW).unsqueeze(2)
        h = h + (self.told[family](descriptor).unsqueeze(1) + self.weighed[family](evidence.flatten(2))).unsqueeze(1)
        near = self._near(context.period, visits.shape[1])
        for ahead, send, mix in zip(self.ahead, self.send, self.mix, strict=True):
            heard = torch.einsum("pnmw,pmlw->pnlw", edges, send(h)) / FEW
            h = h + mix(torch.cat([h, _look(h, near, ahead), heard], dim=-1))
        return SiteCode(self.leave(h), evidence, context.period)

    def of_support(self, variant: Variant, support: Support | None, family: str) -> SiteCode:
        """The code of one site, of its support or of none."""
        device = next(self.parameters()).device
        context = as_context(variant, support, self.scale.size(family), len(self.codecs[family].components), device)
        return self(context, torch.tensor([variant.descriptor()], device=device), family)

    def _slots(self, context: Context, family: str) -> Tensor:
        """What was seen, seen next and done, what it paid, and what is unexplained of it: [P, C, T, N, 2 O + size + PAY]."""
        slots, codec = context.obs.shape[2] - 1, self.codecs[family]
        shown = self.scale.standardise(context.obs.float(), family)
        parts = shown[:, :, :-1], shown[:, :, 1:], codec.encode(codec.typed(context.action[:, :, :slots]))
        reward = context.reward[:, :, :slots].float()
        pay = torch.stack([reward, reward * context.agents.view(-1, 1, 1, 1)], dim=-1)
        explained, scale = (cast(Tensor, getattr(self, f"{name}_{family}")) for name in ("explained", "paid"))
        size = len(explained) - 1
        inputs = pay.new_empty(*pay.shape[:-1], size + PAY)
        start = 0
        for part in parts:  # `torch.cat` is slow where parts are not contiguous
            inputs[..., start : start + part.shape[-1]] = part
            start += part.shape[-1]
        usual = inputs.flatten(0, -2)[:, :size] @ explained[1:] + explained[0]
        inputs[..., size : size + 2] = pay * scale[0]
        inputs[..., size + 2 :] = ((pay - usual.view_as(pay)) * scale[1]).clamp(-FAR, FAR)
        return inputs

    def _present(self, context: Context) -> Tensor:
        """Which agents are there, [P, N]."""
        return torch.arange(context.reward.shape[3], device=context.reward.device) < context.agents[:, None]

    def _onto(self, context: Context, slots: int) -> Tensor:
        """Which slot of the period each slot is, one-hot [P, T, L]."""
        phase = torch.arange(slots, device=context.period.device) % context.period[:, None]
        return nn.functional.one_hot(phase, int(context.period.max())).float()

    def _evidence(self, value: Tensor, code: Tensor, onto: Tensor) -> Tensor:
        """Mean over the team of what came [P, C, T, N, E - 1] of each entry of actions [P, C, T, N, A]: [P, L, A, E]."""
        done = code.permute(0, 2, 4, 1, 3).flatten(3)  # [P, T, A, C N]
        total = torch.einsum("ptae,ptl->plae", done @ value.transpose(1, 2).flatten(2, 3), onto)
        count = torch.einsum("pta,ptl->pla", done.sum(-1), onto)
        return torch.cat([total / count.clamp(min=0.5).unsqueeze(-1), count.log1p().unsqueeze(-1)], dim=-1)

    def _together(self, own: Tensor, visits: Tensor, context: Context) -> Tensor:
        """Tokens [P, N, L, w] of agents in slots of the period: of both, the agent, the slot and the place."""
        known = visits.sum(1).clamp(min=1.0)
        one = torch.einsum("pnlw,pl->pnw", own, visits) / known[:, None, None]
        agents = context.agents.float()
        of_all, team = one.sum(1) / agents[:, None], own.sum(1) / agents[:, None, None]
        shots = context.mask.sum(1).float().log1p()
        counts = torch.stack([visits.log1p(), shots[:, None].expand_as(visits)], dim=-1)
        place = self.all(of_all).unsqueeze(1) + self.team(team) + self.count(counts)
        return self.own(own) + self.one(one).unsqueeze(2) + place.unsqueeze(1)

    def _add_edges(self) -> None:
        """Make what `_edges` needs."""
        self.left, self.right = nn.Linear(self.width, self.pairs), nn.Linear(self.width, self.pairs)
        self.edge = mlp(6 * self.pairs + 1, self.width, self.width)

    def _edges(self, tokens: Tensor, context: Context) -> Tensor:
        """How tokens [P, C, T, N, w] of agents n and m go together in time: [P, N, N, w], zero on the diagonal."""
        there = context.mask.float()
        weight = there[:, :, None, None, None]
        left, right = self.left(tokens) * weight, self.right(tokens) * weight
        seen = (there.sum(1) * tokens.shape[2]).clamp(min=1.0).view(-1, 1, 1)
        a, b = left.sum((1, 2)) / seen, right.sum((1, 2)) / seen  # [P, N, q]
        both = torch.einsum("pctnq,pctmq->pnmq", left, right) / seen.unsqueeze(-1) - a.unsqueeze(2) * b.unsqueeze(1)
        return self._of_pairs([both], [a, b], context)

    def _of_pairs(self, both: list[Tensor], own: list[Tensor], context: Context) -> Tensor:
        """Edges [P, N, N, w] of what is known of pairs [P, N, N, q] and of their ends [P, N, q]."""
        here, n = torch.cat(own, dim=-1), own[0].shape[1]
        ends = here.unsqueeze(2).expand(-1, n, n, -1), here.unsqueeze(1).expand(-1, n, n, -1)
        counted = context.mask.float().sum(1).log1p().view(-1, 1, 1, 1).expand(-1, n, n, 1)
        pairs = [x for one in both for x in (one, one.transpose(1, 2))]
        edges = self.edge(torch.cat([*pairs, *ends, counted], dim=-1))
        present = self._present(context)
        pair = present.unsqueeze(2) & present.unsqueeze(1) & ~torch.eye(n, dtype=torch.bool, device=here.device)
        return edges * pair.unsqueeze(-1)

    def _near(self, period: Tensor, length: int) -> Tensor:
        """Slots of the period, from the first that is read beside slot 0 to the last beside slot L - 1, [P, L + AHEAD - 1]."""
        return torch.arange(AHEAD[0], length + AHEAD[-1], device=period.device) % period[:, None]


def codes(encoder: SupportEncoder | None, batch: Windows, family: str, slots: int) -> Tensor:
    """What a batch's context says of its sites [R, slots, S], at its current slot and those after it.

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
    """What a support or none says of a site, by agent and slot of the period, [N, L, S]; empty without encoder."""
    if encoder is None:
        return torch.zeros(variant.agents, variant.period, 0)
    return encoder.of_support(variant, support, family).whole()


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
    place = torch.arange(len(near), device=h.device)[:, None]
    round_ = h[place, :, near].permute(0, 3, 1, 2)  # [P, w, L + AHEAD - 1, N]
    return nn.functional.conv2d(round_, weight.T[:, None, :, None], groups=h.shape[3]).permute(0, 3, 2, 1)

"""How networks read logs: the setting that all learners share, and an encoder that reads who does what to whom.

Agents act at the same time. So a covariance of one's acts and another's fortunes holds what third agents did. A regression on
all agents at once takes that out: it is what an engineer does who reads gains off a log by least squares. Causes and effects
are learned, and so is how much the regression shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ..benchmark.data.context import Context
from ..benchmark.family import FamilyShape
from .checkpoint import CheckpointConfig
from .codec import ActionCodec
from .context import EVIDENCE, PAY, SiteCode, SupportEncoder
from .modules import mlp

Reading = Literal["means", "influences"]
SHARP = 4.0  # how much larger than usual the weights start that tell kinds of events; else all start as the same mean


@dataclass(frozen=True)
class ReaderConfig(CheckpointConfig):
    """Settings of a network that may read logs; a subclass adds its own.

    Attributes:
        site: size of the site code, see `learning.context`; 0 = it reads no logs.
        reading: how it reads them: `means`, or `influences` too, see `InfluenceEncoder`.
    """

    site: int = field(default=64, kw_only=True)
    reading: Reading = field(default="means", kw_only=True)

    @property
    def encoder(self) -> type[SupportEncoder]:
        """The encoder of these settings."""
        return InfluenceEncoder if self.reading == "influences" else SupportEncoder

    def make_encoder(self) -> SupportEncoder | None:
        """A fresh encoder; None where it reads no logs."""
        return self.encoder(self.families, self.site) if self.site else None

    def read_size(self, shape: FamilyShape) -> int:
        """Length S of what is read of a site in a family."""
        kinds = ActionCodec(shape.actions).size + self.encoder.EVENTS
        return self.site + kinds * EVIDENCE if self.site else 0


class InfluenceEncoder(SupportEncoder):
    """An encoder that reads means, and three things more.

    - A token knows mean and maximum over the team of what was seen and done in its slot.
    - Kinds of events are learned, and have evidence as actions have. A user that listens tells of a channel where nobody sends.
    - An edge also has what a ridge regression says that one agent does to another. What all others leave unexplained in a slot
      is a part of that slot's token.

    Args: as of `SupportEncoder`.
    """

    EVENTS = 8

    def __init__(self, shapes: dict[str, FamilyShape], size: int, width: int = 64, pairs: int = 16, rounds: int = 2) -> None:
        super().__init__(shapes, size, width, pairs, rounds)
        self.joint, self.happens = nn.Linear(2 * width, width), nn.Linear(width, self.EVENTS)
        self.events = nn.ModuleDict({name: self._sharp(stem) for name, stem in self.stems.items()})

    def _sharp(self, stem: nn.Module) -> nn.Linear:
        """What tells kinds of events from the inputs of a stem."""
        event = nn.Linear(cast(nn.Linear, stem).in_features, self.EVENTS)
        with torch.no_grad():
            event.weight.mul_(SHARP)
        return event

    def _add_edges(self) -> None:
        self.cause, self.effect = nn.Linear(self.width, self.pairs), nn.Linear(self.width, self.pairs)
        self.ridge = nn.Parameter(torch.full((self.pairs,), -2.0))
        self.rest = nn.Linear(self.pairs, self.width, bias=False)
        self.edge = mlp(8 * self.pairs + 1, self.width, self.width)

    def forward(self, context: Context, descriptor: Tensor, family: str) -> SiteCode:
        """What each place of a context is like; descriptors are [P, D].

        There is no token of a slot: what is made of tokens is linear, so that the trunk's last layer comes after the means.
        """
        there = context.mask[:, :, None, None, None] * self._present(context)[:, None, None, :, None]
        inputs, size = self._slots(context, family), self.codecs[family].size
        hidden, events = self._hidden(inputs, there, family)
        cause, effect, value = self._ends(hidden)
        onto = self._onto(context, inputs.shape[2])
        came = torch.cat([value, inputs[..., -PAY:]], dim=-1)
        evidence = self._evidence(came, torch.cat([inputs[..., -PAY - size : -PAY], events], dim=-1) * there, onto)
        left, edges = self._influences(cause, effect, there, context)
        told = onto.unsqueeze(1) * context.mask[:, :, None, None]  # [P, C, T, L]
        visits = told.sum((1, 2))
        means = [_mean(x, told, visits) for x in (hidden, left)]
        seen = (visits > 0)[:, None, :, None] * self._present(context)[:, :, None, None]
        own = (cast(nn.Linear, self.trunk[-1])(means[0]) + self.rest(means[1])) * seen
        return self._code(own, edges, evidence, visits, context, descriptor, family)

    def _hidden(self, inputs: Tensor, there: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Of agents in slots: what the trunk's last layer gets [P, C, T, N, w], and how far events happened [..., EVENTS]."""
        stem, event = self.stems[family], self.events[family]
        weight, bias = (torch.cat([cast(Tensor, getattr(part, name)) for part in (stem, event)]) for name in ("weight", "bias"))
        both = nn.functional.linear(inputs, weight, bias)
        own, happened = both.split([self.width, self.EVENTS], dim=-1)
        shown = nn.functional.silu(own) * there
        team = torch.cat([shown.sum(3) / there.sum(3).clamp(min=1), shown.max(3).values.clamp(min=0.0)], dim=-1)
        joint = self.joint(team).unsqueeze(3)
        return self.trunk[:-1](own + joint), (happened + self.happens(joint)).sigmoid().float()

    def _ends(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Causes and effects [..., q] and what came [..., E - PAY - 1], each linear in a token, all at once."""
        last, parts = cast(nn.Linear, self.trunk[-1]), (self.cause, self.effect, self.value)
        weight, bias = (torch.cat([getattr(part, name) for part in parts]) for name in ("weight", "bias"))
        of_hidden = nn.functional.linear(hidden, weight @ last.weight, weight @ last.bias + bias).float()
        return cast(tuple[Tensor, Tensor, Tensor], of_hidden.split([self.pairs, self.pairs, EVIDENCE - PAY - 1], dim=-1))

    def _influences(self, cause: Tensor, effect: Tensor, there: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """What is left of effects without the others' part, [P, C, T, N, q], and edges [P, N, N, w]."""
        seen = (context.mask.float().sum(1) * cause.shape[2]).clamp(min=1.0).view(-1, 1, 1)
        means = [(x * there).sum((1, 2)) / seen for x in (cause, effect)]  # [P, N, q]
        cause, effect = ((x - m[:, None, None]) * there for x, m in zip((cause, effect), means, strict=True))
        both, influence, left = regress(cause, effect, seen, nn.functional.softplus(self.ridge))
        return left, self._of_pairs([both, influence], means, context)


def _mean(x: Tensor, told: Tensor, visits: Tensor) -> Tensor:
    """Means [P, N, L, q] over episodes and slots of [P, C, T, N, q], by slot of the period; weights are [P, C, T, L]."""
    total = told.flatten(1, 2).transpose(1, 2) @ x.flatten(3).flatten(1, 2)  # [P, L, N q]
    return (total / visits.clamp(min=1.0).unsqueeze(-1)).unflatten(2, x.shape[3:]).transpose(1, 2).float()


def regress(cause: Tensor, effect: Tensor, seen: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Effects [P, C, T, N, q] regressed on all agents' causes [P, C, T, N, q] of the same head; both of mean zero.

    Args:
        cause: of every agent in every slot.
        effect: likewise.
        seen: slots, [P, 1, 1].
        ridge: by head, [q]: times the slots, what is added to the sum of squares of every cause.

    Returns:
        Covariances of the cause of n and the effect of m, and the coefficients, each [P, N, N, q]; what is left of the effects
        without the *others'* part, [P, C, T, N, q].
    """
    with torch.autocast(cause.device.type, enabled=False):  # a solution in bfloat16 is none
        both, among = (torch.einsum("pctnq,pctmq->pqnm", cause, x) / seen.unsqueeze(-1) for x in (effect, cause))
        eye = torch.eye(cause.shape[3], device=cause.device)
        found = torch.linalg.solve(among + ridge[:, None, None] * eye, both)
        left = effect - torch.einsum("pctnq,pqnm->pctmq", cause, found * (1.0 - eye))
    return both.permute(0, 2, 3, 1), found.permute(0, 2, 3, 1), left

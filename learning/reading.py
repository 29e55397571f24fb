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
from .context import EVIDENCE, SupportEncoder
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

    def _tokens(self, inputs: Tensor, code: Tensor, there: Tensor, family: str) -> tuple[Tensor, Tensor]:
        own = self.stems[family](inputs)
        shown = nn.functional.silu(own) * there
        team = torch.cat([shown.sum(3) / there.sum(3).clamp(min=1), shown.masked_fill(~there, -1.0).amax(3)], dim=-1)
        joint = self.joint(team).unsqueeze(3)
        events = (self.events[family](inputs) + self.happens(joint)).sigmoid().float()
        return self.trunk(own + joint).float() * there, torch.cat([code, events], dim=-1)

    def _edges(self, tokens: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        there = context.mask.float()[:, :, None, None, None]
        cause, effect = self.cause(tokens).float(), self.effect(tokens).float()
        seen = (context.mask.float().sum(1) * tokens.shape[2]).clamp(min=1.0).view(-1, 1, 1)
        means = [(x * there).sum((1, 2)) / seen for x in (cause, effect)]  # [P, N, q]
        cause, effect = ((x - m[:, None, None]) * there for x, m in zip((cause, effect), means, strict=True))
        both, influence, left = regress(cause, effect, seen, nn.functional.softplus(self.ridge))
        return tokens + self.rest(left), self._of_pairs([both, influence], means, context)


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

"""Two-hot distributions over evenly spaced bins, and codes for actions.

A scalar between two bin centres is coded as weight on both, so that the expectation gives it back exactly. Decoding takes the
expectation in raw space, which is unbiased (Hafner et al., DreamerV3, 2023), with bins scaled to the task's own range.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..benchmark.family import ActionComponent


def two_hot(value: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Code scalars [...] as weights [..., bins]; values outside [low, high] are clipped to the end bins."""
    place = (value.float().clamp(low, high) - low) * ((bins - 1) / (high - low))
    left = place.floor().clamp(max=bins - 2)
    weight = (place - left).unsqueeze(-1)
    index = left.long()
    return one_hot(index, bins) * (1 - weight) + one_hot(index + 1, bins) * weight


def expectation(logits: Tensor, low: float, high: float) -> Tensor:
    """Decode logits [..., bins] to scalars [...]."""
    centres = torch.linspace(low, high, logits.shape[-1], device=logits.device)
    return logits.float().softmax(-1) @ centres


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy [...] between logits [..., bins] and weights [..., bins]."""
    return -(target * logits.float().log_softmax(-1)).sum(-1)


class ActionCodec:
    """Codes actions as the concatenation of their components: one-hot for choices, two-hot for levels and ranges.

    Args:
        components: parts of an action.
    """

    def __init__(self, components: Sequence[ActionComponent]) -> None:
        self.components = tuple(components)
        self.size = sum(component.size for component in self.components)

    def typed(self, action: Tensor) -> Tensor:
        """Recorded actions in the type that they are played in: integers for a single choice, else float32."""
        whole = len(self.components) == 1 and self.components[0].kind == "categorical"
        return action.long() if whole else action.float()

    def encode(self, action: Tensor) -> Tensor:
        """Actions [...] (one component) or [..., parts] as codes [..., size]."""
        parts = action.unsqueeze(-1) if len(self.components) == 1 else action
        codes = []
        for i, c in enumerate(self.components):
            if c.kind == "categorical":
                codes.append(one_hot(parts[..., i].long(), c.size).float())
            else:
                codes.append(two_hot(parts[..., i], c.low, c.high, c.size))
        return torch.cat(codes, dim=-1)

    def split(self, code: Tensor) -> tuple[Tensor, ...]:
        """The components [..., size_i] of codes or logits [..., size]."""
        return code.split([component.size for component in self.components], dim=-1)

    def decode(self, code: Tensor) -> Tensor:
        """Codes [..., size] back to actions: the choice of a one-hot, the expectation of a two-hot."""
        parts: list[Tensor] = []
        for c, part in zip(self.components, self.split(code), strict=True):
            if c.kind == "categorical":
                parts.append(part.argmax(-1))
            else:
                parts.append(part @ torch.linspace(c.low, c.high, c.size, device=code.device))
        return parts[0] if len(parts) == 1 else torch.stack([part.float() for part in parts], dim=-1)

    def mask(self, logits: Tensor, allowed: Tensor) -> Tensor:
        """Logits with the forbidden choices (mask [..., A] bool) of a categorical component at the lowest finite value."""
        first, *rest = self.split(logits.float())
        if self.components[0].kind == "ordinal":
            return logits.float()
        return torch.cat([first.masked_fill(~allowed, torch.finfo(torch.float32).min), *rest], dim=-1)

    def log_prob(self, logits: Tensor, code: Tensor) -> Tensor:
        """Log-probability [...] of codes [..., size] under masked logits [..., size] (broadcastable)."""
        pairs = zip(self.split(logits.float()), self.split(code), strict=True)
        return torch.stack([-cross_entropy(a, b) for a, b in pairs]).sum(0)

    def most_likely(self, logits: Tensor) -> Tensor:
        """Codes [..., size] of logits [..., size]: the likeliest of choices, the two-hot of a level's expectation."""
        return self.encode(self.decode(torch.cat([part.softmax(-1) for part in self.split(logits.float())], dim=-1)))

    def mode(self, logits: Tensor) -> Tensor:
        """Likeliest bins of masked logits [..., size], as actions: [...] or [..., parts]."""
        best = [one_hot(part.argmax(-1), c.size).float() for c, part in zip(self.components, self.split(logits), strict=True)]
        return self.decode(torch.cat(best, dim=-1))

    def table(self, device: torch.device | str = "cpu") -> Tensor:
        """Codes of every joint choice of bins, [number, size]; for action spaces small enough to enumerate."""
        eyes = [torch.eye(component.size, device=device) for component in self.components]
        return torch.stack([torch.cat(rows) for rows in itertools.product(*eyes)])

    def index(self, action: Tensor) -> Tensor:
        """Row of `table` that is nearest to actions [...] (one component) or [..., parts]: int64 [...]."""
        parts = action.unsqueeze(-1) if len(self.components) == 1 else action
        row = torch.zeros(parts.shape[:-1], dtype=torch.int64, device=action.device)
        for c, part in zip(self.components, parts.unbind(-1), strict=True):
            place = part if c.kind == "categorical" else (part - c.low) / (c.high - c.low) * (c.size - 1)
            row = row * c.size + place.round().long()
        return row

    def table_log_probs(self, logits: Tensor) -> Tensor:
        """Log-probability of every row of `table` under masked logits [..., size]: [..., number]."""
        total = logits.new_zeros(*logits.shape[:-1], 1)
        for part in self.split(logits.float()):
            total = (total.unsqueeze(-1) + part.log_softmax(-1).unsqueeze(-2)).flatten(-2)
        return total

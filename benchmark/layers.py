"""The small networks that several agents are made of."""

from __future__ import annotations

from torch import nn


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, norm, SiLU, linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def deep(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """The same with one hidden layer more."""
    return nn.Sequential(mlp(inputs, hidden, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs))

"""NetWorld: a communication-based diffusion world model for multi-agent control (after arXiv 2602.00558).

These are what `benchmark.registry` looks up: how the agent is built, how it is trained, the world that it imagines.
"""

from .agent import build as build
from .imagination import build as WORLD
from .train import TRAINER as TRAINER

__all__ = ["TRAINER", "WORLD", "build"]

"""A family's reference policies as agents: random (scores 0), myopic, informed heuristic, genie (scores 100)."""

from __future__ import annotations

from torch import Tensor

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.family import Family, Variant
from ..errors import InvalidValueError


class ReferenceAgent(Agent):
    """Plays whatever policy the family names for a role.

    Args:
        role: `random`, `greedy`, `heuristic` or `reference`, an attribute of `Family`.
        name: what the board shows.
    """

    def __init__(self, role: str, name: str) -> None:
        self._role, self.name = role, name
        self.privileged = role == "reference"

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Nothing to learn: references use no support."""
        return Adaptation()

    def begin(self, state: State) -> None:
        """Look up the policy of the family."""
        self._policy = state.family.policies[getattr(state.family, self._role)]()
        self.message_size = self._policy.message_size
        self._policy.begin(state)

    def message(self, obs: Tensor, state: State) -> Tensor:
        """What the policy broadcasts."""
        return self._policy.message(obs, state)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        return self._policy.act(obs, inbox, state)


def _build(role: str, name: str, checkpoint: str | None) -> Agent:
    if checkpoint is not None:
        raise InvalidValueError("--checkpoint", checkpoint, f"left out: agent {name!r} is a fixed rule")
    return ReferenceAgent(role, name)


def build_random(checkpoint: str | None, device: str) -> Agent:
    """Uniform over the allowed actions."""
    return _build("random", "random", checkpoint)


def build_greedy(checkpoint: str | None, device: str) -> Agent:
    """The myopic rule: best for an agent that is alone."""
    return _build("greedy", "greedy", checkpoint)


def build_heuristic(checkpoint: str | None, device: str) -> Agent:
    """The best informed decentralised rule."""
    return _build("heuristic", "heuristic", checkpoint)


def build_genie(checkpoint: str | None, device: str) -> Agent:
    """The reference that sees everything."""
    return _build("reference", "genie", checkpoint)

"""What an agent consumed, counted by the harness."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Ledger:
    """Costs of one or more cells.

    Attributes:
        support_transitions: logged agent transitions given to adapt on.
        environment_steps: slots that the agent played in order to learn (query episodes are not among them).
        gradient_steps: optimiser steps of adaptation.
        message_bits: bits broadcast in the query episodes.
        planner_calls: network evaluations made by the planner.
        query_steps: slots of the query episodes.
        act_seconds: wall-clock seconds of the query episodes alone; over `query_steps`, the latency of a decision.
        seconds: wall-clock seconds of adaptation and query episodes.
        cpu_seconds: process seconds of the same.
    """

    support_transitions: int = 0
    environment_steps: int = 0
    gradient_steps: int = 0
    message_bits: int = 0
    planner_calls: int = 0
    query_steps: int = 0
    act_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __add__(self, other: Ledger) -> Ledger:
        """Costs of both."""
        return Ledger(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def to_dict(self) -> dict[str, int | float]:
        """Plain data, seconds to the millisecond."""
        return {name: round(value, 3) for name, value in asdict(self).items()}

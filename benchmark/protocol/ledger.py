"""What an agent consumed, counted by the harness."""

from __future__ import annotations

from dataclasses import fields

from .fields import Count, Seconds, record


@record
class Ledger:
    """Costs of one or more cells, counted by the harness; seconds to the millisecond."""

    support_transitions: Count = 0
    """Logged agent transitions given to adapt on."""
    environment_steps: Count = 0
    """Slots that the agent played in order to learn; query episodes are not among them."""
    gradient_steps: Count = 0
    """Optimiser steps of adaptation."""
    message_bits: Count = 0
    """Bits broadcast in the query episodes."""
    planner_calls: Count = 0
    """Network evaluations made by the planner."""
    query_steps: Count = 0
    """Slots of the query episodes."""
    act_seconds: Seconds = 0.0
    """Wall-clock seconds of the query episodes alone."""
    seconds: Seconds = 0.0
    """Wall-clock seconds of adaptation and query episodes."""
    cpu_seconds: Seconds = 0.0
    """Process seconds of the same."""

    def __add__(self, other: Ledger) -> Ledger:
        """Costs of both."""
        return Ledger(**{f.name: round(getattr(self, f.name) + getattr(other, f.name), 3) for f in fields(self)})

    @property
    def latency(self) -> float | None:
        """Seconds a slot of play, all its agents together; None where it was not measured."""
        return round(self.act_seconds / self.query_steps, 9) if self.query_steps and self.act_seconds else None

    @property
    def bits_a_slot(self) -> float:
        """Bits broadcast by all agents in a slot."""
        return self.message_bits / max(self.query_steps, 1)

"""Packet arrivals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def bernoulli_arrivals(uniforms: Floats, rate: float) -> Bools:
    """One packet with probability `rate` in every slot; `uniforms` in [0, 1) of any shape."""
    return uniforms < rate


def on_off_arrivals(switch: Floats, arrive: Floats, rate: float, duty: float, mean_on: float) -> Bools:
    """Bursty arrivals: a two-state Markov chain a source, packets only while it is on (interrupted Bernoulli process).

    Args:
        switch: uniforms [T, ...] that drive the chain.
        arrive: uniforms [T, ...] that drive the arrivals.
        rate: long-run packets a slot.
        duty: long-run share of slots that are on; the rate while on is `rate / duty`.
        mean_on: mean length of an on period in slots.

    Returns:
        Arrivals [T, ...]; the chain starts in its stationary distribution.
    """
    leave_on = 1.0 / mean_on
    leave_off = leave_on * duty / (1.0 - duty)
    on = switch[0] < duty
    states = [on]
    for slot in switch[1:]:
        on = np.where(on, slot >= leave_on, slot < leave_off)
        states.append(on)
    return np.stack(states) & (arrive < rate / duty)

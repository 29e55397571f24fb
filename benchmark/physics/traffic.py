"""Packet arrivals, and what others take of a place in turns."""

from __future__ import annotations

import math

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


def scheduled_runs(period: int, duty: float, run: float, rng: np.random.Generator) -> Bools:
    """A two-state Markov chain round a period: scheduled with probability `duty`, in runs of so many slots on average, [L]."""
    leave_on = 1.0 / run
    leave_off = leave_on * duty / (1.0 - duty)
    switch, state = rng.random(period), bool(rng.random() < duty)
    states = []
    for draw in switch:
        state = draw >= leave_on if state else draw < leave_off
        states.append(state)
    return np.array(states)


def arcsine(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws in [0, 1] with most of them near the ends (arcsine law, variance 1/8): cheap or dear rather than in between."""
    return np.square(np.sin(0.5 * math.pi * uniform))

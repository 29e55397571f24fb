"""Where each quantity stands in a `power` observation, for the environment that writes it and the policies that read it."""

from __future__ import annotations

from torch import Tensor

from ..layout import Named

DB_SCALE = 30.0  # levels are shown in units of 30 dB over the noise

LAYOUT = {  # floats of each part, and what they are
    "queue": (2, "own backlog in slots of mean arrivals: share of the buffer; log"),
    "need": (1, "mean arrivals as a spectral efficiency, log2(1 + bit/s/Hz)"),
    "snr": (2, "own direct channel at full power over noise: now, one slot ago (levels: dB over the noise / 30)"),
    "noise": (2, "interference plus noise at the own receiver, last slot and the one before (levels: dB over the noise / 30)"),
    "sinr": (1, "last SINR (level); the lowest level where nothing was sent"),
    "sent": (2, "last amplitude; last served bits over mean arrivals"),
    "clock": (3, "slot of the period over its length; its sine and cosine"),
    "index": (8, "own index / N; its seven binary digits"),
}


class View(Named, layout=LAYOUT):
    """Named views into observations [..., O]."""


def ratio(level: Tensor) -> Tensor:
    """Inverse of the observation's levels: power over the noise."""
    return 10.0 ** (level * (DB_SCALE / 10.0))

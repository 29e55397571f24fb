"""Where each quantity stands in an `access` observation, for the environment that writes it and the policies that read it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..layout import Named
from ..permutation import renumber_choices

MAX_CHANNELS = 4  # observations and actions of fewer channels are padded to this
CLOCK_BITS = 6
MAX_SUPERFRAME = 2**CLOCK_BITS
FRAMES = 4  # ages are measured in frames (one turn for everybody), so that they mean the same whatever the number of users
NEAR_SLOTS = 8  # the distance to the own turn is resolved in slots up to here, whatever the number of users

LAYOUT = {  # floats of each part, and what they are
    "queue": (3, "has a packet; length / buffer; log length"),
    "age": (2, f"age of the oldest packet in frames (turns of everybody): divided by {FRAMES}, at most 1; log"),
    "outcome": (3, "own last outcome, one-hot: nothing sent, delivered, lost"),
    "sent": (MAX_CHANNELS, "channel of the own last packet, one-hot"),
    "heard": (MAX_CHANNELS, "channel heard in the last slot, one-hot: that of the own packet, else the home channel"),
    "feedback": (2, "what was heard there: one sender, several; idle = (0, 0)"),
    "silence": (1, "log of the frames since own last success"),
    "static": (1 + MAX_CHANNELS, "own index / N; home channel, one-hot"),
    "turn": (4, "own turn now; slots until then, near; sine and cosine of the phase in the frame"),
    "clock": (3 + CLOCK_BITS, f"slot of the superframe / {MAX_SUPERFRAME}; sine and cosine of its phase; its binary digits"),
}


class View(Named, layout=LAYOUT):
    """Named views into observations [..., O]."""


def permute_channels(windows: dict[str, Tensor], generator: torch.Generator) -> None:
    """Give the channels random numbers among MAX_CHANNELS, the same for all agents.

    Which number a channel has means nothing; a network trained on a few channels has then met every number.
    """
    order = torch.randperm(MAX_CHANNELS, generator=generator)  # new channel k is old channel order[k]
    renumber_choices(windows, order)
    view = View(windows["obs"])
    view.sent[:] = view.sent[..., order]
    view.heard[:] = view.heard[..., order]
    view.static[..., 1:] = view.static[..., 1:][..., order]

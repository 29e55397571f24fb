"""Where each quantity stands in an `access` observation, for the environment that writes it and the policies that read it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..permutation import renumber_choices

MAX_CHANNELS = 3  # observations and actions of fewer channels are padded to this
FEEDBACK_SLOTS = 4  # slots of channel feedback in an observation
FRAMES = 4  # ages are measured in frames (one turn for everybody), so that they mean the same whatever the number of users
NEAR_SLOTS = 8  # the distance to the own turn is resolved in slots up to here, whatever the number of users

_SIZES = {
    "queue": 3,  # has a packet; length / buffer; log length
    "age": 2,  # head-of-line age in frames: up to FRAMES; log
    "outcome": 3,  # own last outcome: none, ACK, NACK
    "sent": MAX_CHANNELS,  # channel of the own last packet
    "feedback": FEEDBACK_SLOTS * MAX_CHANNELS * 2,  # newest slot first; (success, collision) a channel, idle = (0, 0)
    "silence": 1,  # log of the frames since own last success
    "static": 1 + MAX_CHANNELS,  # own index / N; home channel
    "turn": 4,  # own turn now; slots until then, near; sine and cosine of the phase in the frame
}
_ENDS = [sum(list(_SIZES.values())[: i + 1]) for i in range(len(_SIZES))]
SLICES = {name: slice(end - size, end) for (name, size), end in zip(_SIZES.items(), _ENDS, strict=True)}
OBS_SIZE = _ENDS[-1]


class View:
    """Named views into observations [..., O]."""

    queue: Tensor
    age: Tensor
    outcome: Tensor
    sent: Tensor
    feedback: Tensor
    silence: Tensor
    static: Tensor
    turn: Tensor

    def __init__(self, obs: Tensor) -> None:
        for name, where in SLICES.items():
            setattr(self, name, obs[..., where])


def permute_channels(windows: dict[str, Tensor], generator: torch.Generator) -> None:
    """Give the channels random numbers among MAX_CHANNELS, the same for all agents.

    Which number a channel has means nothing; a network trained on one and two channels has then met every number.
    """
    order = torch.randperm(MAX_CHANNELS, generator=generator)  # new channel k is old channel order[k]
    renumber_choices(windows, order)
    view = View(windows["obs"])
    feedback = view.feedback.unflatten(-1, (FEEDBACK_SLOTS, MAX_CHANNELS, 2))
    view.sent[:] = view.sent[..., order]
    view.feedback[:] = feedback[..., order, :].flatten(-3)
    view.static[..., 1:] = view.static[..., 1:][..., order]

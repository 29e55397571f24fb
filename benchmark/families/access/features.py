"""What an `access` observation holds for every value that its quantities can take, tabulated once an environment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .layout import CLOCK_BITS, FRAMES, MAX_CHANNELS, MAX_SUPERFRAME, NEAR_SLOTS
from .variant import AccessVariant


@dataclass(frozen=True)
class Lookup:
    """Parts of an observation by what they depend on.

    Attributes:
        queue: by packets in the queue.
        age: by age of the head of line in slots.
        past: outcome, sent, heard and feedback, by `past_code`.
        silence: by slots since the last success.
        constant: static, turn and clock, by slot of the episode and user.
        allowed: action mask, by whether there is a packet.
    """

    queue: Tensor
    age: Tensor
    past: Tensor
    silence: Tensor
    constant: Tensor
    allowed: Tensor


def lookup_tables(variant: AccessVariant, device: torch.device) -> Lookup:
    """The tables of a variant."""
    length = torch.arange(variant.buffer + 1)
    log_length = torch.log1p(length) / math.log1p(variant.buffer)
    queue = torch.stack([(length > 0).float(), length / variant.buffer, log_length], dim=-1)
    frames = torch.arange(variant.horizon + 2) / variant.frame
    age = torch.stack([frames.clamp(max=FRAMES) / FRAMES, torch.log1p(frames)], dim=-1)
    allowed = torch.zeros(2, MAX_CHANNELS + 1, dtype=torch.bool)
    allowed[:, 0] = True
    allowed[1, 1 : variant.channels + 1] = True
    tables = queue, age, _past(), torch.log1p(frames).unsqueeze(-1), _constant(variant), allowed
    return Lookup(*(table.to(device) for table in tables))


def past_code(sent: Tensor, heard: Tensor, senders: Tensor) -> Tensor:
    """What a user sent (0 = idle), which channel it heard (from 0) and how many senders there, in one number above 0."""
    return (sent * (MAX_CHANNELS + 1) + heard + 1) * 3 + senders.clamp(max=2)


def _past() -> Tensor:
    """Outcome, sent, heard and feedback by `past_code`; 0 = nothing has happened yet."""
    code = torch.arange((MAX_CHANNELS + 1) ** 2 * 3)
    feedback, rest = code % 3, code // 3
    heard, sent = rest % (MAX_CHANNELS + 1), rest // (MAX_CHANNELS + 1)
    outcome = torch.where(sent > 0, torch.where(feedback == 1, 1, 2), 0)
    numbers = one_hot(sent, MAX_CHANNELS + 1)[:, 1:], one_hot(heard, MAX_CHANNELS + 1)[:, 1:]
    return torch.cat([one_hot(outcome, 3), *numbers, one_hot(feedback, 3)[:, 1:]], dim=-1).float()


def _constant(variant: AccessVariant) -> Tensor:
    """Static, turn and clock features, [T + 1, N, ...]."""
    user, slots = torch.arange(variant.agents), variant.horizon + 1
    home = one_hot(user % variant.channels, MAX_CHANNELS).float()
    static = torch.cat([(user / variant.agents).unsqueeze(-1), home], dim=-1)
    clock = _clock_features(variant).unsqueeze(1)
    parts = static.expand(slots, -1, -1), _turn_features(variant), clock.expand(-1, variant.agents, -1)
    return torch.cat(parts, dim=-1)


def _turn_features(variant: AccessVariant) -> Tensor:
    """Own turn, the wait for it and its phase in the frame of ceil(N / C) slots, [T + 1, N, 4]."""
    turn = torch.arange(variant.agents) // variant.channels  # slot of the frame in which it is this user's turn
    wait = (turn - torch.arange(variant.horizon + 1)[:, None]) % variant.frame
    phase = wait * (2.0 * math.pi / variant.frame)
    return torch.stack([(wait == 0).float(), wait.clamp(max=NEAR_SLOTS) / NEAR_SLOTS, phase.sin(), phase.cos()], dim=-1)


def _clock_features(variant: AccessVariant) -> Tensor:
    """The slot of the superframe in three notations, [T + 1, 3 + CLOCK_BITS]."""
    slot = torch.arange(variant.horizon + 1) % variant.superframe
    phase = slot * (2.0 * math.pi / variant.superframe)
    digits = (slot[:, None] >> torch.arange(CLOCK_BITS)) & 1
    return torch.cat([torch.stack([slot / MAX_SUPERFRAME, phase.sin(), phase.cos()], dim=-1), digits], dim=-1).float()

"""All randomness of wbench, keyed so that an episode is the same whatever else is in its batch.

Two kinds: a *scenario* (what is outside the agents' control) is drawn once, from a NumPy Philox generator keyed by
(variant, seed); the *agents'* own coin flips come from a counter-based hash of (variant, seed, draw number, position),
which runs on any device. Neither depends on batch size, order, shard or agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def generator(*key: object) -> np.random.Generator:
    """The generator of everything that hangs on this key alone: Philox, keyed by its SHA-256."""
    return np.random.Generator(np.random.Philox(key=np.frombuffer(_digest(*key)[:16], dtype=np.uint64)))


def gumbel(uniform: Tensor) -> Tensor:
    """Gumbel noise from numbers in [0, 1): the greatest of logits with it is a draw from their softmax.

    `torch.rand` draws an exact 0 once in 2^24 numbers. Its noise is finite too, else the only allowed choice could lose to a
    masked one.
    """
    return -torch.log(-torch.log(uniform.clamp(min=torch.finfo(uniform.dtype).tiny)))


class EpisodeRandom:
    """Random numbers for the policies of a batch of episodes.

    Args:
        variant: name of the variant.
        sites: the site of each of the B episodes.
        seeds: the scenario seed of each.
        device: where draws are made; the bits are the same everywhere.
    """

    def __init__(self, variant: str, sites: Sequence[int], seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        episodes = zip(sites, seeds, strict=True)
        keys = [int.from_bytes(_digest(variant, *episode, "policy")[:8], "little", signed=True) for episode in episodes]
        self._keys = torch.tensor(keys, dtype=torch.int64, device=device)
        self._draws = 0

    @property
    def device(self) -> torch.device:
        """Where draws are made."""
        return self._keys.device

    def uniform(self, *shape: int) -> Tensor:
        """Draws in (0, 1), float32, shape [B, *shape]. Each call gives fresh numbers."""
        return self.draw()._uniform(self._keys, torch.zeros_like(self._keys), shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws, float32, shape [B, *shape]."""
        return torch.special.ndtri(self.uniform(*shape))

    def draw(self) -> Draw:
        """Reserve one set of fresh numbers, to be read row by row."""
        self._draws += 1
        return Draw(self._keys, self._draws)


class Draw:
    """One set of random numbers for all agents of a batch, of which any rows can be read, in any order and any parts.

    Args:
        keys: a key an episode, [B].
        number: which draw it is.
    """

    def __init__(self, keys: Tensor, number: int) -> None:
        self._keys, self._number = keys, number

    def uniform(self, rows: Tensor, agents: int, *shape: int) -> Tensor:
        """Numbers in (0, 1) of rows [R] = episode * agents + agent: [R, *shape]."""
        return self._uniform(self._keys[rows // agents], rows % agents, shape)

    def normal(self, rows: Tensor, agents: int, *shape: int) -> Tensor:
        """Standard normal numbers of rows [R]: [R, *shape], by inversion."""
        return torch.special.ndtri(self.uniform(rows, agents, *shape))

    def _uniform(self, keys: Tensor, offset: Tensor, shape: tuple[int, ...]) -> Tensor:
        count = int(np.prod(shape, dtype=np.int64))
        bits = offset[:, None] * count + torch.arange(count, device=keys.device) + (self._number << 32)
        bits.mul_(_GOLDEN).add_(keys[:, None])
        _mix_(_mix_(bits).bitwise_xor_(keys[:, None]))
        top = bits.bitwise_right_shift_(41).bitwise_and_(0x7FFFFF)  # 23 bits: plus one half, exact in float32, never 0 or 1
        return top.float().add_(0.5).mul_(2.0**-23).view(len(keys), *shape)


_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as a signed 64-bit integer


def _mix_(x: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014) on wrapping int64 tensors, in place: a planner draws thousands a row."""
    shifted = torch.empty_like(x)
    for shift, ones, factor in ((30, 0x3FFFFFFFF, -4658895280553007687), (27, 0x1FFFFFFFFF, -7723592293110705685)):
        torch.bitwise_right_shift(x, shift, out=shifted)
        x.bitwise_xor_(shifted.bitwise_and_(ones)).mul_(factor)
    torch.bitwise_right_shift(x, 31, out=shifted)
    return x.bitwise_xor_(shifted.bitwise_and_(0x1FFFFFFFF))

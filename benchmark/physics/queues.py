"""First-in-first-out queues, of packets and of fluid, batched over any leading shape."""

from __future__ import annotations

import torch
from torch import Tensor


class PacketQueue:
    """Queues of packets stamped with their arrival slot.

    A ring buffer per queue: constant memory, a handful of tensor operations a slot, no loop over queues.

    Args:
        shape: leading shape, e.g. (episodes, agents).
        capacity: packets that a queue holds; a packet that finds it full is dropped.
        device: where it lives.
    """

    def __init__(self, shape: tuple[int, ...], capacity: int, device: torch.device | str = "cpu") -> None:
        self.capacity = capacity
        self.length = torch.zeros(shape, dtype=torch.int64, device=device)
        self._head = torch.zeros(shape, dtype=torch.int64, device=device)
        self._stamps = torch.zeros(*shape, capacity, dtype=torch.int64, device=device)

    def clone_episodes(self, rows: Tensor) -> PacketQueue:
        """A copy of these rows of the leading axis, [F]."""
        copied = PacketQueue((0,), self.capacity, self.length.device)
        copied.length, copied._head, copied._stamps = (x.index_select(0, rows) for x in (self.length, self._head, self._stamps))
        return copied

    def head_stamp(self) -> Tensor:
        """Arrival slot of the packet at the head; meaningless where the queue is empty."""
        return self._stamps.gather(-1, self._head.unsqueeze(-1)).squeeze(-1)

    def pop(self, served: Tensor) -> None:
        """Remove the head where `served` (bool). The caller serves non-empty queues only."""
        step = served.long()
        self.length -= step
        self._head = (self._head + step) % self.capacity

    def push(self, arrived: Tensor, slot: int) -> Tensor:
        """Append a packet stamped `slot` where `arrived` (bool) and there is room; returns where one was dropped."""
        accepted = arrived & (self.length < self.capacity)
        tail = ((self._head + self.length) % self.capacity).unsqueeze(-1)
        stamp = torch.where(accepted, slot, self._stamps.gather(-1, tail).squeeze(-1))
        self._stamps.scatter_(-1, tail, stamp.unsqueeze(-1))
        self.length += accepted.long()
        return arrived & ~accepted


def total(amounts: Tensor, dim: int) -> Tensor:
    """Sum in the order of the entries. `torch.sum` rounds in an order that depends on the place in the batch."""
    first, *rest = amounts.unbind(dim)
    found = first.clone()
    for part in rest:
        found += part
    return found


def serve(queue: Tensor, capacity: Tensor) -> Tensor:
    """What a first-in-first-out server takes from each task; the oldest are served first.

    Args:
        queue: remaining amount of each task, youngest first, [..., K, B, N].
        capacity: what the server can do in the slot, [..., B, N].

    Returns:
        Served amounts, [..., K, B, N].
    """
    served, left = torch.empty_like(queue), capacity.clone()
    for amount, taken in reversed(list(zip(queue.unbind(-3), served.unbind(-3), strict=True))):
        torch.minimum(left, amount, out=taken)
        left -= taken
    return served


def fifo_delays(accepted: Tensor, departed: Tensor) -> tuple[Tensor, Tensor]:
    """Delays of the bits of fluid queues, first in first out.

    Args:
        accepted: cumulative bits that are there from slot i on, [..., T], never falling.
        departed: cumulative bits that left by the end of slot j, [..., T], never falling and never above `accepted`.

    Returns:
        Bits [..., 2 T] and their delays [..., 2 T] in slots: j - i + 1 for those that are there from slot i on and leave in
        slot j. Those that have not left weigh nothing.
    """
    accepted, departed = accepted.contiguous(), departed.contiguous()
    level = torch.cat([accepted, departed], dim=-1).sort(dim=-1).values  # between two levels all bits share both slots
    bits = torch.diff(level, dim=-1, prepend=torch.zeros_like(level[..., :1]))
    arrived, left = torch.searchsorted(accepted, level), torch.searchsorted(departed, level)
    gone = left < departed.shape[-1]
    return torch.where(gone, bits, 0.0), torch.where(gone, left - arrived + 1, 0).clamp(min=0)

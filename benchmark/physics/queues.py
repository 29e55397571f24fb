"""First-in-first-out packet queues with finite buffers, batched over any leading shape."""

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

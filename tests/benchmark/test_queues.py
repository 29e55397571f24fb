"""The ring-buffer queue against Python's own deque."""

from __future__ import annotations

from collections import deque

import torch
from wbench.benchmark.physics.queues import PacketQueue


def test_queue_equals_a_deque_under_random_traffic():
    generator = torch.Generator().manual_seed(0)
    capacity, shape = 3, (4, 5)
    queue = PacketQueue(shape, capacity)
    model = {(i, j): deque() for i in range(4) for j in range(5)}
    dropped = 0
    for slot in range(200):
        serve = (torch.rand(shape, generator=generator) < 0.4) & (queue.length > 0)
        arrive = torch.rand(shape, generator=generator) < 0.5
        queue.pop(serve)
        lost = queue.push(arrive, slot)
        for place, packets in model.items():
            if serve[place]:
                packets.popleft()
            full = len(packets) == capacity
            assert bool(lost[place]) == bool(arrive[place] and full)
            dropped += int(lost[place])
            if arrive[place] and not full:
                packets.append(slot)
            assert int(queue.length[place]) == len(packets)
            if packets:
                assert int(queue.head_stamp()[place]) == packets[0]
    assert dropped > 50

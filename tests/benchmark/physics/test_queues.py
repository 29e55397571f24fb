"""The ring-buffer queue against Python's own deque and against queueing theory."""

from __future__ import annotations

import math
from collections import deque

import pytest
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


@pytest.mark.parametrize(("arrival", "service", "length", "wait"), [(0.3, 0.5, 1.05, 3.5), (0.4, 0.5, 2.4, 6.0)])
def test_geo_geo_1_meets_its_closed_form(arrival, service, length, wait):
    """Departures first: E[Q] = a (1 - a) / (s - a) and W = (1 - a) / (s - a)."""
    assert arrival * (1 - arrival) / (service - arrival) == pytest.approx(length)
    assert (1 - arrival) / (service - arrival) == pytest.approx(wait)
    generator = torch.Generator().manual_seed(1)
    queues, warm_up, slots = 2000, 300, 1500
    queue = PacketQueue((queues,), 256)  # never full at these loads
    lengths, delays, served = torch.zeros(3, queues).unbind()
    for slot in range(warm_up + slots):
        serve = (torch.rand(queues, generator=generator) < service) & (queue.length > 0)
        sojourn = torch.where(serve, slot - queue.head_stamp(), 0)
        queue.pop(serve)
        assert not queue.push(torch.rand(queues, generator=generator) < arrival, slot).any()
        if slot >= warm_up:
            lengths, delays, served = lengths + queue.length, delays + sojourn, served + serve
    for measured, expected in ((lengths / slots, length), (delays / served, wait)):
        error = float(measured.std()) / math.sqrt(queues)
        assert float(measured.mean()) == pytest.approx(expected, abs=4 * error + 0.005 * expected)  # a ratio's small bias
        assert error < 0.015 * expected

"""Where each quantity stands in an `offload` observation, for the environment that writes it and the policies that read it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..permutation import renumber_choices

SLOT = 0.1  # seconds
LOCAL_SPEED = 2.6  # GHz, a device's CPU at full clock
MAX_EDGES = 4  # observations and actions of fewer edges are padded to this
MIN_SIZE, MAX_SIZE = 1.0, 7.0  # Mbit of a task, uniform; shown as a fraction of the greatest
MIN_DENSITY, MAX_DENSITY = 0.2, 0.4  # Gcycle per Mbit, uniform; shown as a fraction of the greatest
MEAN_SIZE, MEAN_WORK = 4.0, 1.2  # Mbit and Gcycle of a task; the two draws are independent
TOP_SPEED = 42.0  # GHz; speeds are shown as a fraction of it

_SIZES = {
    "task": 3,  # a task waits for a decision; its size / MAX_SIZE; its density / MAX_DENSITY
    "local": 1,  # own local backlog: log(1 + slots at full clock)
    "radio": 1,  # own radio backlog: log(1 + slots alone on the band at the reference SNR)
    "pending": MAX_EDGES,  # own work sent or to be sent to each edge: log(1 + slots of the whole edge)
    "channel": MAX_EDGES,  # own spectral efficiency to each edge now, as a multiple of that at the reference SNR
    "exists": MAX_EDGES,  # whether the edge exists
    "speed": MAX_EDGES,  # speed of each edge / TOP_SPEED
    "backlog": MAX_EDGES,  # work that was at each edge, everybody's, one slot ago: log(1 + slots of the edge)
    "users": 2 * MAX_EDGES,  # devices that sent to each edge in the last slot, as a fraction of N; then log(1 + number)
    "alive": 2,  # own tasks alive / deadline; age of the oldest / deadline
    "outcome": 3,  # completed any, dropped one in the last slot; delay of the last completed task / deadline
    "server": 1 + MAX_EDGES,  # server chosen in the last slot, one-hot; 0 where no task waited, none before the first slot
    "clock": 1,  # frequency chosen in the last slot
    "index": 1,  # own index / N
}
_ENDS = [sum(list(_SIZES.values())[: i + 1]) for i in range(len(_SIZES))]
SLICES = {name: slice(end - size, end) for (name, size), end in zip(_SIZES.items(), _ENDS, strict=True)}
OBS_SIZE = _ENDS[-1]


class View:
    """Named views into observations [..., O]."""

    task: Tensor
    local: Tensor
    radio: Tensor
    pending: Tensor
    channel: Tensor
    exists: Tensor
    speed: Tensor
    backlog: Tensor
    users: Tensor
    alive: Tensor
    outcome: Tensor
    server: Tensor
    clock: Tensor
    index: Tensor

    def __init__(self, obs: Tensor) -> None:
        for name, where in SLICES.items():
            setattr(self, name, obs[..., where])


def permute_edges(windows: dict[str, Tensor], generator: torch.Generator) -> None:
    """Give the edges random numbers among MAX_EDGES, the same for all devices.

    Which number an edge has means nothing; a network trained on two and three edges has then met every number.
    """
    order = torch.randperm(MAX_EDGES, generator=generator)  # new edge k is old edge order[k]
    view, choices = View(windows["obs"]), renumber_choices(windows, order)
    for edges in (view.pending, view.channel, view.exists, view.speed, view.backlog, *view.users.split(MAX_EDGES, -1)):
        edges[:] = edges[..., order]
    view.server[:] = view.server[..., choices]

"""Reference policies of `offload`. All but the genie use only what a device may see. Times are in slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, RandomPolicy, State
from ...randomness import gumbel
from .layout import LOCAL_SPEED, MAX_DENSITY, MAX_EDGES, MAX_SIZE, MEAN_SIZE, MEAN_WORK, SLOT, View

if TYPE_CHECKING:
    from .env import OffloadEnv
    from .variant import OffloadVariant

# Chosen on train variants (docs/offload.md).
HANDOVER = 1.0  # slots: a task that leaves the radio in one slot is computed from the next
OTHERS_TIME = 1.5  # the softmax policy counts each other user once for itself, and half for what it costs that user
TEMPERATURE = 0.25  # slots
FUTURE = 0.5  # the genie charges each slot on the air half a slot more, for tasks that are still to come


class _Seen:
    """What a device reads off its observation, in physical units; the E edges come last.

    Attributes:
        size: Mbit of the task that waits for a decision, 0 where none does, [B, N].
        work: its Gcycles, [B, N].
        speeds: Gcycles a slot of each edge, [E].
        rate: Mbit a slot that the device would have alone on each band, [B, N, E].
        local: slots of work in the own CPU's queue, at full clock, [B, N].
        with_local: the same with the waiting task added, [B, N].
        alone: slots on the air until the task is sent, were nobody else to send there, [B, N, E].
        pending: own work sent or to be sent to each edge, in slots of the edge, [B, N, E].
        backlog: everybody's work at each edge one slot ago, in slots of the edge, [B, N, E].
        users: devices that sent to each edge in the last slot, [B, N, E].
    """

    def __init__(self, obs: Tensor, state: State) -> None:
        v, view = cast("OffloadVariant", state.variant), View(obs)
        e, band = v.edges, v.uplink * SLOT
        self.size = view.task[..., 1] * MAX_SIZE
        self.work = self.size * view.task[..., 2] * MAX_DENSITY
        self.speeds = SLOT * torch.tensor(v.speeds, device=obs.device)
        self.local = view.local[..., 0].expm1()
        self.with_local = self.local + self.work / (LOCAL_SPEED * SLOT)
        self.rate = band * view.channel[..., :e]
        on_radio = view.radio[..., 0].expm1() * band + self.size
        self.alone = on_radio.unsqueeze(-1) / self.rate
        self.pending = view.pending[..., :e].expm1()
        self.backlog = view.backlog[..., :e].expm1()
        self.users = view.users[..., MAX_EDGES : MAX_EDGES + e].expm1()

    def computing(self) -> Tensor:
        """Slots that each edge would compute the task for, were it alone, [B, N, E]."""
        return self.work.unsqueeze(-1) / self.speeds

    def action(self, server: Tensor) -> Tensor:
        """Actions [B, N, 2]: this server [B, N] where a task waits; the clock slows down where little local work is left.

        A joule costs as much as five task-slots at deadline 10, and a cycle f^2 joules: one task alone is cheapest at
        some .8 of the full clock, two in a queue at full clock.
        """
        server = torch.where(self.size > 0, server, 0)
        local = torch.where(server == 0, self.with_local, self.local)
        return torch.stack([server.float(), (0.8 + 0.1 * local).clamp(max=1.0)], dim=-1)


class Local(Agent):
    """Everything on the device, at full clock."""

    name = "local"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        return torch.stack([torch.zeros_like(obs[..., 0]), torch.ones_like(obs[..., 0])], dim=-1)


class Herd(Agent):
    """Every task to the edge that looked quickest one slot ago; everybody sees the same and goes there."""

    name = "herd"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        seen = _Seen(obs, state)
        return seen.action(1 + (seen.backlog + seen.computing()).argmin(-1))


class Split(Agent):
    """A fixed random split: each server in proportion to the mean tasks a slot that it could serve for one device of N."""

    name = "split"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        v, seen = cast("OffloadVariant", state.variant), _Seen(obs, state)
        edges = (seen.speeds / MEAN_WORK).clamp(max=v.uplink * SLOT / MEAN_SIZE) / v.agents
        rates = torch.cat([edges.new_tensor([LOCAL_SPEED * SLOT / MEAN_WORK]), edges])
        bounds = (rates / rates.sum()).cumsum(0)[:-1]
        return seen.action((state.random.uniform(v.agents).unsqueeze(-1) > bounds).sum(-1))


class Greedy(Agent):
    """Private greedy: the server that would finish the task first if nobody else were there."""

    name = "greedy"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        seen = _Seen(obs, state)
        edges = seen.alone + HANDOVER + seen.pending + seen.computing()
        return seen.action(torch.cat([seen.with_local.unsqueeze(-1), edges], dim=-1).argmin(-1))


class Softmax(Agent):
    """Stale-load softmax: greedy, but with the users and backlogs of one slot ago, and a little at random against herding."""

    name = "softmax"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        seen = _Seen(obs, state)
        edges = seen.alone * (1.0 + OTHERS_TIME * seen.users) + HANDOVER + seen.backlog + seen.computing()
        cost = torch.cat([seen.with_local.unsqueeze(-1), edges], dim=-1)
        luck = gumbel(state.random.uniform(*cost.shape[1:]))
        return seen.action((luck - cost / TEMPERATURE).argmax(-1))


class Genie(Agent):
    """Central greedy: sees everything and places the new tasks one after another, the largest first, each where it costs least.

    A server that is shared equally by amounts b_j finishes one more, b, after (b + sum_j min(b_j, b)) / rate, and b delays the
    others by that same sum: the cost of a place is the task's own time and the delay of all others.
    """

    name = "genie"
    privileged = True

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        v = cast("OffloadVariant", state.variant)
        queues, seen = cast("OffloadEnv", state.env).queues(), _Seen(obs, state)
        order = seen.work.argsort(dim=1, descending=True, stable=True)
        size, work, local = (x.gather(1, order) for x in (seen.size, seen.work, seen.with_local))
        radio, pending, rate = (x.gather(2, order.expand_as(x)) for x in (*queues, seen.rate.permute(2, 0, 1)))
        on_air, to_send = radio / rate, size / rate  # slots alone on the band, [E, B, N]
        speeds, ids = seen.speeds.unsqueeze(-1), torch.arange(1, v.edges + 1, device=obs.device).unsqueeze(-1)
        servers = torch.zeros_like(order)
        for n in range(int((size > 0).sum(1).max())):  # those with a task come first
            own_air = to_send[..., n] + on_air[..., n].sum(0)
            own_work = work[:, n] + pending[..., n]
            others_air = torch.minimum(on_air, own_air.unsqueeze(-1)).sum(2) - torch.minimum(on_air[..., n], own_air)
            others_work = torch.minimum(pending, own_work.unsqueeze(-1)).sum(2) - pending[..., n]
            air = own_air + 2.0 * others_air + FUTURE * to_send[..., n]
            edges = air + HANDOVER + (own_work + 2.0 * others_work) / speeds
            servers[:, n] = torch.cat([local[:, n].unsqueeze(0), edges]).argmin(0) * (size[:, n] > 0)
            chosen = servers[:, n] == ids
            on_air[..., n] += chosen * to_send[..., n]
            pending[..., n] += chosen * work[:, n]
        return seen.action(torch.zeros_like(servers).scatter(1, order, servers))


POLICIES: dict[str, Callable[[], Agent]] = {
    "random": RandomPolicy,
    "local": Local,
    "herd": Herd,
    "split": Split,
    "greedy": Greedy,
    "softmax": Softmax,
    "genie": Genie,
}

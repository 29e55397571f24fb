"""Reference policies of `offload` that act alone. Times are in slots.

`prior`, `belief`, `estimator` and `oracle` are one rule (`Planner`) with different estimates of the site: they compute the
same plan, and each device then sends its task where the cost to it and to all others is least.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...agent import Agent, State, Support
from ..reader import Reader, part
from ..revealed import Revealed
from .estimator import estimate
from .layout import LOCAL_SPEED, MAX_DENSITY, MAX_SIZE, MEAN_SIZE, MEAN_WORK, SLOT, View
from .planning import Estimate, Plan, average, late, local_cost, plan, told

if TYPE_CHECKING:
    from .env import OffloadEnv
    from .variant import OffloadVariant

HANDOVER = 1.0  # slots: a task that leaves the radio in one slot is computed from the next
NOISE = 0.7  # variance of the logarithm of a share that is seen, around what the plan expects
ARRAYS = ("capacity", "band", "available", "tariff", "snr")  # of an estimate
DRIFT = 0.02  # variance that each slot adds to the logarithm of a speed


class Seen:
    """What a device reads off its observation, in physical units; the E edges come last.

    Attributes:
        size: Mbit of the task that waits for a decision, 0 where none does, [B, N].
        work: its Gcycles, [B, N].
        local: slots of work in the own CPU's queue, at full clock, [B, N].
        with_local: the same with the waiting task added, [B, N].
        channel: own spectral efficiency, as a multiple of that at the reference SNR, [B, N, E].
        sending: own Mbit to be sent to each edge, [B, N, E].
        pending: own Gcycles at each edge, [B, N, E].
        sent, served: own Mbit and Gcycles of the last slot, [B, N, E].
    """

    def __init__(self, obs: Tensor, edges: int) -> None:
        view, e = View(obs), edges
        self.size = view.task[..., 1] * MAX_SIZE
        self.work = self.size * view.task[..., 2] * MAX_DENSITY
        self.local = view.local[..., 0].expm1()
        self.with_local = self.local + self.work / (LOCAL_SPEED * SLOT)
        self.channel = view.channel[..., :e]
        self.sending = view.sending[..., :e].expm1() * MEAN_SIZE
        self.pending = view.pending[..., :e].expm1() * MEAN_WORK
        self.sent, self.served = view.sent[..., :e] * MEAN_SIZE, view.served[..., :e] * MEAN_WORK

    def action(self, server: Tensor) -> Tensor:
        """Actions [B, N, 2]: this server [B, N] where a task waits; the clock slows down where little local work is left."""
        server = torch.where(self.size > 0, server, 0)
        return torch.stack([server.float(), clock(server, self.local, self.work)], dim=-1)


def clock(server: Tensor, local: Tensor, work: Tensor) -> Tensor:
    """The local clock for this many slots of local work, and the new task's Gcycles where it stays; all [B, N].

    A joule costs as much as five task-slots at deadline 10, and a cycle f^2 joules: one task alone is cheapest at some .8 of
    the full clock, two in a queue at full clock.
    """
    backlog = local + (server == 0) * work / (LOCAL_SPEED * SLOT)
    return (0.8 + 0.1 * backlog).clamp(max=1.0)


class Local(Agent):
    """Everything on the device, at full clock."""

    name = "local"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        return torch.stack([torch.zeros_like(obs[..., 0]), torch.ones_like(obs[..., 0])], dim=-1)


class Shortest(Agent):
    """Join the shortest expected delay, were nobody else there and all edges alike."""

    name = "shortest"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        v = cast("OffloadVariant", state.variant)
        seen = Seen(obs, v.edges)
        air = (seen.sending.sum(-1) + seen.size).unsqueeze(-1) / (v.band / v.edges * seen.channel)
        edges = air + HANDOVER + (seen.pending + seen.work.unsqueeze(-1)) / (v.speed / v.edges)
        return seen.action(torch.cat([seen.with_local.unsqueeze(-1), edges], dim=-1).argmin(-1))


class Medium(Shortest):
    """The middling behaviour that records data: a classic rule that knows neither others nor the site."""

    name = "medium"


class Planner(Agent):
    """The common rule. Subclasses say what they think of the site."""

    learns = True  # from what it sees in play

    def thought(self, state: State) -> Estimate:
        """The estimate of the site of each episode, or one of all."""
        return average(cast("OffloadVariant", state.variant))

    def begin(self, state: State) -> None:
        """Compute the plan."""
        thought, v = self.thought(state), cast("OffloadVariant", state.variant)
        state.memory["thought"], state.memory["plan"] = thought, plan(v, thought)
        shape = (state.batch, v.agents, v.edges)
        log_speed = torch.zeros(2, *shape, device=thought.band.device)  # of bands and processors, against the estimate
        state.memory["speed"] = log_speed, torch.full_like(log_speed, thought.doubt)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        v, memory = cast("OffloadVariant", state.variant), state.memory
        seen, common, slot = Seen(obs, v.edges), cast(Plan, memory["plan"]), state.slot % v.period
        band = memory["thought"].band.unsqueeze(1)
        if self.learns and state.slot:
            self._learn(seen, memory, (state.slot - 1) % v.period)
        memory["last"] = seen
        factor = memory["speed"][0].exp()
        now = Plan(*(getattr(common, name)[..., slot].unsqueeze(1) for name in Plan.__dataclass_fields__))  # [P, 1, E]
        rate, speed = band * seen.channel * factor[0], now.speed * factor[1]
        queued = (seen.sending / rate * now.band_slower).sum(-1, keepdim=True)
        air, cpu = seen.size.unsqueeze(-1) / rate, seen.work.unsqueeze(-1) / speed
        behind = queued + seen.pending / speed * now.edge_slower
        delay = behind + air * now.band_slower + HANDOVER + cpu * now.edge_slower
        paid = behind + air * now.band_price + HANDOVER + cpu * now.edge_price
        there = paid / v.deadline + late(delay, v.deadline) + now.tariff
        here = self._local(v, seen)
        cost = torch.cat([here.unsqueeze(-1), there], dim=-1)
        return seen.action(cost.argmin(-1))

    def _local(self, v: OffloadVariant, seen: Seen) -> Tensor:
        """Cost of the own CPU: the wait of the task, what it adds to those that come, energy."""
        own = seen.with_local - seen.local
        later = v.arrival * seen.with_local * own * 0.5
        return (
            local_cost(v, own) + (seen.local + later) / v.deadline + late(seen.with_local, v.deadline) - late(own, v.deadline)
        )

    def _learn(self, seen: Seen, memory: dict, slot: int) -> None:
        """A Kalman filter on the logarithm of the speeds, from the shares of the last slot."""
        thought, common, last = memory["thought"], memory["plan"], memory["last"]
        mean, variance = memory["speed"]
        rate = thought.band.unsqueeze(1) * last.channel / common.band_slower[..., slot].unsqueeze(1)
        cpu = (thought.capacity * thought.available[..., slot] / common.edge_slower[..., slot]).unsqueeze(1)
        took = torch.stack([seen.sent, seen.served])
        full = torch.stack([seen.sending > 0, last.pending > seen.served + 1e-4]) & (took > 0)
        surprise = torch.log(took.clamp(min=1e-6) / torch.stack([rate, cpu.expand_as(rate)])) - mean
        used = full | ((took > 0) & (surprise > 0))
        gain = torch.where(used, variance / (variance + NOISE), 0.0)
        start = thought.doubt
        mean, variance = mean + gain * surprise, variance * (1.0 - gain)
        memory["speed"] = mean, variance + DRIFT * start * (1.0 - variance / start)


class Prior(Planner):
    """Told the average; learns nothing."""

    name, learns = "prior", False


class Belief(Planner):
    """Starts as `prior` and learns the site from its own shares within the episode."""

    name = "belief"


class Oracle(Planner):
    """Told the site, acts on its own observations."""

    name, privileged = "oracle", True

    def thought(self, state: State) -> Estimate:
        """The sites as they are."""
        return told(cast("OffloadEnv", state.env).sites)


class Estimator(Reader, Planner):
    """Reads the joint support, then plays like `belief` with that estimate; with no support it is `belief`."""

    def read(self, variant: OffloadVariant, support: Support) -> Estimate:
        """Estimate the site from the joint logs."""
        return estimate(variant, support)

    def thought(self, state: State) -> Estimate:
        """What the logs say: of one site, or by episode of several."""
        found: Estimate | None = self._read
        if found is None or len(found.band) == 1:
            return found or super().thought(state)
        row = part(state, len(found.band))
        return replace(found, **{name: getattr(found, name)[row] for name in ARRAYS})


class RevealedEstimator(Revealed, Estimator):
    """The control of the admission, see `Revealed`."""

    def thought(self, state: State) -> Estimate:
        """The sites as they are, mixed with what the logs say of them."""
        true, read = told(cast("OffloadEnv", state.env).sites), super().thought(state)
        if self._read is None:
            return true
        log = part(state, len(self._shots))
        known: dict[str, Any] = {name: self.mixed(getattr(true, name), getattr(read, name), log) for name in ARRAYS}
        return replace(true, **known)

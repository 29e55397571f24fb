"""The central reference of `offload`: greedy joint assignment, improved by rollouts under sampled futures."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...agent import Agent, State
from .layout import LOCAL_SPEED, MAX_DENSITY, MAX_SIZE, MIN_DENSITY, MIN_SIZE, SLOT
from .planning import LOCAL_ENERGY, late, plan, told
from .policies import HANDOVER, clock

if TYPE_CHECKING:
    from .env import OffloadEnv
    from .variant import OffloadVariant

FUTURE = 1.0  # part of the planned price that a slot of a server is charged, for tasks that are still to come
AHEAD, FUTURES = 8, 2  # slots of a rollout, and how many futures each candidate meets
MARGIN = 0.25  # candidates cost at most this much more than the greedy choice, by the greedy estimate
TRUST = 1.0  # weight of the greedy estimate beside that of the rollouts
REMAINING = 1.5  # slots that a task alive at the end of a rollout still takes


class Prices:
    """What a slot of each edge costs those who come later, by slot of the period; each [L, E, B, 1].

    Attributes:
        speed: Gcycle a slot that an edge gives over the next slots.
        air, cpu: price of a slot of the band, and of the processor.
        tariff: expected cost of the bill.
    """

    def __init__(self, variant: OffloadVariant, env: OffloadEnv) -> None:
        common = plan(variant, told(env.sites))
        self.speed, self.tariff = self._by_slot(common.speed), self._by_slot(common.tariff)
        self.air, self.cpu = (FUTURE * self._by_slot(p - 1.0) for p in (common.band_slower, common.edge_slower))

    @staticmethod
    def _by_slot(table: Tensor) -> Tensor:
        return table.permute(2, 1, 0).unsqueeze(-1).contiguous()

    def at(self, slot: int, episodes: Tensor) -> tuple[Tensor, ...]:
        """Speed, air, cpu, tariff of a slot for these episodes, each [E, F, 1]."""
        return tuple(table[slot % len(table)][:, episodes] for table in (self.speed, self.air, self.cpu, self.tariff))


class Placement:
    """The queues that new tasks meet, and what each place would cost; the E edges come first, [E, B, N].

    Attributes:
        size: Mbit of the waiting task of each device, 0 where there is none, [B, N]; `work`: its Gcycles.
        local: slots of work in the own CPU's queue, [B, N].
        on_air: slots alone on the band that are to be sent; `to_send`: those of the new task.
        pending: Gcycles sent or to be sent to each edge.
    """

    def __init__(self, variant: OffloadVariant, env: OffloadEnv, prices: tuple[Tensor, ...]) -> None:
        self.variant = variant
        self.size, self.work, self.local, rate = env.waiting()
        radio, self.pending = env.queues()
        self.on_air, self.to_send = radio / rate, self.size / rate
        self.speed, self.air, self.cpu, self.tariff = prices

    def here(self) -> Tensor:
        """Cost of the own CPU, [B, N]."""
        v, own = self.variant, self.work / (LOCAL_SPEED * SLOT)
        wait = self.local + own
        return (wait + 0.5 * v.arrival * wait * own) / v.deadline + late(wait, v.deadline) + LOCAL_ENERGY * self.work

    def there(self, others_air: Tensor, others_work: Tensor) -> Tensor:
        """Cost of each edge, [E, B, N], where amounts of others up to the own one are `others_air` and `others_work`."""
        v = self.variant
        delay = self.own_air() + others_air + HANDOVER + (self.own_work() + others_work) / self.speed
        more = others_air + self.air * self.to_send + (others_work + self.cpu * self.work) / self.speed
        return (delay + more) / v.deadline + late(delay, v.deadline) + self.tariff

    def own_air(self) -> Tensor:
        """Slots alone on the band until the new task is sent: one radio serves all edges."""
        return self.to_send + self.on_air.sum(0)

    def own_work(self) -> Tensor:
        """Gcycles until the new task is computed."""
        return self.work + self.pending

    def at_once(self) -> Tensor:
        """Costs [1 + E, B, N] were nobody else placed in this slot; others count up to the own amount, roughly."""
        air, work = self._others(self.on_air, self.own_air()), self._others(self.pending, self.own_work())
        return torch.cat([self.here().unsqueeze(0), self.there(air, work)])

    @staticmethod
    def _others(amounts: Tensor, own: Tensor) -> Tensor:
        there = (amounts > 0).float()
        users, others = there.sum(-1, keepdim=True) - there, amounts.sum(-1, keepdim=True) - amounts
        return torch.minimum(others, users * own)

    def in_turn(self) -> tuple[Tensor, Tensor]:
        """Tasks placed one after another, the largest first, each where it costs least.

        A server shared equally by amounts b_j finishes one more, b, after (b + sum_j min(b_j, b)) / rate, and b delays the
        others by that same sum: the cost of a place is the task's own time and the delay of all others.

        Returns:
            Servers [B, N], and the costs that each device chose by, [1 + E, B, N].
        """
        waits = self.size > 0
        order = self.work.argsort(dim=1, descending=True, stable=True)
        servers, costs = torch.zeros_like(order), self.at_once()
        ids = torch.arange(1, len(self.on_air) + 1, device=order.device).unsqueeze(-1)
        for turn in range(int(waits.sum(1).max())):
            n = order[:, turn : turn + 1]
            each = n.expand(len(self.on_air), -1, -1)
            cost = self._turn(n, each)
            place = torch.where(waits.gather(1, n), cost.argmin(0), 0)
            servers.scatter_(1, n, place)
            costs.scatter_(2, n.expand(len(cost), -1, -1), cost)
            chosen = (place.T == ids).unsqueeze(-1)
            self.on_air = self.on_air.scatter_add(2, each, chosen * self.to_send.gather(2, each))
            self.pending = self.pending.scatter_add(2, each, chosen * self.work.gather(1, n))
        return servers, costs

    def _turn(self, n: Tensor, each: Tensor) -> Tensor:
        """Costs [1 + E, B, 1] of the device whose turn it is, [B, 1]."""
        own_air, own_work = self.own_air().gather(2, each), self.own_work().gather(2, each)
        mine_air, mine_work = self.on_air.gather(2, each), self.pending.gather(2, each)
        others_air = torch.minimum(self.on_air, own_air).sum(2, keepdim=True) - torch.minimum(mine_air, own_air)
        others_work = torch.minimum(self.pending, own_work).sum(2, keepdim=True) - mine_work
        edges = self.there(others_air, others_work).gather(2, each)
        return torch.cat([self.here().gather(1, n).unsqueeze(0), edges])


class Genie(Agent):
    """Central: sees every queue, is told the site, and knows no coming coin.

    It places the new tasks greedily, then tries single devices elsewhere: each candidate is played on for some slots under
    sampled tasks and tenants, the same for all candidates, and the best one is kept. A second round gains nothing.
    """

    name = "genie"
    privileged = True
    ahead, futures, margin, trust, rounds = AHEAD, FUTURES, MARGIN, TRUST, 1

    def begin(self, state: State) -> None:
        """Compute the prices of the sites."""
        v = cast("OffloadVariant", state.variant)
        state.memory["prices"] = Prices(v, cast("OffloadEnv", state.env))
        state.memory["all"] = torch.arange(state.batch, device=state.action_mask.device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N, 2]."""
        v, env, everyone = cast("OffloadVariant", state.variant), cast("OffloadEnv", state.env), state.memory["all"]
        placement = Placement(v, env, state.memory["prices"].at(state.slot, everyone))
        local, work = placement.local, placement.work
        servers, costs = placement.in_turn()
        behind = costs - costs.gather(0, servers.unsqueeze(0))
        near = torch.where((behind <= self.margin) & (placement.size > 0), behind, torch.inf)
        slots = min(self.ahead, v.horizon - state.slot)
        future = self._future(v, state, slots)
        for _ in range(self.rounds if slots > 1 else 0):
            servers = self._improved(state, env, servers, near, future)
        return torch.stack([servers.float(), clock(servers, local, work)], dim=-1)

    def _future(self, v: OffloadVariant, state: State, slots: int) -> tuple[Tensor, Tensor]:
        """Tasks [H, 2, B, S, N] of the slots after this one and tenants' uniforms [H, E, B, S], by the law of the family."""
        arrive, size, density = state.random.uniform(3, slots, self.futures, v.agents).permute(1, 2, 0, 3, 4)
        size = torch.where(arrive < v.arrival, MIN_SIZE + (MAX_SIZE - MIN_SIZE) * size, 0.0)
        work = size * (MIN_DENSITY + (MAX_DENSITY - MIN_DENSITY) * density)
        return torch.stack([size, work], dim=1), state.random.uniform(slots, v.edges, self.futures).permute(1, 2, 0, 3)

    def _improved(
        self, state: State, env: OffloadEnv, servers: Tensor, behind: Tensor, future: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Servers [B, N] with the best single change of each episode, if one is worth it.

        Args:
            state: of the batch.
            env: the environment as it is.
            servers: the greedy choice.
            behind: how much more each place costs than the chosen one by the greedy estimate, [1 + E, B, N]; inf = not tried.
            future: sampled tasks and tenants.
        """
        places = torch.arange(len(behind), device=servers.device).view(-1, 1, 1)
        tries = (behind.isfinite() & (places != servers)).permute(1, 2, 0)
        episode, device, place = tries.nonzero().unbind(1)
        if not len(episode):
            return servers
        tried = servers[episode]
        tried[torch.arange(len(episode), device=servers.device), device] = place
        bases = episode.unique()
        value = self._rollout(state, env, torch.cat([bases, episode]), torch.cat([servers[bases], tried]), future)
        base = torch.zeros(len(servers), device=servers.device)
        base[bases] = value[: len(bases)]
        gain = (value[len(bases) :] - base[episode]) * servers.shape[1] - self.trust * behind[place, episode, device]
        best = torch.zeros_like(base).scatter_reduce(0, episode, gain, "amax")
        taken = (gain > 0) & (gain == best[episode])
        improved = servers.clone()
        improved[episode[taken], device[taken]] = place[taken]
        return improved

    def _rollout(self, state: State, env: OffloadEnv, which: Tensor, servers: Tensor, future: tuple[Tensor, Tensor]) -> Tensor:
        """Mean return [F] of these episodes from servers [F, N] on, over the sampled futures."""
        v, prices = cast("OffloadVariant", state.variant), state.memory["prices"]
        tasks, coins = future
        h = len(tasks)
        episodes = which.repeat_interleave(self.futures)
        tasks, coins = tasks[:, :, which].flatten(2, 3), coins[:, :, which].flatten(2)
        ahead = env.imagine(episodes, tasks, coins)
        chosen = servers.repeat_interleave(self.futures, 0).float()
        value = torch.zeros(len(episodes), device=servers.device)
        for k in range(h):
            if k:
                placement = Placement(v, ahead, prices.at(state.slot + k, episodes))
                chosen = torch.where(placement.size > 0, placement.at_once().argmin(0), 0).float()
                local, work = placement.local, placement.work
            else:
                _, work, local, _ = ahead.waiting()
            reward, _ = ahead.advance(chosen, clock(chosen, local, work))
            value += reward.cumsum(1)[:, -1]
        if state.slot + h < v.horizon:
            value -= ahead.alive() * (REMAINING / v.deadline / v.agents)
        return value.view(-1, self.futures).mean(1)


class Hindsight(Genie):
    """The genie, told the coming tasks and tenants: rollouts under the one true future. A bound to go by, no policy."""

    name = "hindsight"
    ahead, futures, margin, trust, rounds = 16, 1, 0.5, 0.0, 2

    def _future(self, v: OffloadVariant, state: State, slots: int) -> tuple[Tensor, Tensor]:
        """The tasks and the tenants that will come."""
        tasks, coins = cast("OffloadEnv", state.env).coming(slots)
        return tasks.unsqueeze(3), coins.unsqueeze(3)

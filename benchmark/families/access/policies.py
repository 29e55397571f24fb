"""Reference policies of `access`. All but those marked privileged use only what a user may see."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ...agent import Agent, RandomPolicy, State, Support
from ..reader import Reader, part
from .env import CHARGE, AccessEnv
from .evidence import Evidence, Listener, read_logs
from .layout import View
from .rule import USER_QUEUE, Plan, Table, make_plan, marginal_values
from .site import draw_site
from .variant import AccessVariant

POOLED_QUEUE = 48  # packets that the genie's dynamic program tells apart


def _variant(state: State) -> AccessVariant:
    return cast("AccessVariant", state.variant)


def _random_channel(state: State) -> Tensor:
    """A channel in 1..C for every user, [B, N]."""
    v = _variant(state)
    return 1 + (state.random.uniform(v.agents) * v.channels).long()


class Aloha(Agent):
    """Slotted ALOHA: a user with a packet sends with probability q on a random channel; q = min(1, C/N) by default.

    Abramson, 'The ALOHA system', AFIPS 1970. With q = 1 it is the myopic rule: send whatever you have at once.
    """

    def __init__(self, probability: float | None = None, name: str = "aloha") -> None:
        self.name = name
        self._probability = probability

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v = _variant(state)
        q = min(1.0, v.channels / v.agents) if self._probability is None else self._probability
        send = (state.random.uniform(v.agents) < q) & (View(obs).queue[..., 0] > 0)
        return torch.where(send, _random_channel(state), 0)


class BacklogAloha(Agent):
    """ALOHA that estimates the backlog from what it hears and sends with probability min(1, C / estimate).

    Rivest's pseudo-Bayesian rule ('Network control by Bayesian broadcast', IEEE Trans. Inf. Theory 1987): the channel that a
    user hears stands for all C.
    """

    def __init__(self, name: str = "backlog-aloha") -> None:
        self.name = name

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v, view = _variant(state), View(obs)
        estimate = cast(Tensor, state.memory.get("estimate", obs.new_ones(obs.shape[:2])))
        if state.slot > 0:
            step = torch.where(view.feedback[..., 1] > 0, 1.0 / (math.e - 2.0), -1.0)
            estimate = (estimate + v.channels * (v.load + step)).clamp(min=v.load * v.channels, max=v.agents)
        state.memory["estimate"] = estimate
        send = (state.random.uniform(v.agents) < v.channels / estimate) & (view.queue[..., 0] > 0)
        return torch.where(send, _random_channel(state), 0)


class Backoff(Agent):
    """Binary exponential back-off: after the k-th collision in a row wait a random number of slots below 2^k (at most 2^10)."""

    name = "backoff"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v, view = _variant(state), View(obs)
        stage = cast(Tensor, state.memory.get("stage", torch.zeros_like(obs[..., 0])))
        wait = cast(Tensor, state.memory.get("wait", torch.zeros_like(obs[..., 0])))
        acked, nacked = view.outcome[..., 1] > 0, view.outcome[..., 2] > 0
        stage = torch.where(acked, 0.0, torch.where(nacked, (stage + 1).clamp(max=10), stage))
        fresh = (state.random.uniform(v.agents) * 2.0**stage).floor()
        wait = torch.where(acked, 0.0, torch.where(nacked, fresh, (wait - 1).clamp(min=0)))
        state.memory["stage"], state.memory["wait"] = stage, wait
        send = (wait == 0) & (view.queue[..., 0] > 0)
        return torch.where(send, _random_channel(state), 0)


class Tdma(Agent):
    """Fixed turns: user i sends on channel 1 + i mod C in slot floor(i / C) of every frame of ceil(N / C) slots."""

    name = "tdma"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        view = View(obs)
        send = (view.turn[..., 0] > 0) & (view.queue[..., 0] > 0)
        return torch.where(send, 1 + view.static[..., 1:].argmax(-1), 0)


class TurnTaker(Agent):
    """Takes turns by a table of the site, and sends where it pays (see `rule`)."""

    def begin(self, state: State) -> None:
        """Agree on the turns: everybody computes the same."""
        table, row = self._tables(state)
        state.memory["table"], state.memory["row"] = table.over(state.variant.horizon), row
        state.memory["plan"] = make_plan(_variant(state), table)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        row, plan = cast(Tensor, state.memory["row"]), cast(Plan, state.memory["plan"])
        channel = plan.channel[row, state.slot]  # [B, N]
        packets = (View(obs).queue[..., 1] * _variant(state).buffer).round().long().clamp(max=USER_QUEUE)
        value = plan.value[row, state.slot].gather(-1, packets.unsqueeze(-1)).squeeze(-1)
        table = cast(Table, state.memory["table"])
        charge = table.charge[row, state.slot].gather(-1, (channel - 1).clamp(min=0))
        pays = (1.0 - self._busy(obs, channel, state)) * value > charge
        return torch.where(pays & (channel > 0) & (packets > 0), channel, 0)

    def _tables(self, state: State) -> tuple[Table, Tensor]:
        """Tables of the sites at hand, and which of them each episode has, [B]."""
        raise NotImplementedError

    def _busy(self, obs: Tensor, channel: Tensor, state: State) -> Tensor:
        """Belief that an incumbent sends now on each user's channel, [B, N]."""
        row, table = cast(Tensor, state.memory["row"]), cast(Table, state.memory["table"])
        return table.busy[row, state.slot].gather(-1, (channel - 1).clamp(min=0))


class Prior(TurnTaker):
    """Told the average site."""

    name = "prior"

    def _tables(self, state: State) -> tuple[Table, Tensor]:
        row = state.action_mask.new_zeros(state.batch, dtype=torch.int64)
        return Evidence.none(_variant(state)).table().to(row.device), row


class Belief(TurnTaker):
    """Starts as `prior` and learns the incumbents within the episode from what it hears; reads no logs."""

    name = "belief"

    def begin(self, state: State) -> None:
        """Agree on the turns, and start to listen."""
        super().begin(state)
        state.memory["listener"] = Listener(self._known(state), _variant(state), state.batch, state.action_mask.device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        cast(Listener, state.memory["listener"]).hear(obs, state.slot)
        return super().act(obs, inbox, state)

    def _known(self, state: State) -> Evidence:
        return Evidence.none(_variant(state))

    def _tables(self, state: State) -> tuple[Table, Tensor]:
        table = self._known(state).table().to(state.action_mask.device)
        return table, part(state, len(table.busy))

    def _busy(self, obs: Tensor, channel: Tensor, state: State) -> Tensor:
        return cast(Listener, state.memory["listener"]).busy(state.slot, channel)


class Estimator(Reader, Belief):
    """Counts in the joint logs, takes turns by what they say, and goes on listening while it plays. Without logs: `belief`."""

    def read(self, variant: AccessVariant, support: Support) -> Evidence:
        """Count in the joint logs."""
        return read_logs(variant, support)

    def _known(self, state: State) -> Evidence:
        return self._read or super()._known(state)


def true_tables(state: State) -> tuple[Table, Tensor]:
    """The tables of the sites being played, and which of them each episode has: what privileged policies are told."""
    sites = cast(AccessEnv, state.env).sites
    known = sorted(set(sites))
    drawn = [draw_site(_variant(state), site) for site in known]
    busy, hit = (torch.stack([torch.from_numpy(getattr(d, name)) for d in drawn]) for name in ("busy", "protected"))
    device = state.action_mask.device
    row = torch.tensor([known.index(site) for site in sites], device=device)
    return Table(busy, CHARGE * hit).rounded().to(device), row


class Oracle(TurnTaker):
    """Told the site; acts on own observations alone."""

    name = "oracle"
    privileged = True

    def _tables(self, state: State) -> tuple[Table, Tensor]:
        return true_tables(state)


class ToldTdma(Oracle):
    """Told the site, in fixed turns: sends in its turn of TDMA, on its home channel, where that pays. An expert to record.

    Turns that all users know without the site are what an agent can learn that reads logs; those of `oracle` follow from the
    whole table at once.
    """

    name = "told-tdma"

    def begin(self, state: State) -> None:
        """Fixed turns, and what each user's packets are worth in them."""
        v, (table, row) = _variant(state), self._tables(state)
        user, slot = torch.arange(v.agents, device=row.device), torch.arange(v.horizon, device=row.device)
        turn = slot.unsqueeze(1) % v.frame == user // v.channels  # [T, N]
        channel = torch.where(turn, 1 + user % v.channels, 0).expand(len(table.busy), -1, -1)
        state.memory.update(table=table.over(v.horizon), row=row, plan=make_plan(v, table, channel))


class Genie(Agent):
    """Central: sees all queues and knows the site, not the coming coins.

    A dynamic program over all packets as one queue with C servers says which channels to use; the longest queues, the older
    head first among equals, get the best of them.
    """

    name = "genie"
    privileged = True

    def begin(self, state: State) -> None:
        """Solve the dynamic program of every site at hand."""
        v = _variant(state)
        table, row = self._timed(state)
        order = (1.0 - table.busy - table.charge).argsort(dim=-1, stable=True)  # the worst first
        busy, charge = table.busy.gather(-1, order), table.charge.gather(-1, order)
        value = marginal_values(busy, charge, _binomial(v.agents, v.rate).to(busy.device), POOLED_QUEUE)
        state.memory.update(row=row, order=order.flip(-1), busy=busy.flip(-1), charge=charge.flip(-1), value=value)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v, t, memory = _variant(state), state.slot, state.memory
        length, age = cast(AccessEnv, state.env).queues()
        row = memory["row"]
        order, busy, charge = (memory[name][row, t] for name in ("order", "busy", "charge"))  # [B, C], the best first
        packets = length.sum(1, keepdim=True).clamp(max=POOLED_QUEUE)
        pays = (1.0 - busy) * memory["value"][row, t].gather(-1, packets) > charge
        used = torch.where(pays, order + 1, 0)
        used = used.gather(1, (~pays).long().argsort(dim=1, stable=True))
        urgent = torch.where(length > 0, length * 4096 + age.clamp(max=4095), -1).argsort(dim=1, descending=True, stable=True)
        count = min(v.channels, v.agents)
        action = torch.zeros_like(length).scatter_(1, urgent[:, :count], used[:, :count])
        return action * (length > 0)

    def _timed(self, state: State) -> tuple[Table, Tensor]:
        table, row = true_tables(state)
        return table.over(state.variant.horizon), row


class Hindsight(Genie):
    """The genie, told the coming coins of incumbents and of protected ones as well: a bound, no policy."""

    name = "hindsight"

    def _timed(self, state: State) -> tuple[Table, Tensor]:
        busy, protected = cast(AccessEnv, state.env).coins()
        return Table(busy, CHARGE * protected), torch.arange(state.batch, device=busy.device)


def _binomial(count: int, probability: float, tail: float = 1e-4) -> Tensor:
    """Probabilities of 0, 1, ... new packets, up to where the rest is below `tail` and added to the last."""
    whole = [math.comb(count, k) * probability**k * (1 - probability) ** (count - k) for k in range(count + 1)]
    kept = next(k for k in range(1, count + 2) if 1.0 - sum(whole[:k]) < tail)
    return torch.tensor([*whole[: kept - 1], 1.0 - sum(whole[: kept - 1])])


POLICIES: dict[str, Callable[[], Agent]] = {
    "random": RandomPolicy,
    "medium": lambda: BacklogAloha("medium"),
    "aloha": Aloha,
    "backoff": Backoff,
    "tdma": Tdma,
    "prior": Prior,
    "belief": Belief,
    "estimator": Estimator,
    "oracle": Oracle,
    "told-tdma": ToldTdma,
    "genie": Genie,
    "hindsight": Hindsight,
}

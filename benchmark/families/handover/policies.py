"""Reference policies of `handover` that act alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...agent import Agent, State, Support
from ..reader import Reader, part
from ..revealed import Revealed
from .env import INTERRUPTION, PRICE
from .estimator import estimate
from .layout import DB_SCALE, LOOKS, LOWEST, METRES, ROUTE_SCALE, View
from .planning import LATER, POINTS, WEIGHTS, Knowledge, average, cell_of, crowd, signal, told, worth

if TYPE_CHECKING:
    from .env import HandoverEnv
    from .variant import HandoverVariant

HEARD = 0.35  # weight of a new measurement of a level
KEEPS = 0.8  # correlation of a residual from slot to slot
UNHEARD = -14.0  # dB that a station counts as which is not reported
NOISE = 0.1  # variance of the logarithm of what a user's rate says of a backhaul
ENOUGH = 0.97  # of the need, or of the airtime: more counts as all of it
MARGIN, BLIND_MARGIN = 1.5, 4.5  # over load^2: satisfied slots that a handover must gain, with and without a map
DOUBT, BLIND_DOUBT = 0.02, 1.0  # variance of the logarithm of what is thought of a backhaul, likewise


class A3(Agent):
    """Event A3 with time-to-trigger: go where a neighbour was stronger by an offset for some slots.

    3GPP TS 38.331, 5.5.4.4; offset and trigger as they earn most at dev sites.
    """

    name = "prior"
    offset = 14.0  # dB, offset and hysteresis together
    trigger = 3  # slots that the event must last

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        view = View(obs)
        level = view.level * DB_SCALE
        own = (level * view.serving).sum(-1, keepdim=True)
        entered = (view.reported > 0) & (level > own + self.offset)
        lasted = state.memory.get("lasted", torch.zeros_like(level))
        lasted = state.memory["lasted"] = torch.where(entered, lasted + 1.0, 0.0)
        fires = (lasted >= self.trigger) & state.action_mask[..., 1:]
        best = torch.where(fires, level, -1.0).max(-1)
        return torch.where(fires.any(-1), 1 + best.indices, 0)


class Medium(A3):
    """The middling behaviour that records data: the same event with an offset that is as the field has it."""

    name = "medium"
    offset, trigger = 3.0, 1


class MaxSinr(Agent):
    """Go to whatever was measured strongest, as soon as that is allowed: cell selection without hysteresis."""

    name = "max-sinr"

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        view = View(obs)
        best = torch.where(state.action_mask[..., 1:], view.level, -1.0).max(-1)
        return torch.where(best.values > (view.level * view.serving).sum(-1), 1 + best.indices, 0)


class Planner(Agent):
    """The common rule: go where the way ahead is worth most. Subclasses say what they think of the site."""

    def knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        """What is thought of P sites, and which of them each episode is at, [B]."""
        return average(cast("HandoverVariant", state.variant), state.action_mask.device), part(state, 1)

    def begin(self, state: State) -> None:
        """Forecast who is where; everybody computes the same."""
        v = cast("HandoverVariant", state.variant)
        known, place = self.knowledge(state)
        blind = not bool((known.sure > 0).any())
        margin, state.memory["doubt"] = (BLIND_MARGIN, BLIND_DOUBT) if blind else (MARGIN, DOUBT)
        state.memory["margin"] = margin / v.load**2  # a slot is worth less where everything is full
        state.memory["known"], state.memory["place"] = known, place
        state.memory["crowd"] = crowd(v, known)[place].unsqueeze(1)  # [B, 1, S]

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        v, memory, view = cast("HandoverVariant", state.variant), state.memory, View(obs)
        known, place, s = cast(Knowledge, memory["known"]), cast(Tensor, memory["place"]), v.stations
        serving = view.serving[..., :s]
        at = self._way(view)  # [B, N, 1 + H] cells, now first
        level = self._ahead(view, known, place, at, memory, s)
        sinr, bits = signal(level)  # [B, N, H, S]
        slots = (state.slot + torch.tensor(POINTS, device=obs.device) - 1) % v.period
        left = known.available[place][..., slots].transpose(1, 2).unsqueeze(1)  # [B, 1, H, S]
        others = torch.where(serving > 0, (view.load[..., :1] * v.agents - 1.0).clamp(min=0.0), memory["crowd"]).unsqueeze(2)
        backhaul = known.backhaul[place][:, None, None]
        factor = self._learn(v, view, state).unsqueeze(2)
        value = worth(v, sinr, bits, left, backhaul * factor, others) * obs.new_tensor(WEIGHTS).unsqueeze(-1)
        whole, later = value.sum(2), value[:, :, LATER:].sum(2)
        lost = INTERRUPTION + memory["margin"]
        price = (PRICE * known.tariff[place][..., state.slot % v.period] + lost).unsqueeze(1)
        soon = (state.slot + torch.arange(1, POINTS[LATER], device=obs.device)) % v.period
        cheapest = (PRICE * known.tariff[place][..., soon].amin(-1) + lost).unsqueeze(1)
        stay = (serving * whole).sum(-1)
        reported = view.reported[..., :s] > 0
        wait = (serving * (whole - later)).sum(-1) + torch.where(reported, later - cheapest, -torch.inf).amax(-1)
        go = torch.where(state.action_mask[..., 1 : s + 1], whole - price, -torch.inf).max(-1)
        return torch.where(go.values > torch.maximum(stay, wait), 1 + go.indices, 0)

    def _way(self, view: View) -> Tensor:
        """Cells of the own way now and at POINTS, [B, N, 1 + H], between the known points in a straight line."""
        here = view.position * METRES
        known = [torch.zeros_like(here), *(ROUTE_SCALE * view.route).unflatten(-1, (-1, 2)).unbind(-2)]
        times = (0, *LOOKS)
        steps = []
        for h in (0, *POINTS):
            k = next(k for k in range(len(LOOKS)) if h <= times[k + 1])
            part = (h - times[k]) / (times[k + 1] - times[k])
            steps.append(cell_of(here + known[k].lerp(known[k + 1], part)))
        return torch.stack(steps, -1)

    def _ahead(self, view: View, known: Knowledge, place: Tensor, at: Tensor, memory: dict[str, Any], s: int) -> Tensor:
        """Levels expected at POINTS, [B, N, H, S]: those of the map, and what was measured beside it."""
        row = place.view(-1, 1, 1).expand_as(at)
        table, sure = known.level[row, at], known.sure[row, at]  # [B, N, 1 + H, S]
        seen = view.level[..., :s] * DB_SCALE + LOWEST
        heard = (view.reported + view.serving)[..., :s] > 0
        now = torch.where(heard, seen, UNHEARD)
        if "level" in memory:
            both = torch.minimum(sure[:, :, 0], memory["sure"])
            now = (memory["level"] + (table[:, :, 0] - memory["table"]) * both).lerp(now, HEARD)
        memory["level"], memory["table"], memory["sure"] = now, table[:, :, 0], sure[:, :, 0]
        now = now.unsqueeze(2)
        fades = KEEPS ** torch.tensor(POINTS, device=now.device).view(-1, 1)
        base = now + (table[:, :, :1] - now) * sure[:, :, :1]
        there = table[:, :, 1:] + (now - base) * fades
        return now + (there - now) * sure[:, :, 1:]

    def _learn(self, v: HandoverVariant, view: View, state: State) -> Tensor:
        """What own rates say of the backhaul of stations: a factor on what each is thought to have, [B, N, S].

        A Kalman filter on its logarithm. A user that gets less than it needs while its station has airtime left gets its part
        of the backhaul; one that gets all it needs knows the least that there is.
        """
        memory, known, place = state.memory, cast(Knowledge, state.memory["known"]), state.memory["place"]
        serving = view.serving[..., : v.stations]
        if state.slot == 0:
            memory["factor"] = torch.zeros_like(serving), torch.full_like(serving, memory["doubt"])
        mean, variance = memory["factor"]
        got = view.rate[..., :1] * v.need * (view.load[..., :1] * v.agents)
        surprise = torch.log(got.clamp(min=1e-3) / known.backhaul[place].unsqueeze(1)) - mean
        full = (view.rate[..., :1] < ENOUGH) & (view.load[..., 1:] < ENOUGH)
        linked = (serving > 0) & (got > 0) & (view.moved == 0)
        gain = torch.where(linked & (full | (surprise > 0)), variance / (variance + NOISE), 0.0)
        memory["factor"] = mean + gain * surprise, variance * (1.0 - gain)
        return memory["factor"][0].clamp(-3.0, 3.0).exp()


class Belief(Planner):
    """Starts with the average site; learns from what it sees in play."""

    name = "belief"


class Estimator(Reader, Planner):
    """Reads the joint support, then plays like `belief` with that estimate; with no support it is `belief`."""

    def read(self, variant: HandoverVariant, support: Support) -> Knowledge:
        """Estimate the site from the joint logs."""
        return estimate(variant, support)

    def knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        """What the logs say: of one site, or by episode of several."""
        return (self._read, part(state, len(self._read.backhaul))) if self._read else super().knowledge(state)


class Oracle(Planner):
    """Told the site; acts on own observations."""

    name, privileged = "oracle", True

    def knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        """The sites as they are."""
        return true_knowledge(cast("HandoverEnv", state.env))


class RevealedEstimator(Revealed, Estimator):
    """The control of the admission, see `Revealed`."""

    def knowledge(self, state: State) -> tuple[Knowledge, Tensor]:
        """The sites as they are, mixed with what the logs say of them: of each pair of a site and a log that is played."""
        true, site = true_knowledge(cast("HandoverEnv", state.env))
        if self._read is None:
            return true, site
        read, log = super().knowledge(state)
        pairs, place = (log * len(true.backhaul) + site).unique(return_inverse=True)
        site, log = pairs % len(true.backhaul), pairs // len(true.backhaul)
        mixed = {name: self.mixed(value[site], getattr(read, name)[log], log) for name, value in vars(true).items()}
        return Knowledge(**mixed | {"sure": true.sure[site], "level": true.level[site]}), place


def true_knowledge(env: HandoverEnv) -> tuple[Knowledge, Tensor]:
    """The P sites being played as they are, and which of them each episode is at, [B]."""
    distinct = list({id(place): place for place in env.places}.values())
    number = {id(place): k for k, place in enumerate(distinct)}
    place = torch.tensor([number[id(place)] for place in env.places], device=env.device)
    return told(distinct, env.device), place

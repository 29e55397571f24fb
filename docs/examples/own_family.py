# mypy: ignore-errors
# Types are left out to be short; benchmark/families/access has them.
"""`beacon`: devices report over one channel beside a radar. The complete third-party family of docs/guides/own-family.md.

In every slot each of N devices may send its report. It is heard if nobody else sends and no noise falls on it: that earns 1.
A site has a period of L slots. In some of them noise is likely, which play shows; in some a radar listens, and whoever sends
is charged 2 if it is active. No device observes the charge, only logs tell it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import one_hot
from wbench.benchmark.agent import Adaptation, Agent, RandomPolicy
from wbench.benchmark.family import ActionComponent, Family, check_action, require
from wbench.benchmark.site import scenario_generator, site_generator

ACTIONS = (ActionComponent("send", "categorical", 2),)  # 0 = stay silent, 1 = send
HAS, TURN, OUTCOME = 0, 1, 2  # places in an observation; sine and cosine of the clock follow
CHARGE = 2.0
NOISE, RADAR, WEIGHT = 0.18, 0.3, 2.0  # both probabilities on average, and how many slots of a log that is worth


@dataclass(frozen=True)
class BeaconVariant:
    """The public description of a task."""

    name: str
    agents: int
    load: float
    split: str
    family: str = "beacon"
    period: int = 32
    horizon: int = 64

    def descriptor(self):
        """What an agent is told of the variant: numbers of order 1."""
        return (self.agents / 6 - 1, 4 * self.load - 3)


def hidden(variant, site):
    """What is hidden at a site: probabilities by slot of the period, [L] each."""
    rng, slots = site_generator(variant.name, site), variant.period
    noise, radar = 0.6 * (rng.random(slots) < 0.3), rng.uniform(0.5, 1, slots) * (rng.random(slots) < 0.4)
    return {"noise": noise.astype(np.float32), "radar": radar.astype(np.float32)}


class BeaconEnv:
    """B episodes of one variant, stepped together; see `wbench.benchmark.family.Env`."""

    charged = True  # False leaves the charge out of the rewards

    def __init__(self, variant, device):
        self.variant, self.device = variant, device

    def reset(self, sites, seeds):
        """Draw all randomness of each episode here, from (variant, site, seed) alone."""
        v = self.variant
        self.site = {name: self._stack(hidden(v, site)[name] for site in sites) for name in ("noise", "radar")}  # [B, L]
        rngs = [scenario_generator(v.name, site, seed) for site, seed in zip(sites, seeds, strict=True)]
        self.coins = self._stack(rng.random((v.horizon + 1, v.agents + 2)) for rng in rngs)  # [B, T + 1, N + 2]
        self.wait, self.log = self.coins[:, 0, 2:].lt(0.5).float(), []  # slots that a report has waited, 0 = there is none
        return self._observe(torch.zeros_like(self.wait[:, 0]))

    def step(self, action):
        """Play one slot; `action` [B, N] is refused unless it is valid."""
        v, t = self.variant, len(self.log)
        require(t < v.horizon, "step", t, f"below the horizon {v.horizon}; reset first")
        sent = check_action(action, ACTIONS, len(self.wait), v.agents) * (self.wait > 0).float()
        count, coin = sent.sum(1, keepdim=True), self.coins[:, t + 1]
        noise, radar = (coin[:, k] < self.site[name][:, t % v.period] for k, name in enumerate(("noise", "radar")))
        heard = sent * (count == 1) * ~noise[:, None]
        charge = CHARGE * sent / count.clamp(min=1) * radar[:, None] * self.charged
        new = coin[:, 2:] < v.load / v.agents
        left = self.wait * (1 - heard)
        quality = {"delivered": heard, "delay": heard * self.wait, "dropped": (new & (left > 0)).float(), "energy": sent}
        self.wait = torch.where(new, 1.0, left + (left > 0))  # a new report takes the place of the old one
        self.log.append(torch.stack(list(quality.values())))
        obs, info = self._observe(heard.sum(1) - (noise & (count[:, 0] == 1)).float())
        over = torch.full((len(sent),), t + 1 == v.horizon, device=self.device)
        return obs, heard - charge, over & False, over, info | quality

    def qos(self):
        """Of each episode [B]: reports heard a slot, mean and 95 % quantile of their delay, reports lost, reports sent."""
        heard, delay, dropped, sent = (x.flatten(1) for x in torch.stack(self.log, -1))
        mean = delay.sum(1) / heard.sum(1).clamp(min=1)
        late = torch.where(heard > 0, delay, torch.nan).nanquantile(0.95, 1).nan_to_num()
        values = heard.sum(1) / len(self.log), mean, late, dropped.sum(1), sent.sum(1)
        return dict(zip(("goodput", "delay_mean", "delay_p95", "drops", "energy"), values, strict=True))

    def _stack(self, arrays):
        return torch.from_numpy(np.stack(list(arrays)).astype(np.float32)).to(self.device)

    def _observe(self, outcome):
        """Own report, own turn, what became of the last slot (1 heard, -1 lost in noise), the clock."""
        v, t, none = self.variant, len(self.log), torch.zeros_like(self.wait)
        turn, angle = torch.arange(v.agents, device=self.device) == t % v.agents, torch.tensor(2 * torch.pi * t / v.period)
        has = (self.wait > 0).float()
        obs = torch.stack([has, turn + none, outcome[:, None] + none, angle.sin() + none, angle.cos() + none], -1)
        return obs, {"action_mask": torch.stack([none == 0, has > 0], -1), "agent_mask": none == 0}


class Estimator(Agent):
    """In its turn a device sends where it pays, by what it thinks of the site: logs that it read, and what it hears in play."""

    listens = reads = True
    counts = torch.zeros(2, 2, 1)  # [2, 2, L] once it has read

    def adapt(self, family, variant, support):
        """Count in the joint logs, by slot of the period, how often there was noise and a radar was active: hits and all."""
        self.counts = torch.zeros(2, 2, variant.period)
        if self.reads and support is not None:
            sent = (support.action * (support.obs[..., HAS] > 0))[:, :-1].sum(-1)  # [K, T - 1]
            outcome = support.obs[:, 1:, 0, OUTCOME]
            charged = outcome.clamp(min=0) - support.reward[:, :-1].sum(-1) > CHARGE / 2
            clock = torch.arange(sent.shape[1]) % variant.period
            for k, (hit, seen) in enumerate(((outcome < 0, sent == 1), (charged, sent > 0))):
                self.counts[k].index_add_(1, clock, torch.stack([hit.sum(0), seen.sum(0)]).float())
        return Adaptation()

    def begin(self, state):
        """Start every device with these counts, [2, 2, B, N, L]."""
        shape = (2, 2, state.batch, state.variant.agents, state.variant.period)
        state.memory["counts"] = torch.zeros(shape, device=state.action_mask.device) + self.counts[:, :, None, None]

    def act(self, obs, inbox, state):
        """Actions [B, N]."""
        counts, slot = state.memory["counts"], state.slot % state.variant.period
        if self.listens and state.slot:
            counts[0, ..., slot - 1] += torch.stack([obs[..., OUTCOME] < 0, obs[..., OUTCOME] != 0])
        noise, radar = self.think(counts[..., slot], state, slot)
        return ((obs[..., TURN] > 0) & (obs[..., HAS] > 0) & (1 - noise > CHARGE * radar)).long()

    def think(self, counts, state, slot):
        """Probabilities of noise and of an active radar in this slot of the period, [B, N] each."""
        hits, seen = counts.unbind(1)
        return ((hits[k] + WEIGHT * mean) / (seen[k] + WEIGHT) for k, mean in enumerate((NOISE, RADAR)))


class Belief(Estimator):
    """Learns in play alone."""

    reads = False


class Prior(Belief):
    """Told the average site; learns nothing."""

    listens = False


class Oracle(Prior):
    """Told the site; acts on its own observations."""

    privileged = True

    def think(self, counts, state, slot):
        """Both probabilities as they are, [B, 1] each."""
        return (state.env.site[name][:, slot, None] for name in ("noise", "radar"))


class Genie(Oracle):
    """Central: sees who has a report, and lets the one that has waited longest send where it pays. It knows no coming coin."""

    def act(self, obs, inbox, state):
        """Actions [B, N]."""
        noise, radar = self.think(None, state, state.slot % state.variant.period)
        oldest = one_hot(state.env.wait.argmax(1), state.variant.agents)
        return oldest * (state.env.wait > 0) * (1 - noise > CHARGE * radar)


TASKS = [(n, load, "train" if n <= 6 and load <= 0.8 else "held-out") for n in (4, 6, 8) for load in (0.6, 0.8, 1.0)]
# fmt: off
FAMILY = Family(
    name="beacon", version="1", summary="devices report over one channel beside a hidden radar; action: silent or send",
    variants={(name := f"beacon/n{n}-load{x}"): BeaconVariant(name, n, x, split) for n, x, split in TASKS},
    make=BeaconEnv, hidden=hidden, obs_size=5, descriptor_size=2, actions=ACTIONS, reward_range=(-CHARGE, 1.0), choice=HAS,
    policies={"random": RandomPolicy, "prior": Prior, "belief": Belief, "estimator": Estimator, "oracle": Oracle,
              "genie": Genie},
    behaviours={"random": (("random", 0.0),), "medium": (("belief", 0.3),), "expert": (("oracle", 0.05),),
                "mixed": (("random", 0.0), ("prior", 0.1), ("belief", 0.05), ("oracle", 0.1))},
    support=(("random", 0.0), ("belief", 0.3), ("belief", 0.05)),
    layout={"report": (1, "has a report"), "turn": (1, "own turn now"), "outcome": (1, "last slot: 1 heard, -1 lost in noise"),
            "clock": (2, "sine and cosine of the slot of the period")},
)

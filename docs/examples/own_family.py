# mypy: ignore-errors
# Types are left out to be short; benchmark/families/access.py has them.
"""`beacon`: devices tell of themselves over one channel that fades. The complete third-party family of docs/own-family.md.

In every slot each of N devices may send a beacon. It is heard if nobody else sends and the channel is good; the channel changes
between good and bad with probability `change` a slot. A device's age counts the slots since it was last heard; the team reward
is the mean of 1 / age. Sending whenever the channel looks good collides always; taking turns is what coordination can win.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot
from wbench.benchmark.agent import Agent, RandomPolicy
from wbench.benchmark.family import ActionComponent, Family, check_action, require
from wbench.benchmark.randomness import scenario_generator

ACTIONS = (ActionComponent("send", "categorical", 2),)  # 0 = stay silent, 1 = send
AGE, TURN, GOOD = 0, 1, 2  # places in an observation


@dataclass(frozen=True)
class BeaconVariant:
    """One task, fully specified."""

    name: str
    agents: int
    change: float
    split: str
    family: str = "beacon"
    horizon: int = 64

    def descriptor(self):
        """What an agent is told of the variant: numbers of order 1."""
        return (self.agents / 6 - 1, 10 * self.change - 1)


class BeaconEnv:
    """B episodes of one variant, stepped together; see `wbench.benchmark.family.Env`."""

    def __init__(self, variant, device):
        self.variant, self.device = variant, device

    def reset(self, seeds):
        """Draw all randomness of each episode here, from (variant, seed) alone."""
        v = self.variant
        draws = [torch.from_numpy(scenario_generator(v.name, seed).random(v.horizon + 1)) for seed in seeds]
        self.good = (torch.stack(draws) < v.change).cumsum(1).to(self.device) % 2 == 1  # [B, T + 1]; slot t plays on t + 1
        self.age, self.log = torch.ones(len(seeds), v.agents, device=self.device), []
        return self._observe()

    def step(self, action):
        """Play one slot; `action` [B, N] is refused unless it is valid."""
        v, t = self.variant, len(self.log)
        require(t < v.horizon, "step", t, f"below the horizon {v.horizon}; reset first")
        sent = check_action(action, ACTIONS, len(self.age), v.agents).float()
        heard = sent * ((sent.sum(1) == 1) & self.good[:, t + 1])[:, None]
        quality = {"delivered": heard, "delay": heard * self.age, "dropped": 0 * sent, "energy": sent}
        self.age = torch.where(heard > 0, 1.0, self.age + 1)
        self.log.append(torch.stack([heard, self.age, sent]))
        obs, info = self._observe()
        over = torch.full((len(sent),), t + 1 == v.horizon, device=self.device)
        return obs, 1 / (self.age * v.agents), over & False, over, info | quality

    def qos(self):
        """Of each episode [B]: beacons heard a slot, mean and 95 % quantile of the age, drops (none), beacons sent."""
        heard, age, sent = (x.flatten(1) for x in torch.stack(self.log, -1))
        values = heard.sum(1) / len(self.log), age.mean(1), age.quantile(0.95, 1), 0 * age[:, 0], sent.sum(1)
        return dict(zip(("goodput", "delay_mean", "delay_p95", "drops", "energy"), values, strict=True))

    def _observe(self):
        n, t = self.variant.agents, len(self.log)
        turn = torch.arange(n, device=self.device) == t % n
        obs = torch.stack([self.age / n, turn + 0 * self.age, self.good[:, t, None] + 0 * self.age], -1)  # good one slot ago
        allowed = torch.ones(*self.age.shape, 2, dtype=torch.bool, device=self.device)
        return obs, {"action_mask": allowed, "agent_mask": allowed[..., 0]}


class Follow(Agent):
    """Sends when one feature of the own observation says so: `TURN` is the informed rule, `GOOD` the private greedy one."""

    def __init__(self, feature):
        self.feature = feature

    def act(self, obs, inbox, state):
        """Actions [B, N]."""
        return obs[..., self.feature].long()


class Genie(Agent):
    """Sees the channel of this very slot: if it is good, the oldest sends."""

    privileged = True

    def act(self, obs, inbox, state):
        """Actions [B, N]."""
        return one_hot(obs[..., AGE].argmax(1), state.variant.agents) * state.env.good[:, state.slot + 1, None]


TASKS = [(n, c, "train" if n <= 8 and c <= 0.2 else "held-out") for n in (4, 8, 12) for c in (0.1, 0.2, 0.4)]
# fmt: off
FAMILY = Family(
    name="beacon", version="1", summary="devices tell of themselves over one fading channel; discrete action: silent or send",
    variants={(name := f"beacon/n{n}-change{c}"): BeaconVariant(name, n, c, split) for n, c, split in TASKS}, make=BeaconEnv,
    obs_size=3, descriptor_size=2, actions=ACTIONS, reward_range=(0.0, 1.0),
    policies={"random": RandomPolicy, "greedy": lambda: Follow(GOOD), "turns": lambda: Follow(TURN), "genie": Genie},
    random="random", greedy="greedy", heuristic="turns", reference="genie",
    behaviours={"random": (("random", 0.0),), "medium": (("turns", 0.5),), "expert": (("turns", 0.05),),
                "mixed": (("random", 0.0), ("greedy", 0.5), ("turns", 0.05), ("genie", 0.1))},
)

# mypy: ignore-errors
# Types are left out to be short; `wbench.benchmark.agent` has them.
"""`pupil`: a complete learner, the agent of docs/guides/own-agent.md, for families whose action is one choice.

From logs of train sites it learns what the expert does, and what each choice pays, from an agent's own observation. At a new
site it reads from the logs where in the period each choice pays more or less than that, and leans towards what pays.

    python docs/examples/own_learner.py access build/pupil   # trains: a minute
    wbench eval --agent docs/examples/own_learner.py --checkpoint build/pupil --family access
"""

import sys
from dataclasses import asdict, dataclass

import torch
import wbench
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax
from wbench.benchmark.agent import Adaptation, Agent
from wbench.benchmark.family import QUALITIES, FamilyShape
from wbench.benchmark.registry import get_family
from wbench.learning.checkpoint import CheckpointConfig, Pretrained, count_parameters, digest, settings_digest

EXPERT = QUALITIES.index("expert")
WEIGHT = 3.0  # how many samples the belief is worth that a site is like the average one
TEMPERATURE = 0.05  # how much more pay makes a choice e times as likely as the expert makes it


@dataclass(frozen=True)
class Config(CheckpointConfig):
    """What the network is; goes into config.json."""

    OWNER = "pupil"

    hidden: int = 128
    transitions: int = 0


class Network(nn.Module, Pretrained):
    """Own observation and the variant's description -> log-odds of the expert's choice, and the pay of each choice."""

    SUMMARY = "The example of docs/guides/own-agent.md: a cloned expert, and the pay of each choice."

    def __init__(self, config):
        super().__init__()
        self.config = Config.from_dict(config) if isinstance(config, dict) else config
        ((_, shape),) = self.config.families.items()
        inputs, hidden, self.choices = shape.obs_size + shape.descriptor_size, self.config.hidden, shape.actions[0].size
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.head = nn.Linear(hidden, 2 * self.choices)

    def forward(self, obs, descriptor):
        """Log-odds [..., A] and pay [..., A] of observations [..., O] and descriptors [..., D]."""
        both = self.head(self.body(torch.cat([obs, descriptor.expand(*obs.shape[:-1], -1)], -1)))
        return both[..., : self.choices], both[..., self.choices :]


def train(name, folder, steps=1500, rows=2048, seed=0):
    """Train on recorded play at the train sites of a family, and save config.json and model.safetensors."""
    torch.manual_seed(seed)
    logs = wbench.windows(name, history=0, horizon=0, seed=seed)
    network = Network(Config({name: FamilyShape.of(get_family(name))}, transitions=logs.transitions))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(steps):
        batch = logs.sample(rows)
        odds, pay = network(batch.obs[:, 0], batch.descriptor)
        done, expert = batch.action[:, 0], batch.quality == EXPERT
        cloned = cross_entropy(odds.masked_fill(~batch.action_mask[:, 0], -1e9)[expert], done[expert])
        paid = (pay.gather(1, done[:, None])[:, 0] - batch.own_reward[:, 0]).square().mean()
        optimiser.zero_grad()
        (cloned + paid).backward()
        optimiser.step()
        if step % 250 == 0 or step == steps - 1:
            print(f"step {step}: cloning {cloned.item():.3f}, pay {paid.item():.4f}")
    network.save_pretrained(folder, config=asdict(network.config))


class Pupil(Agent):
    """Does what the expert would, where the logs of the site say that it pays."""

    name = "pupil"

    def __init__(self, network):
        self.network, self.table = network, None
        self.parameters, self.checkpoint_digest = count_parameters(network), digest(network)
        self.settings_digest, self.source_transitions = settings_digest(network.config), network.config.transitions

    def knows(self, family):
        """The family that it was trained on."""
        return family.name in self.network.config.families

    @torch.no_grad()
    def adapt(self, family, variant, support):
        """What each choice pays beyond the average site, by slot of the period: [L, A]; zero without logs."""
        extra, tried = torch.zeros(2, variant.period, self.network.choices)
        if support is not None:
            _, pay = self.network(support.obs, torch.tensor(variant.descriptor()))
            done = support.action.flatten()
            surprise = support.reward.flatten() - pay.flatten(0, 2).gather(1, done[:, None])[:, 0]
            phase = torch.arange(support.obs.shape[1]).remainder(variant.period)[None, :, None].expand_as(support.action)
            extra.index_put_((phase.flatten(), done), surprise, accumulate=True)
            tried.index_put_((phase.flatten(), done), torch.ones_like(surprise), accumulate=True)
        self.table = extra / (tried + WEIGHT)
        return Adaptation(notes={"choices tried": int((tried > 0).sum())})

    @torch.no_grad()
    def act(self, obs, inbox, state):
        """Actions [B, N] from own observations [B, N, O]."""
        odds, pay = self.network(obs, torch.tensor(state.variant.descriptor()))
        worth = pay + self.table[state.slot % state.variant.period]
        return (log_softmax(odds, -1) + worth / TEMPERATURE).masked_fill(~state.action_mask, -1e9).argmax(-1)


def build(checkpoint, device):
    """What the entry point names; `checkpoint` is what `--checkpoint` gave."""
    return Pupil(Network.from_pretrained(checkpoint or "./build/pupil"))


if __name__ == "__main__":
    train(*sys.argv[1:])

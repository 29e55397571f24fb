# mypy: ignore-errors
# Types are left out to be short; `wbench.benchmark.agent` has them.
"""`claim`: who has more waiting than the others may use what all share. The complete agent of docs/own-agent.md.

Every slot each agent broadcasts one float, what it has waiting. The harness hands it the mean of the others' floats one slot
later, and that is all it learns of them. An agent with a large share of all that waits goes ahead; one with little holds back.
One rule a family turns the share into an action. Nothing is learned.
"""

import torch
from wbench.benchmark.agent import Agent
from wbench.benchmark.families.access import layout as access_layout
from wbench.benchmark.families.offload import layout as offload_layout
from wbench.benchmark.families.power import layout as power_layout


def waiting(obs, family):
    """What each agent has waiting, from its own observation alone: packets, slots of traffic or slots of work, [B, N]."""
    if family.name == "access":
        return access_layout.View(obs).queue[..., 1]
    if family.name == "power":
        return power_layout.View(obs).queue[..., 1].expm1()
    return offload_layout.View(obs).local[..., 0].expm1()


class Claim(Agent):
    """Claims a part of the shared resource as large as its share of what waits."""

    name = "claim"
    message_size = 1

    def knows(self, family):
        """The three families of the protocol."""
        return family.name in ("access", "power", "offload")

    def message(self, obs, state):
        """What each agent broadcasts, [B, N, 1]."""
        return waiting(obs, state.family).unsqueeze(-1)

    def act(self, obs, inbox, state):
        """Actions [B, N] or [B, N, 2] from own observations [B, N, O] and the mean of the others' messages [B, N, 1]."""
        n, own = state.variant.agents, waiting(obs, state.family)
        share = own / (own + (n - 1) * inbox[..., 0]).clamp(min=1e-6)
        return getattr(self, state.family.name)(share, n, obs, state)

    def access(self, share, n, obs, state):
        """Send on a random channel with a probability that makes one sender a channel, were the shares still true."""
        c = state.variant.channels
        channel = 1 + (c * state.random.uniform(n)).long().clamp(max=c - 1)
        return torch.where((state.random.uniform(n) < c * share) & state.action_mask[..., 1], channel, 0)

    def power(self, share, n, obs, state):
        """In the own turn within the cell, a power as large as the own backlog beside the mean one."""
        return power_layout.View(obs).turn[..., 1] * (n * share).clamp(max=1)

    def offload(self, share, n, obs, state):
        """Send a task to a random edge with more than the mean waiting, compute it here with less; the clock at full speed."""
        e = state.variant.edges
        edge = 1 + (e * state.random.uniform(n)).long().clamp(max=e - 1)
        server = torch.where((n * share > 1) & state.action_mask[..., 1], edge, 0)
        return torch.stack([server.float(), torch.ones_like(share)], dim=-1)


def build(checkpoint, device):
    """What the entry point names; `checkpoint` is what `--checkpoint` gave, None without it."""
    return Claim()

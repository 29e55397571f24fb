# mypy: ignore-errors
# Types are left out to be short; `wbench.benchmark.agent` has them.
"""`tally`: what did it earn to send here? The complete agent of docs/guides/own-agent.md, for the family `access`.

Users take turns. Where and when an incumbent sends, and where a transmission does harm, is a site's secret; its logs tell. So
the agent adds up what lone senders earned in each slot of the superframe on each channel, and sends where that was positive.
"""

import torch
from torch.nn.functional import one_hot
from wbench.benchmark.agent import Adaptation, Agent
from wbench.benchmark.families.access.layout import MAX_CHANNELS, View

HOPE, WEIGHT = 0.05, 2.0  # what a cell earns that nobody tried, and how many trials that belief is worth


class Tally(Agent):
    """Sends in its own turn, in cells where the logs say that sending earns something."""

    name = "tally"

    def knows(self, family):
        """`access` alone."""
        return family.name == "access"

    def adapt(self, family, variant, support):
        """Add up, in the joint logs, what lone senders earned by slot of the superframe and channel: [L, C]."""
        slots, c = variant.superframe, variant.channels
        earned, tried = torch.zeros(slots, c), torch.zeros(slots, c)
        if support is not None:
            went = View(support.obs[:, 1:]).outcome[..., :1] == 0  # the next observation says whether a packet went out
            sent = one_hot(support.action[:, :-1], MAX_CHANNELS + 1)[..., 1 : c + 1] * went  # [K, T - 1, N, C]
            alone = sent * (sent.sum(2, keepdim=True) == 1)
            clock = torch.arange(sent.shape[1]) % slots
            earned.index_add_(0, clock, (alone * support.reward[:, :-1, :, None]).sum((0, 2)))
            tried.index_add_(0, clock, alone.sum((0, 2)).float())
        self.worth = (earned + WEIGHT * HOPE) / (tried + WEIGHT)
        return Adaptation(notes={"cells that pay": int((self.worth > 0).sum())})

    def act(self, obs, inbox, state):
        """Actions [B, N] from own observations [B, N, O]."""
        view, now = View(obs), self.worth.to(obs.device)[state.slot % state.variant.superframe]
        home = view.static[..., 1:].argmax(-1)  # every user has a home channel
        send = (view.turn[..., 0] > 0) & (view.queue[..., 0] > 0) & (now[home] > 0)
        return torch.where(send, 1 + home, 0)


def build(checkpoint, device):
    """What the entry point names; `checkpoint` is what `--checkpoint` gave, None without it."""
    return Tally()

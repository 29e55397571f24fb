# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # An agent of your own
#
# From nothing to a learner that reads logs, step by step, in `access`. The finished form is `docs/examples/own_learner.py`;
# [the guide](../guides/own-agent.md) says how to score and submit it.

# %%
import torch
import wbench
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax
from wbench.benchmark.agent import Adaptation, Agent

variant, site = "access/n8-c3-load0.15-l48", "dev:3"

# %% [markdown]
# ## A rule
#
# An agent is a class with `act`. It gets the observations of all agents of a batch of episodes, [B, N, O], and must treat
# every row alone. This one sends on its home channel whenever that is allowed.


# %%
class Eager(Agent):
    name = "eager"

    def act(self, obs, inbox, state):
        home = 1 + torch.arange(obs.shape[1]) % state.variant.channels
        return torch.where(state.action_mask[..., 1], home, 0)


def score(agent, shots=None, episodes=8):
    """Mean score at the site: 0 = random, 100 = a central genie that is told the site."""
    policy = wbench.load_policy(agent)
    policy.adapt(variant, shots)
    env = wbench.make(variant, site, episodes=episodes)
    obs, _ = env.reset()
    policy.reset(env)
    returns, over = torch.zeros(episodes), torch.zeros(1, dtype=torch.bool)
    while not over.any():
        obs, reward, _, over, _ = env.step(policy.act(obs))
        returns += reward.sum(1)
    return float(wbench.normalised_score(variant, site, returns).mean())


eager = score(Eager())
eager

# %% [markdown]
# Eager users collide. What would a good policy do? The recorded play of the train sites holds `expert` episodes. What an
# observation holds: `wbench show access --observation`.
#
# ## A learner
#
# A batch of windows has a row an agent. The network gives the log-odds of the expert's choice, and what each choice pays.

# %%
torch.manual_seed(0)
windows = wbench.windows(variant, history=0, horizon=0)
network = nn.Sequential(nn.Linear(37, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 10))
optimiser, expert = torch.optim.Adam(network.parameters(), lr=2e-3), 2  # of wbench.benchmark.family.QUALITIES
for _ in range(400):
    batch = windows.sample(1024)
    odds, pay = network(batch.obs[:, 0]).split(5, -1)
    done, shown = batch.action[:, 0], batch.quality == expert
    odds = odds.masked_fill(~batch.action_mask[:, 0], -1e9)
    cloned = cross_entropy(odds[shown], done[shown])
    paid = (pay.gather(1, done[:, None])[:, 0] - batch.own_reward[:, 0]).square().mean()
    optimiser.zero_grad()
    (cloned + paid).backward()
    optimiser.step()
cloned.item(), paid.item()

# %% [markdown]
# ## Reading logs
#
# `adapt` is called once a site with the logs, or with None. Ours compares what each choice paid, by slot of the period,
# with what the network expects on average. Few trials count little.


# %%
class Learner(Agent):
    name = "learner"

    @torch.no_grad()
    def adapt(self, family, variant, support):
        extra, tried = torch.zeros(2, variant.period, 5)
        if support is not None:
            done = support.action.flatten()
            expected = network(support.obs)[..., 5:].flatten(0, 2).gather(1, done[:, None])[:, 0]
            phase = torch.arange(support.obs.shape[1]).remainder(variant.period)[None, :, None].expand_as(support.action)
            extra.index_put_((phase.flatten(), done), support.reward.flatten() - expected, accumulate=True)
            tried.index_put_((phase.flatten(), done), torch.ones_like(expected), accumulate=True)
        self.table = extra / (tried + 3)
        return Adaptation()

    @torch.no_grad()
    def act(self, obs, inbox, state):
        odds, pay = network(obs).split(5, -1)
        worth = pay + self.table[state.slot % state.variant.period]
        return (log_softmax(odds, -1) + worth / 0.05).masked_fill(~state.action_mask, -1e9).argmax(-1)


learned = {shots: score(Learner(), wbench.load_support(variant, site, shots) if shots else None) for shots in (0, 5, 20)}
learned

# %% [markdown]
# ## Does it act alone?
#
# Row i of what you return may depend on row i of `obs` and `inbox` alone. `wbench check FILE.py` asks for it in every slot.
# By hand:

# %%
policy = wbench.load_policy(Learner())
policy.adapt(variant)
env = wbench.make(variant, site, episodes=1)
obs, _ = env.reset()
changed = obs.clone()
changed[:, 1:] = obs[:, 1:].flip(1)
policy.reset(seeds=[0])
before = policy.act(obs)
policy.reset(seeds=[0])
assert policy.act(changed)[0, 0] == before[0, 0]

# %% [markdown]
# Saving and loading weights, a name and `build` make it an agent that the command line plays:
# `docs/examples/own_learner.py`.

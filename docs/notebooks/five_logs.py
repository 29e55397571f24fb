# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A place from five logs
#
# Eight users share three channels with incumbents that nobody has met. Somebody logged five episodes there. What do these
# logs tell, and what is it worth? This page is a notebook: `jupytext --to ipynb docs/notebooks/five_logs.py`.

# %%
import matplotlib.pyplot as plt
import torch
import wbench

variant, site = "access/n8-c3-load0.15-l48", "dev:3"
logs = wbench.load_support(variant, site, shots=5)
logs

# %% [markdown]
# The incumbents' schedule repeats after 48 slots. In some (slot, channel) cells a *protected* incumbent listens, which no
# user hears: whoever sends there is charged, and only the reward says so. The logs hold rewards; in play nobody sees any.
#
# What did the users that sent earn, by slot of the schedule and channel?

# %%
clock = torch.arange(logs.reward.shape[1]) % 48
earned, tried = torch.zeros(48, 3), torch.zeros(48, 3)
for channel in range(3):
    sent = (logs.action == channel + 1).float()
    earned[:, channel].index_add_(0, clock, (logs.reward * sent).sum((0, 2)))
    tried[:, channel].index_add_(0, clock, sent.sum((0, 2)))
table = earned / tried.clamp(min=1)

figure, axes = plt.subplots(figsize=(9, 2))
picture = axes.imshow(table.T, aspect="auto", cmap="RdBu", vmin=-0.5, vmax=0.5)
axes.set(xlabel="slot of the schedule", ylabel="channel", yticks=range(3), title="what those earned that sent")
figure.colorbar(picture)

# %% [markdown]
# Red cells cost. NetWorld reads the same logs without knowing what a channel is. First: does its world model know the place
# better by them?

# %%
world = wbench.load_world("networld")
place = world.at(variant, logs)
fidelity = place.fidelity(draws=80)
fidelity

# %% [markdown]
# `pay` is the share of the variance of the agents' pay that the model explains in a log, when it has read the other four.
# `pay_unread` is the same when it has read none. The difference is what logs tell it. Now play: the same agent, with and
# without the logs, on the same episodes.


# %%
def score(agent, shots, episodes=4):
    """Mean score of an agent at the site: 0 = random, 100 = a central genie that is told the site."""
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


readers = ("networld", "estimator")
scores = {agent: {"no logs": score(agent, None), "five logs": score(agent, logs)} for agent in readers}
scores

# %% [markdown]
# `estimator` is the rule of an engineer that knows the family. Are these the logs of *this* place that help? The control:
# the logs of another site.

# %%
wrong = score("networld", wbench.load_support(variant, "dev:9", shots=5))
wrong

# %% [markdown]
# One site and four episodes are an anecdote. The [protocol](../explanation/protocol.md) plays many sites and gives
# intervals:
#
#     wbench eval --agent networld --family access --shots 0,1,5,20 --sites dev:0-9

"""Draws docs/figures/FAMILY.png: what a scenario looks like, queues under different policies, returns of the references.

Also writes docs/admission.md. The table of results in the README is docs/readme.py's.

pip install -e ".[docs]" && python docs/build.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from wbench.benchmark.families.power import env as power
from wbench.benchmark.families.power.variant import PowerVariant
from wbench.benchmark.family import Family, Variant
from wbench.benchmark.protocol.references import admission_page, references
from wbench.benchmark.randomness import scenario_generator
from wbench.benchmark.registry import get_family
from wbench.benchmark.rollout import Slot, play

FOLDER = Path(__file__).with_name("figures")
SHOWN = {
    "access": ("access/n8-c1-load0.4", ("backlog-aloha", "tdma", "genie"), "packets waiting"),
    "power": ("power/n10-d800-v1-load0.5", ("full", "round-robin", "pricing", "wmmse"), "backlog, slots of mean arrivals"),
    "offload": ("offload/n10-e3-p0.3", ("greedy", "softmax", "genie"), "cost of a slot"),
}
EPISODES = 100


def waiting(family: Family, variant: Variant, policy: str) -> torch.Tensor:
    """What waits, or what waiting costs, in every slot: mean over agents and episodes, [T]."""
    seen: list[torch.Tensor] = []

    def keep(slot: Slot) -> None:
        if family.name == "power":
            seen.append(torch.expm1(slot.obs[..., 1]).mean())
        elif family.name == "access":
            seen.append((slot.obs[..., 1] * 16).mean())
        else:
            seen.append(-slot.reward.sum(1).mean())

    play(family, variant, family.policies[policy](), range(EPISODES), record=keep)
    return torch.stack(seen)


def power_layout(axes: Axes, variant: PowerVariant) -> None:
    """Sites, users and who serves whom in the scenario of seed 0."""
    sites, cell, users = power.layout(variant, scenario_generator(variant.name, 0))
    for user, site in zip(users, sites[cell], strict=True):
        axes.plot(*zip(site, user, strict=True), color="0.7", linewidth=1)
    axes.plot(*users.T, "o", color="tab:blue", label="receiver")
    axes.plot(*sites.T, "^", color="black", markersize=9, label="base station")
    axes.set(aspect="equal", xlabel="m", ylabel="m", title="a scenario (seed 0)")
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def slots_of_access(axes: Axes, family: Family, variant: Variant) -> None:
    """Who sends when under three policies: success, collision, idle."""
    rows = []
    for policy in ("backlog-aloha", "backoff", "tdma"):
        sent: list[torch.Tensor] = []
        play(family, variant, family.policies[policy](), [0], record=lambda slot: sent.append((slot.action[0] > 0).sum()))  # noqa: B023
        rows.append(torch.stack(sent).clamp(max=2))
    axes.imshow(
        torch.stack(rows),
        aspect="auto",
        interpolation="nearest",
        cmap=matplotlib.colors.ListedColormap(["0.92", "tab:green", "tab:red"]),
    )
    axes.set(yticks=range(3), yticklabels=["backlog-aloha", "backoff", "tdma"], xlabel="slot")
    axes.set_title("idle (grey), success (green), collision (red)")


def choices_of_offload(axes: Axes, family: Family, variant: Variant) -> None:
    """Where tasks go under each policy."""
    policies, shares = ("greedy", "softmax", "genie"), []
    for policy in policies:
        counts = torch.zeros(5)

        def keep(slot: Slot, counts: torch.Tensor = counts) -> None:
            decided = slot.action_mask.sum(-1) > 1
            counts += torch.bincount(slot.action[..., 0][decided].long(), minlength=5)

        play(family, variant, family.policies[policy](), range(EPISODES), record=keep)
        shares.append(counts / counts.sum())
    left = torch.zeros(len(policies))
    for server, share in enumerate(torch.stack(shares, 1)):
        if share.sum() > 0:
            axes.barh(policies, share, left=left, label="local" if server == 0 else f"edge {server}")
            left = left + share
    axes.set(title="where tasks go", xlabel="share of tasks", xlim=(0, 1))
    axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def returns(axes: Axes, family: Family) -> None:
    """Scores of greedy rule and informed heuristic on every variant; 0 = random, 100 = genie."""
    names = list(family.variants)
    places = range(len(names))
    for role, colour in (("greedy", "tab:orange"), ("heuristic", "tab:blue")):
        scores = [references(name).score(getattr(references(name), role)) for name in names]
        axes.plot(scores, places, "o", color=colour, label=f"{getattr(family, role)} ({role})", markersize=4)
    labels = [name.partition("/")[2] + (" *" if family.variants[name].split == "held-out" else "") for name in names]
    axes.axvline(0, color="0.6", linewidth=1)
    axes.axvline(100, color="0.6", linewidth=1)
    axes.set(yticks=places, xlabel="score: 0 = random, 100 = genie", title="references by variant (* held out)")
    axes.set_yticklabels(labels, fontsize=6)
    axes.set_xlim(left=max(-150, axes.get_xlim()[0]))
    axes.invert_yaxis()
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def draw(name: str) -> None:
    """Draw one family's figure."""
    family = get_family(name)
    shown, policies, label = SHOWN[name]
    variant = family.variant(shown)
    figure, (first, second, third) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    if name == "power":
        assert isinstance(variant, PowerVariant)
        power_layout(first, variant)
    elif name == "access":
        slots_of_access(first, family, variant)
    else:
        choices_of_offload(first, family, variant)
    for policy in policies:
        second.plot(waiting(family, variant, policy), label=policy)
    second.set(title=f"{shown}: mean of {EPISODES} episodes", xlabel="slot", ylabel=label, ylim=(0, None))
    second.legend(fontsize=8)
    returns(third, family)
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png", dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    FOLDER.with_name("admission.md").write_text(admission_page(SHOWN), encoding="utf-8")
    for each in SHOWN:
        draw(each)

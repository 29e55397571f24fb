"""What K logs tell NetWorld of an `access` site: the pay of sending, true and as its slot model expects it, as a picture.

    python experiments/site_code.py [--checkpoint networld-small] [--out docs/figures/site-code.png]

Rows are channels, columns slots of the superframe. True is (1 - busy) less the charge, by channel; expected is that of a user
with one fresh packet whose turn it is. A dev site of a train variant; the correlation stands above each panel.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from wbench.benchmark.data.support import support
from wbench.benchmark.families.access.env import CHARGE
from wbench.benchmark.families.access.site import draw_site
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.registry import get_family
from wbench.benchmark.site import RANGES
from wbench.learning.context import site_table
from wbench.networld.model import NetWorld

FAMILY = get_family("access")
SHOTS = (0, 1, 5, 20)


def true_pay(variant: AccessVariant, site: int) -> np.ndarray:
    """Expected pay of sending a fresh packet alone, [C, L]."""
    hidden = draw_site(variant, site)
    return ((1.0 - hidden.busy - CHARGE * hidden.protected) / variant.channels).T


@torch.no_grad()
def expected_pay(model: NetWorld, variant: AccessVariant, site: int, shots: int) -> np.ndarray:
    """The same as the slot model expects it after so many episodes, [C, L], of the user whose turn it is."""
    read = site_table(model.support, FAMILY.name, variant, support(FAMILY, variant, site, shots))
    env = FAMILY.make(variant, "cpu")
    obs, info = env.reset([site], [0])
    scenario = model.scenario(torch.tensor(variant.descriptor()), FAMILY.name)
    found = torch.zeros(variant.channels, variant.period)
    counted = torch.zeros_like(found)
    for slot in range(variant.horizon):
        latent = model(obs[0], FAMILY.name)
        pay = model.prospects(latent, scenario.expand(len(latent), -1), read[:, slot % variant.period], FAMILY.name)
        _add(found, counted, pay * model.config.pay_units[FAMILY.name], info["action_mask"][0], variant, slot)
        obs, *_, info = env.step(torch.zeros(1, variant.agents, dtype=torch.long))
    return (found / counted.clamp(min=1.0)).numpy()


def _add(found: Tensor, counted: Tensor, pay: Tensor, mask: Tensor, variant: AccessVariant, slot: int) -> None:
    """Add what users with a packet expect in a slot, in their turn, on their home channel."""
    for user in range(variant.agents):
        channel = user % variant.channels
        if slot % variant.frame == user // variant.channels and mask[user, channel + 1]:
            found[channel, slot % variant.period] += pay[user, channel + 1]
            counted[channel, slot % variant.period] += 1


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="networld-small")
    parser.add_argument("--variant", default="access/n8-c3-load0.25-l48")
    parser.add_argument("--site", type=int, default=RANGES["dev"][20])
    parser.add_argument("--out", type=Path, default=Path("docs/figures/site-code.png"))
    given = parser.parse_args()
    model, variant = NetWorld.from_pretrained(given.checkpoint), FAMILY.variant(given.variant)
    assert isinstance(variant, AccessVariant)
    truth = true_pay(variant, given.site)
    panels = [("true", truth)]
    for shots in SHOTS:
        pay = expected_pay(model, variant, given.site, shots)
        known = pay != 0.0
        correlation = np.corrcoef(pay[known], truth[known])[0, 1]
        panels.append((f"after {shots} episodes, correlation {correlation:.2f}", pay))
    figure = Figure(figsize=(9, 1.25 * len(panels)), layout="constrained")
    for axes, (title, pay) in zip(figure.subplots(len(panels), 1, sharex=True), panels, strict=True):
        image = axes.imshow(pay, aspect="auto", cmap="RdBu", vmin=-0.35, vmax=0.35)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_yticks(range(variant.channels), range(1, variant.channels + 1))
        axes.set_ylabel("channel", fontsize=8)
    axes.set_xlabel("slot of the superframe")
    figure.colorbar(image, ax=figure.axes, label="expected pay of sending", shrink=0.6)
    figure.savefig(given.out, dpi=130)
    print(given.out, *(title for title, _ in panels), sep="\n")


if __name__ == "__main__":
    main()

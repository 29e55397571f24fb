"""How much of what is hidden at a site can be read off NetWorld's code, beside what an engineer's rule reads off the same logs.

    python experiments/site_probe.py [--checkpoint networld-small] [--family offload] [--sites 96] [--shots 1,5]

A line for every number of shots and hidden quantity: the share of its variance over dev sites that a ridge regression on the
code explains, fitted on three quarters of the sites and asked about the fourth; and the share that `estimator` explains.
A code that the regression cannot read may still hold the quantity in another form, so the figure is a lower bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from wbench.benchmark.agent import Support
from wbench.benchmark.data.support import support
from wbench.benchmark.families.access.env import CHARGE
from wbench.benchmark.families.access.evidence import read_logs
from wbench.benchmark.families.access.site import draw_site
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.families.offload.estimator import estimate
from wbench.benchmark.families.offload.site import sites as draw_sites
from wbench.benchmark.families.offload.variant import OffloadVariant
from wbench.benchmark.registry import get_variant
from wbench.benchmark.site import RANGES
from wbench.networld.model import NetWorld

FIRST = 100  # of the dev sites that are read: the others are kept for what is chosen by scores
FOLDS = 4
RIDGES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
Quantities = dict[str, Tensor]  # by name, [L, ...] for what changes with the slot of the period, else [1, ...]


def offload_true(variant: OffloadVariant, site: int) -> Quantities:
    """What is hidden, by edge."""
    hidden = draw_sites(variant, [site])
    speeds = {"capacity": hidden.capacity[0] / variant.speed, "band": hidden.band[0] / variant.band}
    by_slot = {"tariff": hidden.tariff[0].T, "left by tenants": hidden.available()[0].T}
    return by_slot | {name: speed.log().unsqueeze(0) for name, speed in speeds.items()}


def offload_estimated(variant: OffloadVariant, logs: Support) -> Quantities:
    """The same as `estimator` reads it."""
    found = estimate(variant, logs)
    speeds = {"capacity": found.capacity[0] / variant.speed, "band": found.band[0] / variant.band}
    by_slot = {"tariff": found.tariff[0].T, "left by tenants": found.available[0].T}
    return by_slot | {name: speed.log().unsqueeze(0) for name, speed in speeds.items()}


def access_true(variant: AccessVariant, site: int) -> Quantities:
    """What is hidden, by channel."""
    hidden = draw_site(variant, site)
    return {"incumbents": torch.from_numpy(hidden.busy), "protected": torch.from_numpy(hidden.protected)}


def access_estimated(variant: AccessVariant, logs: Support) -> Quantities:
    """The same as `estimator` reads it."""
    table = read_logs(variant, logs).table()
    return {"incumbents": table.busy[0], "protected": table.charge[0] / CHARGE}


READERS: dict[str, tuple[str, Callable, Callable]] = {
    "access": ("access/n8-c3-load0.25-l64", access_true, access_estimated),
    "offload": ("offload/n12-e3-p0.15-deadline14", offload_true, offload_estimated),
}


@torch.no_grad()
def code(model: NetWorld, variant: AccessVariant | OffloadVariant, logs: Support) -> Tensor:
    """What the code says of the slots of the period, [L, D]: the mean token of the team, and the evidence."""
    assert model.support is not None
    found = model.support.of_support(variant, logs, variant.family)
    return torch.cat([found.table[0].mean(0), found.evidence[0].flatten(1)], dim=-1)


def explained(found: Tensor, true: Tensor) -> float:
    """Share of the variance of true [...] that found [...] explains."""
    return 1.0 - float((found - true).square().sum() / (true - true.flatten(0, 1).mean(0)).square().sum())


def regressed(seen: Tensor, true: Tensor) -> Tensor:
    """Quantities [S, L, ...] as ridge regressions on codes [S, L, D] tell them, of sites that they were not fitted on."""
    seen = (seen - seen.mean((0, 1))) / (seen.std((0, 1)) + 1e-6)
    fold, fits = torch.arange(len(seen)) % FOLDS, []
    for ridge in RIDGES:
        found = torch.zeros_like(true)
        for k in range(FOLDS):
            x, y = seen[fold != k].flatten(0, 1), true[fold != k].flatten(0, 1)
            weights = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]).double(), x.T @ (y - y.mean(0)))
            found[fold == k] = y.mean(0) + seen[fold == k] @ weights
        fits.append(found)
    return max(fits, key=lambda found: explained(found, true))


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="networld-small")
    parser.add_argument("--family", choices=READERS, action="append")
    parser.add_argument("--sites", type=int, default=96)
    parser.add_argument("--shots", default="1,5")
    given = parser.parse_args()
    model, shots = NetWorld.from_pretrained(given.checkpoint), [int(part) for part in given.shots.split(",")]
    for name in given.family or READERS:
        which, truth, read = READERS[name]
        family, variant = get_variant(which)
        numbers = [RANGES["dev"][FIRST + k] for k in range(given.sites)]
        logs = [support(family, variant, site, max(shots)) for site in numbers]
        hidden = [truth(variant, site) for site in numbers]
        for k in shots:
            heard = [_first(each, k) for each in logs if each is not None]
            seen = torch.stack([code(model, variant, each) for each in heard]).double()
            told = [read(variant, each) for each in heard]
            for quantity in hidden[0]:
                true, rule = (torch.stack([each[quantity] for each in part]).double() for part in (hidden, told))
                known = seen if true.shape[1] > 1 else seen.mean(1, keepdim=True)
                of_code, of_rule = explained(regressed(known, true), true), explained(rule, true)
                print(f"{name}, {k} shots, {quantity}: code {of_code:.2f}, estimator {of_rule:.2f}", flush=True)


def _first(logs: Support, shots: int) -> Support:
    """The first episodes of a support."""
    return replace(logs, **{name: part[:shots] for name, part in vars(logs).items()})


if __name__ == "__main__":
    main()

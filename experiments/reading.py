"""How much of what is hidden at a site an encoder of logs *can* read: it is trained to tell it, and asked at other sites.

    python experiments/reading.py [--family access] [--reading influences] [--steps 300]

A line a family and reading: the share of the variance of each hidden quantity that is explained, over 12 train sites that were
kept aside, after 1, 5 and 8 logged episodes. Gains, in `power`, are those between two links, in dB over the own one, read off
the encoder's edges. This says what an architecture can hold, and not what an agent's losses teach it: for that see
experiments/site_probe.py. Needs the release `standard` of the family.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from wbench.benchmark.data.context import Context
from wbench.benchmark.data.release import get_release
from wbench.benchmark.data.windows import Episodes, load_episodes
from wbench.benchmark.families.access.site import draw_site as access_site
from wbench.benchmark.families.offload.site import sites as offload_sites
from wbench.benchmark.families.power.site import draw_site as power_site
from wbench.benchmark.family import FamilyShape, Variant
from wbench.benchmark.registry import get_variant
from wbench.learning.context import SupportEncoder
from wbench.learning.reading import InfluenceEncoder

VARIANTS = {
    "access": "access/n8-c3-load0.25-l64",
    "offload": "offload/n12-e3-p0.15-deadline14",
    "power": "power/d2d-n20-s500-v1-load0.12-l48",
}
READINGS = {"means": SupportEncoder, "influences": InfluenceEncoder}
ASIDE, PLACES, SIZE, SHOTS = 12, 8, 64, (1, 5, 8)
Quantities = dict[str, Tensor]  # by name, [N or 1, L, ...]


def hidden(variant: Variant, site: int) -> tuple[Quantities, Tensor]:
    """What is hidden by slot, and the gains from each agent to each, [N, N]; no gains but in `power`."""
    none = torch.zeros(variant.agents, variant.agents)
    if variant.family == "access":
        found = access_site(variant, site)
        return {name: torch.from_numpy(getattr(found, name)).float()[None] for name in ("busy", "protected")}, none
    if variant.family == "offload":
        one = offload_sites(variant, [site])
        speeds = {name: getattr(one, name)[0].log().expand(1, variant.period, -1) for name in ("capacity", "band")}
        return {"tariff": one.tariff[0].T[None], "left by tenants": one.available()[0].T[None], **speeds}, none
    place = power_site(variant, site)
    links = torch.from_numpy(place.links).float()
    outside = (torch.from_numpy(place.outside) > 0).float().unsqueeze(-1)
    gains = torch.log10(links / links.diagonal().unsqueeze(1)).clamp(-6.0, 3.0).T  # from n to m
    return {"outside": outside, "price": torch.full_like(outside, place.price)}, gains


def logs(episodes: Episodes, sites: Tensor, shots: int, generator: torch.Generator) -> Context:
    """So many random episodes of each of P sites."""
    pool = episodes._pool[sites]
    order = torch.where(pool >= 0, torch.rand(pool.shape, generator=generator), 2.0).argsort(1)[:, :shots]
    chosen, there = pool.gather(1, order).clamp(min=0), pool.gather(1, order) >= 0
    agents, period = (torch.full((len(sites),), value) for value in (episodes.variant.agents, episodes.variant.period))
    columns = episodes.logs(chosen, there)
    return Context(**columns, mask=there, agents=agents, period=period, place=torch.arange(len(sites)))


class Probe(nn.Module):
    """An encoder, and heads that tell what is hidden: by slot [P, N, L, Q], and gains [P, N, N]."""

    def __init__(self, kind: type[SupportEncoder], variant: Variant, shape: FamilyShape, quantities: int) -> None:
        super().__init__()
        self.variant, self.encoder = variant, kind({variant.family: shape}, SIZE)
        self.head = nn.Sequential(nn.LazyLinear(64), nn.SiLU(), nn.Linear(64, quantities))
        self.gain = nn.Linear(64, 1)

    def forward(self, context: Context) -> tuple[Tensor, Tensor]:
        """What is told of the context's sites."""
        edges: list[Tensor] = []
        hook = self.encoder.edge.register_forward_hook(lambda _, __, out: edges.append(out))
        descriptor = torch.tensor([self.variant.descriptor()]).expand(len(context.agents), -1)
        code = self.encoder(context, descriptor, self.variant.family)
        hook.remove()
        ranges = (torch.arange(size) for size in (len(context.agents), self.variant.agents, self.variant.period))
        return self.head(code.read(*torch.meshgrid(*ranges, indexing="ij"))), self.gain(edges[0]).squeeze(-1)


def probe(name: str, reading: str, steps: int, seed: int = 0) -> dict[str, list[float]]:
    """Shares of variance by quantity, after each of `SHOTS`."""
    family, variant = get_variant(VARIANTS[name])
    (episodes,) = load_episodes(family, get_release("standard"), 4, 8, [variant])
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    sites = torch.unique(episodes.site)
    true = [hidden(variant, int(site)) for site in sites]
    names = [name for name, part in true[0][0].items() for _ in range(part.shape[-1])]
    table = torch.stack([torch.cat([*each.values()], dim=-1) for each, _ in true])
    gains, off = torch.stack([each for _, each in true]), ~torch.eye(variant.agents, dtype=torch.bool)
    mean, std, usual = table.mean((0, 1, 2)), table.std((0, 1, 2)), gains[:, off].mean()
    model = Probe(READINGS[reading], variant, FamilyShape.of(family), len(names))
    some = logs(episodes, sites[:20], 4, generator)
    obs, flat = some.obs.float(), [x[:, :, : some.obs.shape[2] - 1].flatten(0, 3) for x in (some.action, some.reward.float())]
    team = torch.full_like(flat[1], float(variant.agents))
    model.encoder.fit(obs[:, :, :-1].flatten(0, 3), obs[:, :, 1:].flatten(0, 3), *flat, team, name)
    model(logs(episodes, sites[:2], 1, generator))
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for step in range(steps):
        who = torch.randperm(len(sites) - ASIDE, generator=generator)[:PLACES]
        told, linked = model(logs(episodes, sites[who], (1, 2, 5, 8)[step % 4], generator))
        wrong = (told - (table[who] - mean) / std).square().mean() + 4.0 * (linked - gains[who] + usual)[:, off].square().mean()
        optimiser.zero_grad()
        wrong.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    found: dict[str, list[float]] = {}
    with torch.no_grad():
        for shots in SHOTS:
            told, linked = model(logs(episodes, sites[-ASIDE:], shots, generator))
            error, spread = (told * std + mean - table[-ASIDE:]).square(), (table[-ASIDE:] - mean).square()
            for name in dict.fromkeys(names):
                of = torch.tensor([other == name for other in names])
                found.setdefault(name, []).append(1.0 - float(error[..., of].mean() / spread[..., of].mean()))
            if gains.any():
                apart, all_ = ((x - gains[-ASIDE:])[:, off].square().mean() for x in (linked + usual, usual))
                found.setdefault("gains", []).append(1.0 - float(apart / all_))
    return found


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=VARIANTS, action="append")
    parser.add_argument("--reading", choices=READINGS, action="append")
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.family or VARIANTS:
        for reading in given.reading or READINGS:
            found = probe(name, reading, given.steps)
            shown = "; ".join(f"{key} {' / '.join(f'{x:.2f}' for x in shares)}" for key, shares in found.items())
            print(f"{name}, {reading}, {' / '.join(map(str, SHOTS))} shots: {shown}", flush=True)


if __name__ == "__main__":
    main()

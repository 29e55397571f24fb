"""Scores on the variants that choices are made on: three train variants of a family, and others that no release lists.

    python experiments/dev.py --agent networld [--checkpoint runs/X] [--family access] [--kind far] [--episodes 16] [--heads]

No held-out variant and no query episode is played, so that a checkpoint, a setting or a seed may be chosen by this table. Zero
shots, scenario seeds from 800 000. Dev variants are near those of training; far ones lie beyond them on several axes, as some
held-out variants do, and show who falls apart there. `--all` plays all train variants instead of three; `--heads` plays
NetWorld without plans: three times faster, within some one point of the whole; `--temperature` is a multiple of the
checkpoint's own. What random and genie have in dev and far variants, of 200 episodes, is kept in
experiments/dev_references.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from wbench.benchmark.agent import Agent
from wbench.benchmark.data.paths import write_text
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.families.offload.variant import OffloadVariant
from wbench.benchmark.families.power.variant import PowerVariant
from wbench.benchmark.family import Family, Variant
from wbench.benchmark.protocol.references import Admission, measure, references
from wbench.benchmark.registry import get_family, make_agent
from wbench.benchmark.rollout import play
from wbench.networld.agent import NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.model import NetWorld

FRAMES, FRAMED_BY = Path(__file__).with_name("dev_references.json"), 200
FIRST_SEED = 800_000
TRAIN = {
    "access": ("n8-c1-load0.4", "n12-c1-load0.3", "n8-c2-load0.3"),
    "power": ("n10-d800-v1-load0.5", "n15-d800-v1-load0.7", "n20-d1200-v1-load0.7"),
    "offload": ("n10-e3-p0.3", "n15-e2-p0.3", "n20-e3-p0.2"),
}
DEV: dict[str, tuple[Variant, ...]] = {
    "access": tuple(AccessVariant(*v) for v in ((14, 1, 0.25), (10, 2, 0.45), (10, 1, 0.35), (20, 1, 0.35), (8, 1, 0.35))),
    "power": tuple(
        PowerVariant(*v)
        for v in ((12, 700.0, 1.0, 0.5), (16, 1000.0, 2.0, 0.6), (10, 600.0, 1.5, 0.45), (24, 900.0, 0.5, 0.55))
    ),
    "offload": (
        *(OffloadVariant(*v) for v in ((12, 3, 0.25), (10, 2, 0.35), (18, 3, 0.25), (24, 3, 0.2))),
        OffloadVariant(10, 3, 0.3, fastest=100.0),
        OffloadVariant(10, 3, 0.3, uplink=75.0),
        OffloadVariant(12, 3, 0.3, fastest=30.0),
        OffloadVariant(12, 2, 0.25, deadline=12),
    ),
}
FAR: dict[str, tuple[Variant, ...]] = {
    "access": (
        *(AccessVariant(*v) for v in ((8, 3, 0.4), (20, 1, 0.4), (24, 2, 0.25), (10, 1, 0.6))),
        AccessVariant(12, 1, 0.3, traffic="bursty"),
        AccessVariant(12, 2, 0.3, legacy=True),
        AccessVariant(20, 3, 0.35, traffic="bursty"),
    ),
    "power": (
        PowerVariant(15, 500.0, 1.0, 0.6),
        PowerVariant(15, 800.0, 6.0, 0.6),
        PowerVariant(15, 800.0, 1.0, 0.9),
        PowerVariant(50, 900.0, 1.0, 0.5),
        PowerVariant(15, 1000.0, 1.0, 0.6, propagation="umi"),
        PowerVariant(30, 500.0, 6.0, 0.8),
    ),
    "offload": (
        *(OffloadVariant(*v) for v in ((20, 3, 0.4), (20, 2, 0.4), (12, 4, 0.25), (20, 4, 0.4))),
        OffloadVariant(10, 3, 0.35, uplink=45.0),
        OffloadVariant(20, 3, 0.4, uplink=40.0),
        OffloadVariant(15, 4, 0.4, uplink=40.0),
        OffloadVariant(40, 4, 0.2),
    ),
}


def frame(family: Family, variant: Variant) -> Admission:
    """What scores 0 and 100 on a variant: frozen for a listed one, else measured once and kept."""
    if variant.name in family.variants:
        return references(variant.name)
    known = json.loads(FRAMES.read_text(encoding="utf-8")) if FRAMES.exists() else {}
    if variant.name not in known:
        known[variant.name] = asdict(measure(family, variant, FRAMED_BY))
        write_text(FRAMES, json.dumps(known, indent=1) + "\n")
    return Admission(**known[variant.name])


def score(agent: Agent, family: Family, variant: Variant, episodes: int) -> float:
    """Mean score of an agent at zero shots."""
    agent.adapt(family, variant, None)
    returns = play(family, variant, agent, range(FIRST_SEED, FIRST_SEED + episodes)).returns
    return frame(family, variant).score(float(returns.mean()))


def build(name: str, checkpoint: str | None, track: str | None, heads: bool, temperature: float) -> Agent:
    """The agent that is asked about."""
    if name != "networld":
        return make_agent(name, checkpoint, track=track)
    whole = PlannerConfig(temperature=temperature)
    alone = PlannerConfig(temperature=temperature, recovery=0.0, candidates=1, steps=1)
    return NetWorldAgent(NetWorld.from_pretrained(checkpoint or "networld-small"), alone if heads else whole)


def main() -> None:
    """Print a line for every variant, and the mean of every kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="networld")
    parser.add_argument("--checkpoint")
    parser.add_argument("--track")
    parser.add_argument("--family", choices=list(TRAIN), action="append")
    parser.add_argument("--kind", choices=["train", "dev", "far"], action="append")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--all", action="store_true", help="all train variants instead of three")
    parser.add_argument("--heads", action="store_true")
    parser.add_argument("--temperature", type=float, default=1.0)
    given = parser.parse_args()
    if given.agent != "networld" and (given.heads or given.temperature != 1.0):
        parser.error("--heads and --temperature are about NetWorld")
    agent = build(given.agent, given.checkpoint, given.track, given.heads, given.temperature)
    for name in given.family or TRAIN:
        family = get_family(name)
        train = family.select("train") if given.all else [family.variant(f"{name}/{label}") for label in TRAIN[name]]
        kinds = {"train": tuple(train), "dev": DEV[name], "far": FAR[name]}
        for kind in given.kind or kinds:
            variants = kinds[kind]
            scores = [score(agent, family, variant, given.episodes) for variant in variants]
            for variant, value in zip(variants, scores, strict=True):
                print(f"{variant.name:44s} {value:6.1f}", flush=True)
            print(f"{name}, mean of {len(scores)} {kind} variants: {sum(scores) / len(scores):.1f}", flush=True)


if __name__ == "__main__":
    main()

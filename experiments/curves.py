"""Learning curves of MAPPO, QMIX and IQL from scratch with a large online budget, at dev sites of a variant of each family.

    pip install -e ".[docs]" && python experiments/curves.py [--agent qmix] [--family access] [--seeds 3]

Writes data and picture, docs/curves/AGENT.csv and .png, a finished run at a time: called again, it plays only what is missing.
Scores (0 = random, 100 = genie) of MAPPO are those of the rounds that it learns from: sampled actions, fresh scenarios. QMIX
and IQL explore in theirs, so they are scored in episodes that nobody learns from, `EVALUATION`, every `EVERY` rounds without
exploration. Seed k learns at dev site k. `belief` and `oracle` frame them.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from wbench.baselines.common.online import PracticeConfig, learn_online
from wbench.baselines.common.ppo import PpoConfig
from wbench.baselines.common.q_agent import ValueAgent
from wbench.baselines.common.q_learning import ValueModel
from wbench.baselines.common.rollout import learn
from wbench.baselines.iql import Iql
from wbench.baselines.mappo import MappoConfig, fresh
from wbench.baselines.qmix import Qmix
from wbench.benchmark.agent import Agent
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.protocol.references import references
from wbench.benchmark.protocol.spec import FAMILIES
from wbench.benchmark.registry import get_family, get_variant, make_agent
from wbench.benchmark.rollout import play
from wbench.benchmark.seeds import DEV_SEEDS
from wbench.benchmark.site import RANGES

FOLDER = Path(__file__).parents[1] / "docs" / "curves"
VARIANTS = {name: get_family(name).select("train")[0].name for name in FAMILIES}
LINES = {"belief": "tab:red", "oracle": "0.2"}
ROUNDS, EPISODES = 120, 8
PPO = PpoConfig(batch_size=1024)
PRACTICE = PracticeConfig(
    updates=15_360,
    slots=1,
    learning_rate=5e-4,
    tau=0.01,
    rounds=ROUNDS,
    memory=1 / 8,
    standardise=True,
    bfloat16=True,
)
EVERY, EVALUATION = 4, range(DEV_SEEDS, DEV_SEEDS + 16)
FIELDS = ("variant", "seed", "slots", "score")
Key = tuple[str, int]
Curve = list[tuple[int, float]]  # slots so far, score


def evaluate(agent: Agent, name: str, site: int) -> float:
    """Score of an agent that is ready, in the episodes of the evaluation."""
    returns = play(*get_variant(name), agent, [site] * len(EVALUATION), EVALUATION).returns
    return references(name, site).score(float(returns.mean()))


def mappo(name: str, seed: int) -> Curve:
    """Train MAPPO from scratch; a point is a round."""
    family, variant = get_variant(name)
    model = fresh(MappoConfig({family.name: FamilyShape.of(family)}), seed)
    site = RANGES["dev"][seed]
    playground = MeteredEnvironment(family, variant, site, ROUNDS * EPISODES)
    curve: Curve = []

    def note(played, _) -> None:
        slots = curve[-1][0] if curve else 0
        curve.append((slots + played.slots, references(name, site).score(played.returns[0])))

    learn(model, [playground], ROUNDS, EPISODES, PPO, seed, note)
    return curve


def values(kind: type[ValueModel], name: str, seed: int) -> Curve:
    """Train QMIX or IQL as track `scratch` does, with 960 shots; a point is an evaluation of the averaged network."""
    family, variant = get_variant(name)
    label = kind.__name__.lower()
    packaged = kind.from_pretrained(f"{label}-small").config  # lends its settings, none of its weights
    torch.manual_seed(seed)
    model = kind(replace(packaged, families={family.name: FamilyShape.of(family)}, evaluation_temperatures={}, site=0))
    site = RANGES["dev"][seed]
    environment = MeteredEnvironment(family, variant, site, ROUNDS * EPISODES)
    curve: Curve = []

    def note(learned: ValueModel) -> None:
        if environment.used % (EVERY * EPISODES * variant.horizon) == 0:
            curve.append((environment.used, evaluate(ValueAgent(label, learned), name, site)))

    learn_online(model, environment, environment.budget, PRACTICE, note)
    return curve


@dataclass(frozen=True)
class CurveOf:
    """Whose curves: what plays one run (variant, seed), and over how many points its picture is smoothed."""

    run: Callable[[str, int], Curve]
    smoothed: int


LEARNERS = {"mappo": CurveOf(mappo, 5), "qmix": CurveOf(partial(values, Qmix), 1), "iql": CurveOf(partial(values, Iql), 1)}


def load(path: Path) -> dict[Key, Curve]:
    """The curves that are there."""
    curves: dict[Key, Curve] = defaultdict(list)
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                curves[row["variant"], int(row["seed"])].append((int(row["slots"]), float(row["score"])))
    return curves


def save(path: Path, curves: dict[Key, Curve]) -> None:
    """Write all of them, sorted."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for (name, seed), points in sorted(curves.items()):
            writer.writerows((name, seed, slots, round(score, 2)) for slots, score in points)


def draw(agent: str, curves: dict[Key, Curve]) -> None:
    """One panel a variant: each seed, and the policies that frame it, at the first seed's site."""
    window = LEARNERS[agent].smoothed
    figure, panels = plt.subplots(1, len(VARIANTS), figsize=(12, 3.6), layout="constrained")
    for axes, name in zip(panels, VARIANTS.values(), strict=True):
        for (_, seed), points in sorted((key, value) for key, value in curves.items() if key[0] == name):
            slots, scores = (torch.tensor(column, dtype=torch.float64) for column in zip(*points, strict=True))
            smooth = scores.unfold(0, window, 1).mean(-1)
            axes.plot(slots[window - 1 :] / 1000, smooth, linewidth=1.2, label=f"{agent.upper()}, seed {seed}")
        for label, colour in LINES.items():
            value = evaluate(make_agent(label), name, RANGES["dev"][0])
            axes.axhline(value, linestyle="--", linewidth=1, color=colour, label=label)
        axes.axhline(0, linestyle=":", linewidth=1, color="0.5", label="random")
        axes.set(title=name, xlabel="environment steps (thousands)", ylabel="score", ylim=(-30, 100))
    panels[0].legend(fontsize=8, loc="lower right")
    figure.savefig(FOLDER / f"{agent}.png", dpi=80)
    plt.close(figure)


def main() -> None:
    """Play what is missing, write data and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", choices=LEARNERS, action="append")
    parser.add_argument("--family", choices=VARIANTS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for agent in options.agent or LEARNERS:
        data = FOLDER / f"{agent}.csv"
        for seed in range(options.seeds):
            for family in options.family or VARIANTS:
                key = (VARIANTS[family], seed)
                if key not in load(data):
                    curve = LEARNERS[agent].run(*key)
                    save(data, {**load(data), key: curve})
                    print(agent, *key, f"{sum(score for _, score in curve[-5:]) / 5:.1f}", flush=True)
        draw(agent, load(data))


if __name__ == "__main__":
    main()

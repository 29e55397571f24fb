"""Learning curves of MAPPO, QMIX and IQL from scratch, beside what NetWorld and `estimator` make of a few logs of the site.

    pip install -e ".[docs]" && python experiments/curves.py [--agent qmix] [--family access] [--seeds 3]

Writes data, docs/curves/AGENT.csv, a finished run at a time (called again, it plays only what is missing), and one picture,
docs/figures/curves.png: score (0 = random, 100 = genie) against slots of the site, played or logged, at dev sites of a train
variant of each family. Seed k learns at dev site k. Scores of MAPPO are those of the rounds that it learns from: sampled
actions, fresh scenarios. QMIX and IQL explore in theirs, so they are scored in episodes that nobody learns from, `EVALUATION`,
every `EVERY` rounds without exploration; so are those that read logs, which play nothing before.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
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
from wbench.benchmark.protocol.runner import run_cell
from wbench.benchmark.protocol.spec import FAMILIES, protocol
from wbench.benchmark.registry import get_family, get_variant, make_agent
from wbench.benchmark.rollout import play
from wbench.benchmark.seeds import DEV_SEEDS
from wbench.benchmark.site import RANGES

FOLDER = Path(__file__).parents[1] / "docs" / "curves"
PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "curves.png"
VARIANTS = {name: get_family(name).select("train")[0].name for name in FAMILIES}
SHOTS = (1, 5, 20)
READERS = {"networld": "tab:blue", "estimator": "0.4"}
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


def readers(agent: str, name: str, seed: int) -> Curve:
    """What an agent scores that reads K logs of the site; a point is a K, at the slots that were logged."""
    played = protocol("lite", variants=[name], sites=[RANGES["dev"][seed]], shots=list(SHOTS), episodes=len(EVALUATION))
    horizon = get_variant(name)[1].horizon
    scored = [(cell.shots * horizon, run_cell(make_agent(agent), cell, played.episodes).score) for cell in played.cells()]
    return [(slots, score) for slots, score in scored if score is not None]


RUNS: dict[str, Callable[[str, int], Curve]] = {
    "mappo": mappo,
    "qmix": partial(values, Qmix),
    "iql": partial(values, Iql),
    **{agent: partial(readers, agent) for agent in READERS},
}
COLOURS = {"mappo": "tab:orange", "qmix": "tab:green", "iql": "tab:red", **READERS}
SMOOTHED = {"mappo": 5}  # points of a curve whose mean is drawn, where its scores are noisy


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


def draw(found: dict[str, dict[Key, Curve]]) -> None:
    """One panel a variant, one line an agent: the mean over seeds, and the seeds behind it."""
    figure, panels = plt.subplots(1, len(VARIANTS), figsize=(12, 3.8), sharey=True, layout="constrained")
    for axes, (family, name) in zip(panels, VARIANTS.items(), strict=True):
        for agent, curves in found.items():
            runs = [np.array(points) for (variant, _), points in sorted(curves.items()) if variant == name]
            if runs:
                _line(axes, agent, runs)
        axes.axhline(0, linestyle=":", linewidth=1, color="0.5")
        axes.set(title=f"{family}: {name.partition('/')[2]}", xlabel="slots of the site, played or logged", xscale="log")
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="score (0 = random, 100 = genie)", ylim=(-20, 100))
    panels[0].legend(fontsize=8, loc="lower right")
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


def _line(axes: plt.Axes, agent: str, runs: list[np.ndarray]) -> None:
    """Curves [points, 2] of several seeds, and their mean."""
    window, colour = SMOOTHED.get(agent, 1), COLOURS[agent]
    smooth = [np.convolve(run[:, 1], np.ones(window) / window, "valid") for run in runs]
    slots = runs[0][window - 1 :, 0]
    marker = "o" if agent in READERS else None
    for scores in smooth:
        axes.plot(slots, scores, color=colour, linewidth=0.8, alpha=0.3)
    label = f"{agent}, {'reads logs' if agent in READERS else 'plays from scratch'}"
    axes.plot(slots, np.mean(smooth, axis=0), color=colour, linewidth=1.8, marker=marker, label=label)


def main() -> None:
    """Play what is missing, write data and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", choices=RUNS, action="append")
    parser.add_argument("--family", choices=VARIANTS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for agent in options.agent or RUNS:
        data = FOLDER / f"{agent}.csv"
        for seed in range(options.seeds):
            for family in options.family or VARIANTS:
                key = (VARIANTS[family], seed)
                if key not in load(data):
                    curve = RUNS[agent](*key)
                    save(data, {**load(data), key: curve})
                    print(agent, *key, f"{curve[-1][1]:.1f}", flush=True)
    draw({agent: load(FOLDER / f"{agent}.csv") for agent in RUNS})


if __name__ == "__main__":
    main()

"""Learning curves of MAPPO, QMIX and IQL from scratch with a large online budget, one held-out variant of each family.

    pip install -e ".[docs]" && python experiments/curves.py [--agent qmix] [--family access] [--seeds 3]

Writes data and picture, docs/curves/AGENT.csv and .png, a finished run at a time: called again, it plays only what is missing.
Scores (0 = random, 100 = genie) of MAPPO are those of the rounds that it learns from: sampled actions, fresh scenarios. QMIX
and IQL explore in theirs, so they are scored in episodes that nobody learns from, `EVALUATION`, every `EVERY` rounds without
exploration. Beside them stands what NetWorld scored there with five recorded episodes, in the result file of `lite`.
"""

from __future__ import annotations

import argparse
import csv
import json
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
from wbench.baselines.common.rollout import OpenEnvironment, learn
from wbench.baselines.iql import Iql
from wbench.baselines.mappo import FIRST_SEED, MappoConfig, fresh
from wbench.baselines.qmix import Qmix
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.meter import MeteredEnvironment
from wbench.benchmark.protocol.references import references
from wbench.benchmark.registry import get_variant
from wbench.benchmark.rollout import play

ROOT = Path(__file__).parents[1]
FOLDER, RESULTS = ROOT / "docs" / "curves", ROOT / "leaderboard" / "results"
SHOTS = 5
VARIANTS = {"access": "access/n8-c1-load0.5", "power": "power/n10-d500-v1-load0.5", "offload": "offload/n10-e3-p0.4"}
ROUNDS, EPISODES, SEED_STRIDE = 120, 8, 100_000
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
EVERY, EVALUATION = 4, range(FIRST_SEED + 90 * SEED_STRIDE, FIRST_SEED + 90 * SEED_STRIDE + 16)
FIELDS = ("variant", "seed", "slots", "score")
Key = tuple[str, int]
Curve = list[tuple[int, float]]  # slots so far, score


def mappo(name: str, seed: int) -> Curve:
    """Train MAPPO from scratch; a point is a round."""
    family, variant = get_variant(name)
    model = fresh(MappoConfig({family.name: FamilyShape.of(family)}), seed)
    playground = OpenEnvironment(family, variant, FIRST_SEED + SEED_STRIDE * (1 + seed))
    curve: Curve = []

    def note(played, _) -> None:
        slots = curve[-1][0] if curve else 0
        curve.append((slots + played.slots, references(name).score(played.returns[0])))

    learn(model, [playground], ROUNDS, EPISODES, PPO, seed, note)
    return curve


def values(kind: type[ValueModel], name: str, seed: int) -> Curve:
    """Train QMIX or IQL as track `online` does, with 960 shots; a point is an evaluation of the averaged network."""
    family, variant = get_variant(name)
    label = kind.__name__.lower()
    packaged = kind.from_pretrained(f"{label}-small").config  # lends its settings, none of its weights
    torch.manual_seed(seed)
    model = kind(replace(packaged, families={family.name: FamilyShape.of(family)}, evaluation_temperatures={}))
    environment = MeteredEnvironment(family, variant, seed, ROUNDS * EPISODES)
    curve: Curve = []

    def note(learned: ValueModel) -> None:
        if environment.used % (EVERY * EPISODES * variant.horizon) == 0:
            returns = play(family, variant, ValueAgent(label, learned), EVALUATION).returns
            curve.append((environment.used, references(name).score(float(returns.mean()))))

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


def few_shot(name: str) -> float:
    """NetWorld's mean score on a variant with the support of `SHOTS` episodes, from its committed result."""
    (path,) = RESULTS.glob("networld-lite-*.json")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    scores = [cell["score"] for cell in cells if (cell["variant"], cell["shots"]) == (name, SHOTS)]
    return sum(scores) / len(scores)


def draw(agent: str, curves: dict[Key, Curve]) -> None:
    """One panel a variant: each seed, and the policies that frame it."""
    window = LEARNERS[agent].smoothed
    figure, panels = plt.subplots(1, len(VARIANTS), figsize=(12, 3.6), layout="constrained")
    for axes, name in zip(panels, VARIANTS.values(), strict=True):
        frame = references(name)
        for (_, seed), points in sorted((key, value) for key, value in curves.items() if key[0] == name):
            slots, scores = (torch.tensor(column, dtype=torch.float64) for column in zip(*points, strict=True))
            smooth = scores.unfold(0, window, 1).mean(-1)
            axes.plot(slots[window - 1 :] / 1000, smooth, linewidth=1.2, label=f"{agent.upper()}, seed {seed}")
        lines = (("heuristic", frame.heuristic, "0.2"), ("private greedy", frame.greedy, "tab:red"))
        for label, value, colour in lines:
            axes.axhline(frame.score(value), linestyle="--", linewidth=1, color=colour, label=label)
        support = SHOTS * get_variant(name)[1].horizon / 1000
        axes.axhline(few_shot(name), linewidth=1.5, color="tab:purple", label=f"NetWorld, {SHOTS} recorded episodes")
        axes.axvline(100 * support, linestyle=":", linewidth=1, color="tab:purple", label="100 times NetWorld's support")
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

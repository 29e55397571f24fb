"""Learning curves of MAPPO from scratch with a large online budget, one held-out variant of each family: data and picture.

    pip install -e ".[docs]" && python speed/curves.py [--family access] [--seeds 3]

Writes docs/curves/mappo.csv (a finished run at a time: called again, it plays only what is missing) and docs/curves/mappo.png.
Scores are those of the rounds that are learned from: sampled actions, fresh scenarios, 0 = random, 100 = genie. Beside them
stands what NetWorld scored there with five recorded episodes, in the result file of `lite`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from wbench.baselines.mappo import MappoConfig, fresh, learn
from wbench.baselines.mappo_train import FIRST_SEED
from wbench.baselines.ppo import PpoConfig
from wbench.baselines.ppo_play import OpenEnvironment
from wbench.benchmark.family import FamilyShape
from wbench.benchmark.references import references
from wbench.benchmark.registry import get_variant

ROOT = Path(__file__).parents[1]
FOLDER, RESULTS = ROOT / "docs" / "curves", ROOT / "leaderboard" / "results"
SHOTS = 5
VARIANTS = {"access": "access/n8-c1-load0.5", "power": "power/n10-d500-v1-load0.5", "offload": "offload/n10-e3-p0.4"}
ROUNDS, EPISODES, SEED_STRIDE = 120, 8, 100_000
PPO = PpoConfig(minibatch=1024)
FIELDS = ("variant", "seed", "slots", "score")
Key = tuple[str, int]


def run(name: str, seed: int) -> list[tuple[int, float]]:
    """Train from scratch; (slots so far, score of the round)."""
    family, variant = get_variant(name)
    model = fresh(MappoConfig({family.name: FamilyShape.of(family)}), seed)
    playground = OpenEnvironment(family, variant, FIRST_SEED + SEED_STRIDE * (1 + seed))
    curve: list[tuple[int, float]] = []

    def note(played, _) -> None:
        slots = curve[-1][0] if curve else 0
        curve.append((slots + played.slots, references(name).score(played.returns[0])))

    learn(model, [playground], ROUNDS, EPISODES, PPO, seed, note)
    return curve


def load(path: Path) -> dict[Key, list[tuple[int, float]]]:
    """The curves that are there."""
    curves: dict[Key, list[tuple[int, float]]] = defaultdict(list)
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                curves[row["variant"], int(row["seed"])].append((int(row["slots"]), float(row["score"])))
    return curves


def save(path: Path, curves: dict[Key, list[tuple[int, float]]]) -> None:
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


def draw(path: Path, curves: dict[Key, list[tuple[int, float]]]) -> None:
    """One panel a variant: each seed smoothed over five rounds, and the policies that frame it."""
    figure, panels = plt.subplots(1, len(VARIANTS), figsize=(12, 3.6), layout="constrained")
    for axes, name in zip(panels, VARIANTS.values(), strict=True):
        frame = references(name)
        for (_, seed), points in sorted((key, value) for key, value in curves.items() if key[0] == name):
            slots, scores = (torch.tensor(column, dtype=torch.float64) for column in zip(*points, strict=True))
            smooth = scores.unfold(0, 5, 1).mean(-1)
            axes.plot(slots[4:] / 1000, smooth, linewidth=1.2, label=f"MAPPO, seed {seed}")
        lines = (("heuristic", frame.heuristic, "0.2"), ("private greedy", frame.greedy, "tab:red"))
        for label, value, colour in lines:
            axes.axhline(frame.score(value), linestyle="--", linewidth=1, color=colour, label=label)
        support = SHOTS * get_variant(name)[1].horizon / 1000
        axes.axhline(few_shot(name), linewidth=1.5, color="tab:purple", label=f"NetWorld, {SHOTS} recorded episodes")
        axes.axvline(100 * support, linestyle=":", linewidth=1, color="tab:purple", label="100 times NetWorld's support")
        axes.axhline(0, linestyle=":", linewidth=1, color="0.5", label="random")
        axes.set(title=name, xlabel="environment steps (thousands)", ylabel="score", ylim=(-30, 100))
    panels[0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=80)


def main() -> None:
    """Play what is missing, write data and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=VARIANTS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    data = FOLDER / "mappo.csv"
    for seed in range(options.seeds):
        for family in options.family or VARIANTS:
            if (VARIANTS[family], seed) not in load(data):
                curve = run(VARIANTS[family], seed)
                save(data, {**load(data), (VARIANTS[family], seed): curve})
                print(VARIANTS[family], seed, f"{sum(score for _, score in curve[-5:]) / 5:.1f}", flush=True)
    draw(FOLDER / "mappo.png", load(data))


if __name__ == "__main__":
    main()

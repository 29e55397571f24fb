"""Return against latency: NetWorld with other numbers of candidates, of diffusion steps and of slots between plans.

    pip install -e ".[docs]" && python experiments/latency_curve.py [--family access] [--episodes 16]

Writes docs/latency/FAMILY.csv (a finished setting at a time: called again, it plays only what is missing) and
docs/latency/latency.png. Milliseconds are medians of process-CPU time, one thread, of a slot's decision for all agents of one
episode; scores are those of a train variant at a dev site, at zero shots.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from planner import decide_ms
from wbench.benchmark.data.paths import write_atomically
from wbench.benchmark.protocol.references import references
from wbench.benchmark.protocol.spec import FAMILIES
from wbench.benchmark.registry import get_family, get_variant
from wbench.benchmark.rollout import play
from wbench.benchmark.seeds import DEV_SEEDS
from wbench.benchmark.site import RANGES
from wbench.networld.agent import DEFAULT_CHECKPOINT, NetWorldAgent
from wbench.networld.config import PlannerConfig
from wbench.networld.model import NetWorld

FOLDER = Path(__file__).parents[1] / "docs" / "latency"
VARIANTS = {name: get_family(name).select("train")[0].name for name in FAMILIES}
SITE = RANGES["dev"].start
SHIPPED = PlannerConfig()
AXES = {"candidates": (1, 2, 4, 8, 16, 32), "steps": (1, 2, 3, 5, 10, 20), "replan": (1, 2, 4, 8)}
LABELS = {"candidates": "candidates", "steps": "diffusion steps", "replan": "slots between plans"}


@dataclass(frozen=True)
class Point:
    """One setting, measured.

    Attributes:
        checkpoint: digest of the network, its first 12 digits.
        steps: diffusion steps of a plan.
        candidates: plans sampled for every agent.
        replan: slots between plans.
        episodes: episodes behind the score.
        milliseconds: a slot's decision for all agents of one episode.
        score: 0 = random, 100 = genie.
    """

    checkpoint: str
    steps: int
    candidates: int
    replan: int
    episodes: int
    milliseconds: float
    score: float

    def is_of(self, setting: PlannerConfig) -> bool:
        """Whether it was measured with this setting."""
        return all(getattr(self, name) == getattr(setting, name) for name in AXES)


def settings() -> list[PlannerConfig]:
    """The shipped setting, and those that differ from it along one axis."""
    varied = [replace(SHIPPED, **{name: value}) for name, values in AXES.items() for value in values]
    return list(dict.fromkeys([SHIPPED, *varied]))


def measure(agent: NetWorldAgent, setting: PlannerConfig, name: str, episodes: int) -> Point:
    """Play a variant with one setting."""
    family, variant = get_variant(name)
    agent.planner = setting
    milliseconds = decide_ms(agent, family, variant, 1)
    returns = play(family, variant, agent, [SITE] * episodes, range(DEV_SEEDS, DEV_SEEDS + episodes)).returns
    score = references(name, SITE).score(float(returns.mean()))
    axes = {axis: getattr(setting, axis) for axis in AXES}
    return Point(
        agent.checkpoint_digest[:12], **axes, episodes=episodes, milliseconds=round(milliseconds, 3), score=round(score, 2)
    )


def load(path: Path) -> list[Point]:
    """The points that are there."""
    if not path.exists():
        return []
    kinds = {"checkpoint": str, "milliseconds": float, "score": float}
    with path.open(newline="", encoding="utf-8") as file:
        return [Point(**{name: kinds.get(name, int)(value) for name, value in row.items()}) for row in csv.DictReader(file)]


def save(path: Path, points: list[Point]) -> None:
    """Write all of them, so that a run that is killed loses none."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Point)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(asdict, points))

    write_atomically(path, write)


def complete(agent: NetWorldAgent, name: str, episodes: int, path: Path) -> None:
    """Measure what a file lacks; points of another checkpoint or number of episodes do not count, and go."""
    points = [p for p in load(path) if (p.checkpoint, p.episodes) == (agent.checkpoint_digest[:12], episodes)]
    for setting in settings():
        if not any(point.is_of(setting) for point in points):
            points.append(measure(agent, setting, name, episodes))
            save(path, points)
            print(name, *(f"{key} {value}" for key, value in asdict(points[-1]).items()), flush=True)


def draw(folder: Path) -> None:
    """One panel a family that was measured: a line along each axis, the shipped setting where they meet."""
    measured = {name: points for family, name in VARIANTS.items() if (points := load(folder / f"{family}.csv"))}
    figure = Figure((12, 3.8), dpi=80, layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(measured), squeeze=False).flat, measured.items(), strict=True):
        for axis, values in AXES.items():
            along = [replace(SHIPPED, **{axis: value}) for value in values]
            line = [point for setting in along for point in points if point.is_of(setting)]
            axes.plot(
                [point.milliseconds for point in line],
                [point.score for point in line],
                marker="o",
                markersize=4,
                linewidth=1.2,
                label=f"{LABELS[axis]} {values[0]} to {values[-1]}",
            )
        for point in points:
            if point.is_of(SHIPPED):
                axes.plot(
                    point.milliseconds, point.score, "*", markersize=14, color="black", zorder=3, label="the planner as shipped"
                )
        axes.set(title=name, xlabel="milliseconds a decision", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("score")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(folder / "latency.png")


def main() -> None:
    """Measure what is missing, write data and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT)
    parser.add_argument("--family", choices=VARIANTS, action="append")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    agent = NetWorldAgent(NetWorld.from_pretrained(asked.checkpoint))
    for family in asked.family or VARIANTS:
        path = asked.out / f"{family}.csv"
        if asked.fresh:
            path.unlink(missing_ok=True)
        complete(agent, VARIANTS[family], asked.episodes, path)
    draw(asked.out)


if __name__ == "__main__":
    main()

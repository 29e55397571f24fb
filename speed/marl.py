"""Training speed: our MAPPO and QMIX beside BenchMARL's on VMAS simple_spread, at equal networks and updates, in one run.

    pip install -e . benchmarl==1.5.2 vmas && python speed/marl.py [--repeats 3] [--json]

A round is 6,000 frames of three agents; after it MAPPO makes 45 epochs in minibatches of 400 frames (675 steps), QMIX 1,000
steps of 128 frames; networks have two layers of 256. Frames a second of process-CPU time on one thread, play and learning
together, medians of repeats in turn: a busy machine slows both sides alike, so trust the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from simple_spread import OURS, ROUND, benchmarl, ours
from spread import HORIZON

PPO = replace(OURS.ppo, epochs=45, minibatch=1200)
EQUAL = replace(OURS, hidden=256, episodes=ROUND // HORIZON, ppo=PPO, updates=1000, rows=384)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=2 * ROUND)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for algorithm in ("mappo", "qmix"):
        speeds: dict[str, list[float]] = {"benchmarl": [], "ours": []}
        for seed in range(options.repeats):
            with tempfile.TemporaryDirectory() as folder:
                _, theirs = benchmarl(algorithm, seed, options.frames, Path(folder))
            _, own = ours(algorithm, seed, options.frames, EQUAL)
            speeds["benchmarl"].append(options.frames / theirs)
            speeds["ours"].append(options.frames / own)
        medians = {side: statistics.median(values) for side, values in speeds.items()}
        rows.append({"algorithm": algorithm, **medians, "ratio": medians["ours"] / medians["benchmarl"]})
    if options.json:
        print(json.dumps(rows))
        return
    print("| algorithm | BenchMARL frames/s | ours | ratio |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['algorithm']} | {row['benchmarl']:.0f} | {row['ours']:.0f} | {row['ratio']:.1f} |")


if __name__ == "__main__":
    main()

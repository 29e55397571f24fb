"""One row of the board less another, paired over the trainings and sites of both: by family and number of shots.

    python experiments/trainings.py [networld iql/offline] [--store leaderboard/results]

`wbench results compare` does this for two files, a training each; this one takes all trainings that the board has of a recipe.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from wbench.benchmark.protocol import trainings
from wbench.console import note
from wbench.leaderboard import board
from wbench.leaderboard.tables import ALL


def main() -> None:
    """Print a line a number of shots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agents", nargs="*", default=["networld", "iql/offline"], help="two labels of the board")
    parser.add_argument("--store", type=Path, default=Path("leaderboard/results"))
    given = parser.parse_args()
    rows = {entry.line.label: entry for entry in board.load(given.store, "lite", note)}
    ours, theirs = (rows[label] for label in given.agents)
    print(f"{ours.line.label} ({len(ours.trainings)} trainings) less {theirs.line.label} ({len(theirs.trainings)})")
    for shots in ours.grid.shots:
        parts = []
        for family in (ALL, *ours.grid.families()):
            mine, other = ours.table(shots, family), theirs.table(shots, family)
            assert mine is not None and other is not None, "both rows must be complete"
            found = trainings.paired(mine, other)
            parts.append(f"{family} {found.iqm:+.1f} [{found.ci_low:.1f}, {found.ci_high:.1f}]")
        print(f"{shots} shots: {', '.join(parts)}")


if __name__ == "__main__":
    main()

"""How long a board takes: rows of `lite`, read for the first time, again, and with one more. Writes a picture with matplotlib.

Rows are packaged ones under other names; one in twenty, and whatever is ranked, has other returns too.

python experiments/board.py --rows 200,1000,10000 --ranked 100 --out build/board.png
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from wbench.benchmark.protocol.runner import finished
from wbench.leaderboard.reading import load_result
from wbench.leaderboard.result import Result
from wbench.leaderboard.schema import Package
from wbench.leaderboard.store import SHIPPED, Submission, result_files
from wbench.leaderboard.summary import row_fields
from wbench.leaderboard.verification.verify import SIDECAR, sidecar

LOOK = """
import json, resource, sys, time
start = time.perf_counter()
from pathlib import Path
from wbench.leaderboard import board
from wbench.leaderboard.index.index import Index
from wbench.leaderboard.tables import ALL
loaded = time.perf_counter()
store = Path(sys.argv[1])
with Index(store, print) as index:
    rows = board.load(store, "lite", print, index)
    rows = board.order(board.ranked(rows, (ALL,), (5,), index), 5)
    said = [board.standing(row, 5) for row in rows]
cpu = sum(r.ru_utime + r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
print(json.dumps([time.perf_counter() - start, loaded - start, len(said), sum(bool(one.rank) for one in said), memory, cpu]))
"""


def renamed(result: Result, number: int) -> Result:
    """The same row, of another agent of another package."""
    name = f"row-{number:05d}"
    found = replace(result, agent=name, label=name, package=Package(name="lab", version="1.0"))
    return replace(found, command=result.command.replace(f"--agent {result.agent} ", f"--agent {name} "))


def variant_of(result: Result, number: int) -> Result:
    """A row like a packaged one, whose returns are others."""
    draw = random.Random(number)
    shift = draw.uniform(-1, 0.3)
    cells = [
        finished(c.cell, [x + shift * abs(x) * 0.2 * draw.random() for x in c.returns], c.qos, c.ledger, c.adaptation)
        for c in result.cells
    ]
    return replace(result, **row_fields(result.contract, cells))


def add(store: Path, base: list[Result], made: dict[int, Result], number: int, rerun: bool) -> None:
    """Put a row into the store, with a maintainer's record if it is to be ranked."""
    place = number % len(base)
    if rerun or number % 20 == 0 or place not in made:
        made[place] = variant_of(base[place], number)
    one = Submission.of(renamed(made[place], number))
    (store / one.name).write_bytes(one.content)
    if rerun:
        digest = hashlib.sha256(one.content).hexdigest()
        told = {"schema": SIDECAR, "sha256": digest, "tier": "rerun", "tolerance": 0.0, "cells": [[]] * 6}
        sidecar(store / one.name).write_text(json.dumps(told))


def look(store: Path, cache: Path) -> list[float]:
    """(seconds, of them imports, rows, ranked rows, MB, CPU-seconds) of one look in a process of its own."""
    command, environment = [sys.executable, "-c", LOOK, str(store)], {**os.environ, "WBENCH_HOME": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="100,1000,10000")
    parser.add_argument("--ranked", type=int, default=100, help="rows with a maintainer's record, at most")
    parser.add_argument("--out", type=Path, help="picture")
    given = parser.parse_args()
    base = [one for path in result_files(SHIPPED) if not (one := load_result(path)).privileged and one.protocol == "lite"]
    lines: list[tuple[int, float, float, float]] = []
    known: dict[int, Result] = {}
    with tempfile.TemporaryDirectory() as folder:
        store, made = Path(folder) / "store", 0
        store.mkdir()
        for rows in map(int, given.rows.split(",")):
            for number in range(made, rows):
                add(store, base, known, number, number < given.ranked)
            made = rows
            cache = Path(folder) / f"cache-{rows}"
            cold, warm = look(store, cache), look(store, cache)
            add(store, base, known, 10**6 + rows, rerun=True)
            more = look(store, cache)
            lines.append((rows, cold[0], warm[0], more[0]))
            times = f"cold {cold[0]:.1f} s, warm {warm[0]:.1f} s, one more {more[0]:.1f} s, imports {warm[1]:.1f} s of each"
            cpu = f"CPU {cold[5]:.1f}, {warm[5]:.1f}, {more[5]:.1f} s"
            print(f"{cold[2]} rows, {cold[3]} ranked: {times}; {cpu}; {max(cold[4], warm[4], more[4]):.0f} MB", flush=True)
    if given.out:
        picture(lines, given.out)


def picture(lines: list[tuple[int, float, float, float]], out: Path) -> None:
    """Seconds against rows."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for place, name in ((1, "cold"), (2, "warm"), (3, "one more row")):
        axes.loglog([line[0] for line in lines], [line[place] for line in lines], marker="o", label=name)
    axes.set_xlabel("rows of lite")
    axes.set_ylabel("seconds")
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main()

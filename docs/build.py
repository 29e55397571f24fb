"""Draws the K-curves of the reference policies (docs/figures) and writes docs/admission.md, from the committed table.

pip install -e . && python docs/build.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from wbench.benchmark.family import Family
from wbench.benchmark.protocol.admission import EPISODES, SHOTS, SITES, Admission, frozen
from wbench.benchmark.protocol.spec import FAMILIES
from wbench.benchmark.registry import get_family

FOLDER = Path(__file__).with_name("figures")
PAGE = Path(__file__).with_name("admission.md")
LEVELS = (("oracle", "tab:green"), ("belief", "tab:orange"), ("prior", "0.5"))
RULE = f"""# Admission table

Mean score over {SITES} dev sites with {EPISODES} episodes each, +- its standard error; 0 = random, 100 = genie. `oracle` is
told the site, `prior` the average site, `belief` learns the site in play, `estimator` reads K logged episodes of it first. The
controls: `wrong` reads logs of another site, `revealed` is told the site and reads logs besides.

A variant is admitted if `oracle` is 10 points and a fifth of its score ahead of `belief`, `estimator` at 20 shots gets 60 % of
that, its curve rises beyond two errors from 0 to 1 and from 1 to 20 shots, logs of another site do not help, the curve of
`revealed` is flat, and nobody scores above 102.

Made by `wbench protocol admission --write` and `python docs/build.py`.
"""


def curve(axes: Axes, name: str, row: Admission) -> None:
    """Score against shots on one variant: who reads logs, and who does not."""
    places = range(len(SHOTS) + 1)
    for column, colour in LEVELS:
        mean, error = row.score(column)
        axes.axhline(mean, color=colour, label=column, linewidth=1)
        axes.axhspan(mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
    for reader, style in (("estimator", "o-"), ("wrong", "x--")):
        points = [row.score("belief"), *(row.score(f"{reader}@{shots}") for shots in SHOTS)]
        means, errors = zip(*points, strict=True)
        label = "estimator" if reader == "estimator" else "estimator, logs of another site"
        axes.errorbar(places, means, errors, fmt=style, color="tab:blue" if reader == "estimator" else "tab:red", label=label)
    axes.set(title=name, xlabel="shots", ylabel="score", xticks=list(places), xticklabels=["0", *map(str, SHOTS)])


def draw(family: Family, rows: dict[str, Admission]) -> None:
    """The curves of all variants of a family on one sheet."""
    names = [name for name in family.variants if name in rows]
    columns = 4
    lines = -(-len(names) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(4 * columns, 3.2 * lines), squeeze=False, layout="constrained")
    for axes, name in zip(grid.flat, names, strict=False):
        held_out = " (held out)" if family.variant(name).split == "held-out" else ""
        curve(axes, name.partition("/")[2] + held_out, rows[name])
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    grid[0, 0].legend(fontsize=7)
    figure.savefig(FOLDER / f"{family.name}.png", dpi=70)
    plt.close(figure)


def table(family: Family, rows: dict[str, Admission]) -> list[str]:
    """The scores of a family as Markdown."""
    columns = ["prior", "belief", *(f"estimator@{k}" for k in SHOTS), "oracle", "wrong@20", "revealed@1", "revealed@20"]
    lines = [f"## `{family.name}`", "", f"![curves](figures/{family.name}.png)", ""]
    lines += ["| variant | " + " | ".join(columns) + " | admitted |", "| --- " * (len(columns) + 2) + "|"]
    for name, variant in family.variants.items():
        if name not in rows:
            continue
        cells = [f"{mean:.1f} +- {error:.1f}" for mean, error in map(rows[name].score, columns)]
        label = f"`{name.partition('/')[2]}`" + (" (held out)" if variant.split == "held-out" else "")
        verdict = "; ".join(rows[name].failures()) or "yes"
        lines.append(f"| {label} | {' | '.join(cells)} | {verdict} |")
    return [*lines, ""]


def page(families: Sequence[Family], rows: dict[str, Admission]) -> str:
    """docs/admission.md."""
    return "\n".join([RULE, *(line for family in families for line in table(family, rows))])


if __name__ == "__main__":
    found = frozen()
    tasks = [get_family(name) for name in FAMILIES]
    for task in tasks:
        draw(task, found)
    PAGE.write_text(page(tasks, found), encoding="utf-8")

"""Draws the K-curves of the reference policies (docs/figures), writes docs/explanation/admission.md: from the committed table.

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
from wbench.benchmark.registry import BUILT_IN, get_family
from wbench.benchmark.site import spans

FOLDER = Path(__file__).with_name("figures")
PAGE = Path(__file__).with_name("explanation") / "admission.md"
COLUMNS = 4  # pictures beside each other
LEVELS = (("oracle", "tab:green"), ("belief", "tab:orange"), ("prior", "0.55"))
READERS = (("estimator", "tab:blue", "o-", "estimator"), ("wrong", "tab:red", "s--", "estimator, logs of another site"))
RULE = f"""# Admission table

Mean score over {SITES} dev sites with {EPISODES} episodes each, +- its standard error; 0 = random, 100 = genie. `oracle` is
told the site, `prior` the average site, `belief` learns the site in play, `estimator` reads K logged episodes of it first. The
controls: `wrong` reads logs of another site; `revealed` is shown the site, which counts as 100 logs, and reads K logs besides.
`hindsight` is a solver that sees what is to come: no policy, and no proof either, but it says how much the genie leaves.

A variant is admitted if all of this holds. `oracle` is 10 points and a fifth of its score ahead of `belief`. `estimator` at 20
shots gets 60 % of that. Its curve rises beyond two errors from 0 to 1 and from 1 to 20 shots. Logs of another site do not help.
The curve of `revealed` is flat. No policy but `hindsight` scores above 102. A dash stands for what was not measured.

Made by `wbench protocol admission --write` and `python docs/build.py`.
"""


def curve(axes: Axes, name: str, row: Admission) -> None:
    """Score against shots on one variant: who reads logs, and who does not."""
    places = range(len(SHOTS) + 1)
    for column, colour in LEVELS:
        mean, error = row.score(column)
        axes.axhline(mean, color=colour, label=column, linewidth=1.5)
        axes.axhspan(mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
    for reader, colour, style, label in READERS:
        points = [row.score("belief"), *(row.score(f"{reader}@{shots}") for shots in SHOTS)]
        means, errors = zip(*points, strict=True)
        axes.errorbar(places, means, errors, fmt=style, color=colour, label=label, markersize=5, capsize=2)
    axes.set_title(name, fontsize=10)
    axes.set(xticks=list(places), xticklabels=["0", *map(str, SHOTS)])
    axes.grid(axis="y", alpha=0.3)


def draw(family: Family, rows: dict[str, Admission]) -> None:
    """The curves of all variants of a family on one sheet."""
    names = [name for name in family.variants if name in rows]
    lines = -(-len(names) // COLUMNS)
    figure, grid = plt.subplots(lines, COLUMNS, figsize=(3.4 * COLUMNS, 2.6 * lines + 0.5), squeeze=False, layout="constrained")
    for axes, name in zip(grid.flat, names, strict=False):
        held_out = " (held out)" if family.variant(name).split == "held-out" else ""
        curve(axes, name.partition("/")[2] + held_out, rows[name])
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("shots: logged episodes of the site that are read before it is played", fontsize=10)
    figure.supylabel("score: 0 = random, 100 = genie", fontsize=10)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(FOLDER / f"{family.name}.png", dpi=80)
    plt.close(figure)


def table(family: Family, rows: dict[str, Admission]) -> list[str]:
    """The scores of a family as Markdown."""
    columns = [
        "prior",
        "belief",
        *(f"estimator@{k}" for k in SHOTS),
        "oracle",
        "wrong@20",
        "revealed@1",
        "revealed@20",
        "hindsight",
    ]
    lines = [f"## `{family.name}`", "", f"![curves](../figures/{family.name}.png)", ""]
    lines += ["| variant | " + " | ".join(columns) + " | sites | admitted |", "| --- " * (len(columns) + 3) + "|"]
    for name, variant in family.variants.items():
        if name not in rows:
            continue
        cells = [_cell(rows[name], column) for column in columns]
        label = f"`{name.partition('/')[2]}`" + (" (held out)" if variant.split == "held-out" else "")
        verdict = "; ".join(rows[name].failures()) or "yes"
        lines.append(f"| {label} | {' | '.join(cells)} | {', '.join(spans(rows[name].sites))} | {verdict} |")
    return [*lines, ""]


def _cell(row: Admission, column: str) -> str:
    """A score with its error, where it was measured."""
    return "{:.1f} +- {:.1f}".format(*row.score(column)) if column in row.returns else "-"


def page(families: Sequence[Family], rows: dict[str, Admission]) -> str:
    """docs/explanation/admission.md."""
    return "\n".join([RULE, *(line for family in families for line in table(family, rows))])


if __name__ == "__main__":
    found = frozen()
    tasks = [family for family in map(get_family, BUILT_IN) if found.keys() & family.variants.keys()]
    for task in tasks:
        draw(task, found)
    PAGE.write_text(page(tasks, found), encoding="utf-8")

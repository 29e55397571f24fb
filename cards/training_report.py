"""The picture of a training: every figure of its log over the steps, and how true the world model is that came out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..benchmark.data.paths import possible, write_atomically
from ..errors import CheckpointError
from ..learning.run import LOG, REPORT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

PICTURE = "training_report.png"
MARK = b"Software\0wbench"  # in every such picture
DPI = 100
COLUMNS, PANEL = 5, (3.0, 2.3)  # panels a row at most, inches of one
WIDE = 3  # panels a row of the fidelity
WINDOW = 20  # a smoothed value is the mean over this part of all entries
SHOWN = 0.01  # of the values beyond either end of an axis: the first few steps would squeeze all others
LOGARITHMIC = 10.0  # figures that fall by this factor get a logarithmic axis
WHOLE = "all families"  # whose figure it is that names no family
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
Fidelity = Mapping[str, Mapping[str, Any]]
Series = tuple[list[int], list[float]]


@dataclass(frozen=True)
class TrainingLog:
    """What a training said of itself.

    Attributes:
        entries: one a logged step: `step`, `seconds` and the figures, named `FAMILY/PART`, or `PART` where all share it.
        finished: whether the training came to its end.
    """

    entries: Sequence[Mapping[str, Any]]
    finished: bool

    def parts(self) -> dict[str, dict[str, Series]]:
        """Steps and values by part and family, in the order of the log; whole numbers are counters and left out."""
        found: dict[str, dict[str, Series]] = {}
        for entry in self.entries:
            for name, value in entry.items():
                if isinstance(value, float) and name != "seconds":
                    family, _, part = name.rpartition("/")
                    steps, values = found.setdefault(part, {}).setdefault(family or WHOLE, ([], []))
                    steps.append(entry["step"])
                    values.append(value)
        return found


def read_log(folder: Path) -> TrainingLog:
    """The log of the training in a folder, finished or still going on.

    Raises:
        CheckpointError: there is none, or it is damaged, or nothing was logged yet.
    """
    growing, report = folder / LOG, folder / REPORT
    source = growing if growing.is_file() else report
    if not source.is_file():
        raise CheckpointError(
            f"{folder} has no {REPORT}; give a folder that `wbench train` wrote. Try: wbench study report networld-small"
        )
    try:
        text = source.read_text(encoding="utf-8")
        entries = [json.loads(line) for line in text.splitlines()] if source == growing else json.loads(text)["log"]
        log = TrainingLog(entries, source == report)
        drawable = bool(log.parts())
    except Exception as error:  # a damaged or foreign file: many kinds
        raise CheckpointError(f"{source} is damaged ({type(error).__name__}). Train again with another --out.") from error
    if not drawable:
        raise CheckpointError(f"{source} holds no figures yet. Try again once the training has logged some.")
    return log


def draw(log: TrainingLog, path: Path, title: str, fidelity: Fidelity | None = None) -> None:
    """Draw a training, a panel a part and a line a family, and below it the fidelity of a world model.

    Args:
        log: what to draw.
        path: the PNG to write.
        title: what stands above it.
        fidelity: what `wbench study fidelity --json` prints, by family; None = of no world model.

    Raises:
        OutputError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    parts = log.parts()
    heights = [-(-len(parts) // COLUMNS), *([-(-(len(fidelity) + 3) // WIDE)] if fidelity else [])]
    columns = COLUMNS if fidelity else min(COLUMNS, len(parts))
    figure = Figure((columns * PANEL[0], sum(heights) * PANEL[1] + 0.7 * len(heights)), dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    above.suptitle(title, fontweight="bold")
    _draw_log(above, parts, columns)
    if fidelity:
        _draw_fidelity(below[0], fidelity)
    with possible(f"write {path}", "Give another --out."):
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": "wbench"}))


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Running mean over a `WINDOW`-th of all values, centred; at both ends over those that there are."""
    kernel = np.ones(min(len(values), 2 * (len(values) // WINDOW // 2) + 1))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _grid(figure: SubFigure, count: int, columns: int, share: bool = False) -> list[Axes]:
    """So many panels, the places that are left over taken away."""
    panels = list(figure.subplots(-(-count // columns), columns, sharex=share, squeeze=False).flat)
    for empty in panels[count:]:
        empty.set_axis_off()
    for axes in panels[max(0, count - columns) : count]:  # nothing is below these, so that each shows the steps itself
        axes.tick_params(labelbottom=True)
    return panels[:count]


def _draw_log(figure: SubFigure, parts: Mapping[str, Mapping[str, Series]], columns: int) -> None:
    """A panel a part, a line a family: smoothed, and raw behind it."""
    families = list(dict.fromkeys(family for lines in parts.values() for family in lines))
    colours = dict(zip(families, cycle(COLOURS))) | {WHOLE: "0.2"}
    panels = _grid(figure, len(parts), columns, share=True)
    handles = {}
    for axes, (part, lines) in zip(panels, parts.items(), strict=True):
        for family, (steps, values) in lines.items():
            axes.plot(steps, values, color=colours[family], linewidth=0.5, alpha=0.3)
            (handles[family],) = axes.plot(steps, smoothed(values), color=colours[family], linewidth=1.6)
        _scale(axes, [values for _, values in lines.values()])
        axes.set_title(part.replace("_", " "), fontsize=10)
        axes.grid(alpha=0.25)
    for axes in panels[-columns:]:
        axes.set_xlabel("step")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)


def _scale(axes: Axes, lines: Sequence[Sequence[float]]) -> None:
    """Logarithmic where every line falls far; else the range that nearly all values are in."""
    if all(min(values) > 0 and values[0] > LOGARITHMIC * values[-1] for values in lines):
        axes.set_yscale("log")
        return
    low, high = np.quantile(np.concatenate(lines), (SHOWN, 1.0 - SHOWN))
    margin = 0.1 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)


def _draw_fidelity(figure: SubFigure, fidelity: Fidelity) -> None:
    """Distances a family, then what the heads name, the likelihood of rewards and the calibration of values."""
    figure.suptitle("fidelity: imagined against fresh episodes of train variants", fontweight="bold")
    *distances, named, likelihood, value = _grid(figure, len(fidelity) + 3, WIDE)
    farthest = max(far for report in fidelity.values() for found in report["ks"].values() for far in found.values())
    for axes, (family, report) in zip(distances, fidelity.items(), strict=True):
        for quantity, found in report["ks"].items():
            ahead = list(map(int, found))
            axes.plot(ahead, list(found.values()), marker="o", markersize=4, label=quantity)
            axes.set_xticks(ahead)
        axes.set_ylim(0.0, 1.1 * farthest)
        axes.set_title(f"{family}: Kolmogorov-Smirnov distance by slots ahead", fontsize=10)
        axes.grid(alpha=0.25)
        _legend_below(axes)
    _bars(named, "action named, top 1", fidelity, "top1")
    _bars(likelihood, "reward, log-likelihood (nats)", fidelity, "reward_nats")
    _bars(value, "value: predicted against realised return", fidelity, "value")
    value.axhline(1.0, color="0.3", linewidth=1, linestyle=":")


def _bars(axes: Axes, title: str, fidelity: Fidelity, part: str) -> None:
    """A group of bars a family, one bar a figure."""
    names = list(dict.fromkeys(name for report in fidelity.values() for name in report[part]))
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        places = np.arange(len(fidelity)) + (number - (len(names) - 1) / 2) * width
        bars = axes.bar(places, [report[part][name] for report in fidelity.values()], width, label=name.replace("_", " "))
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks(range(len(fidelity)), list(fidelity))
    axes.axhline(0.0, color="0.3", linewidth=0.8)
    axes.margins(y=0.2)
    axes.set_title(title, fontsize=10)
    if names:  # a network without two-hot rewards has no likelihood
        _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    """Where it hides nothing."""
    count = len(axes.get_legend_handles_labels()[0])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=count, fontsize=8, frameon=False)

"""Where the figures of a training go: one interface, and TensorBoard, Trackio, Weights & Biases or a CSV file behind it.

Names are alike in all trainings: `train/FAMILY/FIGURE`; `train/FIGURE` where all families share it; `train/loss` and
`train/return`, the means over the families, wherever there are losses or returns. All of them stay on this machine unless you
say otherwise: Weights & Biases runs offline unless `WANDB_MODE` is set.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..benchmark.data.paths import require_ours, write_text
from ..errors import MissingPackageError, require_known

CSV = "metrics.csv"
HEADER = ("step", "metric", "value")
MEANS = ("loss", "return")


class Logger(Protocol):
    """Takes the figures of a training's logged steps."""

    def begin(self, step: int) -> None:
        """The training begins with this step, or goes on with it: what was logged from it on is void."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step, by the names above."""

    def finish(self) -> None:
        """The training has ended, or was interrupted."""


def named(figures: Mapping[str, float]) -> dict[str, float]:
    """A learner's figures by the names that all trainings share."""
    found = {f"train/{name}": float(value) for name, value in figures.items()}
    for mean in MEANS:
        values = [value for name, value in figures.items() if name.rpartition("/")[2] == mean]
        if values and f"train/{mean}" not in found:
            found[f"train/{mean}"] = float(sum(values) / len(values))
    return found


def make_logger(name: str, folder: Path, run: str, config: Mapping[str, Any]) -> Logger:
    """The logger of this name.

    Args:
        name: one of `LOGGERS`.
        folder: of the training; files go into it.
        run: what the run is called.
        config: the settings, which a tracker shows beside the figures.

    Raises:
        UnknownNameError: there is no such logger.
        MissingPackageError: its package is not installed.
    """
    require_known("logger", name, LOGGERS, "--log csv")
    try:
        return LOGGERS[name](folder, run, config)
    except ImportError as error:
        raise MissingPackageError(f'--log {name} needs the package {name}. Try: pip install "wbench[{name}]"') from error


class Several:
    """Some loggers as one.

    Args:
        loggers: each is told all.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = loggers

    def begin(self, step: int) -> None:
        """Begin each."""
        for logger in self._loggers:
            logger.begin(step)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell each."""
        for logger in self._loggers:
            logger.log(step, figures)

    def finish(self) -> None:
        """End each."""
        for logger in self._loggers:
            logger.finish()


def make_loggers(names: Sequence[str], folder: Path, run: str, config: Mapping[str, Any]) -> Logger:
    """Loggers of these names as one; see `make_logger`."""
    return Several([make_logger(name, folder, run, config) for name in dict.fromkeys(names)])


class CsvLogger:
    """A row a figure, in `metrics.csv`: step, metric, value. Needs no package; pandas: `read_csv(...).pivot(...)`."""

    def __init__(self, folder: Path, run: str, config: Mapping[str, Any]) -> None:
        self._path = folder / CSV

    def begin(self, step: int) -> None:
        """Keep the rows before this step; raises `OutputError` where somebody else's file has this name."""
        require_ours(self._path, [",".join(HEADER).encode()], "Give another --out, or move it away.")
        rows: list[list[str]] = []
        if step and self._path.exists():
            with self._path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in list(csv.reader(stream))[1:] if len(row) == len(HEADER) and int(row[0]) < step]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, "".join(f"{','.join(row)}\n" for row in [list(HEADER), *rows]))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Add rows."""
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([step, name, f"{value:.6g}"] for name, value in figures.items())

    def finish(self) -> None:
        """Nothing is open."""


class TensorBoardLogger:
    """Event files in the folder `tensorboard`; look with `tensorboard --logdir FOLDER`."""

    def __init__(self, folder: Path, run: str, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._open: Callable[[int], Any] = lambda step: SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)
        self._writer: Any = None
        self._config = config

    def begin(self, step: int) -> None:
        """Open the file; figures from this step on take the place of earlier ones."""
        self._writer = self._open(step)
        self._writer.add_text("settings", "\n".join(f"    {name}: {value}" for name, value in self._config.items()))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


class TrackerLogger:
    """A run of `wandb` or of `trackio`, which has the same interface, in the project `wbench`.

    Args:
        package: the module.
        options: of its `init`.
        run: what the run is called.
        config: shown beside the figures.
    """

    def __init__(self, package: Any, options: Mapping[str, Any], run: str, config: Mapping[str, Any]) -> None:
        self._package, self._options, self._name, self._config = package, options, run, config
        self._run: Any = None

    def begin(self, step: int) -> None:
        """Start the run."""
        self._run = self._package.init(project="wbench", name=self._name, config=dict(self._config), **self._options)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Send the figures."""
        self._package.log(dict(figures), step=step)

    def finish(self) -> None:
        """End the run."""
        if self._run is not None:
            self._package.finish()


def _wandb(folder: Path, run: str, config: Mapping[str, Any]) -> Logger:
    import wandb

    return TrackerLogger(wandb, {"dir": str(folder), "mode": os.environ.get("WANDB_MODE", "offline")}, run, config)


def _trackio(folder: Path, run: str, config: Mapping[str, Any]) -> Logger:
    import trackio

    return TrackerLogger(trackio, {}, run, config)


LOGGERS: dict[str, Callable[[Path, str, Mapping[str, Any]], Logger]] = {
    "csv": CsvLogger,
    "tensorboard": TensorBoardLogger,
    "trackio": _trackio,
    "wandb": _wandb,
}

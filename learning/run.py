"""A training in its folder: the resumable state, the log that grows, the report and the checkpoint."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..benchmark.data.paths import held, possible, require_ours, shared_mode, write_atomically, write_text
from ..errors import CheckpointError, OutputError
from .checkpoint import CONFIG, WEIGHTS, CheckpointConfig, Pretrained, recipe_of

STATE, REPORT, LOG = "training_state.pt", "training_report.json", "training_log.jsonl"  # the log grows as it trains
_LOCK = ".training.lock"


class Settings(Protocol):
    """How to train: any frozen dataclass that says at least this."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Steps, at most."""

    @property
    def save_every(self) -> int:
        """Steps between resumable states."""

    @property
    def seed(self) -> int:
        """Of initialisation and sampling."""


class Part(Protocol):
    """Something whose state is saved: a module, the state of an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Take it back; raise `KeyError`, `RuntimeError` or `ValueError` where it is of something else."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it for one training; one that is killed lets go.

    Raises:
        OutputError: another training holds it, or nothing can be written there.
    """
    try:
        str(folder).encode()  # weights can be written under no other names
    except UnicodeEncodeError as error:
        raise OutputError(f"cannot make {folder} (its name is no Unicode). Give another --out.") from error
    busy = f"another training is at work in {folder}. Wait for it, or give another --out."
    with ExitStack() as stack:
        with possible(f"make {folder}", "Give another --out."):
            folder.mkdir(parents=True, exist_ok=True)
        with possible(f"write in {folder}", "Give another --out."):
            stack.enter_context(held(folder / _LOCK, busy))
        yield


class Run:
    """A training in its folder: its log, and all that must come back for the same numbers as without an interruption.

    Args:
        folder: where checkpoint, resumable state and report go.
        config: how to train.
        resume: go on from the state in the folder, if there is one; without it a state is refused.
        writes: whether this process writes the files; of several that train together, one does.
    """

    def __init__(self, folder: Path, config: Settings, resume: bool, writes: bool) -> None:
        self._folder, self._config, self.writes = folder, config, writes
        self._settings = json.dumps(asdict(config))
        self._parts: Mapping[str, Part] = {}
        self._state = self._read(resume)
        self._log: list[dict[str, Any]] = json.loads(self._state["log"]) if self._state else []
        self._begun = time.monotonic()

    def begin(self, parts: Mapping[str, Part]) -> int:
        """Bring back all that changes in training, as it was; the step to begin with."""
        self._parts = parts
        self._begun = time.monotonic() - (self._log[-1]["seconds"] if self._log else 0.0)
        if self.writes:
            (self._folder / LOG).unlink(missing_ok=True)
            self._append(self._log)
        if self._state is None:
            return 0
        state, self._state = self._state, None  # as large as the network: not kept
        try:
            for name, part in parts.items():
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            where = self._folder / STATE
            raise CheckpointError(f"{where} is of another training, perhaps for other families. Give another --out.") from error
        return int(state["step"])

    def note(self, step: int, figures: Mapping[str, float | Tensor]) -> dict[str, float]:
        """Add a step to the log; raises `CheckpointError` if a figure is not finite. Whole numbers are counters."""
        noted = {name: value if isinstance(value, int) else round(float(value), 5) for name, value in figures.items()}
        if not all(map(math.isfinite, noted.values())):
            raise CheckpointError(f"training diverged at step {step}: {noted}. Lower the learning rate.")
        self._log.append({"step": step, "seconds": round(time.monotonic() - self._begun, 1), **noted})
        if self.writes:
            self._append(self._log[-1:])
        return noted

    def _append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Let the log on disk grow by these entries."""
        if entries:
            with (self._folder / LOG).open("a", encoding="utf-8") as stream:
                stream.writelines(f"{json.dumps(entry)}\n" for entry in entries)

    def keep(self, done: int) -> None:
        """Write the resumable state after so many steps, where `save_every` says so."""
        if done % self._config.save_every or not self.writes:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"config": self._settings, "step": done, "log": json.dumps(self._log)}
        write_atomically(self._folder / STATE, lambda path: torch.save(state, path))

    def finish(self, model: Pretrained) -> None:
        """Write a model as the checkpoint, with the report; drop the resumable state."""
        if not self.writes:
            return
        config = getattr(model, "config", None)
        if isinstance(config, CheckpointConfig):
            config = replace(config, recipe=recipe_of(type(model), config.families, asdict(self._config)))
        model.save_pretrained(self._folder, config=config)
        for name in (CONFIG, WEIGHTS):
            (self._folder / name).chmod(shared_mode())  # the client of the Hub lets nobody else read them
        write_text(self._folder / REPORT, json.dumps({"config": asdict(self._config), "log": self._log}, indent=1))
        for name in (STATE, LOG):
            (self._folder / name).unlink(missing_ok=True)

    def _read(self, resume: bool) -> dict[str, Any] | None:
        """The state in the folder."""
        path = self._folder / STATE
        require_ours(self._folder / LOG, [b'"step":'], "Give another --out, or move it away.")
        if not path.exists():
            found = [name for name in (REPORT, CONFIG, WEIGHTS, "README.md") if (self._folder / name).exists()]
            if found:
                what = "a finished training" if found[0] == REPORT else f"a {found[0]} that is no training's"
                raise CheckpointError(f"{self._folder} holds {what}. Give another --out, or delete it to train anew.")
            return None
        if not path.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{path} is no file. Give another --out, or move it away.")
        if not resume:
            raise CheckpointError(f"{self._folder} holds an unfinished run. Add --resume to go on, or give another --out.")
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            settings, _, _ = state["config"], state["step"], state["log"]
        except Exception as error:  # a damaged zip, a foreign file: torch raises many kinds
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}). Delete it to start again.") from error
        if settings != self._settings:
            raise CheckpointError(f"{path} belongs to other settings: {settings}. Give another --out.")
        return state

"""How learners are trained: one loop, `fit`, which goes on after an interruption to the same numbers.

A learner says what of it changes, takes a step, and gives the network in the end; see `Learner`. The loop keeps a resumable
state, a log, and tells a callback of the steps that it logs, which is where a progress display or a logger attaches.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ..benchmark.data.paths import shared_mode, write_atomically, write_text
from ..benchmark.family import Family
from ..benchmark.registry import provided
from ..errors import CheckpointError, OutputError, UnknownNameError
from .checkpoint import CONFIG, WEIGHTS, Pretrained
from .parallel import Processes

STATE, REPORT = "training_state.pt", "training_report.json"
Callback = Callable[[int, Mapping[str, float]], None]  # is told a step and its figures


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


class Learner(Protocol):
    """What `fit` trains. The random numbers of a step follow from seed and step, or from a state among its parts."""

    @property
    def steps(self) -> int:
        """Steps to take."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """All that changes in training, by name."""

    def step(self, step: int) -> Mapping[str, float | Tensor]:
        """Take a step.

        Args:
            step: its number, from 0.

        Returns:
            Figures, named `FAMILY/FIGURE`, or `FIGURE` where all families share it.
        """

    def trained(self) -> Pretrained:
        """The network as it goes into the checkpoint."""


C = TypeVar("C", bound=Settings)
LearnerFactory = Callable[[Sequence[Family], C, Processes], Learner]


def fit(
    learner: LearnerFactory[C],
    families: Sequence[Family],
    config: C,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callback | None = None,
    log_every: int = 10,
) -> Pretrained:
    """Train on the train variants of some families.

    Args:
        learner: makes the learner of the families, by name, for these settings and processes; its first weights are drawn
            from the seed.
        families: in any order: it changes nothing.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told the steps that are logged.
        log_every: steps from one that is logged to the next; the last one is logged too.

    Returns:
        The network, in evaluation mode; also saved in `folder`.

    Raises:
        CheckpointError: the folder holds a state or a training that does not fit, or a figure is not finite.
        OutputError: the folder cannot be made.
    """
    processes = Processes(device)
    run = _Run(folder, config, resume, writes=processes.rank == 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        learning = learner(sorted(families, key=lambda family: family.name), config, processes)
    for step in range(run.begin(learning.parts), learning.steps):
        figures = learning.step(step)
        if step % log_every == 0 or step + 1 == learning.steps:
            noted = run.note(step, figures)
            if on_step and run.writes:
                on_step(step, noted)
        run.keep(step + 1)
    trained = learning.trained()
    run.finish(trained)
    processes.wait()
    assert isinstance(trained, torch.nn.Module)
    return trained.eval()


class Stages:
    """Learners one after the other, each on what those before it leave: a `Learner`.

    Args:
        **stages: learners, by name; they may share networks, of which one stage saves the state.
    """

    def __init__(self, **stages: Learner) -> None:
        self._stages = stages

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self._stages.values())

    @property
    def parts(self) -> Mapping[str, Part]:
        """Those of all stages."""
        return {f"{name}/{part}": found for name, stage in self._stages.items() for part, found in stage.parts.items()}

    def step(self, step: int) -> Mapping[str, float | Tensor]:
        """A step of the stage that it belongs to."""
        for stage in self._stages.values():
            if step < stage.steps:
                return stage.step(step)
            step -= stage.steps
        raise IndexError(step)

    def trained(self) -> Pretrained:
        """What the last stage leaves."""
        return list(self._stages.values())[-1].trained()


@dataclass(frozen=True)
class Trainer(Generic[C]):
    """All that `wbench train AGENT` and `wbench checkpoint card` need to know; what the entry points `wbench.trainers` name.

    Attributes:
        agent: name of the agent.
        network: what its checkpoints hold; cards take their text from it.
        presets: how to train, by name.
        learner: see `fit`.
        log_every: see `fit`.
    """

    agent: str
    network: type[Pretrained]
    presets: Mapping[str, C]
    learner: LearnerFactory[C]
    log_every: int = 10

    def preset(self, name: str) -> C:
        """The preset of this name; raises `UnknownNameError`."""
        if name not in self.presets:
            raise UnknownNameError("preset", name, self.presets, f"wbench train {self.agent} --preset small")
        return self.presets[name]

    def fit(self, families: Sequence[Family], config: C, folder: Path, **options: Any) -> Pretrained:
        """Train with these settings; options are those of `fit`."""
        return fit(self.learner, families, config, folder, log_every=self.log_every, **options)

    def __call__(self, families: Sequence[Family], preset: str, folder: Path, *, seed: int = 0, **options: Any) -> Pretrained:
        """Train by a preset; options are those of `fit`."""
        return self.fit(families, replace(self.preset(preset), seed=seed), folder, **options)


def trainer_names() -> list[str]:
    """Names of the agents that `wbench train` knows."""
    return sorted(provided("trainers"))


def get_trainer(name: str) -> Trainer:
    """The trainer of an agent; raises `UnknownNameError`, or `DataError` where a plug-in cannot be loaded."""
    found = provided("trainers")
    if name not in found:
        raise UnknownNameError("trainable agent", name, found, "wbench train networld --preset debug")
    return found[name]()  # type: ignore[return-value]


class _Run:
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
        return noted

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
        model.save_pretrained(self._folder)
        for name in (CONFIG, WEIGHTS):
            (self._folder / name).chmod(shared_mode())  # the client of the Hub lets nobody else read them
        write_text(self._folder / REPORT, json.dumps({"config": asdict(self._config), "log": self._log}, indent=1))
        (self._folder / STATE).unlink(missing_ok=True)

    def _read(self, resume: bool) -> dict[str, Any] | None:
        """The state in the folder, which is made if it is not there."""
        path = self._folder / STATE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {self._folder} ({error.strerror}). Give another --out.") from error
        if not path.exists():
            found = [name for name in (REPORT, CONFIG, WEIGHTS, "README.md") if (self._folder / name).exists()]
            if found:
                what = "a finished training" if found[0] == REPORT else f"a {found[0]} that is no training's"
                raise CheckpointError(f"{self._folder} holds {what}. Give another --out, or delete it to train anew.")
            return None
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

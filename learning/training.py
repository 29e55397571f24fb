"""What all trainings share: presets, a run that goes on after an interruption to the same numbers, steps of descent."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..benchmark.data.paths import write_atomically, write_text
from ..benchmark.family import Family
from ..benchmark.registry import sources
from ..errors import CheckpointError, OutputError, UnknownNameError
from .checkpoint import CONFIG, WEIGHTS, Pretrained

STATE, REPORT = "training_state.pt", "training_report.json"


class Settings(Protocol):
    """How to train: any frozen dataclass that says at least this."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def steps(self) -> int:
        """Steps in all."""

    @property
    def save_every(self) -> int:
        """Steps between resumable states."""

    @property
    def seed(self) -> int:
        """Of initialisation and sampling."""


S = TypeVar("S", bound=Settings)
Part = nn.Module | torch.optim.Optimizer


@dataclass(frozen=True)
class Trainer(Generic[S]):
    """What `wbench train AGENT` calls.

    Attributes:
        agent: name of the agent.
        presets: how to train, by name.
        train: takes families, settings and folder, and by name `resume`, `device` and `on_step`, which is told steps.
    """

    agent: str
    presets: Mapping[str, S]
    train: Callable[..., object]

    def preset(self, name: str) -> S:
        """The preset of this name; raises `UnknownNameError`."""
        if name not in self.presets:
            raise UnknownNameError("preset", name, self.presets, f"wbench train {self.agent} --preset small")
        return self.presets[name]

    def __call__(
        self,
        families: Sequence[Family],
        preset: str,
        folder: Path,
        *,
        resume: bool,
        seed: int,
        device: str,
        on_step: Callable[[int, int], None],
    ) -> None:
        """Train by a preset and write the checkpoint to `folder`; `on_step` is told the step and the number of steps."""
        config = replace(self.preset(preset), seed=seed)
        self.train(families, config, folder, resume=resume, device=device, on_step=lambda step: on_step(step, config.steps))


class Run:
    """A training in its folder: its log, and all that must come back for the same numbers as without an interruption.

    Args:
        folder: where checkpoint, resumable state and report go.
        config: how to train.
        resume: go on from the state in the folder, if there is one; without it a state is refused.
        on_step: told each step that goes into the log.
        writes: whether this process writes the files and tells the steps; of several that train together, one does.

    Raises:
        CheckpointError: there is a state that nobody wants to resume, or it is damaged or of other settings, or the training
            in the folder is finished.
        OutputError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        config: Settings,
        resume: bool = False,
        on_step: Callable[[int], None] | None = None,
        writes: bool = True,
    ) -> None:
        self._folder, self._config, self._on_step, self._writes = folder, config, on_step, writes
        self._settings = json.dumps(asdict(config))
        self._parts: Mapping[str, Part] = {}
        self._generator: torch.Generator | None = None
        self._state = self._read(resume)
        self.log: list[dict[str, Any]] = json.loads(self._state["log"]) if self._state else []
        self._begun = time.monotonic()

    def begin(self, parts: Mapping[str, Part], generator: torch.Generator | None = None) -> int:
        """Bring back all that changes in training, as it was; the step to begin with.

        Args:
            parts: what changes, by name.
            generator: the random source, where it goes on from step to step.

        Raises:
            CheckpointError: the state is of other parts, for instance for other families.
        """
        self._parts, self._generator = parts, generator
        self._begun = time.monotonic() - (self.log[-1]["seconds"] if self.log else 0.0)
        if self._state is None:
            return 0
        state, self._state = self._state, None  # as large as the network: not kept
        try:
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            if generator:
                generator.set_state(state["generator"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            where = self._folder / STATE
            raise CheckpointError(f"{where} is of another training, perhaps for other families. Give another --out.") from error
        return int(state["step"])

    def due(self, step: int) -> bool:
        """Whether a step goes into the log: every tenth, and the last."""
        return step % 10 == 0 or step + 1 == self._config.steps

    def note(self, step: int, figures: Mapping[str, float | Tensor], **more: Any) -> None:
        """Add a step to the log; raises `CheckpointError` if a figure is not finite."""
        rounded = {name: round(float(value), 5) for name, value in figures.items()}
        if not all(map(math.isfinite, rounded.values())):
            raise CheckpointError(f"training diverged at step {step}: {rounded}. Lower the rate.")
        self.log.append({"step": step, "seconds": round(time.monotonic() - self._begun, 1), **more, **rounded})
        if self._on_step and self._writes:
            self._on_step(step)

    def keep(self, done: int) -> None:
        """Write the resumable state after so many steps, where `save_every` says so."""
        if done % self._config.save_every or not self._writes:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"config": self._settings, "step": done, "log": json.dumps(self.log)}
        if self._generator:
            state["generator"] = self._generator.get_state()
        write_atomically(self._folder / STATE, lambda path: torch.save(state, path))

    def finish(self, model: Pretrained) -> None:
        """Write a model as the checkpoint, with the report; drop the resumable state."""
        if not self._writes:
            return
        model.save_pretrained(self._folder)
        write_text(self._folder / REPORT, json.dumps({"config": asdict(self._config), "log": self.log}, indent=1))
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


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine decay to a twentieth."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def follow(average: Iterable[Tensor], parameters: Iterable[Tensor], share: float) -> None:
    """Move the moving average of a network's parameters this share of the way towards them (Polyak and Juditsky 1992)."""
    for slow, fast in zip(average, parameters, strict=True):
        slow.lerp_(fast, share)


_TRAINERS = {
    "networld": "networld.train:TRAINER",
    "networld-online": "networld.online.train:TRAINER",
    "bc": "baselines.bc:TRAINER",
    "bc-inbox": "baselines.bc:INBOX_TRAINER",
    "bcq": "baselines.bcq:TRAINER",
    "bcq-taught": "baselines.bcq_taught:TRAINER",
    "iql": "baselines.iql:TRAINER",
    "mappo": "baselines.mappo_train:TRAINER",
    "mappo-imagined": "baselines.mappo_imagined:TRAINER",
    "qmix": "baselines.qmix:TRAINER",
}


def trainer_names() -> list[str]:
    """Names of the agents that `wbench train` knows."""
    return sorted(_TRAINERS)


def get_trainer(name: str) -> Trainer:
    """The trainer of an agent; raises `UnknownNameError`."""
    if name not in _TRAINERS:
        raise UnknownNameError("trainable agent", name, _TRAINERS, "wbench train networld --preset debug")
    return sources("wbench.trainers", _TRAINERS)[name]()  # type: ignore[return-value]

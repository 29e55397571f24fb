"""How learners are trained: one loop, `fit`, which goes on after an interruption to the same numbers.

A learner says what of it changes, takes a step, and gives the network in the end; see `Learner`. The loop keeps a resumable
state, a log, and tells a callback of the steps that it logs, which is where a progress display or a logger attaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ..benchmark.family import Family
from ..benchmark.processes import keep_memory
from ..benchmark.registry import provided
from ..errors import UnknownNameError, require_known
from .checkpoint import Pretrained
from .logging import Logger, named
from .parallel import Processes
from .run import Part, Run, Settings, alone
from .settings import changed, require_bounds, shortened

TINY = "tiny"  # a preset that every training with a preset `small` has
Callback = Callable[[int, Mapping[str, float]], None]  # is told a step and its figures


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
    logger: Logger | None = None,
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
        logger: told the same, by names that all trainings share.
        log_every: steps from one that is logged to the next; the last one is logged too.

    Returns:
        The network, in evaluation mode; also saved in `folder`.

    Raises:
        CheckpointError: the folder holds a state or a training that does not fit, or a figure is not finite.
        OutputError: the folder cannot be made, or another training is at work in it.
    """
    keep_memory()
    processes = Processes(device)
    with alone(folder) if processes.rank == 0 else nullcontext():
        run = Run(folder, config, resume, writes=processes.rank == 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            learning = learner(sorted(families, key=lambda family: family.name), config, processes)
        _take_steps(learning, run, on_step if run.writes else None, logger if run.writes else None, log_every)
        trained = learning.trained()
        run.finish(trained)
        processes.wait()
        assert isinstance(trained, torch.nn.Module)
        return trained.eval()


def _take_steps(learning: Learner, run: Run, on_step: Callback | None, logger: Logger | None, log_every: int) -> None:
    """All steps that are left of a training; arguments as those of `fit`."""
    first = run.begin(learning.parts)
    if logger:
        logger.begin(first)
    try:
        for step in range(first, learning.steps):
            figures = learning.step(step)
            if step % log_every == 0 or step + 1 == learning.steps:
                noted = run.note(step, figures)
                if on_step:
                    on_step(step, noted)
                if logger:
                    logger.log(step, named(noted))
            run.keep(step + 1)
    finally:
        if logger:
            logger.finish()


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
        """The preset of this name; `tiny` takes a quarter of the steps of `small`. Raises `UnknownNameError`."""
        if name == TINY and name not in self.presets and "small" in self.presets:
            small = self.presets["small"]
            return shortened(small, max(1, small.steps // 4))
        if name not in self.presets:
            raise UnknownNameError("preset", name, self.preset_names, f"wbench train {self.agent} --preset small")
        return self.presets[name]

    @property
    def preset_names(self) -> list[str]:
        """Names of the presets, shortest first."""
        return sorted({*self.presets, *([TINY] if "small" in self.presets else [])}, key=lambda name: self.preset(name).steps)

    def settings(
        self, preset: str, families: Sequence[Family], steps: int | None = None, pairs: Sequence[str] = (), seed: int = 0
    ) -> C:
        """A preset, changed: by another number of steps, then by a seed, then by `KEY=VALUE` (see `settings`)."""
        config = self.preset(preset)
        config = config if steps is None else shortened(config, steps)
        names = [family.name for family in families]
        found = changed(replace(config, seed=seed), pairs, self.network, names, self.agent)
        require_bounds(found)
        return found

    def fit(self, families: Sequence[Family], config: C, folder: Path, **options: Any) -> Pretrained:
        """Train with these settings; options are those of `fit`."""
        return fit(self.learner, families, config, folder, log_every=self.log_every, **options)

    def __call__(self, families: Sequence[Family], preset: str, folder: Path, *, seed: int = 0, **options: Any) -> Pretrained:
        """Train by a preset; options are those of `fit`."""
        return self.fit(families, self.settings(preset, families, seed=seed), folder, **options)


def trainer_names() -> list[str]:
    """Names of the agents that `wbench train` knows."""
    return sorted(provided("trainers"))


def get_trainer(name: str) -> Trainer:
    """The trainer of an agent; raises `UnknownNameError`, or `DataError` where a plug-in cannot be loaded."""
    found = provided("trainers")
    require_known("trainable agent", name, found, "wbench train networld --preset debug")
    return found[name]()  # type: ignore[return-value]

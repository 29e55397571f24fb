"""Gradient descent on recorded windows: what all learners share that are trained on logs."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from ..benchmark.data.release import get_release
from ..benchmark.data.windows import Windows, WindowSampler, load_samplers
from ..benchmark.family import Family
from .context import SHOTS, WINDOWS
from .parallel import Processes
from .precision import mixed
from .run import Part

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class DescentConfig:
    """How to descend; a learner adds what is its own.

    Attributes:
        steps: gradient steps.
        release: the data.
        batch_size: agent windows a step and family, all processes together.
        learning_rate: of AdamW at its peak; linear warm-up over `warmup` steps, cosine decay to a twentieth.
        warmup: steps of warm-up.
        weight_decay: of AdamW.
        max_grad_norm: greatest norm of the gradient.
        tau: share by which moving averages (target networks) follow in a step (Polyak and Juditsky 1992).
        save_every: steps between resumable states.
        seed: of initialisation and sampling.
    """

    steps: int = 1500
    release: str = "standard"
    batch_size: int = 1024
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    max_grad_norm: float = 1.0
    tau: float = 0.02
    save_every: int = 250
    seed: int = 0


class Descent(ABC, Generic[M]):
    """A `training.Learner` that descends on batches of as many windows of every family.

    Batches and noise of a step follow from seed, step and process alone, so that a resumed training goes on with the same
    numbers.

    Args:
        model: is trained; where it has a `support` encoder, batches show other episodes of their sites, see `context`.
        samplers: of windows, by family.
        config: how to descend.
        processes: that train together.
        averaged: whether a moving average of the network gives the targets, and is what the training leaves.
    """

    def __init__(
        self,
        model: M,
        samplers: Mapping[str, WindowSampler],
        config: DescentConfig,
        processes: Processes,
        averaged: bool = False,
    ) -> None:
        self.samplers, self.config, self.processes, self.steps = samplers, config, processes, config.steps
        self.noise = torch.Generator(processes.device)
        self.model, self.target = model, copy.deepcopy(model).requires_grad_(False) if averaged else model
        self._learned = learned = dict(model.named_parameters())
        self._optimiser = torch.optim.AdamW(
            learned.values(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
        )
        self.parts: dict[str, Part] = {"model": model, "optimiser": OptimiserState(self._optimiser, learned)}
        if averaged:
            self.parts["target"] = self.target

    @abstractmethod
    def losses(self, batch: Windows, family: str) -> dict[str, Tensor]:
        """What is minimised on a batch of a family, `loss`, and other figures; `self.noise` is the random source."""

    def trained(self) -> M:
        """The network as it goes into the checkpoint."""
        return self.target

    def batch(self, family: str) -> Windows:
        """Windows of a family to descend on."""
        sampler, rows = self.samplers[family], self.config.batch_size // self.processes.count
        reads = getattr(self.model, "support", None) is not None
        found = sampler.sample(rows, shots=SHOTS, per_context=WINDOWS) if reads else sampler.sample(rows)
        return found.to(self.processes.device)

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Take a step; the figures of the families, and the norm of the gradient."""
        self._reseed(step)
        c = self.config
        figures: dict[str, Tensor] = {}
        set_learning_rate(self._optimiser, c.learning_rate * warm_cosine(step, self.steps, c.warmup))
        self._optimiser.zero_grad(set_to_none=True)
        for family in self.samplers:
            batch = self.batch(family)
            with mixed(self.processes.device):
                losses = self.losses(batch, family)
            (losses["loss"] / len(self.samplers)).backward()
            figures |= {f"{family}/{name}": value.detach() for name, value in losses.items()}
        self.processes.average_gradients(self._learned.values())
        figures["gradient_norm"] = nn.utils.clip_grad_norm_(self._learned.values(), c.max_grad_norm)
        self._optimiser.step()
        if self.target is not self.model:
            move_average(self.target.parameters(), self.model.parameters(), c.tau)
        return figures

    def _reseed(self, step: int) -> None:
        seed = step_seed(self.config.seed, step, self.processes.rank)
        for generator in (self.noise, *(sampler.generator for sampler in self.samplers.values())):
            generator.manual_seed(seed)


def sources(families: Sequence[Family], config: DescentConfig, history: int, horizon: int) -> dict[str, WindowSampler]:
    """Samplers of the source data of these families, by name, which share a random source; see `load_samplers`."""
    choice = torch.Generator().manual_seed(config.seed)
    return load_samplers(families, get_release(config.release), history, horizon, choice)


def fit_sources(parts: Iterable[Any], samplers: Mapping[str, WindowSampler]) -> None:
    """Set the scales of these parts of a network to source data; None = the network has no such part."""
    for part in parts:
        if part is not None:
            part.fit_sources(samplers)


class OptimiserState:
    """The state of an optimiser, a `run.Part`: by the names of the parameters, whatever their order.

    Args:
        optimiser: whose.
        named: all of its parameters, by name.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> None:
        self._optimiser, self._named = optimiser, dict(named)

    def state_dict(self) -> dict[str, Any]:
        """Moments and counts of every parameter that has some."""
        return {name: dict(self._optimiser.state[p]) for name, p in self._named.items() if p in self._optimiser.state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take them back; raises `ValueError` where a parameter is unknown or of another shape."""
        for name, state in state_dict.items():
            parameter = self._named.get(name)
            if parameter is None or any(x.dim() and x.shape != parameter.shape for x in state.values()):
                raise ValueError(f"optimiser state of {name}, which is no parameter here or has another shape")
        for name, state in state_dict.items():
            parameter = self._named[name]
            self._optimiser.state[parameter] = {key: value.clone().to(parameter.device) for key, value in state.items()}


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of one step's random numbers in one process."""
    return (seed * 1_000_003 + step) * 1009 + rank


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine decay to a twentieth."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def move_average(average: Iterable[Tensor], parameters: Iterable[Tensor], tau: float) -> None:
    """Move the moving average of a network's parameters the share tau of the way towards them (Polyak and Juditsky 1992)."""
    for slow, fast in zip(average, parameters, strict=True):
        slow.lerp_(fast, tau)

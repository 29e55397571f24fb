"""Pretraining on the multi-task offline data: the world model of all families at once, then the actors on top of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..benchmark.data.release import get_release
from ..benchmark.data.windows import Windows, WindowSampler, load_samplers
from ..benchmark.family import Family, FamilyShape
from ..errors import CheckpointError
from ..learning.counterfactual import ActorTask, CounterfactualActors
from ..learning.descent import Descent, DescentConfig
from ..learning.parallel import Processes
from ..learning.training import REPORT, Callback, Learner, Stages, Trainer
from .config import NetWorldConfig
from .losses import LossWeights, actor_inputs, total
from .model import NetWorld

MARGIN = 0.1  # what a better policy may get beyond what was recorded, as a share of the recorded range of values


@dataclass(frozen=True)
class TrainConfig(DescentConfig):
    """As `DescentConfig`; the schedule of the learning rate starts anew with the actors.

    Attributes:
        world_steps: gradient steps of the world model, in all families at once.
        actor_steps: gradient steps after those, in which a central critic trains the actors on the finished world model.
        plan_share: share of the rows that train the denoiser.
        temperatures: of the improved policy, by family, in units of the deviation of a slot's team reward; 1 for others.
        evaluation_temperatures: of the policy that is played, where it is another; nothing in training depends on it.
        actor_temperature: price of leaving the expert's policy, at which actors are trained.
        network: fields of `NetWorldConfig` that differ from its defaults.
    """

    world_steps: int = 12000
    actor_steps: int = 2500
    plan_share: float = 0.25
    temperatures: tuple[tuple[str, float], ...] = (("access", 1.0), ("offload", 0.7), ("power", 1.4))
    evaluation_temperatures: tuple[tuple[str, float], ...] = (("offload", 0.25), ("power", 0.12))
    actor_temperature: float = 0.03
    network: tuple[tuple[str, Any], ...] = ()

    @property
    def steps(self) -> int:
        """Gradient steps in all."""
        return self.world_steps + self.actor_steps


ACTORS = ("actor_families", ("access",))  # elsewhere they did not pay, see docs/log
TINY = (("stem", 32), ("context", 32), ("width", 32), ("blocks", 1), ("head", 32), ("actor_width", 32))
PRESETS = {
    "debug": TrainConfig(
        release="mini", world_steps=20, actor_steps=10, batch_size=256, warmup=5, save_every=10, network=(*TINY, ACTORS)
    ),
    "small": TrainConfig(
        release="mini",
        world_steps=1200,
        actor_steps=400,
        batch_size=256,
        network=(("behaviour_conditioned", ("access", "offload", "power")), ACTORS),
    ),
}


class WorldModel(Descent):
    """Trains the world model, its value and its behaviour head.

    Args:
        model: the network; its actors are left alone.
        target: its moving average, which gives targets, and which the training leaves.
        samplers: of windows, by family.
        config: how to train.
        processes: that train together.
    """

    def __init__(
        self,
        model: NetWorld,
        target: NetWorld,
        samplers: Mapping[str, WindowSampler],
        config: TrainConfig,
        processes: Processes,
    ) -> None:
        self._model, self._target, self._plan_share = model, target, config.plan_share
        learned = {name: parameter for name, parameter in model.named_parameters() if not name.startswith("actors.")}
        modules = {"model": model, "target": target}
        super().__init__(samplers, config, processes, config.world_steps, learned, modules, [(target, model)])

    def losses(self, batch: Windows, family: str) -> dict[str, Tensor]:
        """See `losses.total`."""
        weights = LossWeights()
        loss, parts = total(self._model, self._target, batch, family, weights, self.noise, plan_share=self._plan_share)
        return {"loss": loss, **parts}

    def trained(self) -> NetWorld:
        """The moving average."""
        return self._target


def learner(families: Sequence[Family], config: TrainConfig, processes: Processes) -> Learner:
    """The world model of these families and, where some of them have actors, these on its moving average."""
    shape, samplers = _data(families, config)
    model = NetWorld(shape).to(processes.device)
    model.observation.fit_sources(samplers)
    target = copy.deepcopy(model).requires_grad_(False)
    world = WorldModel(model, target, samplers, config, processes)
    if not shape.actor_families:
        return world
    tasks = {
        name: ActorTask(
            shape.families[name], target.codecs[name], target.actor(name), partial(actor_inputs, target, name), unit
        )
        for name, unit in shape.units.items()
        if name in shape.actor_families
    }
    steps, temperature = config.actor_steps, config.actor_temperature
    actors = CounterfactualActors(
        target, tasks, samplers, config, processes, steps=steps, discount=shape.discount, temperature=temperature
    )
    return Stages(world=world, actors=actors)


TRAINER = Trainer("networld", NetWorld, PRESETS, learner)


def train_missing(families: Sequence[Family], config: TrainConfig, folder: Path, on_step: Callback) -> None:
    """Train a network unless the folder holds it; an interrupted training goes on.

    Raises:
        CheckpointError: it holds one of other settings or of other families.
    """
    if not (folder / REPORT).exists():
        TRAINER.fit(families, config, folder, resume=True, on_step=on_step)
        return
    settings = json.loads((folder / REPORT).read_text(encoding="utf-8"))["config"]
    known = NetWorld.from_pretrained(folder).config.families
    if settings != json.loads(json.dumps(asdict(config))) or {*known} != {family.name for family in families}:
        trained = f"{settings.get('world_steps')} steps of {', '.join(known)}"
        hint = "Give another --networks, or delete it."
        raise CheckpointError(f"{folder} holds a network of another training ({trained}). {hint}")


def _data(families: Sequence[Family], config: TrainConfig) -> tuple[NetWorldConfig, dict[str, WindowSampler]]:
    """The network's settings, with the range of values that was recorded, and a sampler for each family."""
    shapes = {family.name: FamilyShape.of(family) for family in families}
    network = dict(config.network)
    network["actor_families"] = tuple(name for name in network.get("actor_families", ()) if name in shapes)
    shape = NetWorldConfig(families=shapes, units={}, values={}, temperatures={}, **network)
    choice = torch.Generator().manual_seed(config.seed)
    samplers = load_samplers(families, get_release(config.release), shape.history, shape.horizon, choice)
    units, values = {}, {}
    for name, sampler in samplers.items():
        units[name] = unit = round(float(sampler.sample(20_000).reward[:, shape.history].std()), 4)
        values[name] = widened(sampler.value_range(shape.discount), unit)
    return replace(
        shape,
        units=units,
        values=values,
        temperatures={name: dict(config.temperatures).get(name, 1.0) for name in shapes},
        evaluation_temperatures={name: t for name, t in config.evaluation_temperatures if name in shapes},
        transitions=sum(sampler.transitions for sampler in samplers.values()),
    ), samplers


def widened(recorded: tuple[float, float], unit: float) -> tuple[float, float]:
    """A recorded range of values in a unit, with room on both sides for what a better policy may get."""
    low, high = recorded
    margin = MARGIN * (high - low)
    return round((low - margin) / unit, 3), round((high + margin) / unit, 3)

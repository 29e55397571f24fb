"""Pretraining on the multi-task offline data, all families at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..benchmark.data.windows import Windows, WindowSampler
from ..benchmark.family import Family, FamilyShape
from ..errors import CheckpointError
from ..learning.descent import Descent, DescentConfig, fit_sources, sources
from ..learning.parallel import Processes
from ..learning.run import REPORT
from ..learning.training import Callback, Learner, Trainer
from .config import NetWorldConfig
from .losses import LossWeights, total
from .model import NetWorld

MARGIN = 0.1  # what a better policy may get beyond what was recorded, as a share of the recorded range of values


@dataclass(frozen=True)
class TrainConfig(DescentConfig):
    """As `DescentConfig`.

    Attributes:
        plan_share: share of the rows that train the denoiser.
        temperatures: of the improved policy, by family, in units of the deviation of a slot's team reward; 1 for others.
        evaluation_temperatures: of the policy that is played, where it is another; nothing in training depends on it.
        caution: see `NetWorldConfig`; nothing in training depends on it.
        crowd: likewise.
        network: fields of `NetWorldConfig` that differ from its defaults.
    """

    steps: int = 12000
    plan_share: float = 0.25
    temperatures: tuple[tuple[str, float], ...] = (("access", 1.0), ("offload", 1.5), ("power", 1.4))
    evaluation_temperatures: tuple[tuple[str, float], ...] = (("offload", 8.0),)
    caution: tuple[tuple[str, float], ...] = (("access", 1.0),)
    crowd: tuple[tuple[str, int], ...] = (("access", 8),)
    network: tuple[tuple[str, Any], ...] = ()


TINY = (("stem", 32), ("context", 32), ("width", 32), ("blocks", 1), ("head", 32), ("site", 16))
PRESETS = {
    "debug": TrainConfig(release="mini", steps=20, batch_size=256, warmup=5, save_every=10, network=TINY),
    "small": TrainConfig(steps=2800, batch_size=640),
}


class Pretraining(Descent[NetWorld]):
    """Trains a NetWorld: world model, site code, value and behaviour head."""

    config: TrainConfig

    def losses(self, batch: Windows, family: str) -> dict[str, Tensor]:
        """See `losses.total`."""
        weights = LossWeights() if self.model.config.world_model else LossWeights.without_world_model()
        loss, parts = total(self.model, self.target, batch, family, weights, self.noise, self.config.plan_share)
        return {"loss": loss, **parts}


def learner(families: Sequence[Family], config: TrainConfig, processes: Processes) -> Learner:
    """A fresh network and the data of these families."""
    shape, samplers = _data(families, config)
    model = NetWorld(shape).to(processes.device)
    fit_sources((model.observation, model.support), samplers)
    return Pretraining(model, samplers, config, processes, averaged=True)


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
        trained = f"{settings.get('steps')} steps of {', '.join(known)}"
        hint = "Give another --networks, or delete it."
        raise CheckpointError(f"{folder} holds a network of another training ({trained}). {hint}")


def _data(families: Sequence[Family], config: TrainConfig) -> tuple[NetWorldConfig, dict[str, WindowSampler]]:
    """The network's settings, with the range of values that was recorded, and a sampler for each family."""
    shapes = {family.name: FamilyShape.of(family) for family in families}
    unknown: dict[str, Any] = {name: {} for name in ("units", "values", "own_rewards", "pay_units", "temperatures")}
    shape = NetWorldConfig(families=shapes, **unknown, **dict(config.network))
    samplers = sources(families, config, shape.history, shape.horizon)
    units, values, own, pay = {}, {}, {}, {}
    for name, sampler in samplers.items():
        batch = sampler.sample(20_000)
        own[name] = widened((float(batch.own_reward.min()), float(batch.own_reward.max())), 1.0)
        pay[name] = round(float(batch.own_reward.std()), 5)
        units[name] = unit = round(float(batch.reward[:, shape.history].std()), 4)
        values[name] = widened(sampler.value_range(shape.discount), unit)
    return replace(
        shape,
        units=units,
        values=values,
        own_rewards=own,
        pay_units=pay,
        temperatures={name: dict(config.temperatures).get(name, 1.0) for name in shapes},
        evaluation_temperatures={name: t for name, t in config.evaluation_temperatures if name in shapes},
        caution={name: extra for name, extra in config.caution if name in shapes},
        crowd={name: size for name, size in config.crowd if name in shapes},
        transitions=sum(sampler.transitions for sampler in samplers.values()),
    ), samplers


def widened(recorded: tuple[float, float], unit: float) -> tuple[float, float]:
    """A recorded range of values in a unit, with room on both sides for what a better policy may get."""
    low, high = recorded
    margin = MARGIN * (high - low)
    return round((low - margin) / unit, 3), round((high + margin) / unit, 3)

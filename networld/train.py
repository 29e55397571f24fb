"""Pretraining on the multi-task offline data: one loop over steps, of all families at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..benchmark.data.release import get_release
from ..benchmark.data.windows import Windows, WindowSampler, load_samplers
from ..benchmark.family import Family, FamilyShape
from ..errors import CheckpointError
from ..learning.central_critic import School, pupils
from ..learning.parallel import Processes
from ..learning.precision import mixed
from ..learning.training import REPORT, Part, Run, Trainer, follow, set_rate, warm_cosine
from .config import NetWorldConfig
from .losses import LossWeights, seen_by_actors, total
from .model import NetWorld

MARGIN = 0.1  # what a better policy may get beyond what was recorded, as a share of the recorded range of values


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        release: the data.
        pretraining: gradient steps of the world model, in all families at once.
        lessons: gradient steps after those, in which the team's critics teach the finished network.
        rows: agent windows a step and family, all processes together.
        rate: peak learning rate of either course; linear warm-up over `warmup` steps, cosine decay to a twentieth.
        warmup: steps of warm-up.
        decay: weight decay.
        ema: rate of the moving average that gives targets, and that is saved.
        plan_share: share of the rows that train the denoiser.
        temperatures: of the improved policy, by family, in units of the deviation of a slot's team reward; 1 for others.
        acting: the same of the policy that is played, where it is another; nothing in training depends on it.
        teaching: temperature at which a policy is taught.
        save_every: steps between resumable checkpoints.
        seed: of initialisation and sampling.
        network: fields of `NetWorldConfig` that differ from its defaults.
    """

    release: str = "standard"
    pretraining: int = 12000
    lessons: int = 2500
    rows: int = 1024
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 1e-2
    ema: float = 0.98
    plan_share: float = 0.25
    temperatures: tuple[tuple[str, float], ...] = (("access", 1.0), ("offload", 0.7), ("power", 1.4))
    acting: tuple[tuple[str, float], ...] = (("offload", 0.25), ("power", 0.12))
    teaching: float = 0.03
    save_every: int = 250
    seed: int = 0
    network: tuple[tuple[str, Any], ...] = ()

    @property
    def steps(self) -> int:
        """Gradient steps in all."""
        return self.pretraining + self.lessons


TAUGHT = ("taught", ("access",))  # elsewhere it did not pay, see docs/log
TINY = (("stem", 32), ("context", 32), ("width", 32), ("blocks", 1), ("head", 32), ("actor", 32))
PRESETS = {
    "debug": TrainConfig(
        release="mini", pretraining=20, lessons=10, rows=256, warmup=5, save_every=10, network=(*TINY, TAUGHT)
    ),
    "small": TrainConfig(network=(("adjusted", ("access", "offload", "power")), TAUGHT)),
}


def train(
    families: Sequence[Family],
    config: TrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> NetWorld:
    """Train one NetWorld on the train variants of several families: the world model in all at once, then who is taught on it.

    Every step takes as many rows from each family of its course.

    Args:
        families: the families.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told every tenth step.

    Returns:
        The moving average of the network, in evaluation mode; also saved in `folder`.
    """
    processes = Processes(device)
    run = Run(folder, config, resume, on_step, writes=processes.rank == 0)
    torch.manual_seed(config.seed)
    choice, noise = torch.Generator().manual_seed(config.seed), torch.Generator(processes.device)
    shape, samplers = _data(families, config, choice)
    model = NetWorld(shape).to(processes.device)
    model.observation.fit_sources(samplers)
    target = copy.deepcopy(model).requires_grad_(False)
    courses = [_pretraining(model, target, config), *([_lessons(model, target, config)] if shape.taught else [])]
    state = {name: part for course in courses for name, part in course.state.items()}
    for step in range(run.begin(state), courses[-1].end):
        choice.manual_seed(_step_seed(config.seed, step, processes.rank))
        noise.manual_seed(_step_seed(config.seed, step, processes.rank))
        course = next(course for course in courses if step < course.end)
        course.optimiser.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        for name in course.families:
            batch = samplers[name].sample(config.rows // processes.count).to(processes.device)
            with mixed(processes.device):
                loss, losses = course.loss(batch, name, noise)
            (loss / len(course.families)).backward()
            figures |= {f"{name}/{part}": value.detach() for part, value in losses.items()}
        processes.average_gradients(course.learned)
        figures["gradient_norm"] = course.descend(step, config)
        if run.due(step):
            run.note(step, figures)
        run.keep(step + 1)
    run.finish(target)
    processes.wait()
    return target.eval()


def train_missing(families: Sequence[Family], config: TrainConfig, folder: Path, on_step: Callable[[int], None]) -> None:
    """Train a network unless the folder holds it; an interrupted training goes on.

    Raises:
        CheckpointError: it holds one of other settings or of other families.
    """
    if not (folder / REPORT).exists():
        train(families, config, folder, resume=True, on_step=on_step)
        return
    settings = json.loads((folder / REPORT).read_text(encoding="utf-8"))["config"]
    known = NetWorld.from_pretrained(folder).config.families
    if settings != json.loads(json.dumps(asdict(config))) or {*known} != {family.name for family in families}:
        trained = f"{settings.get('pretraining')} steps of {', '.join(known)}"
        hint = "Give another --networks, or delete it."
        raise CheckpointError(f"{folder} holds a network of another training ({trained}). {hint}")


Loss = Callable[[Windows, str, torch.Generator], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Course:
    """A stretch of training.

    Attributes:
        begin: its first step.
        end: the step after its last.
        families: whose batches it takes.
        loss: of a batch of a family, and the parts of it.
        learned: the parameters that learn.
        optimiser: of these.
        follow: moves the moving averages by a share.
        state: all that changes, by name.
    """

    begin: int
    end: int
    families: tuple[str, ...]
    loss: Loss
    learned: list[nn.Parameter]
    optimiser: torch.optim.Optimizer
    follow: Callable[[float], None]
    state: dict[str, Part]

    def descend(self, step: int, config: TrainConfig) -> Tensor:
        """Take a gradient step of those in all; the norm of the gradient."""
        set_rate(self.optimiser, config.rate * warm_cosine(step - self.begin, self.end - self.begin, config.warmup))
        norm = nn.utils.clip_grad_norm_(self.learned, 1.0)
        self.optimiser.step()
        self.follow(1 - config.ema)
        return norm


def _pretraining(model: NetWorld, target: NetWorld, config: TrainConfig) -> Course:
    """The first course: the world model, in all families."""

    def loss(batch: Windows, family: str, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        whole, parts = total(model, target, batch, family, LossWeights(), noise, plan_share=config.plan_share)
        return whole, {"loss": whole, **parts}

    learned = [parameter for name, parameter in model.named_parameters() if not name.startswith("actors.")]
    optimiser = _optimiser(learned, config)
    state: dict[str, Part] = {"model": model, "target": target, "optimiser": optimiser}
    families = tuple(model.config.families)
    follows = partial(follow, [*target.parameters()], [*model.parameters()])
    return Course(0, config.pretraining, families, loss, learned, optimiser, follows, state)


def _lessons(model: NetWorld, target: NetWorld, config: TrainConfig) -> Course:
    """The second course: the actors of the taught families, on the moving average that the first one leaves."""
    c = model.config
    units = {name: c.units[name] for name in c.taught}
    taught = pupils(model, target, c.families, units, partial(seen_by_actors, target))
    school = School(taught, c.discount, config.teaching).to(next(model.parameters()).device)

    def loss(batch: Windows, family: str, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        losses = school.losses(batch, family, noise)
        return sum(losses.values(), torch.zeros((), device=batch.reward.device)), losses

    learned = school.learned()
    optimiser = _optimiser(learned, config)
    state: dict[str, Part] = {"school": school, "lessons": optimiser}
    return Course(config.pretraining, config.steps, c.taught, loss, learned, optimiser, school.follow, state)


def _optimiser(learned: list[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(learned, config.rate, weight_decay=config.decay, betas=(0.9, 0.98), fused=True)


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of one step's batches and noise in one process: a run that is resumed goes on with the same numbers."""
    return (seed * 1_000_003 + step) * 1009 + rank


def _data(
    families: Sequence[Family], config: TrainConfig, choice: torch.Generator
) -> tuple[NetWorldConfig, dict[str, WindowSampler]]:
    """The network's settings, with the range of values that was recorded, and a sampler for each family."""
    shapes = {family.name: FamilyShape.of(family) for family in families}
    network = dict(config.network)
    network["taught"] = tuple(name for name in network.get("taught", ()) if name in shapes)
    shape = NetWorldConfig(families=shapes, units={}, values={}, temperatures={}, **network)
    samplers = load_samplers(families, get_release(config.release), shape.history, shape.horizon, choice)
    units, values = {}, {}
    for name, sampler in samplers.items():
        units[name] = unit = round(float(sampler.sample(20_000).reward[:, shape.history].std()), 4)
        values[name] = widened(sampler.value_range(shape.discount), unit)
    transitions = sum(sampler.transitions for sampler in samplers.values())
    learned = {name: dict(config.temperatures).get(name, 1.0) for name in shapes}
    acting = {name: temperature for name, temperature in config.acting if name in shapes}
    return replace(shape, units=units, values=values, temperatures=learned, acting=acting, transitions=transitions), samplers


def widened(recorded: tuple[float, float], unit: float) -> tuple[float, float]:
    """A recorded range of values in a unit, with room on both sides for what a better policy may get."""
    low, high = recorded
    margin = MARGIN * (high - low)
    return round((low - margin) / unit, 3), round((high + margin) / unit, 3)


TRAINER = Trainer("networld", PRESETS, train)

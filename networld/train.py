"""Pretraining on the multi-task offline data: one loop, checkpoints that resume to the same numbers, a report."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..benchmark.data.store import get_release, write_atomically
from ..benchmark.data.windows import WindowSampler, load_episodes
from ..benchmark.family import Family, FamilyShape
from ..errors import CheckpointError, UnknownNameError
from .config import NetWorldConfig
from .losses import LossWeights, follow, total
from .model import NetWorld
from .parallel import Processes

MARGIN = 0.1  # what a better policy may get beyond what was recorded, as a share of the recorded range of values
STATE, REPORT = "training_state.pt", "training_report.json"


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        release: the data.
        steps: gradient steps.
        rows: agent windows a step and family, all processes together.
        rate: peak learning rate; linear warm-up over `warmup` steps, cosine decay to a twentieth.
        warmup: steps of warm-up.
        decay: weight decay.
        ema: rate of the moving average that gives targets, and that is saved.
        plan_share: share of the rows that train the denoiser.
        temperatures: of the improved policy, by family, in units of the deviation of a slot's team reward; 1 for others.
        save_every: steps between resumable checkpoints.
        seed: of initialisation and sampling.
        network: fields of `NetWorldConfig` that differ from its defaults.
    """

    release: str = "standard"
    steps: int = 8000
    rows: int = 1024
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 1e-2
    ema: float = 0.98
    plan_share: float = 0.25
    temperatures: tuple[tuple[str, float], ...] = (("access", 1.0), ("offload", 0.7), ("power", 3.0))
    save_every: int = 250
    seed: int = 0
    network: tuple[tuple[str, float], ...] = ()


PRESETS = {
    "debug": TrainConfig(
        release="mini",
        steps=20,
        rows=256,
        warmup=5,
        save_every=10,
        network=(("stem", 32), ("context", 32), ("width", 32), ("blocks", 1), ("head", 32)),
    ),
    "small": TrainConfig(),
}


def preset(name: str) -> TrainConfig:
    """The preset of this name; raises `UnknownNameError`."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS, "wbench train networld --preset small")
    return PRESETS[name]


def train(
    families: Sequence[Family],
    config: TrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> NetWorld:
    """Pretrain one NetWorld on the train variants of several families; every step takes an equal share of rows from each.

    Args:
        families: the families.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: called with the step and the losses of every tenth step.

    Returns:
        The moving average of the network, in evaluation mode; also saved in `folder`.
    """
    processes = Processes(device)
    torch.manual_seed(config.seed)
    choice, noise = torch.Generator().manual_seed(config.seed), torch.Generator(processes.device)
    shape, samplers = _data(families, config, choice)
    model = NetWorld(shape).to(processes.device)
    for name, sampler in samplers.items():
        model.observation.fit(sampler.sample(20_000).obs[:, -1].to(processes.device), name)
    target = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), config.rate, weight_decay=config.decay, betas=(0.9, 0.98), fused=True)
    run = _Run(config, folder, model, target, optimiser)
    start = run.load() if resume else run.fresh()
    begun = time.monotonic()
    for step in range(start, config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.rate * _schedule(step, config)
        optimiser.zero_grad(set_to_none=True)
        choice.manual_seed(_step_seed(config.seed, step, processes.rank))
        noise.manual_seed(_step_seed(config.seed, step, processes.rank))
        figures: dict[str, float] = {}
        for name, sampler in samplers.items():
            batch = sampler.sample(config.rows // processes.count).to(processes.device)
            with torch.autocast(processes.device.type, torch.bfloat16):
                loss, parts = total(model, target, batch, name, LossWeights(), noise, plan_share=config.plan_share)
            (loss / len(samplers)).backward()
            if step % 10 == 0 or step + 1 == config.steps:
                figures |= {
                    f"{name}/{part}": round(float(value), 5) for part, value in {"loss": loss.detach(), **parts}.items()
                }
        processes.average_gradients(model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        follow(target, model, 1 - config.ema)
        if figures:
            figures["gradient_norm"] = round(float(norm), 4)
            if not all(map(math.isfinite, figures.values())):
                raise CheckpointError(f"training diverged at step {step}: {figures}. Lower the rate.")
            run.log.append({"step": step, "seconds": round(time.monotonic() - begun, 1), **figures})
            if on_step and processes.rank == 0:
                on_step(step, figures)
        if (step + 1) % config.save_every == 0 and processes.rank == 0:
            run.save(step + 1)
    if processes.rank == 0:
        run.finish()
    processes.wait()
    return target.eval()


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of one step's batches and noise in one process: a run that is resumed goes on with the same numbers."""
    return (seed * 1_000_003 + step) * 1009 + rank


def _data(
    families: Sequence[Family], config: TrainConfig, choice: torch.Generator
) -> tuple[NetWorldConfig, dict[str, WindowSampler]]:
    """The network's settings, with the range of values that was recorded, and a sampler for each family."""
    shapes = {family.name: FamilyShape.of(family) for family in families}
    shape = NetWorldConfig(families=shapes, units={}, values={}, temperatures={}, **dict(config.network))  # type: ignore[arg-type]
    samplers, units, values, transitions = {}, {}, {}, 0
    for family in families:
        sources = load_episodes(family, get_release(config.release), shape.history, shape.horizon)
        samplers[family.name] = WindowSampler(family, sources, choice)
        transitions += sum(source.transitions for source in sources)
        low, high = zip(*(source.value_range(shape.discount) for source in sources), strict=True)
        margin = MARGIN * (max(high) - min(low))
        unit = round(float(samplers[family.name].sample(20_000).reward[:, shape.history].std()), 4)
        units[family.name] = unit
        values[family.name] = (round((min(low) - margin) / unit, 3), round((max(high) + margin) / unit, 3))
    temperatures = {name: dict(config.temperatures).get(name, 1.0) for name in shapes}
    shape = replace(shape, units=units, values=values, temperatures=temperatures, transitions=transitions)
    return shape, samplers


def train_preset(
    families: Sequence[Family],
    name: str,
    folder: Path,
    *,
    resume: bool,
    seed: int,
    device: str,
    on_step: Callable[[int, int], None],
) -> None:
    """Entry point of `wbench train networld`."""
    config = replace(preset(name), seed=seed)
    train(families, config, folder, resume=resume, device=device, on_step=lambda step, _: on_step(step, config.steps))


def _schedule(step: int, config: TrainConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class _Run:
    """All that must come back for a resumed run to give the same numbers as an uninterrupted one."""

    config: TrainConfig
    folder: Path
    model: NetWorld
    target: NetWorld
    optimiser: torch.optim.Optimizer

    def __post_init__(self) -> None:
        self.log: list[dict[str, Any]] = []

    def fresh(self) -> int:
        """Start at step 0; refuses to write over another run."""
        if (self.folder / STATE).exists():
            raise CheckpointError(f"{self.folder} holds an unfinished run. Add --resume to go on, or give another --out.")
        self.folder.mkdir(parents=True, exist_ok=True)
        return 0

    def load(self) -> int:
        """The step to go on from; 0 where there is nothing yet."""
        path = self.folder / STATE
        if not path.exists():
            return self.fresh()
        try:
            state = torch.load(path, weights_only=True, map_location=next(self.model.parameters()).device)
        except Exception as error:  # a damaged zip, a foreign file: torch raises many kinds
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}). Delete it to start again.") from error
        if state["config"] != json.dumps(asdict(self.config)):
            raise CheckpointError(f"{path} belongs to other settings: {state['config']}. Give another --out.")
        self.model.load_state_dict(state["model"])
        self.target.load_state_dict(state["target"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.log = json.loads(state["log"])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Write the resumable state and the checkpoint so far."""
        state = {
            "config": json.dumps(asdict(self.config)),
            "step": step,
            "model": self.model.state_dict(),
            "target": self.target.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "log": json.dumps(self.log),
        }
        write_atomically(self.folder / STATE, lambda path: torch.save(state, path))

    def finish(self) -> None:
        """Save the moving average as the checkpoint, with the report; drop the resumable state."""
        self.target.save_pretrained(self.folder)
        report = json.dumps({"config": asdict(self.config), "log": self.log}, indent=1)
        write_atomically(self.folder / REPORT, lambda path: path.write_text(report, encoding="utf-8"))
        (self.folder / STATE).unlink(missing_ok=True)

"""NetWorld that goes on learning from its own play in the train variants: `wbench train networld-online`.

Of what nobody did in the recordings, values are guesses. So a finished NetWorld plays, learns from what it played, and plays
again: growing-batch reinforcement learning (Lange, Gabel and Riedmiller, 'Batch reinforcement learning', 2012). The policy that
it improves is then its own of the last rounds, in the place of the recorded expert, so that round by round it moves as far as
its values reach (Abdolmaleki et al., MPO, ICLR 2018). What one of many agents is to blame for it learns in forks of the
episodes, see `explore`.

A family that it plays gets a network of its own, a copy that goes on and learns the same whatever else is played; in the
others nothing changes at all.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from ...benchmark.family import Family, require
from ...errors import InvalidValueError
from ...learning.parallel import Processes
from ...learning.precision import mixed
from ...learning.training import Run, Trainer, follow, set_rate, warm_cosine
from ..losses import LossWeights, deviation_error, total
from ..model import NetWorld
from .config import Forks, OnlineConfig
from .replay import PLAYED, OwnPlay

PRESETS = {
    "debug": OnlineConfig(
        rounds=2, updates=10, variants=1, episodes=1, rows=128, forks=Forks(32, 2, 2), deviating=64, warmup=5, save_every=5
    ),
    "small": OnlineConfig(),
}


def train(
    families: Sequence[Family],
    config: OnlineConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> NetWorld:
    """Go on from a finished NetWorld by its own play in train variants.

    Args:
        families: of these, it goes on in those that are played.
        config: how.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told every tenth step.

    Returns:
        The moving average of the network, in evaluation mode; also saved in `folder`.

    Raises:
        InvalidValueError: it plays in none of the families or in one that is taught, or several processes train.
        CheckpointError: the base does not know one of them.
    """
    played = [family for family in families if family.name in config.played]
    if not played:
        raise InvalidValueError("--family", " ".join(family.name for family in families), " or ".join(config.played))
    require(Processes(device).count == 1, "processes", Processes(device).count, "1, without accelerate launch")
    run = Run(folder, config, resume, on_step)
    choice, noise = torch.Generator(), torch.Generator(device)
    model = _start(config, played).to(device)
    target = copy.deepcopy(model).requires_grad_(False).eval()
    c = model.config
    own = {family.name: OwnPlay(family, config, c, folder, choice) for family in played}
    learned = {name: [*model.network_for(name).parameters()] for name in own}
    optimiser = torch.optim.AdamW(
        chain(*learned.values()), config.rate, weight_decay=config.decay, betas=(0.9, 0.98), fused=True
    )
    first = run.begin({"model": model, "target": target, "optimiser": optimiser})
    if first == 0:
        shutil.rmtree(folder / PLAYED, ignore_errors=True)  # perhaps of other settings
    for step in range(first, config.steps):
        set_rate(optimiser, config.rate * warm_cosine(step, config.steps, config.warmup))
        optimiser.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        for name, book in own.items():
            networks = model.network_for(name), target.network_for(name)
            book.reach(step // config.updates, networks[1])
            for generator in (choice, noise):
                generator.manual_seed(config.seed * 1_000_003 + step)
            figures |= _descend(*networks, name, book, config, noise)
            figures[f"{name}/gradient_norm"] = nn.utils.clip_grad_norm_(learned[name], 1.0)
        optimiser.step()
        follow(target.parameters(), model.parameters(), 1 - config.ema)
        if run.due(step):
            run.note(step, figures, slots=sum(book.slots for book in own.values()))
        run.keep(step + 1)
    steps = c.source_steps + sum(book.slots for book in own.values())
    trained = NetWorld(replace(c, source_steps=steps))
    trained.load_state_dict(target.state_dict())
    run.finish(trained)
    shutil.rmtree(folder / PLAYED, ignore_errors=True)
    return trained.eval()


def _descend(
    model: NetWorld, target: NetWorld, family: str, book: OwnPlay, config: OnlineConfig, noise: torch.Generator
) -> dict[str, Tensor]:
    """Add the gradient of a family's batches; the loss and its parts."""
    device, weights = noise.device, LossWeights()
    batch, (seen, *deviations) = book.sample(config.rows).to(device), book.sample_deviations(config.deviating)
    with mixed(device):
        loss, parts = total(model, target, batch, family, weights, noise, plan_share=config.plan_share, reach=config.reach)
        error = deviation_error(model, seen.to(device), family, *(x.to(device) for x in deviations))
    loss = loss + weights.deviation * error
    loss.backward()
    parts = {"loss": loss.detach(), **parts, "deviation": error.detach()}
    return {f"{family}/{part}": value for part, value in parts.items()}


def _start(config: OnlineConfig, families: Sequence[Family]) -> NetWorld:
    """The base, with the temperatures of what comes now, and for each of the families a copy to go on with."""
    base = NetWorld.from_pretrained(config.base)
    c = base.config
    names = [family.name for family in families]
    for name in names:
        c.require(name)
    require(not {*c.taught} & {*names}, "base", config.base, f"nobody taught in {' and '.join(names)}")
    learned = c.temperatures | {name: t for name, t in config.temperatures if name in names}
    acting = c.acting | {name: t for name, t in config.acting if name in names}
    played = tuple(sorted({*c.played, *names}))
    model = NetWorld(replace(c, temperatures=learned, acting=acting, played=played))
    model.load_state_dict(base.state_dict(), strict=False)  # what is not there are copies
    for name in names:
        copied, whole = model.network_for(name), base.network_for(name).state_dict()
        copied.load_state_dict({key: whole[key] for key in copied.state_dict()})
    return model.train()


TRAINER = Trainer("networld-online", PRESETS, train)

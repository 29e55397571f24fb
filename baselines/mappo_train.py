"""Trains MAPPO online in the train variants of several families: `wbench train mappo`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..benchmark.data.paths import write_atomically, write_text
from ..benchmark.family import Family, FamilyShape
from ..errors import CheckpointError, UnknownNameError
from .mappo import Learner, Mappo, MappoConfig, fresh
from .ppo import PpoConfig, Updates
from .ppo_play import OpenEnvironment, Playground, Round

FIRST_SEED = 40_000_000  # scenarios that no dataset, support draw, query episode or reference uses
STATE, REPORT = "training_state.pt", "training_report.json"


@dataclass(frozen=True)
class MappoTrainConfig:
    """How to train.

    Attributes:
        rounds: rounds of play and updates.
        variants: train variants of each family in a round, drawn at random.
        episodes: whole episodes of each of them.
        hidden: width of the networks.
        save_every: rounds between resumable checkpoints.
        seed: of first weights, variants, play and minibatches.
        ppo: how to learn.
    """

    rounds: int = 200
    variants: int = 2
    episodes: int = 4
    hidden: int = 128
    save_every: int = 10
    seed: int = 0
    ppo: PpoConfig = field(default_factory=PpoConfig)


PRESETS = {
    "debug": MappoTrainConfig(rounds=2, variants=1, episodes=2, hidden=16, save_every=1, ppo=PpoConfig(epochs=1)),
    "small": MappoTrainConfig(),
}


def train(
    families: Sequence[Family],
    config: MappoTrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_round: Callable[[int], None] | None = None,
) -> Mappo:
    """Train one MAPPO in the train variants of several families.

    Args:
        families: the families.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_round: told the number of each finished round.

    Returns:
        The network, in evaluation mode; also saved in `folder`.
    """
    shapes = {family.name: FamilyShape.of(family) for family in families}
    model = fresh(MappoConfig(shapes, config.hidden), config.seed).to(device)
    learner = Learner(model, config.ppo, config.seed)
    run = _Run(config, folder, learner)
    for number in range(run.load() if resume else run.fresh(), config.rounds):
        playgrounds = _playgrounds(families, config, number, learner.generator, device)
        played, updates = learner.round(playgrounds, config.episodes, number / config.rounds)
        run.add(number, playgrounds, played, updates)
        if on_round:
            on_round(number)
        if (number + 1) % config.save_every == 0:
            run.save(number + 1)
    return run.finish()


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
    """Entry point of `wbench train mappo`."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS, "wbench train mappo --preset small")
    config = replace(PRESETS[name], seed=seed)
    train(families, config, folder, resume=resume, device=device, on_round=lambda number: on_step(number, config.rounds))


def _playgrounds(
    families: Sequence[Family], config: MappoTrainConfig, number: int, generator: torch.Generator, device: str
) -> list[OpenEnvironment]:
    """Train variants drawn for a round, each with scenarios that no other round plays."""
    first = FIRST_SEED + number * config.episodes
    drawn = []
    for family in families:
        variants = family.select("train")
        order = torch.randperm(len(variants), generator=generator)[: config.variants]
        drawn += [OpenEnvironment(family, variants[i], first, device) for i in order.tolist()]
    return drawn


class _Run:
    """A training in its folder: log, resumable state, checkpoint."""

    def __init__(self, config: MappoTrainConfig, folder: Path, learner: Learner) -> None:
        self._config, self._folder, self._learner = config, folder, learner
        self._slots, self._log = 0, list[dict[str, Any]]()

    def add(self, number: int, playgrounds: Sequence[Playground], played: Round, updates: Updates) -> None:
        """Note a round; raises `CheckpointError` if it diverged."""
        if not all(map(math.isfinite, updates.figures.values())):
            raise CheckpointError(f"training diverged in round {number}: {updates.figures}. Lower the rate.")
        self._slots += played.slots
        figures = {name: round(value, 5) for name, value in updates.figures.items()}
        returns = {p.variant.name: round(r, 3) for p, r in zip(playgrounds, played.returns, strict=True)}
        self._log.append({"round": number, "slots": self._slots, "steps": updates.steps, "returns": returns, **figures})

    def fresh(self) -> int:
        """Start at round 0; refuses to write over another run."""
        if (self._folder / STATE).exists():
            raise CheckpointError(f"{self._folder} holds an unfinished run. Add --resume to go on, or give another --out.")
        self._folder.mkdir(parents=True, exist_ok=True)
        return 0

    def load(self) -> int:
        """The round to go on from; 0 where there is nothing yet."""
        path = self._folder / STATE
        if not path.exists():
            return self.fresh()
        try:
            state = torch.load(path, weights_only=True)
        except Exception as error:  # a damaged zip, a foreign file: torch raises many kinds
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}). Delete it to start again.") from error
        if state["config"] != json.dumps(asdict(self._config)):
            raise CheckpointError(f"{path} belongs to other settings: {state['config']}. Give another --out.")
        self._learner.restore(state["learner"])
        self._log, self._slots = json.loads(state["log"]), state["slots"]
        return int(state["round"])

    def save(self, number: int) -> None:
        """Write the resumable state."""
        own = {"config": json.dumps(asdict(self._config)), "log": json.dumps(self._log), "slots": self._slots, "round": number}
        state = {**own, "learner": self._learner.state()}
        write_atomically(self._folder / STATE, lambda path: torch.save(state, path))

    def finish(self) -> Mappo:
        """Write checkpoint and report; drop the resumable state."""
        trained = self._learner.model
        model = Mappo(replace(trained.config, source_steps=self._slots))
        model.load_state_dict(trained.state_dict())
        model.eval().save_pretrained(self._folder)
        write_text(self._folder / REPORT, json.dumps({"config": asdict(self._config), "log": self._log}))
        (self._folder / STATE).unlink(missing_ok=True)
        return model

"""Trains MAPPO online in the train variants of several families: `wbench train mappo`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..benchmark.family import Family, FamilyShape
from ..learning.training import Run, Trainer
from .common.ppo import PpoConfig
from .common.rollout import Learner, OpenEnvironment
from .mappo import Mappo, MappoConfig, fresh

FIRST_SEED = 40_000_000  # scenarios that no dataset, support draw, query episode or reference uses


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

    rounds: int = 1200
    variants: int = 2
    episodes: int = 4
    hidden: int = 128
    save_every: int = 10
    seed: int = 0
    ppo: PpoConfig = field(default_factory=PpoConfig)

    @property
    def steps(self) -> int:
        """The rounds: a step of this training is a round."""
        return self.rounds


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
    on_step: Callable[[int], None] | None = None,
) -> Mappo:
    """Train one MAPPO in the train variants of several families.

    Args:
        families: the families.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told the number of each finished round.

    Returns:
        The network, in evaluation mode; also saved in `folder`.
    """
    run = Run(folder, config, resume, on_step)
    shapes = {family.name: FamilyShape.of(family) for family in families}
    model = fresh(MappoConfig(shapes, config.hidden), config.seed).to(device)
    learner = Learner(model, config.ppo, config.seed)
    first = run.begin({"model": model, "optimiser": learner.optimiser}, learner.generator)
    slots = run.log[-1]["slots"] if run.log else 0
    for number in range(first, config.rounds):
        playgrounds = _playgrounds(families, config, number, learner.generator, device)
        played, updates = learner.round(playgrounds, config.episodes, number / config.rounds)
        slots += played.slots
        returns = {p.variant.name: round(r, 3) for p, r in zip(playgrounds, played.returns, strict=True)}
        run.note(number, updates.figures, slots=slots, updates=updates.steps, returns=returns)
        run.keep(number + 1)
    trained = Mappo(replace(model.config, source_steps=slots))
    trained.load_state_dict(model.state_dict())
    run.finish(trained)
    return trained.eval()


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


TRAINER = Trainer("mappo", PRESETS, train)

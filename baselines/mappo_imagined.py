"""MAPPO that never meets the environment: it clones the recorded experts, then learns by PPO in what a world model imagines.

NetWorld's planner uses the same world model while it plays; side by side, the two tell model from planner. Imagined episodes
are short, for a model's errors add up (Janner et al., 'When to trust your model', NeurIPS 2019), and start from recorded
slots: of train variants in training, of the support at K shots.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..benchmark.agent import Adaptation, Agent, Support
from ..benchmark.data.release import get_release
from ..benchmark.data.windows import Episodes, Windows, load_samplers
from ..benchmark.family import QUALITIES, Family, FamilyShape, Variant
from ..errors import CheckpointError
from ..learning.checkpoint import digest, settings_digest
from ..learning.training import Part, Run, Trainer, set_rate
from ..learning.world import World, make_world
from .common.networks import agent_views
from .common.ppo import PpoConfig
from .common.rollout import Learner, learn
from .mappo import Mappo, MappoAgent, MappoConfig, fresh

DEFAULT_CHECKPOINT, DEFAULT_WORLD = "mappo-imagined-small", "networld"
CAREFUL = PpoConfig(epochs=3, minibatch=1024, rate=1e-4, entropy=0.0, divergence=0.01, bfloat16=False)


@dataclass(frozen=True)
class AdaptConfig:
    """How it learns the target variant at K shots, all in imagination.

    Attributes:
        rounds: rounds of play and updates.
        episodes: imagined episodes a round.
        ppo: how to learn from a round.
    """

    rounds: int = 8
    episodes: int = 32
    ppo: PpoConfig = CAREFUL


@dataclass(frozen=True)
class ImaginedTrainConfig:
    """How to train.

    Attributes:
        steps: of both parts together: first of cloning, then rounds of imagined play.
        clone: steps of cloning.
        release: the data.
        rows: agent rows a step of cloning and family, about; those that no expert recorded are left out.
        rate: of cloning; falls linearly to 0.
        variants: train variants of each family in a round, drawn at random.
        episodes: imagined episodes of each of them.
        hidden: width of the networks.
        save_every: steps between resumable states.
        seed: of first weights, sampling and play.
        ppo: how to learn in imagination.
    """

    steps: int = 1512
    clone: int = 1500
    release: str = "standard"
    rows: int = 3072
    rate: float = 1e-3
    variants: int = 2
    episodes: int = 16
    hidden: int = 128
    save_every: int = 250
    seed: int = 0
    ppo: PpoConfig = field(default_factory=lambda: replace(CAREFUL, bfloat16=True))


def train(
    families: Sequence[Family],
    config: ImaginedTrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> Mappo:
    """Clone the recorded experts of the train variants, then learn in the packaged world model.

    Args:
        families: the families.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told each step that goes into the log.

    Returns:
        The network, in evaluation mode; also saved in `folder`.
    """
    run = Run(folder, config, resume, on_step)
    world = make_world(DEFAULT_WORLD, device=device)
    shapes = {family.name: FamilyShape.of(family) for family in families}
    learner = Learner(fresh(MappoConfig(shapes, config.hidden), config.seed).to(device), config.ppo, config.seed)
    cloner = torch.optim.Adam(learner.model.policy_parameters(), config.rate)
    samplers = load_samplers(families, get_release(config.release), world.history, 0, learner.generator)
    parts: dict[str, Part] = {"model": learner.model, "optimiser": learner.optimiser, "cloner": cloner}
    for step in range(run.begin(parts, learner.generator), config.steps):
        if step < config.clone:
            set_rate(cloner, config.rate * (1.0 - step / config.clone))
            batches = {name: sampler.sample(config.rows).to(device) for name, sampler in samplers.items()}
            figures, returns = clone(learner.model, cloner, batches), {}
        else:
            playgrounds = []
            for number, family in enumerate(families):
                sources = samplers[family.name].sources
                order = torch.randperm(len(sources), generator=learner.generator)[: config.variants]
                first = config.episodes * (step * len(families) + number)
                playgrounds += [world.imagine(family, sources[i], first) for i in order.tolist()]
            progress = (step - config.clone) / (config.steps - config.clone)
            played, updates = learner.round(playgrounds, config.episodes, progress)
            figures, returns = updates.figures, {p.variant.name: r for p, r in zip(playgrounds, played.returns, strict=True)}
        if run.due(step):
            run.note(step, figures, returns=returns)
        run.keep(step + 1)
    run.finish(learner.model.eval())
    return learner.model


def clone(model: Mappo, optimiser: torch.optim.Optimizer, batches: dict[str, Windows]) -> dict[str, float]:
    """One step towards what the experts did in the last slot of these windows; returns their negative log-likelihood."""
    optimiser.zero_grad(set_to_none=True)
    figures = {}
    for name, batch in batches.items():
        expert = batch.quality == QUALITIES.index("expert")
        features = agent_views(batch, model.history).features()[expert, -1]
        codec = model.codecs[name]
        logits = model.logits(features, batch.action_mask[expert, -1], name)
        loss = -codec.log_prob(logits, codec.encode(batch.action[expert, -1])).mean()
        (loss / len(batches)).backward()
        figures[f"{name}/clone"] = float(loss.detach())
    optimiser.step()
    return figures


PRESETS = {
    "debug": ImaginedTrainConfig(
        steps=4, clone=2, release="mini", rows=512, variants=1, episodes=2, hidden=16, save_every=1, ppo=PpoConfig(epochs=1)
    ),
    "small": ImaginedTrainConfig(),
}
TRAINER = Trainer("mappo-imagined", PRESETS, train)


class ImaginedMappoAgent(MappoAgent):
    """Plays what it learned in a world model: in training, and at K shots on from the support, without one slot of play.

    Its parameters are its own and the world's, without which it cannot adapt.

    Args:
        model: the trained network; never changed, learning works on a copy.
        world: where it learns.
        config: how it learns the target variant.
        device: where it computes.
    """

    name = "mappo-imagined"
    tracks = ("offline",)

    def __init__(self, model: Mappo, world: World, config: AdaptConfig | None = None, device: str = "cpu") -> None:
        self._world, self._config = world, config or AdaptConfig()
        super().__init__(model, device=device)
        self.parameters += world.parameters

    def enter(self, track: str) -> None:
        """Take part in its one track."""
        Agent.enter(self, track)
        self.checkpoint_digest = digest(self._pretrained)
        self.settings_digest = settings_digest(self._pretrained.config)
        self.source_transitions = self._world.source_transitions

    def knows(self, family: Family) -> bool:
        """Whether both it and its world were trained on this family."""
        return family.name in self._pretrained.config.families and self._world.knows(family)

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Learn in imagined episodes that go on from the support; at zero shots, the checkpoint as it is."""
        if not self.knows(family):
            known = ", ".join(self._pretrained.config.families)
            raise CheckpointError(f"this MAPPO was not trained on family {family.name!r}, only on {known}.")
        model, adaptation = copy.deepcopy(self._pretrained), Adaptation()
        if support is not None:
            adaptation = self._learn(model, family, Episodes.from_support(variant, support, self._world.history, 0))
        self._play_with(model)
        self.parameters += self._world.parameters
        return adaptation

    def _learn(self, model: Mappo, family: Family, recorded: Episodes) -> Adaptation:
        config, returns = self._config, list[float]()
        playground = self._world.imagine(family, recorded)
        steps = learn(
            model,
            [playground],
            config.rounds,
            config.episodes,
            config.ppo,
            on_round=lambda played, _: returns.extend(played.returns),
        )
        return Adaptation(steps, {"first_imagined": returns[0], "last_imagined": returns[-1], "world": self._world.digest[:12]})


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    model = Mappo.from_pretrained(checkpoint or DEFAULT_CHECKPOINT)
    return ImaginedMappoAgent(model, make_world(DEFAULT_WORLD, device=device), device=device)

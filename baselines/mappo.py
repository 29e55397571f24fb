"""MAPPO: multi-agent proximal policy optimisation (Yu et al. 2022), one network for all agents, variants and families."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.family import Family, FamilyShape, Variant
from ..benchmark.meter import MeteredEnvironment
from ..benchmark.seeds import PRACTICE_SEEDS
from ..learning.checkpoint import CheckpointConfig, Pretrained, count_parameters, digest, settings_digest
from ..learning.codec import ActionCodec
from ..learning.descent import OptimiserState, step_seed
from ..learning.parallel import Processes
from ..learning.training import Part, Trainer
from .common.networks import Critic, Trunk, first_view, input_size, next_view, orthogonal
from .common.ppo import ActorCritic, PpoConfig, ValueNormaliser
from .common.rollout import OpenEnvironment, PpoLearner, learn, sample

DEFAULT_CHECKPOINT = "mappo-small"


@dataclass(frozen=True)
class MappoConfig(CheckpointConfig):
    """What the network is.

    Attributes:
        families: shapes of the families that it plays.
        hidden: width of policy and critic.
        layers: shared layers after the stem; the critic's first of them joins agents and state.
        history: own observations that an agent sees.
        source_steps: slots of train variants that it was trained in.
    """

    OWNER: ClassVar[str] = "MAPPO"

    hidden: int = 128
    layers: int = 2
    history: int = 4
    source_steps: int = 0

    def inputs(self) -> dict[str, int]:
        """Length of the features of each family: history, descriptor, identity."""
        return {name: input_size(shape, self.history) for name, shape in self.families.items()}


class Mappo(ActorCritic, Pretrained, library_name="wbench", license="apache-2.0", tags=["multi-agent-reinforcement-learning"]):
    """A policy of each agent's own features, and apart from it (Andrychowicz, section 3.2) a critic that sees everybody's."""

    PACKAGED = Path(__file__).parent / "checkpoints"
    SUMMARY = "MAPPO: an agent decides on its own observations; in training, its critic saw all."
    LEARNED = "by playing in"
    FIELD = "online-reinforcement-learning"

    def __init__(self, config: MappoConfig | dict[str, Any]) -> None:
        super().__init__()
        c = MappoConfig.from_dict(config) if isinstance(config, dict) else config
        self.config, self.history = c, c.history
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.policy, self.critic = Trunk(c.inputs(), c.hidden, c.layers), Critic(c.inputs(), c.hidden, c.layers)
        self.heads = nn.ModuleDict({name: nn.Linear(c.hidden, codec.size) for name, codec in self.codecs.items()})
        self.normalisers = nn.ModuleDict({name: ValueNormaliser() for name in c.families})
        orthogonal(self.policy, math.sqrt(2.0))  # Huang, detail 2; a small last layer makes the first policy uniform, which
        orthogonal(self.heads, 0.01)  # Andrychowicz (section 3.2) found to matter most of all

    def logits(self, features: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [R, size] of action codes, from features [R, I] and masks [R, A]."""
        hidden, head = self.policy(features, family), self.heads[family]
        with torch.autocast(hidden.device.type, enabled=False):  # bfloat16 would round away what a small step changes
            return self.codecs[family].mask(head(hidden.to(head.weight.dtype)), mask)

    def policy_parameters(self) -> list[nn.Parameter]:
        """Those that decide, without the critic's."""
        return [*self.policy.parameters(), *self.heads.parameters()]

    def critic_parameters(self) -> list[nn.Parameter]:
        """Those of the critic alone."""
        return [*self.critic.parameters()]

    def values(self, features: Tensor, agents: Tensor, family: str) -> Tensor:
        """Normalised values [R]; see `Critic`."""
        return self.critic(features, agents, family)


FROM_SCRATCH = PpoConfig(epochs=10, batch_size=512, learning_rate=2e-3, bfloat16=False)
PRETRAINED = PpoConfig(epochs=5, batch_size=1024, learning_rate=1e-4, entropy_coef=0.0, target_kl=0.01, bfloat16=False)


class MappoAgent(Agent):
    """Plays what it learned online: from scratch, or on from a checkpoint; see `practise`.

    Args:
        model: the pretrained network; never changed, learning works on a copy.
        scratch: how it learns in track `scratch`.
        careful: how it learns on in track `online`.
        device: where it computes.
    """

    name = "mappo"
    tracks: tuple[str, ...] = ("scratch", "online")
    privileged_training = True  # the critic sees all agents' observations

    def __init__(
        self, model: Mappo, scratch: PpoConfig = FROM_SCRATCH, careful: PpoConfig = PRETRAINED, device: str = "cpu"
    ) -> None:
        self._pretrained, self._device = model.to(device).eval(), device
        self._scratch, self._careful = scratch, careful
        self.parameters = count_parameters(model)
        self.enter(self.tracks[0])

    def enter(self, track: str) -> None:
        """Take part in a track; from scratch, the checkpoint lends nothing but its width and history."""
        super().enter(track)
        pretrained = track == "online"
        self.source_steps = self._pretrained.config.source_steps if pretrained else 0
        self.checkpoint_digest = digest(self._pretrained) if pretrained else ""
        self.settings_digest = settings_digest(self._pretrained.config) if pretrained else ""
        self.recipe = self._pretrained.config.recipe if pretrained else ""

    def knows(self, family: Family) -> bool:
        """Any family from scratch; with a checkpoint, those that it was trained on."""
        return self.track == "scratch" or family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Zero shots: the checkpoint as it is, or a network that has learned nothing."""
        self._play_with(self._start(family, seed=0))
        return Adaptation()

    def practise(self, environment: MeteredEnvironment) -> Adaptation:
        """Spend exactly the budget, a round of updates after every episode."""
        model = self._start(environment.family, environment.seed)
        config = self._scratch if self.track == "scratch" else self._careful
        rounds = environment.left // environment.variant.horizon
        returns: list[float] = []
        steps = learn(
            model, [environment], rounds, 1, config, environment.seed, lambda played, _: returns.extend(played.returns)
        )
        self._play_with(model)
        return Adaptation(steps, {"first_return": returns[0], "last_return": returns[-1]})

    def _start(self, family: Family, seed: int) -> Mappo:
        """A copy of the checkpoint, or a fresh network for this family alone."""
        if self.track == "scratch":
            config = replace(self._pretrained.config, families={family.name: FamilyShape.of(family)}, source_steps=0)
            return fresh(config, seed).to(self._device)
        self._pretrained.config.require_shape(family, hint=" Try --track scratch.")
        return copy.deepcopy(self._pretrained)

    def _play_with(self, model: Mappo) -> None:
        self.parameters = count_parameters(model)
        self._model = model.double()  # so that no rounding that depends on the batch can tip a choice

    def begin(self, state: State) -> None:
        """Empty histories."""
        c, device = self._model.config, state.action_mask.device
        state.memory["view"] = first_view(state.family, state.variant, c.history, state.batch, device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D], drawn from the policy."""
        codec = self._model.codecs[state.family.name]
        view = state.memory["view"] = next_view(state.memory["view"], obs)
        with torch.no_grad():
            logits = self._model.logits(view.features().double(), state.action_mask, state.family.name)
        return codec.decode(sample(codec, logits, state.random.uniform(*logits.shape[1:])))


def fresh(config: MappoConfig, seed: int) -> Mappo:
    """A network with first weights drawn from this seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mappo(config)


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
    "small": MappoTrainConfig(rounds=20, variants=1),
}


class MappoLearner:
    """Trains one MAPPO online in the train variants of several families: a `training.Learner`, a step a round.

    Args:
        families: the families.
        config: how to train.
        processes: of which each does the same.
    """

    def __init__(self, families: Sequence[Family], config: MappoTrainConfig, processes: Processes) -> None:
        self._families, self._config, self._device, self.steps = families, config, processes.device, config.rounds
        shapes = {family.name: FamilyShape.of(family) for family in families}
        self._model = fresh(MappoConfig(shapes, config.hidden), config.seed).to(processes.device)
        self._ppo, self._slots = PpoLearner(self._model, config.ppo, config.seed), SlotCount()
        optimiser = OptimiserState(self._ppo.optimiser, dict(self._model.named_parameters()))
        self.parts: Mapping[str, Part] = {"model": self._model, "optimiser": optimiser, "slots": self._slots}

    def step(self, step: int) -> Mapping[str, float]:
        """Play a round and learn from it."""
        self._ppo.generator.manual_seed(step_seed(self._config.seed, step))
        playgrounds = self._playgrounds(step)
        played, updates = self._ppo.round(playgrounds, self._config.episodes, step / self.steps)
        self._slots.count += played.slots
        returns: dict[str, list[float]] = {}
        for playground, value in zip(playgrounds, played.returns, strict=True):
            returns.setdefault(f"{playground.family.name}/return", []).append(value)
        means = {name: sum(values) / len(values) for name, values in returns.items()}
        return {"slots": self._slots.count, "updates": updates.steps, **means, **updates.figures}

    def trained(self) -> Mappo:
        """The network, which says how many slots it played."""
        model = Mappo(replace(self._model.config, source_steps=self._slots.count))
        model.load_state_dict(self._model.state_dict())
        return model

    def _playgrounds(self, number: int) -> list[OpenEnvironment]:
        """Train variants drawn for a round, each with scenarios that no other round plays."""
        config, drawn = self._config, []
        for family in self._families:
            variants = family.select("train")
            order = torch.randperm(len(variants), generator=self._ppo.generator)[: config.variants]
            first = PRACTICE_SEEDS + number * config.episodes
            drawn += [OpenEnvironment(family, variants[i], first, self._device) for i in order.tolist()]
        return drawn


@dataclass
class SlotCount:
    """Slots played so far, a `training.Part`."""

    count: int = 0

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"count": self.count}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Go on counting from there."""
        self.count = state_dict["count"]


TRAINER = Trainer("mappo", Mappo, PRESETS, MappoLearner, log_every=1)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return MappoAgent(Mappo.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)

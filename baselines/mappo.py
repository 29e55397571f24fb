"""MAPPO: multi-agent proximal policy optimisation (Yu et al. 2022), one network for all agents, variants and families.

It is pretrained by playing train sites. Beside what they observe, policy and critic are told what a few logged episodes say of
the site, by the encoder that all learners share; the losses of both train it. At a new site it reads the logs and plays.
"""

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
from ..benchmark.data.release import get_release
from ..benchmark.family import Family, FamilyShape, Variant
from ..benchmark.meter import MeteredEnvironment
from ..benchmark.seeds import PRACTICE_SEEDS
from ..learning.checkpoint import Pretrained, count_parameters, digest, settings_digest
from ..learning.codec import ActionCodec
from ..learning.context import SHOTS, site_table
from ..learning.descent import OptimiserState, step_seed
from ..learning.parallel import Processes
from ..learning.reading import ReaderConfig
from ..learning.run import Part
from ..learning.training import Trainer
from ..learning.world import Playground
from .common.networks import Critic, Trunk, first_view, input_size, next_view, orthogonal
from .common.places import LoggedSites, Places
from .common.ppo import ActorCritic, PpoConfig, ValueNormaliser
from .common.rollout import PpoLearner, learn, sample

DEFAULT_CHECKPOINT = "mappo-small"


@dataclass(frozen=True)
class MappoConfig(ReaderConfig):
    """What the network is.

    Attributes:
        families: shapes of the families that it plays.
        hidden: width of policy and critic.
        layers: shared layers after the stem; the critic's first of them joins agents and state.
        history: own observations that an agent sees.
        site: as of `ReaderConfig`, but 0 where nothing is said.
        source_steps: slots of train variants that it was trained in.
        transitions: logged agent transitions of the train sites whose logs it was shown.
    """

    OWNER: ClassVar[str] = "MAPPO"

    hidden: int = 128
    layers: int = 2
    history: int = 4
    source_steps: int = 0
    transitions: int = 0
    site: int = field(default=0, kw_only=True)

    def inputs(self) -> dict[str, int]:
        """Length of the features of each family: history, descriptor, identity, what logs say of the site."""
        return {name: input_size(shape, self.history, self.read_size(shape)) for name, shape in self.families.items()}


class Mappo(ActorCritic, Pretrained, library_name="wbench", license="apache-2.0", tags=["multi-agent-reinforcement-learning"]):
    """A policy of each agent's own features, and apart from it (Andrychowicz, section 3.2) a critic that sees everybody's.

    Both are told what logs say of the site.
    """

    PACKAGED = Path(__file__).parent / "checkpoints"
    SUMMARY = "MAPPO: an agent decides on its own observations and on logs of its site; in training, its critic saw all."
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
        self.support = c.make_encoder()
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


class MappoAgent(Agent):
    """Reads the logs of a site and plays on from a checkpoint (`online`), or learns there by playing from scratch (`scratch`).

    Args:
        model: the pretrained network; never changed, learning works on a copy.
        scratch: how it learns in track `scratch`.
        device: where it computes.
    """

    name = "mappo"
    tracks: tuple[str, ...] = ("online", "scratch")
    privileged_training = True  # the critic sees all agents' observations

    def __init__(self, model: Mappo, scratch: PpoConfig = FROM_SCRATCH, device: str = "cpu") -> None:
        self._pretrained, self._device, self._scratch = model.to(device).eval(), device, scratch
        self.parameters = count_parameters(model)
        self._site: Tensor | None = None
        self.enter(self.tracks[0])

    @property
    def practises(self) -> bool:
        """From scratch alone: in track `online` it reads K logged episodes in the place of K of its own."""
        return self.track == "scratch"

    def enter(self, track: str) -> None:
        """Take part in a track; from scratch, the checkpoint lends nothing but its width and history."""
        super().enter(track)
        model = self._pretrained if track == "online" else None
        self.source_steps, self.source_transitions = (model.config.source_steps, model.config.transitions) if model else (0, 0)
        self.checkpoint_digest, self.settings_digest = (digest(model), settings_digest(model.config)) if model else ("", "")
        self.recipe = model.config.recipe if model else ""

    def knows(self, family: Family) -> bool:
        """Any family from scratch; with a checkpoint, those that it was trained on."""
        return self.track == "scratch" or family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Read the support; from scratch, where there is none, a network that has learned nothing."""
        model = self._start(family, seed=0)
        with torch.no_grad():
            self._site = site_table(model.support, family.name, variant, support)
        self._play_with(model)
        return Adaptation()

    def practise(self, environment: MeteredEnvironment) -> Adaptation:
        """Spend exactly the budget, a round of updates after every episode."""
        model = self._start(environment.family, environment.seed)
        rounds = environment.left // environment.variant.horizon
        returns: list[float] = []
        steps = learn(
            model, [environment], rounds, 1, self._scratch, environment.seed, lambda played, _: returns.extend(played.returns)
        )
        self._site = site_table(None, environment.family.name, environment.variant, None)
        self._play_with(model)
        return Adaptation(steps, {"first_return": returns[0], "last_return": returns[-1]})

    def _start(self, family: Family, seed: int) -> Mappo:
        """A copy of the checkpoint, or a fresh network for this family alone, which plays and reads no logs."""
        if self.track == "scratch":
            shapes, plain = {family.name: FamilyShape.of(family)}, self._pretrained.config
            return fresh(MappoConfig(shapes, plain.hidden, plain.layers, plain.history), seed).to(self._device)
        self._pretrained.config.require_shape(family, hint=" Try --track scratch.")
        return copy.deepcopy(self._pretrained)

    def _play_with(self, model: Mappo) -> None:
        self.parameters = count_parameters(model)
        self._model = model.double()  # so that no rounding that depends on the batch can tip a choice

    def begin(self, state: State) -> None:
        """Empty histories."""
        if self._site is None:
            self.adapt(state.family, state.variant, None)
        c, device = self._model.config, state.action_mask.device
        state.memory["view"] = first_view(state.family, state.variant, c.history, state.batch, device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D], drawn from the policy."""
        codec = self._model.codecs[state.family.name]
        view = state.memory["view"] = next_view(state.memory["view"], obs)
        assert self._site is not None
        site = self._site[:, state.slot % state.variant.period].expand(*obs.shape[:2], -1)
        with torch.no_grad():
            features = torch.cat([view.features(), site], dim=-1).double()
            logits = self._model.logits(features, state.action_mask, state.family.name)
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
        episodes: whole episodes of each of them, each at another train site.
        hidden: width of the networks.
        site: size of the site code; 0 = it reads no logs.
        shots: episodes of a site that it reads, drawn anew for every variant of a round, as many as there are at most.
        release: whose train sites it plays, and where their logs are.
        save_every: rounds between resumable checkpoints.
        seed: of first weights, variants, play and minibatches.
        ppo: how to learn.
    """

    rounds: int = 1200
    variants: int = 4
    episodes: int = 8
    hidden: int = 128
    site: int = 64
    shots: tuple[int, ...] = SHOTS
    release: str = "standard"
    save_every: int = 10
    seed: int = 0
    ppo: PpoConfig = field(default_factory=lambda: PpoConfig(epochs=2, batch_size=24_000))

    @property
    def steps(self) -> int:
        """The rounds: a step of this training is a round."""
        return self.rounds


PRESETS = {
    "debug": MappoTrainConfig(2, 1, 2, hidden=16, site=8, release="mini", save_every=1, ppo=PpoConfig(epochs=1)),
    "small": MappoTrainConfig(rounds=60),
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
        shapes, self._choice = {family.name: FamilyShape.of(family) for family in families}, torch.Generator()
        self._choice.manual_seed(config.seed)
        self._sites = LoggedSites(families, get_release(config.release), self._choice) if config.site else None
        read = self._sites.transitions if self._sites else 0
        self._model = fresh(MappoConfig(shapes, config.hidden, site=config.site, transitions=read), config.seed)
        if self._model.support is not None and self._sites is not None:
            self._model.support.fit_sources(self._sites.samplers)
        self._model.to(processes.device)
        self._ppo, self._slots = PpoLearner(self._model, config.ppo, config.seed), 0
        optimiser = OptimiserState(self._ppo.optimiser, dict(self._model.named_parameters()))
        self.parts: Mapping[str, Part] = {"model": self._model, "optimiser": optimiser, "slots": self}

    def state_dict(self) -> dict[str, int]:
        """Slots played so far, as a `run.Part`."""
        return {"count": self._slots}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Go on counting from there."""
        self._slots = state_dict["count"]

    def step(self, step: int) -> Mapping[str, float]:
        """Play a round and learn from it."""
        for generator in (self._ppo.generator, self._choice):
            generator.manual_seed(step_seed(self._config.seed, step))
        playgrounds = self._playgrounds(step)
        played, updates = self._ppo.round(playgrounds, self._config.episodes, step / self.steps)
        self._slots += played.slots
        returns: dict[str, list[float]] = {}
        for playground, value in zip(playgrounds, played.returns, strict=True):
            returns.setdefault(f"{playground.family.name}/return", []).append(value)
        means = {name: sum(values) / len(values) for name, values in returns.items()}
        return {"slots": self._slots, "updates": updates.steps, **means, **updates.figures}

    def trained(self) -> Mappo:
        """The network, which says how many slots it played."""
        model = Mappo(replace(self._model.config, source_steps=self._slots))
        model.load_state_dict(self._model.state_dict())
        return model

    def _playgrounds(self, number: int) -> list[Playground]:
        """Train variants drawn for a round, each with scenarios that no other round plays."""
        c, drawn = self._config, list[Playground]()
        first = PRACTICE_SEEDS + number * c.episodes
        for family in self._families:
            if self._sites is not None:
                drawn += self._sites.draw(family.name, c.variants, c.episodes, c.shots, first, self._device)
                continue
            variants = family.select("train")
            order = torch.randperm(len(variants), generator=self._choice)[: c.variants]
            drawn += [Places(family, variants[i], first, self._device) for i in order.tolist()]
        return drawn


TRAINER = Trainer("mappo", Mappo, PRESETS, MappoLearner, log_every=1)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return MappoAgent(Mappo.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)

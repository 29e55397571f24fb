"""MAPPO: multi-agent proximal policy optimisation (Yu et al. 2022), one network for all agents, variants and families."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.checkpoint import CheckpointConfig, Pretrained, count_parameters, digest
from ..benchmark.family import Family, FamilyShape, Variant
from ..benchmark.meter import MeteredEnvironment
from ..benchmark.two_hot import ActionCodec
from ..benchmark.world import Playground
from .networks import IDENTITY, Trunk, orthogonal
from .ppo import ActorCritic, PpoConfig, Updates, ValueNormaliser, optimise
from .ppo_play import Round, Sight, play_round, sample

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
        return {name: self.history * s.obs_size + s.descriptor_size + IDENTITY for name, s in self.families.items()}


class Mappo(ActorCritic, Pretrained, library_name="wbench", license="apache-2.0", tags=["multi-agent-reinforcement-learning"]):
    """A policy of each agent's own features, and apart from it (Andrychowicz, section 3.2) a critic that sees everybody's."""

    PACKAGED = Path(__file__).parent / "checkpoints"

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

    def values(self, features: Tensor, agents: Tensor, family: str) -> Tensor:
        """Normalised values [R]; see `Critic`."""
        return self.critic(features, agents, family)


class Critic(nn.Module):
    """The value of each agent's own return in the state of all: own features, beside the mean of everybody's.

    A mean does not depend on the order of the agents and takes any number of them (Zaheer et al., 'Deep sets', NeurIPS 2017).
    Own features beside the shared state are the agent-specific global state of Yu et al., section 5.2.
    """

    def __init__(self, inputs: dict[str, int], hidden: int, layers: int) -> None:
        super().__init__()
        self.encoder = Trunk(inputs, hidden, layers=0)
        self.join = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.SiLU())
        rest = [module for _ in range(layers - 1) for module in (nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.SiLU())]
        self.rest = nn.Sequential(*rest)
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, 1) for name in inputs})
        orthogonal(self, math.sqrt(2.0))
        orthogonal(self.heads, 1.0)

    def forward(self, features: Tensor, agents: Tensor, family: str) -> Tensor:
        """Features [R, I] of frames with so many agents [F] -> values [R]."""
        own, head = self.encoder(features, family), self.heads[family]
        frame = torch.arange(len(agents), device=own.device).repeat_interleave(agents)
        exact = own.to(head.weight.dtype)  # sums over agents are not left to bfloat16
        mean = exact.new_zeros(len(agents), own.shape[-1]).index_add(0, frame, exact) / agents.unsqueeze(-1)
        first = self.join[0]
        assert isinstance(first, nn.Linear)
        to_own, to_mean = first.weight.split(own.shape[-1], dim=1)
        team = linear(mean.to(own.dtype), to_mean, first.bias)  # alike for all agents of a frame: once is enough
        hidden = self.rest(self.join[1:](linear(own, to_own) + team.index_select(0, frame)))
        with torch.autocast(hidden.device.type, enabled=False):
            return head(hidden.to(head.weight.dtype)).squeeze(-1)


class Learner:
    """PPO in progress: network, optimiser and the one random source of play and updates.

    Args:
        model: is changed.
        config: how to learn.
        seed: of play and minibatches.
    """

    def __init__(self, model: Mappo, config: PpoConfig, seed: int) -> None:
        self.model, self.config = model.train().requires_grad_(True), config
        self.generator = torch.Generator().manual_seed(seed)
        actor, critic = model.policy_parameters(), [*model.critic.parameters()]
        groups = [{"params": actor}, {"params": critic}]  # two networks: the gradient of each is clipped by itself
        self.optimiser = torch.optim.Adam(groups, config.rate, eps=1e-5, fused=True)  # Huang, detail 3

    def round(self, playgrounds: Sequence[Playground], episodes: int, progress: float) -> tuple[Round, Updates]:
        """Play so many episodes in every playground and learn from them; `progress` is the share of the training before it."""
        played = play_round(self.model, playgrounds, episodes, self.config, self.generator)
        return played, optimise(self.model, self.optimiser, played.frames, self.config, progress, self.generator)


def learn(
    model: Mappo,
    playgrounds: Sequence[Playground],
    rounds: int,
    episodes: int,
    config: PpoConfig,
    seed: int = 0,
    on_round: Callable[[Round, Updates], None] | None = None,
) -> int:
    """Train a network in playgrounds: simulators, metered environments, or worlds that a model imagines.

    Args:
        model: is changed, and left in evaluation mode.
        playgrounds: where it plays, all of them in every round.
        rounds: rounds of play, each with updates after it.
        episodes: whole episodes a round and playground.
        config: how to learn.
        seed: of play and minibatches.
        on_round: told of every round.

    Returns:
        Optimiser steps taken.
    """
    learner, steps = Learner(model, config, seed), 0
    for number in range(rounds):
        played, updates = learner.round(playgrounds, episodes, number / rounds)
        steps += updates.steps
        if on_round:
            on_round(played, updates)
    model.eval()
    return steps


FROM_SCRATCH = PpoConfig(epochs=10, minibatch=512, rate=2e-3, bfloat16=False)
PRETRAINED = PpoConfig(epochs=5, minibatch=1024, rate=1e-4, entropy=0.0, divergence=0.01, bfloat16=False)


class MappoAgent(Agent):
    """Plays what it learned online: from scratch, or on from a checkpoint; see `practise`.

    Args:
        model: the pretrained network; never changed, learning works on a copy.
        scratch: how it learns in arm `online`.
        careful: how it learns on in arm `online-pretrained`.
        device: where it computes.
    """

    name = "mappo"
    arms: tuple[str, ...] = ("online", "online-pretrained")
    privileged_training = True  # the critic sees all agents' observations

    def __init__(
        self, model: Mappo, scratch: PpoConfig = FROM_SCRATCH, careful: PpoConfig = PRETRAINED, device: str = "cpu"
    ) -> None:
        self._pretrained, self._device = model.to(device).eval(), device
        self._scratch, self._careful = scratch, careful
        self.parameters = count_parameters(model)
        self.enter(self.arms[0])

    def enter(self, arm: str) -> None:
        """Take part in an arm; from scratch, the checkpoint lends nothing but its width and history."""
        super().enter(arm)
        pretrained = arm == "online-pretrained"
        self.source_steps = self._pretrained.config.source_steps if pretrained else 0
        self.checkpoint_digest = digest(self._pretrained) if pretrained else ""
        self.settings = self._pretrained.config if pretrained else None

    def knows(self, family: Family) -> bool:
        """Any family from scratch; with a checkpoint, those that it was trained on."""
        return self.arm == "online" or family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Zero shots: the checkpoint as it is, or a network that has learned nothing."""
        self._play_with(self._start(family, seed=0))
        return Adaptation()

    def practise(self, environment: MeteredEnvironment) -> Adaptation:
        """Spend exactly the budget, a round of updates after every episode."""
        model = self._start(environment.family, environment.draw)
        config = self._scratch if self.arm == "online" else self._careful
        rounds = environment.left // environment.variant.horizon
        returns: list[float] = []
        steps = learn(
            model, [environment], rounds, 1, config, environment.draw, lambda played, _: returns.extend(played.returns)
        )
        self._play_with(model)
        return Adaptation(steps, {"first_return": returns[0], "last_return": returns[-1]})

    def _start(self, family: Family, seed: int) -> Mappo:
        """A copy of the checkpoint, or a fresh network for this family alone."""
        if self.arm == "online":
            config = replace(self._pretrained.config, families={family.name: FamilyShape.of(family)}, source_steps=0)
            return fresh(config, seed).to(self._device)
        self._pretrained.config.require(family.name, hint=" Try --arm online.")
        return copy.deepcopy(self._pretrained)

    def _play_with(self, model: Mappo) -> None:
        self.parameters = count_parameters(model)
        self._model = model.double()  # so that no rounding that depends on the batch can tip a choice

    def begin(self, state: State) -> None:
        """Empty histories."""
        c, device = self._model.config, state.action_mask.device
        state.memory["sight"] = Sight(state.variant, state.batch, state.family.obs_size, c.history, device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D], drawn from the policy."""
        codec = self._model.codecs[state.family.name]
        with torch.no_grad():
            features = state.memory["sight"].look(obs).double()
            logits = self._model.logits(features, state.action_mask, state.family.name)
        return codec.decode(sample(codec, logits, state.random.uniform(*logits.shape[1:])))


def fresh(config: MappoConfig, seed: int) -> Mappo:
    """A network with first weights drawn from this seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mappo(config)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return MappoAgent(Mappo.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)

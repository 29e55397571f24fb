"""NetWorld: the network. Planning is in `planner.py`, training in `train.py`, adaptation in `adapt.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..benchmark.family import QUALITIES, FamilyShape
from ..learning.central_critic import Actor
from ..learning.checkpoint import Pretrained
from ..learning.codec import ActionCodec
from ..learning.modules import mlp
from .config import NetWorldConfig
from .modules import (
    Context,
    Critic,
    Denoiser,
    InverseDynamics,
    MeanField,
    ObservationEncoder,
    PlanClassifier,
    ScenarioEncoder,
    SlotDenoiser,
    action_sizes,
)


class NetWorld(
    nn.Module,
    Pretrained,
    library_name="wbench",
    license="apache-2.0",
    tags=["wbench", "networld", "multi-agent-reinforcement-learning", "world-model", "diffusion", "arxiv:2602.00558"],
):
    """A communication-based diffusion world model, shared by all agents and families.

    Every method works on rows: any leading shape of agents, episodes and candidates. Rows meet only through the inbox.

    Args:
        config: a `NetWorldConfig` or its dict.
    """

    PACKAGED = Path(__file__).parent / "checkpoints"
    SUMMARY = (
        "A communication-based diffusion world model: agents share small messages, imagine their own future by diffusion, read "
        "off actions by inverse dynamics and choose by a Bellman value; in `actor_families`, actors on top of it act."
    )

    def __init__(self, config: NetWorldConfig | dict[str, Any]) -> None:
        super().__init__()
        c = NetWorldConfig.from_dict(config) if isinstance(config, dict) else config
        self.config = c
        sizes = action_sizes(c.families)
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.scenario = ScenarioEncoder(c)
        self.observation = ObservationEncoder(c)
        self.mean_field = MeanField(c)
        self.world_context = Context(c, hears=c.mean_field in ("both", "world"))
        self.value_context = Context(c, hears=c.mean_field in ("both", "value"))
        self.denoiser = Denoiser(c) if c.denoiser == "window" else SlotDenoiser(c)
        self.classifier = PlanClassifier(c)
        self.critic = Critic(c, {name: len(codec.table()) for name, codec in self.codecs.items()})
        self.inverse = InverseDynamics(c, sizes)
        self.behaviour = nn.ModuleDict({name: mlp(c.context, c.head, size) for name, size in sizes.items()})
        self.reward = mlp(2 * c.latent + c.embedding, c.head, c.outputs)
        self.actors = nn.ModuleDict()
        for name in c.actor_families:
            c.require(name)
            features = c.latent + c.families[name].obs_size
            self.actors[name] = Actor(features, c.embedding, c.history, c.message, c.actor_width, sizes[name])

    def shape(self, family: str) -> FamilyShape:
        """The shape of a family; raises `CheckpointError` if the checkpoint does not know it."""
        self.config.require(family)
        return self.config.families[family]

    def value_range(self, family: str) -> tuple[float, float]:
        """Range of the two-hot values: bounds of a discounted sum of team rewards, in the family's unit."""
        self.shape(family)
        return self.config.values[family]

    def with_aim(self, scenario: Tensor) -> Tensor:
        """Embeddings [..., E] of scenarios played by the quality that the policy starts from."""
        quality = torch.full(scenario.shape[:-1], QUALITIES.index(self.config.aim), device=scenario.device)
        return self.scenario.with_behaviour(scenario, quality)

    def contexts(
        self, latents: Tensor, inboxes: Tensor, scenario: Tensor, family: str, behaviour: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """World and value context [..., C] of latents [..., L, D], inbox features [..., L, 2 M] and scenario [..., E].

        `behaviour` [..., E] embeds the scenario and who acts in it; without it, that is whom the policy starts from.
        """
        behaviour = self.with_aim(scenario) if behaviour is None else behaviour
        valued = behaviour if family in self.config.behaviour_conditioned else scenario
        return self.world_context(latents, inboxes, behaviour), self.value_context(latents, inboxes, valued)

    def behaviour_logits(self, context: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [..., size] of what those who play would do, from the world context [..., C]."""
        return self.codecs[family].mask(self.behaviour[family](context), mask)

    def improved_log_policy(self, world: Tensor, value: Tensor, mask: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Log of the policy pi_b(a) exp(Q / temperature), normalised, and Q; both [..., number of actions]."""
        values = self.critic(value, family)
        prior = self.codecs[family].table_log_probs(self.behaviour_logits(world, mask, family))
        return (prior + values / self.config.temperatures[family]).log_softmax(-1), values

    def actor(self, family: str) -> Actor:
        """Who acts and speaks in a family that has an actor."""
        return cast(Actor, self.actors[family])

    def actor_features(self, latents: Tensor, obs: Tensor, family: str) -> Tensor:
        """What an actor sees [..., D + O], of observations [..., O] and their latents [..., D]."""
        return torch.cat([latents, self.observation.standardise(obs, family)], dim=-1)

    def actor_log_policy(self, features: Tensor, inboxes: Tensor, scenario: Tensor, mask: Tensor, family: str) -> Tensor:
        """Log of the policy [..., number of actions] of a family's actor.

        Args:
            features: the last, [..., L, D + O].
            inboxes: features [..., L, 2 M] of what the *actors* said: they have a voice of their own.
            scenario: embedding, [..., E].
            mask: allowed choices, [..., A].
            family: its name.
        """
        codec = self.codecs[family]
        return codec.table_log_probs(codec.mask(self.actor(family)(features, inboxes, scenario), mask))

    def forward(self, obs: Tensor, family: str) -> Tensor:
        """Latents [..., D] of observations [..., O]."""
        return self.observation(obs, family)

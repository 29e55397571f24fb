"""NetWorld: the network. Planning is in `planner.py`, training in `train.py`, adaptation in `adapt.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..benchmark.family import QUALITIES, FamilyShape
from ..learning.checkpoint import Pretrained
from ..learning.codec import ActionCodec
from ..learning.modules import mlp
from .config import NetWorldConfig
from .modules import (
    DENOISERS,
    ContextEncoder,
    Critic,
    InverseDynamics,
    MeanField,
    ObservationEncoder,
    PlanClassifier,
    ScenarioEncoder,
    SlotModel,
    action_sizes,
    decode,
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
        "off actions by inverse dynamics and choose by a Bellman value, all of it told what a few logs say of the site."
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
        self.world_context = ContextEncoder(c, hears=c.mean_field in ("both", "world"))
        self.value_context = ContextEncoder(c, hears=c.mean_field in ("both", "value"))
        self.denoiser = DENOISERS[c.denoiser](c)
        self.classifier = PlanClassifier(c)
        self.critic = Critic(c, {name: len(codec.table()) for name, codec in self.codecs.items()})
        self.inverse = InverseDynamics(c, sizes)
        self.behaviour = nn.ModuleDict({name: mlp(c.context, c.head, size) for name, size in sizes.items()})
        self.slot = SlotModel(c, sizes)
        self.outlooks = nn.ModuleDict({n: nn.Linear(len(k.table()), c.told_pay) for n, k in self.codecs.items() if c.told_pay})
        self.support = c.make_encoder()
        self.sites = nn.ModuleDict({n: nn.Linear(c.read_size(s), c.site) for n, s in c.families.items() if c.site})

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

    @torch.no_grad()  # the world model learns by its likelihood alone
    def prospects(self, latent: Tensor, scenario: Tensor, site: Tensor, family: str) -> Tensor:
        """Pay that the slot model expects of every action of the table, in deviations of an agent's pay, [..., number].

        Args:
            latent: of what is seen now, [..., D].
            scenario: embedding of the variant, [..., E].
            site: what is read of the site, for this agent and slot, [..., S].
            family: its name.
        """
        table = self.codecs[family].table(latent.device).expand(*latent.shape[:-1], -1, -1)
        paid, _ = self.slot(latent, table, scenario, site, family)
        return decode(paid, *self.config.own_rewards[family]) / self.config.pay_units[family]

    def told(self, site: Tensor, prospects: Tensor, family: str) -> Tensor:
        """What value and policy are told beside the scenario, [..., T]: the site, and what each action would pay."""
        parts = [self.sites[family](site)] if self.config.site else []
        parts += [self.outlooks[family](prospects)] if self.config.told_pay else []
        return torch.cat(parts, dim=-1) if parts else prospects[..., :0]

    def contexts(
        self, latents: Tensor, inboxes: Tensor, scenario: Tensor, site: Tensor, behaviour: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """World and value context [..., C].

        Args:
            latents: the last, [..., L, D].
            inboxes: features of what was heard, [..., L, 2 M].
            scenario: embedding of the variant, [..., E].
            site: what is `told` of the site, [..., T].
            behaviour: embedding of the variant and of who acts in it, [..., E]; None = whom the policy starts from.
        """
        behaviour = self.with_aim(scenario) if behaviour is None else behaviour
        valued = behaviour if self.config.behaviour_conditioned else scenario
        world, value = (torch.cat([told, site], dim=-1) for told in (behaviour, valued))
        return self.world_context(latents, inboxes, world), self.value_context(latents, inboxes, value)

    def behaviour_logits(self, context: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [..., size] of what those who play would do, from the world context [..., C]."""
        return self.codecs[family].mask(self.behaviour[family](context), mask)

    def values(self, context: Tensor, prospects: Tensor, agents: Tensor | float, family: str) -> Tensor:
        """An agent's share of the team's value for every action, [..., number].

        What an agent is paid now is what the slot model expects, where `outlook` says so; the critic learns the rest: what
        others are paid, and what comes later.

        Args:
            context: of the value, [..., C].
            prospects: see `prospects`, [..., number].
            agents: of the team, [...] or a number; the team's value is the mean of the shares.
            family: its name.
        """
        rest = self.critic(context, family)
        if not self.config.told_pay:
            return rest
        now = prospects * (self.config.pay_units[family] / self.config.units[family])
        return rest + now * (agents.unsqueeze(-1) if isinstance(agents, Tensor) else agents)

    def improved_log_policy(self, world: Tensor, values: Tensor, mask: Tensor, family: str) -> Tensor:
        """Log of the policy whose value is learned, normalised; see `policy_logits`."""
        return self.policy_logits(world, values, mask, family, self.config.temperatures[family]).log_softmax(-1)

    def policy_logits(self, world: Tensor, values: Tensor, mask: Tensor, family: str, temperature: float) -> Tensor:
        """Logits of the policy pi_b(a) exp(Q / temperature), of values [..., number]: [..., number]."""
        prior = self.codecs[family].table_log_probs(self.behaviour_logits(world, mask, family))
        return prior + values / temperature

    def forward(self, obs: Tensor, family: str) -> Tensor:
        """Latents [..., D] of observations [..., O]."""
        return self.observation(obs, family)

"""NetWorld: the network. Planning is in `planner.py`, training in `train.py`, adaptation in `adapt.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..benchmark.checkpoint import Pretrained
from ..benchmark.family import FamilyShape
from ..benchmark.two_hot import ActionCodec, expectation
from ..errors import CheckpointError
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
    action_sizes,
    mlp,
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

    def __init__(self, config: NetWorldConfig | dict[str, Any]) -> None:
        super().__init__()
        c = NetWorldConfig.from_dict(config) if isinstance(config, dict) else config
        self.config = c
        sizes = action_sizes(c.families)
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.scenario = ScenarioEncoder(c)
        self.observation = ObservationEncoder(c)
        self.mean_field = MeanField(c)
        self.world_context, self.value_context = Context(c), Context(c)
        self.denoiser = Denoiser(c)
        self.classifier = PlanClassifier(c)
        self.critic = Critic(c, sizes)
        self.inverse = InverseDynamics(c, sizes)
        self.behaviour = nn.ModuleDict({name: mlp(c.context, c.head, size) for name, size in sizes.items()})
        self.reward = mlp(2 * c.latent + c.embedding, c.head, c.bins)

    def shape(self, family: str) -> FamilyShape:
        """The shape of a family; raises `CheckpointError` if the checkpoint does not know it."""
        if family not in self.config.families:
            known = ", ".join(self.config.families)
            raise CheckpointError(f"this NetWorld was not trained on family {family!r}, only on {known}.")
        return self.config.families[family]

    def value_range(self, family: str) -> tuple[float, float]:
        """Range of the two-hot values: bounds of a discounted sum of team rewards."""
        self.shape(family)
        return self.config.values[family]

    def contexts(self, latents: Tensor, inboxes: Tensor, scenario: Tensor) -> tuple[Tensor, Tensor]:
        """World and value context [..., C] of latents [..., L, D], inbox features [..., L, 2 M] and scenario [..., E]."""
        return self.world_context(latents, inboxes, scenario), self.value_context(latents, inboxes, scenario)

    def behaviour_logits(self, context: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [..., size] of what the recorded behaviours would do, from the value context."""
        return self.codecs[family].mask(self.behaviour[family](context), mask)

    def action_values(self, context: Tensor, family: str) -> Tensor:
        """Q of every action of the table, [..., number], from the value context [..., C]."""
        table = self.codecs[family].table(context.device)
        return expectation(self.critic(context.unsqueeze(-2), table, family), *self.value_range(family))

    def improved_log_policy(self, context: Tensor, mask: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Log of the policy pi_b(a) exp(Q / temperature), normalised, and Q; both [..., number of actions]."""
        values = self.action_values(context, family)
        prior = self.codecs[family].table_log_probs(self.behaviour_logits(context, mask, family))
        return (prior + values / self.config.temperature).log_softmax(-1), values

    def forward(self, obs: Tensor, family: str) -> Tensor:
        """Latents [..., D] of observations [..., O]."""
        return self.observation(obs, family)


def history_windows(x: Tensor, length: int) -> Tensor:
    """All stretches of `length` slots: [..., W, D] -> [..., W - length + 1, length, D]."""
    return x.unfold(-2, length, 1).transpose(-1, -2)

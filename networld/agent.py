"""NetWorld as an agent of the benchmark: own observation and inbox in, message and action out."""

from __future__ import annotations

import torch
from torch import Tensor

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.family import Family, Variant
from ..learning.checkpoint import count_parameters, digest, settings_digest
from ..learning.mean_field import read
from ..learning.precision import mixed
from .adapt import AdaptConfig, adapt, train_from_scratch
from .config import PlannerConfig
from .model import NetWorld
from .planner import BLOCK, Planner, PlannerInputs, in_blocks
from .turns import Turns, exchange

DEFAULT_CHECKPOINT = "networld-small"
LOGS_FOR_TURNS = 3  # one or two mislead


class NetWorldAgent(Agent):
    """Reads a site from its logs, and plans in a pretrained NetWorld.

    Args:
        model: the pretrained network; never changed.
        planner: how to plan.
        adaptation: how to adapt.
        device: where it computes.
    """

    name = "networld"
    block = BLOCK  # rows a block

    def __init__(
        self,
        model: NetWorld,
        planner: PlannerConfig | None = None,
        adaptation: AdaptConfig | None = None,
        device: str = "cpu",
    ) -> None:
        self._pretrained = self._model = model.to(device).eval()
        self._site: Tensor | None = None
        self._turns: Turns | None = None
        self._shots = 0
        self.planner, self.adaptation = planner or PlannerConfig(), adaptation or AdaptConfig()
        self.message_size = model.config.message
        self.parameters, self.checkpoint_digest = count_parameters(model), digest(model)
        self.settings_digest, self.recipe = settings_digest(model.config), model.config.recipe
        self.source_transitions = model.config.transitions

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""
        return family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Read the site's code from the support; see `adapt.adapt`."""
        self._pretrained.config.require_shape(family)
        if support is not None and self.adaptation.scratch:
            adapted = train_from_scratch(self._pretrained, family, variant, support, self.adaptation)
        else:
            adapted = adapt(self._pretrained, family, variant, support, self.adaptation)
        self._model, self._site, self._shots = adapted.model, adapted.site, support.shots if support else 0
        self._turns = self._exchanged(family, variant, support)
        return Adaptation(adapted.steps, adapted.notes)

    def _exchanged(self, family: Family, variant: Variant, support: Support | None) -> Turns | None:
        """Turns by what the logs say of the site, where they say enough."""
        if support is None or support.shots < LOGS_FOR_TURNS or not (self.planner.turns and self._model.config.world_model):
            return None
        assert self._site is not None
        return exchange(self._model, self._site, family, variant, support, self._temperature(family, variant))

    def _temperature(self, family: Family, variant: Variant) -> float:
        """Of the policy that is played."""
        usual = self._model.config.evaluation_temperature(family.name, variant.agents, self._shots)
        return self.planner.temperature * usual

    def begin(self, state: State) -> None:
        """Empty histories."""
        c, device = self._model.config, state.action_mask.device
        rows = state.batch * state.variant.agents
        if self._site is None:
            self.adapt(state.family, state.variant, None)
        descriptor = torch.tensor(state.variant.descriptor(), device=device)
        with torch.no_grad():
            state.memory["scenario"] = self._model.scenario(descriptor, state.family.name).expand(rows, -1)
        state.memory["seen"] = torch.zeros(rows, c.history, state.family.obs_size, device=device)
        state.memory["latents"] = torch.zeros(rows, c.history, c.latent, device=device)
        state.memory["inboxes"] = torch.zeros(rows, c.history, 2 * c.message, device=device)
        state.memory["plan"] = torch.zeros(rows, c.horizon, c.latent, device=device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N]."""
        with torch.no_grad(), mixed(obs.device, self.planner.bfloat16):
            view = self._see(obs.flatten(0, 1), inbox.flatten(0, 1), state)
            draws = state.random.draw(), state.random.draw()
            temperature = self._temperature(state.family, state.variant)
            planner = Planner(self._model, self.planner, state.family.name, state.variant.agents, temperature, *draws)
            plan, rows = state.memory["plan"], self._undecided(view, state.family)
            decision = planner.decide(view.select(rows), state.slot)
            action = _only_choice(view.action_mask, decision.action)
            action[rows], plan[rows] = decision.action, decision.plan
            self.planner_calls += planner.calls(state.slot)
        return action.unflatten(0, obs.shape[:2])

    def _see(self, obs: Tensor, inbox: Tensor, state: State) -> PlannerInputs:
        """Take in a slot: observations [R, O] and inboxes [R, M] of all agents, each into its own history."""
        memory, family = state.memory, state.family.name
        memory["latents"] = self._latents(obs, state)
        heard = read(inbox, torch.tensor(state.variant.agents - 1.0, device=obs.device))
        memory["inboxes"] = torch.cat([memory["inboxes"][:, 1:], heard.unsqueeze(1)], dim=1)
        rows = torch.arange(len(obs), device=obs.device)
        assert self._site is not None
        site = self._site[:, state.slot % state.variant.period].repeat(state.batch, 1)
        prospects, told = self._told(memory["latents"][:, -1], memory["scenario"], site, family)
        mask = state.action_mask.flatten(0, 1)
        mask = self._turns.allowed(mask, state.slot) if self._turns else mask
        known = memory["latents"], memory["inboxes"], memory["scenario"], prospects, told
        return PlannerInputs(rows, *known, mask, memory["plan"])

    def _latents(self, obs: Tensor, state: State) -> Tensor:
        """Latents of the last slots, the current one [R, O] included, [R, L, D]; 0 before the first."""
        memory, family = state.memory, state.family.name
        memory["seen"] = torch.cat([memory["seen"][:, 1:], obs.unsqueeze(1)], dim=1)
        fresh = self._turns.history(memory["seen"], state.slot) if self._turns else obs.unsqueeze(1)
        (latents,) = in_blocks(lambda rows: (self._model(fresh[rows], family).float(),), len(obs), obs.device, self.block)
        kept = memory["latents"][:, latents.shape[1] :]
        known = torch.arange(latents.shape[1], device=obs.device) >= latents.shape[1] - 1 - state.slot
        return torch.cat([kept, latents * known.unsqueeze(-1)], dim=1)

    def _told(self, latent: Tensor, scenario: Tensor, site: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Prospects and what is told, see `NetWorld`."""

        def block(rows: Tensor) -> tuple[Tensor, ...]:
            prospects = self._model.prospects(latent[rows], scenario[rows], site[rows], family)
            return prospects, self._model.told(site[rows], prospects, family)

        prospects, told = in_blocks(block, len(latent), latent.device, self.block)
        return prospects, told

    def _undecided(self, view: PlannerInputs, family: Family) -> Tensor:
        """Rows that need a plan: those with a choice, or all of them where plans are carried from slot to slot."""
        if self.planner.replan > 1 or self.planner.warm_start < 1 or family.actions[-1].kind == "ordinal":
            return view.rows
        return (view.action_mask.sum(-1) > 1).nonzero().squeeze(-1)

    def message(self, obs: Tensor, state: State) -> Tensor:
        """A small projection of the own latent, [B, N, M]."""
        with torch.no_grad():
            message = self._model.mean_field.message(state.memory["latents"][:, -1])
        return message.view(*obs.shape[:2], -1)


def _only_choice(mask: Tensor, like: Tensor) -> Tensor:
    """The first allowed choice of every row [R, ...], in the shape and type of other rows' actions."""
    choice = mask.int().argmax(-1).to(like.dtype)
    return choice.view(-1, *(1,) * (like.dim() - 1)).expand(-1, *like.shape[1:]).clone()


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return NetWorldAgent(NetWorld.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)

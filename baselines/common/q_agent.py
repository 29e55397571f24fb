"""Agents that play by learned values: fine-tuned on logs, learning online from scratch, or online after pretraining."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...benchmark.agent import Adaptation, Agent, State, Support
from ...benchmark.family import Family, Variant
from ...benchmark.meter import MeteredEnvironment
from ...learning.checkpoint import count_parameters, digest, settings_digest
from ...learning.context import site_table
from .fine_tuning import FineTuneConfig, fine_tune
from .networks import first_view, next_view
from .online import PracticeConfig, learn_online
from .q_learning import ValueModel


class ValueAgent(Agent):
    """Plays the action of the greatest learned value, or draws among good ones where the checkpoint says so.

    Args:
        name: what the board shows.
        model: the pretrained network; never changed, learning works on copies.
        tracks: the tracks it may play in, the default first.
        adaptation: how it fine-tunes on logs.
        practice: how it learns online.
        privileged_training: whether its training looked at all agents' observations.
        device: where it computes.
    """

    def __init__(
        self,
        name: str,
        model: ValueModel,
        tracks: tuple[str, ...] = ("offline", "scratch"),
        adaptation: FineTuneConfig | None = None,
        practice: PracticeConfig | None = None,
        privileged_training: bool = False,
        device: str = "cpu",
    ) -> None:
        self.name, self.tracks, self.privileged_training = name, tracks, privileged_training
        self._pretrained = self._model = model.to(device).eval()
        self._adaptation, self._practice = adaptation or FineTuneConfig(), practice or PracticeConfig()
        self.parameters = count_parameters(model)
        self._site: Tensor | None = None
        self.enter(tracks[0])

    def enter(self, track: str) -> None:
        """Take part in a track; from scratch the checkpoint lends its settings, none of its weights."""
        super().enter(track)
        scratch = track == "scratch"
        self.source_transitions = 0 if scratch else self._pretrained.config.transitions
        self.checkpoint_digest = "" if scratch else digest(self._pretrained)
        self.settings_digest = "" if scratch else settings_digest(self._pretrained.config)
        self.recipe = "" if scratch else self._pretrained.config.recipe
        self._model = self._from_scratch(0) if scratch else self._pretrained

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""
        return family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Fine-tune on the support; its own validation split decides whether the result is kept."""
        self._pretrained.config.require_shape(family)
        self._model = self._from_scratch(0) if self.track == "scratch" else self._pretrained
        adaptation = Adaptation()
        if support is not None and self._adaptation.steps:
            self._model, steps, notes = fine_tune(self._pretrained, family, variant, support, self._adaptation)
            adaptation = Adaptation(steps, dict(notes))
        self._read(family, variant, support)
        return adaptation

    def practise(self, environment: MeteredEnvironment) -> Adaptation:
        """Learn from scratch with exactly the slots of the budget."""
        self._pretrained.config.require_shape(environment.family)
        fresh = self._from_scratch(environment.seed)
        self._model, steps = learn_online(fresh, environment, environment.budget, self._practice)
        self._read(environment.family, environment.variant, None)
        return Adaptation(steps)

    def _read(self, family: Family, variant: Variant, support: Support | None) -> None:
        """What logs say of the site."""
        with torch.no_grad():
            self._site = site_table(self._model.support, family.name, variant, support)

    def _from_scratch(self, seed: int) -> ValueModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = type(self._pretrained)(replace(self._pretrained.config, site=0))  # it plays, and reads no logs
        return fresh.to(next(self._pretrained.parameters()).device).eval()

    def begin(self, state: State) -> None:
        """Empty histories."""
        if self._site is None:
            self._read(state.family, state.variant, None)
        history, device = self._model.config.history, state.action_mask.device
        state.memory["view"] = first_view(state.family, state.variant, history, state.batch, device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        name = state.family.name
        codec = self._model.codecs[name]
        assert self._site is not None
        site = self._site[:, state.slot % state.variant.period]
        view = state.memory["view"] = next_view(state.memory["view"], obs, site)
        luck = state.random.uniform(obs.shape[1], self._model.draws(name))
        with torch.no_grad():
            choice = self._model.choose(view, state.action_mask, luck, name)
        return codec.decode(codec.table(obs.device)[choice])

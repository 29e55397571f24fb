"""Behaviour cloning: imitate the recorded actions from the own observation history.

Same source data, shared parameters, history and few-shot support as NetWorld; no values, no planning, and no messages. It is
told the quality of each recording, clones all of them, and plays as the expert did: one that clones the mixture scores far
less (see docs/log). At K shots the whole network is fine-tuned on the support, and a validation split inside it decides when to
stop, or not to start.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.data.windows import Windows
from ..benchmark.family import QUALITIES, Family, FamilyShape, Quality, Variant
from ..benchmark.randomness import gumbel
from ..learning.checkpoint import Pretrained, count_parameters, digest, settings_digest
from ..learning.codec import ActionCodec
from ..learning.context import codes, site_table
from ..learning.descent import Descent, DescentConfig, fit_sources, sources
from ..learning.modules import Standardiser
from ..learning.parallel import Processes
from ..learning.reading import ReaderConfig
from ..learning.training import Trainer
from ..learning.tuning import support_draws, tune

DEFAULT_CHECKPOINT = "bc-small"


@dataclass(frozen=True)
class BcConfig(ReaderConfig):
    """What the network is, and how it plays.

    Attributes:
        families: shape of each family that it knows, by name.
        hidden: width.
        history: observations seen, the current one included.
        transitions: logged agent transitions that it was trained on.
        aim: which recorded quality it plays as.
        sampled: families in which it draws from its distribution; in the others it plays the mode.
    """

    OWNER: ClassVar[str] = "behaviour cloning"

    hidden: int = 256
    history: int = 4
    transitions: int = 0
    aim: Quality = "expert"
    sampled: tuple[str, ...] = ()


class BehaviourCloning(nn.Module, Pretrained, library_name="wbench", license="apache-2.0", tags=["behaviour-cloning"]):
    """Family-specific stem on last observations, descriptor and quality -> shared trunk -> logits of an action code."""

    PACKAGED = Path(__file__).parent / "checkpoints"
    SUMMARY = "Behaviour cloning on all recorded qualities: the control that every planner has to beat."

    def __init__(self, config: BcConfig | dict[str, Any]) -> None:
        super().__init__()
        c = BcConfig.from_dict(config) if isinstance(config, dict) else config
        self.config = c
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.standardiser = Standardiser({name: shape.obs_size for name, shape in c.families.items()})
        self.stems, self.heads = nn.ModuleDict(), nn.ModuleDict()
        for name, shape in c.families.items():
            inputs = c.history * shape.obs_size + shape.descriptor_size + len(QUALITIES) + c.read_size(shape)
            self.stems[name] = nn.Linear(inputs, c.hidden)
            self.heads[name] = nn.Linear(c.hidden, self.codecs[name].size)
        self.trunk = nn.Sequential(
            nn.LayerNorm(c.hidden), nn.SiLU(), nn.Linear(c.hidden, c.hidden), nn.LayerNorm(c.hidden), nn.SiLU()
        )
        self.support = c.make_encoder()

    def forward(self, history: Tensor, descriptor: Tensor, quality: Tensor, site: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [..., size] of an action code.

        Args:
            history: last observations, [..., L, O].
            descriptor: of the variant, [..., D].
            quality: of the behaviour, indices into `QUALITIES`, [...].
            site: what logs say of the site, [..., S].
            mask: allowed actions, [..., A].
            family: its name.
        """
        seen = self.standardiser.standardise(history, family).flatten(-2)
        x = torch.cat([seen, descriptor, one_hot(quality, len(QUALITIES)).float(), site], dim=-1)
        return self.codecs[family].mask(self.heads[family](self.trunk(self.stems[family](x))), mask)


def imitation_loss(model: BehaviourCloning, batch: Windows, family: str) -> Tensor:
    """Negative log-likelihood of the recorded action at the last slot of windows with `history - 1` slots before it."""
    site = codes(model.support, batch, family, 1)[:, 0]
    logits = model(batch.obs, batch.descriptor, batch.quality, site, batch.action_mask[:, -1], family)
    codec = model.codecs[family]
    return -codec.log_prob(logits, codec.encode(batch.action[:, -1])).mean()


@dataclass(frozen=True)
class BcTrainConfig(DescentConfig):
    """As `DescentConfig`.

    Attributes:
        hidden: width.
        sampled: families sampled in play.
    """

    steps: int = 6000
    hidden: int = 256
    sampled: tuple[str, ...] = ("access", "power")


PRESETS = {
    "debug": BcTrainConfig(release="mini", steps=20, batch_size=256, warmup=5, hidden=32),
    "small": BcTrainConfig(steps=1500, batch_size=512),
}


class BcLearner(Descent[BehaviourCloning]):
    """Clones all qualities of the train variants."""

    @classmethod
    def of(cls, families: Sequence[Family], config: BcTrainConfig, processes: Processes) -> Self:
        """A fresh network and the data of these families."""
        shapes = {family.name: FamilyShape.of(family) for family in families}
        shape = BcConfig(shapes, hidden=config.hidden, sampled=config.sampled)
        samplers = sources(families, config, shape.history - 1, 0)
        transitions = sum(sampler.transitions for sampler in samplers.values())
        model = BehaviourCloning(replace(shape, transitions=transitions)).to(processes.device)
        fit_sources((model.standardiser, model.support), samplers)
        return cls(model, samplers, config, processes)

    def losses(self, batch: Windows, family: str) -> dict[str, Tensor]:
        """See `imitation_loss`."""
        return {"loss": imitation_loss(self.model, batch, family)}


TRAINER = Trainer("bc", BehaviourCloning, PRESETS, BcLearner.of)


class BcAgent(Agent):
    """Plays what the expert would have done.

    Args:
        model: the cloned network; adaptation works on a copy.
        steps: gradient steps of adaptation at most; 0 = logs are read, and no weights change.
        learning_rate: of adaptation.
        device: where it computes.
    """

    name = "bc"

    def __init__(self, model: BehaviourCloning, steps: int = 0, learning_rate: float = 3e-5, device: str = "cpu") -> None:
        self._pretrained = self._model = model.to(device).eval()
        self._steps, self._learning_rate = steps, learning_rate
        self._site: Tensor | None = None
        self.parameters, self.checkpoint_digest = count_parameters(model), digest(model)
        self.settings_digest, self.recipe = settings_digest(model.config), model.config.recipe
        self.source_transitions = model.config.transitions

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""
        return family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Read the support, and clone it too where that is asked for, with early stopping on its own validation split."""
        self._pretrained.config.require_shape(family)
        self._model = self._pretrained
        with torch.no_grad():
            self._site = site_table(self._model.support, family.name, variant, support)
        if support is None or not self._steps:
            return Adaptation()
        draw, held = support_draws(family, variant, support, self._pretrained.config.history - 1, 0, batch_size=512, seed=0)
        model = copy.deepcopy(self._pretrained)
        loss, parameters = partial(imitation_loss, model, family=family.name), list(model.parameters())
        steps, learning_rate = self._steps, self._learning_rate
        notes = tune(parameters, loss, draw, held, steps=steps, learning_rate=learning_rate, check=20)
        self._model = model.eval()
        with torch.no_grad():
            self._site = site_table(model.support, family.name, variant, support)
        return Adaptation(self._steps, notes)

    def begin(self, state: State) -> None:
        """Empty histories."""
        if self._site is None:
            self.adapt(state.family, state.variant, None)
        shape = (state.batch, state.variant.agents, self._model.config.history, state.family.obs_size)
        state.memory["history"] = torch.zeros(shape, device=state.action_mask.device)
        descriptor = torch.tensor(state.variant.descriptor(), device=state.action_mask.device)
        state.memory["descriptor"] = descriptor.expand(*shape[:2], -1)
        aim = QUALITIES.index(self._model.config.aim)
        state.memory["quality"] = torch.full(shape[:2], aim, device=state.action_mask.device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        memory = state.memory
        memory["history"] = torch.cat([memory["history"][:, :, 1:], obs.unsqueeze(2)], dim=2)
        with torch.no_grad():
            assert self._site is not None
            site = self._site[:, state.slot % state.variant.period].expand(*obs.shape[:2], -1)
            known = memory["history"], memory["descriptor"], memory["quality"], site
            logits = self._model(*known, state.action_mask, state.family.name)
        codec = self._model.codecs[state.family.name]
        if state.family.name in self._model.config.sampled:
            logits = logits + gumbel(state.random.uniform(*logits.shape[1:]))
        return codec.mode(logits)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return BcAgent(BehaviourCloning.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)

"""Behaviour cloning: imitate the recorded actions from the own observation history.

Same source data, shared parameters, history and few-shot support as NetWorld; no values, no planning, and no messages unless it
is `bc-inbox`, where agents broadcast a few floats a slot and hear the mean of the others' as NetWorld's do. It is told the
quality of each recording, clones all of them, and plays as the expert did: one that clones the mixture scores far less (see
docs/log). At K shots the whole network is fine-tuned on the support, and a validation split inside it decides when to stop, or
not to start.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.data.release import get_release
from ..benchmark.data.windows import Episodes, Windows, WindowSampler, load_samplers
from ..benchmark.family import QUALITIES, Family, FamilyShape, Quality, Variant
from ..benchmark.randomness import gumbel
from ..learning.checkpoint import CheckpointConfig, Pretrained, count_parameters, digest, settings_digest
from ..learning.codec import ActionCodec
from ..learning.mean_field import inboxes, read
from ..learning.modules import Standardiser
from ..learning.training import Run, Trainer, set_rate
from ..learning.tuning import tune

DEFAULT_CHECKPOINT, DEFAULT_INBOX_CHECKPOINT = "bc-small", "bc-inbox-small"
MESSAGE = 8  # floats that `bc-inbox` broadcasts, as many as NetWorld


@dataclass(frozen=True)
class BcConfig(CheckpointConfig):
    """What the network is, and how it plays.

    Attributes:
        families: shape of each family that it knows, by name.
        hidden: width.
        history: observations seen, the current one included.
        transitions: logged agent transitions that it was trained on.
        aim: which recorded quality it plays as.
        sampled: families in which it draws from its distribution; in the others it plays the mode.
        message: floats that an agent broadcasts a slot; 0 = nobody says anything.
    """

    OWNER: ClassVar[str] = "behaviour cloning"

    hidden: int = 256
    history: int = 4
    transitions: int = 0
    aim: Quality = "expert"
    sampled: tuple[str, ...] = ()
    message: int = 0


class BehaviourCloning(nn.Module, Pretrained, library_name="wbench", license="apache-2.0", tags=["behaviour-cloning"]):
    """Family-specific stem on last observations, descriptor, quality and inbox -> shared trunk -> logits of an action code."""

    PACKAGED = Path(__file__).parent / "checkpoints"

    def __init__(self, config: BcConfig | dict[str, Any]) -> None:
        super().__init__()
        c = BcConfig.from_dict(config) if isinstance(config, dict) else config
        self.config = c
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.standardiser = Standardiser({name: shape.obs_size for name, shape in c.families.items()})
        self.stems, self.heads, self.voices = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name, shape in c.families.items():
            inputs = c.history * shape.obs_size + shape.descriptor_size + len(QUALITIES) + 2 * c.message
            self.stems[name] = nn.Linear(inputs, c.hidden)
            if c.message:
                self.voices[name] = nn.Linear(shape.obs_size + shape.descriptor_size, c.message)
            self.heads[name] = nn.Linear(c.hidden, self.codecs[name].size)
        self.trunk = nn.Sequential(
            nn.LayerNorm(c.hidden), nn.SiLU(), nn.Linear(c.hidden, c.hidden), nn.LayerNorm(c.hidden), nn.SiLU()
        )

    def speak(self, obs: Tensor, descriptor: Tensor, family: str) -> Tensor:
        """What agents broadcast, [..., M], of their observations [..., O] and the variant's descriptor [..., D]."""
        if not self.config.message:
            return obs.new_zeros(*obs.shape[:-1], 0)
        known = torch.cat([self.standardiser.standardise(obs, family), descriptor], dim=-1)
        return torch.tanh(self.voices[family](known))

    def forward(self, history: Tensor, descriptor: Tensor, quality: Tensor, inbox: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [..., size] of an action code.

        Args:
            history: last observations, [..., L, O].
            descriptor: of the variant, [..., D].
            quality: who plays, indices into `QUALITIES`, [...].
            inbox: what was heard, see `benchmark.mean_field.read`, [..., 2 M].
            mask: allowed actions, [..., A].
            family: its name.
        """
        seen = self.standardiser.standardise(history, family).flatten(-2)
        x = torch.cat([seen, descriptor, one_hot(quality, len(QUALITIES)).float(), inbox], dim=-1)
        return self.codecs[family].mask(self.heads[family](self.trunk(self.stems[family](x))), mask)


def imitation_loss(model: BehaviourCloning, batch: Windows, family: str) -> Tensor:
    """Negative log-likelihood of the recorded action at the last slot of windows with `history - 1` slots before it."""
    message = model.speak(batch.obs[:, -2], batch.descriptor, family) * batch.valid[:, -2:-1]  # delivered one slot late
    inbox = read(inboxes(message, batch), batch.others.unsqueeze(-1))
    logits = model(batch.obs, batch.descriptor, batch.quality, inbox, batch.action_mask[:, -1], family)
    codec = model.codecs[family]
    return -codec.log_prob(logits, codec.encode(batch.action[:, -1])).mean()


@dataclass(frozen=True)
class BcTrainConfig:
    """How to train.

    Attributes:
        release: the data.
        steps: gradient steps.
        rows: agent windows a step, shared equally among the families.
        rate: peak learning rate; cosine decay.
        hidden: width.
        sampled: families sampled in play.
        message: floats that an agent broadcasts a slot.
        save_every: steps between resumable states.
        seed: of initialisation and sampling.
    """

    release: str = "standard"
    steps: int = 6000
    rows: int = 3072
    rate: float = 1e-3
    hidden: int = 256
    sampled: tuple[str, ...] = ("power",)
    message: int = 0
    save_every: int = 500
    seed: int = 0


DEBUG = BcTrainConfig(release="mini", steps=20, rows=256, hidden=32)
PRESETS = {"debug": DEBUG, "small": BcTrainConfig()}
INBOX_PRESETS = {"debug": replace(DEBUG, message=MESSAGE), "small": BcTrainConfig(message=MESSAGE)}


def train(
    families: Sequence[Family],
    config: BcTrainConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> BehaviourCloning:
    """Clone all qualities of the train variants.

    Args:
        families: the families; every step takes an equal share of rows from each.
        config: how to train.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told every tenth step.
    """
    run = Run(folder, config, resume, on_step)
    torch.manual_seed(config.seed)
    shapes = {family.name: FamilyShape.of(family) for family in families}
    shape = BcConfig(shapes, hidden=config.hidden, sampled=config.sampled, message=config.message)
    generator = torch.Generator().manual_seed(config.seed)
    samplers = load_samplers(families, get_release(config.release), shape.history - 1, 0, generator)
    transitions = sum(sampler.transitions for sampler in samplers.values())
    model = BehaviourCloning(replace(shape, transitions=transitions)).to(device)
    model.standardiser.fit_sources(samplers)
    optimiser = torch.optim.AdamW(model.parameters(), config.rate, weight_decay=1e-2, fused=True)
    for step in range(run.begin({"model": model, "optimiser": optimiser}, generator), config.steps):
        set_rate(optimiser, config.rate * 0.5 * (1 + math.cos(math.pi * step / config.steps)))
        losses: dict[str, Tensor] = {}
        optimiser.zero_grad()
        for name, sampler in samplers.items():
            loss = imitation_loss(model, sampler.sample(config.rows // len(samplers)).to(device), name)
            (loss / len(samplers)).backward()
            losses[f"{name}/loss"] = loss.detach()
        optimiser.step()
        if run.due(step):
            run.note(step, losses)
        run.keep(step + 1)
    run.finish(model)
    return model.eval()


TRAINER = Trainer("bc", PRESETS, train)
INBOX_TRAINER = Trainer("bc-inbox", INBOX_PRESETS, train)


class BcAgent(Agent):
    """Plays what the expert would have done.

    Args:
        model: the cloned network; adaptation works on a copy.
        steps: gradient steps of adaptation at most.
        rate: learning rate of adaptation.
        device: where it computes.
    """

    def __init__(self, model: BehaviourCloning, steps: int = 100, rate: float = 3e-5, device: str = "cpu") -> None:
        self._pretrained = self._model = model.to(device).eval()
        self._steps, self._rate = steps, rate
        self.message_size = model.config.message
        self.name = "bc-inbox" if self.message_size else "bc"
        self.parameters, self.checkpoint_digest = count_parameters(model), digest(model)
        self.settings_digest = settings_digest(model.config)
        self.source_transitions = model.config.transitions

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""
        return family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Fine-tune on the support, with early stopping on its own validation split."""
        self._pretrained.config.require(family.name)
        self._model = self._pretrained
        if support is None:
            return Adaptation()
        train_part, held_part = support.split()
        history = self._pretrained.config.history - 1
        generator = torch.Generator().manual_seed(0)
        parts = [Episodes.from_support(variant, part, history, 0) for part in (train_part, held_part)]
        sampler, checker = (WindowSampler(family, [part], generator) for part in parts)
        model = copy.deepcopy(self._pretrained)
        loss, parameters = partial(imitation_loss, model, family=family.name), list(model.parameters())
        notes = tune(parameters, loss, sampler, checker, steps=self._steps, rows=512, rate=self._rate, check=20)
        self._model = model.eval()
        return Adaptation(self._steps, notes)

    def begin(self, state: State) -> None:
        """Empty histories."""
        shape = (state.batch, state.variant.agents, self._model.config.history, state.family.obs_size)
        state.memory["history"] = torch.zeros(shape, device=state.action_mask.device)
        descriptor = torch.tensor(state.variant.descriptor(), device=state.action_mask.device)
        state.memory["descriptor"] = descriptor.expand(*shape[:2], -1)
        aim = QUALITIES.index(self._model.config.aim)
        state.memory["quality"] = torch.full(shape[:2], aim, device=state.action_mask.device)

    def message(self, obs: Tensor, state: State) -> Tensor:
        """What the network says, [B, N, M]."""
        with torch.no_grad():
            return self._model.speak(obs, state.memory["descriptor"], state.family.name)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        memory, others = state.memory, torch.tensor(state.variant.agents - 1.0, device=obs.device)
        memory["history"] = torch.cat([memory["history"][:, :, 1:], obs.unsqueeze(2)], dim=2)
        with torch.no_grad():
            known = memory["history"], memory["descriptor"], memory["quality"], read(inbox, others)
            logits = self._model(*known, state.action_mask, state.family.name)
        codec = self._model.codecs[state.family.name]
        if state.family.name in self._model.config.sampled:
            logits = logits + gumbel(state.random.uniform(*logits.shape[1:]))
        return codec.mode(logits)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return BcAgent(BehaviourCloning.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)


def build_inbox(checkpoint: str | None, device: str) -> Agent:
    """The same with messages: `bc-inbox`."""
    return build(checkpoint or DEFAULT_INBOX_CHECKPOINT, device)

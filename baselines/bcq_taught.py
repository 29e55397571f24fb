"""bcq-taught: bcq with the teaching that NetWorld has, the control for what teaching is worth without a world model.

In the families that are taught, actors on bcq's own view and on messages learn from a critic of the whole team, held to bcq's
clone of the expert; see `benchmark.teaching`. They start from a finished bcq, which stays as it is. Elsewhere it is that bcq.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.data.release import get_release
from ..benchmark.data.windows import Windows, load_samplers
from ..benchmark.family import Family, Variant
from ..errors import InvalidValueError
from ..learning.central_critic import Actor, School, Seen, pupils
from ..learning.mean_field import read
from ..learning.precision import mixed
from ..learning.training import Part, Run, Trainer, set_rate, warm_cosine
from .bcq import DEFAULT_CHECKPOINT as BASE
from .bcq import Bcq, BcqConfig
from .common.networks import AgentView, agent_views
from .common.q_agent import ValueAgent

DEFAULT_CHECKPOINT = "bcq-taught-small"


@dataclass(frozen=True)
class TaughtBcqConfig(BcqConfig):
    """As `BcqConfig`.

    Attributes:
        taught: families where a critic of the whole team taught what to do and to say.
        message: floats that an agent broadcasts a slot in these.
        actor: width of the networks that learned it.
    """

    OWNER: ClassVar[str] = "bcq-taught"

    taught: tuple[str, ...] = ()
    message: int = 8
    actor: int = 104


class TaughtBcq(Bcq):
    """A bcq, with actors in the families that were taught.

    Args:
        config: settings or their dict.
    """

    CONFIG = TaughtBcqConfig

    def __init__(self, config: TaughtBcqConfig | dict[str, Any]) -> None:
        super().__init__(config)
        c = self.lessons
        self.actors = nn.ModuleDict()
        for name in c.taught:
            c.require(name)
            shape = c.families[name]
            sizes = shape.obs_size, shape.descriptor_size, c.history, c.message, c.actor, self.codecs[name].size
            self.actors[name] = Actor(*sizes)

    @property
    def lessons(self) -> TaughtBcqConfig:
        """The settings as what they are."""
        assert isinstance(self.config, TaughtBcqConfig)
        return self.config

    def actor(self, family: str) -> Actor:
        """Who acts and speaks in a family that was taught."""
        return cast(Actor, self.actors[family])

    @torch.no_grad()
    def seen_by_actors(self, family: str, batch: Windows) -> Seen:
        """A batch of windows as the actors see it, and what the expert would do by the clone."""
        now = self.config.history
        obs = self.standardiser.standardise(batch.obs[:, : now + 2], family)
        view = AgentView(*(part[:, 1] for part in vars(agent_views(batch, now)).values()))
        sights = obs * batch.valid[:, : now + 2].unsqueeze(-1)
        return Seen(sights, batch.descriptor, self.clone(view, batch.action_mask[:, now], family), obs[:, now:])


def grown(base: Bcq, taught: tuple[str, ...], actor: int) -> TaughtBcq:
    """A network that is a bcq in all that it knows, with fresh actors in these families."""
    known = {field.name: getattr(base.config, field.name) for field in fields(base.config)}
    model = TaughtBcq(TaughtBcqConfig(**known, taught=taught, actor=actor))
    model.load_state_dict(base.state_dict(), strict=False)  # what is not there are the actors
    return model


@dataclass(frozen=True)
class LessonConfig:
    """How to teach, as NetWorld is taught.

    Attributes:
        base: checkpoint of the bcq.
        release: the data.
        taught: families that are taught, of those asked for.
        steps: gradient steps.
        rows: agent windows a step and family.
        rate: peak learning rate; linear warm-up over `warmup` steps, cosine decay to a twentieth.
        warmup: steps of warm-up.
        decay: weight decay.
        ema: rate of the moving average that gives targets, and that is saved.
        teaching: temperature at which a policy is taught.
        actor: width of the actors.
        save_every: steps between resumable states.
        seed: of initialisation and sampling.
    """

    base: str = BASE
    release: str = "standard"
    taught: tuple[str, ...] = ("access",)
    steps: int = 2500
    rows: int = 1024
    rate: float = 1e-3
    warmup: int = 200
    decay: float = 1e-2
    ema: float = 0.98
    teaching: float = 0.03
    actor: int = 104
    save_every: int = 250
    seed: int = 0


PRESETS = {"debug": LessonConfig(release="mini", steps=20, rows=256, actor=32, save_every=10), "small": LessonConfig()}


def train(
    families: Sequence[Family],
    config: LessonConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> TaughtBcq:
    """Teach a finished bcq on the recordings of the train variants.

    Args:
        families: those of them that the settings name are taught.
        config: how to teach.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told every tenth step.
    """
    chosen = [family for family in families if family.name in config.taught]
    if not chosen:
        raise InvalidValueError("--family", " ".join(family.name for family in families), " or ".join(config.taught))
    run = Run(folder, config, resume, on_step)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    model = grown(Bcq.from_pretrained(config.base), tuple(family.name for family in chosen), config.actor).to(device)
    samplers = load_samplers(chosen, get_release(config.release), model.config.history, 1, generator)
    target = copy.deepcopy(model).requires_grad_(False)
    units = {name: model.lessons.rewards[name][1] for name in model.lessons.taught}
    taught = pupils(model, target, model.lessons.families, units, target.seen_by_actors)
    school = School(taught, model.config.discount, config.teaching).to(device)
    learned = school.learned()
    optimiser = torch.optim.AdamW(learned, config.rate, betas=(0.9, 0.98), weight_decay=config.decay, fused=True)
    state: dict[str, Part] = {"model": model, "target": target, "school": school, "optimiser": optimiser}
    for step in range(run.begin(state, generator), config.steps):
        set_rate(optimiser, config.rate * warm_cosine(step, config.steps, config.warmup))
        figures: dict[str, Tensor] = {}
        optimiser.zero_grad()
        for name, sampler in samplers.items():
            with mixed(device):
                losses = school.losses(sampler.sample(config.rows).to(device), name, generator)
            (sum(losses.values(), torch.zeros((), device=device)) / len(samplers)).backward()
            figures |= {f"{name}/{part}": value.detach() for part, value in losses.items()}
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        school.follow(1 - config.ema)
        if run.due(step):
            run.note(step, figures)
        run.keep(step + 1)
    run.finish(target)
    return target.eval()


TRAINER = Trainer("bcq-taught", PRESETS, train)


class TaughtBcqAgent(ValueAgent):
    """Does and says what it was taught; in other families it plays as bcq.

    Args:
        model: the pretrained network; never changed.
        device: where it computes.
    """

    def __init__(self, model: TaughtBcq, device: str = "cpu") -> None:
        super().__init__("bcq-taught", model, tracks=("offline",), privileged_training=True, device=device)
        self._taught, self.message_size = model, model.lessons.message

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """As bcq; what was taught is left alone, its teacher is not here."""
        taught = family.name in self._taught.lessons.taught
        self.message_size = self._taught.lessons.message if taught else 0
        return super().adapt(family, variant, None if taught else support)

    def begin(self, state: State) -> None:
        """Empty histories."""
        super().begin(state)
        shape = (state.batch, state.variant.agents, self._taught.config.history)
        state.memory["sights"] = torch.zeros(*shape, state.family.obs_size, device=state.action_mask.device)
        state.memory["inboxes"] = torch.zeros(*shape, 2 * self.message_size, device=state.action_mask.device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        name, memory, model = state.family.name, state.memory, self._taught
        if name not in model.lessons.taught:
            return super().act(obs, inbox, state)
        heard = read(inbox, torch.tensor(state.variant.agents - 1.0, device=obs.device))
        for part, newest in (("sights", model.standardiser.standardise(obs, name)), ("inboxes", heard)):
            memory[part] = torch.cat([memory[part][:, :, 1:], newest.unsqueeze(2)], dim=2)
        codec, descriptor = model.codecs[name], memory["view"].descriptor
        with torch.no_grad():
            logits = model.actor(name)(memory["sights"], memory["inboxes"], descriptor)
        choice = codec.table_log_probs(codec.mask(logits, state.action_mask)).argmax(-1)
        return codec.decode(codec.table(obs.device)[choice])

    def message(self, obs: Tensor, state: State) -> Tensor:
        """What it was taught to say, [B, N, M]; nothing in other families."""
        if state.family.name not in self._taught.lessons.taught:
            return super().message(obs, state)
        with torch.no_grad():
            return self._taught.actor(state.family.name).message(state.memory["sights"][:, :, -1])


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return TaughtBcqAgent(TaughtBcq.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)

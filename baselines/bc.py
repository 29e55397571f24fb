"""Behaviour cloning: imitate the recorded actions from the own observation history.

Same source data, shared parameters, history and few-shot support as NetWorld; no messages, no values, no planning. It is told
the quality of each recording, clones all of them, and plays as the expert did: one that clones the mixture scores far less (see
LOG.md). At K shots the whole network is fine-tuned on the support, and a validation split inside it decides when to stop, or
not to start.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.checkpoint import Pretrained, count_parameters, digest
from ..benchmark.data.schema import QUALITIES
from ..benchmark.data.store import get_release
from ..benchmark.data.windows import Episodes, Windows, WindowSampler, load_episodes
from ..benchmark.family import Family, FamilyShape, Variant
from ..benchmark.two_hot import ActionCodec
from ..errors import CheckpointError, InvalidValueError, UnknownNameError

DEFAULT_CHECKPOINT = "bc-small"


@dataclass(frozen=True)
class BcConfig:
    """What the network is, and how it plays.

    Attributes:
        families: shape of each family that it knows, by name.
        hidden: width.
        history: observations seen, the current one included.
        transitions: logged agent transitions that it was trained on.
        aim: which recorded quality it plays as.
        sampled: families in which it draws from its distribution; in the others it plays the mode.
    """

    families: dict[str, FamilyShape]
    hidden: int = 256
    history: int = 4
    transitions: int = 0
    aim: str = "expert"
    sampled: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BcConfig:
        """Inverse of `to_dict`; raises `CheckpointError` on missing or unknown fields."""
        try:
            families = {name: FamilyShape.from_dict(shape) for name, shape in data["families"].items()}
            return cls(**{**data, "families": families, "sampled": tuple(data.get("sampled", ()))})
        except (TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"config.json is not behaviour cloning's: {error}.") from error


class BehaviourCloning(nn.Module, Pretrained, library_name="wbench", license="apache-2.0", tags=["behaviour-cloning"]):
    """Family-specific stem on last observations, descriptor and quality -> shared trunk -> logits of an action code."""

    PACKAGED = Path(__file__).parent / "checkpoints"

    def __init__(self, config: BcConfig | dict[str, Any]) -> None:
        super().__init__()
        c = BcConfig.from_dict(config) if isinstance(config, dict) else config
        self.config = c
        self.codecs = {name: ActionCodec(shape.actions) for name, shape in c.families.items()}
        self.stems, self.heads = nn.ModuleDict(), nn.ModuleDict()
        for name, shape in c.families.items():
            self.stems[name] = nn.Linear(c.history * shape.obs_size + shape.descriptor_size + len(QUALITIES), c.hidden)
            self.heads[name] = nn.Linear(c.hidden, self.codecs[name].size)
        self.trunk = nn.Sequential(
            nn.LayerNorm(c.hidden), nn.SiLU(), nn.Linear(c.hidden, c.hidden), nn.LayerNorm(c.hidden), nn.SiLU()
        )

    def forward(self, history: Tensor, descriptor: Tensor, quality: Tensor, mask: Tensor, family: str) -> Tensor:
        """Masked logits [..., size] of an action code.

        Args:
            history: last observations, [..., L, O].
            descriptor: of the variant, [..., D].
            quality: who plays, indices into `QUALITIES`, [...].
            mask: allowed actions, [..., A].
            family: its name.
        """
        x = torch.cat([history.flatten(-2), descriptor, one_hot(quality, len(QUALITIES)).float()], dim=-1)
        return self.codecs[family].mask(self.heads[family](self.trunk(self.stems[family](x))), mask)


def imitation_loss(model: BehaviourCloning, batch: Windows, family: str) -> Tensor:
    """Negative log-likelihood of the recorded action at the last slot of windows with `history - 1` slots before it."""
    logits = model(batch.obs, batch.descriptor, batch.quality, batch.action_mask[:, -1], family)
    codec = model.codecs[family]
    return -codec.log_prob(logits, codec.encode(batch.action[:, -1])).mean()


@dataclass(frozen=True)
class BcTrainConfig:
    """How to train: data, steps, rows a step, peak learning rate (cosine decay), width, families sampled in play, seed."""

    release: str = "standard"
    steps: int = 4000
    rows: int = 2048
    rate: float = 1e-3
    hidden: int = 256
    sampled: tuple[str, ...] = ("power",)
    seed: int = 0


PRESETS = {"debug": BcTrainConfig(release="mini", steps=20, rows=256, hidden=32), "small": BcTrainConfig()}


def train(
    families: Sequence[Family],
    config: BcTrainConfig,
    folder: Path,
    *,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> BehaviourCloning:
    """Clone all qualities of the train variants; the checkpoint goes to `folder`."""
    torch.manual_seed(config.seed)
    shapes = {family.name: FamilyShape.of(family) for family in families}
    shape = BcConfig(shapes, hidden=config.hidden, sampled=config.sampled)
    generator = torch.Generator().manual_seed(config.seed)
    sources = {family.name: load_episodes(family, get_release(config.release), shape.history - 1, 0) for family in families}
    samplers = {family.name: WindowSampler(family, sources[family.name], generator) for family in families}
    transitions = sum(source.transitions for several in sources.values() for source in several)
    model = BehaviourCloning(replace(shape, transitions=transitions)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), config.rate, weight_decay=1e-2)
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        optimiser.zero_grad()
        for name, sampler in samplers.items():
            batch = sampler.sample(config.rows // len(samplers)).to(device)
            (imitation_loss(model, batch, name) / len(samplers)).backward()
        optimiser.step()
        if on_step and (step % 10 == 0 or step + 1 == config.steps):
            on_step(step)
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    return model


def train_preset(
    families: Sequence[Family],
    name: str,
    folder: Path,
    *,
    resume: bool,
    seed: int,
    device: str,
    on_step: Callable[[int, int], None],
) -> None:
    """Entry point of `wbench train bc`; it takes a few minutes and does not resume."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS, "wbench train bc --preset small")
    if resume:
        raise InvalidValueError("--resume", resume, "left out: behaviour cloning trains in minutes and starts afresh")
    config = replace(PRESETS[name], seed=seed)
    train(families, config, folder, device=device, on_step=lambda step: on_step(step, config.steps))


class BcAgent(Agent):
    """Plays what the expert would have done.

    Args:
        model: the cloned network; adaptation works on a copy.
        steps: gradient steps of adaptation at most.
        rate: learning rate of adaptation.
        device: where it computes.
    """

    name = "bc"

    def __init__(self, model: BehaviourCloning, steps: int = 100, rate: float = 3e-5, device: str = "cpu") -> None:
        self._pretrained = self._model = model.to(device).eval()
        self._steps, self._rate = steps, rate
        self.parameters, self.checkpoint_digest = count_parameters(model), digest(model)
        self.source_transitions = model.config.transitions

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""
        return family.name in self._pretrained.config.families

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Fine-tune on the support, with early stopping on its own validation split."""
        if not self.knows(family):
            known = ", ".join(self._pretrained.config.families)
            raise CheckpointError(f"this behaviour cloning was not trained on family {family.name!r}, only on {known}.")
        self._model = self._pretrained
        if support is None:
            return Adaptation()
        train_part, held_part = support.split()
        device = next(self._pretrained.parameters()).device
        history = self._pretrained.config.history - 1
        generator = torch.Generator().manual_seed(0)
        parts = [Episodes.from_support(variant, part, history, 0) for part in (train_part, held_part)]
        sampler, checker = (WindowSampler(family, [part], generator) for part in parts)
        held = checker.sample(2048).to(device)
        model = copy.deepcopy(self._pretrained)
        optimiser = torch.optim.Adam(model.parameters(), self._rate)
        with torch.no_grad():
            before = best = float(imitation_loss(model, held, family.name))
        for step in range(1, self._steps + 1):
            optimiser.zero_grad()
            imitation_loss(model, sampler.sample(512).to(device), family.name).backward()
            optimiser.step()
            if step % 20 == 0:
                with torch.no_grad():
                    now = float(imitation_loss(model, held, family.name))
                if now < best:
                    best, self._model = now, copy.deepcopy(model).eval()
        kept = self._model is not self._pretrained
        return Adaptation(self._steps, {"loss_before": before, "loss_after": best, "kept": kept})

    def begin(self, state: State) -> None:
        """Empty histories."""
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
            known = memory["history"], memory["descriptor"], memory["quality"]
            logits = self._model(*known, state.action_mask, state.family.name)
        codec = self._model.codecs[state.family.name]
        if state.family.name in self._model.config.sampled:  # the greatest of logits with Gumbel noise is a sample
            logits = logits - torch.log(-torch.log(state.random.uniform(*logits.shape[1:])))
        return codec.mode(logits)


def build(checkpoint: str | None, device: str) -> Agent:
    """The agent from a checkpoint: a packaged name, a folder or a Hub id."""
    return BcAgent(BehaviourCloning.from_pretrained(checkpoint or DEFAULT_CHECKPOINT), device=device)

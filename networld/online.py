"""NetWorld that goes on learning from its own play in the train variants: `wbench train networld-online`.

Of what nobody did in the recordings, values are guesses. So a finished NetWorld plays, learns from what it played, and plays
again: growing-batch reinforcement learning (Lange, Gabel and Riedmiller, 'Batch reinforcement learning', 2012). The policy that
it improves is then its own of the last rounds, in the place of the recorded expert, so that round by round it moves as far as
its values reach (Abdolmaleki et al., MPO, ICLR 2018).

A family that it plays gets a network of its own, a copy that goes on; in the others nothing changes at all.
"""

from __future__ import annotations

import copy
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..benchmark.agent import State
from ..benchmark.data.paths import write_atomically
from ..benchmark.data.schema import QUALITIES
from ..benchmark.data.windows import Episodes, Windows, WindowSampler
from ..benchmark.family import Family, Variant, require
from ..benchmark.randomness import gumbel
from ..benchmark.rollout import Slot, play
from ..benchmark.training import Run, Trainer, follow, set_rate, warm_cosine
from ..errors import InvalidValueError
from .agent import NetWorldAgent
from .config import NetWorldConfig
from .losses import LossWeights, total
from .model import NetWorld
from .parallel import Processes

FIRST_SEED = 50_000_000  # scenarios that nobody else meets: no dataset, support draw, query episode, reference or MAPPO
ROUND = 100_000  # seeds kept for a round, a thousand a variant
PLAYED = "play"  # folder of what was played, while training is under way


@dataclass(frozen=True)
class OnlineConfig:
    """How to go on.

    Attributes:
        base: checkpoint that it starts from.
        played: families that it plays in.
        rounds: rounds of play, each with updates after it.
        updates: gradient steps a round.
        variants: train variants of each played family in a round, drawn at random.
        episodes: of each of them and temperature.
        exploring: temperatures at which it plays, by family; every one of them in every variant of a round.
        kept: rounds of a variant that are learned from, the last ones.
        rows: agent windows a step in a played family.
        reach: slots whose rewards are taken as they came before the value takes over.
        rate: peak learning rate; linear warm-up over `warmup` steps, cosine decay to a twentieth.
        warmup: steps of warm-up.
        decay: weight decay.
        ema: rate of the moving average that gives targets, that plays, and that is saved.
        plan_share: share of the rows that train the denoiser.
        temperatures: of the improved policy whose value is learned, by played family, in units of a slot's team reward.
        acting: the same of the policy that is played when it is done.
        save_every: steps between resumable states.
        seed: of variants and sampling.
    """

    base: str = "networld-small"
    played: tuple[str, ...] = ("power",)
    rounds: int = 24
    updates: int = 500
    variants: int = 9
    episodes: int = 8
    exploring: tuple[tuple[str, tuple[float, ...]], ...] = (("power", (0.06, 0.2, 0.5)),)
    kept: int = 4
    rows: int = 1024
    reach: int = 4
    rate: float = 5e-4
    warmup: int = 100
    decay: float = 1e-2
    ema: float = 0.98
    plan_share: float = 0.25
    temperatures: tuple[tuple[str, float], ...] = (("power", 0.2),)
    acting: tuple[tuple[str, float], ...] = (("power", 0.06),)
    save_every: int = 250
    seed: int = 0

    @property
    def steps(self) -> int:
        """Gradient steps in all."""
        return self.rounds * self.updates


PRESETS = {
    "debug": OnlineConfig(rounds=2, updates=10, variants=1, episodes=1, rows=128, warmup=5, save_every=5),
    "small": OnlineConfig(),
}


def train(
    families: Sequence[Family],
    config: OnlineConfig,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> NetWorld:
    """Go on from a finished NetWorld by its own play in train variants.

    Args:
        families: of these, it goes on in those that are played.
        config: how.
        folder: where checkpoint, resumable state and report go.
        resume: go on from the state in `folder`; without it an existing state is refused.
        device: where to train.
        on_step: told every tenth step.

    Returns:
        The moving average of the network, in evaluation mode; also saved in `folder`.

    Raises:
        InvalidValueError: it plays in none of the families or in one that is taught, or several processes train.
        CheckpointError: the base does not know one of them.
    """
    played = [family for family in families if family.name in config.played]
    if not played:
        raise InvalidValueError("--family", " ".join(family.name for family in families), " or ".join(config.played))
    require(Processes(device).count == 1, "processes", Processes(device).count, "1, without accelerate launch")
    run = Run(folder, config, resume, on_step)
    choice, noise = torch.Generator(), torch.Generator(device)
    model = _start(config, played).to(device)
    target = copy.deepcopy(model).requires_grad_(False).eval()
    c = model.config
    own = {family.name: OwnPlay(family, config, c, folder, choice) for family in played}
    learned = [parameter for family in own for parameter in model.network_for(family).parameters()]
    optimiser = torch.optim.AdamW(learned, config.rate, weight_decay=config.decay, betas=(0.9, 0.98), fused=True)
    first = run.begin({"model": model, "target": target, "optimiser": optimiser})
    if first == 0:
        shutil.rmtree(folder / PLAYED, ignore_errors=True)  # perhaps of other settings
    for step in range(first, config.steps):
        for name, book in own.items():
            book.reach(step // config.updates, target.network_for(name))
        for generator in (choice, noise):
            generator.manual_seed(config.seed * 1_000_003 + step)
        set_rate(optimiser, config.rate * warm_cosine(step, config.steps, config.warmup))
        optimiser.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        for name, book in own.items():
            networks = model.network_for(name), target.network_for(name)
            figures |= _descend(*networks, name, book.sample(config.rows), config, noise)
        figures["gradient_norm"] = nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        follow(target, model, 1 - config.ema)
        if run.due(step):
            run.note(step, figures, slots=sum(book.slots for book in own.values()))
        run.keep(step + 1)
    steps = c.source_steps + sum(book.slots for book in own.values())
    trained = NetWorld(replace(c, source_steps=steps))
    trained.load_state_dict(target.state_dict())
    run.finish(trained)
    shutil.rmtree(folder / PLAYED, ignore_errors=True)
    return trained.eval()


def _descend(
    model: NetWorld, target: NetWorld, family: str, batch: Windows, config: OnlineConfig, noise: torch.Generator
) -> dict[str, Tensor]:
    """Add the gradient of a family's batch; the loss and its parts."""
    device = noise.device
    with torch.autocast(device.type, torch.bfloat16):
        loss, parts = total(
            model, target, batch.to(device), family, LossWeights(), noise, plan_share=config.plan_share, reach=config.reach
        )
    loss.backward()
    return {f"{family}/{part}": value for part, value in {"loss": loss.detach(), **parts}.items()}


class OwnPlay:
    """What NetWorld played itself in a family, round by round; kept in a file each, so that training can be resumed.

    Args:
        family: the family.
        config: how it plays.
        network: who plays.
        folder: of the training.
        choice: the random source of windows.

    Attributes:
        slots: slots played so far, all episodes together.
    """

    def __init__(
        self, family: Family, config: OnlineConfig, network: NetWorldConfig, folder: Path, choice: torch.Generator
    ) -> None:
        self._family, self._config, self._network, self._choice = family, config, network, choice
        self._folder = folder / PLAYED / family.name
        self._variants = family.select("train")
        self._last: dict[str, deque[dict[str, Tensor]]] = {}
        self._rounds, self.slots = 0, 0
        self._sampler: WindowSampler | None = None

    def reach(self, number: int, player: NetWorld) -> None:
        """Have all rounds up to this one: read those that were played, play what is new."""
        for missing in range(self._rounds, number + 1):
            path = self._folder / f"round-{missing:03d}.safetensors"
            if missing == number and not path.exists():
                parts = {variant.name: self._play(variant, number, player) for variant in self.drawn(number)}
                found = {f"{variant}:{name}": column for variant, part in parts.items() for name, column in part.items()}
                write_atomically(path, partial(save_file, found))
            self._take(load_file(path))
            self._rounds, self._sampler = missing + 1, None

    def drawn(self, number: int) -> list[Variant]:
        """The variants of a round."""
        order = torch.randperm(len(self._variants), generator=torch.Generator().manual_seed(self._config.seed * 1009 + number))
        return [self._variants[i] for i in order[: self._config.variants].tolist()]

    def sample(self, rows: int) -> Windows:
        """A batch of windows of what is kept of the rounds."""
        if self._sampler is None:
            sources = [self._episodes(variant) for variant in self._variants if variant.name in self._last]
            self._sampler = WindowSampler(self._family, sources, self._choice)
        return self._sampler.sample(rows)

    def _episodes(self, variant: Variant) -> Episodes:
        rounds = self._last[variant.name]
        columns = {name: torch.cat([part[name] for part in rounds]) for name in rounds[0]}
        quality = torch.full((len(columns["reward"]),), QUALITIES.index(self._network.aim))
        return Episodes(variant, **columns, history=self._network.history, horizon=self._network.horizon, quality=quality)

    def _take(self, found: dict[str, Tensor]) -> None:
        rounds: dict[str, dict[str, Tensor]] = {}
        for key, column in found.items():
            variant, _, name = key.rpartition(":")
            rounds.setdefault(variant, {})[name] = column
        for variant, columns in rounds.items():
            self._last.setdefault(variant, deque(maxlen=self._config.kept)).append(columns)
            self.slots += columns["reward"].shape[:2].numel()

    def _play(self, variant: Variant, number: int, player: NetWorld) -> dict[str, Tensor]:
        """Columns [E, T, ...] of a round in one variant."""
        temperatures = torch.tensor(dict(self._config.exploring)[self._family.name]).repeat_interleave(self._config.episodes)
        first = FIRST_SEED + number * ROUND + 1000 * self._variants.index(variant)
        agent, slots = Explorer(player, temperatures), list[Slot]()
        agent.adapt(self._family, variant, None)
        device = next(player.parameters()).device
        play(self._family, variant, agent, range(first, first + len(temperatures)), device=device, record=slots.append)
        kinds = {"obs": torch.float16, "action_mask": torch.int8}
        columns = {name: torch.stack([getattr(slot, name) for slot in slots], 1).cpu() for name in (*kinds, "action", "reward")}
        return {name: column.to(kinds.get(name, column.dtype)) for name, column in columns.items()}


class Explorer(NetWorldAgent):
    """Plays samples of the improved policy without plans, every episode at a temperature of its own.

    Args:
        model: the network.
        temperatures: of the episodes, [B].
    """

    block = 1024  # what it plays need not be the same to the bit in another batch

    def __init__(self, model: NetWorld, temperatures: Tensor) -> None:
        super().__init__(model)
        self._temperatures = temperatures.to(next(model.parameters()).device)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        model, name, agents = self._model, state.family.name, state.variant.agents
        with torch.no_grad(), torch.autocast(obs.device.type, torch.bfloat16):
            view = self._see(obs.flatten(0, 1), inbox.flatten(0, 1), state)
            world, value = model.contexts(view.latents, view.inboxes, view.scenario, name)
            codec = model.codecs[name]
            prior = codec.table_log_probs(model.behaviour_logits(world, view.action_mask, name)).float()
            weight = model.critic(value, name) / self._temperatures[view.rows // agents].unsqueeze(1)
            luck = gumbel(state.random.draw().uniform(view.rows, agents, prior.shape[1]))
            choice = (prior + weight + luck).argmax(-1)
        return codec.decode(codec.table(choice.device)[choice]).unflatten(0, obs.shape[:2])


def _start(config: OnlineConfig, families: Sequence[Family]) -> NetWorld:
    """The base, with the temperatures of what comes now, and for each of the families a copy to go on with."""
    base = NetWorld.from_pretrained(config.base)
    c = base.config
    names = [family.name for family in families]
    for name in names:
        c.require(name)
    require(not {*c.taught} & {*names}, "base", config.base, f"nobody taught in {' and '.join(names)}")
    learned, acting = c.temperatures | dict(config.temperatures), c.acting | dict(config.acting)
    played = tuple(sorted({*c.played, *names}))
    model = NetWorld(replace(c, temperatures=learned, acting=acting, played=played))
    model.load_state_dict(base.state_dict(), strict=False)  # what is not there are copies
    for name in names:
        copied, whole = model.network_for(name), base.network_for(name).state_dict()
        copied.load_state_dict({key: whole[key] for key in copied.state_dict()})
    return model.train()


TRAINER = Trainer("networld-online", PRESETS, train)

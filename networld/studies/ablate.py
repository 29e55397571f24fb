"""Ablations: NetWorld with one mechanism changed or taken away, on the same episodes as the whole.

Some change how it plays; those are compared with the checkpoints themselves, each training with itself. Others change the
network, which must then be trained: they are compared with whole networks trained for as many steps. Intervals are over
trainings and sites, since what one training happens to find can be worth more than a mechanism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ...benchmark.agent import State
from ...benchmark.family import Family
from ...benchmark.protocol.runner import run_cell
from ...benchmark.protocol.spec import Protocol
from ...benchmark.protocol.statistics import Interval
from ...benchmark.protocol.trainings import interval, paired
from ...errors import CheckpointError, InvalidValueError, require_known
from ..adapt import AdaptConfig
from ..agent import NetWorldAgent
from ..config import PlannerConfig
from ..model import NetWorld
from ..train import TrainConfig, train_missing

WHOLE, WEIGHTS = "whole", "model.safetensors"
Kind = Literal["play", "network"]


@dataclass(frozen=True)
class Ablation:
    """One change.

    Attributes:
        name: what the table says.
        planner: fields of `PlannerConfig` that change.
        adaptation: fields of `AdaptConfig` that change.
        network: fields of `NetWorldConfig` that change; the network is then trained for the purpose.
        deaf: nobody hears the messages.
    """

    name: str
    planner: Mapping[str, Any] = field(default_factory=dict)
    adaptation: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    deaf: bool = False

    @property
    def kind(self) -> Kind:
        """Whether it changes how NetWorld plays, or what it is."""
        return "network" if self.network else "play"


ABLATIONS = (
    Ablation("no value", planner={"temperature": 1e6}),
    Ablation("no behaviour prior", planner={"choice": "best"}),
    Ablation("no plans", planner={"plan": False}),
    Ablation("plans alone propose", planner={"recovery": 1.0}),
    *(Ablation(f"{n} candidates, {s} steps", planner={"candidates": n, "steps": s}) for n, s in ((4, 2), (16, 10))),
    Ablation("guidance cg", planner={"guidance": "cg"}),
    Ablation("guidance cg+mcss", planner={"guidance": "cg+mcss", "candidates": 4, "steps": 2}),
    Ablation("replan 4", planner={"replan": 4}),
    Ablation("fixed turns", planner={"turns": False}),
    Ablation("nobody hears", deaf=True),
    Ablation("code refined", adaptation={"steps": 40}),
    Ablation("no pretraining", adaptation={"scratch": True}),
    Ablation("mean field off", network={"mean_field": "off"}),
    Ablation("mean field in value only", network={"mean_field": "value"}),
    Ablation("mean field in world only", network={"mean_field": "world"}),
    Ablation("value not behaviour-conditioned", network={"behaviour_conditioned": False}),
    Ablation("no shared latents", network={"shared_latents": False}),
    Ablation("no two-hot", network={"two_hot": False}),
    Ablation("slot-token transformer", network={"denoiser": "slots"}),
    Ablation("one-step model for diffusion", network={"denoiser": "direct"}),
    Ablation("no world model", network={"world_model": False}),
    Ablation("influences read", network={"reading": "influences"}),
    Ablation("no site code", network={"site": 0}),
    Ablation("no prospects", network={"outlook": 0}),
)


class DeafAgent(NetWorldAgent):
    """NetWorld with an inbox that stays empty."""

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        return super().act(obs, inbox * 0, state)


@dataclass(frozen=True)
class Networks:
    """Networks that were trained for a comparison, each several times.

    Attributes:
        folder: holds a checkpoint a name and training.
        trainings: of each network, from seeds 0, 1, ...
    """

    folder: Path
    trainings: int = 3

    def of(self, name: str) -> list[Path]:
        """The checkpoints' folders of a name, by seed of training."""
        return [self.folder / f"training-{seed}" / name.replace(" ", "-") for seed in range(self.trainings)]


@dataclass(frozen=True)
class AblationRow:
    """One ablation's outcome, by number of shots.

    Attributes:
        name: of the ablation.
        kind: whether it was trained for the purpose.
        score: IQM over trainings, variants and sites.
        difference: IQM of the paired differences to the whole.
        families: these differences in each family.
    """

    name: str
    kind: Kind
    score: Mapping[int, Interval]
    difference: Mapping[int, Interval]
    families: Mapping[str, Mapping[int, Interval]]


def select(names: Sequence[str], shots: Sequence[int]) -> tuple[Ablation, ...]:
    """The ablations of these names, or all that change something at one of these numbers of shots.

    Raises:
        UnknownNameError: there is none of a name.
        InvalidValueError: one that is named changes adaptation alone, and at zero shots nothing adapts.
    """
    known = {ablation.name: ablation for ablation in ABLATIONS}
    for name in names:
        require_known("ablation", name, known, 'wbench study ablate --only "mean field off"')
        if known[name].adaptation and not any(shots):
            raise InvalidValueError("--shots", "0", f"1 or more for {name!r}: at zero shots nothing adapts")
    return tuple(known[name] for name in names) or tuple(a for a in ABLATIONS if any(shots) or not a.adaptation)


def ablate(
    checkpoints: Sequence[str],
    ablations: Sequence[Ablation],
    protocol: Protocol,
    networks: Networks | None,
    on_cell: Callable[[str], object],
) -> Iterator[AblationRow]:
    """Play the protocol with the whole and with each ablation.

    Args:
        checkpoints: trainings of the whole NetWorld, one or more.
        ablations: what to change.
        protocol: what is played.
        networks: checkpoints of each network ablation and of the whole, see `train_networks`.
        on_cell: told the ablation's name after every cell.

    Raises:
        CheckpointError: a network is missing, or a cell failed.
    """
    kinds = dict.fromkeys(ablation.kind for ablation in ablations)
    if "network" in kinds:
        _require_networks(ablations, networks)
    for kind in kinds:
        whole: list[Played] = []
        for ablation in [Ablation(WHOLE), *(each for each in ablations if each.kind == kind)]:
            sources = checkpoints if kind == "play" or networks is None else networks.of(ablation.name)
            told = partial(on_cell, ablation.name)
            played = [score_cells(_agent(str(source), ablation), protocol, told) for source in sources]
            whole = whole or played
            name = f"{WHOLE}, as long trained" if (kind, ablation.name) == ("network", WHOLE) else ablation.name
            yield _row(name, kind, protocol, played, whole)


def train_networks(
    families: Sequence[Family],
    ablations: Sequence[Ablation],
    config: TrainConfig,
    networks: Networks,
    on_step: Callable[[str, int, Mapping[str, float]], None],
) -> None:
    """Train the whole and every network ablation that `networks` lacks, one training of all and then the next."""
    changed = [ablation for ablation in ablations if ablation.kind == "network"]
    for seed in range(networks.trainings):
        for ablation in [Ablation(WHOLE), *changed] if changed else []:
            own = replace(config, seed=seed, network=(*config.network, *ablation.network.items()))
            name = f"{ablation.name}, training {seed + 1} of {networks.trainings}"
            train_missing(families, own, networks.of(ablation.name)[seed], partial(on_step, name))


def _require_networks(ablations: Sequence[Ablation], networks: Networks | None) -> None:
    wanted = networks or Networks(Path("runs/ablations"))
    names = [WHOLE, *(ablation.name for ablation in ablations if ablation.kind == "network")]
    missing = [name for name in names if not networks or not all((source / WEIGHTS).exists() for source in wanted.of(name))]
    if missing:
        hint = f"wbench study ablate --networks {wanted.folder} --trainings {wanted.trainings} --train-steps 1000"
        raise CheckpointError(f"no network trained {wanted.trainings} times for {', '.join(map(repr, missing))}. Try: {hint}")


def _agent(checkpoint: str, ablation: Ablation) -> NetWorldAgent:
    maker = DeafAgent if ablation.deaf else NetWorldAgent
    planner, adaptation = PlannerConfig(**ablation.planner), AdaptConfig(**ablation.adaptation)
    return maker(NetWorld.from_pretrained(checkpoint), planner, adaptation)


Played = dict[int, np.ndarray]  # scores [variants, sites] by number of shots


def score_cells(agent: NetWorldAgent, protocol: Protocol, on_cell: Callable[[], object]) -> Played:
    """Scores [variants, sites] by number of shots."""
    found: dict[int, list[list[float]]] = {shots: [[] for _ in protocol.variants] for shots in protocol.shots}
    for cell in protocol.cells():
        result = run_cell(agent, cell, protocol.episodes)
        if result.score is None:
            raise CheckpointError(f"{cell.variant} at {cell.shots} shots failed: {result.failure}")
        found[cell.shots][protocol.variants.index(cell.variant)].append(result.score)
        on_cell()
    return {shots: np.array(scores) for shots, scores in found.items()}


def _row(name: str, kind: Kind, protocol: Protocol, ours: list[Played], whole: list[Played]) -> AblationRow:
    def table(played: list[Played], shots: int) -> np.ndarray:
        return np.stack([one[shots] for one in played])  # [trainings, variants, sites]

    def differences(shots: int, chosen: Sequence[int]) -> Interval:
        x, y = (table(played, shots)[:, chosen] for played in (ours, whole))
        return interval(x - y) if kind == "play" else paired(x, y)

    everywhere = range(len(protocol.variants))
    members = {f: [i for i in everywhere if protocol.variants[i].partition("/")[0] == f] for f in protocol.families()}
    return AblationRow(
        name,
        kind,
        {shots: interval(table(ours, shots)) for shots in protocol.shots},
        {shots: differences(shots, everywhere) for shots in protocol.shots},
        {f: {shots: differences(shots, chosen) for shots in protocol.shots} for f, chosen in members.items()},
    )

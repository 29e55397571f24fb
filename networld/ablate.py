"""Ablations: NetWorld with one mechanism changed or taken away, on the same episodes as the whole.

Some change how it plays; those are compared with the checkpoint itself. Others change the network, which must then be trained:
they are compared with a whole network trained for as many steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..benchmark.agent import State
from ..benchmark.family import Family
from ..benchmark.protocol import Protocol
from ..benchmark.runner import run_cell
from ..benchmark.statistics import Interval, interval, paired
from ..errors import CheckpointError, InvalidValueError, UnknownNameError
from .adapt import AdaptConfig
from .agent import NetWorldAgent
from .config import PlannerConfig
from .model import NetWorld
from .train import TrainConfig, train_missing

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
    Ablation("nobody taught", planner={"taught": False}),
    Ablation("no behaviour prior", planner={"choice": "best"}),
    Ablation("no inverse dynamics", planner={"recovery": 0.0}),
    Ablation("plans alone propose", planner={"recovery": 1.0}),
    Ablation("guidance none", planner={"guidance": "none"}),
    Ablation("guidance cg", planner={"guidance": "cg"}),
    Ablation("guidance cg+mcss", planner={"guidance": "cg+mcss"}),
    *(Ablation(f"candidates {n}", planner={"candidates": n}) for n in (1, 2, 8, 16, 32)),
    *(Ablation(f"steps {n}", planner={"steps": n}) for n in (1, 10)),
    Ablation("replan 4", planner={"replan": 4}),
    Ablation("nobody hears", deaf=True),
    Ablation("no adaptation", adaptation={"steps": 0}),
    Ablation("no pretraining", adaptation={"scratch": True}),
    Ablation("mean field off", network={"mean_field": "off"}),
    Ablation("mean field in value only", network={"mean_field": "value"}),
    Ablation("mean field in world only", network={"mean_field": "world"}),
    Ablation("value blind to who plays", network={"adjusted": ()}),
    Ablation("no shared latents", network={"shared_latents": False}),
    Ablation("no two-hot", network={"two_hot": False}),
    Ablation("slot-token transformer", network={"denoiser": "slots"}),
)


class DeafAgent(NetWorldAgent):
    """NetWorld with an inbox that stays empty."""

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        return super().act(obs, inbox * 0, state)


@dataclass(frozen=True)
class Row:
    """One ablation's outcome: IQM by number of shots, and its paired difference to the whole."""

    name: str
    kind: Kind
    score: Mapping[int, Interval]
    difference: Mapping[int, Interval]


def select(names: Sequence[str], shots: Sequence[int]) -> tuple[Ablation, ...]:
    """The ablations of these names, or all that change something at one of these numbers of shots.

    Raises:
        UnknownNameError: there is none of a name.
        InvalidValueError: one that is named changes adaptation alone, and at zero shots nothing adapts.
    """
    known = {ablation.name: ablation for ablation in ABLATIONS}
    for name in names:
        if name not in known:
            raise UnknownNameError("ablation", name, known, 'wbench ablate --only "mean field off"')
        if known[name].adaptation and not any(shots):
            raise InvalidValueError("--shots", "0", f"1 or more for {name!r}: at zero shots nothing adapts")
    return tuple(known[name] for name in names) or tuple(a for a in ABLATIONS if any(shots) or not a.adaptation)


def ablate(
    checkpoint: str,
    ablations: Sequence[Ablation],
    protocol: Protocol,
    networks: Path | None,
    on_cell: Callable[[str], object],
) -> Iterator[Row]:
    """Play the protocol with the whole and with each ablation.

    Args:
        checkpoint: the whole NetWorld.
        ablations: what to change.
        protocol: what is played.
        networks: folder with a checkpoint for each network ablation and for the whole, see `train_networks`.
        on_cell: told the ablation's name after every cell.
    """
    kinds = dict.fromkeys(ablation.kind for ablation in ablations)
    if "network" in kinds:
        _require_networks(ablations, networks)
    for kind in kinds:
        whole = checkpoint if kind == "play" else str(_folder(networks, WHOLE))
        reference = score_cells(_agent(whole, Ablation(WHOLE)), protocol, partial(on_cell, WHOLE))
        yield _row(WHOLE if kind == "play" else f"{WHOLE}, as long trained", kind, reference, reference)
        for ablation in (each for each in ablations if each.kind == kind):
            source = whole if kind == "play" else str(_folder(networks, ablation.name))
            scores = score_cells(_agent(source, ablation), protocol, partial(on_cell, ablation.name))
            yield _row(ablation.name, kind, scores, reference)


def train_networks(
    families: Sequence[Family],
    ablations: Sequence[Ablation],
    config: TrainConfig,
    folder: Path,
    on_step: Callable[[str, int], None],
) -> None:
    """Train the whole and every network ablation that `folder` lacks; see `train_missing`."""
    changed = [ablation for ablation in ablations if ablation.kind == "network"]
    for ablation in [Ablation(WHOLE), *changed] if changed else []:
        own = replace(config, network=(*config.network, *ablation.network.items()))
        train_missing(families, own, _folder(folder, ablation.name), partial(on_step, ablation.name))


def _require_networks(ablations: Sequence[Ablation], networks: Path | None) -> None:
    names = [WHOLE, *(ablation.name for ablation in ablations if ablation.kind == "network")]
    missing = [name for name in names if networks is None or not (_folder(networks, name) / WEIGHTS).exists()]
    if missing:
        hint = "wbench ablate --networks runs/ablations --train-steps 1000"
        raise CheckpointError(f"no trained network for {', '.join(map(repr, missing))}. Try: {hint}")


def _folder(networks: Path | None, name: str) -> Path:
    assert networks is not None
    return networks / name.replace(" ", "-")


def _agent(checkpoint: str, ablation: Ablation) -> NetWorldAgent:
    maker = DeafAgent if ablation.deaf else NetWorldAgent
    planner, adaptation = PlannerConfig(**ablation.planner), AdaptConfig(**ablation.adaptation)
    return maker(NetWorld.from_pretrained(checkpoint), planner, adaptation)


def score_cells(agent: NetWorldAgent, protocol: Protocol, on_cell: Callable[[], object]) -> dict[int, list[list[float]]]:
    """Scores [variant][seed] by number of shots."""
    found: dict[int, list[list[float]]] = {shots: [[] for _ in protocol.variants] for shots in protocol.shots}
    for cell in protocol.cells():
        result = run_cell(agent, cell, protocol.episodes)
        if result.score is None:
            raise CheckpointError(f"{cell.variant} at {cell.shots} shots failed: {result.failure}")
        found[cell.shots][protocol.variants.index(cell.variant)].append(result.score)
        on_cell()
    return found


def _row(name: str, kind: Kind, ours: dict[int, list[list[float]]], whole: dict[int, list[list[float]]]) -> Row:
    scores = {shots: interval(values) for shots, values in ours.items()}
    return Row(name, kind, scores, {shots: paired(values, whole[shots]) for shots, values in ours.items()})

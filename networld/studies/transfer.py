"""Leave one family out: a NetWorld of the others learns the family that it has never seen from K episodes.

Both tracks have the same network, scale, seed, episodes and steps; they differ in nothing but the weights that families share,
which are pretrained on the other families or as fresh as the new family's own. So the difference is what transfer is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...benchmark.agent import Adaptation, Support
from ...benchmark.data.windows import Episodes
from ...benchmark.family import Family, FamilyShape, Variant
from ...benchmark.protocol.spec import FAMILIES, Protocol
from ...benchmark.protocol.statistics import Interval, interval, paired
from ...benchmark.registry import get_family
from ...errors import CheckpointError, require
from ..adapt import AdaptConfig, fresh, train_whole
from ..agent import NetWorldAgent
from ..config import NetWorldConfig
from ..model import NetWorld
from ..train import TrainConfig, train_missing, widened
from .ablate import WEIGHTS, score_cells


@dataclass(frozen=True)
class TransferRow:
    """One family left out, at one number of shots: IQM of both tracks, and their paired difference."""

    family: str
    shots: int
    transferred: Interval
    scratch: Interval
    difference: Interval


def extended(network: NetWorldConfig, family: Family, variant: Variant, support: Support) -> NetWorldConfig:
    """Settings of the same network with one family more, whose unit and range of values are those of the support alone.

    Raises:
        CheckpointError: the network knows the family already.
        InvalidValueError: the team's reward is the same in all slots of the support, and so has no scale.
    """
    name = family.name
    if name in network.families:
        raise CheckpointError(f"this NetWorld knows {name!r} already, so nothing is left out. Give one trained on others.")
    unit = round(float(support.reward.sum(-1).std()), 4)
    require(unit > 0, f"the team's reward in the support of {variant.name}", "always the same", "of some deviation")
    episodes = Episodes.from_support(variant, support, network.history, network.horizon)
    return replace(
        network,
        families={**network.families, name: FamilyShape.of(family)},
        units={**network.units, name: unit},
        values={**network.values, name: widened(episodes.value_range(network.discount), unit)},
        pay_units={**network.pay_units, name: max(round(float(support.reward.std()), 5), 1e-5)},
        own_rewards={**network.own_rewards, name: widened((float(support.reward.min()), float(support.reward.max())), 1.0)},
        temperatures={**network.temperatures, name: 1.0},  # as in pretraining where nobody has tuned it
    )


def graft(pretrained: NetWorld, family: Family, variant: Variant, support: Support, seed: int = 0) -> NetWorld:
    """A copy of a network that knows one family more: its own weights and, for the new family's parts, fresh ones.

    Args:
        pretrained: the network; must not know the family.
        family: the new family.
        variant: the variant of the support.
        support: the K episodes that are all there is to know of the family.
        seed: of the new family's parts.

    Raises:
        CheckpointError: the network knows the family already.
        InvalidValueError: the support has no scale, see `extended`.
    """
    model = fresh(extended(pretrained.config, family, variant, support), family, support, seed)
    model.load_state_dict(pretrained.state_dict(), strict=False)  # what is not there are the new family's parts
    return model.to(next(pretrained.parameters()).device)


class TransferAgent(NetWorldAgent):
    """NetWorld in a family that is new to it; with `scratch` in its adaptation the pretrained weights stay out of it."""

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Add the family and train every weight on the support."""
        require(support is not None, "shots", 0, "1 or more: nothing is known of a new family without an episode of it")
        assert support is not None
        pretrained, seed = self._pretrained, self.adaptation.seed
        if self.adaptation.scratch:
            network = extended(pretrained.config, family, variant, support)
            start = fresh(network, family, support, seed).to(next(pretrained.parameters()).device)
        else:
            start = graft(pretrained, family, variant, support, seed)
        adapted = train_whole(start, family, variant, support, self.adaptation)
        self._model, self._site = adapted.model, adapted.site
        return Adaptation(adapted.steps, adapted.notes)


def transfer(
    networks: Path, protocol: Protocol, adaptation: AdaptConfig, on_cell: Callable[[], object]
) -> Iterator[TransferRow]:
    """Play the protocol with both tracks; rows by family left out and number of shots.

    Args:
        networks: folder with a checkpoint for each family left out, see `train_networks`.
        protocol: what is played; the families of its variants are left out in turn.
        adaptation: how to learn the new family.
        on_cell: called after every cell of either track.

    Raises:
        CheckpointError: a network is missing, or knows the family that it was to leave out.
    """
    for name, model in {name: _network(networks, name) for name in protocol.families()}.items():
        variants = tuple(variant for variant in protocol.variants if variant.partition("/")[0] == name)
        part = replace(protocol, variants=variants)
        ours, theirs = (
            score_cells(TransferAgent(model, adaptation=replace(adaptation, scratch=scratch)), part, on_cell)
            for scratch in (False, True)
        )
        for shots in part.shots:
            values, fresh_values = ours[shots], theirs[shots]
            yield TransferRow(name, shots, interval(values), interval(fresh_values), paired(values, fresh_values))


def train_networks(
    families: Sequence[str], config: TrainConfig, folder: Path, on_step: Callable[[str, int, Mapping[str, float]], None]
) -> None:
    """Train a network on the others for each family left out that `folder` lacks; see `train_missing`.

    Args:
        families: names of those to leave out, one at a time.
        config: how to train.
        folder: where the networks' folders are.
        on_step: told the name of the family left out, the steps that are logged and their figures.
    """
    for name in families:
        others = [get_family(other) for other in FAMILIES if other != name]
        train_missing(others, config, _folder(folder, name), partial(on_step, name))


def _network(networks: Path, family: str) -> NetWorld:
    """The network that does not know this family; raises `CheckpointError`."""
    folder = _folder(networks, family)
    if not (folder / WEIGHTS).exists():
        hint = f"wbench study transfer --networks {networks} --train-steps 1000"
        raise CheckpointError(f"no trained network in {folder}. Try: {hint}")
    model = NetWorld.from_pretrained(folder)
    if family in model.config.families:
        known = ", ".join(model.config.families)
        raise CheckpointError(f"{folder} was trained on {known}, not without {family}. Give another --networks.")
    return model


def _folder(networks: Path, family: str) -> Path:
    return networks / f"without-{family}"

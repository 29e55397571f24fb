"""The tier *rerun*: a random sample of cells is played again from the checkpoint and the seeds, in a process of its own.

What was claimed stays in this process, and what is played there is compared here.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

from ...benchmark.protocol.runner import CellResult
from ...benchmark.registry import plugins
from ...benchmark.user_code import is_file
from ...errors import CheckpointError, InvalidValueError, TrustError, require
from ..provenance import UNREGISTERED, file_version, hardware
from ..result import Result
from ..schema import AgentRecord, Origin
from ..summary import headline_shots
from .child import Job, play_again
from .unlike import unlike

LEAST = 6  # cells that a record of a rerun has, or all there are
NEAR = 1e-4  # of a return or a quality of service: what the same computation may round otherwise
_COUNTED = ("support_transitions", "environment_steps", "gradient_steps", "message_bits", "planner_calls", "query_steps")


def _quietly(total: int) -> Callable[[], None]:
    return lambda: None


@dataclass(frozen=True)
class Plan:
    """How to play again.

    Attributes:
        cells: how many, drawn at random.
        seed: of the draw; None = a fresh one, so that nobody knows which cells need not be right.
        trust: may run code of other packages and fetch checkpoints from the Hub.
        checkpoint: folder of the weights, where the result names none that can be found.
        agent: `FILE.py[:ATTR]` of an agent that no package registers; run only if it is the file that the result names.
        tolerance: points by which a cell's score may be off; 0 = every episode must be the same.
        device: where to play.
        bar: told how many cells and questions there are, once they are drawn; what it returns is called after each of them.
    """

    cells: int = LEAST
    seed: int | None = None
    trust: bool = False
    checkpoint: str | None = None
    agent: str | None = None
    tolerance: float = 0.0
    device: str = "cpu"
    bar: Callable[[int], Callable[[], None]] = _quietly

    def __post_init__(self) -> None:
        require(self.cells >= 1, "--cells", self.cells, "1 or more")
        require(0.0 <= self.tolerance <= 100.0, "--tolerance", self.tolerance, "in [0, 100] points of score")


@dataclass(frozen=True)
class Replayed:
    """A cell that was played again: by how much its score is off, and how many of its episodes are the same."""

    variant: str
    site: int
    shots: int
    score: float | None
    score_again: float | None
    same_episodes: int
    episodes: int


@dataclass(frozen=True)
class Rerun:
    """What was found: the seed of the sample, the cells of it, and what does not hold."""

    seed: int
    replayed: tuple[Replayed, ...] = ()
    problems: tuple[str, ...] = field(default=())


def rerun(result: Result, plan: Plan) -> Rerun:
    """Play a sample of cells again.

    Raises:
        TrustError: that would run or fetch something that `plan` does not trust.
        CheckpointError: the checkpoint cannot be found or loaded.
        UnknownNameError: the agent or track is not installed here.
        InvalidValueError: its agent's file or package is missing, or another than the one that was played.
    """
    seed = secrets.randbelow(2**31) if plan.seed is None else plan.seed
    chosen = sample(result, plan.cells, seed)
    if not chosen:
        return Rerun(seed, (), ("there is no cell to play again",))
    logs = result.contract.get("support", {}).get("kind", "site")
    asked = [cell.cell for cell in questions(result, chosen)]
    job = Job(*_agent(result, plan), [cell.cell for cell in chosen], asked, result.contract["episodes"], plan.device, logs)
    replayed: list[Replayed] = []
    problems: list[str] = []
    with play_again(job) as (loaded, answers):
        if wrong := tuple(_about_agent(result, loaded)):
            return Rerun(seed, (), wrong)
        advance = plan.bar(len(chosen) + len(asked))
        for cell, again in zip(chosen, islice(answers, len(chosen)), strict=True):
            assert isinstance(again, CellResult)
            replayed.append(_replayed(cell, again))
            problems += (f"{cell.cell}: {line}" for line in _about_cell(cell, again, replayed[-1], plan.tolerance))
            advance()
        for peeked in answers:
            problems += [peeked] if isinstance(peeked, str) and peeked else []
            advance()
    if problems and not plan.tolerance:
        problems += _elsewhere(result, plan.device)
    return Rerun(seed, tuple(replayed), tuple(problems))


def sample(result: Result, cells: int, seed: int) -> list[CellResult]:
    """The cells that are played again: one of each family at the headline's shots first, then any others."""
    draw = random.Random(seed)
    pool = draw.sample(result.cells, len(result.cells))
    shots = headline_shots(result.contract["shots"])
    first = {cell.family: cell for cell in pool if cell.shots == shots}  # the last of each family in a random order
    heads = draw.sample(list(first.values()), len(first))
    return [*heads, *(cell for cell in pool if cell not in heads)][:cells]


def questions(result: Result, chosen: Sequence[CellResult]) -> list[CellResult]:
    """Cells in which an agent is asked whether it looks at others: of each family one at zero shots and one after some."""
    played = [cell for cell in (*chosen, *result.cells) if not cell.failure]  # what is played again anyway comes first
    found: dict[tuple[str, bool], CellResult] = {}
    for cell in played:
        found.setdefault((cell.family, cell.shots > 0), cell)
    families = {cell.family for cell in chosen}
    return [cell for (family, _), cell in found.items() if family in families]


def _elsewhere(result: Result, device: str) -> Iterator[str]:
    """What may excuse the episodes that differ: other sums on another machine."""
    then, here = result.hardware, hardware(device)
    if (then.cpu, then.device) != (here.cpu, here.device):
        both = f"played on {then.cpu} ({then.device}), again on {here.cpu} ({here.device})"
        yield f"{both}: --tolerance 0.5 compares scores and ledgers alone"


def _agent(result: Result, plan: Plan) -> tuple[str, str | None, str | None, bool]:
    """Name, checkpoint, track of the agent that a result names, and whether it is a user's file."""
    name = _file(result, plan) if result.package.name == UNREGISTERED else _registered(result, plan)
    checkpoint = plan.checkpoint or _checkpoint(result.origin, plan.trust)
    track = result.track if result.label != result.agent else None
    return name, checkpoint, track, plan.agent is not None


def _registered(result: Result, plan: Plan) -> str:
    """The name of an agent that a package registers, if it may be run."""
    if plan.agent is not None:
        raise InvalidValueError("--agent", plan.agent, f"left out: {result.agent!r} is of the package {result.package.name}")
    if result.agent in plugins():
        dist, played = plugins()[result.agent].dist, result.package
        if not plan.trust:
            raise TrustError(f"agent {result.agent!r}, code of {dist.name if dist else 'another package'},", "run")
        given = (dist.name, dist.version) if dist else ("unknown", "unknown")  # a record would be of other code than is shown
        wanted = f"{played.name} {played.version}, which was played: pip install {played.name}=={played.version}"
        require(given == (played.name, played.version), f"the package of {result.agent!r} here", " ".join(given), wanted)
    return result.agent


def _file(result: Result, plan: Plan) -> str:
    """The file of an agent that no package registers, if it is the one that was played and may be run."""
    played = result.package.version
    if plan.agent is None:
        raise InvalidValueError("--agent", None, f"FILE.py, the file of {result.agent!r}: it is in no package")
    require(bool(is_file(plan.agent)), "--agent", plan.agent, "FILE.py or FILE.py:ATTR")
    path = Path(re.sub(r":\w+$", "", plan.agent))
    try:
        given = file_version(path)
    except OSError as error:
        raise InvalidValueError("--agent", plan.agent, f"a file that can be read ({error.strerror})") from error
    require(given == played, f"SHA-256 of {path}", f"{given[:16]}...", f"{played[:16]}..., of the file that was played")
    if not plan.trust:
        raise TrustError(f"{path}, the code of {result.agent!r},", "run")
    return plan.agent


def _checkpoint(origin: Origin, trust: bool) -> str | None:
    if origin.kind == "folder":
        raise CheckpointError("the result names no checkpoint that can be found, only its digest. Add --checkpoint FOLDER.")
    if origin.kind != "hub":
        return origin.name or None
    if not trust:
        raise TrustError(f"checkpoint {origin.name}@{origin.revision[:12]} of the Hub", "downloaded")
    return fetch(origin)


def fetch(origin: Origin) -> str:
    """Download the checkpoint of a Hub origin at its commit, weights and config alone; returns the folder."""
    from huggingface_hub import snapshot_download

    from ...benchmark.data.hub_mirror import hub_errors

    with hub_errors(f"{origin.name}@{origin.revision}"):
        wanted = ["config.json", "model.safetensors"]
        return str(snapshot_download(origin.name, revision=origin.revision or None, allow_patterns=wanted))


def _about_agent(claimed: AgentRecord, loaded: AgentRecord) -> Iterator[str]:
    apart = {"agent", "package", "origin"}  # what loads the same weights is the same, wherever they came from
    names = [field.name for field in fields(AgentRecord) if field.name not in apart]
    ours, theirs = ({name: getattr(one, name) for name in names} for one in (claimed, loaded))
    yield from unlike(ours, theirs, "")


def _replayed(cell: CellResult, again: CellResult) -> Replayed:
    same = sum(_near(a, b) for a, b in zip(cell.returns, again.returns, strict=False))
    return Replayed(cell.variant, cell.site, cell.shots, cell.score, again.score, same, len(cell.returns))


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= NEAR * max(1.0, abs(b))


def _about_cell(cell: CellResult, again: CellResult, found: Replayed, tolerance: float) -> Iterator[str]:
    if bool(cell.failure) != bool(again.failure):
        yield f"failure is {cell.failure!r:.80}, but {again.failure!r:.80} when played again"
        return
    counted: dict[str, Any] = {name: getattr(again.ledger, name) for name in _COUNTED}
    yield from unlike({name: getattr(cell.ledger, name) for name in _COUNTED}, counted, "ledger.")
    if cell.failure:
        return
    assert found.score is not None and found.score_again is not None
    if tolerance:
        if abs(found.score - found.score_again) > tolerance:
            yield f"scores {found.score:.2f}, but {found.score_again:.2f} when played again, more than {tolerance:g} points off"
        return
    if found.same_episodes < found.episodes:
        differ = found.episodes - found.same_episodes
        yield f"{differ} of {found.episodes} returns differ; score {found.score:.2f}, {found.score_again:.2f} when played again"
    if cell.qos.keys() != again.qos.keys():
        yield f"qos has {', '.join(cell.qos) or 'nothing'}, but {', '.join(again.qos)} when played again"
    for name in cell.qos.keys() & again.qos.keys():
        if not all(_near(a, b) for a, b in zip(cell.qos[name], again.qos[name], strict=True)):
            yield f"qos.{name} differs"

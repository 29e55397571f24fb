"""Scores an agent under the few-shot protocol, beside others on the same episodes: the one verb of the benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..benchmark.agent import Agent
from ..benchmark.processes import check_device
from ..benchmark.protocol.executor import AgentSpec, Task, check_options, play_all
from ..benchmark.protocol.journal import AgentKey, Journal, alone
from ..benchmark.protocol.runner import CellResult
from ..benchmark.protocol.spec import Cell, Protocol
from ..benchmark.protocol.spec import protocol as get_protocol
from ..benchmark.registry import code_of_others, get_family, list_agents, plugins, require_own_name
from ..benchmark.site import parse_sites, text_of
from ..errors import CheckpointError, InterruptedRunError, InvalidValueError, OutputError, require
from . import provenance
from .progress import bars
from .provenance import agent_record
from .result import VERSION, Result
from .schema import AgentRecord, Hardware, Rival
from .summary import Grid, differences, row_fields, scores_of

USUAL = ("random", "belief", "estimator")  # rivals that are played where nobody says which


def evaluate(
    agent: str | Path | Agent,
    protocol: str | Protocol = "quick",
    *,
    family: str | Sequence[str] | None = None,
    variant: str | Sequence[str] | None = None,
    shots: int | Iterable[int] | None = None,
    sites: str | Iterable[int] | None = None,
    episodes: int | None = None,
    against: str | Agent | Sequence[str | Agent] | None = (),
    jobs: int | None = 1,
    executor: str | None = None,
    out: Path | str | None = None,
    progress: bool = True,
    track: str | None = None,
    checkpoint: Path | str | None = None,
    device: str = "cpu",
    address: str | None = None,
    support: str = "site",
    referee: bool = False,
) -> Result:
    """Score an agent under the few-shot protocol, beside others on the same episodes.

    Args:
        agent: a name of `list_agents`; or `FILE.py[:ATTR]`, which is run as your own code; or an `Agent`, which plays in this
            process.
        protocol: `quick`, `lite` or `full`; or a `Protocol`.
        family: these families only.
        variant: these variants instead.
        shots: numbers of support episodes K instead.
        sites: sites instead, as numbers or a text like `0-4` (held out), `dev:0-9`.
        episodes: query episodes a cell instead.
        against: rivals, `NAME`, `NAME/TRACK` or an `Agent`; None = those of `USUAL` that know the families.
        jobs: worker processes; None = one here, all free cores with Ray. The numbers are the same.
        executor: `local` (None) or `ray`, for a cluster.
        out: result file. Finished cells are kept beside it; the same call goes on from them.
        progress: whether to show bars on standard error.
        track: `offline`, `scratch` or `online`; None = the agent's first.
        checkpoint: folder, Hub id or packaged name; None = the packaged one.
        device: where agents and environments compute, `cpu` or `cuda`.
        address: of a running Ray cluster, e.g. `auto`; None = start one on this machine.
        support: whose logs agents adapt on: `site`, or a control: `wrong` (another site's) or `shifted` (all random).
        referee: whether sealed sites may be played; the result cannot be submitted.

    Returns:
        The result; cells in which an agent failed are in it, with the reason and without a score.

    Raises:
        UnknownNameError: of the agent, its track, the protocol, a family or a variant.
        InvalidValueError: of any other argument.
        CheckpointError: a checkpoint cannot be loaded, or an agent was not trained on a family that is played.
        OutputError: `out` cannot be written, or holds something else.
        ExecutorError: a worker died; finished cells are kept.
        InterruptedRunError: the user stopped it; the message says how to go on.
    """
    where = executor or "local", jobs, address
    check_options(*where)
    check_device(device)
    cells = {"shots": shots, "sites": sites, "episodes": episodes}
    chosen = _protocol(protocol, family, variant, cells, support, referee)
    ours = _Run.of(agent, None if checkpoint is None else str(checkpoint), device, track)
    runs = [ours, *_rivals(ours, chosen, against, device)]
    here = where[:2] in (("local", None), ("local", 1)) or not any(run.here for run in runs)
    require(here, "jobs", jobs, "1 for an Agent, which plays in this process; or give its name or FILE.py")
    _require_knowledge(runs, chosen)
    target = None if out is None else Path(out).expanduser()
    with alone(target):
        _play(runs, chosen, None if target is None else _resume(runs, chosen, target), where, progress)
        rows = [(run.record, [run.cells[cell] for cell in chosen.cells()]) for run in runs]
        result = compose(chosen, rows, provenance.hardware(device))
        if target:
            result.save(target)
    return result


@dataclass
class _Run:
    """One agent on one protocol, finished or not.

    Attributes:
        spec: how to build the agent elsewhere.
        agent: the agent.
        key: tells it apart from others, by its code as it was when it was loaded.
        record: which agent it is, as it was before it played.
        here: it was handed over as it is, and cannot be built elsewhere.
        cells: cells played, failed ones too.
    """

    spec: AgentSpec
    agent: Agent
    key: AgentKey
    record: AgentRecord
    here: bool = False
    cells: dict[Cell, CellResult] = field(default_factory=dict)

    @classmethod
    def of(cls, agent: str | Path | Agent, checkpoint: str | None, device: str, track: str | None) -> _Run:
        """An agent that is built here first: its name, its track and its checkpoint are checked, its weights are noted."""
        if isinstance(agent, Agent):
            return cls._of_object(agent, checkpoint, device, track)
        if checkpoint and "/" in checkpoint and Path(checkpoint).expanduser().is_dir():
            checkpoint = str(Path(checkpoint).expanduser().resolve())  # workers on a cluster start in a folder of their own
        spec = AgentSpec(str(agent), checkpoint, device, track)
        built = spec.build()
        spec = replace(spec, track=built.track, weights=(built.checkpoint_digest, built.settings_digest))
        return cls(spec, built, AgentKey.of(built), agent_record(built, checkpoint))

    @classmethod
    def _of_object(cls, agent: Agent, checkpoint: str | None, device: str, track: str | None) -> _Run:
        if checkpoint is not None:
            raise InvalidValueError("checkpoint", checkpoint, "left out for an Agent, which has its weights already")
        module = type(agent).__module__.partition(".")[0]
        registered = plugins().get(agent.name)
        own = registered.value.partition(".")[0].partition(":")[0] if registered else __name__.partition(".")[0]
        if agent.name not in list_agents() or module != own:
            require_own_name(agent, "that was given")
        if track is not None:
            agent.enter(track)
        spec = AgentSpec(agent.name, None, device, agent.track)
        return cls(spec, agent, AgentKey.of(agent), agent_record(agent), here=True)


def _protocol(
    given: str | Protocol,
    family: str | Sequence[str] | None,
    variant: str | Sequence[str] | None,
    cells: Mapping[str, Any],
    support: str,
    referee: bool,
) -> Protocol:
    """What is played: a protocol by name, with other `shots`, `sites` and `episodes` where `cells` says so."""
    if isinstance(given, Protocol):
        changes = {"family": family, "variant": variant, **cells}
        changes |= {"support": support if support != "site" else None, "referee": referee or None}
        for name, value in changes.items():
            if value is not None:
                raise InvalidValueError(name, value, "left out where a Protocol is given, which says it already")
        return given
    shots = cells["shots"]
    return get_protocol(
        given,
        families=[family] if isinstance(family, str) else family,
        variants=[variant] if isinstance(variant, str) else variant,
        sites=_sites(cells["sites"], referee),
        shots=[shots] if isinstance(shots, int) else shots,
        episodes=cells["episodes"],
        support=support,
        referee=referee,
    )


def _sites(given: str | Iterable[int] | None, referee: bool) -> tuple[int, ...] | None:
    """Numbers of the sites asked for; raises `InvalidValueError` for sealed ones, unless it is the referee who asks."""
    if given is None or isinstance(given, str):
        return given if given is None else parse_sites(given, referee)
    return tuple(number for site in given for number in parse_sites(text_of(site), referee))


def _rivals(ours: _Run, protocol: Protocol, against: str | Agent | Sequence[str | Agent] | None, device: str) -> Iterator[_Run]:
    """The others that play, each once; of the usual ones those that were trained on all the families."""
    families, seen = list(map(get_family, protocol.families())), {ours.agent.label}
    for rival in [against] if isinstance(against, str | Agent) else USUAL if against is None else against:
        if isinstance(rival, Agent):
            run = _Run.of(rival, None, device, None)
        else:
            name, _, track = (rival, "", "") if rival.partition(":")[0].endswith(".py") else rival.partition("/")
            run = _Run.of(name, None, device, track or None)
        if run.agent.label not in seen and (against is not None or all(map(run.agent.knows, families))):
            seen.add(run.agent.label)
            yield run


def _require_knowledge(runs: Sequence[_Run], protocol: Protocol) -> None:
    """Raise an error before anything is played if an agent was not trained on a family that is."""
    families = list(map(get_family, protocol.families()))
    for agent in (run.agent for run in runs):
        with code_of_others(f"{agent.label}.knows"):
            known = [family.name for family in families if agent.knows(family)]
        if strange := [family.name for family in families if family.name not in known]:
            hint = f"Add {' '.join(f'--family {name}' for name in known)}." if known else "Train it there, or play others."
            raise CheckpointError(f"{agent.label} was not trained on {' and '.join(strange)}. {hint}")


def _resume(runs: Sequence[_Run], protocol: Protocol, out: Path) -> Journal:
    """Take over what was played before; the journal beside a result file is what says that the file is of this very run."""
    refuse = "It is left as it is: give another --out, or move it away."
    path = out.with_name(out.name + ".cells.jsonl")
    if out.exists() and not path.exists():
        raise OutputError(f"--out {str(out)!r} exists, without the cells of this run beside it. {refuse}")
    journal = Journal(path, protocol, runs[0].key)
    for run in runs:
        run.cells = journal.cells(run.key)
    if out.exists() and not runs[0].cells:
        raise OutputError(f"--out {str(out)!r} holds a result of other code of {runs[0].agent.label}. {refuse}")
    return journal


def _play(
    runs: Sequence[_Run],
    protocol: Protocol,
    journal: Journal | None,
    where: tuple[str, int | None, str | None],
    progress: bool,
) -> None:
    """Play the cells that have no score yet, by an executor; each is in the journal before the next one is waited for."""
    by_spec, cells = {run.spec: run for run in runs}, protocol.cells()
    tasks = [
        Task(run.spec, cell, protocol.episodes, protocol.support)
        for run in runs
        for cell in cells
        if cell not in run.cells or run.cells[cell].failure
    ]
    built = {run.spec: run.agent for run in runs}
    with bars({run.spec: run.agent.label for run in runs}, tasks, protocol, progress) as (on_slot, on_cell):
        try:
            for task, found in play_all(tasks, *where, on_slot, built):
                run = by_spec[task.agent]
                run.cells[task.cell] = found
                if journal:
                    journal.add(run.key, found)
                on_cell(task)
        except KeyboardInterrupt:
            count = f"{sum(len(run.cells) for run in runs)} of {len(runs) * len(cells)} cells"
            kept = f"{count} are in {journal.path}; the same command goes on" if journal else "to resume, add --out FILE"
            raise InterruptedRunError(f"interrupted; {kept}.") from None


def compose(protocol: Protocol, rows: Sequence[tuple[AgentRecord, Sequence[CellResult]]], hardware: Hardware) -> Result:
    """The result of an agent and its rivals.

    Args:
        protocol: what they played.
        rows: each with its cells, in the protocol's order; the first is the one that the result is about.
        hardware: what they played on.
    """
    contract, (record, cells) = protocol.contract(), rows[0]
    grid, scores = Grid.of(contract), scores_of(contract, cells)
    rivals = [
        Rival(**vars(other), **row_fields(contract, theirs), difference=differences(grid, scores, scores_of(contract, theirs)))
        for other, theirs in rows[1:]
    ]
    return Result(
        **vars(record),
        **row_fields(contract, cells),
        schema=VERSION,
        protocol=protocol.name,
        protocol_hash=protocol.hash(),
        contract=contract,
        releases=tuple(provenance.releases(protocol.families())),
        comparison=tuple(rivals),
        command=provenance.command(record, protocol, device=hardware.device),
        versions=provenance.versions(),
        hardware=hardware,
    )

"""The group `study`: what each mechanism of NetWorld is worth, how true its world model is, how a training went."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import Add, Json, OnlyFamilies, answer, numbers, progress
from ..errors import InvalidValueError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..benchmark.protocol.spec import Protocol
    from ..networld.model import NetWorld
    from ..networld.train import TrainConfig

Variants = Annotated[
    list[str] | None, typer.Option(help="These variants; may be repeated. Left out: two train variants a family.")
]
Sites = Annotated[str, typer.Option(help="Sites, e.g. dev:0-2.")]
Episodes = Annotated[int, typer.Option(help="Episodes a cell.")]
TrainSteps = Annotated[int, typer.Option(help="Train the networks that the folder lacks, for so many steps; 0: none.")]
app = typer.Typer(help="Studies of NetWorld and of trainings: what a mechanism is worth, how true the world model is.")
Checkpoint = Annotated[str, typer.Option(help="A checkpoint of NetWorld: folder, Hub id or packaged name.")]
PLAYED = 2  # train variants of a family: a choice that is made by this table has not seen a held-out one


@app.command()
def ablate(
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Trainings of NetWorld: folders, Hub ids, packaged names; may be repeated. Left out: networld-small."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="These ablations only; may be repeated. Left out: all that need no training, or all with --networks."
        ),
    ] = None,
    family: OnlyFamilies = None,
    variant: Variants = None,
    shots: Annotated[str, typer.Option(help="Numbers of support episodes, with commas.")] = "0",
    sites: Sites = "dev:0-2",
    episodes: Episodes = 8,
    networks: Annotated[
        Path | None, typer.Option(help="Folder of networks that were trained without a mechanism. Left out: none is played.")
    ] = None,
    train_steps: TrainSteps = 0,
    trainings: Annotated[int, typer.Option(help="Trainings of each network that is trained for the purpose.")] = 3,
    as_json: Json = False,
) -> None:
    """Play NetWorld with one mechanism changed or taken away, on the same episodes as the whole."""
    from ..benchmark.protocol.spec import FAMILIES
    from ..benchmark.registry import get_family
    from ..networld.studies import ablate as ablations

    chosen = _protocol(family, variant, numbers("--shots", shots), sites, episodes)
    wanted = [a for a in ablations.select(only or (), chosen.shots) if only or a.kind == "play" or networks]
    require(trainings >= 1, "--trainings", trainings, "1 or more; a claim needs 3")
    trained, wholes = ablations.Networks(networks, trainings) if networks else None, checkpoint or ["networld-small"]
    with progress() as add:
        if trained and train_steps:
            small = _small(train_steps)
            tasks = [get_family(name) for name in family or FAMILIES]
            ablations.train_networks(tasks, wanted, small, trained, _bars(add, small.steps))
        times = [trainings if a.kind == "network" else len(wholes) for a in wanted]
        compared = {a.kind: n for a, n in zip(wanted, times, strict=True)}
        advance = add("cells", len(chosen.cells()) * (sum(times) + sum(compared.values())), 0)
        rows = list(ablations.ablate(wholes, wanted, chosen, trained, lambda _: advance(1)))
    played = {"variants": chosen.variants, "sites": sites, "episodes": episodes, "trainings": trainings if trained else None}
    header = ["", *(f"{what} at {k}" for k in chosen.shots for what in ("score", "against the whole"))]
    cells = [[(f"{row.score[k]}", f"{row.difference[k]:+.1f}") for k in chosen.shots] for row in rows]
    table = [[row.name, *chain.from_iterable(parts)] for row, parts in zip(rows, cells, strict=True)]
    answer(as_json, played | {"rows": [asdict(row) for row in rows]}, header, table)


@app.command()
def transfer(
    networks: Annotated[Path, typer.Option(help="Folder of the networks that lack a family each.")] = Path("runs/transfer"),
    family: Annotated[
        list[str] | None, typer.Option(help="Leave these families out only; may be repeated. Left out: each in turn.")
    ] = None,
    variant: Variants = None,
    shots: Annotated[str, typer.Option(help="Numbers of support episodes, 1 or more each, with commas.")] = "5",
    sites: Sites = "dev:0-2",
    episodes: Episodes = 8,
    steps: Annotated[int | None, typer.Option(help="Gradient steps on the support. Left out: 300.")] = None,
    train_steps: TrainSteps = 0,
    as_json: Json = False,
) -> None:
    """Leave one family out: a NetWorld of the others learns it from K episodes, beside one that starts from scratch."""
    from ..networld.adapt import AdaptConfig
    from ..networld.studies import transfer as study

    chosen = _protocol(family, variant, numbers("--shots", shots, least=1), sites, episodes)
    adaptation = AdaptConfig() if steps is None else AdaptConfig(whole_steps=steps)
    with progress() as add:
        if train_steps:
            small = _small(train_steps)
            study.train_networks(chosen.families(), small, networks, _bars(add, small.steps))
        advance = add("cells", 2 * len(chosen.cells()), 0)
        rows = list(study.transfer(networks, chosen, adaptation, lambda: advance(1)))
    told = {"variants": chosen.variants, "sites": sites, "episodes": episodes, "rows": [asdict(row) for row in rows]}
    table = [[row.family, str(row.shots), f"{row.transferred}", f"{row.scratch}", f"{row.difference:+.1f}"] for row in rows]
    answer(as_json, told, ["family left out", "shots", "transferred", "from scratch", "difference"], table)


@app.command()
def fidelity(
    checkpoint: Checkpoint = "networld-small",
    family: OnlyFamilies = None,
    rows: Annotated[int, typer.Option(help="Agent windows a family.")] = 2048,
    as_json: Json = False,
) -> None:
    """Measure how true the world model is, in fresh episodes of train variants: rollouts, likelihood, calibration."""
    from ..networld.model import NetWorld

    require(rows >= 100, "--rows", rows, "100 or more")
    model = NetWorld.from_pretrained(checkpoint)
    found = _measured(model, family or list(model.config.families), rows)
    table: list[list[str]] = []
    for name, report in found.items():
        table += [
            [name, f"KS distance of {what}, 1 / 4 / 8 slots ahead", " / ".join(f"{x:.3f}" for x in distances.values())]
            for what, distances in report["ks"].items()
        ]
        pairs = {"value": report["value"], "action named, top 1": report["top1"], "reward, nats": report["reward_nats"]}
        pairs |= {"next latent, squared error": report["next_latent_error"], "clone, top 1": report["behaviour_top1"]}
        table += [[name, what, ", ".join(f"{key} {value:.3f}" for key, value in part.items())] for what, part in pairs.items()]
    answer(as_json, found, ["family", "what", "measured"], table)


@app.command()
def logs(
    file: Annotated[Path, typer.Argument(help="What a network recorded: .csv or .parquet.")],
    variant: Annotated[str, typer.Option(help="The public description of the network, e.g. access/n8-c3-load0.15-l48.")],
    checkpoint: Checkpoint = "networld-small",
    draws: Annotated[int, typer.Option(help="Random slots of the logs that are looked at, all agents in each.")] = 160,
    as_json: Json = False,
) -> None:
    """Read logs of your own network, and measure what the world model learns from them: docs/guides/own-logs.md."""
    from ..benchmark.acting.logs import load_logs
    from ..learning.place import load_world

    support = load_logs(file, variant)
    found = load_world("networld", checkpoint).at(variant, support).fidelity(draws)
    if not as_json:
        print(support)
    told = "of each log, once the model has read the others"
    rows = [("pay", found.pay, told), ("pay", found.pay_unread, "the same, when it has read none")]
    rows.append(("next observation", found.obs, told))
    table = [[what, f"{share:.2f}", where] for what, share, where in rows]
    answer(as_json, asdict(found), ["what", "share explained", ""], table)


@app.command()
def report(
    checkpoint: Annotated[str, typer.Argument(help="Folder of a training, of any agent, or packaged name.")],
    out: Annotated[Path | None, typer.Option(help="The PNG. Left out: training_report.png in the folder.")] = None,
    fidelity: Annotated[
        bool, typer.Option("--fidelity", help="Of NetWorld: measure its world model too, in a minute.")
    ] = False,
    rows: Annotated[int, typer.Option(help="Agent windows a family that --fidelity compares.")] = 2048,
) -> None:
    """Draw a training, finished or going on: its losses, and the figures of `wbench study fidelity` below them."""
    from ..benchmark.data.paths import require_ours
    from ..benchmark.data.publish import packaged_checkpoints
    from ..cards import training_report

    require(rows >= 100, "--rows", rows, "100 or more")
    if out:
        require_ours(out, [training_report.MARK], "Give another --out.")
    folder = packaged_checkpoints().get(checkpoint, Path(checkpoint))
    log = training_report.read_log(folder)
    measured = None
    if fidelity:
        from ..networld.model import NetWorld

        require(bool(log.finished), "--fidelity", f"for {folder}, whose training goes on", "left out until it is finished")
        model = NetWorld.from_pretrained(folder)
        measured = _measured(model, list(model.config.families), rows)
    picture = out or folder / training_report.PICTURE
    last = log.entries[-1]
    state = "" if log.finished else ", going on"
    title = f"{folder.resolve().name}: {last['step'] + 1} steps, {last['seconds'] / 60:.0f} min{state}"
    training_report.draw(log, picture, title, measured)
    print(picture)


def _measured(model: NetWorld, families: Sequence[str], rows: int) -> dict[str, dict[str, Any]]:
    """Fidelity in train variants of these families."""
    from ..benchmark.registry import get_family
    from ..networld.studies.fidelity import fidelity

    found = {}
    with progress() as add:
        advance = add("families", len(families), 0)
        for name in families:
            task = get_family(name)
            model.shape(name)
            found[name] = fidelity(model, task, task.select("train")[:PLAYED], rows=rows)
            advance(1)
    return found


def _protocol(families: list[str] | None, given: list[str] | None, shots: list[int], sites: str, episodes: int) -> Protocol:
    """Plays the variants given, of the families if there are any; without them two train variants of each family."""
    from ..benchmark.protocol.spec import FAMILIES, protocol
    from ..benchmark.registry import get_family
    from ..benchmark.site import parse_sites

    wanted = [get_family(name) for name in families or FAMILIES]
    labels = [each.name for each in wanted]
    for name in given or ():
        if families and name.partition("/")[0] not in labels:
            raise InvalidValueError("--variant", name, f"of {', '.join(labels)}, or leave --family out")
    names = given or [variant.name for each in wanted for variant in each.select("train")[:PLAYED]]
    return protocol("lite", variants=names, shots=shots, sites=parse_sites(sites), episodes=episodes)


def _small(steps: int) -> TrainConfig:
    """The preset that ships, for so many steps."""
    from ..networld.train import PRESETS

    require(steps >= 1, "--train-steps", steps, "1 or more")
    return replace(PRESETS["small"], steps=steps)


def _bars(add: Add, steps: int) -> Callable[[str, int, Mapping[str, float]], None]:
    """A progress bar for each training of so many steps, as it begins; takes its name, the step that it is at, and figures."""
    bar = cache(lambda name: add(f"train {name}", steps))
    return lambda name, step, figures: bar(name).trained(step, figures)

"""The commands that look into NetWorld: what each mechanism is worth, and how true its world model is."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Json, print_rows, progress
from .errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .networld.ablate import Row

inside = typer.Typer()
Checkpoint = Annotated[str, typer.Option(help="Folder, Hub id or packaged name.")]
TUNING = {  # train variants: a choice that is made by this table has not seen a held-out one
    "access": ("access/n8-c1-load0.4", "access/n12-c1-load0.3"),
    "power": ("power/n10-d800-v1-load0.5", "power/n20-d1200-v1-load0.7"),
    "offload": ("offload/n10-e3-p0.3", "offload/n20-e3-p0.3"),
}


@inside.command()
def ablate(
    checkpoint: Checkpoint = "networld-small",
    only: Annotated[list[str] | None, typer.Option(help="These ablations only; may be repeated.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="These families only; may be repeated.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="These variants instead of two train variants a family.")] = None,
    shots: Annotated[str, typer.Option(help="Numbers of support episodes.")] = "0",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    episodes: Annotated[int, typer.Option(help="Episodes a cell.")] = 8,
    networks: Annotated[Path | None, typer.Option(help="Folder of the ablated networks' checkpoints.")] = None,
    train_steps: Annotated[int, typer.Option(help="Train those that the folder lacks, for so many steps.")] = 0,
    as_json: Json = False,
) -> None:
    """NetWorld with one mechanism changed or taken away, on the same episodes as the whole; on train variants by default."""
    from .benchmark.protocol import protocol as get_protocol
    from .benchmark.registry import get_family
    from .networld import ablate as ablations
    from .networld.train import TRAINER

    families = family or list(TUNING)
    tasks = [get_family(name) for name in families]
    names = variant or [name for each in families for name in TUNING.get(each, ())]
    if not names:
        raise InvalidValueError("--family", ", ".join(families), "one of " + ", ".join(TUNING) + ", or give --variant")
    try:
        numbers = [int(part) for part in shots.split(",")]
    except ValueError:
        raise InvalidValueError("--shots", shots, "whole numbers with commas, e.g. 0,5") from None
    chosen = get_protocol("lite", variants=names, shots=numbers, seeds=seeds, episodes=episodes)
    wanted = [a for a in ablations.select(only or ()) if only or a.kind == "play" or networks]
    bars: dict[str, Callable[[int], None]] = {}
    with progress() as add:
        if networks and train_steps:
            config = replace(TRAINER.preset("small"), steps=train_steps)
            seen: dict[str, int] = {}

            def on_step(name: str, step: int) -> None:
                if name not in bars:
                    bars[name] = add(f"train {name}", train_steps, 0)
                bars[name](step - seen.get(name, 0))
                seen[name] = step

            ablations.train_networks(tasks, wanted, config, networks, on_step)
        advance = add("cells", len(chosen.cells()) * (len(wanted) + len({a.kind for a in wanted})), 0)
        rows = list(ablations.ablate(checkpoint, wanted, chosen, networks, lambda _: advance(1)))
    if as_json:
        print(json.dumps({"variants": names, "seeds": seeds, "episodes": episodes, "rows": [asdict(row) for row in rows]}))
        return
    header = ["", *(f"{what} at {k}" for k in chosen.shots for what in ("score", "against the whole"))]
    print_rows(header, [[row.name, *(_cell(row, k, signed) for k in chosen.shots for signed in (False, True))] for row in rows])


@inside.command()
def fidelity(
    checkpoint: Checkpoint = "networld-small",
    family: Annotated[list[str] | None, typer.Option(help="These families only; may be repeated.")] = None,
    rows: Annotated[int, typer.Option(help="Agent windows a family.")] = 2048,
    as_json: Json = False,
) -> None:
    """How true the world model is: imagined rollouts against fresh episodes of train variants, likelihood, calibration."""
    from .benchmark.registry import get_family
    from .networld.fidelity import fidelity as measure
    from .networld.model import NetWorld

    if rows < 100:
        raise InvalidValueError("--rows", rows, "100 or more")
    model = NetWorld.from_pretrained(checkpoint)
    found = {}
    with progress() as add:
        names = family or list(model.config.families)
        advance = add("families", len(names), 0)
        for name in names:
            task = get_family(name)
            model.shape(name)
            listed = TUNING.get(name) or tuple(v.name for v in task.select("train")[:2])
            found[name] = measure(model, task, [task.variant(label) for label in listed], rows=rows)
            advance(1)
    if as_json:
        print(json.dumps(found))
        return
    table = []
    for name, report in found.items():
        table += [
            [name, f"KS distance of {what}, 1 / 4 / 8 slots ahead", " / ".join(f"{x:.3f}" for x in distances.values())]
            for what, distances in report["ks"].items()
        ]
        pairs = {"reward, nats": report["reward_nats"], "value": report["value"], "action named, top 1": report["top1"]}
        table += [[name, what, ", ".join(f"{key} {value:.3f}" for key, value in part.items())] for what, part in pairs.items()]
    print_rows(["family", "what", "measured"], table)


def _cell(row: Row, shots: int, signed: bool) -> str:
    found = row.difference[shots] if signed else row.score[shots]
    form = "+.1f" if signed else ".1f"
    if found.ci_low is None or found.ci_high is None:
        return format(found.iqm, form)
    return f"{found.iqm:{form}} [{found.ci_low:{form}}, {found.ci_high:{form}}]"

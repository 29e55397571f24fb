"""The commands that make a checkpoint and describe it: train, checkpoint card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..console import check_device, progress
from ..errors import CheckpointError, InterruptedRunError

Trainable = Annotated[str, typer.Argument(help="The agent; `wbench list` names those that are trainable.", show_default=False)]


def train(
    agent: Trainable,
    preset: Annotated[str, typer.Option(help="How to train: debug (seconds) or small (as packaged).")] = "small",
    family: Annotated[
        list[str] | None,
        typer.Option(help="This family only; may be repeated. Left out: all of the protocol.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint. Left out: runs/AGENT-PRESET.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the interrupted training in the folder.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of initialisation and sampling.")] = 0,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
) -> None:
    """Train an agent on the train variants, from their offline data or by playing them.

    Data that are not here are recorded first. Interrupted with Ctrl-C, `--resume` goes on.
    """
    from ..benchmark.protocol.spec import FAMILIES
    from ..benchmark.registry import get_family
    from ..cards.model_card import write_model_card
    from ..learning.parallel import rank
    from ..learning.training import STATE, get_trainer

    check_device(device)
    trainer, tasks = get_trainer(agent), [get_family(name) for name in family or FAMILIES]
    folder = out or Path("runs") / f"{agent}-{preset}"
    steps = trainer.preset(preset).steps
    with progress() as add:
        bar = add(f"{agent} {preset}", steps, later=True)
        try:
            trainer(tasks, preset, folder, resume=resume, seed=seed, device=device, on_step=bar.trained)
        except KeyboardInterrupt:
            kept = f"--resume goes on from what is in {folder}" if (folder / STATE).exists() else "nothing was saved yet"
            raise InterruptedRunError(f"interrupted; {kept}.") from None
    if rank() > 0:  # several processes train together; the first one writes and speaks
        return
    write_model_card(folder, agent, tasks)
    parts = "".join(f" --family {name}" for name in family or ())
    print(f"checkpoint in {folder}; play it with: wbench eval --agent {agent} --checkpoint {folder}{parts}")


def card(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint.", show_default=False)],
    agent: Annotated[str, typer.Option(help="The agent that it is of; `wbench list` names those that are trainable.")],
    results: Annotated[
        Path | None, typer.Option(help="Result file of `wbench eval --out` with this checkpoint.", show_default=False)
    ] = None,
) -> None:
    """Write the model card (README.md) of a checkpoint from its config, training report and results."""
    from ..benchmark.registry import get_family
    from ..cards.model_card import write_model_card
    from ..learning.training import get_trainer

    get_trainer(agent)
    try:
        families = json.loads((folder / "config.json").read_text(encoding="utf-8"))["families"]
        document = json.loads(results.read_text(encoding="utf-8")) if results else None
        write_model_card(folder, agent, [get_family(name) for name in families], document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot read {folder}/config.json, its report or the results: {error!r:.200}.") from error
    print(folder / "README.md")

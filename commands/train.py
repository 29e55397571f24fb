"""The commands that make a checkpoint and describe it: train, checkpoint card."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..console import plain, progress
from ..errors import CheckpointError, InterruptedRunError, InvalidValueError, require

Trainable = Annotated[str, typer.Argument(help="The agent; `wbench list` names those that are trainable.")]
Preset = Annotated[
    str, typer.Option(help="How to train: debug (seconds), tiny (a quarter of small's steps) or small (as packaged).")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE, e.g. learning_rate=3e-4; may be repeated. Left out: the preset's."),
]
Families = Annotated[
    list[str] | None,
    typer.Option(help="This family only, or FILE.py[:ATTR] with your own; may be repeated. Left out: all of the protocol."),
]
Data = Annotated[
    str | None,
    typer.Option(help="A release (mini, standard), or a folder that `wbench data build --to` filled. Left out: the preset's."),
]
Logs = Annotated[
    list[str] | None,
    typer.Option(help="Where figures go: csv, tensorboard, trackio or wandb; may be repeated. Left out: the folder."),
]


def train(
    agent: Trainable,
    preset: Preset = "small",
    settings: Settings = None,
    steps: Annotated[int | None, typer.Option(help="Steps. Left out: the preset's.")] = None,
    family: Families = None,
    data: Data = None,
    log: Logs = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the checkpoint. Left out: runs/AGENT-PRESET.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the interrupted training in the folder.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of initialisation and sampling.")] = 0,
    device: Annotated[str, typer.Option(help="Where to train: cpu or cuda.")] = "cpu",
) -> None:
    """Train an agent on the train variants, from their offline data or by playing them.

    Data that are not here are recorded first. Interrupted with Ctrl-C, `--resume` goes on. `wbench show AGENT` lists the
    settings that `--set` takes.
    """
    from dataclasses import asdict

    from ..benchmark.processes import check_device
    from ..benchmark.protocol.spec import FAMILIES
    from ..benchmark.registry import get_family, typed
    from ..cards.model_card import write_model_card
    from ..learning.logging import make_loggers
    from ..learning.parallel import rank
    from ..learning.training import get_trainer

    check_device(device)
    trainer, tasks = get_trainer(agent), [get_family(name) for name in dict.fromkeys(family or FAMILIES)]
    folder = out or Path("runs") / f"{agent}-{preset}"
    config = trainer.settings(preset, tasks, steps, [*(settings or []), *_release(agent, trainer.preset(preset), data)], seed)
    logger = make_loggers(log or [], folder, folder.name, asdict(config))
    with progress() as add, _interruptible(folder):
        bar = add(f"{agent} {preset}", config.steps, later=True)
        trainer.fit(tasks, config, folder, resume=resume, device=device, on_step=bar.trained, logger=logger)
    if rank() > 0:  # several processes train together; the first one writes and speaks
        return
    write_model_card(folder, agent, tasks)
    parts = "".join(f" --family {typed(name)}" for name in family or ())
    typed_folder = shlex.quote(str(folder))
    print(f"checkpoint in {folder}; play it with: wbench eval --agent {agent} --checkpoint {typed_folder}{parts}")
    print(f"its training as a picture: wbench study report {typed_folder}")


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    """Say what is left of a training in this folder that the user stops."""
    from ..benchmark.processes import last_words
    from ..learning.run import STATE

    try:
        with last_words(plain(f"--resume goes on from what was saved in {folder}, if anything was")):
            yield
    except KeyboardInterrupt:
        kept = f"--resume goes on from what is in {folder}" if (folder / STATE).exists() else "nothing was saved yet"
        raise InterruptedRunError(f"interrupted; {kept}.") from None


def _release(agent: str, config: Any, data: str | None) -> list[str]:
    """The setting that `--data` stands for; of a folder, the release that is in it, whose files are read there."""
    from ..benchmark.data.release import RELEASES

    if data is None:
        return []
    require(bool(hasattr(config, "release")), "--data", data, f"left out: {agent} learns by playing and reads no data")
    if data in RELEASES:
        return [f"release={data}"]
    folder = Path(data)
    found = [name for name, release in RELEASES.items() if any(folder.glob(f"*-{release.id}"))]
    if not found:
        where = "a folder with some, e.g. of `wbench data build --to DIR`"
        raise InvalidValueError("--data", data, f"a release ({', '.join(RELEASES)}), or {where}")
    os.environ["WBENCH_DATASETS"] = str(folder.resolve())
    return [f"release={config.release if config.release in found else found[0]}"]


def card(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint.")],
    agent: Annotated[str, typer.Option(help="The agent that it is of; `wbench list` names those that are trainable.")],
    results: Annotated[
        Path | None, typer.Option(help="A file of `wbench eval --out` with this checkpoint. Left out: none.")
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

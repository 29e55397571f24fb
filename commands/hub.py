"""The commands about the Hub: the group `hub`, and the group `checkpoint` of trained agents on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import Json
from ..errors import MissingPackageError, OutputError
from .data import DryRun, Namespace, Private, print_published
from .train import card

checkpoint = typer.Typer(help="Trained agents: their model cards, and where they are published.")
hub = typer.Typer(help="A Hugging Face Hub for a lab without internet.")
checkpoint.command()(card)


@checkpoint.command("publish")
def publish_checkpoint(
    namespace: Namespace,
    name: Annotated[str, typer.Argument(help="A packaged checkpoint or a folder.")] = "networld-small",
    version: Annotated[str, typer.Option(help="The version; the tag is vVERSION.")] = "1.0.0",
    private: Private = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Publish a checkpoint as NAMESPACE/NAME: one commit, then the tag vVERSION, which never moves."""
    from ..benchmark.data.publish import publish_checkpoint as push

    print_published([push(name, namespace, version, private=private, dry_run=dry_run)], as_json)


@checkpoint.command()
def freeze() -> None:
    """Write down the SHA-256 of the packaged checkpoints, after one was replaced (for developers)."""
    from ..learning.checkpoint import freeze as write

    print(write())


@hub.callback()
def _hub() -> None:
    """A Hugging Face Hub for a lab without internet."""


@hub.command()
def serve(
    folder: Annotated[Path, typer.Option(help="The folder that keeps its repositories.")] = Path("hub"),
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 or :: for the whole network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 picks a free one.")] = 8000,
) -> None:
    """Run a Hub until Ctrl-C, and print the line that clients put into their shell.

    There is no encryption and no real accounts: it is for a lab's own network.
    """
    try:
        from ..hub import serve as run
    except ModuleNotFoundError as error:
        raise MissingPackageError(f'the Hub needs {error.name}. Install it with: pip install "wbench[hub]"') from error
    try:
        run(folder, host, port, lambda line: print(line, flush=True))
    except (OSError, OverflowError) as error:
        raise OutputError(f"cannot serve {folder} on {host}:{port}: {error}. Give another --port or --folder.") from error

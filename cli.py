"""The command line: parse, call the library, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from .commands.board import board
from .commands.data import data, print_datasets
from .commands.evaluate import evaluation
from .commands.studies import inside
from .console import Json, check_device, print_rows, progress, training_bar
from .errors import CheckpointError, ConformanceError, InterruptedRunError, InvalidValueError, WbenchError

app = typer.Typer(
    name="wbench",
    help="Offline multi-agent reinforcement learning for wireless networks: datasets, NetWorld, one few-shot protocol.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(evaluation)
app.add_typer(data)
app.add_typer(board)
app.add_typer(inside)
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this version of typer keeps click


def main() -> None:
    """Entry point: every expected error is one line on standard error and its exit code."""
    try:
        code = app(standalone_mode=False)
        if code == 130:  # typer tells an interruption by its code alone
            _fail(KeyboardInterrupt(), "interrupted", code)
    except WbenchError as error:
        code = _fail(error, str(error), error.exit_code)
    except _USAGE_ERROR as error:
        code = _misused(error)
    except (typer.Abort, KeyboardInterrupt) as error:
        code = _fail(error, "interrupted", 130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code if isinstance(code, int) else 0)


def _misused(error: Any) -> int:
    """A command line that does not parse; one without any command asks for the help, and gets it."""
    context = error.ctx
    if context and type(error).__name__ == "NoArgsIsHelpError":
        print(context.get_help())
        return 0
    return _fail(error, f"{error.format_message()} Try: {context.command_path if context else 'wbench'} --help", 2)


def _fail(error: BaseException, message: str, code: int) -> int:
    if os.environ.get("WBENCH_DEBUG"):
        raise error
    print(f"wbench: {' '.join(message.split())}", file=sys.stderr)
    return code


def _version(wanted: bool) -> None:
    if wanted:
        print(f"wbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options that stand before the command."""


@app.command()
def train(
    agent: Annotated[str, typer.Argument(help="See `wbench list`, trainable.")],
    preset: Annotated[str, typer.Option(help="debug (seconds) or small (as packaged).")] = "small",
    family: Annotated[list[str] | None, typer.Option(help="These families only; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the checkpoint; default runs/AGENT-PRESET.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from an interrupted run in the folder.")] = False,
    seed: Annotated[int, typer.Option(help="Of initialisation and sampling.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train an agent on the train variants: from their offline data, recorded first where missing, or by playing them."""
    from .benchmark.protocol.spec import FAMILIES
    from .benchmark.registry import get_family
    from .cards.model_card import write_model_card
    from .learning.parallel import rank
    from .learning.training import STATE, get_trainer

    check_device(device)
    trainer, tasks = get_trainer(agent), [get_family(name) for name in family or FAMILIES]
    folder = out or Path("runs") / f"{agent}-{preset}"
    with progress() as add:
        on_step = training_bar(add, f"{agent} {preset}", trainer.preset(preset).steps)
        try:
            trainer(tasks, preset, folder, resume=resume, seed=seed, device=device, on_step=on_step)
        except KeyboardInterrupt:
            kept = f"--resume goes on from what is in {folder}" if (folder / STATE).exists() else "nothing was saved yet"
            raise InterruptedRunError(f"interrupted; {kept}.") from None
    if rank() > 0:  # several processes train together; the first one writes and speaks
        return
    write_model_card(folder, agent, tasks)
    parts = "".join(f" --family {name}" for name in family or ())
    print(f"checkpoint in {folder}; play it with: wbench eval --agent {agent} --checkpoint {folder}{parts}")


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint.")],
    agent: Annotated[str, typer.Option(help="See `wbench list`, trainable.")],
    results: Annotated[Path | None, typer.Option(help="Result file of `wbench eval --out` for this checkpoint.")] = None,
) -> None:
    """Render the model card of a checkpoint from its config, training report and results."""
    from .benchmark.registry import get_family
    from .cards.model_card import write_model_card
    from .learning.training import get_trainer

    get_trainer(agent)
    try:
        families = json.loads((folder / "config.json").read_text(encoding="utf-8"))["families"]
        document = json.loads(results.read_text(encoding="utf-8")) if results else None
        write_model_card(folder, agent, [get_family(name) for name in families], document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot read {folder}/config.json, its report or the results: {error!r:.200}.") from error
    print(folder / "README.md")


@app.command()
def admission(
    family: Annotated[str | None, typer.Option(help="This family only.")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes a variant and policy.")] = 1000,
    write: Annotated[bool, typer.Option("--write", help="Freeze the table in the package.")] = False,
    as_json: Json = False,
) -> None:
    """Measure the references that frame the scores of every variant, and whether each is admitted."""
    from dataclasses import asdict

    from .benchmark.protocol import references
    from .benchmark.registry import family_names, get_family

    if episodes < 2:
        raise InvalidValueError("--episodes", episodes, "2 or more")
    table = {}
    with progress() as add:
        for task in [get_family(name) for name in ([family] if family else family_names())]:
            advance = add(task.name, len(task.variants), 0)
            for name, variant in task.variants.items():
                table[name] = references.measure(task, variant, episodes)
                advance(1)
    if write:
        references.write(table)
    if as_json:
        print(json.dumps({name: {**asdict(row), "admitted": row.admitted()} for name, row in table.items()}))
        return
    rows = []
    for name, row in table.items():
        means = zip((row.random, row.greedy, row.heuristic, row.reference), row.errors, strict=True)
        shown = [f"{mean:.2f} ±{error:.2f}" for mean, error in means]
        rows.append([name, *shown, f"{row.score(row.heuristic):.1f}", "yes" if row.admitted() else "NO"])
    print_rows(["variant", "random", "greedy", "heuristic", "genie", "heuristic scores", "admitted"], rows)


@app.command("check")
def check_family(
    target: Annotated[
        str, typer.Argument(help="A family or variant; FILE.py[:ATTR] of a family or agent, MODULE:ATTR (run as your own).")
    ],
    episodes: Annotated[int, typer.Option(help="Episodes behind the references of each variant.")] = 32,
    as_json: Json = False,
) -> None:
    """Check that a family keeps the contract: shapes, seeds, actions, decentralised policies, references, data.

    Of a file that builds an agent: whether it acts on its own observation and inbox alone.
    """
    from dataclasses import asdict

    from rich.markup import escape

    from .benchmark.check import run as conformance
    from .benchmark.protocol.spec import FAMILIES

    agent = conformance.agent_of(target)
    with progress() as add:
        if agent is not None:
            kind, name, advance = "agent", agent.name, add(f"check {agent.name}", len(FAMILIES), 0)
            findings = conformance.check_agent(agent, lambda _: advance(1))
        else:
            family, variants = conformance.find(target)
            kind, name, advance = "family", family.name, add(f"check {family.name}", len(conformance.CHECKS), 0)
            findings = conformance.check(family, episodes, variants, lambda _: advance(1))
    broken = [finding.check for finding in findings if not finding.passed]
    if as_json:
        print(json.dumps({kind: name, "passed": not broken, "findings": [asdict(found) for found in findings]}))
    else:
        said = [escape(f.found + (f" -> {f.advice}" if f.advice else "")) for f in findings]
        passed = ["ok" if finding.passed else "FAILED" for finding in findings]
        print_rows(["check", "", "found"], zip((finding.check for finding in findings), passed, said, strict=True))
    if broken:
        raise ConformanceError(f"{name}: {len(broken)} of {len(findings)} checks failed: {', '.join(broken)}")


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="`datasets` for the releases and what of them is here.")] = "",
    as_json: Json = False,
) -> None:
    """Families, agents, protocols, releases and presets; or the datasets."""
    from .benchmark.data.store import RELEASES
    from .benchmark.protocol.spec import SIZES
    from .benchmark.registry import agent_names, family_names
    from .learning.training import trainer_names

    if what:
        if what != "datasets":
            raise InvalidValueError("what to list", what, "datasets, or left out")
        print_datasets(as_json)
        return
    names = {
        "families": family_names(),
        "agents": agent_names(),
        "protocols": list(SIZES),
        "releases": list(RELEASES),
        "trainable": trainer_names(),
    }
    if as_json:
        print(json.dumps(names))
    else:
        print_rows(["what", "names"], [[what, ", ".join(found)] for what, found in names.items()])


@app.command()
def show(name: Annotated[str, typer.Argument(help="A family, variant, agent or protocol.")], as_json: Json = False) -> None:
    """What a family, variant, agent or protocol is."""
    from .commands.show import describe

    found = describe(name)
    if as_json:
        print(json.dumps(found.data))
        return
    print(found.text)
    if found.rows:
        print_rows(found.header, found.rows)


if __name__ == "__main__":
    main()

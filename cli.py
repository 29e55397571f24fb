"""The command line: the commands in their groups, and what becomes of an error. Heavy imports wait until they are needed."""

from __future__ import annotations

import atexit
import errno
import os
import re
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from . import __version__
from .commands import board, check, data, evaluate, hub, maps, names, studies, train
from .commands.group import Group
from .console import Messages, apart, note
from .errors import InvalidValueError, WbenchError, require

_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # click's UsageError, wherever this version of typer keeps click
_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EBADF")}

app = typer.Typer(
    name="wbench",
    help="Offline multi-agent reinforcement learning for wireless networks: datasets, NetWorld, one few-shot protocol.",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
)
app.command("eval")(evaluate.evaluate)
app.command()(train.train)
app.command()(data.download)
app.command()(board.submit)
app.command()(board.leaderboard)
app.command("list")(names.list_names)
app.command()(names.show)
app.command()(check.check)
app.command()(data.doctor)
evaluate.protocols.command()(check.admission)
data.app.command()(maps.trace)
for name, group in {
    "data": data.app,
    "results": board.app,
    "study": studies.app,
    "protocol": evaluate.protocols,
    "checkpoint": hub.checkpoint,
    "hub": hub.hub,
}.items():
    app.add_typer(group, name=name, cls=Group, no_args_is_help=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: every expected error is one line on standard error and its exit code."""
    from .benchmark.processes import leave, staying

    _open_streams()
    before = set(threading.enumerate())
    with redirect_stderr(Messages(sys.stderr)), staying():  # whoever writes there, a bar or a user's code
        code = _run(sys.argv[1:] if arguments is None else arguments)
    code = code if isinstance(code, int) else 0
    if any(not thread.daemon for thread in set(threading.enumerate()) - before):  # Python would wait for what an agent left
        atexit._run_exitfuncs()
        Messages().flush()
        leave(code)
    sys.exit(code)


def _run(arguments: Sequence[str]) -> Any:
    """Run a command; its exit code."""
    try:
        _require_values(arguments)
        given = _own_families(list(map(_home, arguments)))
        code = app(given, prog_name="wbench", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # typer tells an interruption by its code alone
            _fail(KeyboardInterrupt(), "interrupted", code)
    except WbenchError as error:
        code = _fail(error, str(error), error.exit_code)
    except _USAGE_ERROR as error:
        code = _misused(error)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # click and rich leave where the reader of our output went away
            _abandon_output()
            code = 141
        else:
            code = _fail(error, f"somebody's code left wbench before its end (SystemExit: {error}).", 1)
    except (typer.Abort, KeyboardInterrupt) as error:
        code = _fail(error, "interrupted", 130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        _abandon_output()
        code = 141
    except OSError as error:
        if error.errno is None:  # a library's own, not the system's
            raise
        done = "write" if error.errno in _FULL else "use"
        code = _fail(error, f"cannot {done} {error.filename or 'the output'}: {error.strerror}.", 2)
        if error.errno in _FULL:
            _abandon_output()
    except Exception as error:
        from .benchmark.user_code import blame

        said = blame(error)
        if said is None:
            raise
        code = _fail(error, said, 2)
    return code


def _open_streams() -> None:
    """Give a closed stream, as of a daemon, to the null device: nothing that is opened later may take its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if opened > number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks is shown by its number
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _abandon_output() -> None:
    """Send what is still to be written to standard output nowhere, so that the end of the process does not fail on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _require_values(words: Sequence[str]) -> None:
    """Raise `InvalidValueError` for an empty word: it comes of a shell's variable that is not set, and would be a folder."""
    for place, word in enumerate(words):
        option, sign, value = word.partition("=")
        if word == "" or (sign and not value and re.fullmatch(r"--[\w-]+", option)):
            before = words[place - 1] if place else ""
            name = option or (before if before.startswith("-") else "a word of the command")
            raise InvalidValueError(name, "", "left out, or have a value: perhaps a variable of the shell is not set")


def _home(word: str) -> str:
    """A word of the command line with a leading ~ expanded, which shells leave alone in --option=~/file."""
    option, path = re.fullmatch(r"(--[\w-]+=)?(.*)", word, flags=re.DOTALL).groups("")  # type: ignore[union-attr]
    if not re.match(r"~[\w.-]*(/|$)", path):
        return word
    found = os.path.expanduser(path)  # noqa: PTH111
    require(found != path, option.rstrip("=") or "the path", path, "a path without ~: the home folder is not known here")
    return option + found


def _own_families(words: list[str]) -> list[str]:
    """The words with the family's name in the place of `--family FILE.py[:ATTR]`, whose file is run as the user's own code."""
    found = list(words)
    for place, word in enumerate(words):
        option, sign, value = word.partition("=")
        follows = place > 0 and words[place - 1] == "--family"
        target = word if follows else value if option == "--family" and sign else ""
        if re.search(r"\.py(:\w+)?$", target):
            from .benchmark.registry import register_family

            with apart():
                name = register_family(target).name
            found[place] = name if follows else f"--family={name}"
    return found


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
    note(message)
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


if __name__ == "__main__":
    main()

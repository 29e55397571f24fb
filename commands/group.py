"""A group of commands: its help says every sentence in full, and a name that it does not know gets the nearest one."""

from __future__ import annotations

import difflib
from typing import Any

from typer.core import TyperGroup

MOVED = {  # spellings of before commands stood in groups
    "ablate": "study ablate",
    "admission": "protocol admission",
    "build": "data build",
    "card": "checkpoint card",
    "compare": "results compare",
    "export": "results export",
    "fidelity": "study fidelity",
    "publish": "data publish, or wbench checkpoint publish",
    "report": "study report",
    "transfer": "study transfer",
    "verify": "results verify",
    "verify-data": "data verify",
}


class Group(TyperGroup):
    """A group whose commands come first and whose groups come after them, in the order in which they were added."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; a usage error with the nearest one where there is none."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(self._unknown(args[0], root=ctx.parent is None))
        return super().resolve_command(ctx, args)

    def _unknown(self, given: str, root: bool) -> str:
        if root and given in MOVED:
            return f"{given!r} is now: wbench {MOVED[given]}."
        paths = {name: name for name in self.commands}
        for name, command in self.commands.items():
            for below in getattr(command, "commands", {}):
                paths.setdefault(below, f"{name} {below}")
        close = difflib.get_close_matches(given, paths, n=1, cutoff=0.5)
        return f"No such command {given!r}." + (f" Did you mean {paths[close[0]]!r}?" if close else "")

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the first paragraph of every command and group."""
        known = [command for command in self.commands.values() if not command.hidden]
        for title, wanted in (("Commands", False), ("Groups of commands", True)):
            rows = [(c.name, " ".join((c.help or "").split("\n\n")[0].split())) for c in known]
            rows = [row for row, c in zip(rows, known, strict=True) if isinstance(c, TyperGroup) == wanted]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

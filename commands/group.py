"""A group of commands: its help says every sentence in full, and a name that it does not know gets the nearest one."""

from __future__ import annotations

import difflib
from typing import Any

from typer.core import TyperGroup


class Group(TyperGroup):
    """A group whose commands come first and whose groups come after them, in the order in which they were added."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; a usage error with the nearest one where there is none."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(self._unknown(args[0]))
        return super().resolve_command(ctx, args)

    def _unknown(self, given: str) -> str:
        paths = {name: [name] for name in self.commands}
        for name, command in self.commands.items():
            for below in getattr(command, "commands", {}):
                paths.setdefault(below, []).append(f"{name} {below}")
        close = difflib.get_close_matches(given, paths, n=1, cutoff=0.5)
        meant = " or ".join(map(repr, paths[close[0]])) if close else ""
        return f"No such command {given!r}." + (f" Did you mean {meant}?" if meant else "")

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the first paragraph of every command and group."""
        known = [command for command in self.commands.values() if not command.hidden]
        for title, wanted in (("Commands", False), ("Groups of commands", True)):
            rows = [(c.name, " ".join((c.help or "").split("\n\n")[0].split())) for c in known]
            rows = [row for row, c in zip(rows, known, strict=True) if isinstance(c, TyperGroup) == wanted]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

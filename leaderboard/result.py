"""A result: what a run yields, and what its file says. JSON, versioned, written beside the target and renamed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..benchmark.data.paths import possible, write_text
from ..benchmark.protocol.fields import Digest, Name, Text, plain, record
from ..benchmark.protocol.spec import Contract, Size
from .schema import Hardware, Release, Rival, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, Group

Version = Literal["wbench-result/4"]
VERSION: Version = "wbench-result/4"
_WIDTH = 100  # of a printed result


@record
class Result(Row):
    """A result file."""

    schema: Version
    """Version of this schema."""
    protocol: Size
    """Size of the protocol; `custom` where something was changed."""
    protocol_hash: Digest
    """SHA-256 of `contract`; rows with different hashes are never ranked together."""
    contract: Contract
    """Everything that defines a score."""
    releases: tuple[Release, ...]
    """Releases of the datasets of the families played."""
    comparison: tuple[Rival, ...]
    """Agents played on the same episodes; left out of a submission."""
    command: Text
    """Runs it again."""
    versions: dict[Name, Text]
    """Of Python and the packages that numbers depend on."""
    hardware: Hardware
    """What it was played on."""

    def document(self) -> dict[str, Any]:
        """Plain data, as in the file."""
        return plain(self)

    def save(self, path: Path | str) -> Path:
        """Write the result file beside the target and rename it.

        Raises:
            OutputError: that cannot be done.
        """
        path = Path(path).expanduser()
        with possible(f"write the result {str(path)!r}", "Give a file in a folder you may write to."):
            write_text(path, json.dumps(self.document(), indent=1, allow_nan=False) + "\n")
        return path

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Group]:
        from .tables import of_run

        yield of_run(f"{self.protocol}  {self.protocol_hash[:12]}", self, self.comparison, options.max_width)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=_WIDTH, file=io.StringIO(), record=True)
        console.print(self)
        return console.export_text().rstrip()

    __repr__ = __str__

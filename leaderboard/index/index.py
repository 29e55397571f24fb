"""The index of a store: every file read and checked once, kept by its content, in SQLite in wbench's cache.

It holds nothing that the files do not say, and is made again where it is absent, damaged, or of another wbench. A file whose
size, times and inode are those of the last look is not read again, as in git.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ...benchmark.data.paths import home
from ...benchmark.processes import spawn_context
from ...benchmark.protocol.fields import adapter, told
from ...errors import ResultError
from ..reading import parse, read_file
from ..store import name_of, result_files
from ..verification.recompute import complaints
from .entry import Entry
from .line import OWN_LOGS, Line
from .ranks import counts

_PACKAGE = Path(__file__).parents[2]
_CODE = ("benchmark", "leaderboard", "learning", "networld", "baselines")  # what a verdict depends on
_MANY = 100  # new files, from which on they are read by all cores
_BATCH = 25
_WAIT = 60.0  # seconds for another process that writes
_CONTROL = "control"  # in the place of a protocol's size: another run's logs were handed over, so it is no row
_TABLES = """
create table if not exists about (code text primary key);
create table if not exists files (name text primary key, stat text, sha256 text, protocol text, hash text, played text,
  problem text, malformed integer, line text);
create index if not exists by_played on files (played);
create table if not exists contracts (hash text primary key, text text);
create table if not exists ranks (key text primary key, names text, better blob, worse blob);
"""
_COLUMNS = "name, stat, sha256, protocol, hash, played, problem, malformed, line"


class Index:
    """The index of a store, brought up to date when it is made.

    Args:
        store: the folder.
        note: told of files that are left out because they are malformed, or not named after their content.

    Raises:
        OutputError: there is no such folder.
    """

    def __init__(self, store: Path, note: Callable[[str], None] = lambda _: None) -> None:
        found = list(result_files(store))
        files = [path for path in found if _is_text(path.name)]
        self._store, self._note, self._odd = store, note, [path.name for path in found if not _is_text(path.name)]
        try:
            self._open(_place(store), files)
        except sqlite3.DatabaseError:  # damaged, or locked for too long
            try:
                _remove(_place(store))
                self._open(_place(store), files)
            except (sqlite3.DatabaseError, OSError):  # it may not be written
                self._open(None, files)
        except OSError:  # a cache that cannot be written
            self._open(None, files)

    def _open(self, path: Path | None, files: Sequence[Path]) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path or ":memory:", timeout=_WAIT, isolation_level=None)
        try:
            self._base.executescript(_TABLES)
            if self._is_of_other_code():
                self._empty()
            self._refresh(files)
        except sqlite3.DatabaseError:
            self._base.close()
            raise

    def _is_of_other_code(self) -> bool:
        return self._base.execute("select code from about").fetchall() != [(_code(),)]

    def _empty(self) -> None:
        """Forget everything, unless another process just did."""
        self._base.execute("begin immediate")
        if self._is_of_other_code():
            for table in ("about", "files", "contracts", "ranks"):
                self._base.execute(f"delete from {table}")
            self._base.execute("insert into about values (?)", (_code(),))
        self._base.execute("commit")

    def _refresh(self, files: Sequence[Path]) -> None:
        """Read what is new or changed, forget what is gone."""
        known = dict(self._base.execute("select name, stat from files"))
        stats = {path: _stat(path) for path in files}
        changed = [path for path in files if known.get(path.name) != stats[path]]
        for batch in _read_all(changed):
            rows = [(row[0], stats[self._store / row[0]], *row[1:-1]) for row in batch]
            self._base.execute("begin immediate")
            self._base.executemany(f"insert or replace into files ({_COLUMNS}) values (?,?,?,?,?,?,?,?,?)", rows)
            contracts = [(row[3], row[-1]) for row in batch if row[-1]]
            self._base.executemany("insert or ignore into contracts values (?, ?)", contracts)
            self._base.execute("commit")
        gone = known.keys() - {path.name for path in files}
        if gone:
            self._base.execute("begin immediate")
            self._base.executemany("delete from files where name = ?", ((name,) for name in gone))
            self._base.execute("commit")

    def protocols(self) -> list[str]:
        """Protocols of the rows that can be read."""
        found = self._base.execute("select distinct protocol from files where not malformed and protocol <> ?", (_CONTROL,))
        return sorted(name for (name,) in found)

    def files(self, protocol: str | None = None) -> Iterator[Entry]:
        """The rows of a protocol, or all, by name, checked as far as `arithmetic`; what is malformed is told of."""
        for name in self._odd:
            self._note(f"{name} is left out: no file of a store has such a name")
        for name, problem in self._base.execute("select name, problem from files where malformed order by name"):
            self._note(f"{name} is left out: {problem}")
        chosen = "protocol <> ?" if protocol is None else "protocol = ?"
        yield from self._those(chosen, _CONTROL if protocol is None else protocol)

    def controls(self) -> Iterator[Entry]:
        """The files played with logs that are not the site's."""
        return self._those("protocol = ?", _CONTROL)

    def _those(self, chosen: str, value: str) -> Iterator[Entry]:
        found = self._base.execute(
            f"select name, sha256, hash, problem, line from files where not malformed and {chosen} order by name", (value,)
        )
        contracts: dict[str, Any] = {}
        for name, sha256, digest, problem, line in found:
            if digest not in contracts:
                contracts[digest] = self._contract(digest)
            told = replace(adapter(Line).validate_json(line), contract=contracts[digest])
            yield Entry(name, told, "reported" if problem else "arithmetic", sha256=sha256)

    def _contract(self, digest: str) -> dict[str, Any]:
        (text,) = self._base.execute("select text from contracts where hash = ?", (digest,)).fetchone()
        found: dict[str, Any] = json.loads(text)
        return found

    def same(self, played: str) -> str | None:
        """The file that holds the very same play, whatever its timings and order; None where there is none."""
        found = self._base.execute("select name from files where played = ? order by name", (played,)).fetchone()
        return None if found is None else str(found[0])

    def counts(self, key: str, names: Sequence[str], tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`ranks.counts` of rows, where only pairs with rows that are new since the last time are compared.

        Args:
            key: what is compared: protocol hash, family, shots.
            names: SHA-256 of each row's file.
            tables: scores [n, variants, sites].
        """
        kept = self._base.execute("select names, better, worse from ranks where key = ?", (key,)).fetchone()
        place = {name: i for i, name in enumerate(names)}
        old = kept[0].split() if kept else []
        if not all(name in place for name in old):
            old = []  # a row is gone
        order = [place[name] for name in old] + [i for i, name in enumerate(names) if name not in set(old)]
        better, worse = counts(tables[order], len(old))
        if old:
            better[: len(old)] += np.frombuffer(kept[1], dtype=np.int64)
            worse[: len(old)] += np.frombuffer(kept[2], dtype=np.int64)
        if len(old) < len(names):
            row = (key, " ".join(names[i] for i in order), better.tobytes(), worse.tobytes())
            self._base.execute("insert or replace into ranks values (?,?,?,?)", row)
        back = np.argsort(order)
        return better[back], worse[back]

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()


def _is_text(name: str) -> bool:
    """Whether a file's name is Unicode; on most systems it may be any bytes."""
    return name.encode(errors="replace").decode() == name


def _place(store: Path) -> Path:
    """Where the index of a store is kept."""
    return home() / "boards" / f"{hashlib.sha256(os.fsencode(store.resolve())).hexdigest()[:24]}.sqlite"


def _remove(path: Path) -> None:
    for name in (path, *(path.with_name(path.name + end) for end in ("-journal", "-wal", "-shm"))):
        name.unlink(missing_ok=True)


def _stat(path: Path) -> str:
    found = path.lstat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


@cache
def _code() -> str:
    """A digest of the code and the references that a verdict depends on, by sizes and times; of another wbench it differs."""
    files = [path for part in _CODE for path in (_PACKAGE / part).rglob("*") if path.suffix in (".py", ".json", ".safetensors")]
    files = [path for path in files if "results" not in path.parts] + list((home() / "references").glob("*.json"))
    return hashlib.sha256(os.fsencode("\n".join(f"{path} {_stat(path)}" for path in sorted(files)))).hexdigest()


Row = tuple[Any, ...]


def _read_all(paths: Sequence[Path]) -> Iterator[list[Row]]:
    """What the index keeps of these files, in batches; by several processes where there are many."""
    batches = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(paths) < _MANY or cores < 2:
        yield from map(_read, batches)
        return
    with ProcessPoolExecutor(cores, mp_context=spawn_context()) as pool:
        yield from pool.map(_read, batches)


def _read(paths: Iterable[Path]) -> list[Row]:
    """(name, sha256, protocol, hash, played, problem, malformed, line, contract) of each file."""
    sound: set[tuple[str, str]] = set()  # what thousands of files share is checked once for some
    return [_row(path, sound) for path in paths]


def _row(path: Path, sound: set[tuple[str, str]]) -> Row:
    try:
        content = read_file(path)
        result = parse(content)
    except ResultError as error:
        return (path.name, "", "", "", "", str(error), 1, "", "")
    if path.name != (wanted := name_of(result, content)):
        problem = f"its name is not that of its content, {wanted}. Add it anew: wbench submit FILE"
        return (path.name, "", "", "", "", problem, 1, "", "")
    line = Line.of(result)
    text = adapter(Line).dump_json(line, exclude={"contract"}).decode()
    try:  # what follows from numbers within their bounds may be beyond all bounds
        adapter(Line).validate_json(text)
    except ValidationError as error:
        return (path.name, "", "", "", "", f"no board can hold what follows from it: {told(error)}", 1, "", "")
    sha256, problem = hashlib.sha256(content).hexdigest(), next(complaints(result, sound), "")
    contract = json.dumps(result.contract)
    protocol = result.protocol if line.support == OWN_LOGS else _CONTROL
    return (path.name, sha256, protocol, result.protocol_hash, line.played, problem, 0, text, contract)

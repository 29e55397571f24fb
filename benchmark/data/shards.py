"""One Parquet file of a release: written with fixed settings, described for the manifest, read back without conversion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError
from ..family import Family, Variant
from .manifest import FileEntry, Returns
from .pages import pages
from .paths import sha256, write_atomically
from .recorder import Columns
from .schema import EPISODE, SEEN, column_shapes

ABOUT = b"wbench"  # key of the note in a file's footer that says what the file is
_ROWS = 2048  # of a row group: 16 episodes of 128 slots, a few MB
_BLOCK = 1 << 20
_SPARE = 1 << 20  # bytes of a file that go to other things than its rows
_DAMAGED = (pa.ArrowException, OSError, ValueError)  # what a file raises that is none, or whose names are no text


def to_table(family: Family, variant: Variant, columns: Columns) -> pa.Table:
    """Columns of `recorder.record` as one Arrow table of E x (T + 1) rows with nested fixed-size lists."""
    episodes, slots = columns["reward"].shape[:2]
    rows = dict(columns)
    rows["episode"] = np.arange(episodes)
    rows |= {name: np.repeat(rows[name], slots + 1) for name in EPISODE}
    rows["t"] = np.tile(np.arange(slots + 1), episodes)
    rows["last"] = rows["t"] == slots
    arrays = {}
    for name, (shape, dtype) in column_shapes(family, variant).items():
        values = rows[name]
        if values.shape[:2] == (episodes, slots):
            values = np.concatenate([values, np.zeros_like(values[:, :1])], axis=1)
        array: pa.Array = pa.array(np.ascontiguousarray(values.reshape(-1), dtype=dtype))
        for size in reversed(shape):
            array = pa.FixedSizeListArray.from_arrays(array, size)
        arrays[name] = array
    return pa.table(arrays)


def write(path: Path, family: Family, variant: Variant, columns: Columns, about: Mapping[str, object]) -> pa.Table:
    """Write a file whose bytes depend on the numbers and the version of pyarrow alone; returns what was written."""
    note = json.dumps(about, sort_keys=True).encode()
    table = to_table(family, variant, columns).replace_schema_metadata({ABOUT: note})
    settings = {"compression": "zstd", "compression_level": 6, "version": "2.6", "write_page_checksum": True}
    write_atomically(path, partial(pq.write_table, table, row_group_size=_ROWS, **settings))
    return table


def about(path: Path) -> dict[str, object] | None:
    """What a file says it is; None where it is no Parquet file of wbench."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        return json.loads(metadata[ABOUT]) if ABOUT in metadata else None
    except (*_DAMAGED, RecursionError):
        return None


def has_other_columns(path: Path, family: Family, variant: Variant) -> bool:
    """Whether this is a healthy Parquet file with other columns than the schema's: somebody's file, but not ours."""
    try:
        found = pq.read_schema(path)
    except _DAMAGED:
        return False
    return not found.remove_metadata().equals(_arrow_schema(family, variant))


def require_columns(path: Path, family: Family, variant: Variant, relative: str) -> None:
    """Raise `DataError` unless a file has the columns of the schema."""
    if has_other_columns(path, family, variant):
        wanted = ", ".join(column_shapes(family, variant))
        raise DataError(f"{relative} has other columns than the schema's ({wanted}). It was left alone: move it away.")


def read(path: Path) -> pa.Table:
    """The table of a file, with the checksums of its pages verified; raises `DataError`."""
    try:
        return pq.read_table(path, page_checksum_verification=True, memory_map=False)
    except _DAMAGED as error:
        raise DataError(f"{path} is damaged ({_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def rows(path: Path) -> int:
    """How many rows the footer of a file announces; raises `DataError`."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except _DAMAGED as error:
        raise DataError(f"{path} is damaged ({_first_line(error)}).") from error


def row_bytes(family: Family, variant: Variant) -> int:
    """Bytes of a row in memory."""
    return sum(int(np.prod(shape, dtype=int)) * dtype.itemsize for shape, dtype in column_shapes(family, variant).values())


def read_bounded(path: Path, family: Family, variant: Variant, rows: int) -> pa.Table:
    """The table of a file of somebody else's; footer and pages must promise what the schema and so many rows take, and no more.

    A row may hold a list without end in a few bytes, since equal numbers are written once; and a footer may say less than the
    headers of its pages, which is what a reader takes memory for. So both are asked.

    Raises:
        DataError: it has other columns, other rows, would unfold to more memory than it should, or is damaged.
    """
    require_columns(path, family, variant, str(path))
    try:
        found = pq.read_metadata(path)
        groups = [found.row_group(i) for i in range(found.num_row_groups)]
        unfolded = sum(group.column(i).total_uncompressed_size for group in groups for i in range(group.num_columns))
    except _DAMAGED as error:
        raise DataError(f"{path} is damaged ({_first_line(error)}).") from error
    if found.num_rows != rows or sum(group.num_rows for group in groups) != rows:
        raise DataError(f"{path} has {found.num_rows} rows, not the {rows} of its release.")
    if unfolded > 2 * rows * row_bytes(family, variant) + _SPARE:
        raise DataError(f"{path} would unfold to {unfolded / 1e6:.0f} MB, more than its rows take.")
    _require_numbers(path, family, variant, rows)
    return read(path)


def _require_numbers(path: Path, family: Family, variant: Variant, rows: int) -> None:
    """Raise `DataError` unless the pages hold the numbers that so many rows have, in as many bytes as they take."""
    most = 2 * rows * row_bytes(family, variant) + _SPARE
    shapes = column_shapes(family, variant)
    left = [rows * int(np.prod(shape, dtype=int)) for shape, _ in shapes.values()]
    for number, page in pages(path):
        left[number] -= 0 if page.dictionary else page.values
        most -= max(page.unfolded, page.values)
        if left[number] < 0 or most < 0:
            break
    if most < 0:
        raise DataError(f"{path} would unfold to more memory than its rows take.")
    if wrong := [name for name, count in zip(shapes, left, strict=True) if count]:
        raise DataError(f"{path} has other numbers in its column {wrong[0]} than its {rows} rows take.")


def require_sound(table: pa.Table, family: Family, variant: Variant, sites: Sequence[int], where: str) -> None:
    """Raise `DataError` unless a table may be episodes of the variant at these sites (one an episode), in order.

    Numbers are finite, choices are allowed ones, and nothing is missing; whether it is what the simulators gave is not known.
    """
    slots = variant.horizon + 1
    columns = {name: _numbers(table.column(name)) for name in table.column_names}
    last = np.tile(np.arange(slots) == slots - 1, len(sites))
    wanted = {"site": np.repeat(sites, slots), "episode": np.repeat(np.arange(len(sites)), slots)}
    wanted |= {"t": np.tile(np.arange(slots), len(sites)), "last": last}
    for name, values in wanted.items():
        if not np.array_equal(columns[name], values):
            raise DataError(f"{where} is not in order: its column {name} is not that of {len(sites)} episodes of its sites.")
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise DataError(f"{where} holds NaN or infinity in its column {name}.")
    played = ~np.repeat(last, variant.agents)
    masks = columns["action_mask"].reshape(-1, family.mask_size)[played]
    actions = columns["action"].reshape(-1, len(family.actions))[played]
    fine = bool(np.isin(masks, (0, 1)).all())
    for component, part in zip(family.actions, actions.T, strict=True):
        least, most = (0, component.size - 1) if component.kind == "categorical" else (component.low, component.high)
        fine = fine and bool(((part >= least) & (part <= most)).all())
        if fine and component.kind == "categorical":
            fine = bool(masks[np.arange(len(part)), part.astype(np.int64)].all())
    if not fine:
        raise DataError(f"{where} holds actions that are not allowed.")


def inspect(path: Path, relative: str, family: Family, variant: Variant, sites: Sequence[int]) -> FileEntry:
    """The entry of a file of somebody else's, as it is read here; raises `DataError` where it cannot be these episodes."""
    table = read_bounded(path, family, variant, len(sites) * (variant.horizon + 1))
    require_sound(table, family, variant, sites, str(path))
    return describe(path, relative, table)


def describe(path: Path, relative: str, table: pa.Table) -> FileEntry:
    """The manifest's entry of a file that holds this table."""
    columns = {name: summary(_numbers(table.column(name))) for name in table.column_names}
    reward = _numbers(table.column("reward")).reshape(table.num_rows, -1).sum(1, dtype=np.float64)
    returns = np.bincount(_numbers(table.column("episode")), weights=reward)
    sites = _numbers(table.column("site"))[_numbers(table.column("last")) == 1]
    _, place = np.unique(sites, return_inverse=True)
    means = np.bincount(place, weights=returns) / np.bincount(place)
    spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    figures = (float(returns.mean()), spread, float(means.min()), float(means.max()))
    size, rounded = path.stat().st_size, tuple(round(x, 6) for x in figures)
    return FileEntry(relative, size, table.num_rows, sha256(path), columns, Returns(len(returns), len(means), *rounded))


def to_columns(table: pa.Table, family: Family, variant: Variant) -> Columns:
    """Contiguous arrays of a table, as `recorder.record` gave them."""
    columns: Columns = {}
    for name, (shape, _) in column_shapes(family, variant).items():
        values = _numbers(table.column(name)).reshape(-1, variant.horizon + 1, *shape)
        columns[name] = values[:, 0] if name in EPISODE else values if name in SEEN else values[:, :-1]
    return columns


def _arrow_schema(family: Family, variant: Variant) -> pa.Schema:
    kinds = {}
    for name, (shape, dtype) in column_shapes(family, variant).items():
        kind = pa.from_numpy_dtype(dtype)
        for size in reversed(shape):
            kind = pa.list_(kind, size)
        kinds[name] = kind
    return pa.schema(kinds)


def _chunks(column: pa.ChunkedArray) -> Iterator[np.ndarray]:
    for chunk in column.chunks:
        array, missing = chunk, chunk.null_count
        while pa.types.is_fixed_size_list(array.type):
            array = array.flatten()
            missing += array.null_count
        if missing:
            raise DataError("a data file has rows in which a number is missing.")
        yield array.to_numpy(zero_copy_only=True)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return np.concatenate(list(_chunks(column)))


def summary(values: np.ndarray) -> tuple[float, float]:
    """Norm of all numbers of a column [R], and their sum under random signs; nine digits of each (see `manifest`)."""
    bits = np.random.Philox(key=0)
    square = projection = 0.0
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK].astype(np.float64)
        drawn = bits.random_raw(-(-len(block) // 64)).astype("<u8").view(np.uint8)
        signs = np.unpackbits(drawn, bitorder="little")[: len(block)]
        square += float(np.square(block).sum())
        projection += float(np.where(signs, block, -block).sum())
    return float(f"{np.sqrt(square):.9g}"), float(f"{projection:.9g}")

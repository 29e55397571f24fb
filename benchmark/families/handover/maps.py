"""The gain maps that are shipped: districts of real cities, ray-traced by `trace`, with their version and checksum.

The file is of the Open Database License: see `maps/LICENSE`. docs/explanation/handover.md says how it was made.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra

from ....errors import DataError, require
from ...randomness import generator

Positions = NDArray[np.floating[Any]]

VERSION = 1
PATH = Path(__file__).parent / "maps" / f"gains-v{VERSION}.npz"
SHA256 = "e032aff85420f1e424a0a59324ad5133a1dc65fd24d7270d71c8702f48295075"
CELL, CELLS = 5.0, 60  # m of a cell's side; cells of a district's side
STEP_DB, BEST_DB, NO_PATH = 0.5, -40.0, 255  # a byte k stands for a gain of BEST_DB - k STEP_DB, NO_PATH for no path at all
CITIES = ("munich", "etoile", "san_francisco", "florence")
UNSEEN = "florence"  # the city that no train site shows
WAYPOINTS, PACE = 24, 2.5  # places that users go between in a district; m between the points of a way
DRAWN = 6  # cells that each waypoint is the farthest of


@dataclass(frozen=True)
class District:
    """A square of 300 m in a city.

    Attributes:
        city: which city.
        centre: in the city's coordinates, m.
        cells: street cells as (row, column), [C, 2].
        stations: candidate positions in m from the centre, and height over the ground, [P, 3].
        gain: path gain in dB from each candidate to each street cell, [C, P].
    """

    city: str
    centre: tuple[float, float]
    cells: NDArray[np.int64]
    stations: NDArray[np.float32]
    gain: NDArray[np.float32]

    @property
    def positions(self) -> Positions:
        """Middle of each street cell in m from the centre, (x, y), [C, 2]."""
        return (self.cells[:, ::-1] + 0.5) * CELL - 0.5 * CELL * CELLS


@dataclass(frozen=True)
class Streets:
    """Shortest ways between the waypoints of a district, a point every PACE metres.

    Attributes:
        cell: street cell of each point, [W, W, P]; the last point is repeated.
        place: its position in m, [W, W, P, 2].
        length: m of each way, [W, W].
    """

    cell: NDArray[np.int64]
    place: NDArray[np.float32]
    length: NDArray[np.float32]


@cache
def districts() -> tuple[District, ...]:
    """All districts that are shipped, in a fixed order; raises `DataError` where the file is not the one of this version."""
    return load(PATH, SHA256)


def load(path: Path, digest: str) -> tuple[District, ...]:
    """The districts of a file of maps.

    Args:
        path: the file.
        digest: SHA-256 that it must have.

    Raises:
        DataError: it cannot be read, is of another version, or has other bytes.
    """
    try:
        data = path.read_bytes()
        with np.load(io.BytesIO(data)) as file:
            found = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path.name} is no file of maps: {error}. Install wbench again.") from error
    if (version := int(found.get("version", 0))) != VERSION:
        raise DataError(f"{path.name} is of version {version}, and this wbench reads version {VERSION}. Install wbench again.")
    if (given := hashlib.sha256(data).hexdigest()) != digest:
        raise DataError(f"{path.name} has SHA-256 {given[:12]}, and must have {digest[:12]}. Install wbench again.")
    return tuple(_district(found, k) for k in range(len(found["city"])))


def _district(found: Mapping[str, NDArray], k: int) -> District:
    levels = found["gain"][found["first"][k] : found["first"][k + 1]].astype(np.float32)
    gain = np.where(levels == NO_PATH, -np.inf, BEST_DB - STEP_DB * levels).astype(np.float32)
    x, y = found["centre"][k]
    cells = np.argwhere(found["free"][k].reshape(CELLS, CELLS))
    return District(CITIES[found["city"][k]], (float(x), float(y)), cells, found["stations"][k], gain)


@cache
def streets(number: int) -> Streets:
    """The street graph of a district, as the shortest ways between WAYPOINTS of its cells."""
    place = districts()[number]
    stops = _spread(place, number)
    _, before = dijkstra(_graph(place.cells), indices=stops, return_predecessors=True)
    return _resampled(place, [_way(before[i], a, b) for i, a in enumerate(stops) for b in stops])


def _graph(cells: NDArray[np.int64]) -> csr_array:
    """Street cells [C, 2] with their eight neighbours, at their distance in m."""
    grid = np.full((CELLS + 2, CELLS + 2), -1)
    grid[cells[:, 0] + 1, cells[:, 1] + 1] = np.arange(len(cells))
    start, end, weight = [], [], []
    for dy, dx in ((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)):
        other = grid[cells[:, 0] + 1 + dy, cells[:, 1] + 1 + dx]
        there = other >= 0
        start.append(np.flatnonzero(there))
        end.append(other[there])
        weight.append(np.full(there.sum(), CELL * np.hypot(dx, dy)))
    parts = np.concatenate(weight), (np.concatenate(start), np.concatenate(end))
    return coo_array(parts, shape=(len(cells), len(cells))).tocsr()


def _spread(place: District, number: int) -> NDArray[np.int64]:
    """Street cells far from one another, [W]: each next one is the farthest of DRAWN that are drawn."""
    rng = generator("handover", "waypoints", VERSION, number)
    xy = place.positions
    stops = [int(rng.integers(len(xy)))]
    while len(stops) < WAYPOINTS:
        some = rng.integers(len(xy), size=DRAWN)
        gap = np.linalg.norm(xy[some][:, None] - xy[stops], axis=-1).min(1)
        stops.append(int(some[gap.argmax()]))
    return np.array(stops)


def _way(before: NDArray[np.int32], start: int, end: int) -> list[int]:
    """Cells from start to end, by the predecessors on the shortest ways from start."""
    way = [end]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    return way[::-1]


def _resampled(place: District, ways: list[list[int]]) -> Streets:
    """Ways of cells as points PACE apart, each padded with its last one."""
    found = [_points(place.positions[way], np.array(way)) for way in ways]
    points = max(len(cell) for cell, _, _ in found)
    cell = np.stack([np.pad(c, (0, points - len(c)), mode="edge") for c, _, _ in found])
    line = np.stack([np.pad(p, ((0, points - len(p)), (0, 0)), mode="edge") for _, p, _ in found])
    length = np.array([run for _, _, run in found], dtype=np.float32).reshape(WAYPOINTS, WAYPOINTS)
    return Streets(cell.reshape(*length.shape, -1), line.reshape(*length.shape, -1, 2).astype(np.float32), length)


def _points(
    corners: NDArray[np.floating[Any]], way: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]], float]:
    """The nearest cell of every point of a way through these cells, its position, and the length of the way in m."""
    run = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    at = np.arange(0.0, run[-1] + PACE, PACE).clip(max=run[-1])
    nearest = np.searchsorted(0.5 * (run[1:] + run[:-1]), at)
    return way[nearest], np.stack([np.interp(at, run, axis) for axis in corners.T], -1), float(run[-1])


@cache
def traffic(number: int) -> NDArray[np.float32]:
    """Share of the users of a district that are in each of its street cells, were all ways equally likely, [C]."""
    graph = streets(number)
    points = np.arange(graph.cell.shape[-1]) * PACE < graph.length[..., None]
    count = np.bincount(graph.cell[points], minlength=len(districts()[number].cells))
    return (count / count.sum()).astype(np.float32)


def numbers_of(city: str) -> list[int]:
    """Districts of the cities that train sites show (`seen`), or of the one that they do not (`unseen`)."""
    require(city in ("seen", "unseen"), "city", city, "'seen' or 'unseen'")
    return [k for k, place in enumerate(districts()) if (place.city == UNSEEN) == (city == "unseen")]

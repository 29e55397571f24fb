"""Traces the gain maps that `maps` reads, with Sionna RT, out of the city scenes that it ships. Nobody who plays needs this.

Stations stand on facades and roofs beside the streets of a district. Their rays are followed over the whole scene: specular
and diffuse reflections, and diffraction at edges; what arrives 1.5 m over the street cells is added up.
docs/explanation/handover.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from ....errors import MissingPackageError, require
from .maps import BEST_DB, CELL, CELLS, CITIES, NO_PATH, PATH, STEP_DB, VERSION, District

Array = NDArray[np.floating[Any]]

DISTRICTS = (  # city, and its centre in the scene's coordinates in m
    *(("munich", x, y) for x, y in ((-300, -350), (-300, -50), (-600, -50), (0, -350), (300, -350))),
    *(("etoile", x, y) for x, y in ((180, -150), (180, 150))),
    *(("san_francisco", x, y) for x, y in ((-350, -310), (-350, 0), (-50, -310), (-50, 0), (250, -310), (250, 0), (550, -310))),
    *(("florence", x, y) for x, y in ((-230, -300), (-230, 0), (-230, 300), (330, -300), (70, -300), (70, 0))),
)
CARRIER = 3.5e9  # Hz
SCATTERING = 0.25  # part of the reflected amplitude that is diffuse
STATIONS, APART = 24, 35.0  # candidates of a district, and m between them
FINE = 2.5  # m, of the grid that facades are looked for on
FACADE, ROOF, LOW, HIGH = 8.0, 2.0, 6.0, 60.0  # m over the street, over the roof; heights of walls that take a station
ROOF_EVERY, HIGHEST_ROOF = 4, 30.0  # each fourth station stands on a roof, if it is not higher than this
USER = 1.5  # m over the ground
RAYS, BOUNCES = 500_000, 4  # of a station
TOGETHER = 6  # stations that are traced in one call
LEAST_DB = -160.0  # gains below count as no path
GROUND = ("ground", "Plane", "Terrain")  # what scenes call it
SKY = 1000.0  # m, from where rays look down


def require_tools() -> None:
    """Raise `MissingPackageError` where Sionna RT or the LLVM that it compiles with is not there."""
    named = os.environ.get("DRJIT_LIBLLVM_PATH") or find_library("LLVM-19") or find_library("LLVM")
    if named is None or (os.sep in named and not Path(named).is_file()):
        given = f"DRJIT_LIBLLVM_PATH={named} is no file" if named else "no LLVM library is found"
        way = "apt-get install libllvm19, then export DRJIT_LIBLLVM_PATH=/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1"
        raise MissingPackageError(f"{given}: tracing needs LLVM 19. Try: {way}")
    try:
        import sionna.rt  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError as error:
        raise MissingPackageError('tracing needs sionna-rt. Try: pip install "wbench[sionna]"') from error


def chosen(numbers: Sequence[int] | None) -> list[int]:
    """Numbers of districts; None = all. Raises `InvalidValueError` where there is none of a number."""
    for number in numbers or ():
        require(0 <= number < len(DISTRICTS), "--district", number, f"in [0, {len(DISTRICTS) - 1}]: {len(DISTRICTS)} districts")
    return list(range(len(DISTRICTS))) if numbers is None else list(dict.fromkeys(numbers))


def trace(numbers: Sequence[int] | None = None, on_district: Callable[[], None] = lambda: None) -> dict[str, NDArray]:
    """Trace districts, one after another.

    Args:
        numbers: indices into `DISTRICTS`; None = all.
        on_district: told of every district that is done.

    Returns:
        The arrays of a file of maps; see `pack`.
    """
    wanted = chosen(numbers)
    require_tools()
    scenes: dict[str, Any] = {}
    found = []
    for number in wanted:
        city, x, y = DISTRICTS[number]
        if city not in scenes:
            scenes[city] = _scene(city)
        found.append(_district(scenes[city], city, float(x), float(y)))
        on_district()
    return pack(found)


def pack(found: Sequence[District]) -> dict[str, NDArray]:
    """The arrays of a file of maps: gains in bytes, street cells as a mask, stations in m from the centre of the district."""
    free = np.zeros((len(found), CELLS, CELLS), dtype=bool)
    for mask, place in zip(free, found, strict=True):
        mask[place.cells[:, 0], place.cells[:, 1]] = True
    steps = [np.clip(np.rint((BEST_DB - place.gain) / STEP_DB), 0, NO_PATH - 1) for place in found]
    gain = [np.where(place.gain < LEAST_DB, NO_PATH, step) for place, step in zip(found, steps, strict=True)]
    return {
        "version": np.array(VERSION),
        "free": free.reshape(len(found), -1),
        "gain": np.concatenate(gain).astype(np.uint8),
        "first": np.cumsum([0, *(len(place.cells) for place in found)]),
        "city": np.array([CITIES.index(place.city) for place in found]),
        "centre": np.array([place.centre for place in found], dtype=np.float32),
        "stations": np.stack([place.stations for place in found]).astype(np.float32),
    }


def _scene(city: str) -> Any:
    """A city of Sionna's at our carrier, with walls that scatter."""
    import sionna.rt as rt

    scene = rt.load_scene(getattr(rt.scene, city))
    scene.frequency = CARRIER
    for material in scene.radio_materials.values():
        material.scattering_coefficient = SCATTERING
    scene.tx_array = scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    return scene


def _district(scene: Any, city: str, x: float, y: float) -> District:
    side = CELL * CELLS
    xs, ys = (c - side / 2 + CELL * (np.arange(CELLS) + 0.5) for c in (x, y))
    height, ground, _ = _look(scene, xs, ys)
    parts, count = label(ground, np.ones((3, 3)))
    free = parts == 1 + np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:])  # courtyards are no streets
    seed = hashlib.sha256(f"maps/{city}_{x:g}_{y:g}.npz".encode()).digest()[:4]
    stations = candidates(scene, x, y, free, np.random.default_rng(int.from_bytes(seed)))
    cells = np.argwhere(free)
    surface = _surface(xs[cells[:, 1]], ys[cells[:, 0]], height[free] + USER)
    traced = (_gain(scene, stations[k : k + TOGETHER], surface, k + 1) for k in range(0, len(stations), TOGETHER))
    level = 10.0 * np.log10(np.maximum(np.concatenate(list(traced)), 1e-30)).T
    return District(city, (x, y), cells, (stations - [x, y, 0.0]).astype(np.float32), level.astype(np.float32))


def _look(scene: Any, xs: Array, ys: Array) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """What one sees from above on a grid: heights in m, whether it is ground, whether there is anything, [Y, X] each."""
    import drjit as dr  # type: ignore[import-not-found,unused-ignore]
    import mitsuba as mi  # type: ignore[import-not-found,unused-ignore]

    x, y = (grid.ravel().astype(np.float32) for grid in np.meshgrid(xs, ys))
    seen = scene.mi_scene.ray_intersect(mi.Ray3f(mi.Point3f(x, y, SKY), mi.Vector3f(0, 0, -1)))
    size = len(ys), len(xs)
    shape = np.array(dr.reinterpret_array(mi.UInt32, seen.shape)).reshape(size)
    names = [item for name, item in scene.objects.items() if name in GROUND]
    ground = [np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(item.mi_mesh)))[0] for item in names]
    there = np.array(seen.is_valid()).reshape(size)
    return SKY - np.array(seen.t).reshape(size), there & np.isin(shape, ground), there


def candidates(scene: Any, x: float, y: float, free: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Places for stations, [P, 3]: on walls beside street cells at FACADE m or, each fourth, on the roof above; APART."""
    count = int(CELL * CELLS / FINE)
    xs, ys = (c - CELL * CELLS / 2 + FINE * (np.arange(count) + 0.5) for c in (x, y))
    height, ground, there = _look(scene, xs, ys)
    found: list[tuple[float, float, float]] = []
    spots = _walls(xs, ys, height, ground, there & ~ground, free)
    for k in rng.permutation(len(spots)):
        px, py, street, top, dx, dy = spots[k]
        if any((px - q[0]) ** 2 + (py - q[1]) ** 2 <= APART**2 for q in found):
            continue
        if len(found) % ROOF_EVERY == ROOF_EVERY - 1 and top - street < HIGHEST_ROOF:
            found.append((px - 2.0 * dx, py - 2.0 * dy, top + ROOF))
        else:
            found.append((px + 0.5 * dx, py + 0.5 * dy, street + min(FACADE, top - street - 1.0)))
        if len(found) == STATIONS:
            break
    return np.array(found)


def _walls(
    xs: Array, ys: Array, height: Array, ground: NDArray[np.bool_], wall: NDArray[np.bool_], free: NDArray[np.bool_]
) -> list[tuple[float, ...]]:
    """Walls with a street cell beside them: position, height of the street and of the wall, direction to the street."""
    count = len(xs)
    spots: list[tuple[float, ...]] = []
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        beside, street = np.roll(ground, (-dy, -dx), (0, 1)), np.roll(height, (-dy, -dx), (0, 1))
        rows, columns = (np.clip(((np.arange(count) + d) * FINE // CELL).astype(int), 0, CELLS - 1) for d in (dy, dx))
        rise = height - street
        i, j = np.nonzero(wall & beside & free[rows][:, columns] & (rise > LOW) & (rise < HIGH))
        inside = (i > 2) & (i < count - 3) & (j > 2) & (j < count - 3)
        for a, b in zip(i[inside], j[inside], strict=True):
            reach = FINE / 2 + 0.5
            spots.append((xs[b] + dx * reach, ys[a] + dy * reach, street[a, b], height[a, b], float(dx), float(dy)))
    return spots


def _surface(x: Array, y: Array, z: Array) -> Any:
    """Two triangles over each street cell, where gains are measured."""
    import mitsuba as mi

    half = CELL / 2
    corners = np.array([(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)])
    points = (np.stack([x, y, z], -1)[:, None] + corners).reshape(-1, 3)
    first = 4 * np.arange(len(x))[:, None]
    faces = (first + np.array([0, 1, 2, 0, 2, 3])).reshape(-1, 3)
    mesh = mi.Mesh("streets", len(points), len(faces))
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = points.ravel().astype(np.float32)
    parameters["faces"] = faces.ravel().astype(np.uint32)
    parameters.update()
    return mesh


def _gain(scene: Any, stations: Array, surface: Any, seed: int) -> Array:
    """Path gain from each station to each street cell, linear, [P, C]."""
    import sionna.rt as rt

    for name in list(scene.transmitters):
        scene.remove(name)
    for k, place in enumerate(stations):
        scene.add(rt.Transmitter(f"station-{k}", position=[float(each) for each in place]))
    found = rt.RadioMapSolver()(
        scene,
        measurement_surface=surface,
        samples_per_tx=RAYS,
        max_depth=BOUNCES,
        los=True,
        specular_reflection=True,
        diffuse_reflection=True,
        refraction=False,
        diffraction=True,
        seed=seed,
    )
    return found.path_gain.numpy().reshape(len(stations), -1, 2).mean(-1)


def agreement(ours: Mapping[str, NDArray], numbers: Sequence[int]) -> list[tuple[float, float]]:
    """How near traced districts are to the shipped ones of these numbers.

    Returns:
        Of the links with a path in either, by district: the share within 1 dB, and the 99th percentile of the difference in
        dB. Where other cells are streets nothing is near: (0, inf).
    """
    shipped = dict(np.load(PATH))
    found = []
    for k, number in enumerate(numbers):
        one, other = (file["gain"][file["first"][i] : file["first"][i + 1]] for file, i in ((ours, k), (shipped, number)))
        if one.shape != other.shape:
            found.append((0.0, np.inf))
            continue
        either = (one != NO_PATH) | (other != NO_PATH)
        gap = STEP_DB * np.abs(one[either].astype(float) - other[either])
        found.append((float((gap <= 1.0).mean()), float(np.percentile(gap, 99))))
    return found

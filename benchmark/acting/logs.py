"""Logs of one's own network as a `Support`: a CSV or Parquet file, without any simulator; every fault of it is named.

Two forms are read. In *long* form a row is an agent in a slot of an episode: `episode`, `t` (from 0), `agent` (from 0), the
observation as `obs_0`, `obs_1`, ... or by its parts as `obs_queue_0`, ... (`wbench show FAMILY --observation` prints both),
`action`, or `action_NAME` for each component where there are several, and `reward`; all other columns are left alone. In
*format 2* (see `schema`) a row is a slot of all agents: what `wbench.record` writes and `load_dataset` gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import torch

from ...errors import DataError, InvalidValueError
from ..agent import Support
from ..data.recorder import behaviours
from ..family import Family, Variant
from ..registry import resolve
from .observation import acted_of, allowed, choices, columns_of, meaning_of, usual_range

if TYPE_CHECKING:
    from datasets import Dataset

WIDER = 2.0  # so many times the usual range is another unit
KEYS = ("episode", "t", "agent")


def load_logs(path: str | Path, task: str | Variant, *, family: Family | None = None) -> Support:
    """What a network recorded, as the logged episodes that a policy adapts on.

    Args:
        path: a `.csv` or `.parquet` file, in long form or in format 2.
        task: the variant or its name; its public description must be that of the network.
        family: its family; None = the registered one.

    Raises:
        DataError: the file is missing or damaged, lacks columns, slots or agents, or holds NaN, text or numbers out of range.
    """
    found, variant = resolve(task, family)
    file = Path(path).expanduser()
    return _support(read(file), found, variant, file.name)


def as_support(family: Family, variant: Variant, shots: Support | Dataset | str | Path) -> Support:
    """Logged episodes in any of the forms that `Policy.adapt` takes."""
    if isinstance(shots, Support):
        shots.require_fitting(family, variant)
        return shots
    if isinstance(shots, str | Path):
        return load_logs(shots, variant, family=family)
    if not hasattr(shots, "with_format"):
        allowed = "None, a Support (wbench.load_support, load_logs), a Dataset or a file"
        raise InvalidValueError("shots", shots, allowed)
    return _support(shots.with_format("arrow")[:], family, variant, "the dataset")


def read(path: Path) -> pa.Table:
    """The table of a CSV or Parquet file; raises `DataError`."""
    readers = {".csv": pyarrow.csv.read_csv, ".parquet": pyarrow.parquet.read_table}
    if path.suffix not in readers:
        raise DataError(f"{path} is no .csv or .parquet file. Save the logs as one of these.")
    if not path.is_file():
        raise DataError(f"there is no file {path}. Give a .csv or .parquet file of logs.")
    try:
        return readers[path.suffix](path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read {path} ({str(error).splitlines()[0]:.160}). Give another file.") from error


def _support(table: pa.Table, family: Family, variant: Variant, where: str) -> Support:
    """A table in one of the two forms, checked."""
    nested = "obs" in table.column_names
    columns = _of_slots(table, family, variant, where) if nested else _of_agents(table, family, variant, where)
    _check_actions(columns["action"], family, where)
    _check_observations(columns["obs"], family, variant, where)
    _check_rewards(columns["reward"], family, where)
    obs = torch.from_numpy(columns["obs"].astype(np.float32))
    single = len(family.actions) == 1 and family.actions[0].kind == "categorical"
    action = torch.from_numpy(columns["action"].astype(np.int64 if single else np.float32))
    mask = torch.from_numpy(columns["action_mask"]).bool() if nested else allowed(family, choices(family, variant), obs)
    _check_masks(action if len(family.actions) == 1 else action[..., 0], mask, family, where)
    return Support(obs, action, torch.from_numpy(columns["reward"].astype(np.float32)), mask, _quality(columns, family))


def _of_agents(table: pa.Table, family: Family, variant: Variant, where: str) -> dict[str, np.ndarray]:
    """Columns [K, T, N, ...] of a table in long form."""
    if not table.num_rows:
        raise DataError(f"{where} has no rows.")
    indexed, named = columns_of(family)
    seen = named if named and named[0] in table.column_names else indexed
    acted = acted_of(family)
    found = _numbers(table, [*KEYS, *seen, *acted, "reward"], family, where)
    order = np.lexsort([found[name] for name in reversed(KEYS)])
    episode, slot, agent = (found[name][order] for name in KEYS)
    shape = _shape(episode, slot, agent, variant, where)
    blocks = {"obs": seen, "action": acted, "reward": ["reward"]}
    columns = {name: np.stack([found[c][order] for c in names], -1).reshape(*shape, -1) for name, names in blocks.items()}
    return {name: array[..., 0] if array.shape[-1] == 1 and name != "obs" else array for name, array in columns.items()}


def _shape(episode: np.ndarray, slot: np.ndarray, agent: np.ndarray, variant: Variant, where: str) -> tuple[int, int, int]:
    """Episodes, slots and agents of rows in order; raises `DataError` where one is missing or too many."""
    n, horizon = variant.agents, variant.horizon
    for number in np.unique(episode):
        rows = episode == number
        agents, slots = np.unique(agent[rows]), np.unique(slot[rows])
        if not np.array_equal(agents, np.arange(n)):
            raise DataError(f"{where}: agents of episode {number:g} are {_few(agents)}, but {variant.name} has 0 to {n - 1}.")
        if not np.array_equal(slots, np.arange(horizon)):
            hint = f"Cut your log into episodes of t = 0 to {horizon - 1}"
            raise DataError(
                f"{where}: episode {number:g} has {len(slots)} slots, t = {_few(slots)}, not the {horizon} of {variant.name}. "
                f"{hint}, which begin where the site's pattern does."
            )
        if rows.sum() != n * horizon:
            raise DataError(f"{where}: episode {number:g} has {rows.sum()} rows, but must have one a slot and agent.")
        place = slot[rows] * n + agent[rows]
        if len(twice := np.flatnonzero(np.diff(place) == 0)):
            t, i = divmod(place[twice[0]], n)
            raise DataError(
                f"{where}: episode {number:g} has agent {i:g} twice at t = {t:g}, but must have one row a slot and agent."
            )
    return len(np.unique(episode)), horizon, n


def _few(numbers: np.ndarray) -> str:
    shown = [f"{number:g}" for number in numbers]
    return ", ".join(shown) if len(shown) <= 6 else f"{', '.join(shown[:3])}, ..., {shown[-1]}"


def _of_slots(table: pa.Table, family: Family, variant: Variant, where: str) -> dict[str, np.ndarray]:
    """Columns [K, T, ...] of a table in format 2."""
    n, parts, length = variant.agents, len(family.actions), variant.horizon + 1
    shapes = {"obs": (n, family.obs_size), "action_mask": (n, family.mask_size), "reward": (n,)}
    shapes |= {"action": (n,) if parts == 1 else (n, parts)}
    flat = _numbers(table, ["site", "episode", "t", *shapes, "behaviour"], family, where)
    rows = table.num_rows
    wrong = [name for name, shape in shapes.items() if flat[name].size != rows * int(np.prod(shape))]
    if wrong or rows == 0 or rows % length:
        what = f"{wrong[0]} has another shape" if wrong else f"{rows} rows, not {length} an episode (the last one is `last`)"
        raise DataError(f"{where} holds no whole episodes of {variant.name}: {what}.")
    if len(sites := np.unique(flat["site"])) > 1:
        raise DataError(f"{where} holds logs of {len(sites)} sites, but a policy adapts to one. Choose one: `site=0`.")
    order = np.lexsort([flat["t"], flat["episode"]])
    slots = flat["t"][order].reshape(-1, length)
    if not np.array_equal(slots, np.broadcast_to(np.arange(length), slots.shape)):
        raise DataError(f"{where}: the slots of an episode are not 0 to {length - 1}, the last one for its last observation.")
    columns = {name: flat[name].reshape(rows, *shape)[order].reshape(-1, length, *shape) for name, shape in shapes.items()}
    return {name: array[:, :-1] for name, array in columns.items()} | {"behaviour": flat["behaviour"][order][::length]}


def _numbers(table: pa.Table, wanted: list[str], family: Family, where: str) -> dict[str, np.ndarray]:
    """Columns as numbers in a row; raises `DataError` where one is missing, is text, or holds NaN."""
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        hint = f"Columns: wbench show {family.name} --observation"
        raise DataError(f"{where} lacks the columns {', '.join(missing[:4])}{more}. {hint}")
    found = {}
    for name in wanted:
        array = _flat(table.column(name))
        if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)):
            raise DataError(f"{where}: column {name} holds {_first_text(array)}, but must hold numbers.")
        values = array.to_numpy(zero_copy_only=False).astype(np.float64)
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            row = bad[0] // max(1, len(values) // table.num_rows)
            raise DataError(
                f"{where}: {name} holds {len(bad)} NaN or infinite numbers, the first in row {row + 1} of the data."
            )
        found[name] = values
    return found


def _first_text(array: pa.Array) -> str:
    """The first thing in a column that is no number, and its row; the column's type where that cannot be told."""
    for row, value in enumerate(array.to_pylist(), start=1):
        try:
            float(value)
        except (TypeError, ValueError):
            return f"{value!r:.60} in row {row} of the data"
    return str(array.type)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    """The numbers of a column of lists, of any depth, in a row."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.float64())
    while isinstance(array, pa.ExtensionArray) or pa.types.is_nested(array.type):
        array = array.storage if isinstance(array, pa.ExtensionArray) else array.flatten()
    return array


def _check_actions(action: np.ndarray, family: Family, where: str) -> None:
    """Raise `DataError` unless every component is within what it can be."""
    for k, part in enumerate(family.actions):
        values = action if len(family.actions) == 1 else action[..., k]
        chosen = part.kind == "categorical"
        low, high = (0, part.size - 1) if chosen else (part.low, part.high)
        if values.min() < low or values.max() > high or (chosen and (values != values.round()).any()):
            span = f"[{values.min():g}, {values.max():g}]"
            what = f"whole numbers 0 to {high}" if chosen else f"numbers in [{low:g}, {high:g}]"
            raise DataError(f"{where}: the action {part.name} lies in {span}, but must be {what}. Is it in another unit?")


def _check_observations(obs: np.ndarray, family: Family, variant: Variant, where: str) -> None:
    """Raise `DataError` where a number is far beyond what it is in the variant: it is in another unit."""
    low, high = usual_range(family, variant)
    room = WIDER * (high - low + 1.0)
    given = obs.reshape(-1, obs.shape[-1])
    least, most = given.min(0), given.max(0)
    if len(bad := np.flatnonzero((least < low - room) | (most > high + room))):
        k = int(bad[0])
        usual = f"usually [{low[k]:.3g}, {high[k]:.3g}]"
        raise DataError(
            f"{where}: {columns_of(family)[0][k]} lies in [{least[k]:.4g}, {most[k]:.4g}], {usual} in {variant.name}. "
            f"Is it in another unit? It is {meaning_of(family, k)}."
        )


def _check_rewards(reward: np.ndarray, family: Family, where: str) -> None:
    """Raise `DataError` where the team earned what it cannot earn in a slot."""
    low, high = family.reward_range
    team, room = reward.sum(-1), high - low
    if team.min() < low - room or team.max() > high + room:
        span = f"[{team.min():.4g}, {team.max():.4g}]"
        told = f"in {family.name} it is in [{low:g}, {high:g}]. Is it in another unit?"
        raise DataError(f"{where}: the team's reward of a slot lies in {span}, {told}")


def _check_masks(choice: torch.Tensor, mask: torch.Tensor, family: Family, where: str) -> None:
    """Raise `DataError` where a choice was not allowed."""
    if family.actions[0].kind != "categorical":
        return
    taken = mask.gather(-1, choice.long().unsqueeze(-1)).squeeze(-1)
    if len(bad := (~taken).nonzero()):
        episode, slot, agent = bad[0].tolist()
        at = f"the first by agent {agent} in slot {slot} of episode {episode}"
        raise DataError(f"{where}: {len(bad)} choices of {family.actions[0].name} were not allowed by what was observed, {at}.")


def _quality(columns: dict[str, Any], family: Family) -> tuple[str, ...]:
    """Who recorded each episode: a policy of the family, else `own`."""
    known = behaviours(family)
    numbers = columns.get("behaviour", np.full(len(columns["reward"]), -1))
    return tuple(known[int(k)][0] if 0 <= k < len(known) else "own" for k in numbers)

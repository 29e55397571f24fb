"""The columns of an offline dataset, the same for every family: format 2.

A row is a slot of an episode, in time order. An episode of T slots has T + 1 rows: the last one (`last` is true) holds the
observation that the last action led to, and nothing else. Observations are rounded to half precision, three digits, which
halves the files. `datasets`, pandas and DuckDB read them with no wbench code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..family import QUALITIES, Family, Variant

if TYPE_CHECKING:
    from datasets import Features

FORMAT_VERSION = "2.0.0"
QOS = ("delivered", "delay", "dropped", "energy")
SUPPORT, HELD_OUT = "support", "held-out"  # files of support episodes: of train sites, of held-out sites
TRAIN_FILES = (*QUALITIES, SUPPORT)  # of a train variant; `quality` of a window is an index into it
EPISODE = ("site", "episode", "behaviour")  # columns that are constant in an episode
SEEN = ("obs", "action_mask")  # columns that the last row of an episode has too


def column_shapes(family: Family, variant: Variant) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape of a row and dtype of every column, in file order."""
    n, parts = variant.agents, len(family.actions)
    choice = parts == 1 and family.actions[0].kind == "categorical"
    shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {
        "site": ((), np.dtype(np.int32)),
        "episode": ((), np.dtype(np.int32)),
        "t": ((), np.dtype(np.int32)),
        "last": ((), np.dtype(np.int8)),
        "behaviour": ((), np.dtype(np.int8)),
        "obs": ((n, family.obs_size), np.dtype(np.float16)),
        "action_mask": ((n, family.mask_size), np.dtype(np.int8)),
        "action": ((n,) if parts == 1 else (n, parts), np.dtype(np.int64 if choice else np.float32)),
        "reward": ((n,), np.dtype(np.float32)),
        "terminated": ((), np.dtype(np.int8)),
        "truncated": ((), np.dtype(np.int8)),
    }
    return shapes | {name: ((n,), np.dtype(np.float32)) for name in QOS}


def features(family: Family, variant: Variant) -> Features:
    """The same as `datasets.Features`, for the card and for checks."""
    from datasets import Array2D, Features, List, Value

    def feature(shape: tuple[int, ...], dtype: np.dtype) -> object:
        if len(shape) == 2:
            return Array2D(shape, str(dtype))
        return List(Value(str(dtype)), length=shape[0]) if shape else Value(str(dtype))

    return Features({name: feature(*spec) for name, spec in column_shapes(family, variant).items()})

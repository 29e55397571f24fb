"""Recorded play in the forms of other libraries: a Minari dataset, and a TensorDict as TorchRL has it; both are extras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import MissingPackageError, require
from ..data.recorder import Columns
from ..data.release import get_release
from ..data.shards import read, to_columns
from ..data.store import load_columns
from ..family import Family, Variant
from ..registry import get_variant
from .arrays import gymnasium_action

if TYPE_CHECKING:
    from minari import MinariDataset
    from tensordict import TensorDict


def to_tensordict(name: str, source: str | Path = "mixed", release: str = "mini") -> TensorDict:
    """Recorded episodes of a variant as a `TensorDict` [E, T], with `next` as TorchRL has it; rewards are the team's.

    Args:
        name: of the variant.
        source: a quality of the release (see `load_dataset`), or a file of `wbench.record`.
        release: `mini` or `standard`.

    Raises:
        MissingPackageError: tensordict is not installed.
        UnknownNameError: of variant, quality or release.
        DataError: a file is damaged.
    """
    try:
        from tensordict import TensorDict
    except ImportError as error:
        raise MissingPackageError('this needs tensordict. Try: pip install "wbench[tensordict]"') from error
    family, variant = get_variant(name)
    columns = _columns(family, variant, source, release)
    seen = {
        "observation": torch.from_numpy(columns["obs"]).float(),
        "action_mask": torch.from_numpy(columns["action_mask"]).bool(),
    }
    reward = torch.from_numpy(columns["reward"])
    shape = reward.shape[:2]
    ends = {key: torch.from_numpy(columns[key]).bool().unsqueeze(-1) for key in ("terminated", "truncated")}
    after: dict[str, Any] = {key: value[:, 1:] for key, value in seen.items()}
    after |= {
        "reward": reward.sum(-1, keepdim=True),
        "agent_reward": reward,
        **ends,
        "done": ends["terminated"] | ends["truncated"],
    }
    now: dict[str, Any] = {key: value[:, :-1] for key, value in seen.items()}
    now |= {"action": torch.from_numpy(columns["action"]), "site": torch.from_numpy(columns["site"])[:, None].expand(shape)}
    return TensorDict({**now, "next": TensorDict(after, batch_size=shape)}, batch_size=shape)


def to_minari(name: str, dataset_id: str, source: str | Path = "mixed", release: str = "mini") -> MinariDataset:
    """Recorded episodes of a variant as a Minari dataset in Minari's own folder: one controller, the team's reward.

    Args:
        name: of the variant.
        dataset_id: as Minari wants it, e.g. `wbench/access-v0`.
        source: a quality of the release (see `load_dataset`), or a file of `wbench.record`.
        release: `mini` or `standard`.

    Raises:
        MissingPackageError: minari or gymnasium is not installed.
        InvalidValueError: there is such a dataset already.
        UnknownNameError: of variant, quality or release.
        DataError: a file is damaged.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer

        from .spaces import action_space, real_box
    except ImportError as error:
        raise MissingPackageError(f'this needs minari ({error}). Try: pip install "wbench[minari,envs]"') from error
    family, variant = get_variant(name)
    require(dataset_id not in minari.list_local_datasets(), "dataset_id", dataset_id, "new: Minari has such a dataset already")
    columns = _columns(family, variant, source, release)
    action = gymnasium_action(family, torch.from_numpy(columns["action"]))
    episodes = [
        EpisodeBuffer(
            id=k,
            seed=None,
            observations=columns["obs"][k].astype(np.float32),
            actions=tuple(part[k] for part in action) if isinstance(action, tuple) else action[k],
            rewards=columns["reward"][k].sum(-1),
            terminations=columns["terminated"][k].astype(bool),
            truncations=columns["truncated"][k].astype(bool),
            infos={},
        )
        for k in range(len(columns["reward"]))
    ]
    return minari.create_dataset_from_buffers(
        dataset_id,
        episodes,
        observation_space=real_box(variant.agents, family.obs_size),
        action_space=action_space(family, variant.agents),
        algorithm_name=str(source),
        description=f"{variant.name}, recorded by wbench; {family.summary}",
    )


def _columns(family: Family, variant: Variant, source: str | Path, release: str) -> Columns:
    """Columns of a file, as `recorder.record` gives them."""
    if str(source).endswith(".parquet"):
        return to_columns(read(Path(source).expanduser()), family, variant)
    return load_columns(family, variant, str(source), get_release(release))

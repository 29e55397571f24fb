"""Loader speed: random windows a second, beside NumPy, torch, TorchRL's SliceSampler and Minari on the same data.

    pip install -e . torchrl "minari[all]" && python experiments/loader.py [--json]

Windows of 16 slots x 8 agents x 32 floats, 256 a batch, from 1000 episodes of 128 slots (131 MB). Figures are medians of
repeats in process-CPU seconds on one thread. NumPy's `take` into a buffer that is there already is the ceiling: it does nothing
else. With context: beside every 16 windows five other whole episodes of the same site, and a buffer for those too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from wbench.benchmark.data.windows import Episodes, WindowSampler
from wbench.benchmark.families.access.variant import AccessVariant
from wbench.benchmark.registry import get_family

EPISODES, SLOTS, AGENTS, FLOATS, WIDTH, BATCH = 1000, 128, 8, 32, 16, 256
SITES, SHOTS, SHARING = 50, 5, 16  # episodes lie site after site; windows that share a context
REPEATS, CALLS = 7, 40


FAMILY = replace(get_family("access"), permute=None)  # these observations are noise, of another size


@dataclass(frozen=True)
class Data:
    """The episodes as one array [E, T, N, O], and random windows of it: episode [calls, b] and first slot [calls, b]."""

    obs: np.ndarray
    episode: np.ndarray
    slot: np.ndarray


def windows_a_second(load: Callable[[int], object]) -> float:
    """Median rate of `load`, which is told the number of the call and returns a batch."""
    load(0)
    rates = []
    for _ in range(REPEATS):
        begun = time.process_time()
        for call in range(CALLS):
            load(call)
        rates.append(CALLS * BATCH / (time.process_time() - begun))
    return statistics.median(rates)


def numpy_take(data: Data) -> float:
    """`take` of whole slots into a buffer."""
    flat = data.obs.reshape(EPISODES * SLOTS, -1)
    index = (data.episode * SLOTS + data.slot)[..., None] + np.arange(WIDTH)
    out = np.empty((BATCH * WIDTH, flat.shape[1]), np.float32)
    return windows_a_second(lambda call: np.take(flat, index[call].reshape(-1), axis=0, out=out, mode="clip"))


def torch_index_select(data: Data) -> float:
    """The same in torch, a fresh tensor each time."""
    flat = torch.from_numpy(data.obs).flatten(0, 1)
    index = (data.episode * SLOTS + data.slot)[..., None] + np.arange(WIDTH)
    indices = torch.from_numpy(index).flatten(1)
    return windows_a_second(lambda call: flat.index_select(0, indices[call]))


def numpy_take_with_context(data: Data) -> float:
    """The same, and whole episodes of the context into another buffer."""
    flat, whole = data.obs.reshape(EPISODES * SLOTS, -1), data.obs.reshape(EPISODES, -1)
    index = (data.episode * SLOTS + data.slot)[..., None] + np.arange(WIDTH)
    others = np.random.default_rng(1).integers(EPISODES, size=(CALLS, BATCH // SHARING * SHOTS))
    out = np.empty((BATCH * WIDTH, flat.shape[1]), np.float32)
    context = np.empty((BATCH // SHARING * SHOTS, whole.shape[1]), np.float32)

    def load(call: int) -> None:
        np.take(flat, index[call].reshape(-1), axis=0, out=out, mode="clip")
        np.take(whole, others[call], axis=0, out=context, mode="clip")

    return windows_a_second(load)


def episodes(data: Data, folder: Path | None) -> Episodes:
    """The episodes as a learner has them, in memory or, in a folder, as a memory map."""
    obs = data.obs
    if folder:
        np.save(folder / "obs.npy", obs)
        obs = np.load(folder / "obs.npy", mmap_mode="c")
    shape = (EPISODES, SLOTS, AGENTS)
    rest = torch.zeros(shape, dtype=torch.int16), torch.zeros(*shape, 1, dtype=torch.bool), torch.zeros(shape)
    site = torch.arange(SITES).repeat_interleave(EPISODES // SITES)
    return Episodes(AccessVariant(AGENTS, 1, 0.3, 32), torch.from_numpy(obs), *rest, history=7, horizon=8, site=site)


def ours(data: Data, folder: Path | None) -> float:
    """`Episodes.joint`, from memory or from a memory map."""
    source = episodes(data, folder)
    episode, slot = torch.from_numpy(data.episode), torch.from_numpy(data.slot + 7)
    return windows_a_second(lambda call: source.joint("obs", episode[call], slot[call]))


def ours_with_context(data: Data, folder: Path) -> float:
    """The same, and the joint logs of other episodes of the same sites: all columns of `Context`."""
    source, generator = episodes(data, folder), torch.Generator().manual_seed(0)
    episode, slot = torch.from_numpy(data.episode), torch.from_numpy(data.slot + 7)

    def load(call: int) -> object:
        window = source.joint("obs", episode[call], slot[call])
        return window, source.logs(*source.others(episode[call, ::SHARING], SHOTS, generator))

    return windows_a_second(load)


def whole_batches(data: Data, folder: Path) -> float:
    """`WindowSampler.sample` with a context: every column of windows and context, permuted, ready for a learner."""
    sampler = WindowSampler(FAMILY, [episodes(data, folder)], torch.Generator().manual_seed(0))
    return windows_a_second(lambda _: sampler.sample(BATCH * AGENTS, shots=(SHOTS,), per_context=SHARING))


def torchrl(data: Data) -> float | None:
    """SliceSampler over a TensorDict buffer in memory."""
    try:
        from tensordict import TensorDict
        from torchrl.data import LazyTensorStorage, SliceSampler, TensorDictReplayBuffer
    except ImportError:
        return None
    count = EPISODES * SLOTS
    sampler = SliceSampler(slice_len=WIDTH, traj_key="episode", cache_values=True)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(count), sampler=sampler, batch_size=BATCH * WIDTH)
    rows = {"obs": torch.from_numpy(data.obs).flatten(0, 1), "episode": torch.arange(EPISODES).repeat_interleave(SLOTS)}
    buffer.extend(TensorDict(rows, batch_size=[count]))
    return windows_a_second(lambda call: buffer.sample())


def minari(data: Data, folder: Path) -> float | None:
    """Minari reads whole episodes from HDF5; a window is a slice of one."""
    try:
        import os

        os.environ["MINARI_DATASETS_PATH"] = str(folder)
        import gymnasium
        from minari import create_dataset_from_buffers
        from minari.data_collector import EpisodeBuffer
    except ImportError:
        return None
    size = AGENTS * FLOATS
    episodes = [
        EpisodeBuffer(
            id=e,
            observations=np.concatenate([data.obs[e].reshape(SLOTS, size), np.zeros((1, size), np.float32)]),
            actions=np.zeros((SLOTS, 1), np.float32),
            rewards=[0.0] * SLOTS,
            terminations=[False] * SLOTS,
            truncations=[False] * (SLOTS - 1) + [True],
        )
        for e in range(100)
    ]
    dataset = create_dataset_from_buffers(
        "wbench/loader-v0",
        buffer=episodes,
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32),
        action_space=gymnasium.spaces.Box(-1, 1, (1,), np.float32),
    )

    def load(call: int) -> list[np.ndarray]:
        found = dataset.iterate_episodes([int(e) % 100 for e in data.episode[call]])
        return [e.observations[s : s + WIDTH] for e, s in zip(found, data.slot[call], strict=True)]

    return windows_a_second(load)


def _ceiling(label: str) -> str:
    return "NumPy take + context" if "context" in label or "batches" in label else "NumPy take"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((EPISODES, SLOTS, AGENTS, FLOATS), dtype=np.float32)
    shape = (CALLS, BATCH)
    data = Data(obs, rng.integers(EPISODES, size=shape), rng.integers(SLOTS - WIDTH, size=shape))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = {
            "NumPy take": numpy_take(data),
            "torch index_select": torch_index_select(data),
            "wbench, in memory": ours(data, None),
            "wbench, memory map": ours(data, folder),
            "NumPy take + context": numpy_take_with_context(data),
            "wbench + context": ours_with_context(data, folder),
            "wbench whole batches": whole_batches(data, folder),
            "TorchRL SliceSampler": torchrl(data),
            "Minari HDF5": minari(data, folder),
        }
    if as_json:
        print(json.dumps(rates))
        return
    for label, rate in rates.items():
        share = (
            f"{rate * WIDTH / 1e6:8.3f} M slots/s  {rate / rates[_ceiling(label)]:6.1%} of take" if rate else "not installed"
        )
        print(f"{label:22}  {share}")


if __name__ == "__main__":
    main()

"""wbench's tasks in the interfaces of PettingZoo and Gymnasium; see `spaces`.

Both come with `pip install "wbench[envs]"`, and are imported when an environment is made: looking at wbench needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import require

if TYPE_CHECKING:
    import torch

    from ..acting.environment import Sites
    from ..family import Family, Variant
    from .gymnasium import VectorEpisodes
    from .pettingzoo import ParallelEpisode


def parallel_env(
    task: str | Variant,
    *,
    family: Family | None = None,
    device: torch.device | str = "cpu",
    sites: Sites | None = None,
    render_mode: str | None = None,
) -> ParallelEpisode:
    """One variant as a PettingZoo environment, an episode at a time.

    Args:
        task: a variant or its name, e.g. `access/n8-c3-load0.15-l48`.
        family: its family; None = the registered one.
        device: where the simulator runs.
        sites: where it is played, in turns, as in `make`: `"dev:0-3"`, or numbers; None = the first 200 train sites.
        render_mode: `rgb_array` or `human` for frames of the episode.

    Raises:
        MissingPackageError: PettingZoo or Gymnasium is not installed.
    """
    from ..registry import resolve
    from . import spaces  # noqa: F401 - asks for the packages first
    from .pettingzoo import ParallelEpisode

    return ParallelEpisode(*resolve(task, family), device, sites, render_mode)


def vector_env(
    task: str | Variant,
    num_envs: int,
    *,
    family: Family | None = None,
    device: torch.device | str = "cpu",
    sites: Sites | None = None,
) -> VectorEpisodes:
    """One variant as a Gymnasium vector environment of `num_envs` episodes, each of all N agents together.

    Args:
        task: a variant or its name, e.g. `access/n8-c3-load0.15-l48`.
        num_envs: number of episodes B.
        family: its family; None = the registered one.
        device: where the simulator runs.
        sites: where it is played, in turns, as in `make`: `"dev:0-3"`, or numbers; None = the first 200 train sites.

    Raises:
        MissingPackageError: PettingZoo or Gymnasium is not installed.
    """
    from ..registry import resolve
    from . import spaces  # noqa: F401 - asks for the packages first
    from .gymnasium import VectorEpisodes

    require(isinstance(num_envs, int) and num_envs >= 1, "num_envs", num_envs, "a whole number, 1 or more")
    return VectorEpisodes(*resolve(task, family), num_envs, device, sites)

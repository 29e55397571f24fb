"""Random windows of recorded play for learners of one's own, and what a return is worth on the board's scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...errors import require
from ..data.release import get_release
from ..data.windows import WindowSampler, load_episodes
from ..protocol.references import references
from ..registry import get_family, get_variant, list_families
from .environment import site_numbers


def windows(task: str, *, history: int = 0, horizon: int = 1, release: str = "mini", seed: int = 0) -> WindowSampler:
    """Draws batches of random windows from the recorded play at train sites; what is missing is recorded or downloaded first.

    `windows("access").sample(256)` gives about 256 rows, an agent each: `obs` [R, W, O], `action` [R, W], the *team's* `reward`
    [R, W], and more (see `Windows`); W = history + 1 + horizon, so that `obs[:, history + 1]` is the next observation.

    Args:
        task: a family, for all of its train variants; or one train variant.
        history: slots before the current one.
        horizon: slots after it.
        release: `mini` or `standard`.
        seed: of the sampler.

    Raises:
        UnknownNameError: of family, variant or release.
        InvalidValueError: a held-out variant, which nobody trains on; or a window that no episode has.
    """
    family = get_family(task) if task in list_families() else get_variant(task)[0]
    chosen = [variant for variant in family.select("train") if task in (family.name, variant.name)]
    require(bool(chosen), "task", task, f"a family, or a train variant: see wbench show {family.name}")
    least = min(variant.horizon for variant in chosen)
    for field, slots in (("history", history), ("horizon", horizon)):
        require(isinstance(slots, int) and slots >= 0, field, slots, "a whole number, 0 or more")
    require(history + horizon < least, "history + horizon", history + horizon, f"below {least}, the slots of an episode")
    episodes = load_episodes(family, get_release(release), history, horizon, chosen)
    return WindowSampler(family, episodes, torch.Generator().manual_seed(seed))


def normalised_score(name: str, site: str | int, returns: Any) -> Any:
    """Returns on the board's scale: 0 = random, 100 = the genie at this site.

    Args:
        name: of the variant.
        site: where it was played, e.g. `"held-out:0"`.
        returns: sums of the team reward over episodes, a number, array or tensor of any shape.

    Returns:
        A float for a number, else an array of the same shape.

    Raises:
        UnknownNameError: there is no such variant.
        InvalidValueError: this is no site, or the returns are no finite numbers.
    """
    places = site_numbers(site)
    require(len(places) == 1, "site", site, "one site, e.g. held-out:0")
    found = np.asarray(returns.cpu() if isinstance(returns, torch.Tensor) else returns)
    require(np.issubdtype(found.dtype, np.number) and bool(np.isfinite(found).all()), "returns", returns, "finite numbers")
    scores: Any = references(name, places[0]).score(found.astype(np.float64))  # type: ignore[arg-type]
    return float(scores) if found.ndim == 0 else scores

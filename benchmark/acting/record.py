"""One's own play as a dataset of format 2, which plain `datasets`, pandas and DuckDB read; see `benchmark.data.schema`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ...errors import OutputError, require
from ..data import shards
from ..data.paths import write_text, writing
from ..data.recorder import BATCH, Columns, columns_of
from ..data.release import label
from ..data.schema import FORMAT_VERSION
from ..rollout import Slot
from .environment import Environment, Sites, make, site_numbers
from .policy import Acting, Policy, acting

if TYPE_CHECKING:
    from datasets import Dataset

OWN = -1  # in the column `behaviour`: none of the family's policies


@dataclass(frozen=True)
class Recording:
    """A file of recorded episodes, in a folder that `datasets.load_dataset(FOLDER, CONFIG, split=SPLIT)` reads.

    Attributes:
        folder: the folder.
        config: its config, the variant without its family.
        split: its split, the policy.
        path: the file.
        returns: sum of the team reward of each episode, [E].
    """

    folder: Path
    config: str
    split: str
    path: Path
    returns: np.ndarray

    def load(self) -> Dataset:
        """The file as a `datasets.Dataset`, through plain `datasets`."""
        from datasets import load_dataset

        return load_dataset(str(self.folder), self.config, split=self.split)

    def __repr__(self) -> str:
        count, mean = len(self.returns), float(self.returns.mean())
        return f"Recording({self.path}: {count} episodes of {self.config} by {self.split}, mean return {mean:.4g})"


def record(
    env: str | Environment,
    policy: Acting,
    episodes: int,
    *,
    to: str | Path,
    sites: Sites | None = None,
    seeds: Sequence[int] | None = None,
    name: str | None = None,
) -> Recording:
    """Play a policy and write what happened in format 2.

    Args:
        env: a variant, or an environment of `wbench.make`.
        policy: a `Policy` that was adapted; an agent, its name or FILE.py, at zero shots; or a function of obs [B, N, O] and
            info that gives actions.
        episodes: how many.
        to: folder; each variant and policy is a file in it.
        sites: where it is played, in turns; None = the environment's sites.
        seeds: scenario of each episode; None = 0, 1, ...
        name: of the policy, which names the split; None = the agent's.

    Returns:
        Where the file is, and what each episode earned.

    Raises:
        OutputError: there is such a file already, or the folder cannot be written.
        InvalidValueError: of another argument.
    """
    require(isinstance(episodes, int) and 1 <= episodes <= 1_000_000, "episodes", episodes, "a whole number, 1 or more")
    place = make(env) if isinstance(env, str) else env
    if sites is not None:
        place = Environment(place.family, place.variant, site_numbers(sites), 1)
    numbers = range(episodes) if seeds is None else seeds
    require(len(numbers) == episodes, "seeds", f"{len(numbers)} seeds", f"one an episode: {episodes}")
    actor = acting(policy, place.family, place.variant)
    own = actor.agent.name if isinstance(actor, Policy) else getattr(actor, "__name__", "own")
    split = _split(name or own)
    path = Path(to).expanduser() / "data" / label(place.variant) / f"{split}.parquet"
    if path.exists():
        raise OutputError(f"{path} exists already. Give another name= or to=, or delete it.")
    _require_own(Path(to).expanduser())
    parts = [_play(place, actor, numbers[start : start + BATCH]) for start in range(0, episodes, BATCH)]
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    about = {"variant": place.variant.name, "policy": own, "dynamics": place.family.version, "format": FORMAT_VERSION}
    with writing(path.parent):
        shards.write(path, place.family, place.variant, columns, {**about, "own": True})
        write_text(Path(to).expanduser() / "README.md", _card(Path(to).expanduser()))
    returns = columns["reward"].sum((1, 2), dtype=np.float64)
    return Recording(Path(to).expanduser(), label(place.variant), split, path, returns)


def _play(env: Environment, actor: Policy | Callable[[Any, Any], Any], seeds: Sequence[int]) -> Columns:
    """One batch of episodes, columns as of `recorder.record`; a policy begins anew."""
    slots: list[Slot] = []
    obs, info = env.reset(seeds=seeds)
    if isinstance(actor, Policy):
        actor.reset(env)
    act = actor.act if isinstance(actor, Policy) else actor
    for _ in range(env.variant.horizon):
        action = env.action(act(obs, info))
        after, reward, terminated, truncated, later = env.step(action)
        slots.append(Slot(obs, info["action_mask"], action, reward, later, after, terminated, truncated))
        obs, info = after, later
    return columns_of(slots, [site for site, _ in env.played], OWN)


def _split(name: str) -> str:
    """A name that a split of `datasets` may have."""
    found = re.sub(r"\W+", "_", name).strip("_")
    require(bool(found), "name", name, "letters, digits and _")
    return found


def _require_own(folder: Path) -> None:
    """Raise `OutputError` where a folder holds a card of somebody else."""
    card = folder / "README.md"
    if card.exists() and _TITLE not in card.read_text(encoding="utf-8", errors="replace"):
        raise OutputError(f"{card} is not of wbench.record. Give another to=.")


_TITLE = "# Own play in wbench"
_CARD = """
{title}

Episodes that `wbench.record` wrote, a row a slot, in time order: format {format} (docs/datasets.md of wbench). The last row of
an episode (`last` is 1) holds the observation that the last action led to. `behaviour` is -1: a policy of one's own.

| config | split | policy | episodes |
| --- | --- | --- | --: |
{rows}
"""


def _card(folder: Path) -> str:
    """What is in the folder, for people and for `datasets`."""
    files: dict[str, list[dict[str, str]]] = {}
    rows = []
    for path in sorted(folder.glob("data/*/*.parquet")):
        about = shards.about(path)
        if about is None:
            continue
        config = path.parent.name
        files.setdefault(config, []).append({"split": path.stem, "path": path.relative_to(folder).as_posix()})
        slots = shards.rows(path)
        rows.append(f"| {config} | {path.stem} | {about.get('policy', '')} of {about['variant']} | {slots} rows |")
    configs = [{"config_name": name, "data_files": found} for name, found in files.items()]
    header = yaml.safe_dump({"configs": configs, "tags": ["wbench", "multi-agent-reinforcement-learning"]}, sort_keys=False)
    return f"---\n{header}---\n{_CARD.format(title=_TITLE, format=FORMAT_VERSION, rows=chr(10).join(rows))}"

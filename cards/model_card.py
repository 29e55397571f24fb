"""The model card of a checkpoint, rendered from its config and training report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..benchmark.data.paths import require_ours, write_text
from ..benchmark.family import Family
from ..benchmark.registry import get_variant
from ..errors import ResultError, require
from ..leaderboard.export import by_variant, model_index_entries
from ..leaderboard.reading import parse
from ..leaderboard.result import Result
from ..leaderboard.verification.verify import arithmetic_holds
from ..learning.checkpoint import WEIGHTS, digest_of_file
from ..learning.run import REPORT
from ..learning.training import get_trainer
from .training_report import PICTURE

CARDS = b"library_name: wbench", b"model_hub_mixin"  # in our cards; in those that huggingface_hub writes with the weights
_TEXT = """
# {agent} for {names}

{about}

{families}

Trained {learned} the train variants, at their train sites; held-out variants and held-out sites were never seen.

## Load and play

```bash
wbench eval --agent {agent} --checkpoint FOLDER   # or the Hub id NAMESPACE/NAME
```

```python
from {module} import {cls}

model = {cls}.from_pretrained(FOLDER)  # a Hub id takes revision="v1.0.0"
```

## Settings

| setting | value |
| --- | --- |
{settings}
{figures}
{scores}
## Intended use and limits

For research on offline multi-agent learning and planning in wireless networks, under wbench's few-shot protocol. Plays the
families it was trained on and no others. Scores come from simulators, not from radio equipment. NetWorld's paper (arXiv
2602.00558) is known to us by its abstract: this is our instantiation and reproduces none of its numbers.

## Licence and citation

Apache-2.0. Cite wbench {version}, checkpoint `{digest}`, and for NetWorld's idea arXiv:2602.00558.
"""


def write_model_card(folder: Path, agent: str, families: Sequence[Family], results: Mapping[str, Any] | None = None) -> None:
    """Write `README.md` beside a checkpoint.

    Args:
        folder: where `config.json` is, and the training's report and picture if there are any.
        agent: name of the agent.
        families: the families it was trained on.
        results: a result document of `wbench eval` for this very checkpoint; its scores go into the card and its `model-index`.

    Raises:
        UnknownNameError: no agent of this name can be trained.
        CheckpointError: the folder holds no checkpoint of this agent.
        InvalidValueError: the results are of another agent or checkpoint.
        ResultError: they are malformed, or do not hold.
        OutputError: the folder has a `README.md` that is no card of wbench's.
    """
    from huggingface_hub import ModelCard, ModelCardData

    require_ours(folder / "README.md", CARDS, "Move it away, or delete it, to have a card of wbench's.")
    network = get_trainer(agent).network
    network.from_pretrained(folder)  # refuses what is damaged or of another agent
    weights = digest_of_file(folder / WEIGHTS)
    result = None if results is None else _result(results, agent, weights)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = "\n".join(f"| {key} | {value} |" for key, value in config.items() if key != "families")
    tags = ["wbench", agent, "multi-agent-reinforcement-learning", network.FIELD, "wireless"]
    data = ModelCardData(
        license="apache-2.0",
        library_name="wbench",
        tags=[*tags, "arxiv:2602.00558"],
        pipeline_tag="reinforcement-learning",
        model_name=folder.name if result else None,
        eval_results=model_index_entries(result) if result else None,
    )
    text = _TEXT.format(
        agent=agent,
        names=", ".join(family.name for family in families),
        about=network.SUMMARY,
        learned=network.LEARNED,
        families="\n".join(
            f"- `{f.name}` (dynamics version {f.version}, {len(f.select('train'))} train variants): {f.summary}."
            for f in families
        ),
        settings=settings,
        figures=_figures(folder),
        scores=_scores(result) if result else "",
        module=network.__module__,
        cls=network.__qualname__,
        version=version("wbench"),
        digest=weights[:12],
    )
    write_text(folder / "README.md", str(ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")))


def _result(results: Mapping[str, Any], agent: str, weights: str) -> Result:
    """A result document, read; raises an error unless it is of this checkpoint and holds."""
    result = parse(json.dumps(results).encode())
    if not arithmetic_holds(result):
        raise ResultError("the numbers of --results do not follow from its episodes. See: wbench results verify FILE")
    fits = (result.agent, result.checkpoint) == (agent, weights)
    require(fits, "--results", f"{result.agent} {result.checkpoint[:12]}", f"of this checkpoint: {agent} {weights[:12]}")
    return result


def _scores(result: Result) -> str:
    rows = "\n".join(f"| `{variant}` | {shots} | {found:.1f} |" for shots, variant, found in by_variant(result))
    scale = "interquartile mean over sites [95 % interval], 0 = random, 100 = genie"
    track = f" Track `{result.track}`." if result.label != result.agent else ""
    head = f"Protocol `{result.protocol}` `{result.protocol_hash[:12]}`; {scale}.{track}"
    splits = " and ".join(sorted({get_variant(variant)[1].split for variant in result.contract["variants"]}))
    return f"\n## Scores on {splits} variants\n\n{head}\n\n| variant | shots | score |\n| --- | --- | --- |\n{rows}\n"


def _figures(folder: Path) -> str:
    """First and last of each figure of the training report, which may have several parts, and its picture; empty without."""
    report = folder / REPORT
    if not report.exists():
        return ""
    log: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["log"]
    first, last = ({name: value for entry in entries for name, value in entry.items()} for entries in (log[::-1], log))
    names = [name for name, value in last.items() if isinstance(value, float | int) and name not in ("step", "seconds")]
    rows = "\n".join(f"| {name} | {first[name]} | {last[name]} |" for name in names)
    picture = f"![Losses over the steps of the training]({PICTURE})\n\n" if (folder / PICTURE).exists() else ""
    return f"\n## Training\n\n{picture}| figure | first | last, by step {last['step']} |\n| --- | --- | --- |\n{rows}\n"

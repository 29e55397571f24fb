"""The dataset card of a release, rendered from the family's specs and the manifest alone: no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..benchmark.data.manifest import FileEntry, Manifest
from ..benchmark.data.paths import write_text
from ..benchmark.data.recorder import behaviours, mixture
from ..benchmark.data.release import Release, Shard, contents, label, transitions
from ..benchmark.data.schema import HELD_OUT, TRAIN_FILES, column_shapes, features
from ..benchmark.family import Family, Variant

ARXIV = "2602.00558"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))

_TEXT = """
# wbench {family}: {release} v{version}

Offline multi-agent transitions of the wbench task family `{family}`: {summary}.

{count} files, {rows} rows, {transitions} agent transitions, {size} MB. Made by simulation; every file follows from seeds.
`manifest.json` lists size, SHA-256 and a numeric summary of each; its digest is `{digest}`. A release never changes: a fix is
a new version, under a new tag. Git tag of this one: `{tag}`.

An episode is played at a **site**: a place with hidden parameters that only its logs tell. No file says what they are.
The train files hold {sites} train sites ({each} of each train variant), the support files {held_out_sites} held-out sites of
every variant.

## Load

With no wbench code (a folder, or the Hub with `snapshot_download(repo, repo_type="dataset", revision="{tag}")` first):

```python
import datasets, pandas
train = datasets.load_dataset(FOLDER, "{example}", split="mixed")                # streaming=True works
support = datasets.load_dataset(FOLDER, "{held_out}-support", split="held_out")  # episodes to adapt on, of held-out sites
frame = pandas.read_parquet(f"{{FOLDER}}/data/{example}/mixed.parquet")
transitions = frame[frame["last"] == 0]                                           # the last row of an episode is no transition
```

```sql
SELECT site, sum(list_sum(reward)) FROM 'FOLDER/data/{example}/mixed.parquet' GROUP BY site;  -- DuckDB
```

With wbench, verified whenever a file is opened:

```python
import wbench
train = wbench.load_dataset("{family}/{example}", quality="mixed", release="{release}")
support = wbench.load_dataset("{family}/{held_out}", site=0, shots={some}, release="{release}")
```

## Columns

A row is a slot of an episode, in time order; sites follow each other, and so do the episodes of a site. The next observation
is the next row's: an episode of T slots has T + 1 rows, and the last one (`last` is 1) holds the observation that the last
action led to. Its action, reward and quality of service are 0 and mean nothing. N agents.

| column | shape | type | meaning |
| --- | --- | --- | --- |
{columns}

## Variants

| config | split | agents | slots | {axes} |
| --- | --- | --- | --- | {rule}
{variants}

Train variants have a config each with the splits {qualities}. Every variant has a config `VARIANT-support` with
the split `held_out`: {shots} support episodes of each of {held_out_sites} held-out sites. Nobody may train on those.

## Behaviour policies

The policies of a file take turns, episode by episode; with the given probability an agent plays a random allowed action
instead. The column `behaviour` is a number: {numbers}.

| file | policies (probability of a random action) |
| --- | --- |
{behaviours}

`expert` is told the hidden parameters of the site, `mixed` in part; no policy of `support` and `held-out` is.

## Returns

Mean return of an episode (sum of all agents' rewards) +- standard error over sites; in brackets the worst and the best site.
Episodes a train site: {episodes}.

| config | {qualities_row} | {qualities_row} side by side |
| --- {quality_rules} --- |
{returns}

| support | held-out sites |
| --- | --- |
{support}

## Intended use, and limits

For research on offline multi-agent learning, world models and few-shot adaptation under wbench's protocol. The data come from
simulators with idealised radio, traffic and processors, not from equipment; a policy that is good here is not thereby fit for a
network. Behaviours are heuristics, so actions that none of them takes are missing. Observations are in half precision. The
tasks are wbench's own instantiation of those named in the abstract of arXiv {arxiv}; nothing here reproduces that paper's data.
There are no data about persons.

## Licence and citation

{licence}. Cite: {citation} Release `{release}` v{version} of `{family}`. NetWorld: arXiv:{arxiv}.

Recorded with {generator}.
"""
_MEANING = {
    "site": "number of the site; it tells nothing of the site",
    "episode": "number of the episode in the file",
    "t": "slot, from 0",
    "last": "1 in the row after the last slot",
    "behaviour": "number of the policy that played, see below",
    "obs": "own observation of every agent, on which the action was chosen",
    "action_mask": "1 where a choice was allowed",
    "action": "action of every agent",
    "reward": "reward of every agent for this slot",
    "terminated": "1 where the action ended the episode for good",
    "truncated": "1 in the last slot (the time limit)",
    "delivered": "delivered in this slot, in the family's unit",
    "delay": "delay of what was delivered",
    "dropped": "dropped in this slot",
    "energy": "energy spent in this slot",
}


def render(family: Family, release: Release, manifest: Manifest, present: Collection[str] | None = None) -> str:
    """The card's text, YAML header included.

    Args:
        family: the family.
        release: the release.
        manifest: its manifest.
        present: list only these files in the header, for a folder that holds a part of the release; None = all.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    entries = manifest.entries()
    tags = ["wbench", "multi-agent-reinforcement-learning", "offline-reinforcement-learning", "wireless", f"arxiv:{ARXIV}"]
    configs = _configs(family, release, set(entries) if present is None else set(present))
    named = {config["config_name"] for config in configs}
    data = DatasetCardData(
        license=manifest.licence.lower(),
        pretty_name=f"wbench {family.name} ({release.name} v{release.version})",
        tags=tags,
        task_categories=["reinforcement-learning"],
        size_categories=[next((name for limit, name in _SIZES if manifest.rows < limit), "10M<n<100M")],
        configs=configs,
        dataset_info=[info for info in _features(family, release) if info["config_name"] in named],
    )
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n{_text(family, release, manifest)}"))


def write_dataset_card(folder: Path, family: Family, release: Release, manifest: Manifest) -> None:
    """Write `README.md` into a dataset folder; its header lists the files that are there."""
    present = {path for path in manifest.entries() if (folder / path).is_file()}
    write_text(folder / "README.md", render(family, release, manifest, present))


def _config_of(shard: Shard) -> tuple[str, str]:
    """Config and split of a file."""
    name = shard.variant.partition("/")[2]
    return (f"{name}-support", "held_out") if shard.quality == HELD_OUT else (name, shard.quality)


def _configs(family: Family, release: Release, present: Collection[str]) -> list[dict[str, Any]]:
    files: dict[str, list[dict[str, str]]] = {}
    for shard in contents(family, release):
        if shard.path in present:
            config, split = _config_of(shard)
            files.setdefault(config, []).append({"split": split, "path": shard.path})
    return [{"config_name": name, "version": release.version, "data_files": found} for name, found in files.items()]


def _features(family: Family, release: Release) -> list[dict[str, Any]]:
    configs = {_config_of(shard)[0]: family.variant(shard.variant) for shard in contents(family, release)}
    return [
        {"config_name": name, "version": release.version, "features": features(family, variant)._to_yaml_list()}
        for name, variant in configs.items()
    ]


def _text(family: Family, release: Release, manifest: Manifest) -> str:
    entries, train, held_out = manifest.entries(), family.select("train"), family.select("held-out")
    files, axes = contents(family, release), _axes(family)
    each = next((shard.sites for shard in files if shard.quality != HELD_OUT), 0)
    turns = {quality: mixture(family, quality) for quality in TRAIN_FILES} | {HELD_OUT: family.support}
    return _TEXT.format(
        family=family.name,
        release=release.name,
        version=release.version,
        tag=release.tag,
        summary=family.summary,
        count=len(entries),
        rows=f"{manifest.rows:,}",
        transitions=f"{sum(transitions(family, shard) for shard in files):,}",
        size=f"{manifest.bytes / 1e6:.1f}",
        digest=manifest.digest(),
        sites=each * len(train),
        each=each,
        held_out_sites=release.held_out,
        some=min(5, release.shots),
        example=label(train[0]),
        held_out=label(held_out[0]) if held_out else label(train[0]),
        columns=_columns(family, train[0]),
        axes=" | ".join(axes),
        rule=" | ".join("---" for _ in axes) + " |",
        variants="\n".join(
            _row([f"`{label(v)}`", v.split, v.agents, v.horizon, *_values(v, axes)]) for v in (*train, *held_out)
        ),
        qualities=", ".join(f"`{quality}`" for quality in TRAIN_FILES),
        behaviours="\n".join(
            _row([quality, ", ".join(f"{policy} ({noise:g})" for policy, noise in several)])
            for quality, several in turns.items()
        ),
        numbers=", ".join(f"{i} {policy} ({noise:g})" for i, (policy, noise) in enumerate(behaviours(family))),
        episodes=", ".join(f"{count} {quality}" for quality, count in release.episodes.items()),
        shots=release.shots,
        qualities_row=" | ".join(TRAIN_FILES),
        quality_rules="| --- " * len(TRAIN_FILES) + "|",
        returns=_returns(train, entries, [f"data/{{}}/{quality}.parquet" for quality in TRAIN_FILES]),
        support=_returns((*train, *held_out), entries, [f"support/{{}}/{HELD_OUT}.parquet"]),
        arxiv=ARXIV,
        licence=manifest.licence,
        citation=manifest.citation,
        generator=", ".join(f"{name} {version}" for name, version in manifest.generator.items()),
    )


def _columns(family: Family, variant: Variant) -> str:
    shapes = column_shapes(family, variant)
    shown = {name: "x".join("N" if i == 0 else str(n) for i, n in enumerate(shape)) for name, (shape, _) in shapes.items()}
    return "\n".join(_row([f"`{name}`", shown[name] or "1", dtype, _MEANING[name]]) for name, (_, dtype) in shapes.items())


def _axes(family: Family) -> list[str]:
    """Fields of the variants' spec that differ between variants, beyond those that every family has."""
    specs = [asdict(variant) for variant in family.variants.values()]  # type: ignore[call-overload]
    return [name for name in specs[0] if name not in ("agents", "horizon", "split") and len({str(s[name]) for s in specs}) > 1]


def _values(variant: Variant, axes: Sequence[str]) -> list[object]:
    return [getattr(variant, axis) for axis in axes]


def _returns(variants: Sequence[Variant], entries: Mapping[str, FileEntry], paths: Sequence[str]) -> str:
    rows = []
    for variant in variants:
        found = [entries[path.format(label(variant))].returns for path in paths]
        shown = [f"{r.mean:.2f} +- {r.error:.2f} ({r.least:.2f} to {r.most:.2f})" for r in found]
        bars = [_bars([r.mean for r in found])] if len(found) > 1 else []
        rows.append(_row([f"`{label(variant)}`", *shown, *bars]))
    return "\n".join(rows)


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _bars(values: Sequence[float]) -> str:
    """A bar chart that any Markdown shows: the lowest value one eighth high, the highest full."""
    low, span = min(values), max(max(values) - min(values), 1e-9)
    return " ".join("▁▂▃▄▅▆▇█"[round(7 * (value - low) / span)] for value in values)

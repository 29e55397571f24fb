"""Puts releases and checkpoints on the Hub: one commit, then a tag on it; a tag that exists is never overwritten."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, DataError, OutputError, require
from ..family import Family
from .cache import Cache
from .hub_mirror import hub_errors, repository, tags_of
from .manifest import NAME, Manifest
from .mirrors import verified
from .paths import inside
from .release import Release

CARD = "README.md"
CHECKPOINT_FILES = ("config.json", "model.safetensors", CARD, "training_report.json")  # no others: nothing unpickled, no states
_ROOT = Path(__file__).parents[2]
_TRIES = 8
_CONFLICT = 412


@dataclass(frozen=True)
class Published:
    """What was, or in a dry run would be, put on the Hub.

    Attributes:
        repo: repository.
        kind: `dataset` or `model`.
        tag: its tag.
        commit: the commit that the tag stands for; None in a dry run.
        files: path -> bytes.
    """

    repo: str
    kind: str
    tag: str
    commit: str | None
    files: Mapping[str, int]


def publish_dataset(
    family: Family,
    release: Release,
    namespace: str,
    render: Callable[[Manifest], str],
    *,
    root: Path | None = None,
    private: bool = False,
    dry_run: bool = False,
) -> Published:
    """Publish a release that is here, complete and verified, as `NAMESPACE/wbench-FAMILY` at the release's tag.

    Files of other releases that the repository's newest commit holds are left out of this one; their tags keep them.

    Raises:
        DataError: a file is missing or not the manifest's.
        OutputError: the tag exists.
    """
    cache = Cache(family, release, root)
    manifest = cache.local
    if manifest is None:
        raise DataError(
            f"{cache.folder} is not complete. Run: wbench data build --release {release.name} --family {family.name}"
        )
    content: dict[str, Path | bytes] = {}
    for entry in manifest.files:
        path = inside(cache.folder, entry.path)
        if not path.is_file() or not verified(path, entry):
            raise DataError(
                f"{path} is not what its manifest says. Run: wbench download {family.name} --release {release.name}"
            )
        content[entry.path] = path
    content |= {NAME: manifest.to_json().encode(), CARD: render(manifest).encode()}
    message = f"{family.name} {release.name} v{release.version}"
    return _publish(repository(namespace, family.name), "dataset", release.tag, content, message, private, dry_run)


def packaged_checkpoints() -> dict[str, Path]:
    """Folders of the checkpoints in the package, by name."""
    return {path.name: path for path in sorted(_ROOT.glob("*/checkpoints/*")) if path.is_dir()}


def publish_checkpoint(
    checkpoint: str, namespace: str, version: str = "1.0.0", *, private: bool = False, dry_run: bool = False
) -> Published:
    """Publish a packaged checkpoint or a folder as `NAMESPACE/NAME` at `vVERSION`.

    Raises:
        InvalidValueError: the version is not x.y.z.
        CheckpointError: there is no such checkpoint.
        OutputError: the tag exists.
    """
    require(bool(re.fullmatch(r"\d+\.\d+\.\d+", version)), "--version", version, "of the form 1.0.0")
    folder = packaged_checkpoints().get(checkpoint, Path(checkpoint))
    content: dict[str, Path | bytes] = {name: folder / name for name in CHECKPOINT_FILES if (folder / name).is_file()}
    if not {"config.json", "model.safetensors"} <= content.keys():
        raise CheckpointError(
            f"no checkpoint {checkpoint!r}: packaged are {', '.join(packaged_checkpoints())}; or give a folder."
        )
    repository(namespace, folder.name)  # refuses what cannot be a namespace
    repo = f"{namespace}/{folder.resolve().name}"
    return _publish(repo, "model", f"v{version}", content, f"{folder.name} v{version}", private, dry_run)


def _publish(
    repo: str, kind: str, tag: str, content: Mapping[str, Path | bytes], message: str, private: bool, dry_run: bool
) -> Published:
    from huggingface_hub import HfApi

    sizes = {path: what.stat().st_size if isinstance(what, Path) else len(what) for path, what in content.items()}
    if dry_run:
        return Published(repo, kind, tag, None, sizes)
    api = HfApi()
    if tag in tags_of(repo, kind):
        raise OutputError(f"{repo} has the tag {tag} already. A published version never changes: raise the version.")
    with hub_errors(repo):
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
    commit = _commit(api, repo, kind, content, message)
    with hub_errors(f"{repo}@{tag}"):
        api.create_tag(repo, tag=tag, repo_type=kind, revision=commit, tag_message=message)
    return Published(repo, kind, tag, commit, sizes)


def _commit(api: Any, repo: str, kind: str, content: Mapping[str, Path | bytes], message: str) -> str:
    """One commit on the newest one, with this content and no other; where somebody else was faster, look again and retry."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    for _ in range(_TRIES):
        with hub_errors(repo):
            head = api.repo_info(repo, repo_type=kind).sha
            there = set(api.list_repo_files(repo, repo_type=kind, revision=head)) if head else set()
            stale = there - content.keys() - {".gitattributes"}
            adds = [CommitOperationAdd(path, what) for path, what in content.items()]
            operations = [*adds, *(CommitOperationDelete(path) for path in sorted(stale))]
            try:
                done = api.create_commit(repo, operations, commit_message=message, repo_type=kind, parent_commit=head)
            except HfHubHTTPError as error:
                if error.response is not None and error.response.status_code == _CONFLICT:
                    continue
                raise
            return str(done.oid)
    raise OutputError(f"{repo} is being changed by others all the time; nothing was published. Try again.")

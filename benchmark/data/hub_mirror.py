"""The Hugging Face Hub as a mirror: one dataset repository a family, a tag a release.

huggingface_hub reads `HF_ENDPOINT`, `HF_HUB_OFFLINE` and `HF_HOME` when it is imported. It checks sizes, not always content, so
files are downloaded into a folder of their own, verified against the manifest, and only then moved into place.
"""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ...errors import DataError, InvalidValueError, NetworkError, UnknownNameError
from ..family import Family
from .manifest import LARGEST, NAME, FileEntry, Manifest
from .mirrors import AbsentError, Arrived, CorruptError, patiently, verified
from .paths import Note, inside
from .release import Release

T = TypeVar("T")
_STAGING = ".hub"
_TOGETHER = 16  # files asked for in one call; what is verified is in place before the next call


def repository(namespace: str, name: str) -> str:
    """`NAMESPACE/wbench-NAME`; raises `InvalidValueError` where the namespace cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", namespace):
        raise InvalidValueError("--namespace", namespace, "a user or organisation of the Hub")
    return f"{namespace}/wbench-{name}"


@contextmanager
def hub_errors(what: str, tags: Callable[[], Sequence[str]] = tuple) -> Iterator[None]:
    """Turn whatever the client raises into one line of ours."""
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise UnknownNameError("tag", what.partition("@")[2], tags(), "wbench data list") from error
    except errors.RepositoryNotFoundError as error:
        raise AbsentError(f"{what} does not exist on the Hub, or you have no rights to it (hf auth login).") from error
    except errors.OfflineModeIsEnabled as error:
        raise NetworkError(f"{what} is needed, but the Hub is switched off by HF_HUB_OFFLINE=1.") from error
    except errors.RemoteEntryNotFoundError as error:
        raise AbsentError(f"{what} lacks a file: {_first(error)}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise DataError(f"no rights to {what} ({status}). Log in with: hf auth login") from error
        if status == 429 or status >= 500 or status == 0:
            raise NetworkError(f"the Hub answers {status} for {what}: {_first(error)}") from error
        raise DataError(f"the Hub refuses {what} ({status}): {_first(error)}") from error
    except (errors.LocalEntryNotFoundError, errors.FileMetadataError, HTTPError, ConnectionError, TimeoutError) as error:
        raise NetworkError(f"cannot reach the Hub for {what} ({_first(error)})") from error
    except (ImportError, InvalidURL) as error:  # a proxy that needs another package, or whose address is none
        raise NetworkError(f"cannot reach the Hub for {what} by the proxy or address that is set ({_first(error)})") from error
    except errors.HFValidationError as error:
        raise DataError(f"{what} is no name on the Hub: {_first(error)}") from error


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def offline() -> bool:
    """Whether the client was told to stay off the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


class HubMirror:
    """A dataset repository at a revision.

    Args:
        namespace: user or organisation.
        family: the family.
        release: the release.
        revision: tag, branch or commit; None = the release's tag.
        named: see `Mirror`.
    """

    def __init__(self, namespace: str, family: Family, release: Release, revision: str | None, named: bool) -> None:
        self.repo, self.named = repository(namespace, family.name), named
        self.name = f"hub {self.repo}"
        self.revision: str | None = None
        self._asked = revision or release.tag

    def manifest(self) -> Manifest:
        """Resolve the tag to a commit, and read the manifest of that commit."""
        from huggingface_hub import HfApi, hf_hub_download

        what = f"{self.repo}@{self._asked}"
        commit = self._patiently(what, lambda: str(HfApi().dataset_info(self.repo, revision=self._asked).sha))
        if self._patiently(what, lambda: self._sizes([NAME], commit)).get(NAME, 0) > LARGEST:
            raise DataError(f"{self.name}/{NAME} is no valid manifest: larger than {LARGEST >> 20} MB.")
        path = self._patiently(what, lambda: hf_hub_download(self.repo, NAME, repo_type="dataset", revision=commit))
        self.revision = commit
        return Manifest.read(Path(path))

    def _patiently(self, what: str, ask: Callable[[], T]) -> T:
        """Ask again where the Hub is busy or out of reach for a moment."""

        def once() -> T:
            with hub_errors(what, lambda: tags_of(self.repo, "dataset")):
                return ask()

        return patiently(once, hopeless=offline)

    def fetch(self, wanted: Sequence[FileEntry], folder: Path, arrived: Arrived, note: Note) -> None:
        """`snapshot_download` of the commit into a staging folder, some files at a time; corrupt ones again."""
        staging = folder / _STAGING
        try:
            for start in range(0, len(wanted), _TOGETHER):
                self._fetch(wanted[start : start + _TOGETHER], folder, staging, arrived, note)
        except OSError:  # our own disk: what is half there goes
            shutil.rmtree(staging, ignore_errors=True)
            raise
        shutil.rmtree(staging)

    def _fetch(self, wanted: Sequence[FileEntry], folder: Path, staging: Path, arrived: Arrived, note: Note) -> None:
        left = list(wanted)

        def once() -> None:
            failure: NetworkError | CorruptError | None = None
            try:
                sizes = self._sizes([entry.path for entry in left], self.revision)
                odd = [entry for entry in left if sizes.get(entry.path, entry.bytes) != entry.bytes]
                if odd:
                    failure = CorruptError(f"{odd[0].path} from {self.name} is corrupt: its size is not the manifest's.")
                self._snapshot([entry for entry in left if entry not in odd], staging)
            except NetworkError as error:
                failure = error
            for entry in list(left):
                staged = inside(staging, entry.path)
                if not staged.is_file():
                    continue
                if verified(staged, entry):
                    target = inside(folder, entry.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    staged.replace(target)
                    left.remove(entry)
                    arrived(entry)
                else:
                    staged.unlink()
                    failure = CorruptError(f"{entry.path} from {self.name} is corrupt: its SHA-256 is not the manifest's.")
            if left:
                raise failure or NetworkError(f"{self.name} gave nothing.")

        patiently(once, note)

    def _sizes(self, paths: Sequence[str], commit: str | None) -> dict[str, int]:
        """Bytes of files, as the Hub lists them; the client would fetch whatever there is."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        with hub_errors(f"{self.repo}@{commit}"):
            found = HfApi().get_paths_info(self.repo, list(paths), revision=commit, repo_type="dataset")
        return {one.path: one.size for one in found if isinstance(one, RepoFile)}

    def _snapshot(self, wanted: Sequence[FileEntry], staging: Path) -> None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not wanted:  # no patterns would be all files
            return
        disable_progress_bars()
        patterns = [glob.escape(entry.path) for entry in wanted]
        with hub_errors(f"{self.repo}@{self.revision}"):
            snapshot_download(
                self.repo,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=patterns,
                local_dir=staging,
                max_workers=4,
            )


def tags_of(repo: str, kind: str) -> list[str]:
    """Tags of a repository; none where it does not exist yet."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors(repo):
        try:
            return [tag.name for tag in HfApi().list_repo_refs(repo, repo_type=kind).tags]
        except RepositoryNotFoundError:
            return []

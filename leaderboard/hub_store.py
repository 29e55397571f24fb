"""The results repository of a namespace on the Hub: a submission is a pull request that adds one file."""

from __future__ import annotations

from typing import Any

from ..benchmark.data.hub_mirror import hub_errors, repository
from .store import Submission, Submitted

_FOLDER = "results"


def submit(submission: Submission, namespace: str, dry_run: bool = False) -> Submitted:
    """Open a pull request on `NAMESPACE/wbench-results`, unless the file is there or already proposed.

    The repository is made on first use, by whoever owns the namespace.

    Raises:
        InvalidValueError: that cannot be a namespace.
        DataError: the repository does not exist and may not be made, or there are no rights to it.
        NetworkError: the Hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    repo, path = repository(namespace, _FOLDER), f"{_FOLDER}/{submission.name}"
    if dry_run:
        return Submitted(submission.name, repo, "dry run")
    api = HfApi()
    with hub_errors(repo):
        if not api.repo_exists(repo, repo_type="dataset"):
            api.create_repo(repo, repo_type="dataset", exist_ok=True)
        if api.file_exists(repo, path, repo_type="dataset"):
            return Submitted(submission.name, repo, "known")
        title = f"Add {submission.name}"
        proposed = _proposed(api, repo, title)
        if proposed is not None:
            return Submitted(submission.name, repo, "known", proposed)
        done = api.create_commit(
            repo,
            [CommitOperationAdd(path, submission.content)],
            commit_message=title,
            commit_description="Check it with: wbench results verify FILE --tier rerun",
            repo_type="dataset",
            create_pr=True,
        )
    return Submitted(submission.name, repo, "added", done.pr_url)


def _proposed(api: Any, repo: str, title: str) -> str | None:
    """Address of an open pull request that adds the same content."""
    found = api.get_repo_discussions(repo, repo_type="dataset", discussion_type="pull_request", discussion_status="open")
    return next((pull.url for pull in found if pull.title == title and pull.status == "open"), None)

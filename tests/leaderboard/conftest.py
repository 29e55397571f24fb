"""The command line in this process: what it prints and its exit code, without the seconds that a process takes to start."""

from __future__ import annotations

import sys

import pytest
from wbench.cli import main

from ..conftest import Done


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `wbench ARGUMENTS` as its entry point does."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["wbench", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code, *capsys.readouterr())

    return run

"""Progress bars of a run."""

from __future__ import annotations

import re
import time

from wbench.benchmark.protocol.executor import AgentSpec, Task
from wbench.leaderboard.progress import bars

from . import samples


def test_an_agents_clock_runs_from_its_own_first_slot_on(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    played = samples.small(sites=1, shots=(0,))
    first, second = AgentSpec("bc"), AgentSpec("random")
    tasks = [Task(agent, cell, played.episodes) for agent in (first, second) for cell in played.cells()]
    with bars({first: "first", second: "second"}, tasks, played, True) as (_, on_cell):
        for task in tasks:
            if task.agent == first:
                time.sleep(1.1)
            on_cell(task)
    clocks = dict(re.findall(r"(first|second) .* (\d:\d\d:\d\d) \d:\d\d:\d\d", capsys.readouterr().err))
    assert clocks["first"] != "0:00:00" and clocks["second"] == "0:00:00"

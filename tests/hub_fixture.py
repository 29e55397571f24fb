r"""A loopback Hub for tests: a server in a process of its own, clients in theirs, faults on demand.

    pytest_plugins = ["wbench.tests.hub_fixture"]  # in a test file: defines the fixture `hub`

    def test_something(hub: LoopbackHub):
        hub.faults.add("GET .*/resolve/", status=500, times=1)
        done = hub.python("from huggingface_hub import HfApi; print(HfApi().whoami()['name'])")
        assert done.code == 0 and done.out == "test\n"

The client reads its environment when it is imported and `conftest.py` sets HF_HUB_OFFLINE, hence the processes.
One server lasts for a test file (take names of repositories of your own); every test gets an empty HF_HOME and no faults.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_SERVER = """
import sys
from pathlib import Path
from wbench.hub import serve
from wbench.tests.hub_faults import Faulty, Faults
serve(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), lambda line: print(line, flush=True), lambda app: Faulty(app, Faults()))
"""
TOKEN = "hf_test"  # user "test", may write; "hf_test_ANNA" is user ANNA; "hf_read" and "hf_read_BEN" may not write


class Finished(NamedTuple):
    """A client that has ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The last line that it printed, as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out.splitlines()[-1])


class RemoteFaults:
    """The faults of a server in another process."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/_faults"

    def _call(self, method: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self._url, body, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)

    def add(self, match: str, **fault: Any) -> None:
        """Let something befall the next requests that match, as `hub_faults.Fault` says."""
        self._call("POST", {"match": match, **fault})

    def clear(self) -> None:
        """Forget the faults and the requests so far."""
        self._call("DELETE")

    @property
    def requests(self) -> list[str]:
        """What was asked so far: "METHOD /path?query RANGE"."""
        return self._call("GET")["requests"]


class LoopbackHub:
    """A server and the environment of its clients."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.token = folder, TOKEN
        self._port, self._process = 0, None
        self.start()
        self.env = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }

    @property
    def url(self) -> str:
        """What clients take for HF_ENDPOINT; the same after a restart."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def faults(self) -> RemoteFaults:
        """What is to go wrong."""
        return RemoteFaults(self.url)

    @property
    def running(self) -> bool:
        """Whether the server lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, on the port of last time."""
        command = [sys.executable, "-c", _SERVER, str(self.folder), str(self._port)]
        with Path(f"{self.folder}.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self._process.stdout.readline()  # "export ... HF_ENDPOINT=http://127.0.0.1:PORT", once the port is open
        assert "HF_ENDPOINT" in line, Path(log.name).read_text()
        self._port = int(line.rsplit(":", 1)[1])

    def stop(self) -> None:
        """End the server, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def restart(self) -> None:
        """End the server and start it on the same folder and port."""
        self.stop()
        self.start()

    def _environment(self, env: dict[str, str | None]) -> dict[str, str]:
        merged = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | self.env | env
        return {name: value for name, value in merged.items() if value is not None}

    def popen(self, code: str, **env: str | None) -> subprocess.Popen:
        """Start client code in a process of its own."""
        command = [sys.executable, "-c", textwrap.dedent(code)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": self._environment(env)}
        return subprocess.Popen(command, **options)

    def python(self, code: str, timeout: float = 300, **env: str | None) -> Finished:
        """Run client code to its end; `env` changes variables, and None unsets one."""
        process = self.popen(code, **env)
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return Finished(process.returncode, out, err)


@contextmanager
def loopback_hub(folder: Path) -> Iterator[LoopbackHub]:
    """A Hub for a `with` block: repositories in `folder/hub`, caches in `folder/home`."""
    hub = LoopbackHub(folder / "hub", folder / "home")
    try:
        yield hub
    finally:
        hub.stop()


@pytest.fixture(scope="module")
def hub_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """One server for a test file."""
    with loopback_hub(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture
def hub(hub_server: LoopbackHub, tmp_path: Path) -> LoopbackHub:
    """The server, running and without faults, and an empty HF_HOME."""
    if not hub_server.running:
        hub_server.restart()
    hub_server.faults.clear()
    hub_server.env["HF_HOME"] = str(tmp_path / "home")
    return hub_server

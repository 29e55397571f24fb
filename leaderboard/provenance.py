"""Where a result comes from: code, checkpoint, data, versions, hardware, and the command that makes it again.

Nothing here names a host, a user or a path.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from ..benchmark.agent import Agent
from ..benchmark.data.manifest import shipped
from ..benchmark.data.publish import packaged_checkpoints
from ..benchmark.data.release import RELEASES
from ..benchmark.protocol.fields import adapter, printable
from ..benchmark.protocol.spec import SIZES, Protocol
from ..benchmark.registry import code_of_others, list_agents, make_agent, plugins
from ..benchmark.site import spans
from ..errors import InvalidValueError
from ..learning.checkpoint import WEIGHTS, digest_of_file
from .schema import AgentRecord, Hardware, Origin, Package, Release

PACKAGES = ("wbench", "torch", "numpy", "scipy", "datasets", "huggingface_hub")
UNREGISTERED = "unregistered"  # the package of an agent that no distribution registers: one out of a user's file
NO_FILE = "0"  # its version where the file is not known
THREADS = 1  # that the runner gives an agent, since sums depend on their number


def agent_record(agent: Agent, checkpoint: str | None = None) -> AgentRecord:
    """Which agent plays.

    Args:
        agent: the agent, in its track.
        checkpoint: what it was asked to load: a packaged name, a folder or a Hub id; None = its default.

    Raises:
        InvalidValueError: an attribute of the agent is nothing that a result file can say.
    """
    with code_of_others(f"agent {agent.name}"):
        found = _record(agent, checkpoint)
    try:  # now, not when all is played
        data = {**vars(found), "package": vars(found.package), "origin": vars(found.origin)}
        adapter(AgentRecord).validate_json(json.dumps(data, default=repr))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, wrong["loc"]))
        raise InvalidValueError(f"{field} of agent {agent.name}", wrong["input"], f"otherwise ({wrong['msg']})") from error
    return found


def _record(agent: Agent, checkpoint: str | None) -> AgentRecord:
    return AgentRecord(
        agent=agent.name,
        label=agent.label,
        track=agent.track,
        package=package(agent),
        checkpoint=agent.checkpoint_digest,
        settings=agent.settings_digest,
        recipe=agent.recipe,
        origin=origin(agent, checkpoint),
        parameters=agent.parameters,
        privileged=agent.privileged,
        privileged_training=agent.privileged_training,
        source_transitions=agent.source_transitions,
        source_steps=agent.source_steps,
    )


def package(agent: Agent) -> Package:
    """The distribution that registers an agent; for one out of a user's file, `UNREGISTERED` in the version of its file."""
    if agent.name not in list_agents():
        source = getattr(sys.modules.get(type(agent).__module__), "__file__", None)  # none if typed into an interpreter
        return Package(name=UNREGISTERED, version=file_version(Path(source)) if source else NO_FILE)
    entry = plugins().get(agent.name)
    if entry is None or entry.dist is None:
        return Package(name="wbench", version=version("wbench"))
    return Package(name=entry.dist.name, version=entry.dist.version)


def file_version(path: Path) -> str:
    """What stands for the version of an agent out of a file: SHA-256 of the file that its class is written in."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def origin(agent: Agent, checkpoint: str | None) -> Origin:
    """Where an agent's weights and settings came from, whatever they were called."""
    digest = agent.checkpoint_digest
    if not digest:
        return Origin(kind="none", name="", revision="")
    packaged = packaged_digests().get(digest)
    if packaged and agent.settings_digest in ("", *_packaged_settings(packaged)):
        return Origin(kind="packaged", name=packaged, revision="")
    if checkpoint is None or Path(checkpoint).exists():
        return Origin(kind="folder", name="", revision="")
    name, _, revision = checkpoint.partition("@")
    return Origin(kind="hub", name=name, revision=_commit(name, revision))


@cache
def _packaged_settings(name: str) -> tuple[str, ...]:
    """Digests of the settings of a packaged checkpoint, which is called AGENT-PRESET[-SEED], in each track of the agent."""
    agent = name.partition("-")[0]
    return tuple(make_agent(agent, name, track=track).settings_digest for track in make_agent(agent, name).tracks)


@cache
def packaged_digests() -> dict[str, str]:
    """Names of the checkpoints in the package, by their digests."""
    folders = packaged_checkpoints().items()
    return {digest_of_file(folder / WEIGHTS): name for name, folder in folders if (folder / WEIGHTS).is_file()}


def _commit(repo: str, revision: str) -> str:
    """The commit that a Hub checkpoint was loaded from: the name of its folder in the client's cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, WEIGHTS, revision=revision or None)
    return Path(found).parent.name if isinstance(found, str) else ""


def command(record: AgentRecord, protocol: Protocol, device: str = "cpu") -> str:
    """The command that plays the same again; `FOLDER` and `FILE.py` stand for what a result file does not name."""
    words = ["wbench", "eval", "--agent", "FILE.py" if record.package.name == UNREGISTERED else record.agent]
    if record.label != record.agent:
        words += ["--track", record.track]
    source = record.origin
    named = source.name + (f"@{source.revision}" if source.revision else "")
    words += {"packaged": ["--checkpoint", source.name], "hub": ["--checkpoint", named]}.get(source.kind, [])
    words += ["--checkpoint", "FOLDER"] if source.kind == "folder" else []
    words += ["--protocol", protocol.name] if protocol.name in SIZES else _custom(protocol)
    words += [] if device == "cpu" else ["--device", device]
    return shlex.join([*words, "--against", "none", "--out", "result.json"])


def _custom(protocol: Protocol) -> list[str]:
    variants = [word for name in protocol.variants for word in ("--variant", name)]
    shots = ",".join(map(str, protocol.shots))
    sites = [word for span in spans(protocol.sites) for word in ("--sites", span)]
    logs = [] if protocol.support == "site" else ["--support", protocol.support]
    return [*variants, *sites, "--shots", shots, "--episodes", str(protocol.episodes), *logs]


def releases(families: Iterable[str]) -> list[Release]:
    """The releases of some families that this package knows by their manifests."""
    known = [shipped(family, release.id) for family in families for release in RELEASES.values()]
    return [
        Release(family=m.family, release=m.release, version=m.version, dynamics=m.dynamics, manifest=m.digest())
        for m in known
        if m is not None
    ]


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def hardware(device: str) -> Hardware:
    """Processor, cores, threads and device."""
    import torch

    name = f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})"
    if device == "cuda":
        name = f"{name}, {torch.cuda.get_device_name()}"
    return Hardware(cpu=printable(name), cores=os.cpu_count() or 0, threads=THREADS, device=device)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())

"""What a `config.json` and a `model.safetensors` may hold, and that packaged ones are those that were shipped."""

from __future__ import annotations

import json
import os
import resource
import stat
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from wbench.baselines.bc import BehaviourCloning
from wbench.benchmark.data.paths import write_text
from wbench.benchmark.data.publish import packaged_checkpoints
from wbench.benchmark.family import FamilyShape, Quality
from wbench.benchmark.registry import get_family
from wbench.errors import CheckpointError
from wbench.learning import checkpoint
from wbench.learning.checkpoint import (
    CONFIG,
    SHIPPED,
    WEIGHTS,
    CheckpointConfig,
    digest,
    digest_of_file,
    freeze,
    read_object,
    require_as_shipped,
)


@dataclass(frozen=True)
class Config(CheckpointConfig):
    """With tuples at several depths, which JSON does not have."""

    OWNER: ClassVar[str] = "Tester"
    BY_FAMILY: ClassVar[tuple[str, ...]] = ("values",)

    values: dict[str, tuple[float, float]]
    depth: int = 1
    aim: Quality = "expert"
    sampled: tuple[str, ...] = ()
    temperatures: dict[str, float] = field(default_factory=dict)


SHAPES = {name: FamilyShape.of(get_family(name)) for name in ("access", "offload")}
SAMPLE = Config(SHAPES, {"access": (0.0, 2.0), "offload": (-1.0, 0.0)}, sampled=("access",))


def test_a_config_survives_json():
    assert Config.from_dict(json.loads(json.dumps(asdict(SAMPLE)))) == SAMPLE == Config.from_dict(asdict(SAMPLE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"width": 3},
            "or of another edition: unknown fields width; allowed aim, depth, families, recipe, sampled, temperatures, values",
        ),
        ({"values": None}, "not Tester's, or of another edition: no values"),
        ({"families": {"access": {"obs_size": 3}}}, r"not Tester's: families.access.descriptor_size: Field required"),
        ({"families": [1]}, r"not Tester's: families: Input should be a valid dictionary, not \[1\]"),
        ({"depth": "3x"}, "not Tester's: depth: Input should be a valid integer.*, not '3x'"),
        ({"aim": "exprt"}, "not Tester's: aim: Input should be 'random', 'medium', 'expert' or 'mixed', not 'exprt'"),
        ({"values": {"access": (0.0, 2.0)}}, "not Tester's: values says nothing of offload"),
    ],
)
def test_a_config_of_something_else_is_refused(change, message):
    data = {name: value for name, value in {**asdict(SAMPLE), **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        Config.from_dict(data)


def test_an_unknown_family_is_named_with_the_known_ones():
    SAMPLE.require("access")
    with pytest.raises(CheckpointError, match=r"Tester was not trained on family .power., only on access, offload\. Try me"):
        SAMPLE.require("power", hint=" Try me.")


def test_a_network_of_an_older_family_is_refused_in_one_line():
    family = get_family("access")
    SAMPLE.require_shape(family)
    older = replace(SAMPLE, families={**SHAPES, "access": replace(SHAPES["access"], obs_size=61)})
    with pytest.raises(CheckpointError, match=r"of an older access, not of version 2 of access\. Train it again"):
        older.require_shape(family)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_have_the_permissions_of_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "new.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == mode


PACKAGED = packaged_checkpoints()["bc-small"]


def bent(folder, change=lambda config: config, tensors=lambda tensors: tensors):
    """A copy of a packaged checkpoint with other settings or tensors."""
    folder.mkdir()
    config = change(json.loads((PACKAGED / CONFIG).read_text()))
    (folder / CONFIG).write_text(config if isinstance(config, str) else json.dumps(config))
    weights = tensors(load_file(PACKAGED / WEIGHTS))
    if isinstance(weights, bytes):
        (folder / WEIGHTS).write_bytes(weights)
    else:
        save_file(weights, folder / WEIGHTS)
    return str(folder)


def cast(dtype):
    return lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()}


def widest(tensors):
    return max(tensors, key=lambda name: tensors[name].numel())


def header(text: bytes, size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(8, "little") + text


def family(**parts):
    def change(config):
        config["families"]["access"] |= parts
        return config

    return change


SETTINGS = {
    "a width of 20,000": (lambda c: c | {"hidden": 20_000}, "has shape"),
    "a width of 10^6": (lambda c: c | {"hidden": 10**6}, "hidden is 1000000; at most 65536"),
    "a width of 10^30": (lambda c: c | {"hidden": 10**30}, "hidden is 1000000000000"),
    "a width of 0": (lambda c: c | {"hidden": 0}, "has shape|no network"),
    "a width below 0": (lambda c: c | {"hidden": -5}, "no network is of the sizes"),
    "a history of 60,000": (lambda c: c | {"history": 60_000}, "has shape"),
    "a long observation": (family(obs_size=65_000), "has shape"),
    "an endless observation": (family(obs_size=10**12), r"families\.access\.obs_size is"),
    "50,000 actions": (family(actions=[[]] * 50_000), r"families\.access\.actions holds 50000, 1000 are the most"),
    "a key twice": (lambda c: json.dumps(c).replace("{", '{"hidden": 1, ', 1), "key 'hidden' is repeated"),
    "a huge reward": (family(reward_high=1e300), "reward_high is 1e\\+300"),
    "a huge whole number": (lambda c: json.dumps(c).replace(str(c["hidden"]), "9" * 5000, 1), "not JSON|hidden is"),
    "many families": (
        lambda c: c | {"families": {f"f{i}": c["families"]["access"] for i in range(900)}},
        "asks for more|tensors missing",
    ),
    "NaN": (lambda c: json.dumps(c).replace("1.0", "NaN", 1), "NaN is no finite number"),
    "infinity": (lambda c: json.dumps(c).replace("1.0", "-Infinity", 1), "-Infinity is no finite number"),
    "deep": (lambda c: "[" * 100_000, "is not JSON"),
    "deep objects": (lambda c: '{"a":' * 100_000, "is not JSON"),
    "2 MB": (lambda c: json.dumps(c) + " " * (2 << 20), "larger than 1 MB"),
    "a list": (lambda c: [c], "no JSON object, but list"),
    "a text": (lambda c: "hello", "is not JSON"),
    "bytes": (lambda c: "\udc80".encode("utf-8", "surrogatepass").decode("latin-1"), "is not JSON"),
    "nothing": (lambda c: "", "is not JSON"),
    "a bool": (lambda c: c | {"hidden": None}, "hidden: Input should be a valid integer.*, not None"),
}
TENSORS = {
    "whole numbers": (cast(torch.int64), "holds I64, but must hold F32"),
    "halves": (cast(torch.float16), "holds F16, but must hold F32"),
    "bfloat16": (cast(torch.bfloat16), "holds BF16, but must hold F32"),
    "doubles": (cast(torch.float64), "holds F64, but must hold F32"),
    "truth values": (cast(torch.bool), "holds BOOL, but must hold F32"),
    "one half": (lambda t: t | {widest(t): t[widest(t)].half()}, "holds F16, but must hold F32"),
    "NaN": (lambda t: t | {widest(t): t[widest(t)] * float("nan")}, "holds NaN or infinity"),
    "infinity": (lambda t: t | {widest(t): t[widest(t)] / 0.0}, "holds NaN or infinity"),
    "flattened": (lambda t: t | {widest(t): t[widest(t)].flatten()}, "has shape"),
    "one less": (lambda t: {name: t[name] for name in t if name != widest(t)}, "asks for more|1 tensors missing"),
    "one more": (lambda t: t | {"more": torch.zeros(1)}, "1 unknown"),
    "none": (lambda t: {}, "tensors missing"),
    "nothing": (lambda t: b"", "is truncated"),
    "a long header": (lambda t: header(b"{}", 1 << 40), "header of more than 4 MB"),
    "a header of 4 MB": (lambda t: header(b"{" + b" " * (4 << 20) + b"}"), "header of more than 4 MB"),
    "a header that is too short": (lambda t: header(b"{}", 1000), "is truncated"),
    "a deep header": (lambda t: header(b"[" * 100_000), "is truncated"),
    "offsets outside": (
        lambda t: header(json.dumps({"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}).encode()),
        "is truncated",
    ),
    "a pickle": (lambda t: b"\x80\x02}q\x00.", "header of more than|is truncated"),
}


@pytest.mark.parametrize(("change", "said"), SETTINGS.values(), ids=SETTINGS)
def test_settings_of_another_or_no_network_cost_one_line_and_no_memory(tmp_path, change, said):
    refused(bent(tmp_path / "bent", change=change), said)


@pytest.mark.parametrize(("tensors", "said"), TENSORS.values(), ids=TENSORS)
def test_weights_of_another_or_no_network_cost_one_line_and_no_memory(tmp_path, tensors, said):
    refused(bent(tmp_path / "bent", tensors=tensors), said)


def refused(folder, said):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(CheckpointError, match=said) as raised:
        BehaviourCloning.from_pretrained(folder)
    assert len(str(raised.value)) < 700 and "\n" not in str(raised.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB
    assert time.process_time() - start < 5


def test_a_healthy_copy_loads(tmp_path):
    assert digest(BehaviourCloning.from_pretrained(bent(tmp_path / "same"))) == digest_of_file(PACKAGED / WEIGHTS)
    with pytest.raises(CheckpointError, match="is truncated or no safetensors file"):
        digest_of_file(PACKAGED / CONFIG)


def test_no_network_comes_by_a_proxy_that_cannot_be_used(monkeypatch):
    for raised in (ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."), OSError("gone")):

        def fail(*_, error=raised, **__):
            raise error

        monkeypatch.setattr(checkpoint, "hf_hub_download", fail)
        with pytest.raises(CheckpointError, match=r"no checkpoint 'lab/x'.*no Hub id within reach \(.*(SOCKS|gone)"):
            BehaviourCloning.from_pretrained("lab/x")


def test_the_digests_of_packaged_checkpoints_are_those_of_the_files():
    """After a checkpoint was replaced: `wbench checkpoint freeze`."""
    for folder in packaged_checkpoints().values():
        require_as_shipped(folder)
    assert read_object(SHIPPED).keys() == packaged_checkpoints().keys()


def test_packaged_weights_that_were_changed_are_refused_until_they_are_frozen_again(tmp_path, monkeypatch):
    folder = Path(bent(tmp_path / "bc-small", tensors=lambda t: t | {widest(t): t[widest(t)] + 1}))
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "packaged.json")
    (tmp_path / "packaged.json").write_bytes(SHIPPED.read_bytes())
    BehaviourCloning.from_pretrained(str(folder))  # a folder of the user's
    monkeypatch.setattr(checkpoint, "packaged_checkpoints", lambda: {folder.name: folder})
    with pytest.raises(
        CheckpointError, match=r"bc-small is not as it was shipped \(config.json, model.safetensors differs\).*freeze"
    ):
        BehaviourCloning.from_pretrained(str(folder))
    assert freeze() == tmp_path / "packaged.json"
    BehaviourCloning.from_pretrained(str(folder))
    (folder / CONFIG).write_text((folder / CONFIG).read_text() + " ")
    with pytest.raises(CheckpointError, match=r"config.json differs"):
        BehaviourCloning.from_pretrained(str(folder))


def test_a_folder_with_a_slip_in_its_name_is_told_without_the_network(tmp_path, monkeypatch):
    def reached(*_: object, **__: object) -> None:
        raise AssertionError("asked the Hub")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "hf_hub_download", reached)
    (tmp_path / "runs" / "beacon").mkdir(parents=True)
    (tmp_path / "runs" / "beacon" / CONFIG).write_text("{}")
    with pytest.raises(CheckpointError, match=r"^no checkpoint 'runs/beacno'\. Did you mean 'runs/beacon'\?$"):
        BehaviourCloning.from_pretrained("runs/beacno")
    with pytest.raises(AssertionError, match="asked the Hub"):
        BehaviourCloning.from_pretrained("runs/other-name")

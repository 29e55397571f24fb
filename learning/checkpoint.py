"""Checkpoints as the Hugging Face Hub keeps them: `config.json` and `model.safetensors`, loaded strictly or not at all."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..benchmark.family import Family, FamilyShape
from ..errors import CheckpointError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_NO_HUB = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError)


@dataclass(frozen=True)
class CheckpointConfig:
    """What the `config.json` of a checkpoint says; a subclass adds fields.

    Attributes:
        families: shape of each family that the network knows, by name.
    """

    OWNER: ClassVar[str]  # whose it is, in messages
    BY_FAMILY: ClassVar[tuple[str, ...]] = ()  # fields that must say something of each of the families

    families: dict[str, FamilyShape]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after a trip through JSON.

        Raises:
            CheckpointError: it is no object, or a field is unknown, missing, of another type, or lacks a family.
        """
        if not isinstance(data, Mapping):
            raise CheckpointError(f"{CONFIG} is not {cls.OWNER}'s: {type(data).__name__} instead of an object.")
        known = {field.name: field for field in fields(cls)}
        needed = {name for name, field in known.items() if field.default is field.default_factory is MISSING}
        unknown, missing = sorted(set(data) - set(known)), sorted(needed - set(data))
        if unknown or missing:
            allowed = f"unknown fields {', '.join(unknown)}; allowed {', '.join(sorted(known))}"
            raise CheckpointError(f"{CONFIG} is not {cls.OWNER}'s: {allowed if unknown else 'no ' + ', '.join(missing)}.")
        try:
            config: Self = TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            given = textwrap.shorten(repr(first["input"]), 60, placeholder=" ...")
            raise CheckpointError(f"{CONFIG} is not {cls.OWNER}'s: {where} is {given}; {first['msg']}.") from error
        for name in cls.BY_FAMILY:
            if missing := sorted(set(config.families) - set(getattr(config, name))):
                raise CheckpointError(f"{CONFIG} is not {cls.OWNER}'s: {name} says nothing of {', '.join(missing)}.")
        return config

    def require(self, family: str, hint: str = "") -> None:
        """Raise `CheckpointError`, with a hint, unless the network knows this family."""
        if family not in self.families:
            known = ", ".join(self.families)
            raise CheckpointError(f"this {self.OWNER} was not trained on family {family!r}, only on {known}.{hint}")

    def require_shape(self, family: Family, hint: str = "") -> None:
        """Raise `CheckpointError` unless the network knows this family, in the form that it has today."""
        self.require(family.name, hint)
        if self.families[family.name] != FamilyShape.of(family):
            today = f"version {family.version} of {family.name}"
            raise CheckpointError(f"this {self.OWNER} is of an older {family.name}, not of {today}. Train it again.{hint}")


class Pretrained(PyTorchModelHubMixin):
    """`PyTorchModelHubMixin` that names packaged checkpoints, checks every tensor and never unpickles.

    A subclass is an `nn.Module` whose only constructor argument is `config`, a frozen dataclass or its dict.
    """

    PACKAGED: ClassVar[Path]  # folder with the checkpoints that ship inside the package
    SUMMARY: ClassVar[str] = "An agent of another package."  # what its model card says it is
    LEARNED: ClassVar[str] = "on the offline data of"  # how it met the train variants, in its card
    FIELD: ClassVar[str] = "offline-reinforcement-learning"  # tag of its card

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load a checkpoint.

        Args:
            pretrained_model_name_or_path: a packaged name such as `networld-small`, a folder, or a Hub id, perhaps with
                `@REVISION` (a tag or commit).
            **kwargs: as in `PyTorchModelHubMixin.from_pretrained`: `revision`, `cache_dir`, `local_files_only`, `token`, ...

        Raises:
            CheckpointError: it is missing, truncated, of another model, or holds NaN.
        """
        given = str(pretrained_model_name_or_path)
        packaged = cls.PACKAGED / given
        folder = packaged if "/" not in given and packaged.is_dir() else Path(given)
        if folder.is_dir():
            for name in (CONFIG, WEIGHTS):
                if not (folder / name).is_file():
                    raise CheckpointError(f"checkpoint {given!r} has no {name}; a checkpoint holds {CONFIG} and {WEIGHTS}.")
            _require_object(folder / CONFIG)
        elif folder.exists():
            raise CheckpointError(f"checkpoint {given!r} is a file; give the folder that holds {CONFIG} and {WEIGHTS}.")
        name, _, revision = given.partition("@")
        shipped = ", ".join(cls.shipped()) or "none"
        if not folder.is_dir() and name.count("/") != 1:
            raise CheckpointError(f"no checkpoint {given!r}: not packaged ({shipped}), no folder, no Hub id (NAMESPACE/NAME).")
        if revision and not folder.is_dir():
            kwargs["revision"] = revision
        try:
            return super().from_pretrained(str(folder) if folder.is_dir() else name, **kwargs)
        except json.JSONDecodeError as error:  # of the Hub
            raise CheckpointError(f"checkpoint {given!r}: {CONFIG} is not JSON ({error}).") from error
        except _NO_HUB as error:
            reason = textwrap.shorten(str(error), 160, placeholder=" ...")
            raise CheckpointError(
                f"no checkpoint {given!r}: not packaged ({shipped}), no folder, no Hub id within reach ({reason})."
            ) from error

    @classmethod
    def shipped(cls) -> list[str]:
        """Names of the checkpoints in the package."""
        return sorted(path.name for path in cls.PACKAGED.glob("*") if path.is_dir())

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **kwargs: Any) -> Self:
        download = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        options = {name: kwargs.pop(name) for name in download if name in kwargs}
        local = Path(model_id) / WEIGHTS
        path = local if local.is_file() else Path(hf_hub_download(model_id, WEIGHTS, **options))
        if "config" not in kwargs:
            raise CheckpointError(f"checkpoint {model_id!r} has no {CONFIG}.")
        try:
            model = cls(**kwargs)
        except (RuntimeError, ArithmeticError, MemoryError) as error:  # a width below zero, more than memory holds
            reason = textwrap.shorten(str(error), 160, placeholder=" ...")
            raise CheckpointError(f"checkpoint {model_id!r}: no network is of the sizes in its {CONFIG} ({reason}).") from error
        assert isinstance(model, torch.nn.Module)
        _load_strictly(model, path)
        return model.to(map_location).eval()


def _require_object(config: Path) -> None:
    """Raise `CheckpointError` unless a file is a JSON object."""
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{config} is not JSON ({error}).") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{config} is no JSON object, but {type(data).__name__}.")


def _load_strictly(model: torch.nn.Module, path: Path) -> None:
    """Fill a model with the tensors of a file; raise `CheckpointError` unless names, shapes and values are all right."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error}).") from error
    wanted = model.state_dict()
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or extra:
        counts = f"{len(missing)} tensors missing {missing[:3]}, {len(extra)} unknown {extra[:3]}"
        raise CheckpointError(f"{path} is of another model: {counts}.")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(f"{path}: {name} has shape {tuple(tensor.shape)}, but must have {tuple(wanted[name].shape)}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity.")
    model.load_state_dict(tensors, strict=True)


def digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's tensors, names included: the same for the same weights, whatever file they came from."""
    return _digest(model.state_dict())


def digest_of_file(weights: Path) -> str:
    """The same of a `model.safetensors`."""
    return _digest(load_file(weights))


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    state = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def settings_digest(config: CheckpointConfig) -> str:
    """SHA-256 of the settings that a checkpoint was loaded with, which decide how its weights are played.

    Only what differs from the defaults counts: a field that is new tomorrow changes no digest of today.
    """
    usual = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(config)}
    changed = {name: value for name, value in asdict(config).items() if getattr(config, name) != usual[name]}
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()


def count_parameters(model: torch.nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())

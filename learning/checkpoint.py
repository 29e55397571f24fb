"""Checkpoints as the Hugging Face Hub keeps them: `config.json` and `model.safetensors`, loaded strictly or not at all."""

from __future__ import annotations

import hashlib
import json
import textwrap
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..benchmark.data.hub_mirror import hub_errors
from ..benchmark.data.paths import sha256, write_text
from ..benchmark.data.publish import packaged_checkpoints
from ..benchmark.family import Family, FamilyShape
from ..benchmark.protocol.fields import numbers_of, told
from ..benchmark.protocol.strict import loads, require_bounded
from ..errors import CheckpointError, WbenchError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SHIPPED = Path(__file__).with_name("packaged.json")  # SHA-256 of the files of the checkpoints in the package
COUNTERS = ("transitions", "source_steps")  # settings that count; every other whole number is a size
LARGEST_SIZE, LARGEST_NUMBER = 65_536, 1e15
_LARGEST_CONFIG, _LARGEST_HEADER = 1 << 20, 4 << 20
_TYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}


@dataclass(frozen=True)
class CheckpointConfig:
    """What the `config.json` of a checkpoint says; a subclass adds fields.

    Attributes:
        families: shape of each family that the network knows, by name.
        recipe: digest of how it was trained, but for the seed, see `recipe_of`; empty where nobody says. Checkpoints that agree
            in it are trainings of one recipe.
    """

    OWNER: ClassVar[str]  # whose it is, in messages
    BY_FAMILY: ClassVar[tuple[str, ...]] = ()  # fields that must say something of each of the families

    families: dict[str, FamilyShape]
    recipe: str = field(default="", kw_only=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, also after a trip through JSON.

        Raises:
            CheckpointError: it is no object, or a field is unknown, missing, of another type, or lacks a family.
        """
        if not isinstance(data, Mapping):
            raise CheckpointError(f"{CONFIG} is not {cls.OWNER}'s: {type(data).__name__} instead of an object.")
        known = {one.name: one for one in fields(cls)}
        needed = {name for name, one in known.items() if one.default is one.default_factory is MISSING}
        unknown, missing = sorted(set(data) - set(known)), sorted(needed - set(data))
        if unknown or missing:
            allowed = f"unknown fields {', '.join(unknown)}; allowed {', '.join(sorted(known))}"
            what = allowed if unknown else "no " + ", ".join(missing)
            hint = "Give --checkpoint one that this version trained."
            raise CheckpointError(f"{CONFIG} is not {cls.OWNER}'s, or of another edition: {what}. {hint}")
        try:
            config: Self = TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            raise CheckpointError(f"{CONFIG} is not {cls.OWNER}'s: {told(error)}.") from error
        _require_sizes(cls.OWNER, asdict(config))
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


def _require_sizes(owner: str, settings: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` where a number within settings is none, or larger than any network is."""
    for where, value in numbers_of("", settings):
        most = LARGEST_SIZE if isinstance(value, int) and where not in COUNTERS else LARGEST_NUMBER
        if not abs(value) <= most:
            given = textwrap.shorten(str(value), 40, placeholder=" ...")
            raise CheckpointError(f"{CONFIG} is not {owner}'s: {where} is {given}; at most {most:g}.")


class Pretrained(PyTorchModelHubMixin):
    """`PyTorchModelHubMixin` that names packaged checkpoints, checks every tensor and never unpickles.

    A subclass is an `nn.Module` whose only constructor argument is `config`, a frozen dataclass or its dict.
    """

    PACKAGED: ClassVar[Path | None] = None  # folder with the checkpoints that ship inside the package
    SUMMARY: ClassVar[str] = "An agent of another package."  # what its model card says it is
    LEARNED: ClassVar[str] = "on the offline data of"  # how it met the train variants, in its card
    FIELD: ClassVar[str] = "offline-reinforcement-learning"  # tag of its card

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *, map_location: str = "cpu", **kwargs: Any) -> Self:
        """Load a checkpoint.

        Args:
            pretrained_model_name_or_path: a packaged name such as `networld-small`, a folder, or a Hub id, perhaps with
                `@REVISION` (a tag or commit).
            map_location: device of the network.
            **kwargs: as in `huggingface_hub.hf_hub_download`: `revision`, `cache_dir`, `local_files_only`, `token`, ...

        Raises:
            CheckpointError: it is missing, truncated, of another model, or holds NaN; or a packaged one was changed.
        """
        given = str(pretrained_model_name_or_path)
        config, weights = (cls._file(given, name, kwargs) for name in (CONFIG, WEIGHTS))
        require_as_shipped(config.parent)
        data, header = read_object(config), read_header(weights)
        _require_fitting(cls, data, header, weights)
        model = cls(data)  # takes memory for no more than the file holds
        assert isinstance(model, torch.nn.Module)
        _fill(model, weights)
        return model.to(map_location).eval()

    @classmethod
    def _file(cls, given: str, name: str, options: dict[str, Any]) -> Path:
        """A file of a checkpoint, from the package, a folder, or the Hub."""
        folder = cls.PACKAGED / given if cls.PACKAGED and given in cls.shipped() else Path(given).expanduser()
        if folder.is_dir():
            if not (folder / name).is_file():
                raise CheckpointError(f"checkpoint {given!r} has no {name}; a checkpoint holds {CONFIG} and {WEIGHTS}.")
            return folder / name
        if folder.exists():
            raise CheckpointError(f"checkpoint {given!r} is a file; give the folder that holds {CONFIG} and {WEIGHTS}.")
        repo, _, revision = given.partition("@")
        beside = [path.parent.name for path in folder.parent.glob(f"*/{CONFIG}")]  # asked first: the network is slow
        if not revision and (near := get_close_matches(folder.name, beside)):
            raise CheckpointError(f"no checkpoint {given!r}. Did you mean {str(Path(given).with_name(near[0]))!r}?")
        shipped = ", ".join(cls.shipped()) or "none"
        if repo.count("/") != 1:
            raise CheckpointError(f"no checkpoint {given!r}: not packaged ({shipped}), no folder, no Hub id (NAMESPACE/NAME).")
        try:
            with hub_errors(given):
                found: str = hf_hub_download(repo, name, **(options | {"revision": revision} if revision else options))
                return Path(found)
        except (WbenchError, OSError, ValueError) as error:
            reason = textwrap.shorten(str(error), 160, placeholder=" ...")
            raise CheckpointError(
                f"no checkpoint {given!r}: not packaged ({shipped}), no folder, no Hub id within reach ({reason})."
            ) from error

    @classmethod
    def shipped(cls) -> list[str]:
        """Names of the checkpoints in the package."""
        return sorted(path.name for path in cls.PACKAGED.glob("*") if path.is_dir()) if cls.PACKAGED else []


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a small file; raises `CheckpointError` where there is none."""
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise CheckpointError(f"{path} is larger than {_LARGEST_CONFIG >> 20} MB.")
        data = loads(path.read_bytes())
        require_bounded(data, {})
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not JSON as wbench writes it ({str(error)[:120]}).") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is no JSON object, but {type(data).__name__}.")
    return data


def read_header(weights: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor in a `model.safetensors`, by name; no tensor is read."""
    try:
        with weights.open("rb") as stream:
            if int.from_bytes(stream.read(8), "little") > _LARGEST_HEADER:
                raise CheckpointError(f"{weights} has a header of more than {_LARGEST_HEADER >> 20} MB.")
        with safe_open(weights, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except (SafetensorError, OSError, RecursionError) as error:
        raise CheckpointError(f"{weights} is truncated or no safetensors file ({str(error)[:120]}).") from error


def _require_fitting(
    kind: type, data: Mapping[str, Any], header: Mapping[str, tuple[str, tuple[int, ...]]], path: Path
) -> None:
    """Raise `CheckpointError` unless a network of these settings has just these tensors; it is made without any memory."""
    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1
        if counted > 100 + 2 * len(header):  # far too many: it does not have to be made to the end
            raise CheckpointError(f"{path} is of another model: it holds {len(header)} tensors, and {CONFIG} asks for more.")

    watch = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            wanted = kind(data).state_dict()
    except (RuntimeError, ArithmeticError, MemoryError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, WbenchError):
            raise
        reason = textwrap.shorten(str(error), 160, placeholder=" ...")
        raise CheckpointError(f"{path.parent}: no network is of the sizes in its {CONFIG} ({reason}).") from error
    finally:
        watch.remove()
    missing, extra = sorted(set(wanted) - set(header)), sorted(set(header) - set(wanted))
    if missing or extra:
        counts = f"{len(missing)} tensors missing {missing[:3]}, {len(extra)} unknown {extra[:3]}"
        raise CheckpointError(f"{path} is of another model: {counts}.")
    for name, (dtype, shape) in header.items():
        if shape != tuple(wanted[name].shape):
            raise CheckpointError(f"{path}: {name} has shape {shape}, but must have {tuple(wanted[name].shape)}.")
        if dtype != _TYPES.get(wanted[name].dtype):
            raise CheckpointError(f"{path}: {name} holds {dtype}, but must hold {_TYPES.get(wanted[name].dtype)}.")


def _fill(model: torch.nn.Module, path: Path) -> None:
    """Fill a model with the tensors of a file that fits; raise `CheckpointError` where a number is not finite."""
    tensors = _read_tensors(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity.")
    model.load_state_dict(tensors, strict=True)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({str(error)[:120]}).") from error


def freeze() -> Path:
    """Write down the SHA-256 of the packaged checkpoints, for the developer who replaces one."""
    found = {
        name: {file: sha256(folder / file) for file in (CONFIG, WEIGHTS)} for name, folder in packaged_checkpoints().items()
    }
    write_text(SHIPPED, json.dumps(found, indent=1) + "\n")
    return SHIPPED


def require_as_shipped(folder: Path) -> None:
    """Raise `CheckpointError` where the folder is of a packaged checkpoint, and its files are not those that were shipped."""
    if packaged_checkpoints().get(folder.name, Path()).resolve() != folder.resolve():
        return
    known = read_object(SHIPPED).get(folder.name, {})
    changed = [file for file in (CONFIG, WEIGHTS) if known.get(file) != sha256(folder / file)]
    if changed:
        hint = "Install wbench again; whoever replaced it types: wbench checkpoint freeze"
        raise CheckpointError(f"the packaged {folder.name} is not as it was shipped ({', '.join(changed)} differs). {hint}")


def digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's tensors, names included: the same for the same weights, whatever file they came from."""
    return _digest(model.state_dict())


def digest_of_file(weights: Path) -> str:
    """The same of a `model.safetensors`; raises `CheckpointError` where it is none."""
    return _digest(_read_tensors(weights))


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    state = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def settings_digest(config: CheckpointConfig) -> str:
    """SHA-256 of the settings that a checkpoint was loaded with, which decide how its weights are played.

    Only what differs from the defaults counts: a field that is new tomorrow changes no digest of today. How the weights came to
    be decides nothing.
    """
    usual = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(config)}
    changed = {name: value for name, value in asdict(config).items() if getattr(config, name) != usual[name]}
    changed.pop("recipe", None)
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()


def recipe_of(network: type, families: Iterable[str], settings: Mapping[str, Any]) -> str:
    """SHA-256 of how a network is trained: its class, the families, and all settings but the seed."""
    told = {name: value for name, value in settings.items() if name != "seed"}
    what = [network.__qualname__, sorted(families), told]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def count_parameters(model: torch.nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())

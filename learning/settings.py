"""Settings of a training changed by name, as `--set KEY=VALUE` gives them: typed, and refused with the nearest name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..benchmark.protocol.fields import numbers_of
from ..errors import InvalidValueError, require, require_known
from .checkpoint import COUNTERS, LARGEST_SIZE

C = TypeVar("C")
AT_LEAST_ONE = ("steps", "save_every", "batch_size", "rounds", "hidden", "width")
NETWORK = "network"  # a field with the network's own settings, as pairs
COUNTED = ("steps", "save_every", "rounds", "warmup", *COUNTERS)  # settings that count; every other whole number is a size
MOST_STEPS, LARGEST_SEED = 10**12, 2**32 - 1
WARM = 5  # a warm-up takes this part of the steps at most


def changed(config: C, pairs: Iterable[str], network: type | None, families: Iterable[str], agent: str) -> C:
    """Settings with some of them changed.

    Args:
        config: how to train, a frozen dataclass.
        pairs: texts `KEY=VALUE`; `KEY.NAME=VALUE` sets one of several, e.g. `network.hidden=64`, `temperatures.access=1`; where
            only one setting ends in a name, the name is enough.
        network: class of the network, whose settings `network.NAME` sets.
        families: names of the families that are trained.
        agent: its name, for messages.

    Raises:
        UnknownNameError: there is no such setting.
        InvalidValueError: this is no pair, or the value is of another type or out of range.
    """
    allowed = _settings(config, network, sorted(families))
    for pair in pairs:
        key, sign, text = pair.partition("=")
        require(bool(sign and key), "--set", pair, "KEY=VALUE, e.g. learning_rate=3e-4")
        ends = [name for name in allowed if name.endswith(f".{key}")]
        key = ends[0] if key not in allowed and len(ends) == 1 else key
        require_known(f"setting of {agent}", key, allowed, f"wbench show {agent}")
        config = _with(config, key.split("."), _value(key, text, allowed[key]))
    return config


def require_bounds(config: Any) -> None:
    """Raise `InvalidValueError` where a whole number among settings is larger than a generator or a checkpoint takes."""
    for name, value in numbers_of("", asdict(config)):
        last = name.rpartition(".")[2]
        counted = last in COUNTED or last.endswith("_steps")
        least, most = (0, LARGEST_SEED) if last == "seed" else (None, MOST_STEPS if counted else LARGEST_SIZE)
        if isinstance(value, int) and (value > most or (least is not None and value < least)):
            raise InvalidValueError(name, value, f"{most} at most" if least is None else f"in [{least}, {most}]")


def shortened(config: C, steps: int) -> C:
    """Settings of a training with another number of steps; those of several stages keep their shares.

    Raises:
        InvalidValueError: it is below 1, beyond `MOST_STEPS`, or the training has no such setting.
    """
    require(1 <= steps <= MOST_STEPS, "--steps", steps, f"1 or more, {MOST_STEPS} at most")
    stages = [f.name for f in fields(config) if f.name in ("steps", "rounds") or f.name.endswith("_steps")]  # type: ignore[arg-type]
    whole = sum(getattr(config, name) for name in stages)
    require(bool(stages) and whole >= 1, "--steps", steps, f"left out: {type(config).__name__} has no steps")
    each = {name: round(steps * getattr(config, name) / whole) for name in stages}
    largest = max(each, key=lambda name: each[name])
    each[largest] += steps - sum(each.values())
    if hasattr(config, "warmup"):
        each["warmup"] = min(config.warmup, max(1, steps // WARM))
    return replace(config, **each)  # type: ignore[type-var]


def _settings(config: Any, network: type | None, families: list[str]) -> dict[str, Any]:
    """Type of every setting, by its name with dots."""
    found: dict[str, Any] = {}
    for name, kind in get_type_hints(type(config)).items():
        if not any(field.name == name for field in fields(config)):
            continue
        value = getattr(config, name)
        if name == NETWORK:
            found |= {f"{NETWORK}.{key}": of for key, of in _network_settings(network).items()}
        elif is_dataclass(value):
            found |= {f"{name}.{key}": of for key, of in _settings(value, None, families).items()}
        elif _is_pairs(kind):
            found |= {f"{name}.{key}": get_args(get_args(kind)[0])[1] for key in dict.fromkeys([*families, *dict(value)])}
        else:
            found[name] = kind
    return found


def _network_settings(network: type | None) -> dict[str, Any]:
    """What of a network's configuration is chosen, and not measured: the fields that have defaults."""
    if network is None:
        return {}
    begin: Any = network.__init__  # type: ignore[misc]
    hint = get_type_hints(begin).get("config")
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and is_dataclass(kind)]
    if not kinds:
        return {}
    usual = {f.name for f in fields(kinds[0]) if f.default is not f.default_factory and f.name not in COUNTERS}
    return {name: kind for name, kind in get_type_hints(kinds[0]).items() if name in usual}


def _is_pairs(kind: Any) -> bool:
    """Whether this is `tuple[tuple[str, X], ...]`."""
    parts = get_args(kind)
    return get_origin(kind) is tuple and len(parts) == 2 and get_origin(parts[0]) is tuple and get_args(parts[0])[0] is str


def _value(key: str, text: str, kind: Any) -> Any:
    """A text as a value of this type; raises `InvalidValueError`."""
    try:
        given: Any = text if kind in (str, int, float, bool) else json.loads(text)
    except ValueError:
        given = text.split(",") if get_origin(kind) is tuple else text
    try:
        value = TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        wanted = getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind).replace("typing.", "")
        raise InvalidValueError(f"--set {key}", text, f"of type {wanted} ({error.errors()[0]['msg'].lower()})") from error
    if isinstance(value, float) and not (math.isfinite(value) and value >= 0.0):
        raise InvalidValueError(f"--set {key}", text, "a finite number, 0 or more")
    if key.rpartition(".")[2] in AT_LEAST_ONE and isinstance(value, int) and value < 1:
        raise InvalidValueError(f"--set {key}", text, "1 or more")
    return value


def _with(config: Any, path: list[str], value: Any) -> Any:
    """The same with one setting changed."""
    name, *rest = path
    if not rest:
        return replace(config, **{name: value})
    inner = getattr(config, name)
    if is_dataclass(inner):
        return replace(config, **{name: _with(inner, rest, value)})
    return replace(config, **{name: tuple({**dict(inner), rest[0]: value}.items())})


def described(config: Any, network: type | None, families: Iterable[str] = ()) -> Mapping[str, Any]:
    """Every setting that `changed` takes, with its value; None for what the network's own default decides."""
    return {key: _lookup(config, key.split(".")) for key in _settings(config, network, sorted(families))}


def _lookup(config: Any, path: list[str]) -> Any:
    name, *rest = path
    inner = getattr(config, name)
    if not rest:
        return inner
    return _lookup(inner, rest) if is_dataclass(inner) else dict(inner).get(rest[0])

"""The number format of matrix products: bfloat16 where the processor has instructions for it, else float32.

Where it has none, PyTorch emulates bfloat16, some thirty times slower than float32; most laptops are of that kind.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Literal

import torch

from ..errors import InvalidValueError

Precision = Literal["bfloat16", "float32"]
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "float32")
VARIABLE = "WBENCH_PRECISION"  # asks for one of them, say to train as another machine did


def precision(device: torch.device | str) -> Precision:
    """Of matrix products on a device.

    Raises:
        InvalidValueError: the environment asks for another than these.
    """
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return _fastest(torch.device(device).type)
    found = next((known for known in PRECISIONS if known == asked), None)
    if found is None:
        raise InvalidValueError(VARIABLE, asked, " or ".join(PRECISIONS))
    return found


def mixed(device: torch.device | str, enabled: bool = True) -> torch.autocast:
    """A context in which matrix products are computed in the device's precision; parameters and sums stay in float32."""
    low = enabled and precision(device) == "bfloat16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=low)


@cache
def _fastest(kind: str) -> Precision:
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    known = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return "bfloat16" if known.get("avx512_bf16") or known.get("amx_bf16") else "float32"

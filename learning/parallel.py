"""Training in several processes: nothing to do in one, gradients averaged by Hugging Face `accelerate` in more."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor

from ..errors import MissingPackageError


def rank() -> int:
    """Place of this process among those that a launcher started; 0 writes the files."""
    return int(os.environ.get("RANK", "0"))


class Processes:
    """The processes of one training run, as `accelerate launch` or `torchrun` started them.

    Args:
        device: where to train, as asked for; with several processes each has its own device of that kind.

    Attributes:
        count: number of processes.
        rank: place of this one.
        device: where this one trains.
    """

    def __init__(self, device: str) -> None:
        self.count, self.rank, self.device = int(os.environ.get("WORLD_SIZE", "1")), rank(), torch.device(device)
        self._accelerator = None
        if self.count > 1:
            try:
                from accelerate import Accelerator
            except ImportError as error:
                hint = 'pip install "wbench[accelerate]"'
                raise MissingPackageError(f"training in {self.count} processes needs accelerate. Try: {hint}") from error
            self._accelerator = Accelerator(cpu=device == "cpu")
            self.device = self._accelerator.device

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the processes, in one message."""
        if self._accelerator is None:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mean = self._accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduction="mean")
        for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def wait(self) -> None:
        """Go on when all have come so far."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

"""Another solver of the problem that WMMSE solves, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor


def fractional_programming(gain: Tensor, weight: Tensor, p_max: float, noise: float, iterations: int = 20) -> Tensor:
    """Weighted sum-rate powers by closed-form fractional programming (Shen and Yu, 'FP for communication systems', 2018).

    In the textbook's order, the SINR first, then y, then the powers, every round takes the weighted rate up, and the powers are
    those of WMMSE. With y from the SINR of the round before, as in the code of Nasir and Guo (2019), it may fall. Arguments and
    result as in `wmmse`.
    """
    direct = gain.diagonal(dim1=-2, dim2=-1)
    p = torch.full_like(direct, p_max)
    transposed = gain.transpose(-1, -2).contiguous()
    for _ in range(iterations):
        received = (gain * p.unsqueeze(-2)).sum(-1) + noise
        gamma = direct * p / (received - direct * p).clamp(min=noise)
        y = (weight * (1.0 + gamma) * direct * p).sqrt() / received
        cost = (transposed * y.square().unsqueeze(-2)).sum(-1)
        root = y * (weight * (1.0 + gamma) * direct).sqrt() / cost.clamp(min=1e-30)
        p = torch.where(cost > 0, root.square(), p_max).clamp(0.0, p_max)
    return p

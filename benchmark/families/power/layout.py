"""Where each quantity stands in a `power` observation, for the environment that writes it and the policies that read it."""

from __future__ import annotations

from torch import Tensor

NEIGHBOURS = 5  # strongest interferers, and strongest victims, that a link knows of
DB_SCALE = 30.0  # levels are shown in units of 30 dB over the noise

_SIZES = {
    "queue": 2,  # own backlog in slots of mean arrivals: share of the buffer; log
    "need": 1,  # mean arrivals as a spectral efficiency, log2(1 + bit/s/Hz)
    "snr": 2,  # own direct channel at full power over noise: now, one slot ago (levels)
    "noise": 2,  # interference plus noise at the own receiver, last slot and the one before (levels)
    "sinr": 1,  # last SINR (level); the lowest level where nothing was sent
    "sent": 2,  # last power; last served bits over mean arrivals
    "turn": 3,  # links in the cell - 1; own turn now; own turn next
    "interferers": NEIGHBOURS,  # power received from each of the strongest in the last slot (levels)
    "leak": NEIGHBOURS,  # own full power at each victim's receiver (levels), one slot old; the cell's own link first
    "victim_snr": NEIGHBOURS,  # each victim's own channel at full power (levels), one slot old
    "victim_noise": NEIGHBOURS,  # each victim's interference plus noise in the last slot (levels)
    "victim_queue": NEIGHBOURS,  # each victim's backlog, log, one slot old
    "victim_need": NEIGHBOURS,  # each victim's need
    "index": 1,  # own index / N
}
_ENDS = [sum(list(_SIZES.values())[: i + 1]) for i in range(len(_SIZES))]
SLICES = {name: slice(end - size, end) for (name, size), end in zip(_SIZES.items(), _ENDS, strict=True)}
OBS_SIZE = _ENDS[-1]


class View:
    """Named views into observations [..., O]."""

    queue: Tensor
    need: Tensor
    snr: Tensor
    noise: Tensor
    sinr: Tensor
    sent: Tensor
    turn: Tensor
    interferers: Tensor
    leak: Tensor
    victim_snr: Tensor
    victim_noise: Tensor
    victim_queue: Tensor
    victim_need: Tensor
    index: Tensor

    def __init__(self, obs: Tensor) -> None:
        for name, where in SLICES.items():
            setattr(self, name, obs[..., where])

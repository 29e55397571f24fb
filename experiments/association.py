"""Throughput of max-SINR in `handover` beside mobile-env, on mobile-env's own small scenario.

    pip install -e . mobile-env==2.1.0 && python experiments/association.py [--seeds 5] [--csv FILE]

mobile-env (MIT) moves its five users past its three stations for 100 slots; every user is attached to the station with the
greatest SNR. The same SNRs are then given to `HandoverEnv`, with what mobile-env lacks left out: no interference, tenants or
bills, no interruption, a backhaul that nobody fills, links that come back at once. A link fails below their threshold, an SNR
of 2e-8. Slots in which a user stands at a station, where mobile-env's loss has no bound, are left out. `--csv` keeps the
first seed's SNRs and rates.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
import torch
from wbench.benchmark.families.handover import env as handover
from wbench.benchmark.families.handover.variant import BAND, HandoverVariant
from wbench.benchmark.physics.interference import SINR_CAP
from wbench.benchmark.site import RANGES

MEGAHERTZ, LEAST_SNR = 9.0, 2e-8  # mobile-env's: of a station; of a link


def theirs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """SNR of each user at each station [T, N, S], and each user's rate in bit/s [T, N], as mobile-env has them."""
    import gymnasium
    import mobile_env  # noqa: F401

    env = gymnasium.make("mobile-small-central-v0", config={"seed": seed}).unwrapped
    env.reset(seed=seed)
    stations, users = list(env.stations.values()), list(env.users.values())
    ratios, rates = [], []
    for _ in range(env.EP_MAX_TIME):
        ratio = np.array([[env.channel.snr(station, user) for station in stations] for user in users])
        env.connections.clear()
        for user, best in zip(users, ratio.argmax(1), strict=True):
            if env.check_connectivity(stations[best], user):
                env.connections[stations[best]].add(user)
        shares = {user: rate for station in stations for (_, user), rate in env.station_allocation(station).items()}
        ratios.append(ratio)
        rates.append([shares.get(user, 0.0) for user in users])
        env.step([0] * len(users))
    bounded = np.array(ratios).max((1, 2)) < SINR_CAP
    return np.array(ratios)[bounded], np.array(rates)[bounded]


def ours(ratio: np.ndarray) -> np.ndarray:
    """Rates in bit/s [T, N] of `HandoverEnv` for the same SNRs, of which each slot's greatest is served, in a band of 9 MHz."""
    slots, users, stations = ratio.shape
    env = handover.HandoverEnv(HandoverVariant(users, stations, horizon=slots))
    env.reset([RANGES["dev"][0]], [0])
    env.ratio[1 : slots + 1, 0] = torch.from_numpy(ratio).float()
    env.share, env.tariff = torch.zeros_like(env.share), torch.zeros_like(env.tariff)
    env.backhaul = torch.full_like(env.backhaul, 1e6)
    env._same = torch.zeros_like(env._same)  # nobody disturbs anybody
    usual, handover.FAILURE = handover.FAILURE, 10.0 * math.log10(LEAST_SNR)
    found = []
    try:
        for now in ratio:
            env.wait = torch.zeros_like(env.wait)
            env.serving = torch.from_numpy(now.argmax(1))[None]
            env.advance(torch.zeros(1, users, dtype=torch.int64))
            found.append(env._rate[0] * env.variant.need * 1e6 * (MEGAHERTZ / BAND))
    finally:
        handover.FAILURE = usual
    return torch.stack(found).numpy()


def main() -> None:
    """Print a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    for seed in range(given.seeds):
        ratio, rate = theirs(seed)
        found = ours(ratio)
        apart = np.abs(found - rate).max() / rate.mean()
        print(f"seed {seed}: mobile-env {rate.mean():.6f} bit/s a user, handover {found.mean():.6f}; most apart {apart:.1e}")
        if given.csv and seed == 0:
            with given.csv.open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(["slot", "user", "snr_0", "snr_1", "snr_2", "rate"])
                for slot, user in np.ndindex(rate.shape):
                    rows.writerow([slot, user, *(f"{x:.6e}" for x in (*ratio[slot, user], rate[slot, user]))])


if __name__ == "__main__":
    main()

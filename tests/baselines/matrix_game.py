"""A cooperative game with a known optimum: a team of two is paid 1, a slot later, if all play the sign that each was shown.

Always playing the shown sign earns 1 a slot from the second slot on, uniform play 1/4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from wbench.benchmark.agent import Support
from wbench.benchmark.family import ActionComponent, Family, Info
from wbench.benchmark.randomness import generator as keyed
from wbench.benchmark.registry import get_family

AGENTS, SIGNS, HORIZON = 2, 2, 16


@dataclass(frozen=True)
class Game:
    """The only variant."""

    name: str = "signs/two"
    family: str = "signs"
    split: str = "train"
    agents: int = AGENTS
    horizon: int = HORIZON
    period: int = 1

    def descriptor(self) -> tuple[float, ...]:
        """Nothing to tell."""
        return (0.0,)


class GameEnv:
    """B games: obs is the sign to play, one-hot, and whether pay is due; the reward of slot t is for the actions of t - 1."""

    charged = True

    def __init__(self, variant: Game) -> None:
        self.variant = variant

    def reset(self, sites: Sequence[int], seeds: Sequence[int]) -> tuple[Tensor, Info]:
        draws = [
            keyed("signs", site, seed).integers(SIGNS, size=(HORIZON + 1, AGENTS))
            for site, seed in zip(sites, seeds, strict=True)
        ]
        self._signs = torch.stack([torch.from_numpy(d) for d in draws])
        self._slot, self._due = 0, torch.zeros(len(seeds))
        return self._observe()

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        reward = self._due
        self._due = (action == self._signs[:, self._slot]).all(1).float()
        self._slot += 1
        obs, info = self._observe()
        ended = torch.full_like(reward, self._slot == HORIZON, dtype=torch.bool)
        return obs, (reward / AGENTS).unsqueeze(1).expand(-1, AGENTS), torch.zeros_like(ended), ended, info

    def _observe(self) -> tuple[Tensor, Info]:
        signs = self._signs[:, self._slot]
        due = self._due.view(-1, 1, 1).expand(-1, AGENTS, 1)
        obs = torch.cat([one_hot(signs, SIGNS).float(), due], dim=-1)
        return obs, {"action_mask": torch.ones(*signs.shape, SIGNS, dtype=torch.bool)}

    def qos(self) -> dict[str, Tensor]:
        return {}


VARIANT = Game()
FAMILY: Family = replace(
    get_family("access"),
    name="signs",
    variants={VARIANT.name: VARIANT},
    make=lambda variant, device: GameEnv(variant),
    obs_size=SIGNS + 1,
    descriptor_size=1,
    actions=(ActionComponent("sign", "categorical", SIGNS),),
    reward_range=(0.0, 1.0),
    permute=None,
)


def logged(episodes: int, choices: int = SIGNS, seed: int = 0) -> Support:
    """Episodes of uniform play among the first `choices` signs."""
    generator = torch.Generator().manual_seed(seed)
    env = GameEnv(VARIANT)
    obs, info = env.reset([0] * episodes, range(seed * 1000, seed * 1000 + episodes))
    columns: dict[str, list[Tensor]] = {name: [] for name in ("obs", "action", "reward", "action_mask")}
    for _ in range(HORIZON):
        action = torch.randint(choices, obs.shape[:2], generator=generator)
        before, mask = obs, info["action_mask"]
        obs, reward, _, _, info = env.step(action)
        for name, value in {"obs": before, "action": action, "reward": reward, "action_mask": mask}.items():
            columns[name].append(value)
    return Support(**{name: torch.stack(values, 1) for name, values in columns.items()}, quality=("random",) * episodes)

"""Where on-policy learners play: any vectorised environment, real, metered or imagined, and how a round becomes data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...benchmark.randomness import gumbel
from ...learning.codec import ActionCodec
from ...learning.precision import mixed
from ...learning.world import Playground
from .frames import Frames
from .networks import AgentView, first_view, next_view
from .places import Places
from .ppo import ActorCritic, PpoConfig, Updates, gae, optimise


def sample(codec: ActionCodec, logits: Tensor, uniform: Tensor) -> Tensor:
    """Codes [..., size] drawn from masked logits [..., size] by uniform numbers [..., size]."""
    noisy = codec.split(logits + gumbel(uniform))
    return torch.cat([one_hot(part.argmax(-1), part.shape[-1]) for part in noisy], dim=-1).to(logits.dtype)


@dataclass(frozen=True)
class Round:
    """What a round of play gave.

    Attributes:
        frames: by family; those of places whose logs are read, by variant too.
        slots: slots played, all episodes together.
        returns: mean return of each playground.
    """

    frames: dict[str, list[Frames]]
    slots: int
    returns: tuple[float, ...]


@torch.no_grad()
def play_round(
    model: ActorCritic, playgrounds: Sequence[Playground], episodes: int, config: PpoConfig, generator: torch.Generator
) -> Round:
    """Play whole episodes in every playground, those of a family and a length together in one batch.

    The value targets go into the model's normalisers.
    """
    groups: dict[tuple[str, int], list[_Player]] = {}
    with mixed(next(model.parameters()).device, config.bfloat16):
        players = [_Player(playground, episodes, model) for playground in playgrounds]
    for player in players:
        groups.setdefault((player.family, player.variant.horizon), []).append(player)
    frames: dict[str, list[Frames]] = {}
    with mixed(players[0].features.device, config.bfloat16):
        for (family, horizon), group in groups.items():
            frames.setdefault(family, []).extend(_play(model, group, family, horizon, config, generator))
    slots = episodes * sum(player.variant.horizon for player in players)
    whole = {family: parts if parts[0].logs else [Frames.join(parts)] for family, parts in frames.items()}
    return Round(whole, slots, tuple(player.total for player in players))


class _Player:
    """A batch of episodes in progress."""

    def __init__(self, playground: Playground, episodes: int, model: ActorCritic) -> None:
        self._playground, self.variant, self.family = playground, playground.variant, playground.family.name
        self.shape, self.total = (episodes, playground.variant.agents), 0.0
        self.logs = playground.logs if isinstance(playground, Places) else None
        self.site = model.read(self.logs, self.family, self.variant.horizon + 1).flatten(1, 2) if self.logs else None
        obs, info = playground.reset(episodes)
        self._view: AgentView = first_view(playground.family, self.variant, model.history, episodes, obs.device)
        for earlier in info.get("past", ()):  # an episode that starts in the middle of something
            self._look(earlier)
        self.features, self.mask = self._look(obs), info["action_mask"].flatten(0, 1)

    def step(self, action: Tensor) -> Tensor:
        """Actions [B * N] or [B * N, D] -> rewards [B * N], scaled so that their mean over the agents is the team reward."""
        obs, reward, _, _, info = self._playground.step(action.unflatten(0, self.shape))
        self.features, self.mask = self._look(obs), info["action_mask"].flatten(0, 1)
        self.total += float(reward.sum()) / self.shape[0]
        return reward.flatten() * self.shape[1]

    def _look(self, obs: Tensor) -> Tensor:
        """Take in observations [B, N, O]; features [B * N, I]."""
        self._view = next_view(self._view, obs)
        return self._view.features().flatten(0, 1)


def _play(
    model: ActorCritic, players: Sequence[_Player], family: str, horizon: int, config: PpoConfig, generator: torch.Generator
) -> list[Frames]:
    """The frames of each player of a family and a length."""
    codec = model.codecs[family]
    rows = [len(player.features) for player in players]
    agents = torch.cat([torch.full((player.shape[0],), player.shape[1], device=player.mask.device) for player in players])
    slots, rewards = [], []
    for slot in range(horizon):
        features, mask = (torch.cat([getattr(player, name) for player in players]) for name in ("features", "mask"))
        logits = model.logits(_with_sites(features, players, slot), mask, family)
        code = sample(codec, logits, torch.rand(logits.shape, generator=generator).to(logits.device))
        slots.append((features, mask, code, codec.log_prob(logits, code)))
        actions = codec.decode(code).split(rows)
        rewards.append(torch.cat([player.step(action) for player, action in zip(players, actions, strict=True)]))
    last = torch.cat([player.features for player in players])
    columns = [torch.stack(column) for column in zip(*slots, strict=True)]
    seen = [_with_sites(features, players, slot) for slot, features in enumerate([*columns[0], last])]
    normaliser = model.normaliser(family)
    value = normaliser.restore(model.values(torch.cat(seen), agents.repeat(horizon + 1), family))
    value = value.unflatten(0, (horizon + 1, -1))
    advantage = gae(torch.stack(rewards), value, config.discount, config.gae_lambda)
    target = advantage + value[:-1]
    normaliser.update(target)
    found = []
    for k, player in enumerate(players):
        own = (column.split(rows, 1)[k].flatten(0, 1) for column in (*columns, advantage, target))
        features, mask, code, log_prob, gained, aimed = own
        team = team_advantage(gained.unflatten(0, (horizon, *player.shape))).flatten()
        number = torch.full((horizon * player.shape[0],), player.shape[1], device=team.device)
        found.append(Frames(features, mask, code, log_prob, team, aimed, number, player.logs))
    return found


def _with_sites(features: Tensor, players: Sequence[_Player], slot: int) -> Tensor:
    """Features [R, I] of all players and what logs say of the sites for this slot, [R, I + S]."""
    sites = [player.site[slot] for player in players if player.site is not None]
    return torch.cat([features, torch.cat(sites)], dim=-1) if sites else features


def team_advantage(advantage: Tensor) -> Tensor:
    """Advantages [S, B, N] of the agents' own rewards -> of the team's, of mean 0 and spread 1 in the variant.

    The team's return is the mean over agents of their (scaled) own returns; so the critic learns own returns, N targets a slot
    instead of one, and the team's advantage is the mean of theirs. Normalised within a variant's round, all variants and
    reward scales count alike (Andrychowicz, section 3.3; Huang, detail 7).
    """
    team = advantage.mean(-1, keepdim=True)
    return ((team - team.mean()) / (team.std() + 1e-6)).expand_as(advantage)


M = TypeVar("M", bound=ActorCritic)


class PpoLearner(Generic[M]):
    """PPO in progress: network, optimiser and the one random source of play and updates.

    Args:
        model: is changed.
        config: how to learn.
        seed: of play and minibatches.
    """

    def __init__(self, model: M, config: PpoConfig, seed: int) -> None:
        self.model, self.config = model.train().requires_grad_(True), config
        self.generator = torch.Generator().manual_seed(seed)
        actor, critic = model.policy_parameters(), model.critic_parameters()
        parts = [actor, critic, model.reader_parameters()]  # the gradient of each is clipped by itself
        groups = [{"params": part} for part in parts if part]
        self.optimiser = torch.optim.Adam(groups, config.learning_rate, eps=1e-5, fused=True)  # Huang, detail 3

    def round(self, playgrounds: Sequence[Playground], episodes: int, progress: float) -> tuple[Round, Updates]:
        """Play so many episodes in every playground and learn from them; `progress` is the share of the training before it."""
        played = play_round(self.model, playgrounds, episodes, self.config, self.generator)
        return played, optimise(self.model, self.optimiser, played.frames, self.config, progress, self.generator)


def learn(
    model: ActorCritic,
    playgrounds: Sequence[Playground],
    rounds: int,
    episodes: int,
    config: PpoConfig,
    seed: int = 0,
    on_round: Callable[[Round, Updates], None] | None = None,
) -> int:
    """Train a network in playgrounds: simulators, metered environments, or worlds that a model imagines.

    Args:
        model: is changed, and left in evaluation mode.
        playgrounds: where it plays, all of them in every round.
        rounds: rounds of play, each with updates after it.
        episodes: whole episodes a round and playground.
        config: how to learn.
        seed: of play and minibatches.
        on_round: told of every round.

    Returns:
        Optimiser steps taken.
    """
    learner, steps = PpoLearner(model, config, seed), 0
    for number in range(rounds):
        played, updates = learner.round(playgrounds, episodes, number / rounds)
        steps += updates.steps
        if on_round:
            on_round(played, updates)
    model.eval()
    return steps

"""A family's reference policies as agents: what is told, what is learned in play, what is read off logs, and the genie.

`random` scores 0 and `genie` 100. `prior` is told the average site, `belief` learns the site within the episode, `estimator`
starts from the K support episodes, `oracle` is told the site. Each family writes its own (`Family.policies`).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ..benchmark.agent import Adaptation, Agent, State, Support
from ..benchmark.family import Family, Variant
from ..errors import InvalidValueError

PRIVILEGED = ("oracle", "genie")  # are handed the environment


class ReferenceAgent(Agent):
    """Plays the policy that a family has under this name.

    Args:
        name: one of those above.
    """

    def __init__(self, name: str) -> None:
        self.name, self.privileged = name, name in PRIVILEGED
        self._policy: Agent | None = None

    def adapt(self, family: Family, variant: Variant, support: Support | None) -> Adaptation:
        """Let the policy read the logs; only `estimator` does."""
        policy: Agent = family.policies[self.name]()
        self._policy, self.message_size = policy, policy.message_size
        return policy.adapt(family, variant, support)

    def begin(self, state: State) -> None:
        """Start the policy, at zero shots where it was never adapted."""
        if self._policy is None:
            self.adapt(state.family, state.variant, None)
        self._playing.begin(state)

    def message(self, obs: Tensor, state: State) -> Tensor:
        """What the policy broadcasts."""
        return self._playing.message(obs, state)

    def act(self, obs: Tensor, inbox: Tensor, state: State) -> Tensor:
        """Actions [B, N] or [B, N, D]."""
        return self._playing.act(obs, inbox, state)

    @property
    def _playing(self) -> Agent:
        assert self._policy is not None
        return self._policy


def _build(name: str, checkpoint: str | None, device: str) -> Agent:
    if checkpoint is not None:
        raise InvalidValueError("--checkpoint", checkpoint, f"left out: agent {name!r} is a fixed rule")
    return ReferenceAgent(name)


build_random, build_prior, build_belief, build_estimator, build_oracle, build_genie = (
    partial(_build, name) for name in ("random", "prior", "belief", "estimator", "oracle", "genie")
)

"""Where on-policy learners play, and models of the world that such a place can be imagined in.

A world is registered under the entry point `wbench.worlds`, a function `(checkpoint, device) -> World`: so a learner can train
inside the model of another part or package, and neither imports the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from ..benchmark.agent import Support
from ..benchmark.data.windows import Episodes
from ..benchmark.family import Family, Info, Variant
from ..benchmark.registry import provided
from ..errors import require_known


class Playground(Protocol):
    """Episodes of one variant, stepped together: a simulator, `meter.MeteredEnvironment`, or what a `World` imagines."""

    @property
    def family(self) -> Family:
        """The family."""

    @property
    def variant(self) -> Variant:
        """What is played; an episode has `variant.horizon` slots."""

    def reset(self, episodes: int) -> tuple[Tensor, Info]:
        """Start so many new episodes.

        Returns:
            obs [B, N, O], and info with `action_mask` [B, N, A]; where the episodes start in the middle of something, also with
            `past` [S, B, N, O]: what the agents saw before, oldest first, zero where there was nothing yet; and, of a `World`,
            with `begun` [B, 2]: the recorded episode and the slot of it in which each starts.
        """

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one slot: obs [B, N, O], reward [B, N], terminated [B], truncated [B], info; see `family.Env`."""


class World(Protocol):
    """A trained model of some families, in which episodes go on from recorded ones without the environment."""

    @property
    def history(self) -> int:
        """Slots before the current one that it must be shown of a recording: `Episodes.history` at least."""

    @property
    def source_transitions(self) -> int:
        """Logged agent transitions that it was trained on."""

    @property
    def parameters(self) -> int:
        """Trained parameters."""

    @property
    def digest(self) -> str:
        """SHA-256 of its weights."""

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""

    def imagine(
        self,
        family: Family,
        recorded: Episodes,
        first: int = 0,
        support: Support | None = None,
        slots: int | None = None,
        start: int | None = None,
    ) -> Playground:
        """Episodes that start in recorded slots of one variant and go on as the model imagines.

        Args:
            family: the family.
            recorded: joint episodes of one of its variants.
            first: number of the first imagined episode; the numbers after it follow, and with the same ones all is the same.
            support: logs of the site at which they are; None = nothing is known of it.
            slots: of an imagined episode; None = as many as the model trusts itself with.
            start: slot of the recorded episodes in which all start; None = each in a random one.
        """


WorldFactory = Callable[[str | None, str], World]


def make_world(name: str, checkpoint: str | None = None, device: str = "cpu") -> World:
    """The world model of this name; raises `UnknownNameError`, or `CheckpointError` like `make_agent`."""
    found = provided("worlds")
    require_known("world", name, found, 'wbench.load_world("networld")')
    factory: WorldFactory = found[name]()  # type: ignore[assignment]
    return factory(checkpoint, device)

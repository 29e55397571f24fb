"""How NetWorld goes on learning from its own play."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Forks:
    """Where episodes are clone_rows, and for how long.

    Attributes:
        every: slots from one fork to the next.
        episodes: that are forked in such a slot, drawn at random.
        slots: played on in a fork before the value takes over.
    """

    every: int = 8
    episodes: int = 4
    slots: int = 4


@dataclass(frozen=True)
class OnlineConfig:
    """How to go on.

    Attributes:
        base: checkpoint that it starts from.
        played: families that it plays in.
        rounds: rounds of play, each with updates after it.
        updates: gradient steps a round.
        variants: train variants of each played family in a round, drawn at random.
        episodes: of each of them and temperature.
        exploring: temperatures at which it plays, by family; every one of them in every variant of a round.
        kept: rounds of a variant that are learned from, the last ones.
        rows: agent windows a step in a played family.
        reach: slots whose rewards are taken as they came before the value takes over.
        forks: where the episodes are clone_rows, to see what something else would lead to.
        deviating: agents a step that learn from these.
        rate: peak learning rate; linear warm-up over `warmup` steps, cosine decay to a twentieth.
        warmup: steps of warm-up.
        decay: weight decay.
        ema: rate of the moving average that gives targets, that plays, and that is saved.
        plan_share: share of the rows that train the denoiser.
        temperatures: of the improved policy whose value is learned, by played family, in units of a slot's team reward.
        acting: the same of the policy that is played when it is done.
        save_every: steps between resumable states.
        seed: of variants and sampling.
    """

    base: str = "networld-small"
    played: tuple[str, ...] = ("offload", "power")
    rounds: int = 12
    updates: int = 500
    variants: int = 9
    episodes: int = 8
    exploring: tuple[tuple[str, tuple[float, ...]], ...] = (("offload", (0.25, 0.5, 1.0)), ("power", (0.06, 0.2, 0.5)))
    kept: int = 4
    rows: int = 1024
    reach: int = 4
    forks: Forks = field(default_factory=Forks)
    deviating: int = 512
    rate: float = 5e-4
    warmup: int = 100
    decay: float = 1e-2
    ema: float = 0.98
    plan_share: float = 0.25
    temperatures: tuple[tuple[str, float], ...] = (("offload", 0.5), ("power", 0.2))
    acting: tuple[tuple[str, float], ...] = (("offload", 0.5), ("power", 0.06))
    save_every: int = 250
    seed: int = 0

    @property
    def steps(self) -> int:
        """Gradient steps in all."""
        return self.rounds * self.updates

"""Settings of NetWorld: what the network is, how it plans, how it trains. Frozen, JSON-able, unknown fields refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..benchmark.family import Quality
from ..errors import require
from ..learning.reading import ReaderConfig

Guidance = Literal["none", "cg", "mcss", "cg+mcss"]
MeanFieldUse = Literal["both", "world", "value", "off"]
DenoiserKind = Literal["window", "slots", "direct"]
Choice = Literal["mode", "sample", "best"]
CHOICES: tuple[Choice, ...] = ("mode", "sample", "best")
GUIDANCE: tuple[Guidance, ...] = ("none", "cg", "mcss", "cg+mcss")


@dataclass(frozen=True)
class NetWorldConfig(ReaderConfig):
    """What the network is.

    Attributes:
        families: shape of each family that it knows, by name.
        units: deviation of a slot's team reward in the source data, by family; all values are in this unit.
        values: least and greatest discounted team reward in that unit, by family; the range of the two-hot values.
        temperatures: of the improved policy pi_b(a) exp(Q / temperature) whose value is learned, by family, in the same unit.
        latent: size D of an observation's latent.
        stem: width of the family-specific stems and of the shared trunk.
        embedding: size of the scenario embedding.
        message: floats M that an agent broadcasts a slot (8 or fewer).
        history: latents seen, the current one included.
        horizon: slots H of an imagined plan.
        context: size of the context vectors that condition everything.
        width: width of the denoiser.
        blocks: residual blocks of the denoiser.
        head: width of the heads.
        bins: bins of every two-hot distribution.
        discount: discount of the value.
        transitions: logged agent transitions that it was trained on.
        evaluation_temperatures: of the policy that it plays, by family; where there is none, that of learning.
        caution: by family, how much the temperature of play rises after few shots K: by the factor 1 + caution / max(K, 1).
        crowd: by family, the team above whose size the temperature of play grows in proportion: an agent's value counts its own
            pay once for each of the team, so that a larger team would trust it more.
        aim: which recorded quality the improved policy starts from.
        mean_field: who reads the inbox: the `world` (denoiser, inverse dynamics, behaviour), the `value`, `both`, or `off`.
        shared_latents: one trunk for the observations of all families, or one for each.
        two_hot: rewards and values as two-hot distributions, or as single numbers.
        denoiser: the plan as one flattened `window`, or a token for each of its `slots` (a diffusion transformer); `direct`
            = no diffusion: the window's network predicts the mean plan at once, from no noise, the control.
        behaviour_conditioned: the value is told the quality of a recording, and does not learn from the mixed one, where a
            genie acts on what no agent sees.
        world_model: whether it has one. Without, the support encoder learns by value and policy alone, nothing is told of what
            actions pay, and nothing is planned: the control.
        slot: width of the slot model.
        outlook: size of what value and policy are told of the pay that the slot model expects of each action; 0 = nothing.
        own_rewards: least and greatest reward of an agent in a slot, by family; the range of the two-hot rewards.
        pay_units: deviation of that reward, by family.
    """

    OWNER: ClassVar[str] = "NetWorld"
    BY_FAMILY: ClassVar[tuple[str, ...]] = ("units", "values", "own_rewards", "pay_units", "temperatures")

    units: dict[str, float]
    values: dict[str, tuple[float, float]]
    own_rewards: dict[str, tuple[float, float]]
    pay_units: dict[str, float]
    temperatures: dict[str, float]
    latent: int = 64
    stem: int = 128
    embedding: int = 32
    message: int = 8
    history: int = 4
    horizon: int = 8
    context: int = 256
    width: int = 256
    blocks: int = 2
    head: int = 256
    bins: int = 65
    discount: float = 0.95
    transitions: int = 0
    evaluation_temperatures: dict[str, float] = field(default_factory=dict)
    caution: dict[str, float] = field(default_factory=dict)
    crowd: dict[str, int] = field(default_factory=dict)
    aim: Quality = "expert"
    mean_field: MeanFieldUse = "both"
    shared_latents: bool = True
    two_hot: bool = True
    denoiser: DenoiserKind = "window"
    behaviour_conditioned: bool = True
    world_model: bool = True
    slot: int = 96
    outlook: int = 32

    def evaluation_temperature(self, family: str, agents: int, shots: int = 0) -> float:
        """Temperature of the policy that so many agents play in a family, after so many logged episodes of the site."""
        usual = self.evaluation_temperatures.get(family, self.temperatures[family])
        crowded = max(1.0, agents / self.crowd.get(family, agents))
        return usual * crowded * (1.0 + self.caution.get(family, 0.0) / max(shots, 1))

    @property
    def told_pay(self) -> int:
        """Size of what value and policy are told of prospects."""
        return self.outlook if self.world_model else 0

    @property
    def outputs(self) -> int:
        """Outputs of a head that predicts a number: its bins, or the number itself."""
        return self.bins if self.two_hot else 1


@dataclass(frozen=True)
class PlannerConfig:
    """How it plans.

    Attributes:
        guidance: `none`, `cg` (the classifier's gradient steers sampling), `mcss` (several plans, select by value), both.
        scale: strength of the gradient, in latent standard deviations a unit of log-value.
        candidates: plans sampled for every agent.
        steps: DDIM steps of a fresh plan.
        replan: slots between plans; in between the old plan is followed.
        warm_start: noise level in [0, 1] from which the last plan, shifted by a slot, is refined; 1 = always from noise.
        temperature: of the policy that is played, pi_b(a) exp(Q / temperature): a multiple of the checkpoint's own.
        choice: the `mode` of the improved policy, a `sample` of it, or the `best` value among actions that it allows.
        plan: whether it plans at all; without, the behaviour head alone proposes actions.
        recovery: share of an action's log-probability that plans give by inverse dynamics; the behaviour head gives the rest.
        turns: whether agents exchange their turns by what the logs say of the site, in families that have turns.
        bfloat16: matrix products in bfloat16 where the processor has it: twice as fast there, but another processor plays other
            episodes.
    """

    guidance: Guidance = "mcss"
    scale: float = 1.0
    candidates: int = 1
    steps: int = 1
    replan: int = 1
    warm_start: float = 1.0
    temperature: float = 1.0
    choice: Choice = "mode"
    plan: bool = True
    recovery: float = 0.05
    turns: bool = True
    bfloat16: bool = False

    def __post_init__(self) -> None:
        require(self.guidance in GUIDANCE, "guidance", self.guidance, "one of " + ", ".join(GUIDANCE))
        require(self.scale >= 0, "scale", self.scale, "0 or more")
        for name in ("candidates", "steps", "replan"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 < self.warm_start <= 1, "warm_start", self.warm_start, "in (0, 1]")
        require(0 <= self.recovery <= 1, "recovery", self.recovery, "in [0, 1]")
        require(self.temperature > 0, "temperature", self.temperature, "above 0")
        require(self.choice in CHOICES, "choice", self.choice, "one of " + ", ".join(CHOICES))

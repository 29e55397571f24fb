"""A world model at one place: what somebody would earn there, imagined from a few logged episodes, without the environment.

world = wbench.load_world("networld").at("access/n8-c3-load0.15-l48", wbench.load_support("access/n8-c3-load0.15-l48", "dev:0"))
print(world.imagine("estimator", episodes=64, horizon=8))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..benchmark.acting.environment import describe
from ..benchmark.acting.logs import as_support
from ..benchmark.acting.policy import Acting, Policy, acting
from ..benchmark.adapters.arrays import batch_action
from ..benchmark.agent import Support
from ..benchmark.data.windows import Episodes
from ..benchmark.family import Family, Variant
from ..benchmark.registry import resolve
from ..errors import InvalidValueError, foreign, require
from .world import Playground, World, make_world

if TYPE_CHECKING:
    from datasets import Dataset

FOLDS = 5  # parts of the logs that are kept aside in turns
HORIZON = 8  # slots that an imagined episode has, unless told otherwise: errors add up from one to the next


def load_world(name: str = "networld", checkpoint: str | Path | None = None, *, device: str = "cpu") -> WorldModel:
    """A trained model of the world, to be asked what would follow from an action.

    Args:
        name: of the model; `networld`, or what a package registers under `wbench.worlds`.
        checkpoint: folder, Hub id or packaged name; None = the packaged one.
        device: where it computes.

    Raises:
        UnknownNameError: there is no such model.
        CheckpointError: its checkpoint is missing, damaged or of another model.
    """
    return WorldModel(name, make_world(name, None if checkpoint is None else str(checkpoint), device))


class WorldModel:
    """A world model; `at` puts it at a place.

    Args:
        name: of the model.
        world: the model.
    """

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world

    @property
    def parameters(self) -> int:
        """Trained parameters."""
        return self.world.parameters

    def knows(self, family: Family) -> bool:
        """Whether it was trained on this family."""
        return self.world.knows(family)

    def at(self, task: str | Variant, shots: Support | Dataset | str | Path, *, family: Family | None = None) -> Place:
        """The model at a site, of which it reads these logs; imagined episodes start in them.

        Args:
            task: the variant or its name.
            shots: logged episodes of the site, in any form that `Policy.adapt` takes.
            family: its family; None = the registered one.

        Raises:
            InvalidValueError: the model does not know the family, or these are no logs of the variant.
            DataError: a file of logs has a fault, which is named.
        """
        found, variant = resolve(task, family)
        require(self.knows(found), "variant", variant.name, f"of a family that {self.name} was trained on")
        if shots is None:
            raise InvalidValueError("shots", None, 'one episode or more, e.g. wbench.load_support(variant, "dev:0", shots=5)')
        return Place(self.world, found, variant, as_support(found, variant, shots))

    def __repr__(self) -> str:
        return f"WorldModel({self.name}: {self.parameters:,} parameters; {self.world.source_transitions:,} logged transitions)"


class Place:
    """A world model that has read the logs of a site: episodes of it, imagined.

    What all agents do at the same time is imagined as the recorded teams did it, so the farther a policy goes from the logged
    ones, the less its imagined pay means.

    Args:
        world: the model.
        family: the family.
        variant: its variant.
        support: the logs.
    """

    def __init__(self, world: World, family: Family, variant: Variant, support: Support) -> None:
        self.family, self.variant, self.support, self._world = family, variant, support, world

    def environment(self, horizon: int = HORIZON, start: int | None = None, first: int = 0) -> Playground:
        """The world model as an environment: `obs, info = env.reset(episodes)`, then `env.step(action)` as of `wbench.make`.

        Args:
            horizon: slots of an episode.
            start: slot of the logged episodes in which all start; None = each in a random one.
            first: number of the first episode; with the same numbers all is the same.

        Raises:
            InvalidValueError: of an argument.
        """
        require(isinstance(horizon, int) and horizon >= 1, "horizon", horizon, "a whole number, 1 or more")
        require(start is None or isinstance(start, int), "start", start, "a whole number, or None")
        history = max(self._world.history, start or 0)
        recorded = Episodes.from_support(self.variant, self.support, history, 0)
        return self._world.imagine(self.family, recorded, first, self.support, horizon, start)

    @torch.no_grad()
    def imagine(
        self, policy: Acting, episodes: int = 32, horizon: int = HORIZON, *, start: int = 0, first: int = 0
    ) -> Imagined:
        """What a policy would do and earn here, imagined.

        Args:
            policy: a `Policy` that was adapted to the variant; an agent, its name or FILE.py, which reads the same logs first;
                or a function of obs [B, N, O] and info that gives actions.
            episodes: how many, B; each goes on from one of the logged ones, at random.
            horizon: slots H of each.
            start: slot in which they start. A policy first watches the logged slots before it, without acting.
            first: number of the first episode; with the same numbers all is the same.

        Raises:
            InvalidValueError: of an argument, or of what the policy does.
        """
        for name, number, least in (("episodes", episodes, 1), ("start", start, 0), ("first", first, 0)):
            require(isinstance(number, int) and number >= least, name, number, f"a whole number, {least} or more")
        last = self.variant.horizon - start
        require(isinstance(horizon, int) and 1 <= horizon <= last, "horizon", horizon, f"in [1, {last}] from slot {start} on")
        env = self.environment(horizon, start, first)
        obs, info = env.reset(episodes)
        act = self._actor(policy, range(first, first + episodes), info["past"], start)
        slots: list[tuple[Tensor, ...]] = []
        seen = [obs]
        for _ in range(horizon):
            action, allowed = batch_action(self.family, act(obs, info)), info["action_mask"]
            obs, reward, _, _, info = env.step(action)
            seen.append(obs)
            slots.append((action, reward, allowed))
        columns = (torch.stack(tuple(column), dim=1) for column in (seen, *zip(*slots, strict=True)))
        return Imagined(self.variant, start, *columns)

    @torch.no_grad()
    def fidelity(self, draws: int = 160) -> Fidelity:
        """How true the model is here: what it expects of each log when it has read the others, and when it has read none.

        Args:
            draws: random slots of the logs that are looked at, all agents in each.

        Raises:
            InvalidValueError: there is one log alone, so that there are no others to read.
        """
        shots = self.support.shots
        require(shots >= 2, "shots", shots, "2 or more: each is judged by what the others told")
        folds = min(shots, FOLDS)
        require(isinstance(draws, int) and draws >= folds, "draws", draws, f"a whole number, {folds} or more")
        found: list[list[Tensor]] = []
        for fold in range(folds):
            held = self.support.choose(range(fold, shots, folds))
            others = self.support.choose([k for k in range(shots) if k % folds != fold])
            found.append([x for read in (others, None) for x in self._compared(held, read, draws // folds)])
        pay, pay_true, obs, obs_true, unread, unread_true, _, _ = (torch.cat(part) for part in zip(*found, strict=True))
        shares = [_explained(*pair) for pair in ((pay, pay_true), (unread, unread_true), (obs, obs_true))]
        return Fidelity(shots, draws, *shares)

    def _compared(self, held: Support, read: Support | None, draws: int) -> list[Tensor]:
        """Pay [B, N] and next observations [B, N, O] in random slots of logs, each as imagined and as logged."""
        env = self._world.imagine(
            self.family, Episodes.from_support(self.variant, held, self._world.history, 1), 0, read, slots=1
        )
        _, info = env.reset(draws)
        episode, slot = info["begun"].cpu().unbind(1)
        obs, pay, *_ = env.step(held.action[episode, slot])
        return [pay.cpu(), held.reward[episode, slot], obs.cpu(), held.obs[episode, slot + 1]]

    def _actor(self, policy: Acting, numbers: range, past: Tensor, start: int) -> Callable[[Tensor, Any], Any]:
        """What acts in a slot: a policy that has watched the slots before `start` in `past` [S, B, N, O]."""
        found = acting(policy, self.family, self.variant, self.support)
        if not isinstance(found, Policy):
            return found
        policy, name = found, found.agent.name
        require(not policy.agent.privileged, "policy", name, "one that is told no site: none is imagined")
        policy.reset(seeds=numbers)
        for obs in past[len(past) - start :]:
            policy.act(obs)

        def act(obs: Tensor, info: Any) -> Any:
            """Decoded numbers are close to real ones, not equal, and some rules cannot read them."""
            try:
                return policy.act(obs, info)
            except (IndexError, ArithmeticError) as error:  # of rules that count what they see
                allowed = "a learner, or a rule that takes numbers which are close to real ones"
                said = f"{name} cannot read imagined observations ({foreign(error)})"
                raise InvalidValueError("policy", said, allowed) from error

        return act

    def __repr__(self) -> str:
        logs = f"read {self.support.shots} logged episodes"
        return f"Place({describe(self.family, self.variant)}; {logs})"


def _explained(ours: Tensor, theirs: Tensor) -> float:
    """Share of the variance of numbers that others like them explain, at most 1; below 0, their mean would do better."""
    spread = (theirs - theirs.flatten(0, 1).mean(0)).square().sum().clamp(min=1e-12)
    return round(1.0 - float((ours - theirs).square().sum() / spread), 3)


@dataclass(frozen=True)
class Fidelity:
    """How true a world model is of the logs of a place; see `Place.fidelity`.

    Attributes:
        shots: logs of the place; each is judged by what the others told.
        draws: random slots of them.
        pay: share of the variance of agents' pay that it explains; 1 would be all, and noise is in it that nothing explains.
        pay_unread: the same when it has read none: the difference is what they told.
        obs: the same share of the next observations, of which one is drawn where many may follow.
    """

    shots: int
    draws: int
    pay: float
    pay_unread: float
    obs: float


@dataclass(frozen=True, repr=False)
class Imagined:
    """B imagined episodes of H slots.

    Attributes:
        variant: what was played.
        start: slot of the logged episodes that they go on from.
        obs: [B, H + 1, N, O] float32, the first as it was logged.
        action: [B, H, N] or [B, H, N, D].
        reward: [B, H, N] float32, the pay that the model expects.
        action_mask: [B, H, N, A] bool.
    """

    variant: Variant
    start: int
    obs: Tensor
    action: Tensor
    reward: Tensor
    action_mask: Tensor

    @property
    def returns(self) -> Tensor:
        """Sum of the team reward of each episode, [B]."""
        return self.reward.sum((1, 2))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(getattr(self, name).shape)}" for name in ("obs", "action", "reward"))
        pay = float(self.reward.sum(2).mean())
        return f"Imagined({self.variant.name} from slot {self.start}: {shapes}; mean pay of the team {pay:.4g} a slot)"

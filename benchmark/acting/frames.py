"""Frames that show what happens in an episode, for people: who sends and who collides, powers, queues, what was earned.

A frame may show what no agent sees, such as incumbents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ...errors import InvalidValueError
from ..family import Family, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 32  # slots that a frame looks back
SIZE, DPI = (8.0, 5.0), 80  # inches; a frame has 640 x 400 pixels
MODES = ("rgb_array", "human")
FPS = 4
GREY, GREEN, RED, BLUE = "0.75", "tab:green", "tab:red", "tab:blue"


def check_mode(mode: str | None) -> str | None:
    """The render mode, if there is such a one; raises `InvalidValueError`."""
    if mode not in (None, *MODES):
        raise InvalidValueError("render_mode", mode, " or ".join(MODES))
    return mode


class Film:
    """The first episode of a batch, slot by slot.

    Args:
        family: the family.
        variant: its variant.
        simulator: its environment, whose state is shown.
    """

    def __init__(self, family: Family, variant: Variant, simulator: Any) -> None:
        self._family, self._variant, self._simulator = family, variant, simulator
        self._choice: list[np.ndarray] = []
        self._delivered: list[np.ndarray] = []
        self._return = [0.0]
        self._window: Any = None

    def begin(self) -> None:
        """A new episode."""
        self._choice, self._delivered, self._return = [], [], [0.0]

    def add(self, action: Tensor, reward: Tensor, delivered: Tensor) -> None:
        """A slot that was played: action [B, N] or [B, N, D], reward [B, N], delivered [B, N]."""
        own = action[0].float()
        self._choice.append((own if own.dim() == 1 else own[:, 0]).cpu().numpy())
        self._delivered.append(delivered[0].cpu().numpy())
        self._return.append(self._return[-1] + float(reward[0].sum()))

    def frame(self) -> np.ndarray:
        """What it looks like now, [height, width, 3] uint8."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(SIZE, dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
        scene, queues, earned = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        figure.suptitle(f"{self._variant.name}, slot {len(self._choice)} of {self._variant.horizon}", fontsize=10)
        _SCENES.get(self._family.name, Film._plain)(self, scene)
        self._queues(queues)
        earned.plot(self._return, color=BLUE)
        earned.set(xlim=(0, self._variant.horizon), title="return of the team", xlabel="slot")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def show(self) -> None:
        """Show it in a window; raises `InvalidValueError` where there is no display."""
        frame = self.frame()
        import matplotlib
        import matplotlib.pyplot as plt

        if matplotlib.get_backend().lower() == "agg":
            raise InvalidValueError("render_mode", "human", "rgb_array here: matplotlib finds no display")
        if self._window is None:
            axes = plt.figure(figsize=SIZE).add_axes((0.0, 0.0, 1.0, 1.0))
            axes.set_axis_off()
            self._window = axes.imshow(frame)
        self._window.set_data(frame)
        plt.pause(1.0 / FPS)

    def _slots(self) -> range:
        return range(max(0, len(self._choice) - SHOWN), len(self._choice))

    def _queues(self, axes: Axes) -> None:
        """What waits at every agent."""
        found = _waiting(self._family, self._simulator)
        name, waits = found or ("delivered in the last slot", self._delivered[-1] if self._delivered else np.zeros(0))
        axes.bar(range(len(waits)), waits, color=BLUE)
        axes.set(title=f"{name} of every agent", xlabel="agent")

    def _access(self, axes: Axes) -> None:
        """Channels over slots: senders by number, green where heard, red where lost; grey where an incumbent sends."""
        busy = self._simulator.coins()[0][0].cpu().numpy()
        for slot in self._slots():
            choice, heard = self._choice[slot], self._delivered[slot] > 0
            for channel in range(busy.shape[1]):
                senders = np.flatnonzero(choice == channel + 1)
                colour = GREEN if heard[senders].any() else RED if len(senders) else GREY if busy[slot, channel] else "white"
                axes.add_patch(_cell(slot, channel, colour))
                axes.text(slot, channel, ",".join(map(str, senders)), ha="center", va="center", fontsize=6)
        self._over_slots(axes, "channel", busy.shape[1])
        axes.set_title("who sends: green heard, red lost, grey an incumbent", fontsize=9)

    def _power(self, axes: Axes) -> None:
        """Who disturbs whom, in dB over the noise; the dot of a transmitter grows with its power."""
        gains = 10.0 * np.log10(np.maximum(self._simulator.links[0].cpu().numpy(), 1e-3))
        axes.imshow(gains, cmap="Greys", aspect="auto", vmin=-10.0, vmax=50.0)
        power = self._choice[-1] if self._choice else np.zeros(len(gains))
        served = self._delivered[-1] > 0 if self._delivered else power > 0
        axes.scatter(range(len(gains)), range(len(gains)), s=4 + 60 * power, c=np.where(served, GREEN, RED))
        axes.set(xlabel="transmitter", ylabel="receiver")
        axes.set_title("gain (dark: strong); dots: amplitude, green where bits arrive", fontsize=9)

    def _offload(self, axes: Axes) -> None:
        """Devices over slots by the server of their task; and the work that waits at each edge."""
        if self._choice:
            shown = np.stack([self._choice[slot] for slot in self._slots()], axis=1)
            axes.imshow(shown, cmap="tab10", vmin=0, vmax=9, aspect="auto", extent=self._extent(len(shown)))
        work = self._simulator.queues()[1][:, 0].sum(-1).cpu().numpy()
        waits = ", ".join(f"edge {k + 1}: {each:.1f}" for k, each in enumerate(work))
        axes.set(ylabel="device", xlabel="slot")
        axes.set_title(f"server chosen (colour; blue: local). Gcycle that wait: {waits}", fontsize=9)

    def _handover(self, axes: Axes) -> None:
        """The streets, the stations, and the users in the colours of the stations that serve them."""
        from ..families.handover.picture import draw_place, draw_users

        env = self._simulator
        draw_place(axes, env.places[0])
        draw_users(axes, env.where[len(self._choice) + 1, 0].cpu().numpy(), env.serving[0].cpu().numpy())
        axes.set_title("level of the best station (dark: strong); users in the colours of their stations", fontsize=9)

    def _plain(self, axes: Axes) -> None:
        """Actions of the agents over slots."""
        if self._choice:
            shown = np.stack([self._choice[slot] for slot in self._slots()], axis=1)
            axes.imshow(shown, aspect="auto", extent=self._extent(len(shown)))
        axes.set(ylabel="agent", xlabel="slot")
        axes.set_title(f"action: {self._family.actions[0].name}", fontsize=9)

    def _extent(self, rows: int) -> tuple[float, float, float, float]:
        slots = self._slots()
        return slots.start - 0.5, slots.stop - 0.5, rows - 0.5, -0.5

    def _over_slots(self, axes: Axes, what: str, rows: int) -> None:
        first = self._slots().start
        axes.set(xlim=(first - 0.5, first + SHOWN - 0.5), ylim=(rows - 0.5, -0.5), ylabel=what, xlabel="slot")


_SCENES: dict[str, Callable[[Film, Any], None]] = {
    "access": Film._access,
    "power": Film._power,
    "offload": Film._offload,
    "handover": Film._handover,
}


def _cell(column: int, row: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1.0, 1.0, facecolor=colour, edgecolor="white", alpha=0.6)


def _waiting(family: Family, simulator: Any) -> tuple[str, np.ndarray] | None:
    """What waits at each agent of the first episode, and what it is called; None in a family that is not ours."""
    if family.name == "access":
        return "packets in the queue", simulator.queues()[0][0].cpu().numpy()
    if family.name == "power":
        return "backlog in slots of arrivals", (simulator.backlog / simulator.need)[0].cpu().numpy()
    if family.name == "offload":
        return "Gcycle in edges and on the way", simulator.queues()[1][:, 0].sum(0).cpu().numpy()
    return None

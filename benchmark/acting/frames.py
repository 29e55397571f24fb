"""Frames that show what happens in an episode, for people: what the family draws, what waits, and what was earned.

A frame may show what no agent sees, such as incumbents. A family brings its own drawing, see `Family.scene`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ...errors import require
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
    require(mode in (None, *MODES), "render_mode", mode, " or ".join(MODES))
    return mode


class Film:
    """The first episode of a batch, slot by slot.

    Args:
        family: the family.
        variant: its variant.
        simulator: its environment, whose state is shown.

    Attributes:
        choices: first component of what every agent did, [N], slot by slot.
        delivered: what every agent delivered, [N], slot by slot.
    """

    def __init__(self, family: Family, variant: Variant, simulator: Any) -> None:
        self.family, self.variant, self.simulator = family, variant, simulator
        self._window: Any = None
        self.begin()

    def begin(self) -> None:
        """A new episode."""
        self.choices: list[np.ndarray] = []
        self.delivered: list[np.ndarray] = []
        self._return = [0.0]

    def add(self, action: Tensor, reward: Tensor, delivered: Tensor) -> None:
        """A slot that was played: action [B, N] or [B, N, D], reward [B, N], delivered [B, N]."""
        own = action[0].float()
        self.choices.append((own if own.dim() == 1 else own[:, 0]).cpu().numpy())
        self.delivered.append(delivered[0].cpu().numpy())
        self._return.append(self._return[-1] + float(reward[0].sum()))

    def frame(self) -> np.ndarray:
        """What it looks like now, [height, width, 3] uint8."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(SIZE, dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
        scene, queues, earned = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        figure.suptitle(f"{self.variant.name}, slot {len(self.choices)} of {self.variant.horizon}", fontsize=10)
        name, waits = (self.family.scene or _plain)(self, scene)
        queues.bar(range(len(waits)), waits, color=BLUE)
        queues.set(title=f"{name} of every agent", xlabel="agent")
        earned.plot(self._return, color=BLUE)
        earned.set(xlim=(0, self.variant.horizon), title="return of the team", xlabel="slot")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def show(self) -> None:
        """Show it in a window; raises `InvalidValueError` where there is no display."""
        frame = self.frame()
        import matplotlib
        import matplotlib.pyplot as plt

        window = matplotlib.get_backend().lower() != "agg"
        require(window, "render_mode", "human", "rgb_array here: matplotlib finds no display")
        if self._window is None:
            axes = plt.figure(figsize=SIZE).add_axes((0.0, 0.0, 1.0, 1.0))
            axes.set_axis_off()
            self._window = axes.imshow(frame)
        self._window.set_data(frame)
        plt.pause(1.0 / FPS)

    @property
    def slots(self) -> range:
        """The slots that a frame looks back."""
        return range(max(0, len(self.choices) - SHOWN), len(self.choices))

    def show_choices(self, axes: Axes, **colours: Any) -> None:
        """Draw agents over slots, in the colour of what each did."""
        if self.choices:
            shown = np.stack([self.choices[slot] for slot in self.slots], axis=1)
            edges = self.slots.start - 0.5, self.slots.stop - 0.5, len(shown) - 0.5, -0.5
            axes.imshow(shown, aspect="auto", extent=edges, **colours)

    def last_delivered(self) -> tuple[str, np.ndarray]:
        """What every agent delivered in the last slot, [N], and what that is called."""
        return "delivered in the last slot", self.delivered[-1] if self.delivered else np.zeros(0)


def _plain(film: Film, axes: Axes) -> tuple[str, np.ndarray]:
    """Actions of the agents over slots."""
    film.show_choices(axes)
    axes.set(ylabel="agent", xlabel="slot")
    axes.set_title(f"action: {film.family.actions[0].name}", fontsize=9)
    return film.last_delivered()

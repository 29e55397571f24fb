"""What happens in an `access` episode, drawn for a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...acting.frames import GREEN, GREY, RED, SHOWN, Film

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scene(film: Film, axes: Axes) -> tuple[str, np.ndarray]:
    """Channels over slots: senders by number, green where heard, red where lost; grey where an incumbent sends."""
    from matplotlib.patches import Rectangle

    busy, first = film.simulator.coins()[0][0].cpu().numpy(), film.slots.start
    for slot in film.slots:
        choice, heard = film.choices[slot], film.delivered[slot] > 0
        for channel in range(busy.shape[1]):
            senders = np.flatnonzero(choice == channel + 1)
            colour = GREEN if heard[senders].any() else RED if len(senders) else GREY if busy[slot, channel] else "white"
            cell = Rectangle((slot - 0.5, channel - 0.5), 1.0, 1.0, facecolor=colour, edgecolor="white", alpha=0.6)
            axes.add_patch(cell)
            axes.text(slot, channel, ",".join(map(str, senders)), ha="center", va="center", fontsize=6)
    axes.set(xlim=(first - 0.5, first + SHOWN - 0.5), ylim=(busy.shape[1] - 0.5, -0.5), ylabel="channel", xlabel="slot")
    axes.set_title("who sends: green heard, red lost, grey an incumbent", fontsize=9)
    return "packets in the queue", film.simulator.queues()[0][0].cpu().numpy()

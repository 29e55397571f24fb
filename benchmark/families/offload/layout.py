"""Where each quantity stands in an `offload` observation, for the environment that writes it and the policies that read it."""

from __future__ import annotations

from ..layout import PHASE, Named

SLOT = 0.1  # seconds
LOCAL_SPEED = 2.6  # GHz, a device's CPU at full clock
MAX_EDGES = 4  # observations and actions of fewer edges are padded to this
MIN_SIZE, MAX_SIZE = 1.0, 7.0  # Mbit of a task, uniform; shown as a fraction of the greatest
MIN_DENSITY, MAX_DENSITY = 0.2, 0.4  # Gcycle per Mbit, uniform; shown as a fraction of the greatest
MEAN_SIZE, MEAN_WORK = 4.0, 1.2  # Mbit and Gcycle of a task; the two draws are independent

LAYOUT = {  # floats of each part, and what they are
    "task": (3, f"a task waits for a decision; its size / {MAX_SIZE:g} Mbit; its density / {MAX_DENSITY} Gcycle per Mbit"),
    "local": (1, "own local backlog: log(1 + slots at full clock)"),
    "sending": (MAX_EDGES, "own Mbit to be sent to each edge: log(1 + tasks of mean size)"),
    "pending": (MAX_EDGES, "own work that is at each edge: log(1 + tasks of mean work)"),
    "channel": (MAX_EDGES, "own spectral efficiency to each edge now, as a multiple of that at 9 dB"),
    "exists": (MAX_EDGES, "whether the edge exists"),
    "sent": (MAX_EDGES, f"own Mbit sent to each edge in the last slot / {MEAN_SIZE:g} Mbit"),
    "served": (MAX_EDGES, f"own work done by each edge in the last slot / {MEAN_WORK} Gcycle"),
    "delay": (MAX_EDGES, "mean delay / deadline of own tasks that each edge completed in the last slot, 0 where none"),
    "alive": (2, "own tasks alive / deadline; age of the oldest / deadline"),
    "outcome": (3, "completed any, dropped one in the last slot; delay of the last completed task / deadline"),
    "server": (1 + MAX_EDGES, "server chosen in the last slot, one-hot; 0 where no task waited, none before the first slot"),
    "frequency": (1, "local clock chosen in the last slot, a share of the greatest"),
    "phase": PHASE,
    "index": (1, "own index / N"),
}


class View(Named, layout=LAYOUT):
    """Named views into observations [..., O]."""

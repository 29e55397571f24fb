"""The control of the admission: an estimator that is shown the site, and reads logs besides; they should tell it nothing."""

from __future__ import annotations

from typing import cast

import torch

from ...agent import State
from ..revealed import CERTAINTY
from .env import CHARGE
from .evidence import BUSY, HIT, Evidence
from .policies import Estimator, true_tables
from .variant import AccessVariant


class RevealedEstimator(Estimator):
    """The truth counts as `CERTAINTY` episodes, the K that it reads as K."""

    privileged = True

    def __init__(self) -> None:
        super().__init__("revealed")

    def _known(self, state: State) -> Evidence:
        """What the logs say beside the truth, episode by episode."""
        table, site = true_tables(state)
        read, variant = super()._known(state), cast(AccessVariant, state.variant)
        busy, hit = (x.view(-1, *x.shape[-3:]) for x in (read.busy, read.hit))
        log = torch.arange(state.batch) * len(busy) // state.batch
        seen = CERTAINTY * variant.horizon / variant.superframe
        site = site.cpu()
        p_busy, p_hit = (x.cpu().double()[site] for x in (table.busy, table.charge / CHARGE))
        return Evidence(
            busy[log] + BUSY.likelihood(seen * p_busy, seen * (1.0 - p_busy)),
            hit[log] + HIT.likelihood(seen * p_hit, seen * (1.0 - p_hit)),
        )

"""The control of the admission: an estimator that is shown the site, and reads logs besides; they should tell it nothing."""

from __future__ import annotations

from typing import cast

from ...agent import State
from ..reader import part
from ..revealed import CERTAINTY
from .env import CHARGE
from .evidence import BUSY, HIT, Evidence
from .policies import Estimator, true_tables
from .variant import AccessVariant


class RevealedEstimator(Estimator):
    """The truth counts as `CERTAINTY` episodes, the K that it reads as K."""

    name = "revealed"
    privileged = True

    def _known(self, state: State) -> Evidence:
        """What the logs say beside the truth, episode by episode."""
        table, site = true_tables(state)
        read, variant = super()._known(state), cast(AccessVariant, state.variant)
        log = part(state, len(read.busy)).cpu()
        seen = CERTAINTY * variant.horizon / variant.superframe
        site = site.cpu()
        p_busy, p_hit = (x.cpu().double()[site] for x in (table.busy, table.charge / CHARGE))
        return Evidence(
            read.busy[log] + BUSY.likelihood(seen * p_busy, seen * (1.0 - p_busy)),
            read.hit[log] + HIT.likelihood(seen * p_hit, seen * (1.0 - p_hit)),
        )

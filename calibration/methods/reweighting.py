"""What there is to say of draws that were weighted with new data, and not drawn anew."""

from __future__ import annotations

import dataclasses

from calibration.methods.method import Method


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reweighting(Method):
    """The words and checks of an assimilation by weights; it draws nothing."""

    name = "weights"
    description = (
        "draws of the fit before, weighted by the likelihood of the new data "
        "(Pareto-smoothed importance sampling) and resampled to equal weight"
    )

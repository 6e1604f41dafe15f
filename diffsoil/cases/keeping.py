"""The inverse run: which constant carbon input keeps a measured stock."""

from __future__ import annotations

import numpy as np
import pandas as pd

from diffsoil.cases.arrays import mean_years, measured_start
from diffsoil.cases.case import Case
from diffsoil.cases.kinds import at_site
from diffsoil.cases.measured import first_plant_carbon, no_balance, why_unmet
from diffsoil.io import InputError


def keeping(case: Case) -> pd.DataFrame:
    """Plant carbon that keeps the measured stock of each site.

    A row for each site, under the first phase of its history, and for each treatment, under the
    mean year of the experiment: land use, manure and weather go on like that for ever. Columns:
    ``of``, ``under``, ``stock`` (t C/ha) down to ``lower_cm``, ``manure`` and ``plants`` (t C/ha in
    a year, as the case has them; NaN where left out), ``needed`` (plants that keep the stock; NaN
    where none do) and ``why`` none do.

    Raises:
        InputError: a whole soil, pools that are not linear, or a soil without any measured carbon.
    """
    if reason := no_balance(case.file):
        raise InputError(f"{case.path}: --keep-stock {reason}")
    plan, plants = mean_years(case)
    assert plan.measured is not None
    stocks = np.asarray(plan.measured.stock)
    for site, stock in zip(plan.sites, stocks, strict=True):
        if stock <= 0:
            raise InputError(
                f"{case.path}: measured.stock_t_ha: is missing, and the soil of site {site!r} has "
                f"no carbon down to {case.file.measured.lower_cm:g} cm"
            )
    found = measured_start(case.column(), plan)
    given = plan.history[0].constant
    unmet = why_unmet(plan.members, plan.measured, found)
    why = [unmet.get(member, "") for member in plan.members]
    needed = np.where(np.array(why) == "", first_plant_carbon(found.phase), np.nan)
    count = len(case.sites)
    first = [at_site(case.file.history[0].land_use, site) for site in case.sites]
    for place, use in enumerate(case.file.land_use[name] for name in first):
        if use.npp is None and use.plant_carbon_t_ha is None:
            plants[place] = np.nan  # a unit stood for it
    return pd.DataFrame(
        {
            "of": plan.members,
            "under": [*first, *["its experiment"] * (len(plan.members) - count)],
            "lower_cm": case.file.measured.lower_cm,
            "stock": stocks,
            "manure": np.asarray(given["manure_input"]),
            "plants": plants,
            "needed": needed,
            "why": why,
        }
    )

"""What the model would have measured at each row of a table of observations."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from calibration.quantities import QUANTITIES, Sample, kinds, predicted
from diffsoil.cases import Case
from diffsoil.cases.arrays import Plan
from diffsoil.column import Column
from diffsoil.forward import GEOMETRY, Run
from diffsoil.io import InputError
from diffsoil.process import Environment
from diffsoil.processes.carbon import CarbonModel
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.time import Record
from diffsoil.units import CM_PER_M


class Operator(eqx.Module):
    """What the model would have measured at each row of an observation table.

    Where the case prescribes the soil, ``weights`` and ``mineral_mass`` are known; where it
    develops they follow from what is recorded, and ``upper``, ``lower`` (m) say where.
    ``variable`` is the place of each row in ``kinds`` (:func:`calibration.quantities.kind`).
    """

    member: Int[Array, " obs"]
    year: Int[Array, " obs"]
    weights: Float[Array, "obs layer"]
    mineral_mass: Float[Array, "obs layer"]
    sampled_mass: Float[Array, " obs"]
    by_mass: Bool[Array, " obs"]
    variable: Int[Array, " obs"]
    needs_radiocarbon: bool = eqx.field(static=True)
    month: Int[Array, " obs"] | None = None
    upper: Float[Array, " obs"] | None = None
    lower: Float[Array, " obs"] | None = None
    thickness: Float[Array, "obs layer"] | None = None
    kinds: tuple[str, ...] = eqx.field(static=True, default=("soc_stock", "soc_percent"))

    def __call__(
        self, record: Environment, carbon: CarbonModel | None = None
    ) -> Float[Array, " obs"]:
        """Predicted values without measurement error.

        Args:
            record: ``soc`` (and what else is needed) by member, year and layer, Mg/ha.
            carbon: the process of the column, for respired 14C.
        """

        def at(name: str) -> Array:
            if name not in record:  # a prescribed soil has no exchange capacity: mass stands for it
                return jnp.ones_like(soc)
            return record[name][self.member, self.year]

        soc = at("soc") if "soc" in record else jnp.zeros(())
        develops = "depth_top" in record
        mineral = at("mineral_mass") if develops else self.mineral_mass
        thickness = at("thickness") if develops else self.thickness
        mass = mineral + ORGANIC_MATTER_IN_CARBON * soc
        above = jnp.cumsum(mass, axis=1) - mass
        sampled = jnp.clip((self.sampled_mass[:, None] - above) / mass, 0.0, 1.0)
        weights = self._overlap(at("depth_top"), thickness) if develops else self.weights
        month = self.month if self.month is not None else jnp.full(self.year.shape, -1)
        sample = Sample(
            share=jnp.where(self.by_mass[:, None], sampled, weights),
            soc=soc,
            mass=mass,
            mineral_mass=mineral,
            thickness=thickness,
            month=month,
            at=at,
            carbon=carbon,
        )
        result = jnp.zeros_like(self.sampled_mass)
        for number, kind in enumerate(self.kinds):
            result = jnp.where(self.variable == number, predicted(kind, sample), result)
        return result

    def _overlap(self, top: Array, thickness: Array | None) -> Array:
        assert self.upper is not None
        assert self.lower is not None
        assert thickness is not None
        bottom = jnp.minimum(top + thickness, self.lower[:, None])
        inside = bottom - jnp.maximum(top, self.upper[:, None])
        return jnp.clip(inside / thickness, 0.0, 1.0)


def operator(
    table: pd.DataFrame,
    case: Case,
    plan: Plan,
    first_year: int,
) -> Operator:
    """Build the operator of a table.

    Args:
        table: from :func:`calibration.observations.read`.
        case: whether its whole soil develops.
        plan: prepared, with all of :data:`LAYERS` where the case prescribes them.
        first_year: calendar year that the records begin with.
    """
    geometry = {} if case.whole_soil else _geometry(plan, first_year)
    member = table["member"].to_numpy(int)
    year = table["year"].to_numpy(int) - first_year
    mass = table["soil_mass_Mg_ha"].to_numpy(float)
    equivalent = (table["basis"] == "equivalent_mass").to_numpy()
    by_mass = np.isfinite(mass) & (True if not geometry else ~equivalent)
    variables = [name for name in QUANTITIES if (table["variable"] == name).any()]
    dated = any("radiocarbon" in n for v in variables for n in QUANTITIES[v].yearly)
    if dated and not plan.radiocarbon:
        named = next(v for v in variables if QUANTITIES[v].yearly)
        raise InputError(
            f"{case.path}: radiocarbon_atmosphere: needed, for {named} is among the observations"
        )
    fields: dict[str, np.ndarray] = {
        "weights": np.zeros((len(table), plan.layers)),
        "mineral_mass": np.zeros((len(table), plan.layers)),
    }
    if geometry:
        fields = _placed(table, {name: value[member, year] for name, value in geometry.items()})
    month = table["month"].fillna(0).to_numpy(int) - 1
    of_rows = kinds(table)
    different = tuple(dict.fromkeys(of_rows))
    return Operator(
        member=jnp.asarray(member),
        year=jnp.asarray(year),
        sampled_mass=jnp.asarray(np.nan_to_num(mass, nan=1.0)),
        by_mass=jnp.asarray(by_mass),
        variable=jnp.asarray(np.array([different.index(kind) for kind in of_rows])),
        needs_radiocarbon=dated,
        month=jnp.asarray(month),
        upper=jnp.asarray(table["upper_cm"].to_numpy(float) / CM_PER_M),
        lower=jnp.asarray(table["lower_cm"].to_numpy(float) / CM_PER_M),
        kinds=different,
        **{name: jnp.asarray(value) for name, value in fields.items()},
    )


def _placed(table: pd.DataFrame, chosen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Where each observation lies in layers whose geometry the case prescribes."""
    top = chosen["depth_top"] * CM_PER_M
    bottom = top + chosen["thickness"] * CM_PER_M
    upper = table["upper_cm"].to_numpy(float)[:, None]
    lower = table["lower_cm"].to_numpy(float)[:, None]
    weights = np.clip((np.minimum(bottom, lower) - np.maximum(top, upper)) / (bottom - top), 0, 1)
    mass = table["soil_mass_Mg_ha"].to_numpy(float)
    equivalent = (table["basis"] == "equivalent_mass").to_numpy()
    above = np.cumsum(chosen["soil_mass"], axis=1) - chosen["soil_mass"]
    by_reference = np.clip((mass[:, None] - above) / chosen["soil_mass"], 0, 1)
    short = np.isfinite(mass) & (mass > chosen["soil_mass"].sum(axis=1))
    if short.any():
        row = table.iloc[int(np.argmax(short))]
        raise InputError(
            f"{row['file']}: line {row['line']}, column 'soil_mass_Mg_ha': "
            f"{row['soil_mass_Mg_ha']:g} Mg/ha is more than the whole column weighs"
        )
    return {
        "weights": np.where(equivalent[:, None], by_reference, weights),
        "mineral_mass": chosen["mineral_mass"],
        "thickness": chosen["thickness"],
    }


LAYERS = ("thickness", "depth_top", "mineral_mass", "soil_mass")
"""What has to be known of the layers of a prescribed soil."""


def _geometry(plan: Plan, first_year: int) -> dict[str, Float[np.ndarray, "member year layer"]]:
    """Where the layers of a prescribed soil lie, and their masses."""
    nothing = Run(plan, [{} for _ in plan.history], {})
    return {name: np.asarray(nothing.by_year(name, first_year)) for name in LAYERS}


def first_observed(table: pd.DataFrame, plan: Plan) -> int:
    """First calendar year of the phase that the earliest observation lies in."""
    earliest = int(table["year"].min())
    return max((start for start in plan.starts if start <= earliest), default=plan.start_year)


def recorded(table: pd.DataFrame, column: Column, plan: Plan, case: Case) -> Record:
    """What has to be recorded to predict a table."""
    chosen = [QUANTITIES[v] for v in dict.fromkeys(table["variable"])]
    yearly = dict.fromkeys(("soc", *(name for q in chosen for name in q.yearly)))
    steps = dict.fromkeys(name for q in chosen for name in q.steps)
    if case.whole_soil:
        steps |= dict.fromkeys((*GEOMETRY, "mineral_mass"))
    known = {name for process in column.processes for name in process.provides}
    for phase in plan.phases:
        known |= {*phase.constant, *phase.series}
    for variable in dict.fromkeys(table["variable"]):
        own = QUANTITIES[variable].steps
        if own and own[0] not in known:
            row = table[table["variable"] == variable].iloc[0]
            raise InputError(
                f"{row['file']}: line {row['line']}, column 'variable': the column of the case "
                f'does not compute {variable}; it needs column = "whole_soil"'
            )
    return Record(yearly=tuple(yearly), steps=tuple(n for n in steps if n in known))


def refuse_unmoved(table: pd.DataFrame, given: Plan, ready: Plan, first_year: int) -> None:
    """Refuse to fit what no free parameter can change; kept out, it is compared as it is.

    Args:
        table: the observations.
        given: the plan of the case.
        ready: the same with all computed ahead that no free parameter changes.
        first_year: of the first phase with observations.

    Raises:
        InputError: a row that is fitted, and known already.
    """
    pairs = zip(ready.phases, ready.starts, strict=True)
    observed = [phase for phase, start in pairs if start >= first_year]
    for _, row in table[table["fitted"]].iterrows():
        quantity = QUANTITIES[row["variable"]]
        if not quantity.steps or quantity.yearly:
            continue
        name = quantity.steps[0]
        if all(name in phase.constant or name in phase.series for phase in observed):
            prescribed = any(name in {**phase.constant, **phase.series} for phase in given.phases)
            why = "is prescribed by the case" if prescribed else "follows from the case alone"
            raise InputError(
                f"{row['file']}: line {row['line']}, column 'variable': {row['variable']} {why}; "
                "nothing that is fitted changes it (keep the series out to compare it all the same)"
            )

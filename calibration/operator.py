"""What the model would have measured at each row of a table of observations."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from calibration.observations import UNITS
from calibration.quantities import QUANTITIES, Sample
from diffsoil.cases import Case
from diffsoil.cases.arrays import Plan
from diffsoil.column import Column
from diffsoil.forward import GEOMETRY
from diffsoil.io import InputError
from diffsoil.process import Environment
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.time import Phase, Record
from diffsoil.units import CM_PER_M


class Operator(eqx.Module):
    """What the model would have measured at each row of an observation table.

    Where the case prescribes the soil, ``weights`` and ``mineral_mass`` are known; where it
    develops they follow from what is recorded, and ``upper``, ``lower`` (m) say where.
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
        self, record: Environment, rates: Float[Array, "4"] | None = None
    ) -> Float[Array, " obs"]:
        """Predicted values without measurement error.

        Args:
            record: ``soc`` (and what else is needed) by member, year and layer, Mg/ha.
            rates: decomposition rates of the active pools, 1/a, for respired 14C.
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
            rates=rates,
        )
        order = list(QUANTITIES)
        result = jnp.zeros_like(self.sampled_mass)
        for name in self.kinds:
            chosen = self.variable == order.index(name)
            result = jnp.where(chosen, QUANTITIES[name].predict(sample), result)
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
    geometry: Mapping[str, np.ndarray],
    first_year: int | None = None,
) -> Operator:
    """Build the operator of a table.

    Args:
        table: from :func:`calibration.observations.read`.
        case, plan: the case and its plan.
        geometry: ``thickness``, ``depth_top``, ``mineral_mass`` and ``soil_mass`` by member,
            year and layer; empty where the whole soil develops.
        first_year: calendar year that the records begin with; of the experiment if not given.
    """
    first_year = plan.experiment_year if first_year is None else first_year
    member = table["member"].to_numpy(int)
    year = table["year"].to_numpy(int) - first_year
    mass = table["soil_mass_Mg_ha"].to_numpy(float)
    equivalent = (table["basis"] == "equivalent_mass").to_numpy()
    by_mass = np.isfinite(mass) & (True if not geometry else ~equivalent)
    kinds = tuple(name for name in QUANTITIES if (table["variable"] == name).any())
    dated = any("radiocarbon" in n for k in kinds for n in QUANTITIES[k].yearly)
    if dated and not plan.radiocarbon:
        named = next(k for k in kinds if QUANTITIES[k].yearly)
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
    return Operator(
        member=jnp.asarray(member),
        year=jnp.asarray(year),
        sampled_mass=jnp.asarray(np.nan_to_num(mass, nan=1.0)),
        by_mass=jnp.asarray(by_mass),
        variable=jnp.asarray(np.array([list(UNITS).index(v) for v in table["variable"]])),
        needs_radiocarbon=dated,
        month=jnp.asarray(month),
        upper=jnp.asarray(table["upper_cm"].to_numpy(float) / CM_PER_M),
        lower=jnp.asarray(table["lower_cm"].to_numpy(float) / CM_PER_M),
        kinds=kinds,
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


def geometry_of(phase: Phase) -> dict[str, np.ndarray]:
    """Thickness, depth and masses of a prepared phase, by member, year and layer."""
    found: dict[str, np.ndarray] = {}
    for name in LAYERS:
        if name in phase.series:
            by_step = np.asarray(phase.series[name])
            found[name] = np.repeat(by_step, phase.years_per_step, axis=1)
        else:
            value = np.asarray(phase.constant[name])
            shape = (value.shape[0], phase.years, value.shape[1])
            found[name] = np.broadcast_to(value[:, None, :], shape)
    return found


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


def refuse_unmoved(table: pd.DataFrame, case: Case, given: list[Phase], ready: list[Phase]) -> None:
    """Refuse to fit what no free parameter can change; kept out, it is compared as it is."""
    for _, row in table[table["fitted"]].iterrows():
        quantity = QUANTITIES[row["variable"]]
        if not quantity.steps or quantity.yearly:
            continue
        name = quantity.steps[0]
        if all(name in phase.constant or name in phase.series for phase in ready):
            prescribed = any(name in phase.constant or name in phase.series for phase in given)
            why = "is prescribed by the case" if prescribed else "follows from the case alone"
            raise InputError(
                f"{row['file']}: line {row['line']}, column 'variable': {row['variable']} {why}; "
                "nothing that is fitted changes it (keep the series out to compare it all the same)"
            )


def decomposition_rates(column: Column) -> Float[Array, "4"]:
    """Rates of the active pools, 1/a."""
    carbon = column.process("carbon")
    return jnp.stack([getattr(carbon, f"k_{pool}") for pool in ("dpm", "rpm", "bio", "hum")])

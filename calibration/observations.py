"""Observations: the table that a user writes, and what the model would have measured.

A row is one measured value in a depth interval. Three ways of meeting the column:

* a fixed depth without soil mass: layers are weighted by their overlap with the interval;
* a fixed depth with the soil mass that was sampled: the column is followed down to that mass,
  which moves when the soil loosens or settles;
* an equivalent mass: the column is followed down to that mass of the soil as laid down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from diffsoil.cases import Case
from diffsoil.io import Column as Table
from diffsoil.io import InputError, nearest, read_table
from diffsoil.plan import Plan
from diffsoil.process import Environment
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.time import Phase

UNITS = {"soc_stock": "Mg C/ha", "soc_percent": "%", "delta14c": "permil"}
"""Variables that can be observed, and their units."""

RANGES = {"soc_stock": (0.0, 2000.0), "soc_percent": (0.0, 60.0), "delta14c": (-1000.0, 1000.0)}
HINTS = {
    "soc_stock": "is this in g/m2 or kg/ha?",
    "soc_percent": "is this in g/kg?",
    "delta14c": "is this in percent modern?",
}

SMALLEST_SD = 1e-6
"""Keeps the likelihood finite where a prediction is zero and no sd was measured."""

COLUMNS = {
    "site": Table("str"),
    "treatment": Table("str", required=False),
    "year": Table("int", -60000, 3000),
    "variable": Table("str", choices=tuple(UNITS)),
    "upper_cm": Table("float", 0, 1000, unit="cm"),
    "lower_cm": Table("float", 0, 1000, unit="cm"),
    "value": Table("float"),
    "sd": Table("float", 0, required=False, allow_missing=True),
    "unit": Table("str", choices=tuple(UNITS.values())),
    "estimated": Table("int", 0, 1, required=False),
    "basis": Table("str", choices=("fixed_depth", "equivalent_mass"), required=False),
    "soil_mass_Mg_ha": Table(
        "float",
        1,
        60000,
        unit="Mg/ha",
        required=False,
        allow_missing=True,
        hint="is this in million kg/ha or kg/m2?",
    ),
    "source": Table("str", required=False, allow_missing=True),
    "series": Table("str", required=False, allow_missing=True),
    "method": Table("str", required=False, allow_missing=True),
}

DEFAULTS: dict[str, str | float] = {
    "treatment": "",
    "sd": np.nan,
    "estimated": 0,
    "basis": "fixed_depth",
    "soil_mass_Mg_ha": np.nan,
    "source": "",
    "series": "",
    "method": "",
}


def read(case: Case, plan: Plan) -> pd.DataFrame:
    """The observations of a case, checked against its treatments, years and depth.

    Returns:
        One row for each observation, with columns ``file``, ``line``, ``member`` (index of the
        treatment or site in the plan) and ``fitted`` (False for estimated and kept-out rows)
        besides those of the file.
    """
    listed = case.file.observations
    if listed is None or not listed.files:
        raise InputError(f"{case.path}: observations: the case lists no observation files")
    tables = [_read_one(case, plan, case.resolve(name)) for name in listed.files]
    table = pd.concat(tables, ignore_index=True)
    known = set(table["series"])
    for series in listed.keep_out:
        if series not in known:
            raise InputError(
                f"{case.path}: observations.keep_out: no series {series!r}{nearest(series, known)}"
            )
    table["fitted"] = (table["estimated"] == 0) & ~table["series"].isin(listed.keep_out)
    return table


def _read_one(case: Case, plan: Plan, path: Path) -> pd.DataFrame:
    table = read_table(path, COLUMNS, extra="ignore")
    for name, value in DEFAULTS.items():
        if name not in table:
            table[name] = value
    table["line"] = table.index
    table["file"] = str(path)
    empty = table["series"] == ""
    table.loc[empty, "series"] = table.loc[empty, "site"]
    first, last = plan.experiment_year, case.end_year
    if plan.experiment is None:
        first = last + 1
    depth = case.file.grid.layers * case.file.grid.thickness_m * 100
    table["member"] = [_member(path, row, plan) for _, row in table.iterrows()]
    for line, row in table.iterrows():
        where = f"{path}: line {line}"
        low, high = RANGES[row["variable"]]
        if row["unit"] != UNITS[row["variable"]]:
            raise InputError(
                f"{where}, column 'unit': {row['unit']!r} for {row['variable']}, "
                f"{UNITS[row['variable']]!r} is expected"
            )
        if not low <= row["value"] <= high:
            raise InputError(
                f"{where}, column 'value': {row['value']:g} is outside {low:g} to {high:g} "
                f"{row['unit']} ({HINTS[row['variable']]})"
            )
        if row["lower_cm"] <= row["upper_cm"]:
            raise InputError(
                f"{where}: upper_cm {row['upper_cm']:g} is not above lower_cm "
                f"{row['lower_cm']:g}: is the depth interval upside down?"
            )
        if row["lower_cm"] > depth + 1e-6:
            raise InputError(
                f"{where}, column 'lower_cm': {row['lower_cm']:g} cm is below the column of the "
                f"case, which ends at {depth:g} cm"
            )
        if not first <= row["year"] <= last:
            raise InputError(
                f"{where}, column 'year': {row['year']} is outside the years with yearly drivers, "
                f"{first} to {last}"
            )
        if row["sd"] == 0:
            raise InputError(f"{where}, column 'sd': 0 is not possible; leave it empty if unknown")
        massed = np.isfinite(row["soil_mass_Mg_ha"])
        if massed and row["upper_cm"] > 0:
            raise InputError(
                f"{where}, column 'soil_mass_Mg_ha': a mass counts from the surface, "
                f"but upper_cm is {row['upper_cm']:g}"
            )
        if row["basis"] == "equivalent_mass" and not massed:
            raise InputError(f"{where}, column 'soil_mass_Mg_ha': equivalent_mass needs a mass")
    key = ["site", "treatment", "year", "variable", "upper_cm", "lower_cm", "series", "estimated"]
    twice = table[table.duplicated(key)]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"{path}: line {row['line']}: a second {row['variable']} of {row['treatment']} in "
            f"{row['year']}; average replicates before use"
        )
    return table


def _member(path: Path, row: pd.Series, plan: Plan) -> int:
    if row["site"] not in plan.sites:
        raise InputError(
            f"{path}: line {row['line']}, column 'site': the case has no site {row['site']!r}"
            f"{nearest(row['site'], plan.sites)}"
        )
    name = row["treatment"] or row["site"]
    if name not in plan.members:
        raise InputError(
            f"{path}: line {row['line']}, column 'treatment': the case has no treatment {name!r}"
            f"{nearest(name, plan.members)}"
        )
    return plan.members.index(name)


class Operator(eqx.Module):
    """What the model would have measured at each row of an observation table."""

    member: Int[Array, " obs"]
    year: Int[Array, " obs"]
    weights: Float[Array, "obs layer"]
    mineral_mass: Float[Array, "obs layer"]
    sampled_mass: Float[Array, " obs"]
    by_mass: Bool[Array, " obs"]
    variable: Int[Array, " obs"]
    needs_radiocarbon: bool = eqx.field(static=True)

    def __call__(self, record: Environment) -> Float[Array, " obs"]:
        """Predicted values without measurement error.

        Args:
            record: ``soc`` (and ``radiocarbon`` if needed) by member, year and layer, Mg/ha.
        """
        soc = record["soc"][self.member, self.year]
        mass = self.mineral_mass + ORGANIC_MATTER_IN_CARBON * soc
        above = jnp.cumsum(mass, axis=1) - mass
        sampled = jnp.clip((self.sampled_mass[:, None] - above) / mass, 0.0, 1.0)
        share = jnp.where(self.by_mass[:, None], sampled, self.weights)
        stock = jnp.sum(share * soc, axis=1)
        percent = 100.0 * stock / jnp.sum(share * mass, axis=1)
        values = [stock, percent]
        if self.needs_radiocarbon:
            modern = jnp.sum(share * record["radiocarbon"][self.member, self.year], axis=1)
            values.append(1000.0 * (modern / jnp.maximum(stock, 1e-9) - 1.0))
        else:
            values.append(jnp.zeros_like(stock))
        return jnp.stack(values)[self.variable, jnp.arange(stock.size)]


def operator(
    table: pd.DataFrame, case: Case, plan: Plan, geometry: Mapping[str, np.ndarray]
) -> Operator:
    """Build the operator of a table.

    Args:
        table: from :func:`read`.
        case, plan: the case and its plan.
        geometry: ``thickness``, ``depth_top``, ``mineral_mass`` and ``soil_mass`` by member,
            year and layer.
    """
    member = table["member"].to_numpy(int)
    year = table["year"].to_numpy(int) - plan.experiment_year
    chosen = {name: value[member, year] for name, value in geometry.items()}
    top = chosen["depth_top"] * 100
    bottom = top + chosen["thickness"] * 100
    upper = table["upper_cm"].to_numpy(float)[:, None]
    lower = table["lower_cm"].to_numpy(float)[:, None]
    weights = np.clip((np.minimum(bottom, lower) - np.maximum(top, upper)) / (bottom - top), 0, 1)
    mass = table["soil_mass_Mg_ha"].to_numpy(float)
    equivalent = (table["basis"] == "equivalent_mass").to_numpy()
    above = np.cumsum(chosen["soil_mass"], axis=1) - chosen["soil_mass"]
    by_reference = np.clip((mass[:, None] - above) / chosen["soil_mass"], 0, 1)
    weights = np.where(equivalent[:, None], by_reference, weights)
    short = np.isfinite(mass) & (mass > chosen["soil_mass"].sum(axis=1))
    if short.any():
        row = table.iloc[int(np.argmax(short))]
        raise InputError(
            f"{row['file']}: line {row['line']}, column 'soil_mass_Mg_ha': "
            f"{row['soil_mass_Mg_ha']:g} Mg/ha is more than the whole column weighs"
        )
    variable = [list(UNITS).index(v) for v in table["variable"]]
    dated = bool((table["variable"] == "delta14c").any())
    if dated and not plan.radiocarbon:
        raise InputError(
            f"{case.path}: radiocarbon_atmosphere: needed, for delta14c is among the observations"
        )
    return Operator(
        member=jnp.asarray(member),
        year=jnp.asarray(year),
        weights=jnp.asarray(weights),
        mineral_mass=jnp.asarray(chosen["mineral_mass"]),
        sampled_mass=jnp.asarray(np.nan_to_num(mass, nan=1.0)),
        by_mass=jnp.asarray(np.isfinite(mass) & ~equivalent),
        variable=jnp.asarray(np.array(variable)),
        needs_radiocarbon=dated,
    )


def geometry_of(phase: Phase) -> dict[str, np.ndarray]:
    """Thickness, depth and masses of a prepared experiment, by member, year and layer."""
    found: dict[str, np.ndarray] = {}
    for name in ("thickness", "depth_top", "mineral_mass", "soil_mass"):
        if name in phase.series:
            found[name] = np.asarray(phase.series[name])
        else:
            value = np.asarray(phase.constant[name])
            shape = (value.shape[0], phase.steps, value.shape[1])
            found[name] = np.broadcast_to(value[:, None, :], shape)
    return found


@dataclasses.dataclass(frozen=True)
class ErrorModel:
    """Measurement error: normal, with the measured sd and a fitted relative part by series.

    ``series`` names the fitted parts in the order of their parameters; ``method_factor`` names
    laboratory methods whose results are a fitted factor away from the truth.
    """

    value: Float[Array, " obs"]
    sd: Float[Array, " obs"]
    of_series: Float[Array, "obs series"]
    of_method: Float[Array, "obs method"]
    series: tuple[str, ...]
    methods: tuple[str, ...]

    def mean(self, latent: Float[Array, " obs"], factors: Float[Array, " method"]) -> Array:
        """Expected measured value, from what is in the soil."""
        return latent * (1.0 + self.of_method @ (factors - 1.0))

    def total_sd(self, relative: Float[Array, " series"], expected: Array) -> Float[Array, " obs"]:
        """Standard deviation of a measured value."""
        scatter = (self.of_series @ relative) * jnp.abs(expected)
        return jnp.sqrt(self.sd**2 + scatter**2 + SMALLEST_SD**2)


def error_model(table: pd.DataFrame, methods: tuple[str, ...]) -> ErrorModel:
    """The error model of a table; every fitted series has its own relative part."""
    series = tuple(sorted(set(table.loc[table["fitted"], "series"])))
    of_series = np.array([[float(s == name) for name in series] for s in table["series"]])
    of_method = np.array([[float(m == name) for name in methods] for m in table["method"]])
    return ErrorModel(
        value=jnp.asarray(table["value"].to_numpy(float)),
        sd=jnp.asarray(table["sd"].fillna(0.0).to_numpy(float)),
        of_series=jnp.asarray(of_series.reshape(len(table), len(series))),
        of_method=jnp.asarray(of_method.reshape(len(table), len(methods))),
        series=series,
        methods=methods,
    )

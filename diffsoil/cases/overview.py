"""What a case says, as tables: time line, climate, carbon inputs, and every default that holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from diffsoil.balance import Balance
from diffsoil.cases.arrays import Plan, build, check, measured_start
from diffsoil.cases.case import Case
from diffsoil.cases.kinds import at_site
from diffsoil.cases.measured import first_plant_carbon
from diffsoil.time import Phase

OF_GROUND = (
    "biocycling",
    "deposition",
    "dissolved_iron",
    "erosion",
    "erosion_mm_a",
    "exchange",
    "litter_cations_g_kg",
    "uptake_shallowness_factor",
    "weathering",
)
"""Keys that only a whole soil looks at."""


@dataclasses.dataclass(frozen=True, eq=False)
class Overview:
    """What a run of a case will do; nothing is simulated.

    Attributes:
        case, plan: what it is of.
        time_line: a row for each phase and site: ``from``, ``until`` (calendar years, the last
            one included), ``years``, ``step_years``, ``site``, ``climate``, ``land_use``.
        climate: a row for each climate: ``years`` of its table (1 for normals), temperature (C)
            of the mean year and of its coldest and warmest month, precipitation and potential
            evapotranspiration (mm/a).
        inputs: a row for each site or treatment and stretch of years with one land use: carbon of
            plants and of manure, mean Mg C/ha/a, and the least and the most of one year.
        defaults: ``key`` and ``value`` of what the case leaves out.
        start: a row for each site that starts from a measured stock: ``site``, ``stock`` (t C/ha)
            down to ``lower_cm``, ``plants`` that keep it (t C/ha in a year), and ``inert`` carbon
            of the column (t C/ha).
    """

    case: Case
    plan: Plan
    time_line: pd.DataFrame
    climate: pd.DataFrame
    inputs: pd.DataFrame
    defaults: pd.DataFrame
    start: pd.DataFrame

    @property
    def layer_steps(self) -> int:
        """Layers times slow steps of all sites and treatments: what a run takes time for."""
        phases = [(phase, len(self.plan.sites)) for phase in self.plan.history]
        if self.plan.experiment is not None:
            phases.append((self.plan.experiment, len(self.plan.members)))
        return self.plan.layers * sum(phase.steps * columns for phase, columns in phases)


def overview(case: Case) -> Overview:
    """What a run of a case will do.

    Raises:
        diffsoil.io.InputError: the case cannot be run.
    """
    plan, column = build(case), case.column()
    check(plan, column, case)
    begins = pd.DataFrame(columns=["site", "lower_cm", "stock", "plants", "inert"])
    if plan.measured is not None:
        found = measured_start(column, plan)
        begins = _start(case, found)
        plan = _with_sought(plan, found)
    return Overview(
        case=case,
        plan=plan,
        time_line=pd.DataFrame(_time_line(case)),
        climate=pd.DataFrame([_climate(case, name) for name in case.climate]),
        inputs=pd.DataFrame(_inputs(case, plan)),
        defaults=pd.DataFrame(_holding(case), columns=["key", "value"]),
        start=begins,
    )


def _start(case: Case, found: Balance) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "site": case.sites,
            "lower_cm": case.file.measured.lower_cm,
            "stock": np.asarray(found.stock),
            "plants": first_plant_carbon(found.phase),
            "inert": np.asarray(found.state.carbon[:, -1].sum(axis=-1)),
        }
    )


def _with_sought(plan: Plan, found: Balance) -> Plan:
    """The plan with the plant carbon that a balance found."""
    first, name = plan.history[0], "plant_input"
    constant, series = found.phase.constant, found.phase.series
    first = dataclasses.replace(
        first,
        constant=first.constant | {k: v for k, v in constant.items() if k == name},
        series=first.series | {k: v for k, v in series.items() if k == name},
    )
    return dataclasses.replace(plan, history=(first, *plan.history[1:]))


def _time_line(case: Case) -> Iterator[dict[str, Any]]:
    for phase, (first, last) in zip(case.file.history, case.file.spans(), strict=True):
        for site in case.sites:
            yield {
                "from": first,
                "until": last,
                "years": last - first + 1,
                "step_years": phase.step_years,
                "site": site,
                "climate": at_site(phase.climate, site),
                "land_use": at_site(phase.land_use, site),
            }
    if case.file.experiment is None:
        return
    first = case.file.history[-1].until + 1
    for treatment in case.file.treatment:
        yield {
            "from": first,
            "until": case.end_year,
            "years": case.end_year - first + 1,
            "step_years": 1,
            "site": treatment.site,
            "climate": at_site(case.file.experiment.climate, treatment.site),
            "land_use": f"management of {treatment.name}",
        }


def _climate(case: Case, name: str) -> dict[str, Any]:
    table = case.climate[name]
    years = len(table) // 12
    by_month = table.groupby("month")["temperature_c"].mean()
    return {
        "climate": name,
        "years": years,
        "temperature_c": float(table["temperature_c"].mean()),
        "coldest_month_c": float(by_month.min()),
        "warmest_month_c": float(by_month.max()),
        "precipitation_mm_a": float(table["precipitation_mm"].sum()) / years,
        "pet_mm_a": float(table["pet_mm"].sum()) / years,
    }


def yearly_inputs(plan: Plan) -> pd.DataFrame:
    """Carbon that enters in each year of the experiment, Mg C/ha, by treatment.

    Columns: ``treatment``, ``year``, ``plants``, ``manure``; no rows without an experiment.
    """
    phase = plan.experiment
    years = np.arange(plan.experiment_year, plan.experiment_year + (phase.years if phase else 0))
    parts = [
        pd.DataFrame({"treatment": name, "year": years, **_carbon(phase, place)})
        for place, name in enumerate(plan.members)
        if phase is not None
    ]
    columns = ["treatment", "year", "plants", "manure"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _carbon(phase: Phase, place: int) -> dict[str, np.ndarray]:
    """Carbon of plants and of manure in each slow step of one column, Mg C/ha/a."""

    def each(name: str) -> np.ndarray:
        if name in phase.series:
            return np.asarray(phase.series[name][place], float)
        value = np.asarray(phase.constant[name][place], float)
        return np.broadcast_to(value, (phase.steps, *value.shape))

    return {"plants": each("plant_input").sum(axis=-1), "manure": each("manure_input")}


def _inputs(case: Case, plan: Plan) -> Iterator[dict[str, Any]]:
    # a phase of the plan may be several of the case
    for place, site in enumerate(plan.sites):
        parts = [_carbon(phase, place) for phase in plan.history]
        steps = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        begin = 0
        for phase, (first, last) in zip(case.file.history, case.file.spans(), strict=True):
            end = begin + (last - first + 1) // phase.step_years
            own = {name: values[begin:end] for name, values in steps.items()}
            yield _told(site, first, last, at_site(phase.land_use, site), own)
            begin = end
    if plan.experiment is None or case.management is None:
        return
    for place, member in enumerate(plan.members):
        rows = case.management[case.management["treatment"] == member].sort_values("year")
        rows = rows[rows["year"].between(plan.experiment_year, case.end_year)]
        carbon = _carbon(plan.experiment, place)
        uses = rows["land_use"].to_numpy()
        starts = [0, *(np.flatnonzero(uses[1:] != uses[:-1]) + 1), len(uses)]
        for start, end in pairwise(starts):
            own = {name: values[start:end] for name, values in carbon.items()}
            years = plan.experiment_year + np.array([start, end - 1])
            yield _told(member, int(years[0]), int(years[1]), str(uses[start]), own)


def _told(
    name: str, first: int, last: int, land_use: str, carbon: dict[str, np.ndarray]
) -> dict[str, Any]:
    row: dict[str, Any] = {"of": name, "from": first, "until": last, "land_use": land_use}
    for kind, values in carbon.items():
        row |= {kind: values.mean(), f"{kind}_least": values.min(), f"{kind}_most": values.max()}
    return row


def _holding(case: Case) -> Iterator[tuple[str, str]]:
    """Defaults that mean something in this case."""
    for key, value in _defaults(case.file):
        of_another_start = key.startswith("measured") and case.file.initial == "history"
        if of_another_start:
            continue
        if case.whole_soil or key.rpartition(".")[2] not in OF_GROUND:
            yield key, value


def _defaults(table: BaseModel, place: str = "") -> Iterator[tuple[str, str]]:
    """Keys that are left out, where that means something, with the value that holds."""
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        key = field.alias or name
        where = f"{place}.{key}" if place else key
        if name in table.model_fields_set:
            yield from _inside(value, where)
        elif value not in (None, "", [], {}):
            yield where, _shown(value)


def _inside(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        yield from _defaults(value, place)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _inside(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _inside(inner, f"{place}.{number}")


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        said = [f"{name} = {_shown(v)}" for name, v in value if v not in (None, "", [], {})]
        return ", ".join(said)
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_shown(v)}" for name, v in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)

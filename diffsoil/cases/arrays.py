"""From a case to the arrays that the time stepping eats: phases for all sites and treatments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from diffsoil._runtime import require_float64
from diffsoil.balance import Balance, Measured, balanced, with_settled_water
from diffsoil.cases.case import Case
from diffsoil.cases.check import erosion_events
from diffsoil.cases.drivers import weather_of_years, yearly_npp
from diffsoil.cases.horizons import composition, initial_ground, laid_down, layer_shares, prescribed
from diffsoil.cases.kinds import at_site
from diffsoil.cases.land_use import LandUse
from diffsoil.cases.measured import measured_stocks, why_unmet
from diffsoil.cases.profile import (
    MMOL,
    AtStart,
    Horizons,
    at_start,
    check_room,
    horizons,
    organic_density,
)
from diffsoil.cases.schema import Amendment, Treatment
from diffsoil.column import Column, missing_needs
from diffsoil.io import InputError, nearest
from diffsoil.process import Environment
from diffsoil.processes.geometry import Geometry
from diffsoil.processes.minerals import ATOMIC_WEIGHT, CALCITE_MASS, MOLAR_MASS
from diffsoil.processes.vegetation import Vegetation
from diffsoil.programs import kept_program
from diffsoil.state import (
    BUDGET,
    CATIONS,
    CHARGE,
    MINERALS,
    SIZES,
    SOLUTES,
    Ground,
    State,
    empty_state,
)
from diffsoil.time import NOTHING, Phase, Record, advance, needed, prepare
from diffsoil.units import G_PER_KG, KG_HA_PER_MOL_N_M2, MG_PER_KG_M2, MM_PER_M

WEATHER = {"precipitation", "potential_evapotranspiration", "cover", "root_beta"}
"""What drives soil water."""

IOM_FACTOR = "carbon.iom_factor"
"""The parameter that the state at the start depends on."""

PH_CALCAREOUS, PH_LEACHED = 7.8, 5.5
"""Where the search for the pH of a soil with and without calcite starts."""


class Plan(eqx.Module):
    """A case as arrays.

    The phases of ``history`` have a leading axis of sites, ``experiment`` one of treatments;
    ``site_of`` tells which site's history a treatment parts from. ``iom`` is inert carbon by
    site and layer, Mg/ha. ``ground`` is the mineral soil at the start, by site, where it
    develops, and ``horizons`` what its exchanger and its density are computed from. ``measured``
    is the stock of each site where the case starts from one. Without treatments every site is its
    own member.
    """

    members: tuple[str, ...] = eqx.field(static=True)
    sites: tuple[str, ...] = eqx.field(static=True)
    site_of: tuple[int, ...] = eqx.field(static=True)
    history: tuple[Phase, ...]
    experiment: Phase | None
    iom: Array
    ground: Ground | None
    horizons: Horizons | None
    measured: Measured | None
    start_year: int = eqx.field(static=True)
    experiment_year: int = eqx.field(static=True)
    radiocarbon: bool = eqx.field(static=True)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.iom.shape[1]

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases; the experiment, if there is one, is the last."""
        return self.history if self.experiment is None else (*self.history, self.experiment)

    @property
    def own(self) -> Environment:
        """Parameters that differ between the sites from the start on."""
        return self.history[0].own if self.history else {}

    @property
    def starts(self) -> tuple[int, ...]:
        """First calendar year of each phase."""
        lengths = [phase.years for phase in self.phases]
        return tuple(self.start_year + sum(lengths[:number]) for number in range(len(lengths)))

    def with_own(self, name: str, values: Array, by: str) -> Plan:
        """The plan with a parameter that differs between its columns.

        Args:
            name: of the parameter.
            values: one for each site, or for each treatment, which begin with the experiment.
            by: ``site`` or ``treatment``.
        """

        def of(phase: Phase, own: Array) -> Phase:
            return dataclasses.replace(phase, own=phase.own | {name: own})

        history, experiment = self.history, self.experiment
        if by == "site":
            history = tuple(of(phase, values) for phase in history)
            values = values[jnp.asarray(self.site_of)]
        if experiment is not None:
            experiment = of(experiment, values)
        return dataclasses.replace(self, history=history, experiment=experiment)

    def changed(self, change: Callable[[Phase], Phase]) -> Plan:
        """The plan with all its phases changed."""
        experiment = None if self.experiment is None else change(self.experiment)
        history = tuple(change(phase) for phase in self.history)
        return dataclasses.replace(self, history=history, experiment=experiment)


def build(case: Case) -> Plan:
    """Arrays of a case; nothing is computed yet.

    Raises:
        diffsoil.io.InputError: a bad file, or JAX is not set to float64.
    """
    require_float64()
    file = case.file
    history = [_phase(case, of.by_site, of.years, of.step) for of in _stretches(case)]
    start = file.history[-1].until + 1
    experiment = None
    if file.experiment:
        years = np.arange(start, file.experiment.until + 1)
        rows = [_treatment(case, t, years) for t in file.treatment]
        experiment = _phase(case, rows, years, 1)
    iom = np.stack([_iom(case, site) for site in case.sites])
    members = tuple(t.name for t in file.treatment) or tuple(case.sites)
    site_of = tuple(case.sites.index(t.site) for t in file.treatment)
    plan = Plan(
        members=members,
        sites=tuple(case.sites),
        site_of=site_of or tuple(range(len(case.sites))),
        history=tuple(history),
        experiment=experiment,
        iom=jnp.asarray(iom),
        ground=_ground(case) if case.whole_soil else None,
        horizons=_horizons(case) if case.whole_soil else None,
        measured=measured_stocks(file, case.sites) if file.initial == "measured" else None,
        start_year=file.start_year,
        experiment_year=start,
        radiocarbon=case.atmosphere is not None,
    )
    return settled(case.column(), plan)


def settled(column: Column, plan: Plan) -> Plan:
    """The plan with the exchanger and the density that a column gives the soil at the start.

    Args:
        column: with the parameters to use; they may be traced.
        plan: of any parameters.
    """
    if plan.horizons is None:
        return plan
    assert plan.ground is not None

    def begins(horizons: Horizons, own: Environment) -> AtStart:
        return at_start(column.with_parameters(own), horizons)

    start = jax.vmap(begins)(plan.horizons, plan.own)
    given = {
        "parent_labile": start.parent_labile,
        "cec_offset": start.cec_offset,
        "mineral_bulk_density": start.mineral_bulk_density,
    }

    def of(phase: Phase, sites: Sequence[int]) -> Phase:
        own = {name: value[jnp.asarray(sites)] for name, value in given.items()}
        return dataclasses.replace(phase, constant=phase.constant | own)

    return dataclasses.replace(
        plan,
        ground=eqx.tree_at(lambda ground: ground.labile, plan.ground, start.labile),
        history=tuple(of(phase, range(len(plan.sites))) for phase in plan.history),
        experiment=None if plan.experiment is None else of(plan.experiment, plan.site_of),
    )


@dataclasses.dataclass
class _Stretch:
    """Years of history with one slow step; ``years`` are those in which a step starts."""

    step: int
    years: np.ndarray
    by_site: list[dict[str, np.ndarray]]


def _stretches(case: Case) -> list[_Stretch]:
    """The phases of a history.

    Where the whole soil develops those in a row that have the same slow step are one, so that
    one program is compiled for all; a prescribed soil would lose what is constant in a phase
    and computed once.
    """
    found: list[_Stretch] = []
    spans = case.file.spans()
    for number, (phase, (first, last)) in enumerate(zip(case.file.history, spans, strict=True)):
        years = np.arange(first, last + 1, phase.step_years)
        by_site = []
        for site in case.sites:
            use = at_site(phase.land_use, site)
            by_site.append(_site_phase(case, site, use, number, years))
        before = found[-1] if found and case.whole_soil else None
        if before and before.step == phase.step_years:
            before.years = np.concatenate([before.years, years])
            pairs = zip(before.by_site, by_site, strict=True)
            before.by_site = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in pairs]
        else:
            found.append(_Stretch(phase.step_years, years, by_site))
    return found


def check(plan: Plan, column: Column, case: Case) -> None:
    """Refuse a column that does not fit a case, before anything is computed.

    Raises:
        InputError: a process needs what neither the case nor another process provides, the
            column has other groups of plant input than the case, its humus is so light that a
            horizon has no room for minerals, or a measured stock has no balance.
    """
    if case.whole_soil:
        check_room(float(organic_density(column)), case.file.soil, case.path)
    for process in column.processes:
        if isinstance(process, Vegetation) and sorted(process.input_factor) != case.input_groups:
            raise InputError(
                f"{case.path}: input groups: the column has {', '.join(process.input_factor)}, "
                f"the case {', '.join(case.input_groups)}; start from case.column()"
            )
    for phase in plan.phases:
        given = {*phase.constant, *phase.series, *phase.yearly}
        for name, need in missing_needs(column, given):
            raise InputError(f"{case.path}: process {name!r} needs {need!r}, nothing provides it")
    if plan.measured is not None:
        unmet = why_unmet(plan.sites, plan.measured, measured_start(column, plan))
        if unmet:
            raise InputError(f"{case.path}: initial: site {s!r}: {why}" for s, why in unmet.items())


def select(plan: Plan, members: Collection[str], source: object) -> Plan:
    """The plan with some of its members only, and with the sites that they need.

    Raises:
        diffsoil.io.InputError: a name that the plan does not have.
    """
    for name in members:
        if name not in plan.members:
            raise InputError(
                f"{source}: treatment: no treatment {name!r}{nearest(name, plan.members)}"
            )
    chosen = [plan.members.index(name) for name in dict.fromkeys(members)]
    sites = sorted({plan.site_of[i] for i in chosen})

    def part[T](tree: T, index: list[int]) -> T:
        return jax.tree.map(lambda x: x[jnp.asarray(index)], tree)

    return dataclasses.replace(
        plan,
        members=tuple(plan.members[i] for i in chosen),
        sites=tuple(plan.sites[i] for i in sites),
        site_of=tuple(sites.index(plan.site_of[i]) for i in chosen),
        history=part(plan.history, sites),
        experiment=part(plan.experiment, chosen),
        iom=plan.iom[jnp.asarray(sites)],
        ground=part(plan.ground, sites),
        horizons=part(plan.horizons, sites),
        measured=part(plan.measured, sites),
    )


def prepare_plan(
    column: Column, plan: Plan, free: Collection[str] = (), keep: Collection[str] = ()
) -> Plan:
    """Compute ahead all that no free parameter can change.

    Args:
        column: the column.
        plan: from :func:`build`.
        free: full names of the parameters that will be differentiated or sampled.
        keep: variables that will be recorded.
    """
    not_ahead = tuple(sorted({name.split(".")[0] for name in free}))
    keep = tuple(sorted(keep))
    plan = settled(column, plan)
    states = initial_state(column, plan)
    history = []
    for number, phase in enumerate(plan.history):
        sought = number == 0 and plan.measured is not None
        later = (*not_ahead, Vegetation.name) if sought else not_ahead
        kept = (*keep, *Geometry.provides) if sought else keep
        ready, states = _prepare_all(column, phase, states, later, kept)
        history.append(ready)
    experiment = plan.experiment
    if experiment is not None:
        states = gather(states, plan.site_of)
        experiment, _ = _prepare_all(column, experiment, states, not_ahead, keep)
    return dataclasses.replace(plan, history=tuple(history), experiment=experiment)


@kept_program  # of the module, so that a second case of the same shape compiles nothing
def _prepare_all(
    column: Column,
    phase: Phase,
    states: State,
    not_ahead: tuple[str, ...],
    keep: tuple[str, ...],
) -> tuple[Phase, State]:
    def one(phase: Phase, state: State) -> tuple[Phase, State]:
        return prepare(column.with_parameters(phase.own), phase, state, not_ahead, keep)

    result: tuple[Phase, State] = jax.vmap(one)(phase, states)
    return result


def initial_state(column: Column, plan: Plan) -> State:
    """States of all sites without active carbon, with a leading axis of sites.

    They are dry, or as wet as in the first phase where the case starts from a measured stock.
    """
    active = len(column.carbon.pools)
    own = plan.own.get(IOM_FACTOR, column.carbon.iom_factor)
    factor = jnp.broadcast_to(own, (len(plan.iom),))
    states = _dry_all(plan.iom, factor, plan.ground, plan.radiocarbon, active)
    if plan.measured is None:
        return states
    return _wet_all(column, needed(column, plan.history[0], Geometry.provides), states)


@kept_program
def _dry_all(
    iom: Array, factors: Array, ground: Ground | None, radiocarbon: bool, active: int
) -> State:
    def one(iom: Array, factor: Array, ground: Ground | None) -> State:
        return empty_state(iom.size, iom * factor, radiocarbon, ground, active)

    result: State = jax.vmap(one)(iom, factors, ground)
    return result


@kept_program
def _wet_all(column: Column, phase: Phase, states: State) -> State:
    def one(phase: Phase, state: State) -> State:
        return with_settled_water(column.with_parameters(phase.own), phase, state)

    result: State = jax.vmap(one)(phase, states)
    return result


def begin(column: Column, plan: Plan) -> tuple[Plan, State]:
    """What a run starts from: nothing but inert carbon, or a balance with a measured stock.

    Args:
        column: the column.
        plan: from :func:`prepare_plan`.

    Returns:
        The plan, with the plant carbon of the balance in its first phase where that was sought,
        and the states of all sites.
    """
    if plan.measured is None:
        return plan, initial_state(column, plan)
    found = balance(column, plan)
    return dataclasses.replace(plan, history=(found.phase, *plan.history[1:])), found.state


def balance(column: Column, plan: Plan) -> Balance:
    """The measured start of each site; see :func:`diffsoil.balance.balanced`."""
    assert plan.measured is not None
    whole = plan.history[0]
    # whatever else a phase keeps to be recorded, one program is compiled
    phase = needed(column, whole, Geometry.provides)
    found = _balance_all(column, phase, initial_state(column, plan), plan.measured)
    constant, series = whole.constant | found.phase.constant, whole.series | found.phase.series
    return found._replace(phase=dataclasses.replace(whole, constant=constant, series=series))


def measured_start(column: Column, plan: Plan) -> Balance:
    """The measured start of each site, before a plan is prepared."""
    first = dataclasses.replace(plan, history=plan.history[:1], experiment=None)
    return balance(column, prepare_plan(column, first))


def mean_years(case: Case) -> tuple[Plan, np.ndarray]:
    """A plan of one year: of the first phase of each site, and the mean of each treatment.

    Its measured stock is that of the sites, and the plant carbon is what is sought: in the mean
    months, and evenly over the year where nothing grows.

    Returns:
        The plan, and the plant carbon of each of its members, t C/ha.
    """
    file = case.file
    year = np.array([file.start_year])
    named = [(site, site, at_site(file.history[0].land_use, site)) for site in case.sites]
    years = [_site_phase(case, site, use, 0, year) for _, site, use in named]
    if file.experiment:
        of = np.arange(file.history[-1].until + 1, file.experiment.until + 1)
        named += [(t.name, t.site, "") for t in file.treatment]
        years += [_treatment(case, t, of) for t in file.treatment]
    plants = [of_years["plant_input"].sum(axis=-1).mean() for of_years in years]
    rows = [_mean_year(of_years) for of_years in years]
    sites = [site for _, site, _ in named]
    phase = dataclasses.replace(_phase(case, rows, year, 1), yearly={})
    plan = Plan(
        members=tuple(name for name, _, _ in named),
        sites=tuple(sites),
        site_of=tuple(range(len(sites))),
        history=(phase,),
        experiment=None,
        iom=jnp.asarray(np.stack([_iom(case, site) for site in sites])),
        ground=None,
        horizons=None,
        measured=measured_stocks(file, sites, "input"),
        start_year=file.start_year,
        experiment_year=file.start_year + 1,
        radiocarbon=False,
    )
    return plan, np.array(plants)


def _mean_year(years: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The mean of some years; a unit of plant carbon stands where they have none."""
    mean = {name: values.mean(axis=0, keepdims=True) for name, values in years.items()}
    months = mean["plant_input_months"].sum()
    mean["plant_input_months"] = (
        mean["plant_input_months"] / months if months > 0 else np.full((1, 12), 1 / 12)
    )
    if mean["plant_input"].sum() == 0:
        mean["plant_input"] = np.eye(1, mean["plant_input"].size)
    return mean


@kept_program
def _balance_all(column: Column, phase: Phase, states: State, measured: Measured) -> Balance:
    def one(phase: Phase, state: State, measured: Measured) -> Balance:
        return balanced(column.with_parameters(phase.own), phase, state, measured)

    result: Balance = jax.vmap(one)(phase, states, measured)
    return result


def run(
    column: Column, plan: Plan, in_history: Record = NOTHING, in_experiment: Record = NOTHING
) -> tuple[State, list[Environment], Environment]:
    """Live through a plan.

    Args:
        column: the column with the parameters to use.
        plan: from :func:`build` or :func:`prepare_plan`.
        in_history: what to record of the history, by site.
        in_experiment: what to record of the experiment, by treatment.

    Returns:
        Final states by member, the records of the history phases, the record of the experiment.
    """
    plan, states = begin(column, settled(column, plan))
    kept = []
    for phase in plan.history:
        states, record = _advance_all(column, phase, states, in_history)
        kept.append(record)
    states = gather(states, plan.site_of)
    record = {}
    if plan.experiment is not None:
        states, record = _advance_all(column, plan.experiment, states, in_experiment)
    return states, kept, record


def _advance_all(
    column: Column, phase: Phase, states: State, record: Record
) -> tuple[State, Environment]:
    def one(phase: Phase, state: State) -> tuple[State, Environment]:
        return advance(column.with_parameters(phase.own), phase, state, record)

    result: tuple[State, Environment] = jax.vmap(one)(phase, states)
    return result


@kept_program
def gather(states: State, index: tuple[int, ...]) -> State:
    """The states of members, out of those of their sites."""
    return jax.tree.map(lambda x: x[jnp.asarray(index)], states)


def _iom(case: Case, site: str) -> np.ndarray:
    soil = prescribed(case, site, [], np.array([case.file.start_year]))
    return soil["iom_percent"][0] / 100 * soil["soil_mass"][0]


def _site_phase(
    case: Case, site: str, land_use: str, number: int, years: np.ndarray
) -> dict[str, np.ndarray]:
    phase = case.file.history[number]
    use = case.file.land_use[land_use]
    weather = case.climate[at_site(phase.climate, site)]
    amount = yearly_npp(use, weather)
    if number == 0 and case.file.seeks_input and use.npp is None and use.plant_carbon_t_ha is None:
        amount = 1.0  # any amount, of which the balance finds a multiple
    n = len(years)
    entries = _land_use(case, use, amount, manure=use.manure_carbon_t_ha)
    constant = {k: np.broadcast_to(v, (n, *np.shape(v))) for k, v in entries.items()}
    climate = {k: np.broadcast_to(v, (n, 12)) for k, v in _climate(weather).items()}
    if case.whole_soil:
        own = [a for a in phase.amendments if site in (a.sites or (site,))]
        added = additions(own, years, phase.step_years)
        added["manure_input"] += constant.pop("manure_input")
        soil = _material(case, site, n) | added
        soil |= _erosion(case, years, phase.erosion_mm_a)
    else:
        soil = _without_iom(prescribed(case, site, [], years))
    return soil | constant | climate


def _treatment(case: Case, treatment: Treatment, years: np.ndarray) -> dict[str, np.ndarray]:
    assert case.management is not None  # the case has been checked
    assert case.file.experiment is not None
    table = case.management
    rows = table[table["treatment"] == treatment.name].set_index("year").loc[years]
    early = case.climate[at_site(case.file.history[-1].climate, treatment.site)]
    uses = {name: case.file.land_use[name] for name in rows["land_use"].unique()}
    own_npp = {name: yearly_npp(use, early) for name, use in uses.items() if use.npp is not None}
    entries = []
    for row in rows.to_dict("records"):
        name = row["land_use"]
        entries.append(
            _land_use(
                case,
                uses[name],
                own_npp.get(name, row["plant_carbon_base_t_ha"]),
                row["plant_carbon_yield_t_ha"],
                row["manure_carbon_t_ha"],
                row["fallow_share"],
                treatment.input_groups,
            )
        )
    series = {k: np.stack([e[k] for e in entries]) for k in entries[0]}
    weather = case.climate[at_site(case.file.experiment.climate, treatment.site)]
    weather = weather_of_years(weather, years)
    climate = {k: v.reshape(len(years), 12) for k, v in _climate(weather).items()}
    if case.whole_soil:
        added = additions([], years, 1)
        added["added_calcite"] = rows["lime_mol_m2"].to_numpy(float)
        added["added_nitrogen"] = rows["ammonium_kg_ha"].to_numpy(float) / KG_HA_PER_MOL_N_M2
        # lime and fertiliser of a ploughed field are worked in in their year
        spread = added["added_calcite"] + added["added_nitrogen"] > 0
        added["amendment_depth"] = np.where(spread, series["plough_depth"], 0.0)
        added["manure_input"] += series.pop("manure_input")
        soil = _material(case, treatment.site, len(years)) | added
        soil |= _erosion(case, years, case.file.experiment.erosion_mm_a)
    else:
        soil = _without_iom(prescribed(case, treatment.site, treatment.changes, years))
    return soil | series | climate


def _ground(case: Case) -> Ground:
    """The mineral soil of all sites at the start."""
    return jax.tree.map(lambda *x: jnp.stack(x), *[_site_ground(case, s) for s in case.sites])


def _horizons(case: Case) -> Horizons:
    """The horizons of all sites."""
    grid = case.file.grid
    soils = [case.file.soil[case.file.site[site]] for site in case.sites]
    most = max(len(soil.horizons) for soil in soils)
    each = [horizons(soil, grid, most, layer_shares(soil, grid)) for soil in soils]
    return jax.tree.map(lambda *x: jnp.stack(x), *each)


def _site_ground(case: Case, site: str) -> Ground:
    soil = initial_ground(case, site)
    return Ground(
        minerals=jnp.asarray(soil["minerals"]),
        calcite=jnp.asarray(soil["calcite"]),
        labile=jnp.zeros((len(SOLUTES), case.file.grid.layers)),  # see settled
        ph=jnp.asarray(np.where(soil["calcite"] > 0, PH_CALCAREOUS, PH_LEACHED)),
        respiration=jnp.zeros(case.file.grid.layers),
        gained=jnp.zeros(len(BUDGET)),
        lost=jnp.zeros(len(BUDGET)),
    )


def _material(case: Case, site: str, steps: int) -> dict[str, np.ndarray]:
    """What the soil of a site is made of, what lies below it and what falls on it."""
    soil = case.file.soil[case.file.site[site]]
    parent = laid_down(case, soil.horizons[-1])
    fallen = case.file.deposition
    dust: tuple[np.ndarray, float] = (np.zeros((len(MINERALS), len(SIZES))), 0.0)
    if fallen.dust_mineralogy is not None:
        dust = composition(
            fallen.dust_clay_percent,
            fallen.dust_silt_percent,
            fallen.dust_calcite_percent,
            case.file.mineralogy[fallen.dust_mineralogy],
        )
    unit = {name: "mmol_m2_a" if name == "silicon" else "mmolc_m2_a" for name in SOLUTES}
    rain = [getattr(fallen, f"{name}_{unit[name]}") for name in SOLUTES]
    values = {
        "parent_minerals": parent["minerals"],
        "parent_calcite": parent["calcite"],
        "dust_minerals": fallen.dust_g_m2_a / G_PER_KG * dust[0],
        "dust_calcite": np.asarray(fallen.dust_g_m2_a / G_PER_KG * dust[1]),
        "deposited_solutes": np.array(rain) / MMOL,
    }
    return {k: np.broadcast_to(v, (steps, *v.shape)) for k, v in values.items()}


def _erosion(case: Case, years: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    events = erosion_events(case.path, case.file)
    return {
        "removed_layers": np.isin(years, events).astype(float),
        "erosion_rate": np.full(len(years), 0.0 if case.file.erodes_in_events else rate / MM_PER_M),
    }


def additions(
    amendments: Sequence[Amendment], years: np.ndarray, step: int
) -> dict[str, np.ndarray]:
    """What is added to the soil in each slow step, and how deep it goes."""
    n = len(years)
    values = {
        "added_minerals": np.zeros((n, len(MINERALS), len(SIZES))),
        "added_calcite": np.zeros(n),
        "added_solutes": np.zeros((n, len(SOLUTES))),
        "added_nitrogen": np.zeros(n),
        "amendment_depth": np.zeros(n),
        "manure_input": np.zeros(n),
    }
    for amendment in amendments:
        material = amendment.material
        amount = _mol(amendment)
        if amendment.every_years is None:
            times = (years == amendment.year).astype(float)
        else:
            times = np.full(n, step / amendment.every_years)
        if material == "manure":
            values["manure_input"] += times * amount * MG_PER_KG_M2 / step
        elif material == "calcite":
            values["added_calcite"] += times * amount
        elif material in CATIONS:
            solute = SOLUTES.index(material)
            charge = times * amount * CHARGE[solute]
            values["added_solutes"][:, solute] += charge
            # fertiliser is a chloride or a sulphate: without its anions it would be lime
            values["added_solutes"][:, SOLUTES.index("anions")] += charge
        else:
            size = SIZES.index(amendment.size or "silt")
            values["added_minerals"][:, MINERALS.index(material), size] += times * amount
        if material != "manure":
            values["amendment_depth"][times > 0] = amendment.depth_m
    return values


def _mol(amendment: Amendment) -> float:
    """One addition, mol/m2; of manure kg carbon/m2."""
    if amendment.mol_m2 is not None:
        return amendment.mol_m2
    assert amendment.kg_m2 is not None
    if amendment.material == "manure":
        return amendment.kg_m2
    if amendment.material == "calcite":
        return amendment.kg_m2 / CALCITE_MASS
    if amendment.material in CATIONS:
        return amendment.kg_m2 * G_PER_KG / ATOMIC_WEIGHT[amendment.material]
    return float(amendment.kg_m2 / MOLAR_MASS[MINERALS.index(amendment.material)])


def _without_iom(soil: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: v for k, v in soil.items() if k != "iom_percent"}


def _climate(weather: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        "air_temperature": weather["temperature_c"].to_numpy(float),
        "precipitation": weather["precipitation_mm"].to_numpy(float),
        "potential_evapotranspiration": weather["pet_mm"].to_numpy(float),
    }


def _land_use(
    case: Case,
    use: LandUse,
    base: float,
    by_yield: float = 0.0,
    manure: float = 0.0,
    fallow: float = 0.0,
    own_groups: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Variables of one land use in one year."""
    amounts = dict.fromkeys(case.input_groups, 0.0)
    for group, amount in ((use.input_group, base), (use.yield_group or use.input_group, by_yield)):
        amounts[own_groups.get(group, group)] += amount
    values = {
        "cover": np.array(use.cover) * (1 - fallow),
        "plant_input": np.array(list(amounts.values())),
        "plant_input_months": np.array(use.plant_input_months),
        "leaf_share": use.leaf_share,
        "root_beta": use.root_beta,
        "litter_layer": float(use.litter_layer),
        "dpm_rpm_ratio": use.dpm_rpm_ratio,
        "manure_input": manure,
        "manure_months": np.array(use.manure_months),
        "plough_depth": use.plough_depth_m,
    }
    if case.whole_soil:
        content = use.litter_cations_g_kg
        mol = [getattr(content, name, 0.0) / ATOMIC_WEIGHT.get(name, 1.0) for name in SOLUTES]
        values["litter_cations"] = np.array(mol) * np.array(CHARGE)
        values["harvest_share"] = use.harvest_share
        values["uptake_shallowness_factor"] = use.uptake_shallowness_factor
    return {k: np.asarray(v, dtype=float) for k, v in values.items()}


def _phase(
    case: Case, by_member: list[dict[str, np.ndarray]], years: np.ndarray, step: int
) -> Phase:
    """Stack members; what never changes in the phase becomes constant."""
    constant, series = {}, {}
    for name in by_member[0]:
        values = np.stack([member[name] for member in by_member])
        if np.all(values == values[:, :1]):
            constant[name] = jnp.asarray(values[:, 0])
        else:
            series[name] = jnp.asarray(values)
    return Phase(
        steps=len(years),
        years_per_step=step,
        constant=constant,
        series=series,
        yearly=_atmosphere(case, len(by_member), years, step),
        reuse=_reuse(series, len(years), max(1, case.file.water_reuse_years // step)),
    )


def _reuse(series: Environment, steps: int, most: int) -> int:
    """Slow steps that a year of water stands for: the weather stays, and they fill the phase."""
    changes = {steps}
    for name in WEATHER & series.keys():
        values = np.asarray(series[name])
        others = tuple(axis for axis in range(values.ndim) if axis != 1)
        changed = np.any(values[:, 1:] != values[:, :-1], axis=others)
        changes |= set(1 + np.flatnonzero(changed))
    together = np.gcd.reduce(list(changes))
    return max(d for d in range(1, most + 1) if together % d == 0)


def _atmosphere(case: Case, members: int, years: np.ndarray, step: int) -> Environment:
    table = case.atmosphere
    if table is None:
        return {}
    each = years[:, None] + np.arange(step)[None, :]
    level = np.interp(each, table["year"], table["activity"])
    return {"atmosphere_14c": jnp.asarray(np.broadcast_to(level, (members, *level.shape)))}

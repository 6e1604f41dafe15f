"""The official single-layer RothC, differentiable: pools, radiocarbon and CO2, month by month.

RothC-26.3 as Rothamsted Research publishes it (Coleman & Jenkinson 1996; Coleman, Prout &
Milne 2025): decomposition first, fresh input at the end of the month, a spin-up that repeats
twelve months until the active carbon changes by no more than 1e-6 t C/ha in a year. The soil
moisture options of version 2.0.0 (Farina et al. 2013) follow the published equations; there is
no reference output for them to compare with.

Radiocarbon is carried as an amount (carbon times activity), which is linear in the pools; ages
are made from it for output. All functions are for one site; ``jax.vmap`` gives many.
"""

import dataclasses
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import pandas as pd
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from diffsoil import io
from diffsoil._runtime import require_float64
from diffsoil.cases import plausible
from diffsoil.io import InputError
from diffsoil.processes import carbon, pedotransfer, rate_modifiers
from diffsoil.state import ACTIVE, POOLS
from diffsoil.tables import NOTE, Column, Meant, checked_table, number, read_table
from diffsoil.work.files import OutputFile, table_with

RATES = (10.0, 0.3, 0.66, 0.02)
"""Decomposition rates of DPM, RPM, BIO and HUM, 1/a."""

RADIOCARBON_DECAY = math.log(2.0) / 5568.0
"""1/a, with the conventional half-life of the official code."""

RADIOCARBON_MEAN_LIFE = 8035.0
"""Years; turns an age into a delta 14C."""

IOM_AGE = 50_000.0
"""Radiocarbon age of the inert organic matter, years."""

LEAST_MODERN = 20.0
"""% modern; plants had 97 and more for thousands of years, and one less has fed no soil."""

REFERENCE_DEPTH_CM = 23.0
"""Depth of the Rothamsted topsoil, for which the moisture deficit was measured."""

EVAPORATION_PER_PAN = 0.75
"""Evapotranspiration for one mm of open-pan evaporation."""

FARINA_BARE = 0.6388 / 0.8
"""Bare-soil limit with van Genuchten parameters, from 15 bar towards 1 bar."""

FIELD_CAPACITY_CM, ONE_BAR_CM, WILTING_CM, DRIEST_CM = 50.0, 1e3, 1.5e4, 1e6
"""Suction heads of the moisture deficits, cm (official code: 1 bar is 1000 cm)."""

SPINUP_TOLERANCE = 1e-6
"""Change of the active carbon in a year at which the spin-up ends, t C/ha."""

SPINUP_DOUBLINGS = 17
SPINUP_YEARS = 2**SPINUP_DOUBLINGS
"""Years after which a spin-up gives up; a soil that never thaws has no steady state."""

EMPTY = 1e-30
"""Carbon, t C/ha, at or below which a pool has no age."""

FARINA_KEYS = ("silt_pct", "bulk_density_g_cm3", "oc_pct")


def _real(value: Any) -> Any:
    return None if value is None else jnp.asarray(value, dtype=float)


class Site(eqx.Module):
    """A soil, and the options of its moisture deficit.

    The options are fixed at compile time; everything else may be traced. For many sites give
    every number, ``min_rm_moist`` too, a leading axis and map it with ``jax.vmap``.

    Raises:
        ValueError: an option that does not exist, or ``rm_moist`` 2 or 3 without silt, bulk
            density and organic carbon.
    """

    clay_pct: Float[Array, "..."] = eqx.field(converter=_real)
    """Clay (< 2 um), mass %, 0 to 100."""
    depth_cm: Float[Array, "..."] = eqx.field(converter=_real)
    """Thickness of the layer, cm, > 0."""
    iom_tC_ha: Float[Array, "..."] = eqx.field(converter=_real)  # noqa: N815 - as in the files
    """Inert organic matter, t C/ha, >= 0."""
    silt_pct: Float[Array, "..."] | None = eqx.field(converter=_real, default=None)
    """Silt (2 to 50 um), mass %."""
    bulk_density_g_cm3: Float[Array, "..."] | None = eqx.field(converter=_real, default=None)
    """Dry bulk density, g/cm3."""
    oc_pct: Float[Array, "..."] | None = eqx.field(converter=_real, default=None)
    """Organic carbon, mass %."""
    min_rm_moist: Float[Array, "..."] = eqx.field(converter=_real, default=0.2)
    """Smallest moisture modifier, 0 to 1."""
    rm_moist: int = eqx.field(static=True, default=1)
    """1: standard deficit; 2: van Genuchten, drying to 1000 bar; 3: van Genuchten, to 15 bar."""
    smd_bare: int = eqx.field(static=True, default=1)
    """Driest bare soil; 1: standard; 2: 15 bar."""

    def __check_init__(self) -> None:
        if self.rm_moist not in (1, 2, 3):
            raise ValueError(f"rm_moist {self.rm_moist} is not 1, 2 or 3")
        if self.smd_bare not in (1, 2):
            raise ValueError(f"smd_bare {self.smd_bare} is not 1 or 2")
        absent = [key for key in FARINA_KEYS if getattr(self, key) is None]
        if self.rm_moist != 1 and absent:
            raise ValueError(f"rm_moist {self.rm_moist} needs {absent[0]}")


class Forcing(eqx.Module):
    """Weather, input and management of consecutive months; all arrays of one length."""

    modern_pct: Float[Array, "..."] = eqx.field(converter=_real)
    """14C activity of the input, % modern."""
    tmp_c: Float[Array, "..."] = eqx.field(converter=_real)
    """Mean air temperature, degrees C."""
    rain_mm: Float[Array, "..."] = eqx.field(converter=_real)
    """Rain of the month, mm."""
    evap_mm: Float[Array, "..."] = eqx.field(converter=_real)
    """Open-pan evaporation of the month, mm (potential evapotranspiration / 0.75)."""
    c_inp_tC_ha: Float[Array, "..."] = eqx.field(converter=_real)  # noqa: N815 - as in the files
    """Plant carbon that enters the soil, t C/ha."""
    fym_tC_ha: Float[Array, "..."] = eqx.field(converter=_real)  # noqa: N815 - as in the files
    """Farmyard manure carbon, t C/ha."""
    pc: Float[Array, "..."] = eqx.field(converter=_real)
    """Plant cover, 1 or 0."""
    dpm_rpm: Float[Array, "..."] = eqx.field(converter=_real)
    """Ratio of DPM to RPM in the plant carbon, >= 0."""


class RothCOutput(NamedTuple):
    """What :func:`run` returns; the first axis is the month, values are for its end."""

    pools: Float[Array, "month 5"]
    """DPM, RPM, BIO, HUM, IOM, t C/ha."""
    soc: Float[Array, " month"]
    """Sum of the pools, t C/ha."""
    delta_c: Float[Array, " month"]
    """Delta 14C of the whole soil, permil."""
    rm_tmp: Float[Array, " month"]
    """Rate modifier a, temperature."""
    rm_moist: Float[Array, " month"]
    """Rate modifier b, moisture."""
    rm_pc: Float[Array, " month"]
    """Rate modifier c, plant cover."""
    swc_mm: Float[Array, " month"]
    """Soil water relative to field capacity, mm, <= 0."""
    co2: Float[Array, " month"]
    """CO2 carbon released since the first month, t C/ha."""
    ages: Float[Array, "month 4"]
    """Radiocarbon ages of DPM, RPM, BIO and HUM, years; 0 for an empty pool."""
    start_pools: Float[Array, "5"]
    """Pools after the spin-up, t C/ha."""
    start_ages: Float[Array, "4"]
    """Ages after the spin-up, years."""
    spinup_years: Int[Array, ""]
    """Years the spin-up took."""
    spun_up: Bool[Array, ""]
    """Whether the spin-up reached its tolerance."""


class MoistureLimits(NamedTuple):
    """Moisture deficits that shape a soil's drying and its modifier, mm, >= 0."""

    without_effect: Float[Array, ""]
    """Deficit up to which the modifier is 1 (1 bar)."""
    wilting: Float[Array, ""]
    """Deficit at which the modifier reaches its minimum (15 bar)."""
    covered: Float[Array, ""]
    """Largest deficit under plants."""
    bare: Float[Array, ""]
    """Largest deficit that a bare soil reaches by itself."""


def moisture_limits(site: Site) -> MoistureLimits:
    """Deficits of a site by its options.

    Source: RothC-26.3 (20 + 1.3 clay - 0.01 clay^2 mm in 23 cm); Farina et al. 2013 and
    RothC 2.0.0 for ``rm_moist`` 2 and 3 and ``smd_bare`` 2, with the HYPRES topsoil functions.
    """
    if site.rm_moist == 1:
        clay = site.clay_pct
        wilting = (20.0 + 1.3 * clay - 0.01 * clay**2) * site.depth_cm / REFERENCE_DEPTH_CM
        one_bar = rate_modifiers.DEFICIT_WITHOUT_EFFECT * wilting
        covered, bare = wilting, rate_modifiers.BARE_SOIL_LIMIT * wilting
    else:
        one_bar, wilting, driest = _retention_deficits(site)
        covered = driest if site.rm_moist == 2 else wilting
        bare = wilting - FARINA_BARE * (wilting - one_bar)
    return MoistureLimits(one_bar, wilting, covered, wilting if site.smd_bare == 2 else bare)


def _retention_deficits(site: Site) -> tuple[Array, Array, Array]:
    """Deficits at 1, 15 and 1000 bar from the retention curve, mm."""
    assert site.silt_pct is not None  # Site has checked
    assert site.bulk_density_g_cm3 is not None
    assert site.oc_pct is not None
    organic_matter = pedotransfer.ORGANIC_MATTER_PER_CARBON * site.oc_pct
    curve = pedotransfer.wosten1999(
        site.clay_pct, site.silt_pct, organic_matter, site.bulk_density_g_cm3, 1.0
    )
    wet, *dry = (
        pedotransfer.water_content(curve, head)
        for head in (FIELD_CAPACITY_CM, ONE_BAR_CM, WILTING_CM, DRIEST_CM)
    )
    one_bar, wilting, driest = (10.0 * site.depth_cm * (wet - water) for water in dry)
    return one_bar, wilting, driest


class _Months(NamedTuple):
    """What the months bring, apart from the moisture that they inherit."""

    surplus: Float[Array, " month"]
    """Rain less evapotranspiration, mm."""
    covered: Bool[Array, " month"]
    rm_tmp: Float[Array, " month"]
    rm_pc: Float[Array, " month"]
    inputs: Float[Array, "month 4 2"]
    """Fresh carbon and radiocarbon by pool, t C/ha."""


def _months(forcing: Forcing) -> _Months:
    plant_dpm, plant_rpm = carbon.plant_shares(forcing.dpm_rpm)
    plant, manure = forcing.c_inp_tC_ha, forcing.fym_tC_ha
    fresh = jnp.stack(
        [
            plant_dpm * plant + carbon.MANURE_DPM * manure,
            plant_rpm * plant + carbon.MANURE_RPM * manure,
            jnp.zeros_like(manure),
            carbon.MANURE_HUM * manure,
        ],
        axis=-1,
    )
    activity = forcing.modern_pct / 100.0
    return _Months(
        surplus=forcing.rain_mm - EVAPORATION_PER_PAN * forcing.evap_mm,
        covered=forcing.pc > 0.0,
        rm_tmp=rate_modifiers.temperature_factor(forcing.tmp_c),
        rm_pc=rate_modifiers.cover_factor(forcing.pc),
        inputs=jnp.stack([fresh, fresh * activity[:, None]], axis=-1),
    )


def _deficits(start: Array, months: _Months, limits: MoistureLimits) -> Float[Array, " month"]:
    """Moisture deficit at the end of each month, mm, from the deficit at the start."""

    def step(deficit: Array, month: tuple[Array, Array]) -> tuple[Array, Array]:
        surplus, covered = month
        # a soil that is drier than the bare limit when plants go stays as dry as it is
        limit = jnp.where(covered, limits.covered, jnp.maximum(limits.bare, deficit))
        deficit = jnp.minimum(limit, jnp.maximum(0.0, deficit - surplus))
        return deficit, deficit

    return lax.scan(step, start, (months.surplus, months.covered))[1]


def _moisture(deficit: Array, site: Site, limits: MoistureLimits) -> Array:
    return rate_modifiers.moisture_factor(
        deficit, limits.wilting, site.min_rm_moist, limits.without_effect
    )


def _turnover(
    pools: Float[Array, "4 tracer"],
    modifiers: Float[Array, " month"],
    inputs: Float[Array, "month 4 tracer"],
    rates: Float[Array, "4"],
    ratio: Float[Array, ""],
    keeps: Float[Array, " tracer"],
) -> tuple[Float[Array, "month 4 tracer"], Float[Array, "month tracer"]]:
    """Pools and CO2 of each month; ``keeps`` is what radioactive decay leaves in a month."""

    def step(pools: Array, month: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        modifier, fresh = month
        left, lost = carbon.decompose(
            pools, jnp.broadcast_to(modifier, pools.shape[1:]), rates, ratio
        )
        pools = left * keeps[None, :] + fresh
        return pools, (pools, lost)

    return lax.scan(step, pools, (modifiers, inputs))[1]


def _keeps() -> Float[Array, "2"]:
    """What a month of decay leaves of carbon and of radiocarbon."""
    return jnp.asarray([1.0, math.exp(-RADIOCARBON_DECAY / 12.0)])


class _Soil(NamedTuple):
    """What one year of turnover needs to know of the soil."""

    site: Site
    limits: MoistureLimits
    rates: Float[Array, "4"]
    ratio: Float[Array, ""]


class _SpunUp(NamedTuple):
    """Soil at the end of a spin-up."""

    pools: Float[Array, "4 2"]
    deficit: Float[Array, ""]
    years: Int[Array, ""]
    change: Float[Array, ""]


def _year(pools: Array, deficit: Array, months: _Months, soil: _Soil) -> tuple[Array, Array]:
    """Pools and deficit after the spin-up year."""
    deficits = _deficits(deficit, months, soil.limits)
    modifiers = months.rm_tmp * months.rm_pc * _moisture(deficits, soil.site, soil.limits)
    after, _ = _turnover(pools, modifiers, months.inputs, soil.rates, soil.ratio, _keeps())
    return after[-1], deficits[-1]


def _iterate(months: _Months, soil: _Soil, tolerance: Array) -> _SpunUp:
    """Repeat the spin-up year from an empty soil at field capacity. Not differentiable."""

    def unfinished(now: _SpunUp) -> Array:
        return (now.change > tolerance) & (now.years < SPINUP_YEARS)

    def another(now: _SpunUp) -> _SpunUp:
        pools, deficit = _year(now.pools, now.deficit, months, soil)
        change = jnp.abs(jnp.sum(pools[:, 0]) - jnp.sum(now.pools[:, 0]))
        return _SpunUp(pools, deficit, now.years + 1, change)

    start = _SpunUp(
        jnp.zeros((ACTIVE, 2)), jnp.zeros(()), jnp.zeros((), dtype=int), jnp.array(jnp.inf)
    )
    return lax.while_loop(unfinished, another, start)


def _yearly_map(deficit: Array, months: _Months, soil: _Soil) -> Float[Array, "4 4"]:
    """What a year makes of one unit in each pool; column j is pool j."""
    moisture = _moisture(_deficits(deficit, months, soil.limits), soil.site, soil.limits)
    modifiers = months.rm_tmp * months.rm_pc * moisture
    nothing = jnp.zeros((modifiers.shape[0], ACTIVE, ACTIVE))
    units, keeps = jnp.eye(ACTIVE), jnp.ones(ACTIVE)
    return _turnover(units, modifiers, nothing, soil.rates, soil.ratio, keeps)[0][-1]


def _accumulated(yearly: Float[Array, "4 4"]) -> Float[Array, "4 4"]:
    """Sum of the powers 0 ... 2^17 - 1 of a yearly map, finite where ``1 - yearly`` is singular."""

    def double(_: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        total, power = sums
        return total + power @ total, power @ power

    return lax.fori_loop(0, SPINUP_DOUBLINGS, double, (jnp.eye(ACTIVE), yearly))[0]


def _spin_up(months: _Months, soil: _Soil, tolerance: Array) -> _SpunUp:
    """Soil after the spin-up, with the derivative of the fixed point it approaches.

    The value is the last iterate x. With the year written x -> A x + b, the derivative is that
    of the fixed point, (1 - A)^-1 (dA x + db): A is summed as a series, dA x + db comes from one
    more year with live parameters. So neither mode differentiates thousands of years.
    """
    held_months, held_soil, tolerance = lax.stop_gradient((months, soil, tolerance))
    end = lax.stop_gradient(_iterate(held_months, held_soil, tolerance))

    # In a steady year the deficit meets one of its limits, so its end does not depend on its
    # start: one year with live parameters gives the whole derivative.
    year_end = _deficits(end.deficit, months, soil.limits)[-1]
    deficit = end.deficit + (year_end - lax.stop_gradient(year_end))
    after, _ = _year(end.pools, deficit, months, soil)

    yearly = _yearly_map(end.deficit, held_months, held_soil)
    response = jnp.stack(
        [
            _accumulated(yearly * kept) @ (after - lax.stop_gradient(after))[:, tracer]
            for tracer, kept in enumerate((1.0, math.exp(-RADIOCARBON_DECAY)))
        ],
        axis=-1,
    )
    return end._replace(pools=end.pools + response, deficit=deficit)


def _age(amount: Array, radiocarbon: Array) -> Array:
    """Radiocarbon age in years; 0 where there is (next to) no carbon."""
    there = amount > EMPTY
    activity = jnp.where(there, radiocarbon, 1.0) / jnp.where(there, amount, 1.0)
    # carbon that never held any radiocarbon gets a very old age instead of an infinite one
    return (0.0 - jnp.log(jnp.maximum(activity, 1e-12))) / RADIOCARBON_DECAY


def _with_iom(active: Float[Array, "*month 4"], site: Site) -> Float[Array, "*month 5"]:
    iom = jnp.broadcast_to(site.iom_tC_ha, (*active.shape[:-1], 1))
    return jnp.concatenate([active, iom], axis=-1)


@jax.jit
def run(
    site: Site,
    spinup_forcing: Forcing,
    forcing: Forcing,
    rates: ArrayLike | tuple[float, ...] = RATES,
    tolerance: ArrayLike = SPINUP_TOLERANCE,
) -> RothCOutput:
    """Spin up one site from an empty soil, then run its months.

    Forward and reverse derivatives go through both; the derivative of the spin-up is that of the
    steady state it approaches, the value is where it stopped.

    Args:
        site: the soil.
        spinup_forcing: January to December, repeated until the change of DPM + RPM + BIO + HUM
            in a year is at most ``tolerance``, or for 131072 years.
        forcing: the months to run, any number.
        rates: decomposition rates of DPM, RPM, BIO and HUM, 1/a, > 0.
        tolerance: t C/ha; the official value is 1e-6.

    Source: RothC-26.3, constants and order of the official code.
    """
    require_float64()
    soil = _Soil(
        site=site,
        limits=moisture_limits(site),
        rates=jnp.asarray(rates, dtype=float),
        ratio=carbon.co2_ratio(site.clay_pct),
    )
    start = _spin_up(_months(spinup_forcing), soil, jnp.asarray(tolerance, dtype=float))
    months = _months(forcing)
    deficits = _deficits(start.deficit, months, soil.limits)
    rm_moist = _moisture(deficits, site, soil.limits)
    modifiers = months.rm_tmp * rm_moist * months.rm_pc
    pools, lost = _turnover(start.pools, modifiers, months.inputs, soil.rates, soil.ratio, _keeps())
    active, radiocarbon = pools[..., 0], pools[..., 1]
    soc = jnp.sum(active, axis=-1) + site.iom_tC_ha
    iom_radiocarbon = site.iom_tC_ha * math.exp(-RADIOCARBON_DECAY * IOM_AGE)
    age = _age(soc, jnp.sum(radiocarbon, axis=-1) + iom_radiocarbon)
    return RothCOutput(
        pools=_with_iom(active, site),
        soc=soc,
        delta_c=1000.0 * jnp.expm1(-age / RADIOCARBON_MEAN_LIFE),
        rm_tmp=months.rm_tmp,
        rm_moist=rm_moist,
        rm_pc=months.rm_pc,
        swc_mm=0.0 - deficits,
        co2=jnp.cumsum(lost[:, 0]),
        ages=_age(active, radiocarbon),
        start_pools=_with_iom(start.pools[:, 0], site),
        start_ages=_age(start.pools[:, 0], start.pools[:, 1]),
        spinup_years=start.years,
        spun_up=start.change <= tolerance,
    )


SITE_KEYS = {
    "clay_pct": Column("float", 0.0, 100.0, unit="%"),
    "depth_cm": Column("float", 0.1, 1000.0, unit="cm"),
    "iom_tC_ha": Column("float", 0.0, 1e4, unit="t C/ha"),
    "silt_pct": Column("float", 0.0, 100.0, required=False, unit="%"),
    "bulk_density_g_cm3": Column(
        "float", 0.1, 2.65, required=False, unit="g/cm3", hint="is this in kg/m3?"
    ),
    "oc_pct": Column("float", 0.0, 60.0, required=False, unit="%", hint="is this in g/kg?"),
    "min_rm_moist": Column("float", 0.0, 1.0, required=False),
    "rm_moist": Column("int", 1, 3, required=False),
    "smd_bare": Column("int", 1, 2, required=False),
}
"""Keys of a site file."""

OPTION_KEYS = {
    "opt_RMmoist": "rm_moist",
    "opt_SMDbare": "smd_bare",
    "siltper": "silt_pct",
    "BD": "bulk_density_g_cm3",
    "OC": "oc_pct",
    "minRM_Moist": "min_rm_moist",
}
"""Names that version 2 of the official program has for keys of a site; a site file may too."""

HEADER_KEYS = {"clay": "clay_pct", "depth": "depth_cm", "iom": "iom_tC_ha", **OPTION_KEYS}
"""Names in the header of the official program's input file, besides ``nsteps``."""

KEYS_OF_A_RUN = (
    "n_input_rows",
    "n_run_months",
    "spinup_months_until_converged",
    "spinup_convergence",
    "state_after_spinup",
    "swc_mm_after_spinup",
    "radiocarbon_age_yr_after_spinup",
)
"""What a site file may say about a run of the official program; it is not read."""

INPUT_COLUMNS = {
    "role": Column("str", choices=("spinup", "run")),
    "year": Column("int", -1e6, 1e6),
    "month": Column("int", 1, 12),
    "modern_pct": Column("float", 0.0, 1000.0, unit="% modern"),
    "tmp_c": Column("float", -60.0, 60.0, unit="degrees C", hint="is this in kelvin?"),
    "rain_mm": Column("float", 0.0, 5000.0, unit="mm a month"),
    # the official files have months of dew, down to -20.7 mm, and the official code takes them
    "evap_mm": Column("float", -50.0, 5000.0, unit="mm a month"),
    "c_inp_tC_ha": Column("float", 0.0, 100.0, unit="t C/ha", hint="is this in g/m2 or kg/ha?"),
    "fym_tC_ha": Column("float", 0.0, 100.0, unit="t C/ha", hint="is this in g/m2 or kg/ha?"),
    "pc": Column("int", 0, 1),
    "dpm_rpm": Column("float", 0.0, 1000.0),
}
"""Columns of an input file."""

OFFICIAL_COLUMNS = {
    "year": "year",
    "month": "month",
    "modern": "modern_pct",
    "Tmp": "tmp_c",
    "Rain": "rain_mm",
    "Evap": "evap_mm",
    "C_inp": "c_inp_tC_ha",
    "FYM": "fym_tC_ha",
    "PC": "pc",
    "DPM_RPM": "dpm_rpm",
}
"""Columns of the official program's input file, and what they are called in ours."""

CONFIRMED = Meant((), "--plausible {} says that it is meant")


def read_site(path: str | Path, meant: Meant = CONFIRMED) -> Site:
    """Read a site file: a JSON object with the fields of :class:`Site`.

    The options of version 2 of the official program may have their names there; what a run of it
    was like may be told; a note of the user's own begins with ``note``.

    Raises:
        InputError: all that is wrong: the file cannot be read, a key is missing or unknown, or a
            value is not acceptable.
    """
    return _site(path, io.read_json(path), OPTION_KEYS, meant)


def _site(
    path: str | Path, content: Mapping[str, Any], names: Mapping[str, str], meant: Meant
) -> Site:
    """A site out of what a file says of it, under our names and those of ``names``."""
    faults = io.Faults()
    written: dict[str, str] = {}
    unknown = []
    for key in content:
        own = names.get(key, key)
        if own in written:
            faults.add(f"{path}: keys {written[own]!r} and {key!r} say the same")
        elif own in SITE_KEYS:
            written[own] = key
        elif key not in KEYS_OF_A_RUN and not key.startswith(NOTE):
            unknown.append(key)
    values: dict[str, Any] = {}
    missing = []
    for own, column in SITE_KEYS.items():
        if own in written:
            with faults.gathered():
                values[own] = _site_value(path, written[own], content[written[own]], column)
        elif column.required:
            near = io.nearest(own, unknown)
            unknown = [key for key in unknown if repr(key) not in near]
            missing.append(f"key {own!r} is missing{near}")
    if missing:
        faults.add(f"{path}: {'; '.join(missing)}")
    known = [*SITE_KEYS, *names]
    for key in unknown:
        faults.add(f"{path}: unknown key {io.shown(key)}{io.nearest(key, known)}")
    option = values.get("rm_moist", 1)
    absent = [own for own in FARINA_KEYS if own not in written]
    if option != 1 and absent:
        asked = written["rm_moist"]
        own_names = asked == "rm_moist"
        key = absent[0] if own_names else next(k for k, own in names.items() if own == absent[0])
        faults.add(f"{path}: key {key!r} is missing, {asked} {option} needs it")
    texture = values.get("clay_pct", 0.0) + values.get("silt_pct", 0.0)
    if texture > 100.0:
        faults.add(f"{path}: clay_pct + silt_pct is {texture:g}, more than 100 %")
    doubts = {
        "clay_pct": plausible.of_soil("clay_percent", values.get("clay_pct", 0.0), 0.0),
        "silt_pct": plausible.of_soil("silt_percent", values.get("silt_pct", 0.0), 0.0),
        "iom_tC_ha": _of_inert(values.get("iom_tC_ha", 0.0)),
        "oc_pct": plausible.of_soil("soc_percent", values.get("oc_pct", 0.0), 0.0),
        "depth_cm": plausible.of_depth(0.0, values.get("depth_cm", REFERENCE_DEPTH_CM)),
    }
    for own, doubt in doubts.items():
        if doubt and (question := meant.question(own, doubt)):
            faults.add(f"{path}: key {written[own]!r}: {values[own]:g} {question}")
    faults.refuse()
    return Site(**values)


MOST_INERT = 100.0
"""Inert carbon, t C/ha, that mineral soils hardly have; 0.049 SOC^1.139 of 500 t C/ha is 58."""


def _of_inert(value: float) -> str:
    return "is more than soils have: is this in kg/ha?" if value > MOST_INERT else ""


def _site_value(path: str | Path, key: str, value: object, column: Column) -> Any:
    if not isinstance(value, float):
        raise InputError(f"{path}: key {key!r}: {json.dumps(value)} is not a number")
    if complaint := column.objection(value):
        raise InputError(f"{path}: key {key!r}: {complaint}")
    return int(value) if column.kind == "int" else float(value)


def read_inputs(path: str | Path, meant: Meant = CONFIRMED) -> pd.DataFrame:
    """Read an input file: twelve spin-up months from January on, then the months to run.

    Returns:
        The columns of ``INPUT_COLUMNS``, with the line in the file as index.

    Raises:
        InputError: all that is wrong with the file, with its lines.
    """
    table = read_table(path, INPUT_COLUMNS, meant)
    spinup = table["role"] == "spinup"
    if spinup.sum() != 12 or not spinup.iloc[:12].all():
        raise InputError(
            f"{path}: column 'role': {spinup.sum()} spinup rows, exactly 12 are needed, "
            "before the run rows"
        )
    _check_months(path, table, meant)
    return table


def _check_months(path: str | Path, table: pd.DataFrame, meant: Meant) -> None:
    """Twelve spin-up months from January on, then months without a gap, of a likely climate."""
    for expected, (line, month) in enumerate(table["month"].iloc[:12].items(), start=1):
        if month != expected:
            raise InputError(
                f"{path}: line {line}, column 'month': spin-up month {month} where {expected} "
                "is expected"
            )
    months = table.iloc[12:]
    if months.empty:
        raise InputError(f"{path}: column 'role': there is no run row")
    _check_consecutive(path, months)
    faults = io.Faults()
    modern = table["modern_pct"]
    for line, value in modern[(modern > 0) & (modern < LEAST_MODERN)].items():
        if question := meant.question("modern_pct", "is very old carbon: is this a fraction?"):
            faults.cell(path, line, "modern_pct", f"{value:g}", question)
    if (modern == 0).all() and (
        question := meant.question("modern_pct", "all 0, carbon without any 14C: is it missing?")
    ):
        faults.add(f"{path}: column 'modern_pct': {question}")
    whole = months.groupby("year")["month"].transform("size") == 12
    doubts = dict(_doubts(table.iloc[:12].drop(columns="year")))
    doubts |= dict(_doubts(months[whole])) if whole.any() else {}
    for name, doubt in doubts.items():
        if question := meant.question(name, doubt):
            faults.add(f"{path}: column {name!r}: {question}")
    faults.refuse()


def _doubts(months: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Doubts about the climate of whole years: column and what it looks like."""
    names = {"tmp_c": "temperature_c", "rain_mm": "precipitation_mm", "evap_mm": "pet_mm"}
    own = {other: name for name, other in names.items()}
    pet = EVAPORATION_PER_PAN * months["evap_mm"]
    for name, doubt in plausible.of_climate(months.rename(columns=names).assign(pet_mm=pet)):
        yield own[name], doubt


# The official program's own input file.


def is_official(path: str | Path) -> bool:
    """Whether a file is an input file of the official program: its header has the site."""
    lines = io.read_text(path).split("\n", 20)[:20]
    return any(_names(line.split(), HEADER_KEYS) >= {"clay", "depth", "iom"} for line in lines)


def _names(words: list[str], known: Iterable[str]) -> set[str]:
    """Those of some names that stand in a line, in whatever case."""
    by_lower = {name.lower(): name for name in known}
    return {by_lower[word.lower()] for word in words if word.lower() in by_lower}


def read_official(path: str | Path, meant: Meant = CONFIRMED) -> tuple[Site, pd.DataFrame, int]:
    """Read an input file of the official program, version 1 or 2.

    Its header names the site, with the number of months (``nsteps``, those of the spin-up among
    them); a table follows, whose first twelve months are repeated until the soil is steady.

    Returns:
        The site, the table as :func:`read_inputs` returns it, and how many rows at its end are
        left out because ``nsteps`` does not count them, as in the official program.

    Raises:
        InputError: all that is wrong with the file, with its lines.
    """
    lines = [
        (place, line.split())
        for place, line in enumerate(io.read_text(path).split("\n"), start=1)
        if line.split()
    ]
    header: dict[str, Any] = {}
    start, named = len(lines), -1
    nameless: list[str] = []
    for place, (line, words) in enumerate(lines[:-1]):
        if _names(words, OFFICIAL_COLUMNS) >= {"year", "month"}:
            start = place
            break
        keys = _names(words, HEADER_KEYS)
        if keys >= {"clay", "depth", "iom"} or "opt_RMmoist" in keys:
            header |= _header_values(path, words, *lines[place + 1])
            named = place + 1
        elif place != named and all(map(_is_number, words)):
            nameless.append(f"{path}: line {line}: {io.shown(' '.join(words))}")
    if start == len(lines):
        raise InputError(f"{path}: there is no line 'year month modern Tmp Rain Evap ...'")
    if nameless:
        known = ", ".join(HEADER_KEYS)
        raise InputError(f"{nameless[0]}: above it is no line of known names ({known})")
    steps = header.pop("nsteps", None)
    faults = io.Faults()
    with faults.gathered():
        site = _site(path, header, HEADER_KEYS, meant)
    by_lower = {name.lower(): own for name, own in OFFICIAL_COLUMNS.items()}
    names = [by_lower.get(word.lower(), word) for word in lines[start][1]]
    whole = []
    for line, cells in lines[start + 1 :]:
        if len(cells) == len(names):
            whole.append((line, cells))
        else:
            expected = f"where the header has {len(names)}"
            faults.cell(path, line, "", f"{len(cells)} values", expected)
    columns = {name: column for name, column in INPUT_COLUMNS.items() if name != "role"}
    places, rows = [line for line, _ in whole], [cells for _, cells in whole]
    table = checked_table(path, names, places, rows, columns, faults, meant)
    if steps is None or steps != int(steps) or not 13 <= steps <= len(table):
        given = "is missing" if steps is None else f"{steps:g} is not 13 to {len(table)}"
        raise InputError(
            f"{path}: nsteps {given}: the months in the file, the first 12 of which are the spin-up"
        )
    left_out = len(table) - int(steps)
    table = table.iloc[: int(steps)]
    _check_months(path, table, meant)
    return site, table, left_out


def _is_number(word: str) -> bool:
    try:
        number(word)
    except ValueError:
        return False
    return True


def _header_values(
    path: str | Path, words: list[str], line: int, values: list[str]
) -> dict[str, float]:
    """The numbers below a line of names."""
    by_lower = {name.lower(): name for name in (*HEADER_KEYS, "nsteps")}
    if len(values) != len(words):
        raise InputError(f"{path}: line {line}: {len(values)} values below {len(words)} names")
    found = {}
    for word, value in zip(words, values, strict=True):
        try:
            found[by_lower.get(word.lower(), word)] = number(value)
        except ValueError as error:
            raise InputError(f"{path}: line {line}, {word}: {io.shown(value)} {error}") from None
    return found


def _check_consecutive(path: str | Path, months: pd.DataFrame) -> None:
    count = (months["year"] * 12 + months["month"] - 1).tolist()
    faults = io.Faults()
    before, behind = count[0], False
    for line, now in zip(months.index[1:], count[1:], strict=True):
        where = f"{path}: line {line}, columns 'year' and 'month'"
        if now == before:
            faults.add(f"{where}: {_name(now)} appears twice")
        elif now < before and not behind:
            faults.add(f"{where}: {_name(now)} comes after {_name(before)}")
        elif now > before + 1:
            last = f" to {_name(now - 1)} are" if now > before + 2 else " is"
            faults.add(f"{where}: {_name(before + 1)}{last} missing")
        behind = now < before  # what follows it is, too
        before = max(before, now)
    faults.refuse()


def _name(count: int) -> str:
    return f"{count // 12}-{count % 12 + 1:02d}"


def _forcing(table: pd.DataFrame) -> Forcing:
    columns = [name for name in INPUT_COLUMNS if name not in ("role", "year", "month")]
    values: dict[str, Any] = {name: table[name].to_numpy(dtype=float) for name in columns}
    return Forcing(**values)


def run_files(
    inputs: str | Path,
    site: str | Path | None,
    output: str | Path,
    overwrite: bool = False,
    confirmed: Collection[str] = (),
) -> None:
    """Run RothC from an input file and a site file to a monthly table.

    Args:
        inputs: CSV with the columns of ``INPUT_COLUMNS``, or the official program's own file.
        site: JSON with the fields of :class:`Site`; None where the inputs hold the site.
        output: CSV that is written, whole or not at all, with 15 significant digits.
        overwrite: whether an existing output may be replaced.
        confirmed: columns and keys whose unlikely values are meant.

    Raises:
        InputError: bad files, an output that may not or cannot be written, or a spin-up without
            a steady state.
    """
    read = [inputs, *([site] if site is not None else [])]
    target = OutputFile(output, overwrite, like=table_with("Year", "Month"), inputs=read)
    known = (*INPUT_COLUMNS, *SITE_KEYS)
    for name in confirmed:
        if name not in known:
            raise InputError(f"--plausible {name}: no such column or key{io.nearest(name, known)}")
    soil, table = _read(inputs, site, dataclasses.replace(CONFIRMED, names=confirmed))
    with target:
        result = run(soil, _forcing(table.iloc[:12]), _forcing(table.iloc[12:]))
        if not result.spun_up:
            raise InputError(
                f"{inputs}: rows with role spinup: no steady state within {SPINUP_YEARS} years, "
                "decomposition is too slow (always frozen?)"
            )
        with target.writing() as part:
            _monthly(table.iloc[12:], result).to_csv(part, index=False, float_format="%.15g")


def _read(inputs: str | Path, site: str | Path | None, meant: Meant) -> tuple[Site, pd.DataFrame]:
    """Site and months, from two files of ours or one of the official program."""
    official = is_official(inputs)
    if official and site is not None:
        raise InputError(f"{inputs}: holds the site in its header; leave out --site {site}")
    if official:
        soil, table, left_out = read_official(inputs, meant)
        if left_out:
            year, month = table[["year", "month"]].iloc[-1]
            last = f"{year}-{month:02d}"
            print(f"diffsoil: {inputs}: {left_out} months after {last} are beyond nsteps, left out")
        return soil, table
    if site is None:
        raise InputError(
            f"{inputs}: needs --site SITE.json: it is not the official program's own file, whose "
            "header has a line 'clay depth iom nsteps'"
        )
    faults = io.Faults()
    with faults.gathered():
        table = read_inputs(inputs, meant)
    with faults.gathered():
        soil = read_site(site, meant)
    faults.refuse()
    return soil, table


def _monthly(months: pd.DataFrame, result: RothCOutput) -> pd.DataFrame:
    pools = {f"{name}_t_C_ha": result.pools[:, i] for i, name in enumerate(POOLS)}
    ages = {f"{name}_age_yr": result.ages[:, i] for i, name in enumerate(POOLS[:ACTIVE])}
    values = pools | {
        "SOC_t_C_ha": result.soc,
        "deltaC_permil": result.delta_c,
        "RM_TMP": result.rm_tmp,
        "RM_Moist": result.rm_moist,
        "RM_PC": result.rm_pc,
        "SWC_mm": result.swc_mm,
        "CO2_t_C_ha": result.co2,
    }
    date = {"Year": months["year"].to_numpy(), "Month": months["month"].to_numpy()}
    return pd.DataFrame(date | {name: jax.device_get(v) for name, v in (values | ages).items()})

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
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from diffsoil._runtime import require_float64
from diffsoil.processes import carbon, pedotransfer, rate_modifiers

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
    plant_factor: Float[Array, ""]
    """Factor on the plant carbon of the spin-up year that keeps a measured stock; 1 without one,
    negative or not finite where none does."""


class MeasuredStock(eqx.Module):
    """A start from measured carbon: pools in balance with the spin-up year.

    The inert carbon is that of :func:`falloon1998`, in place of the site's; the plant carbon of
    the spin-up year is multiplied by a factor so that the pools have the rest.
    """

    soc: Float[Array, "..."] = eqx.field(converter=_real)
    """Organic carbon of the layer, t C/ha, > 0."""


class GivenPools(eqx.Module):
    """A start from given pools, as old in 14C as those of the spin-up; IOM is not the site's."""

    pools: Float[Array, "... 5"] = eqx.field(converter=_real)
    """DPM, RPM, BIO, HUM, IOM, t C/ha, >= 0."""


def falloon1998(soc: Float[Array, "..."]) -> Float[Array, "..."]:
    """Inert organic matter ``0.049 SOC^1.139``, t C/ha, of organic carbon in t C/ha, > 0.

    Source: Falloon et al. (1998), Soil Biology and Biochemistry 30, 1207-1211.
    """
    return 0.049 * soc**1.139


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
        jnp.zeros((len(RATES), 2)), jnp.zeros(()), jnp.zeros((), dtype=int), jnp.array(jnp.inf)
    )
    return lax.while_loop(unfinished, another, start)


def _yearly_map(deficit: Array, months: _Months, soil: _Soil) -> Float[Array, "4 4"]:
    """What a year makes of one unit in each pool; column j is pool j."""
    moisture = _moisture(_deficits(deficit, months, soil.limits), soil.site, soil.limits)
    modifiers = months.rm_tmp * months.rm_pc * moisture
    nothing = jnp.zeros((modifiers.shape[0], len(RATES), len(RATES)))
    units, keeps = jnp.eye(len(RATES)), jnp.ones(len(RATES))
    return _turnover(units, modifiers, nothing, soil.rates, soil.ratio, keeps)[0][-1]


def _accumulated(yearly: Float[Array, "4 4"]) -> Float[Array, "4 4"]:
    """Sum of the powers 0 ... 2^17 - 1 of a yearly map, finite where ``1 - yearly`` is singular."""

    def double(_: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        total, power = sums
        return total + power @ total, power @ power

    return lax.fori_loop(0, SPINUP_DOUBLINGS, double, (jnp.eye(len(RATES)), yearly))[0]


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


def _balance(
    wanted: Float[Array, ""], spun: _SpunUp, forcing: Forcing, soil: _Soil
) -> tuple[Float[Array, "4 2"], Float[Array, ""]]:
    """Steady pools of the spin-up year that hold some carbon, and the factor on its plants.

    The steady state is linear in the input: that of the manure, and a multiple of that of the
    plants.
    """
    nothing = jnp.zeros((len(RATES), 2))
    yearly = _yearly_map(spun.deficit, _months(forcing), soil)

    def steady(without: str) -> Float[Array, "4 2"]:
        none = {without: jnp.zeros_like(forcing.tmp_c)}
        months = _months(dataclasses.replace(forcing, **none))
        brought, _ = _year(nothing, spun.deficit, months, soil)
        return jnp.stack(
            [
                jnp.linalg.solve(jnp.eye(len(RATES)) - yearly * kept, brought[:, tracer])
                for tracer, kept in enumerate((1.0, math.exp(-RADIOCARBON_DECAY)))
            ],
            axis=-1,
        )

    plants, manure = steady("fym_tC_ha"), steady("c_inp_tC_ha")
    factor = (wanted - jnp.sum(manure[:, 0])) / jnp.sum(plants[:, 0])
    return manure + factor * plants, factor


def _started(
    start: MeasuredStock | GivenPools | None, spun: _SpunUp, forcing: Forcing, soil: _Soil
) -> tuple[Float[Array, "4 2"], Float[Array, ""], Float[Array, ""]]:
    """Active pools at the start, inert carbon, and the factor on the plants of the spin-up."""
    if start is None:
        return spun.pools, soil.site.iom_tC_ha, jnp.ones(())
    if isinstance(start, MeasuredStock):
        inert = falloon1998(start.soc)
        pools, factor = _balance(start.soc - inert, spun, forcing, soil)
        return pools, inert, factor
    there = spun.pools[:, 0] > EMPTY
    activity = jnp.where(there, spun.pools[:, 1], 1.0) / jnp.where(there, spun.pools[:, 0], 1.0)
    active = start.pools[: len(RATES)]
    return jnp.stack([active, active * activity], axis=-1), start.pools[len(RATES)], jnp.ones(())


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
    start: MeasuredStock | GivenPools | None = None,
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
        start: what the months start from, with the moisture of the spin-up; the pools of the
            spin-up if not given.

    Source: RothC-26.3, constants and order of the official code.
    """
    require_float64()
    soil = _Soil(
        site=site,
        limits=moisture_limits(site),
        rates=jnp.asarray(rates, dtype=float),
        ratio=carbon.co2_ratio(site.clay_pct),
    )
    spun = _spin_up(_months(spinup_forcing), soil, jnp.asarray(tolerance, dtype=float))
    begins, inert, factor = _started(start, spun, spinup_forcing, soil)
    site = dataclasses.replace(site, iom_tC_ha=inert)
    months = _months(forcing)
    deficits = _deficits(spun.deficit, months, soil.limits)
    rm_moist = _moisture(deficits, site, soil.limits)
    modifiers = months.rm_tmp * rm_moist * months.rm_pc
    pools, lost = _turnover(begins, modifiers, months.inputs, soil.rates, soil.ratio, _keeps())
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
        start_pools=_with_iom(begins[:, 0], site),
        start_ages=_age(begins[:, 0], begins[:, 1]),
        spinup_years=spun.years,
        spun_up=spun.change <= tolerance,
        plant_factor=factor,
    )

"""Chemistry of the soil solution and the soil air against published and analytic numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.processes import carbonate, oxides, soil_gas, weathering
from diffsoil.processes.carbonate import calcite_front, calcite_saturation
from diffsoil.processes.oxides import aluminium_in_solution, iron_in_solution
from diffsoil.processes.protection import mooh_modifier
from diffsoil.processes.soil_gas import OXYGEN, SoilGas, co2_profile
from diffsoil.processes.weathering import dissolution_rate
from diffsoil.state import BUDGET, MINERALS, SIZES, SOLUTES, Ground, empty_state
from diffsoil.units import MOL_PER_MG_HA

PCO2 = (3.8e-4, 1.0e-3, 4.0e-3, 1.0e-2, 3.0e-2)

SATURATION = {
    5.0: [0.719, 1.006, 1.640, 2.277, 3.390],
    10.0: [0.661, 0.924, 1.504, 2.086, 3.104],
    15.0: [0.608, 0.849, 1.381, 1.914, 2.845],
    25.0: [0.516, 0.719, 1.167, 1.615, 2.396],
}
"""Calcium at calcite saturation by the full charge balance, mmol/L, by degrees C and pCO2."""

LOESS_CALCITE = 1220.0 * 0.099 / 0.10009
"""mol/m3 in 9.9 % of a bulk density of 1.22."""


def saturation(temperature, pco2):
    return float(calcite_saturation(jnp.asarray(temperature), jnp.asarray(pco2)))


def printed(value, digits=2):
    """As a table with so many significant digits shows it."""
    return float(f"{float(value):.{digits - 1}e}")


def extremes(*ranges, points=8):
    """All corners and insides of a box, one flat array for each side."""
    sides = np.meshgrid(*(np.linspace(*r, points) for r in ranges))
    return [jnp.asarray(side.ravel()) for side in sides]


def assert_finite_with_gradients(function, *arguments, positive=True):
    """A function of arrays, its derivative along all and its gradient by each of them."""
    values = np.asarray(function(*arguments))
    assert np.isfinite(values).all()
    assert not positive or (values > 0).all()

    @jax.jit
    def derivatives(*arguments):
        tangents = tuple(map(jnp.ones_like, arguments))
        _, forward = jax.jvp(function, arguments, tangents)
        every = tuple(range(len(arguments)))
        return forward, jax.grad(lambda *x: jnp.sum(function(*x)), argnums=every)(*arguments)

    for derivative in jax.tree.leaves(derivatives(*arguments)):
        assert np.isfinite(derivative).all()


# carbonate


@pytest.mark.parametrize(
    ("temperature", "table"),
    [
        (0.0, [-1.108, -6.579, -10.629, -8.381, -14.942]),
        (10.0, [-1.269, -6.463, -10.488, -8.410, -14.534]),
        (15.0, [-1.341, -6.419, -10.428, -8.430, -14.346]),
        (25.0, [-1.468, -6.352, -10.329, -8.480, -14.000]),
    ],
)
def test_carbonate_constants_are_those_of_plummer_and_busenberg(temperature, table):
    functions = ("log_k_henry", "log_k1", "log_k2", "log_k_calcite", "log_k_water")
    found = [getattr(carbonate, f)(jnp.asarray(temperature)) for f in functions]
    np.testing.assert_allclose(found, table, atol=5.5e-4)


@pytest.mark.parametrize("temperature", SATURATION)
def test_calcite_saturation_is_within_one_percent_of_the_full_charge_balance(temperature):
    found = [saturation(temperature, pco2) for pco2 in PCO2]
    table = SATURATION[temperature]
    np.testing.assert_allclose(found[1:], table[1:], rtol=0.01)
    np.testing.assert_allclose(found[2:], table[2:], rtol=0.005)
    # in the atmosphere carbonate and hydroxide begin to count
    np.testing.assert_allclose(found[0], table[0], rtol=0.016)
    assert found[0] < table[0]


@pytest.mark.parametrize(
    ("temperature", "factor", "power"),
    [(5.0, 11.83, 0.357), (10.0, 10.80, 0.356), (15.0, 9.87, 0.356), (25.0, 8.26, 0.354)],
)
def test_calcite_saturation_grows_as_the_fitted_power_of_pco2(temperature, factor, power):
    for pco2 in PCO2[1:]:
        assert saturation(temperature, pco2) == pytest.approx(factor * pco2**power, rel=0.01)


def test_guess_of_the_ionic_strength_costs_less_than_two_permille():
    temperature, log_pco2 = extremes((5.0, 25.0), (np.log(1e-4), np.log(0.03)))
    pco2 = jnp.exp(log_pco2)
    log_k = (
        carbonate.log_k1(temperature)
        + carbonate.log_k_henry(temperature)
        + carbonate.log_k_calcite(temperature)
        - carbonate.log_k2(temperature)
    )
    calcium = jnp.full_like(pco2, 1e-3)
    for _ in range(30):
        log_activity = 6 * carbonate.log_activity(jnp.sqrt(3 * calcium), temperature)
        calcium = (10 ** (log_k - log_activity) * pco2 / 4) ** (1 / 3)
    found = np.asarray(calcite_saturation(temperature, pco2))
    np.testing.assert_allclose(found, 1e3 * calcium, rtol=2e-3)


def test_calcite_saturation_is_safe_at_any_soil_temperature_and_pco2():
    temperature, log_pco2 = extremes((-20.0, 50.0), (np.log(1e-5), np.log(0.5)))
    assert_finite_with_gradients(calcite_saturation, temperature, jnp.exp(log_pco2))


def test_cold_water_and_rich_soil_air_dissolve_more_calcite():
    temperature, log_pco2 = extremes((0.0, 50.0), (np.log(1e-5), np.log(0.5)))
    by = [
        jax.grad(lambda t, p: jnp.sum(calcite_saturation(t, p)), argnums=i)(
            temperature, jnp.exp(log_pco2)
        )
        for i in (0, 1)
    ]
    assert (np.asarray(by[0]) < 0).all()
    assert (np.asarray(by[1]) > 0).all()


@pytest.mark.parametrize(
    ("percolation", "speeds"),
    [
        (50, [0.038, 0.062, 0.086, 0.129]),
        (100, [0.077, 0.125, 0.173, 0.257]),
        (200, [0.153, 0.249, 0.346, 0.514]),
        (300, [0.230, 0.374, 0.519, 0.772]),
    ],
)
def test_calcite_front_moves_at_the_speed_of_the_table(percolation, speeds):
    assert pytest.approx(1207, abs=0.5) == LOESS_CALCITE
    years = 10
    for pco2, speed in zip(PCO2[1:], speeds, strict=True):
        concentration = saturation(10.0, pco2)
        found = percolation * concentration / LOESS_CALCITE  # m/ka
        assert found == pytest.approx(speed, abs=5e-4 + 0.01 * speed)

        depth = 0.05 * np.arange(1, 161)
        water = jnp.full(depth.size, float(percolation * years))
        calcite = jnp.full(depth.size, 0.05 * LOESS_CALCITE)
        saturated = jnp.full(depth.size, concentration)
        after, leached = jax.lax.fori_loop(
            0,
            10_000 // years,
            lambda _, x, water=water, saturated=saturated: (
                (found := calcite_front(x[0], saturated, water))[0],
                x[1] + found[1][-1],
            ),
            (calcite, jnp.zeros(())),
        )
        np.testing.assert_allclose(float(leached), 10 * found * LOESS_CALCITE, rtol=1e-10)
        np.testing.assert_allclose(float(after.sum() + leached), float(calcite.sum()), rtol=1e-12)
        # sharp: nothing above the front, everything below it
        front = 10 * found
        assert not np.asarray(after)[depth < front - 1e-9].any()
        np.testing.assert_allclose(np.asarray(after)[depth > front + 0.05], calcite[0], rtol=1e-12)


def test_calcite_front_conserves_and_stays_positive_in_any_soil():
    rng = np.random.default_rng(1)
    for _ in range(20):
        calcite = rng.uniform(0, 50, 40) * (rng.random(40) < 0.6)
        water = rng.uniform(0, 30_000, 40) * (rng.random(40) < 0.7)
        concentration = rng.uniform(0, 4, 40)
        after, outflow = calcite_front(*map(jnp.asarray, (calcite, concentration, water)))
        assert (np.asarray(after) >= 0).all()
        assert (np.asarray(outflow) <= water * concentration / 1000 * (1 + 1e-14)).all()
        inflow = np.concatenate([[0.0], np.asarray(outflow)[:-1]])
        np.testing.assert_allclose(after, calcite + inflow - outflow, atol=1e-11)
        total = after.sum() + outflow[-1]
        np.testing.assert_allclose(total, calcite.sum(), rtol=1e-13)


def test_calcite_is_laid_down_where_water_stays_behind():
    calcite, concentration = jnp.array([100.0, 0.0, 0.0]), jnp.array([1.5, 1.5, 1.0])
    after, outflow = calcite_front(calcite, concentration, jnp.array([200.0, 100.0, 100.0]))
    np.testing.assert_allclose(after, [99.7, 0.15, 0.05], rtol=1e-12)
    np.testing.assert_allclose(outflow, [0.3, 0.15, 0.1], rtol=1e-12)


def test_calcite_front_has_finite_gradients_without_water_and_without_calcite():
    zero = jnp.zeros(5)
    for arguments in ((zero, zero, zero), (zero, zero + 1.5, zero), (zero + 1.0, zero, zero)):
        for i in (0, 1, 2):
            by = jax.jacrev(lambda *x: calcite_front(*x), argnums=i)(*arguments)
            assert all(np.isfinite(jacobian).all() for jacobian in by)


# soil air


def exponential_soil(layers, depth, efold, yearly=5.0, air=0.2, celsius=10.0, tortuosity=0.6):
    faces = np.linspace(0, depth, layers + 1)
    production = yearly * -np.diff(np.exp(-faces / efold))
    pco2 = co2_profile(
        jnp.asarray(production),
        jnp.asarray(np.diff(faces)),
        jnp.full(layers, air),
        jnp.full(layers, celsius),
        jnp.asarray(3.8e-4),
        jnp.asarray(tortuosity),
    )
    return 0.5 * (faces[1:] + faces[:-1]), np.asarray(pco2)


def analytic_rise(depth, efold, yearly=5.0, air=0.2, celsius=10.0, tortuosity=0.6):
    """``phi0 k^2 / D (1 - exp(-z / k))`` with phi0 k the efflux."""
    diffusivity = air * tortuosity * 0.1369e-4 * ((celsius + 273.15) / 273.15) ** 1.958
    efflux = yearly * MOL_PER_MG_HA / (365.25 * 86400)
    return efflux * efold / diffusivity * (1 - np.exp(-depth / efold)) * 8.205737e-5 * (
        celsius + 273.15
    )  # fmt: skip


@pytest.mark.parametrize("layers", [40, 400])
def test_co2_profile_is_that_of_exponential_production_to_second_order(layers):
    for efold in (0.1, 0.2):
        depth, pco2 = exponential_soil(layers, 4.0, efold)
        error = (4.0 / layers / efold) ** 2 / 12  # production is the same all over a layer
        np.testing.assert_allclose(pco2 - 3.8e-4, analytic_rise(depth, efold), rtol=error)


@pytest.mark.parametrize(("air", "asymptote"), [(0.20, 3.5e-3), (0.10, 7.0e-3)])
def test_co2_of_the_published_example(air, asymptote):
    _, pco2 = exponential_soil(40, 2.0, 0.2, air=air)
    assert printed(pco2[-1] - 3.8e-4) == asymptote


def test_co2_follows_the_parabola_of_uniform_production_exactly():
    diffusivity = float(soil_gas.diffusivity_in_air(jnp.asarray(0.0))) * 0.66 * 0.3
    found = co2_profile(
        jnp.full(10, 0.4),
        jnp.full(10, 0.1),
        jnp.full(10, 0.3),
        jnp.zeros(10),
        jnp.zeros(()),
        jnp.asarray(0.66),
    )
    middle = 0.1 * np.arange(10) + 0.05
    source = 4.0 * MOL_PER_MG_HA / (365.25 * 86400)
    exact = source / diffusivity * (middle - middle**2 / 2) * 8.205737e-5 * 273.15
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_soil_air_is_atmosphere_without_production_and_never_beyond_its_oxygen():
    for yearly, expected in ((0.0, 3.8e-4), (1e4, 3.8e-4 + OXYGEN)):
        _, pco2 = exponential_soil(20, 2.0, 0.3, yearly=yearly, air=-0.1)
        np.testing.assert_allclose(pco2[2:], expected, rtol=1e-12)


def test_co2_profile_is_safe_in_any_soil():
    for production in (0.0, 200.0):
        for air in (-0.1, 0.5):
            for celsius in (-20.0, 50.0):
                layered = [jnp.full(5, x) for x in (production, 0.1, air, celsius)]
                scalars = [jnp.asarray(x) for x in (3.8e-4, 0.66)]
                assert_finite_with_gradients(co2_profile, *layered, *scalars)


def soil_of_gas(air=0.15, into_soil=3.0):
    plant = jnp.zeros((12, 4, 4)).at[:, 0, :].set(jnp.array([9.0, 0.5, 0.3, 0.2]) / 12)
    moisture = 0.3 + 0.05 * np.cos(2 * np.pi * np.arange(12) / 12)
    return {
        "plant_carbon": plant * into_soil,
        "soil_temperature": jnp.full((12, 3), 10.0),
        "water_content": jnp.asarray(np.repeat(moisture[:, None], 3, axis=1)),
        "porosity": jnp.full(3, 0.3 + air),
        "thickness": jnp.full(3, 0.3),
    }


def test_soil_gas_counts_roots_and_decomposition_in_the_soil_but_not_litter():
    ground = Ground(
        minerals=jnp.zeros((len(MINERALS), len(SIZES), 3)),
        calcite=jnp.zeros(3),
        labile=jnp.zeros((len(SOLUTES), 3)),
        ph=jnp.full(3, 7.0),
        respiration=jnp.array([1.0, 0.6, 0.4]),
        gained=jnp.zeros(len(BUDGET)),
        lost=jnp.zeros(len(BUDGET)),
    )
    soil = soil_of_gas()
    process = SoilGas()
    _, found = process.slow(empty_state(3, jnp.zeros(3), ground=ground), soil, 1)
    expected = co2_profile(
        ground.respiration + jnp.array([1.5, 0.9, 0.6]),
        soil["thickness"],
        jnp.full(3, 0.15),
        jnp.full(3, 10.0),
        jnp.asarray(3.8e-4),
        jnp.asarray(0.66),
    )
    np.testing.assert_allclose(found["pco2"], expected, rtol=1e-12)
    assert set(process.provides) == set(found)


# weathering


@pytest.mark.parametrize(
    ("mineral", "table"),
    [
        ("albite", [-11.87, -12.72, -12.62, -11.67]),
        ("anorthite", [-8.83, -9.27, -9.28, -9.29]),
        ("k_feldspar", [-11.90, -12.58, -12.70, -12.75]),
        ("muscovite", [-13.02, -13.28, -13.22, -12.92]),
        ("illite", [-13.02, -13.28, -13.22, -12.92]),
        ("chlorite", [-12.42, -13.30, -13.33, -13.34]),
        ("montmorillonite", [-13.37, -13.88, -13.88, -13.75]),
        ("kaolinite", [-13.15, -13.37, -13.34, -13.11]),
        ("goethite", [-7.94, -8.74, -8.74, -8.74]),
        ("quartz", [-13.99, -14.80, -14.80, -14.80]),
    ],
)
def test_dissolution_rates_are_those_of_palandri_and_kharaka(mineral, table):
    rate = dissolution_rate(jnp.array([4.0, 5, 6, 8]), jnp.array([25.0, 10, 10, 10]))
    np.testing.assert_allclose(np.log10(rate[MINERALS.index(mineral)]), table, atol=0.006)


def test_volcanic_glass_dissolves_within_the_assumed_range_at_any_ph():
    rate = dissolution_rate(jnp.linspace(4, 8, 5), jnp.full(5, 25.0))
    glass = np.log10(rate[MINERALS.index("volcanic_glass")])
    np.testing.assert_allclose(glass, -9.0, rtol=1e-12)


def test_every_mineral_has_a_rate_law_and_every_size_a_surface():
    assert set(weathering.RATE_LAWS) == set(MINERALS)
    assert set(weathering.SPECIFIC_SURFACE) == set(SIZES)


def test_dissolution_is_safe_at_any_ph_and_temperature():
    ph, temperature = extremes((2.0, 11.0), (-20.0, 50.0))
    assert_finite_with_gradients(lambda *x: jnp.min(dissolution_rate(*x), axis=0), ph, temperature)
    assert_finite_with_gradients(
        lambda *x: jnp.sum(jnp.log10(dissolution_rate(*x)), axis=0),
        ph,
        temperature,
        positive=False,
    )


# aluminium and iron

SOLUTION = [
    (4.0, 9.9e-1, 1.0, 6.8e2, 7.0e2, 2.7e-8, 5.7e-3),
    (4.5, 3.1e-2, 3.5e-2, 21, 24, 6.3e-9, 1.3e-3),
    (5.0, 9.9e-4, 1.4e-3, 6.8e-1, 9.7e-1, 1.8e-9, 3.8e-4),
    (5.5, 3.1e-5, 9.0e-5, 2.1e-2, 6.1e-2, 5.6e-10, 1.2e-4),
    (6.0, 9.9e-7, 1.2e-5, 6.8e-4, 8.5e-3, 1.8e-10, 3.9e-5),
    (7.0, 9.9e-10, 5.6e-6, 6.8e-7, 3.8e-3, 2.8e-11, 6.0e-6),
    (8.0, 9.9e-13, 4.5e-5, 6.8e-10, 3.1e-2, 1.3e-11, 2.8e-6),
]
"""pH; gibbsite Al free, total; amorphous Al free, total; goethite and ferrihydrite Fe total."""


@pytest.mark.parametrize("row", SOLUTION)
def test_aluminium_and_iron_in_solution_at_ten_degrees(row):
    ph, cold = jnp.asarray(row[0]), jnp.asarray(10.0)
    gibbsite = aluminium_in_solution(ph, cold)
    amorphous = aluminium_in_solution(ph, cold, *oxides.AMORPHOUS_ALUMINIUM)
    iron = [iron_in_solution(ph, cold, *o)[1] for o in (oxides.GOETHITE, oxides.FERRIHYDRITE)]
    _, free, total, free_amorphous, total_amorphous, *table_iron = row
    assert [printed(x) for x in gibbsite] == [free, total]
    assert [printed(x) for x in iron] == table_iron
    # 0.6746 at pH 5, which the table has as 0.68
    np.testing.assert_allclose(amorphous, [free_amorphous, total_amorphous], rtol=0.02)


def test_gibbsite_holds_eight_times_less_aluminium_in_solution_when_warm():
    ph = jnp.array([4.0, 4.5])
    cold, _ = aluminium_in_solution(ph, jnp.full(2, 10.0))
    warm, _ = aluminium_in_solution(ph, jnp.full(2, 25.0))
    np.testing.assert_allclose(cold / warm, 7.7, atol=0.1)
    assert [printed(warm[0], 3), printed(warm[1])] == [0.129, 4.1e-3]
    modifier = mooh_modifier(warm, jnp.asarray(5.0))
    np.testing.assert_allclose(modifier, [0.8, 0.98], atol=0.002)


def test_gibbsite_protects_carbon_only_in_acid_soil():
    ph = jnp.array([4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0])
    cold = jnp.full(7, 10.0)
    gibbsite, _ = aluminium_in_solution(ph, cold)
    amorphous, _ = aluminium_in_solution(ph, cold, *oxides.AMORPHOUS_ALUMINIUM)
    modifiers = [mooh_modifier(x, jnp.asarray(5.0)) for x in (gibbsite, amorphous)]
    np.testing.assert_allclose(modifiers[0], [0.80, 0.855, 0.995, 1, 1, 1, 1], atol=6e-4)
    np.testing.assert_allclose(modifiers[1], [0.80, 0.80, 0.80, 0.90, 1, 1, 1], atol=5e-3)


def test_aluminium_and_iron_are_safe_at_any_ph_and_temperature():
    ph, temperature = extremes((2.0, 11.0), (-20.0, 50.0))
    for solution in (aluminium_in_solution, iron_in_solution):
        for i in (0, 1):
            assert_finite_with_gradients(lambda *x, s=solution, i=i: s(*x)[i], ph, temperature)

"""The whole soil: what each process keeps, exchange and acidity, derivatives, amendments."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.column import Column, missing_needs, whole_soil_column
from diffsoil.processes import exchange_layer
from diffsoil.processes.carbonate import (
    calcite_saturation,
    log_k1,
    log_k2,
    log_k_henry,
    log_k_water,
)
from diffsoil.processes.erosion import ContinuousErosion, Erosion
from diffsoil.processes.exchange import Exchange
from diffsoil.processes.exchange_layer import composition, filling, neutral, saturation_with
from diffsoil.processes.minerals import CALCITE_MASS, MOLAR_MASS
from diffsoil.processes.oxides import GIBBSITE, log_solubility
from diffsoil.processes.texture import mineral_masses
from diffsoil.state import BUDGET, CATIONS, ELEMENTS, MINERALS
from diffsoil.time import Phase, Record, advance
from tests import whole_soil_tools as tools

RECORD = Record(
    yearly=("soc", "litter_stock"),
    steps=("ph", "base_saturation", "exchangeable_bases", "drainage"),
)
LOESS_CALCITE = 1207.0
"""mol/m3 in loess with 9.9 % calcite."""
POTASSIUM = CATIONS.index("potassium")


@jax.jit
def live(column, phase, state):
    return advance(column, phase, state, RECORD)


@pytest.fixture(scope="module")
def column():
    return tools.forest().column()


@pytest.fixture(scope="module")
def fresh(column):
    return tools.start(column)


@pytest.fixture(scope="module")
def grown(column, fresh):
    """The column after two centuries of forest."""
    return live(column, tools.phase(), fresh)[0]


@pytest.fixture(scope="module")
def poor():
    """An acid soil without calcite and nearly without bases, and its parent material."""
    return tools.soil_of(15.0, 60.0, bases=(6.0, 1.0, 0.6, 0.3))


# conservation, process by process

BUSY = {
    "added_calcite": 30.0,
    "added_minerals": tools.minerals("silt", volcanic_glass=20.0, goethite=3.0),
    "added_solutes": tools.solutes(potassium=2.0, anions=2.0),
    "removed_layers": 1.0,
    "amendment_depth": 0.25,
    "dust_minerals": tools.minerals("silt", albite=0.02, chlorite=0.01),
    "dust_calcite": 0.05,
    "plough_depth": 0.25,
    "harvest_share": 0.5,
    "precipitation": 150.0,
}
"""Something for every process to do."""

NAMES = [p.name for p in whole_soil_column(["forest"]).processes]
MOVING = {
    "erosion", "additions", "biocycling", "physical_weathering", "weathering", "exchange",
    "oxides", "migration", "fauna", "plough",
}  # fmt: skip
"""Processes that change the ground."""


@jax.jit
def stages(column, environment, state):
    """The state after each process of one slow step."""
    kept = []
    for process in column.processes:
        state, new = process.slow(state, environment, tools.YEARS)
        environment = environment | new
        kept.append(state)
    return kept


@pytest.fixture(scope="module")
def acted(column, grown, poor):
    """States before and after each process, from a calcareous and from an acid soil."""
    phase = tools.phase(steps=1, **BUSY)
    environment = phase.constant | {k: v[0] for k, v in phase.series.items()}
    found = []
    for start in (grown, poor[0]):
        after = stages(column, environment, start)
        found.append(dict(zip(NAMES, zip([start, *after], after, strict=False), strict=True)))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_process_keeps_elements_solids_and_carbon(name, acted):
    moved = 0.0
    for soil in acted:
        before, after = soil[name]
        assert tools.balance(before, after).max() < 1e-12
        assert tools.carbon_error(before, after) < 1e-12
        for kind in ("minerals", "calcite", "labile"):
            change = getattr(after.ground, kind) - getattr(before.ground, kind)
            moved = max(moved, float(jnp.abs(change).max()))
    assert (moved > 0) == (name in MOVING)


def test_only_additions_and_erosion_bring_anything_into_the_column(acted):
    for soil in acted:
        for name, (before, after) in soil.items():
            gained = np.asarray(after.ground.gained - before.ground.gained)
            assert np.all(gained >= 0)
            assert gained.any() == (name in {"additions", "erosion"}), name


def test_two_centuries_close_the_books(column, fresh, grown):
    assert tools.balance(fresh, grown).max() < 1e-12
    assert tools.carbon_error(fresh, grown) < 1e-12
    lost = dict(zip(BUDGET, np.asarray(grown.ground.lost), strict=True))
    assert lost["calcium"] > 50  # a wet climate leaches calcite


# erosion


def test_an_event_takes_the_uppermost_layer_and_lays_down_parent_material(grown):
    parent = {k: v for k, v in tools.phase().constant.items() if k.startswith("parent")}
    environment = parent | {"removed_layers": jnp.ones(())}
    after, _ = Erosion().slow(grown, environment, 10)
    for kind in ("minerals", "calcite", "labile"):
        before, now = getattr(grown.ground, kind), getattr(after.ground, kind)
        np.testing.assert_allclose(now[..., :-1], before[..., 1:], rtol=1e-15)
        np.testing.assert_allclose(now[..., -1], parent[f"parent_{kind}"], rtol=1e-15)
    np.testing.assert_array_equal(after.carbon[:, :-1], grown.carbon[:, 1:])
    assert float(after.carbon[:, -1].sum()) == 0
    assert float(after.litter.sum()) == 0
    solids = float(after.ground.lost[-1] - grown.ground.lost[-1])
    assert solids == pytest.approx(float(mineral_masses(grown.ground)[0]), rel=1e-13)
    nothing, _ = Erosion().slow(grown, parent | {"removed_layers": jnp.zeros(())}, 10)
    for one, other in zip(jax.tree.leaves(nothing), jax.tree.leaves(grown), strict=True):
        np.testing.assert_array_equal(one, other)


@jax.jit
def worn(column, phase, state):
    return advance(column, phase, state)[0]


def test_continuous_erosion_takes_as_much_as_events_but_blurs_the_profile(column, grown):
    # 1 mm/a: two layers of 0.1 m in two centuries, with nothing else going on
    gone = jnp.zeros(tools.STEPS).at[jnp.array([9, 19])].set(1.0)
    events, steady = (
        worn(Column((process,)), tools.phase(removed_layers=removed, erosion_rate=0.001), grown)
        for process, removed in ((Erosion(), gone), (ContinuousErosion(), jnp.zeros_like(gone)))
    )
    for end in (events, steady):
        assert tools.balance(grown, end).max() < 1e-12
        assert tools.carbon_error(grown, end) < 1e-12
    solids = [float(end.ground.lost[-1] - grown.ground.lost[-1]) for end in (events, steady)]
    # a removed layer has lost some calcite and settled; what moves up steadily is measured in depth
    assert solids[1] == pytest.approx(solids[0], rel=0.08)
    left = [float(end.carbon.sum()) for end in (events, steady)]
    had = float(grown.carbon.sum())
    assert 0.05 * had < left[0] < 0.95 * had
    assert abs(left[1] - left[0]) < 0.25 * (had - left[0])


# exchange


def chemistry(years, steps, column=None):
    """A program that lets exchange alone act on a column for a number of slow steps."""
    column = column or Column((Exchange(),))
    record = Record(steps=("ph", "base_saturation", "drainage"))

    @jax.jit
    def act(environment, state):
        phase = Phase(steps=steps, years_per_step=years, constant=environment, series={}, yearly={})

        def step(now, _):
            after, found = advance(column, dataclasses.replace(phase, steps=1), now, record)
            return after, ({k: v[0] for k, v in found.items()}, after.ground.calcite)

        return jax.lax.scan(step, state, None, length=steps)

    return act


two_thousand_years = chemistry(10, 200)


@pytest.mark.parametrize("years", [1, pytest.param(10, marks=pytest.mark.slow), 100])
def test_exchange_stays_positive_and_closes_at_any_step(years):
    rng = np.random.default_rng(years)
    act = chemistry(years, 8)
    for _ in range(12):
        dry = rng.random(12) < 0.2
        site = tools.exchange_site(
            12, np.where(dry, 0.0, rng.uniform(1, 600, 12)), 10 ** rng.uniform(-3.5, -1, 12)
        )
        lime = np.where(rng.random(12) < 0.5, 0.0, 10 ** rng.uniform(-3, 3, 12))
        state = tools.exchange_start(12, lime, base_saturation=rng.uniform(0, 100))
        after, (found, _) = act(site, state)  # one by one: side by side takes twice to compile
        assert np.asarray(after.ground.labile).min() >= 0
        assert np.asarray(after.ground.calcite).min() >= 0
        bases = np.asarray(found["base_saturation"])
        assert bases.min() >= 0
        assert bases.max() <= 100
        assert np.all((np.asarray(found["ph"]) > 2) & (np.asarray(found["ph"]) < 11))
        assert tools.balance(state, after).max() < 1e-12


@pytest.fixture(scope="module")
def leached():
    """Two thousand years of calcareous loess under 300 mm/a, at steps of 1, 10 and 50 years."""
    site = tools.exchange_site(10, 300.0)
    start = tools.exchange_start(10, LOESS_CALCITE)
    act = {1: chemistry(1, 2000), 10: two_thousand_years, 50: chemistry(50, 40)}
    return {n: act[n](site, start) for n in act}


def test_base_saturation_falls_only_after_calcite(leached):
    _, (found, calcite) = leached[10]
    bases, calcite = np.asarray(found["base_saturation"]), np.asarray(calcite)
    limed = calcite > 0.1
    assert bases[limed].min() > 98
    assert np.all(np.diff(limed.astype(int), axis=0) <= 0)  # once gone, gone
    assert limed[:, 0].sum() > 10
    assert bases[-1, 0] < 80
    assert np.all(np.diff(bases[:, 0])[limed[1:, 0].sum() + 1 :] <= 1e-9)


def test_steps_of_one_ten_and_fifty_years_agree(leached):
    one = leached[1]
    for years, bases_apart, calcite_apart in ((10, 3.0, 0.03), (50, 12.0, 0.15)):
        other = leached[years]
        bases = [np.asarray(x[1][0]["base_saturation"])[-1] for x in (one, other)]
        calcite = [np.asarray(x[0].ground.calcite) for x in (one, other)]
        np.testing.assert_allclose(bases[1], bases[0], atol=bases_apart)
        layer = LOESS_CALCITE * tools.THICKNESS
        np.testing.assert_allclose(calcite[1], calcite[0], atol=calcite_apart * layer)


@pytest.mark.parametrize("pco2", [1e-3, 4e-3, 1e-2])
def test_calcite_front_keeps_its_speed_above_an_exchanger(pco2):
    # the table of speeds in m/ka: q Ca_sat / 1207
    table = {
        1e-3: (0.038, 0.077, 0.153, 0.230),
        4e-3: (0.062, 0.125, 0.249, 0.374),
        1e-2: (0.086, 0.173, 0.346, 0.519),
    }[pco2]
    for percolation, expected in zip((50.0, 100.0, 200.0, 300.0), table, strict=True):
        site = tools.exchange_site(40, percolation, pco2, thickness=0.05)
        start = tools.exchange_start(40, LOESS_CALCITE, thickness=0.05)
        after, _ = front(site, start)
        dissolved = float((start.ground.calcite - after.ground.calcite).sum())
        speed = dissolved / LOESS_CALCITE / 2.0
        assert speed == pytest.approx(expected, abs=5e-4 + 0.05 * expected)
        concentration = float(calcite_saturation(jnp.asarray(10.0), jnp.asarray(pco2)))
        exact = percolation * concentration / LOESS_CALCITE
        assert speed == pytest.approx(exact, rel=0.05)


front = chemistry(10, 200, Column((dataclasses.replace(Exchange(), organic_anions=jnp.zeros(())),)))


def test_carbonate_is_laid_down_where_percolation_ends():
    water = np.array([200.0, 150, 100, 60, 30, 0, 0, 0, 0, 0])
    site = tools.exchange_site(10, water)
    start = tools.exchange_start(10, LOESS_CALCITE)
    after, _ = two_thousand_years(site, start)
    change = np.asarray(after.ground.calcite - start.ground.calcite)
    assert change[0] < -50
    assert change[5] > 1
    np.testing.assert_allclose(change[6:], 0, atol=0.05)
    assert tools.balance(start, after).max() < 1e-12


# the equation of one layer

MANY = 3000


@pytest.fixture(scope="module")
def solutions():
    """Many layers of all kinds of soil, solved, and the selectivities."""
    rng = np.random.default_rng(7)
    temperature = jnp.asarray(rng.uniform(-5, 30, MANY))
    pco2 = jnp.asarray(10 ** rng.uniform(-3.5, -1, MANY))
    capacity = 10 ** rng.uniform(0, 1.5, MANY)
    filled = rng.uniform(0, 1, MANY) * capacity
    shares = rng.dirichlet([8, 3, 1, 1], MANY)
    strong = np.where(rng.random(MANY) < 0.2, 0.0, 10 ** rng.uniform(-5, -2.6, MANY))
    lime = np.where(rng.random(MANY) < 0.6, 0.0, 10 ** rng.uniform(-2, 2, MANY))
    layers = exchange_layer.Layers(
        bases=jnp.asarray(filled * shares.T),
        calcite=jnp.asarray(lime),
        capacity=jnp.asarray(capacity),
        water=jnp.asarray(10 ** rng.uniform(-1.5, 1.3, MANY)),
        saturation=2e-3 * calcite_saturation(temperature, pco2),
        bicarbonate=10 ** (log_k1(temperature) + log_k_henry(temperature) + jnp.log10(pco2)),
        k2=10 ** log_k2(temperature),
        k_water=10 ** log_k_water(temperature),
        aluminium=10 ** log_solubility(GIBBSITE, temperature),
        anions=jnp.asarray(strong),
        acid_exponent=jnp.ones(MANY),
    )
    k = Exchange().selectivity()
    log_g = jax.jit(exchange_layer.solve)(jnp.full(MANY, -12.0), layers, k)
    return layers, k, log_g


def charge(h, bases, layer):
    """Charge of a solution, mol_c/L, and the charge of its cations."""
    aluminium = layer.aluminium * h**2
    plus = bases + h * (1 + 3 * aluminium) + 2 * exchange_layer.ALUMINIUM_HYDROLYSIS * aluminium
    carbonate = layer.bicarbonate / h + 2 * layer.bicarbonate * layer.k2 / h**2
    return plus - carbonate - layer.k_water / h - layer.anions, plus


def bisected(function, low, high, steps=90):
    """Where a rising function of an array crosses zero."""
    low, high = np.array(low, dtype=float), np.array(high, dtype=float)
    for _ in range(steps):
        centre = 0.5 * (low + high)
        below = np.asarray(function(centre)) < 0
        low, high = np.where(below, centre, low), np.where(below, high, centre)
    return 0.5 * (low + high)


def test_bases_and_acidity_fill_the_exchanger(solutions):
    layers, k, log_g = solutions
    excess = jax.jit(filling)(log_g, layers, k)
    assert np.abs(np.asarray(excess)).max() < 1e-6


def test_the_solved_layer_is_where_bisection_puts_it(solutions):
    layers, k, log_g = solutions
    fill = jax.jit(filling)
    exact = bisected(lambda x: -fill(jnp.asarray(x), layers, k), [-32.0] * MANY, [0.0] * MANY)
    np.testing.assert_allclose(log_g, exact, atol=1e-6)


def test_solutions_of_layers_are_neutral(solutions):
    layers, k, log_g = solutions
    found = jax.jit(composition)(log_g, layers, k)
    bases = sum(found.dissolved)
    error, scale = charge(found.protons, bases, layers)
    relative = np.abs(np.asarray(error / scale))
    assert relative.max() < 1e-4
    assert np.quantile(relative, 0.99) < 1e-9


def test_ph_of_any_solution_is_that_of_bisection(solutions):
    layers, _, _ = solutions
    rng = np.random.default_rng(8)
    bases = jnp.asarray(np.where(rng.random(MANY) < 0.1, 0, 10 ** rng.uniform(-6, -1.5, MANY)))
    h = jax.jit(neutral)(bases, layers)
    exact = bisected(
        lambda x: charge(jnp.exp(jnp.asarray(x)), bases, layers)[0], [-30.0] * MANY, [0.0] * MANY
    )
    error = np.abs(np.log10(np.asarray(h)) - exact / np.log(10))
    assert error.max() < 1e-6


def test_calcium_at_saturation_with_other_ions_is_that_of_bisection():
    rng = np.random.default_rng(9)
    excess = rng.uniform(-1, 1, MANY) * 10 ** rng.uniform(-6, -1, MANY)
    pure = 10 ** rng.uniform(-4, -2, MANY)
    found = np.asarray(saturation_with(jnp.asarray(excess), jnp.asarray(pure)))
    low = np.maximum(-excess, 0)
    exact = bisected(lambda c: c * (c + excess) ** 2 - pure**3, low, low + 1.001 * pure)
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert np.all(np.diff(saturation_with(jnp.linspace(-0.01, 0.01, 99), jnp.full(99, 1e-3))) < 0)


# amendments


def dosed(column, poor, **changes):
    state, parent = poor
    phase = tools.phase(**(parent | changes))
    return live(column, phase, state)


@pytest.fixture(scope="module")
def untreated(column, poor):
    return dosed(column, poor)


def test_lime_raises_ph_and_base_saturation(column, poor, untreated):
    once = jnp.zeros(tools.STEPS).at[1].set(20.0)
    limed, found = dosed(column, poor, added_calcite=once, amendment_depth=0.2)
    bases, without = (np.asarray(x["base_saturation"]) for x in (found, untreated[1]))
    ph, acid = np.asarray(found["ph"]), np.asarray(untreated[1]["ph"])
    np.testing.assert_array_equal(bases[0], without[0])
    assert np.all(bases[1:4, :2] > without[1:4, :2] + 15)
    assert np.all(ph[1:4, :2] > acid[1:4, :2] + 0.5)
    assert limed.ground.gained[0] - untreated[0].ground.gained[0] == pytest.approx(20, rel=1e-12)


def test_potassium_fertiliser_raises_exchangeable_potassium(column, poor, untreated):
    yearly = tools.solutes(potassium=0.5, anions=0.5)
    _, found = dosed(column, poor, added_solutes=yearly)
    shares = [np.asarray(x["exchangeable_bases"])[:, POTASSIUM] for x in (found, untreated[1])]
    assert np.all(shares[0][1:, 0] > 1.2 * shares[1][1:, 0])
    assert shares[0][-1].sum() > 1.2 * shares[1][-1].sum()
    # a chloride is no lime
    acid = [float(np.asarray(x["ph"])[-1, 0]) for x in (found, untreated[1])]
    assert acid[0] < acid[1] + 0.1


def test_ammonium_acidifies_by_what_it_leaves_of_its_acid(column, poor, untreated):
    rich = tools.soil_of(15.0, 60.0, bases=(60.0, 6.0, 2.0, 0.5))
    yearly = 0.7 * tools.YEARS  # 100 kg N/ha
    before = dosed(column, rich)
    after = dosed(column, rich, added_nitrogen=yearly, amendment_depth=0.2)
    bases, ph = (
        [np.asarray(found[name])[5:, :2] for _, found in (before, after)]
        for name in ("base_saturation", "ph")
    )
    assert np.all(bases[1] < bases[0])
    assert np.all(ph[1] < ph[0])
    acid = (after[0].ground.gained - before[0].ground.gained)[ELEMENTS.index("anions")]
    assert float(acid) == pytest.approx(yearly * tools.STEPS, rel=1e-12)
    # a soil whose plants take all of it up as ammonium, and return it, loses nothing
    none = column.with_parameters({"additions.acidity": jnp.zeros(())})
    spared = dosed(none, rich, added_nitrogen=yearly, amendment_depth=0.2)
    for of, other in zip(jax.tree.leaves(spared[0]), jax.tree.leaves(before[0]), strict=True):
        np.testing.assert_allclose(of, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [0.0, 0.25])
def test_rock_adds_exactly_its_mass(depth, column, poor, untreated):
    rock = tools.minerals("silt", volcanic_glass=25.0, anorthite=9.0)
    each = jnp.zeros((tools.STEPS, *rock.shape)).at[5].set(rock)
    treated, _ = dosed(column, poor, added_minerals=each, amendment_depth=depth)
    mass = float(jnp.sum(MOLAR_MASS[:, None] * rock))
    gained = treated.ground.gained - untreated[0].ground.gained
    assert float(gained[-1]) == pytest.approx(mass, rel=1e-12)
    calcium = 0.18 * 25 + 9
    assert float(gained[ELEMENTS.index("calcium")]) == pytest.approx(calcium, rel=1e-12)
    left = treated.ground.minerals - untreated[0].ground.minerals
    assert float(left[MINERALS.index("anorthite")].sum()) > 0


def test_dust_and_lime_count_with_their_mass(column, poor, untreated):
    dust = tools.minerals("silt", albite=0.1)
    treated, _ = dosed(column, poor, dust_minerals=dust, dust_calcite=0.2)
    years = tools.STEPS * tools.YEARS
    mass = float(jnp.sum(MOLAR_MASS[:, None] * dust)) + 0.2 * CALCITE_MASS
    gained = float(treated.ground.gained[-1] - untreated[0].ground.gained[-1])
    assert gained == pytest.approx(years * mass, rel=1e-12)


# derivatives

POINT = {
    "cec.carbon": 3500.0,
    "cec.clay": 210.0,
    "heat.diffusivity": 5.2e-7,
    "vegetation.input_factor.forest": 1.1,
    "soil_gas.root_respiration": 0.9,
    "biocycling.factor": 1.1,
    "physical_weathering.sand_rate": 3e-5,
    "weathering.field_factor": 0.02,
    "exchange.log_k_calcium": 3.5,
    "exchange.organic_anions": 0.12,
    "exchange.saturation_factor": 0.95,
    "migration.concentration": 0.05,
    "oxides.log_k_aluminium": 8.3,
    "protection.b1": 0.78,
    "protection.b3a": 0.22,
    "carbon.k_hum": 0.021,
    "fauna.rate": 10.0,
}
SCALED = jnp.ones(len(POINT))
VALUES = jnp.array(list(POINT.values()))


def summary(scaled, column, phase, state):
    """SOC of the metre (Mg/ha) and, so that everything counts, a little of the ground."""
    values = {name: scaled[i] * VALUES[i] for i, name in enumerate(POINT)}
    end, _ = advance(column.with_parameters(values), phase, state)
    clay = jnp.sum(jnp.sum(MOLAR_MASS[:, None] * end.ground.minerals[:, 0], axis=0)[:3])
    ground = jnp.sum(end.ground.ph) + 0.1 * jnp.sum(end.ground.calcite) + clay
    return end.stock() + ground + jnp.sum(end.ground.labile[:4, :4])


value_and_gradient = jax.jit(jax.value_and_grad(summary))


@jax.jit
def along(scaled, direction, column, phase, state):
    return jax.jvp(lambda s: summary(s, column, phase, state), (scaled,), (direction,))


@pytest.fixture(scope="module")
def half_leached(fresh):
    """A soil that has lost the calcite of its upper four layers and some of their bases."""
    ground = fresh.ground
    labile = ground.labile.at[:4, :4].multiply(jnp.array([0.4, 0.5, 0.6, 0.8])[None])
    ground = dataclasses.replace(
        ground, calcite=ground.calcite.at[:4].set(0.0), labile=labile, ph=ground.ph.at[:4].set(5.5)
    )
    return dataclasses.replace(fresh, ground=ground)


@pytest.mark.slow  # test_sensitivity compares derivatives of a whole soil with differences
def test_reverse_and_finite_differences_agree(column, half_leached):
    phase = tools.phase()

    def value(scaled):
        return value_and_gradient(scaled, column, phase, half_leached)[0]

    _, reverse = value_and_gradient(SCALED, column, phase, half_leached)
    h = 1e-4
    for i, name in enumerate(POINT):
        unit = jnp.zeros_like(SCALED).at[i].set(1.0)
        assert float(reverse[i]) != 0, name
        near, far = (value(SCALED + d * unit) - value(SCALED - d * unit) for d in (h, 2 * h))
        central = float(8 * near - far) / (12 * h)
        assert central == pytest.approx(float(reverse[i]), rel=1e-5, abs=1e-7), name


@pytest.mark.slow  # the whole soil once more to compile
def test_forward_is_reverse(column, half_leached):
    phase = tools.phase()
    _, reverse = value_and_gradient(SCALED, column, phase, half_leached)
    for i, name in enumerate(POINT):
        unit = jnp.zeros_like(SCALED).at[i].set(1.0)
        _, forward = along(SCALED, unit, column, phase, half_leached)
        assert float(reverse[i]) == pytest.approx(float(forward), rel=1e-9), name


def _without_minerals(ground, keep):
    masses = jnp.sum(MOLAR_MASS[:, None, None] * ground.minerals, axis=(0, 1))
    quartz = MINERALS.index("quartz")
    only = jnp.zeros_like(ground.minerals).at[quartz, keep].set(masses / MOLAR_MASS[quartz])
    return dataclasses.replace(ground, minerals=only)


def _no_calcite(phase, state):
    ground = dataclasses.replace(state.ground, calcite=jnp.zeros(tools.LAYERS))
    return phase, dataclasses.replace(state, ground=ground)


def _no_bases(phase, state):
    phase, state = _no_calcite(phase, state)
    constant = phase.constant | {
        "deposited_solutes": jnp.zeros(6),
        "parent_labile": jnp.zeros(6),
        "parent_calcite": jnp.zeros(()),
    }
    ground = _without_minerals(state.ground, 2)
    ground = dataclasses.replace(ground, labile=jnp.zeros_like(ground.labile))
    state = dataclasses.replace(state, ground=ground)
    return dataclasses.replace(phase, constant=constant), state


def _all_sand(phase, state):
    return phase, dataclasses.replace(state, ground=_without_minerals(state.ground, 2))


def _no_clay(phase, state):
    return phase, dataclasses.replace(state, ground=_without_minerals(state.ground, 1))


def _set(**values):
    def change(phase, state):
        new = {k: jnp.full_like(phase.constant[k], v) for k, v in values.items()}
        return dataclasses.replace(phase, constant=phase.constant | new), state

    return change


DEGENERATE = {
    "as it is": lambda phase, state: (phase, state),
    "no calcite": _no_calcite,
    "no bases at all": _no_bases,
    "all sand": _all_sand,
    "no clay": _no_clay,
    "no plants, no SOC": _set(plant_input=0.0),
    "no rain": _set(precipitation=0.0),
    "flooded": _set(precipitation=1000.0, potential_evapotranspiration=0.0),
    "frozen": _set(air_temperature=-20.0),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_value_and_gradient_are_finite_from_a_degenerate_state(name, column, fresh):
    phase, state = DEGENERATE[name](tools.phase(), fresh)
    value, gradient = value_and_gradient(SCALED, column, phase, state)
    assert np.isfinite(float(value))
    bad = [n for n, g in zip(POINT, np.asarray(gradient), strict=True) if not np.isfinite(g)]
    assert not bad


# stopping, removing, batches


def test_stopping_half_way_changes_nothing(column, half_leached, tmp_path):
    lime = jnp.arange(2.0 * tools.STEPS)
    halves = [tools.phase(added_calcite=lime[i::2]) for i in (0, 1)]
    middle, _ = live(column, halves[0], half_leached)
    end, found = live(column, halves[1], middle)
    leaves, shape = jax.tree.flatten(middle)
    np.savez(tmp_path / "middle.npz", *[np.asarray(x) for x in leaves])
    with np.load(tmp_path / "middle.npz") as file:
        read = jax.tree.unflatten(shape, [jnp.asarray(file[name]) for name in file.files])
    again, found_again = live(column, halves[1], read)
    for one, other in zip(
        jax.tree.leaves((end, found)), jax.tree.leaves((again, found_again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    joined = tools.phase(
        steps=2 * tools.STEPS, added_calcite=jnp.concatenate([lime[0::2], lime[1::2]])
    )
    whole, record = live(column, joined, half_leached)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(end), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(record["ph"][tools.STEPS :], found["ph"], rtol=1e-12)


REMOVABLE = {
    "erosion", "cec", "plough_zone", "retention", "heat", "manure", "soil_gas", "additions",
    "biocycling", "physical_weathering", "weathering", "exchange", "oxides", "migration",
    "rate_modifiers", "protection", "carbon", "fauna", "plough",
}  # fmt: skip
"""What may be taken from a column in which the rest of the soil develops."""


def test_what_nothing_else_depends_on_can_be_removed(column, fresh):
    given = set(tools.phase().constant) | set(tools.phase().series)
    can = {n for n in NAMES if not missing_needs(column.without(n), given)}
    assert can == REMOVABLE
    bare = column
    for name in sorted(can - {"carbon"}):
        bare = bare.without(name)
    assert not missing_needs(bare, given)
    end, found = live(bare, tools.phase(), fresh)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((end, found)))
    assert tools.balance(fresh, end).max() < 1e-12
    assert float(end.litter.sum()) > 0


@pytest.mark.slow  # tests of sensitivity differentiate batches, and compare them with a run
def test_a_batch_of_parameters_equals_single_runs(column, half_leached):
    phase = tools.phase(steps=tools.STEPS)
    factors = jnp.array([0.8, 1.0, 1.3])
    names = ("weathering.field_factor", "exchange.organic_anions", "carbon.k_hum")

    def scaled(factor):
        values = {name: factor * column.values()[name] for name in names}
        return column.with_parameters(values)

    batch = jax.vmap(scaled)(factors)
    together, _ = jax.jit(jax.vmap(lambda c: advance(c, phase, half_leached)))(batch)
    for i, factor in enumerate(factors):
        alone, _ = live(scaled(factor), phase, half_leached)
        for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(one[i], other, rtol=1e-10, atol=1e-12)

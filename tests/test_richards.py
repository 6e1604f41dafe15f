"""Richards' equation: solver, balance, exact solutions, gradients."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc

from diffsoil.numerics import tridiagonal
from diffsoil.processes import richards
from diffsoil.processes.pedotransfer import water_content, wosten1999
from diffsoil.processes.pores import Retention
from diffsoil.processes.richards import DAY_LENGTH, Curve, Richards, VanGenuchten, step, wet_days
from diffsoil.processes.water import Water
from diffsoil.state import empty_state

MONTHS = np.arange(12)
RAIN = jnp.asarray(60.0 + 25.0 * np.cos(2 * np.pi * (MONTHS - 6) / 12))
DEMAND = jnp.asarray(50.0 + 48.0 * np.cos(2 * np.pi * (MONTHS - 6) / 12))
LAYERS = 6


@jax.jit
def simulated(water, soil):
    """A year of the column, compiled once for all of one shape."""
    return Richards().simulate(water, soil, 0)


def pedotransfer(clay=16.0, silt=67.0, organic=2.0, density=1.22, layers=LAYERS):
    full = [jnp.full(layers, x) for x in (clay, silt, organic, density, 1.0)]
    return wosten1999(*full)


def hydraulics(**soil):
    return VanGenuchten.of(pedotransfer(**soil), jnp.ones(()))


def column(clay=16.0, silt=67.0, density=1.22, rain=RAIN, demand=DEMAND, cover=0.8, thickness=0.1):
    layers = jnp.broadcast_to(jnp.asarray(thickness), (LAYERS,))
    soil = {
        "thickness": layers,
        "depth_top": jnp.cumsum(layers) - layers,
        "clay_percent": jnp.full(LAYERS, clay),
        "silt_percent": jnp.full(LAYERS, silt),
        "bulk_density": jnp.full(LAYERS, density),
        "reference_organic_matter": jnp.full(LAYERS, 2.0),
        "precipitation": rain,
        "potential_evapotranspiration": demand,
        "cover": jnp.full(12, cover),
        "root_beta": jnp.asarray(0.95),
    }
    return soil | Retention().slow(empty_state(LAYERS, jnp.zeros(LAYERS)), soil, 1)[1]


# the linear solver


def diagonals(seed, n=9):
    rng = np.random.default_rng(seed)
    lower, upper, right = (jnp.asarray(rng.normal(size=n)) for _ in range(3))
    return lower, jnp.asarray(3.0 + rng.uniform(size=n)), upper, right


def dense(lower, diagonal, upper, right):
    matrix = jnp.diag(diagonal) + jnp.diag(lower[1:], -1) + jnp.diag(upper[:-1], 1)
    return jnp.linalg.solve(matrix, right)


def test_three_diagonals_are_solved_as_the_dense_matrix_with_the_same_gradient():
    system = diagonals(1)
    np.testing.assert_allclose(tridiagonal.solve(*system), dense(*system), rtol=1e-12)
    weights = jnp.arange(1.0, 10.0)
    by = [
        jax.grad(lambda *s, f=f: weights @ f(*s), (0, 1, 2, 3)) for f in (tridiagonal.solve, dense)
    ]
    for found, exact in zip(by[0](*system), by[1](*system), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-14)


def test_batches_of_three_diagonals_are_solved_one_by_one():
    systems = [diagonals(seed) for seed in range(3)]
    together = jax.vmap(tridiagonal.solve)(*(jnp.stack(x) for x in zip(*systems, strict=True)))
    for found, system in zip(together, systems, strict=True):
        np.testing.assert_allclose(found, tridiagonal.solve(*system), rtol=1e-14)


# hydraulic functions


def test_retention_is_that_of_the_pedotransfer_and_head_is_its_inverse():
    soil, suction = hydraulics(), jnp.array([0.0, 1.0, 20.0, 100.0, 15000.0, 1e6])
    water = soil.curve(-suction).water
    np.testing.assert_allclose(water, water_content(pedotransfer(), suction), rtol=1e-13)
    np.testing.assert_allclose(-soil.head(water), suction, rtol=1e-9)


@pytest.mark.parametrize("texture", [(16.0, 67.0), (3.0, 5.0), (70.0, 25.0)])
def test_derivatives_of_the_hydraulic_functions_are_their_derivatives(texture):
    soil = hydraulics(clay=texture[0], silt=texture[1], layers=7)
    head = -jnp.array([1e-3, 0.5, 5.0, 50.0, 1e3, 1e5, 1e8])
    curve = soil.curve(head)
    _, slope = jax.jvp(
        lambda h: (soil.curve(h).water, soil.curve(h).conductivity), (head,), (jnp.ones(7),)
    )
    np.testing.assert_allclose(curve.capacity, slope[0], rtol=1e-9)
    np.testing.assert_allclose(curve.slope, slope[1], rtol=1e-6)
    assert np.all(np.diff(np.asarray(curve.conductivity)) < 0)


def test_mualem_is_the_published_formula_away_from_saturation():
    soil, suction = hydraulics(), jnp.array([11.0, 30.0, 100.0, 330.0, 1e3, 1e4])
    m = 1 - 1 / soil.n
    s = (1 + (soil.alpha * suction) ** soil.n) ** -m
    published = soil.ks * s**soil.l * (1 - (1 - s ** (1 / m)) ** m) ** 2
    np.testing.assert_allclose(soil.curve(-suction).conductivity, published, rtol=1e-9)


def test_a_drier_soil_never_conducts_better_whatever_the_tortuosity():
    parameters = pedotransfer(layers=50)._replace(l=jnp.full(50, -10.0))
    soil = VanGenuchten.of(parameters, jnp.ones(()))
    conductivity = np.asarray(soil.curve(-jnp.logspace(-3, 8, 50)).conductivity)
    assert np.all(np.diff(conductivity) < 0)


# one step


def days(soil, water, head, rain=0.0, sink=0.0, thickness=5.0, count=1, length=1.0):
    """Steps of one length; the last one and the sum of fluxes, cm."""
    n = water.size
    solve = jax.jit(step)
    total = np.zeros(n + 1)
    for _ in range(count):
        found = solve(
            soil,
            jnp.full(n, thickness),
            water,
            head,
            jnp.asarray(rain),
            jnp.full(n, sink),
            jnp.asarray(length),
        )
        assert found.residual < 1e-10
        water, head = found.water, found.head
        total += length * np.concatenate([found.infiltration[None], found.percolation])
    return found, total


def test_water_at_rest_stays_at_rest():
    # over a bottom that does not drain, suction that falls by one cm a cm downwards
    soil = hydraulics()
    soil = dataclasses.replace(soil, ks=soil.ks.at[-1].set(1e-30))
    middle = 5.0 * (np.arange(LAYERS) + 0.5)
    water = soil.curve(jnp.asarray(middle - 60.0)).water
    found, total = days(soil, water, soil.head(water), count=50)
    np.testing.assert_allclose(found.water, water, rtol=1e-12)
    assert np.abs(total).max() < 1e-9
    # and from anywhere else it comes to rest there
    even, _ = days(
        soil, jnp.full(LAYERS, water.mean()), jnp.full(LAYERS, -30.0), count=400, length=10.0
    )
    np.testing.assert_allclose(even.water, water, rtol=1e-5)


@pytest.mark.parametrize("flux", [0.01, 0.5, 3.0])
def test_a_steady_flux_finds_the_water_content_that_conducts_it(flux):
    soil = hydraulics()
    head = jnp.full(LAYERS, -100.0)
    found, _ = days(soil, soil.curve(head).water, head, rain=flux, count=30, length=1000.0)
    np.testing.assert_allclose(found.percolation, flux, rtol=1e-8)
    np.testing.assert_allclose(soil.curve(soil.head(found.water)).conductivity, flux, rtol=1e-5)


def test_a_step_keeps_its_mass_to_rounding_even_when_it_has_not_converged(monkeypatch):
    soil = hydraulics(clay=40.0, silt=40.0)
    head = jnp.full(LAYERS, -1e4)
    water = soil.curve(head).water
    for shortest in (richards.SHORTEST, 1.0):
        monkeypatch.setattr(richards, "SHORTEST", shortest)
        sink = jnp.full(LAYERS, 1e-3)
        solve = jax.jit(lambda *given: step(*given))  # anew, for the constants that are changed
        found = solve(
            soil, jnp.full(LAYERS, 5.0), water, head, jnp.asarray(2.0), sink, jnp.ones(())
        )
        change = 5.0 * float((found.water - water).sum())
        flux = float(found.infiltration - found.percolation[-1]) - 1e-3 * LAYERS
        assert change == pytest.approx(flux, abs=1e-13)
        monkeypatch.setattr(richards, "PLAIN", 1)
        monkeypatch.setattr(richards, "SEARCHED", 0)
    assert found.residual > 1e-3


# From uniform suctions (cm), rain (cm/d) on two metres of a peat whose conductivity bends sharply
# near saturation: Newton's method with fixed damping left up to 2.6 cm of water unaccounted for.
STORMS = [(11.0, 0.9), (11.0, 1.5), (11.0, 3.0), (13.0, 3.0), (18.0, 8.0)]


def storms() -> richards.Step:
    soil = hydraulics(clay=10.0, silt=30.0, organic=40.0, density=0.35, layers=20)

    def one(suction, rain):
        head = jnp.full(20, -1.0) * suction
        water = soil.curve(head).water
        nothing = jnp.zeros(20)
        return step(soil, jnp.full(20, 10.0), water, head, rain, nothing, jnp.ones(()))

    return jax.jit(jax.vmap(one))(*jnp.asarray(STORMS).T)


def test_a_storm_on_peat_has_a_solution():
    found = storms()
    assert float(found.residual.max()) < 1e-10
    assert float(found.percolation.min()) >= 0.0


def test_a_day_without_a_solution_is_taken_in_shorter_steps(monkeypatch):
    whole = storms()
    monkeypatch.setattr(richards, "SEARCHED", 0)
    shorter = storms()
    assert float(shorter.residual.max()) < 1e-10
    assert not np.array_equal(whole.water, shorter.water)
    np.testing.assert_allclose(shorter.water, whole.water, atol=0.02)


def test_a_year_without_a_solution_is_not_a_number(monkeypatch):
    monkeypatch.setattr(richards, "UNSOLVED", 0.0)
    _, year = jax.jit(lambda soil: Richards().simulate(jnp.zeros(LAYERS), soil, 0))(column())
    assert np.isnan(year.water).all()


def test_rain_that_a_saturated_soil_cannot_take_stays_outside():
    soil = hydraulics(clay=40.0, silt=40.0)
    head = jnp.zeros(LAYERS)
    found, _ = days(soil, soil.curve(head).water, head, rain=500.0, count=3)
    # saturated down to its free bottom: gravity alone, so the saturated conductivity
    np.testing.assert_allclose(found.infiltration, soil.ks[0], rtol=1e-4)
    np.testing.assert_allclose(found.percolation, soil.ks, rtol=1e-4)


class Exponential(eqx.Module):
    """Gardner's soil, for which Richards' equation is linear."""

    alpha = 0.02
    theta_r, theta_s, ks = 0.1, 0.4, 10.0

    def curve(self, head):
        part = jnp.where(head < 0.0, jnp.exp(self.alpha * jnp.minimum(head, 0.0)), 1.0)
        below = jnp.where(head < 0.0, self.alpha, 1e-6)
        span = self.theta_s - self.theta_r
        return Curve(
            self.theta_r + span * part, span * part * below, self.ks * part, self.ks * part * below
        )

    def head(self, water):
        part = (water - self.theta_r) / (self.theta_s - self.theta_r)
        return jnp.log(jnp.clip(part, 1e-9, 1.0)) / self.alpha

    def saturated(self):
        return jnp.full(1, self.theta_s), jnp.full(1, self.ks)


def test_infiltration_follows_the_exact_solution_of_the_linear_equation():
    """K = Ks exp(alpha h) and theta linear in K make K obey the advection-dispersion equation.

    Exact for a constant flux into a deep soil: Lindstrom et al. 1967, in van Genuchten & Alves
    1982, case A2.
    """
    soil = Exponential()
    span = soil.theta_s - soil.theta_r
    speed, spread = soil.ks / span, soil.ks / (soil.alpha * span)
    before, rain, time = 0.5, 4.0, 1.5
    errors = []
    for thickness, count in ((4.0, 60), (2.0, 240)):
        n = int(400 / thickness)
        z = thickness * (np.arange(n) + 0.5)
        head = jnp.full(n, np.log(before / soil.ks) / soil.alpha)
        found, _ = days(
            soil,
            soil.curve(head).water,
            head,
            rain=rain,
            thickness=thickness,
            count=count,
            length=time / count,
        )
        width = 2 * np.sqrt(spread * time)
        there = speed * time
        part = (
            0.5 * erfc((z - there) / width)
            + np.sqrt(speed * there / (np.pi * spread)) * np.exp(-(((z - there) / width) ** 2))
            - 0.5
            * (1 + speed * z / spread + speed * there / spread)
            * np.exp(speed * z / spread)
            * erfc((z + there) / width)
        )
        exact = soil.theta_r + span * (before + (rain - before) * part) / soil.ks
        errors.append(np.abs(np.asarray(found.water) - exact)[z < 250].max())
    assert errors[1] < 2e-4  # of a front of 0.1
    assert errors[1] < 0.5 * errors[0]


# a year


@pytest.mark.parametrize("days_of_rain", [1, 7, 10, 30])
def test_wet_days_share_the_rain_of_a_month(days_of_rain):
    share = np.asarray(wet_days(days_of_rain, jnp.asarray(1.0)))
    assert share.sum() == pytest.approx(1, rel=1e-14)
    assert (share > 0).sum() == days_of_rain
    equal = np.asarray(wet_days(days_of_rain, jnp.asarray(0.0)))
    np.testing.assert_allclose(equal[equal > 0], 1 / days_of_rain, rtol=1e-14)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"cover": 0.0},
        {"rain": jnp.full(12, 400.0), "clay": 45.0, "silt": 40.0, "density": 1.4},
        {"demand": jnp.zeros(12)},
        {"rain": jnp.zeros(12), "demand": jnp.full(12, 150.0), "cover": 1.0},
        {"clay": 3.0, "silt": 5.0, "density": 1.6},
    ],
)
def test_a_year_closes_and_stays_within_its_pores_in_any_soil(case):
    soil = column(**case)
    start = jnp.full(LAYERS, 25.0)
    end, year = simulated(start, soil)
    assert year.residual.max() < 1e-9
    flux = soil["precipitation"] - year.interception - year.runoff
    flux = flux - year.evapotranspiration.sum(axis=1) - year.percolation[:, -1]
    change = np.diff(np.asarray(year.water.sum(axis=1)), prepend=float(year.start.sum()))
    np.testing.assert_allclose(change, flux, atol=1e-10)
    np.testing.assert_array_equal(end, year.water[-1])
    porosity = VanGenuchten.of(
        wosten1999(
            *(
                soil[k]
                for k in (
                    "clay_percent",
                    "silt_percent",
                    "reference_organic_matter",
                    "bulk_density",
                )
            ),
            jnp.array([1.0, 1, 1, 0, 0, 0]),
        ),
        jnp.ones(()),
    ).theta_s
    assert np.all(np.asarray(year.water) <= 100.0 * np.asarray(porosity)[None] * (1 + 1e-3))
    assert np.all(np.asarray(year.water) >= 100.0 * np.asarray(soil["wilting_point"])[None] - 0.1)
    assert np.all(np.asarray(year.evapotranspiration) >= 0)
    taken = year.evapotranspiration.sum(axis=1) + year.interception
    assert np.all(np.asarray(taken) <= np.asarray(soil["potential_evapotranspiration"]) + 1e-9)


@pytest.mark.slow
def test_a_peat_that_has_swollen_to_seventy_metres_has_a_year():
    # of evaporation that falls to 1/e in 5 cm, the middle of such a layer sees nothing
    soil = column(thickness=[75.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    start = 250.0 * soil["thickness"]
    end, year = simulated(start, soil)
    assert np.all(np.isfinite(end))
    assert year.residual.max() < 1e-9
    assert float(year.evapotranspiration[:, 0].sum()) > 100.0


def test_it_stands_in_for_the_bucket_with_the_same_outputs():
    assert Richards.name == Water.name
    assert set(Richards.provides) == {*Water.provides, "water_residual"}
    assert set(Richards.reads) == set(Water.reads)
    soil, state = column(), empty_state(LAYERS, jnp.zeros(LAYERS))
    after, found = jax.jit(lambda soil: Richards(spin_up_years=1).slow(state, soil, 10))(soil)
    _, bucket = jax.jit(lambda soil: Water().slow(state, soil, 10))(soil)
    assert {k: found[k].shape for k in bucket} == {k: v.shape for k, v in bucket.items()}
    assert 0.0 <= found["water_residual"] < 1e-9
    np.testing.assert_allclose(after.water, 100.0 * found["water_content"][-1], rtol=1e-13)


def test_one_year_for_many_comes_back_to_its_start():
    soil, state = column(rain=1.5 * RAIN), empty_state(LAYERS, jnp.zeros(LAYERS))
    run = jax.jit(lambda state: Richards().slow(state, soil, 50))
    once, first = run(state)
    twice, second = run(once)
    np.testing.assert_allclose(once.water, twice.water, rtol=1e-5)
    np.testing.assert_allclose(
        first["percolation"].sum(axis=0), second["percolation"].sum(axis=0), rtol=1e-4
    )


@pytest.mark.slow
def test_the_water_of_nine_metres_drains_in_a_year_that_stands_for_centuries():
    # nine metres take some ten years to fill, and a dry climate a century to wet a part of them
    state = empty_state(LAYERS, jnp.zeros(LAYERS))
    run = jax.jit(lambda soil: Richards().slow(state, soil, 1000)[1])
    for rain in (1.5 * RAIN, RAIN):
        found = run(column(rain=rain, thickness=1.5))
        yearly = np.asarray(found["percolation"].sum(axis=0))
        entered = float((rain - found["interception"] - found["runoff"]).sum())
        left = entered - np.cumsum(found["evapotranspiration"].sum(axis=0))
        np.testing.assert_allclose(yearly, left, atol=10.0 * richards.SETTLED)
        assert yearly.min() > 0.0


def test_a_year_goes_by_for_each_year_that_it_stands_for_and_no_more():
    soil, start = column(thickness=1.5), jnp.zeros(LAYERS)
    state = empty_state(LAYERS, start)
    one_by_one, _ = jax.jit(lambda soil: Richards().simulate(start, soil, 9))(soil)
    after = jax.jit(lambda soil: Richards().slow(state, soil, 10)[0])(soil)
    np.testing.assert_allclose(after.water, one_by_one, rtol=1e-9)


@pytest.mark.slow
def test_columns_side_by_side_are_the_columns_alone():
    soils = [column(), column(clay=40.0, silt=40.0, density=1.4)]
    together = {k: jnp.stack([s[k] for s in soils]) for k in soils[0]}
    state = empty_state(LAYERS, jnp.zeros(LAYERS))
    run = jax.jit(lambda soil: Richards().slow(state, soil, 1)[1])
    both = jax.jit(jax.vmap(lambda soil: Richards().slow(state, soil, 1)[1]))(together)
    for i, soil in enumerate(soils):
        for name, alone in run(soil).items():
            np.testing.assert_allclose(both[name][i], alone, rtol=1e-8, atol=1e-8)


# gradients


def outcome(x, soil, years=1):
    process = Richards(
        conductivity_factor=x[0],
        stress_head=600.0 * x[1],
        compensation=0.5 * x[2],
        interception=x[3],
        rain_spread=x[4],
        evaporation_depth=0.05 * x[5],
    )
    soil = soil | {"clay_percent": soil["clay_percent"] * x[6]}
    state = dataclasses.replace(
        empty_state(LAYERS, jnp.zeros(LAYERS)), water=jnp.full(LAYERS, 25.0)
    )
    _, found = process.slow(state, soil, years)
    return found["percolation"][:, 2].sum() + 10.0 * found["moisture_deficit"].sum()


@pytest.mark.parametrize(("years", "relative"), [(1, 1e-4), (50, 1e-3)])
@pytest.mark.slow
def test_gradient_is_the_same_forward_backward_and_by_differences(years, relative):
    soil = column()
    at = jnp.ones(7)
    # one program for values and slopes
    both = jax.jit(jax.value_and_grad(lambda x: outcome(x, soil, years)))
    backward = np.asarray(both(at)[1])
    forward = np.asarray(jax.jit(jax.jacfwd(lambda x: outcome(x, soil, years)))(at))
    np.testing.assert_allclose(forward, backward, rtol=1e-9, atol=1e-9)
    step_size = 1e-5
    for i in range(at.size):
        move = step_size * jnp.eye(7)[i]
        difference = (both(at + move)[0] - both(at - move)[0]) / (2 * step_size)
        assert float(difference) == pytest.approx(backward[i], rel=relative, abs=relative)


def test_gradient_is_finite_from_the_driest_and_the_wettest_state():
    soil = column()

    def total(process, water, weather):
        return process.simulate(water, soil | weather, 0)[1].percolation.sum()

    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    for start, rain, demand in ((0, 0, 0), (0, 50, 200), (49, 0, 0), (49, 2000, 10)):
        weather = {
            "precipitation": jnp.full(12, float(rain)),
            "potential_evapotranspiration": jnp.full(12, float(demand)),
        }
        found = gradient(Richards(), jnp.full(LAYERS, float(start)), weather)
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))


def test_days_are_short_enough():
    soil, start = column(), jnp.full(LAYERS, 25.0)
    coarse, fine = (
        jax.jit(lambda soil, n=n: Richards(steps_per_day=n).simulate(start, soil, 1)[1])(soil)
        for n in (1, 4)
    )
    yearly = [np.asarray(y.percolation.sum(axis=0)) for y in (coarse, fine)]
    np.testing.assert_allclose(yearly[0], yearly[1], atol=0.01 * float(RAIN.sum()))
    assert np.abs(np.asarray(coarse.deficit - fine.deficit)).max() < 0.03
    assert pytest.approx(365.25 / 12) == DAY_LENGTH * richards.DAYS

"""Many profiles at once: data, emulator, hierarchical model, comparison of variants."""

import importlib.util
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from calibration import Problem
from calibration.methods import importance
from calibration.profiles import covariates, emulator, model_comparison, report
from calibration.profiles import workflow as many_sites
from calibration.profiles.hierarchy import VARIANTS, Hierarchy
from calibration.profiles.sites import Sites
from diffsoil.cases import seasons
from diffsoil.io import InputError
from diffsoil.processes.protection import MECHANISMS

pytestmark = pytest.mark.mixed_types

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("acid", "base", "crop")
MONTHS = "[0, 0, 0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.1, 0, 0, 0]"
USE = (
    "cover = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], plant_input_months = "
    f"{MONTHS}, dpm_rpm_ratio = 1.0, leaf_share = 0.3, root_beta = 0.96, plant_carbon_t_ha = 3.0"
)
SOILS = {"acid": (18, 15, 0.6), "base": (30, 95, 0.0), "crop": (25, 60, 0.2)}

CASE = """
format = 1
name = "few"
title = "Three profiles"
start_year = 1500
minimum = "soft"
protection = ["clay", "mooh", "aggregation"]

[grid]
layers = 4
thickness_m = 0.2

[climate.normals]
normals = "normals.csv"

[climate.weather]
monthly = "weather.csv"

[site]
{sites}

{soils}
[land_use]
{uses}

[[history]]
until = 1900
step_years = 100
climate = "normals"

[history.land_use]
{history}

[experiment]
until = 1901
climate = "weather"
management = "management.csv"

{treatments}
[observations]
files = ["observations.csv"]

[free."carbon.subsoil_slowing"]
prior = {{ kind = "lognormal", location = 1.0, scale = 0.5 }}

[free."protection.b1"]
prior = {{ kind = "normal", location = 0.8, scale = 0.1 }}

[free."protection.b3a"]
prior = {{ kind = "normal", location = 0.2, scale = 0.1 }}
"""


def write_case(folder: Path) -> Path:
    """Three profiles with three observed intervals each; the values are placeholders."""
    soils = ""
    for name, (clay, base, one) in SOILS.items():
        soils += f"[soil.{name}]\nhorizons = [\n"
        for upper, lower, density, soc in ((0, 30, 1.3, 1.5), (30, 80, 1.45, 0.5)):
            soils += (
                f"  {{ upper_cm = {upper}, lower_cm = {lower}, clay_percent = {clay}, "
                f"silt_percent = 55, bulk_density = {density}, soc_percent = {soc}, "
                f"iom_percent = {soc / 15:.3f}, one_to_one_share = {one}, "
                f"base_saturation = {base}, dissolved_al_fe = {0.02 * (base < 50)} }},\n"
            )
        soils += "]\n\n"
    text = CASE.format(
        sites="\n".join(f'{n} = "{n}"' for n in NAMES),
        soils=soils,
        uses="\n".join(f'{n}_grass = {{ input_group = "{n}", {USE} }}' for n in NAMES),
        history="\n".join(f'{n} = "{n}_grass"' for n in NAMES),
        treatments="".join(f'[[treatment]]\nname = "{n}"\nsite = "{n}"\n\n' for n in NAMES),
    )
    (folder / "case.toml").write_text(text)
    months = range(1, 13)
    warm = [9 - 8 * np.cos(2 * np.pi * (m - 1) / 12) for m in months]
    rows = [f"{m},{t:.3f},60,{max(5.0, 6 * t):.2f}" for m, t in zip(months, warm, strict=True)]
    head = "month,temperature_c,precipitation_mm,pet_mm\n"
    (folder / "normals.csv").write_text(head + "\n".join(rows) + "\n")
    weather = "year," + head + "\n".join(f"{y},{r}" for y in (1900, 1901) for r in rows) + "\n"
    (folder / "weather.csv").write_text(weather)
    driven = "".join(f"{n},{y},{n}_grass,3.0\n" for n in NAMES for y in (1900, 1901))
    management = "treatment,year,land_use,plant_carbon_base_t_ha\n" + driven
    (folder / "management.csv").write_text(management)
    write_observations(folder, np.ones(9))
    return folder / "case.toml"


def write_observations(folder: Path, values: np.ndarray) -> None:
    text = "site,treatment,year,variable,upper_cm,lower_cm,value,sd,unit,series\n"
    depths = ((0, 25, "topsoil"), (25, 50, "subsoil"), (50, 80, "subsoil"))
    rows = [(n, d) for n in NAMES for d in depths]
    for (name, (upper, lower, series)), value in zip(rows, values, strict=True):
        text += f"{name},{name},1901,soc_percent,{upper},{lower},{value:.5f},0.01,%,{series}\n"
    (folder / "observations.csv").write_text(text)


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts" / "prepare_neon.py"
    spec = importlib.util.spec_from_file_location("prepare_neon", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    write_case(folder)
    return folder


@pytest.fixture(scope="module")
def sites(folder):
    return Sites([folder / "case.toml"])


@pytest.fixture(scope="module")
def model(sites):
    return Hierarchy(sites)


@pytest.fixture(scope="module")
def runs(sites, model):
    rates, modifier = [], []
    inputs = jax.jit(jax.vmap(model.inputs, in_axes=(0, None)))
    for number, mechanisms in enumerate(VARIANTS.values()):
        on = model.given(None, mechanisms).switched_on
        r, m = inputs(model.priors.sample(jax.random.key(number), 9), on)
        rates.append(np.asarray(r))
        modifier.append(np.asarray(m))
    order = np.random.default_rng(0).permutation(90)
    return emulator.simulate(
        sites, np.concatenate(rates)[order], np.concatenate(modifier)[order], lambda line: None
    )


@pytest.fixture(scope="module")
def emulated(sites, runs):
    return emulator.fit(sites, emulator.layer_weights(sites, runs), runs.part(slice(0, 70)))


# --- data


def test_the_cases_are_what_the_script_makes(script):
    assert script.main(["--check"]) == 0


def test_seasons_keep_the_annual_values(script):
    for of in script.SEASONS.values():
        table = script.normals(11.0, 900.0, 40.0, of)
        assert table["temperature_c"].mean() == pytest.approx(11.0, abs=1e-3)
        assert table["precipitation_mm"].sum() == pytest.approx(900.0, abs=1e-2)
        assert (table["precipitation_mm"] > 0).all()
        assert (table["pet_mm"] >= 0).all()


def test_radiation_is_that_of_the_manual():
    """FAO-56, annex 2, table 2.6: 40 degrees north, January 15.0 and July 40.4 MJ/m2/d."""
    light = seasons.radiation(40.0)
    assert light[0] == pytest.approx(15.0, abs=0.4)
    assert light[6] == pytest.approx(40.4, abs=0.5)


@pytest.fixture(scope="module")
def layers(script):
    return script.read_layers()


def test_a_missing_density_is_estimated_with_a_larger_error(script, layers):
    estimate = script.Densities(layers)
    rows = script.profile_of(layers, "KONA_048", estimate)
    assert rows["density"].between(0.9, 1.8).all()
    assert (rows["density_error"] == estimate.error).all()
    assert estimate.error > script.MEASURED_DENSITY_ERROR
    known = script.profile_of(layers, "KONA_003", estimate)
    assert (known["density"] == known["bd_field_g_cm3"]).all()


def test_stones_take_room(script):
    rows = pd.DataFrame(
        {"density": [1.3], "coarse_2_5mm_g_kg": [200.0], "coarse_5_20mm_g_kg": [100.0]}
    )
    earth, stones = 0.7 / 1.3, 0.3 / 2.65
    expected = 1.3 * earth / (earth + stones)
    assert script.fine_earth_density(rows).item() == pytest.approx(expected)


def test_a_texture_that_does_not_sum_is_refused(script, tmp_path):
    table = pd.read_csv(script.LAYERS)
    table.loc[3, "sand_pct"] += 7
    table.to_csv(tmp_path / "layers.csv", index=False)
    with pytest.raises(InputError, match=r"line 5, columns sand_pct.*sum to 107"):
        script.read_layers(tmp_path / "layers.csv")


def test_a_profile_without_base_saturation_is_refused(script, layers):
    with pytest.raises(InputError, match=r"LENO_011: line \d+, column 'base_saturation"):
        script.profile_of(layers, "LENO_011", script.Densities(layers))


# --- the column of many profiles


def test_stocks_are_those_of_the_column(sites, folder):
    """One function of rates and modifiers gives what the ordinary problem predicts."""
    values = {
        "carbon.k_rpm": 0.25,
        "carbon.k_hum": 0.03,
        "carbon.subsoil_slowing": 1.5,
        "carbon.iom_factor": 1.3,
        "protection.b1": 0.7,
        "protection.b2": 8.0,
        "protection.b3a": 0.35,
    } | {f"vegetation.input_factor.{n}": f for n, f in zip(NAMES, (0.7, 1.0, 1.6), strict=True)}
    problem = Problem(folder / "case.toml", free=dict.fromkeys(values))
    x = jnp.asarray([values.get(name, 0.1) for name in problem.names])
    predict = jax.jit(lambda likelihood: likelihood.predict(x).latent)
    expected = np.asarray(predict(problem.likelihood))
    on = jnp.asarray([1.0, 1.0, 1.0, 0.0])
    rates = jnp.log(jnp.asarray([0.25, 0.03]))
    active = sites.stocks(rates, sites.log_modifier(values, on))
    factor = np.repeat([0.7, 1.0, 1.6], 3)
    found = sites.percent(active, jnp.asarray(1.3), factor)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_mechanism_that_is_off_does_nothing(sites):
    off = sites.log_modifier({"carbon.subsoil_slowing": 0.0}, jnp.zeros(4))
    np.testing.assert_array_equal(off, 0.0)
    for place, mechanism in enumerate(MECHANISMS):
        if mechanism == "pores":
            continue
        alone = sites.log_modifier({"carbon.subsoil_slowing": 0.0}, jnp.eye(4)[place])
        assert float(jnp.min(alone)) < -0.05


@pytest.mark.slow
def test_profiles_can_be_chosen(folder, sites):
    few = Sites([folder / "case.toml"], ["crop"])
    on = jnp.ones(4)
    rates = jnp.log(jnp.asarray([0.3, 0.02]))
    np.testing.assert_allclose(
        few.stocks(rates, few.log_modifier({}, on)),
        sites.stocks(rates, sites.log_modifier({}, on))[6:],
    )
    with pytest.raises(InputError, match="no profile 'crap', did you mean 'crop'"):
        Sites([folder / "case.toml"], ["crap"])


def test_the_emulator_is_good_to_half_a_percent(emulated, runs):
    error = emulator.errors(emulated, runs.part(slice(70, None)))
    assert np.sqrt(np.mean(error**2)) < 0.005


def test_an_emulator_needs_more_runs_than_terms(sites, runs):
    with pytest.raises(ValueError, match="10 runs for"):
        emulator.fit(sites, np.ones((9, 4)) / 4, runs.part(slice(0, 10)))


# --- the hierarchical model


def test_the_unknown_input_is_integrated_out(model, emulated):
    given = model.given(emulated, MECHANISMS)
    x, log_stock = model.state(jnp.zeros(len(model.names)) + 0.1, given)
    found = model.profile_log_likelihood(x, log_stock)
    u = np.linspace(-8, 8, 8001)
    wide = jnp.broadcast_to(jnp.asarray(u), (3, u.size))
    density = np.asarray(model._of_input(model.values(x), log_stock, wide)[0])
    np.testing.assert_allclose(found, np.log(np.trapezoid(np.exp(density), u)), atol=1e-4)


def test_a_profile_that_is_left_out_has_no_say(sites, emulated):
    other = Hierarchy(sites)
    z = jnp.full(len(other.names), 0.1)
    left_out = other.given(emulated, MECHANISMS, np.array([0.0, 1.0, 1.0]))
    everything = other.given(emulated, MECHANISMS)
    before = other.log_likelihood(z, left_out), other.log_likelihood(z, everything)
    other.log_value = other.log_value + np.where(sites.table["profile"] == 0, 0.5, 0.0)
    assert other.log_likelihood(z, left_out) == before[0]
    assert other.log_likelihood(z, everything) != before[1]


def test_a_synthetic_twin_recovers_its_parameters(model, sites, emulated):
    """Nine observations with 10 % of error: nearly all of the truths lie within two sd."""
    truth = {
        "carbon.subsoil_slowing": 1.6,
        "error.topsoil": 0.1,
        "error.subsoil": 0.1,
        "input.spread": 0.2,
    }
    start = [truth.get(p.name, p.prior.location) for p in model.parameters]
    x = jnp.asarray(
        [p.default if np.isnan(v) else v for v, p in zip(start, model.parameters, strict=True)]
    )
    given = model.given(None, ("clay", "aggregation"))
    inputs = model.new_inputs(jax.random.key(3), x)
    _, measured = model.predict(jax.random.key(4), x, model.log_stock(x, given), inputs)
    twin = Hierarchy(sites)
    twin.log_value = np.log(np.asarray(measured))
    given = twin.given(emulated, ("clay", "aggregation"))
    mode = twin.mode(given, starts=1)
    sd = np.sqrt(np.diag(mode.covariance))
    away = (np.asarray(twin.transform.inverse(x)) - mode.z) / sd
    assert np.abs(away).max() < 3
    assert np.mean(np.abs(away) < 2) > 0.8
    slowing = twin.names.index("carbon.subsoil_slowing")
    assert twin.transform.forward(jnp.asarray(mode.z))[slowing] == pytest.approx(1.6, rel=0.35)


# --- comparison of variants


def test_bridge_finds_a_known_evidence():
    generator = np.random.default_rng(0)
    factor = np.tril(generator.standard_normal((5, 5))) + 2 * np.eye(5)
    z = generator.standard_normal((4, 500, 5)) @ factor.T
    volume = 2.5 * np.log(2 * np.pi) + np.log(np.abs(np.diag(factor))).sum()

    def density(z: np.ndarray) -> np.ndarray:
        return -0.5 * np.sum(np.linalg.solve(factor, z.T) ** 2, axis=0) + 1.7

    found = model_comparison.bridge(density, z, 0)
    assert found.log_evidence == pytest.approx(volume + 1.7, abs=0.02)
    assert found.error < 0.02


def test_importance_tells_a_good_from_a_bad_approximation():
    generator = np.random.default_rng(1)
    good = importance.weights(0.01 * generator.standard_normal(400), np.zeros(400))
    assert good.k < 0.7
    assert good.effective > 390
    bad = importance.weights(3.0 * generator.standard_cauchy(400), np.zeros(400))
    assert bad.k > 0.7


HORIZONS = """profile_id,upper_cm,lower_cm,clay_pct,ph
one,0,20,20,5
one,20,60,40,
two,0,10,10,7
two,10,90,10,7
"""


def horizons(tmp_path, text=HORIZONS):
    path = tmp_path / "horizons.csv"
    path.write_text(text)
    return path


def test_a_layer_has_the_covariates_of_its_horizon_or_of_the_nearest_one(tmp_path):
    depth = np.array([0.05, 0.15, 0.3, 0.8])
    said = []
    wanted = (["clay_pct", "ph"], ["one", "two"], depth, said.append)
    found = covariates.of_layers(horizons(tmp_path), *wanted)
    assert found.shape == (2, 4, 2)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), 0.0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=(0, 1)), 1.0)
    clay = found[..., 0] - found[1, 0, 0]
    np.testing.assert_allclose(clay / clay[0, 0], [[1, 1, 3, 3], [0, 0, 0, 0]], atol=1e-9)
    assert len(np.unique(found[0, :, 1].round(9))) == 1  # its lower horizon has no pH
    assert not said
    without = HORIZONS.replace("10,7", "10,").replace("60,40,", "60,40,6")
    found = covariates.of_layers(horizons(tmp_path, without), *wanted)
    np.testing.assert_array_equal(found[1, :, 1], 0.0)
    assert said == ["ph: the mean of the others for two, which has no value"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("two,0,10,10", "two,0,10,sand", "horizons.csv: line 4, column 'clay_pct': 'sand' is not"),
        ("two,", "three,", "no horizon of profile 'two'"),
        ("clay_pct", "clay", "column 'clay_pct': missing, did you mean 'clay'"),
        (",5\n", ",7\n", "column 'ph': the same value in all layers"),
        ("two,10,", "two,,", "horizons.csv: line 5: upper_cm or lower_cm is missing"),
    ],
)
def test_covariates_that_tell_nothing_are_refused(tmp_path, old, new, words):
    path = horizons(tmp_path, HORIZONS.replace(old, new))
    with pytest.raises(InputError, match=re.escape(words)):
        covariates.of_layers(path, ["clay_pct", "ph"], ["one", "two"], np.array([0.1, 0.3]), print)


@pytest.mark.parametrize("kind", covariates.REGRESSIONS)
def test_a_regression_adds_to_the_turnover_what_its_prior_allows(sites, model, kind):
    names = ("a", "b", "c", "d")
    shape = (len(sites.names), sites.depth.size, len(names))
    values = np.random.default_rng(0).standard_normal(shape)
    of = covariates.REGRESSIONS[kind](jnp.asarray(values), names)
    other = Hierarchy(sites, of)
    assert other.names[: len(model.names)] == model.names
    assert f"follows a, b, c, d of its horizon as well ({kind})" in report._followed(other)
    assert report._followed(model) == ""
    on = model.given(None, ["clay"]).switched_on
    x = model.priors.sample(jax.random.key(2), 1)[0]
    zero = jnp.zeros(len(of.parameters()))
    np.testing.assert_allclose(
        other.inputs(jnp.concatenate([x, zero]), on)[1], model.inputs(x, on)[1], rtol=1e-12
    )
    drawn = other.priors.sample(jax.random.key(3), 200)[:, len(model.names) :]
    added = [of(dict(zip(other.names[len(model.names) :], row, strict=True))) for row in drawn]
    width = covariates.WIDTH * np.sqrt(len(names))
    assert 0.6 * width < np.std(added) < 1.3 * width
    few = of.part([1])(dict(zip(other.names[len(model.names) :], drawn[0], strict=True)))
    np.testing.assert_allclose(few[0], added[0][1], rtol=1e-12)


def test_an_unknown_variant_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no variant 'cley', did you mean 'clay'"):
        many_sites.calibrate([str(folder / "case.toml")], tmp_path / "out", ["cley"])


@pytest.mark.slow
def test_the_whole_run_goes_on_where_it_was_and_ends_the_same(folder, tmp_path, monkeypatch):
    sizes = many_sites.Sizes(
        prior_runs=64,
        chains=2,
        warmup=100,
        draws=100,
        corrections=25,
        iterations=1,
        particles=0,
        folds=3,
        direct=0,
    )
    case, quiet = [str(folder / "case.toml")], lambda line: None
    one, two = tmp_path / "one", tmp_path / "two"
    whole = many_sites.calibrate(case, one, ["none", "all"], sizes=sizes, say=quiet)
    many_sites.calibrate(case, two, ["none", "all"], sizes=sizes, say=quiet)
    for name in ("evidence.csv", "loo.csv", "withheld.csv", "draws_1_all.npz"):
        (two / name).unlink()
    with pytest.raises(InputError, match="--resume"):
        many_sites.calibrate(case, two, ["none", "all"], sizes=sizes, say=quiet)
    again = many_sites.calibrate(case, two, ["none", "all"], sizes=sizes, resume=True, say=quiet)
    pd.testing.assert_frame_equal(whole, again)
    for name in ("posterior.nc", "summary.csv", "predictions.csv", "report.html", "variants.png"):
        assert (two / name).is_file()
    scores = pd.read_csv(two / "withheld_scores.csv")
    assert scores["variant"].tolist() == ["none", "all", "RothC"]
    assert scores["coverage_90"].isna().tolist() == [False, False, True]
    by_weights = pd.read_csv(one / "loo_none.csv")
    assert list(by_weights["refitted"]) == list(by_weights["pareto_k"] > importance.TRUSTED)
    for name in ("evidence.csv", "loo.csv", "loo_none.csv", "loo_all.csv"):
        (two / name).unlink()
    monkeypatch.setattr(importance, "TRUSTED", -1.0)
    many_sites.calibrate(case, two, ["none", "all"], sizes=sizes, resume=True, say=quiet)
    refitted = pd.read_csv(two / "loo_none.csv")
    assert refitted["refitted"].all()
    # of three profiles two tell little, so what they are predicted from is wider in all; of a
    # single one that lies where the others have it the density may be the same
    assert refitted["elpd"].sum() < by_weights["elpd"].sum() - 0.2

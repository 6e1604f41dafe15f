"""Single-layer RothC: parity with the official code, exact gradients, clear complaints."""

from __future__ import annotations

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from diffsoil import rothc
from diffsoil.cli import main
from diffsoil.io import InputError, data_path
from diffsoil.options import RothCStart
from diffsoil.processes.carbon import co2_ratio
from diffsoil.processes.pedotransfer import water_content, wosten1999
from diffsoil.rothc import (
    Forcing,
    GivenPools,
    MeasuredStock,
    Site,
    moisture_limits,
    run,
    run_files,
)

FOLDER = data_path("reference", "rothc")
INPUTS, SITE = FOLDER / "inputs.csv", FOLDER / "site.json"
MANUAL = json.loads((FOLDER / "manual_hoosfield_1851.json").read_text())
HOOSFIELD = Site(clay_pct=23.4, depth_cm=23.0, iom_tC_ha=2.7)
ACTIVE = ("DPM", "RPM", "BIO", "HUM")
ACTIVE_POOLS = len(ACTIVE)
FARINA = {"silt_pct": 50.0, "bulk_density_g_cm3": 1.3, "oc_pct": 1.2}


def forcing(table):
    return Forcing(**table.drop(columns=["role", "year", "month"]).to_dict("list"))


def steady(**changes):
    """Twelve equal months: moist, covered, 10 degrees C."""
    month = {
        "modern_pct": 100.0,
        "tmp_c": 10.0,
        "rain_mm": 90.0,
        "evap_mm": 20.0,
        "c_inp_tC_ha": 0.2,
        "fym_tC_ha": 0.0,
        "pc": 1.0,
        "dpm_rpm": 1.44,
    }
    return Forcing(**{name: np.full(12, v) for name, v in (month | changes).items()})


def site(**changes):
    return Site(**({"clay_pct": 20.0, "depth_cm": 23.0, "iom_tC_ha": 3.0} | changes))


@pytest.fixture(scope="module")
def expected():
    return pd.read_csv(FOLDER / "expected_monthly.csv")


@pytest.fixture(scope="module")
def monthly(tmp_path_factory):
    path = tmp_path_factory.mktemp("rothc") / "monthly.csv"
    run_files(INPUTS, SITE, path)
    return path


@pytest.fixture(scope="module")
def found(monthly):
    return pd.read_csv(monthly)


@pytest.fixture(scope="module")
def rothamsted_year():
    return forcing(pd.read_csv(FOLDER / "manual_hoosfield_1851_inputs.csv"))


@pytest.fixture(scope="module")
def hoosfield(rothamsted_year):
    return run(HOOSFIELD, rothamsted_year, rothamsted_year)


# parity


def test_every_reference_column_agrees_to_1e_9(found, expected):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, err_msg=name)


def test_output_has_the_reference_columns_then_co2_and_ages(found, expected):
    ages = [f"{name}_age_yr" for name in ACTIVE]
    assert list(found) == [*expected, "CO2_t_C_ha", *ages]


def test_spin_up_ends_in_the_official_month_and_state():
    table = rothc.read_inputs(INPUTS)
    result = run(rothc.read_site(SITE), forcing(table[:12]), forcing(table[12:]))
    official = json.loads(SITE.read_text())
    assert result.spun_up
    assert 12 * result.spinup_years == official["spinup_months_until_converged"]
    pools = [official["state_after_spinup"][f"{name}_t_C_ha"] for name in (*ACTIVE, "IOM")]
    ages = [official["radiocarbon_age_yr_after_spinup"][name] for name in ACTIVE]
    np.testing.assert_allclose(result.start_pools, pools, rtol=1e-11)
    np.testing.assert_allclose(result.start_ages, ages, rtol=1e-9)


def test_state_after_spin_up_in_the_site_file_has_no_influence(tmp_path, monthly):
    content = json.loads(SITE.read_text())
    bare = {key: content[key] for key in ("clay_pct", "depth_cm", "iom_tC_ha")}
    (tmp_path / "site.json").write_text(json.dumps(bare))
    run_files(INPUTS, tmp_path / "site.json", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == monthly.read_bytes()


def test_hoosfield_in_1851_is_the_official_and_the_printed_state(hoosfield):
    official = MANUAL["official_python_after_spinup"]
    printed = MANUAL["printed_in_manual_31dec1851"]
    for name, pool in zip((*ACTIVE, "IOM"), hoosfield.start_pools, strict=True):
        assert pool == pytest.approx(official[name], rel=1e-11)
        # the printed run went on longer: 1e-4 in HUM
        assert pool == pytest.approx(printed[name], abs=1.5e-4)
    # a year later little has changed
    assert hoosfield.soc[-1] == pytest.approx(official["SOC"], abs=1e-6)
    assert hoosfield.delta_c[-1] == pytest.approx(official["deltaC_permil"], abs=1e-5)


# The printed ages of BIO are one month above those of the official code, here and below.
MONTH_OF_BIO = np.array([0.0, 0.0, 1.0 / 12.0, 0.0])


def test_hoosfield_in_1851_has_the_printed_ages(hoosfield):
    printed = MANUAL["printed_in_manual_31dec1851"]["radiocarbon_age_yr"]
    expected = [printed[name] for name in ACTIVE]
    np.testing.assert_allclose(hoosfield.start_ages + MONTH_OF_BIO, expected, atol=0.01)


def test_hoosfield_one_bare_month_later_is_the_printed_state(rothamsted_year):
    fallow = dataclasses.replace(rothamsted_year, c_inp_tC_ha=np.zeros(12), pc=np.zeros(12))
    result = run(HOOSFIELD, rothamsted_year, fallow)
    printed = MANUAL["printed_in_manual_31jan1852_unmanured"]
    product = result.rm_tmp[0] * result.rm_moist[0] * result.rm_pc[0]
    assert product == pytest.approx(printed["abc"], abs=5.1e-5)
    pools = [printed[name] for name in ACTIVE]
    ages = [printed["radiocarbon_age_yr"][name] for name in ACTIVE]
    np.testing.assert_allclose(result.pools[0, :4], pools, atol=1.5e-4)
    np.testing.assert_allclose(result.ages[0] + MONTH_OF_BIO, ages, atol=0.01)


def test_rothamsted_moisture_deficits_are_the_printed_table(hoosfield):
    printed = MANUAL["printed_accumulated_tsmd_mm"]
    np.testing.assert_allclose(hoosfield.swc_mm, printed, atol=0.0051)


@pytest.mark.parametrize(
    ("clay", "ratio", "deficit"),
    [
        (10, 4.30703, 32.0),
        (16, 3.84924, 38.24),
        (20, 3.64429, 42.0),
        (23.4, 3.51418, 44.9444),
        (30, 3.34230, 50.0),
    ],
)
def test_clay_sets_the_published_co2_ratio_and_largest_deficit(clay, ratio, deficit):
    limits = moisture_limits(site(clay_pct=clay))
    assert co2_ratio(jnp.asarray(float(clay))) == pytest.approx(ratio, abs=5e-6)
    assert limits.covered == pytest.approx(deficit, abs=5e-5)
    assert limits.bare == pytest.approx(0.556 * deficit, abs=5e-5)


# analytic


def steady_soc(clay, yearly_input, modifier, step):
    """Closed form, with the yearly loss of a pool either continuous or in monthly steps."""
    x = float(co2_ratio(jnp.asarray(clay)))
    losses = [step(k * modifier) for k in rothc.RATES]
    f = 1.44 / 2.44
    shares = [f, 1 - f, 0.46 / x, 0.54 / x]
    return yearly_input * sum(share / loss for share, loss in zip(shares, losses, strict=True))


def test_spin_up_reaches_the_closed_form_steady_state():
    result = run(site(), steady(), steady())
    modifier = float(result.rm_tmp[0] * result.rm_moist[0] * result.rm_pc[0])
    monthly = steady_soc(20.0, 2.4, modifier, lambda k: 12 * -np.expm1(-k / 12))
    assert result.soc[-1] - 3.0 == pytest.approx(monthly, rel=1e-5)
    # the published form is continuous in time: half a month's decomposition lies between them
    lost = 0.2 * (1 + 1 / float(co2_ratio(jnp.asarray(20.0))))
    continuous = steady_soc(20.0, 2.4, modifier, lambda k: k)
    assert continuous == pytest.approx(monthly - lost / 2, rel=5e-4)


def test_carbon_that_enters_stays_or_leaves_as_co2(found):
    table = pd.read_csv(INPUTS)[12:]
    entered = (table["c_inp_tC_ha"] + table["fym_tC_ha"]).to_numpy()[1:].cumsum()
    stayed = (found["SOC_t_C_ha"] - found["SOC_t_C_ha"][0]).to_numpy()[1:]
    left = (found["CO2_t_C_ha"] - found["CO2_t_C_ha"][0]).to_numpy()[1:]
    np.testing.assert_allclose(stayed + left, entered, rtol=1e-11, atol=1e-11)


def test_moisture_that_takes_years_to_settle_is_periodic_after_the_spin_up():
    # 12 mm a year are missing: the limit of 42 mm is met in the fourth year
    year = steady(rain_mm=40.0, evap_mm=41.0 / 0.75)
    result = run(site(), year, year)
    np.testing.assert_allclose(result.swc_mm, -42.0)


def test_an_empty_soil_has_age_zero_and_no_delta():
    result = run(site(iom_tC_ha=0.0), steady(c_inp_tC_ha=0.0), steady(c_inp_tC_ha=0.0))
    assert np.all(result.soc == 0.0)
    assert np.all(result.ages == 0.0)
    assert np.all(result.delta_c == 0.0)


# gradients

# clay, factor on the input, temperature shift, four rates
POINT = jnp.array([18.5, 1.0, 0.0, *rothc.RATES])


@pytest.fixture(scope="module")
def outcome(rothamsted_year):
    """SOC and delta 14C a year after the spin-up, CO2 after half a year; function of POINT."""

    def function(point):
        year = dataclasses.replace(
            rothamsted_year,
            c_inp_tC_ha=rothamsted_year.c_inp_tC_ha * point[1],
            tmp_c=rothamsted_year.tmp_c + point[2],
        )
        soil = Site(clay_pct=point[0], depth_cm=25.0, iom_tC_ha=2.7)
        # ends close to the fixed point, so that differences do not see where it stopped
        result = run(soil, year, year, point[3:], tolerance=1e-11)
        return jnp.stack([result.soc[-1], result.delta_c[-1], result.co2[5]])

    return function


@pytest.fixture(scope="module")
def forward_jacobian(outcome):
    return jax.jit(jax.jacfwd(outcome))(POINT)


def test_gradients_through_the_spin_up_equal_finite_differences(outcome, forward_jacobian):
    for i, step in enumerate([1e-3, 1e-4, 1e-3, 1e-3, 1e-4, 1e-4, 5e-6]):
        change = step * np.eye(len(POINT))[i]
        difference = (outcome(POINT + change) - outcome(POINT - change)) / (2 * step)
        np.testing.assert_allclose(
            forward_jacobian[:, i], difference, rtol=1e-5, err_msg=f"parameter {i}"
        )


def test_reverse_mode_equals_forward_mode(outcome, forward_jacobian):
    reverse = jax.jit(jax.jacrev(outcome))(POINT)
    np.testing.assert_allclose(reverse, forward_jacobian, rtol=1e-9)


def test_gradient_at_the_official_tolerance_is_that_of_the_steady_state(
    rothamsted_year, forward_jacobian
):
    def soc(clay):
        soil = Site(clay_pct=clay, depth_cm=25.0, iom_tC_ha=2.7)
        return run(soil, rothamsted_year, rothamsted_year).soc[-1]

    np.testing.assert_allclose(jax.grad(soc)(18.5), forward_jacobian[0, 0], rtol=1e-4)


@pytest.fixture(scope="module")
def total_and_gradient():
    """Sum of all outputs, and its gradient in site, weather, input and rates."""

    def total(soil, year, rates):
        result = run(soil, year, year, rates)
        return sum(jnp.sum(x) for x in result if jnp.issubdtype(x.dtype, jnp.floating))

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))


@pytest.mark.parametrize(
    ("soil", "year"),
    [
        pytest.param({"clay_pct": 0.0}, {}, id="no clay"),
        pytest.param({}, {"tmp_c": -10.0}, id="always frozen"),
        pytest.param({}, {"c_inp_tC_ha": 0.0}, id="no input"),
        pytest.param({"iom_tC_ha": 0.0}, {"c_inp_tC_ha": 0.0}, id="no carbon at all"),
        pytest.param({}, {"rain_mm": 0.0, "evap_mm": 0.0}, id="no water moves"),
        pytest.param({}, {"rain_mm": 0.0, "evap_mm": 300.0, "pc": 0.0}, id="bare desert"),
        pytest.param({}, {"modern_pct": 0.0}, id="fossil input"),
        pytest.param(
            FARINA | {"rm_moist": 2, "clay_pct": 0.0, "silt_pct": 0.0, "oc_pct": 0.0},
            {},
            id="van Genuchten sand",
        ),
    ],
)
def test_extreme_sites_are_finite_in_value_and_gradient(total_and_gradient, soil, year):
    value, gradient = total_and_gradient(site(**soil), steady(**year), jnp.array(rothc.RATES))
    assert np.isfinite(value)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))


# many sites


def test_sites_side_by_side_equal_sites_one_by_one(rothamsted_year):
    clays, depths, inert = [5.0, 23.4, 60.0], [20.0, 23.0, 30.0], [1.0, 2.7, 5.0]
    many = Site(clay_pct=clays, depth_cm=depths, iom_tC_ha=inert, min_rm_moist=[0.2] * 3)
    together = jax.vmap(run, in_axes=(0, None, None))(many, rothamsted_year, rothamsted_year)
    for i in range(3):
        alone = run(
            Site(clay_pct=clays[i], depth_cm=depths[i], iom_tC_ha=inert[i]),
            rothamsted_year,
            rothamsted_year,
        )
        assert together.spinup_years[i] == alone.spinup_years
        for batch, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(batch[i], single, rtol=1e-11, atol=1e-11)


# options of version 2.0.0


@pytest.mark.parametrize("option", [2, 3])
def test_van_genuchten_deficits_follow_the_retention_curve(option):
    limits = moisture_limits(site(**FARINA, rm_moist=option))
    curve = wosten1999(20.0, 50.0, 1.72 * 1.2, 1.3, 1)
    wet, one, fifteen, thousand = (
        float(water_content(curve, head)) for head in (50.0, 1e3, 15e3, 1e6)
    )
    assert limits.without_effect == pytest.approx(230.0 * (wet - one))
    assert limits.wilting == pytest.approx(230.0 * (wet - fifteen))
    driest = thousand if option == 2 else fifteen
    assert limits.covered == pytest.approx(230.0 * (wet - driest))
    bare = limits.wilting - 0.6388 / 0.8 * (limits.wilting - limits.without_effect)
    assert limits.bare == pytest.approx(bare)


@pytest.mark.parametrize("option", [1, 2, 3])
def test_bare_soil_can_be_allowed_to_dry_to_15_bar(option):
    limits = moisture_limits(site(**FARINA, rm_moist=option, smd_bare=2))
    assert limits.bare == limits.wilting


def test_farina_bare_limit_is_the_standard_one_for_a_standard_soil():
    # both say where the moisture modifier is 0.8388
    standard = moisture_limits(site())
    span = standard.wilting - standard.without_effect
    assert standard.wilting - rothc.FARINA_BARE * span == pytest.approx(
        float(standard.bare), rel=1e-4
    )


@pytest.mark.parametrize("cover", [0.0, 1.0])
def test_soil_below_15_bar_has_the_minimum_modifier_that_was_asked_for(cover):
    soil = site(**FARINA, rm_moist=2, smd_bare=2, min_rm_moist=0.1)
    limits = moisture_limits(soil)
    desert = steady(rain_mm=0.0, evap_mm=80.0, pc=cover)
    result = run(soil, desert, desert)
    driest = limits.covered if cover else limits.wilting
    np.testing.assert_allclose(result.swc_mm, -driest)
    np.testing.assert_allclose(result.rm_moist, 0.1)


def test_standard_soil_keeps_the_minimum_modifier_that_was_asked_for():
    desert = steady(rain_mm=0.0, evap_mm=80.0)
    result = run(site(min_rm_moist=0.15), desert, desert)
    np.testing.assert_allclose(result.rm_moist, 0.15)


def test_silt_density_and_carbon_do_not_matter_to_the_standard_option():
    assert moisture_limits(site(**FARINA)) == moisture_limits(site())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rm_moist": 4}, "rm_moist 4 is not 1, 2 or 3"),
        ({"smd_bare": 0}, "smd_bare 0 is not 1 or 2"),
        ({"rm_moist": 2, "silt_pct": 50.0}, "rm_moist 2 needs bulk_density_g_cm3"),
    ],
)
def test_site_with_an_impossible_option_is_refused(options, expected):
    with pytest.raises(ValueError, match=expected):
        site(**options)


# files


@pytest.fixture(scope="module")
def three_years():
    return pd.read_csv(INPUTS)[: 12 + 36]


def complaint(tmp_path, table=None, site_text=None):
    inputs, site_path = INPUTS, SITE
    if table is not None:
        inputs = tmp_path / "inputs.csv"
        table.to_csv(inputs, index=False)
    if site_text is not None:
        site_path = tmp_path / "site.json"
        site_path.write_text(site_text)
    with pytest.raises(InputError) as caught:
        run_files(inputs, site_path, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    text = str(caught.value)
    assert "\n" not in text
    changed = inputs if table is not None else site_path
    assert text.startswith(f"{changed}: ")
    return text.removeprefix(f"{changed}: ")


@pytest.mark.parametrize(
    ("line", "column", "value", "expected"),
    [
        (20, "tmp_c", 283.1, "283.1 is outside -60 to 60 degrees C (is this in kelvin?)"),
        (20, "tmp_c", float("nan"), "the value is missing"),
        (15, "pc", 2, "2 is outside 0 to 1"),
        (15, "pc", 0.5, "0.5 is not a whole number"),
        (15, "rain_mm", -1, "-1 is outside 0 to 5000 mm a month"),
        (15, "c_inp_tC_ha", "much", "'much' is not a number"),
        (15, "evap_mm", -60, "-60 is outside -50 to 5000 mm a month"),
        (15, "rain_mm", "1_6", "'1_6' has an underscore"),
        (
            15,
            "rain_mm",
            -99,
            "-99 is outside 0 to 5000 mm a month (a code for a missing value?)",
        ),
        (15, "role", "rum", "'rum' is not one of spinup, run"),
        (4, "month", 1, "spin-up month 1 where 3 is expected"),
    ],
)
def test_bad_cell_is_named_by_line_and_column(tmp_path, three_years, line, column, value, expected):
    table = three_years.astype({column: object})
    table.loc[line - 2, column] = value
    assert complaint(tmp_path, table) == f"line {line}, column {column!r}: {expected}"


def test_missing_and_renamed_columns_are_named(tmp_path, three_years):
    text = complaint(tmp_path, three_years.drop(columns="evap_mm"))
    assert text == "column 'evap_mm' is missing"
    text = complaint(tmp_path, three_years.rename(columns={"evap_mm": "evap"}))
    assert text == "column 'evap_mm' is missing, did you mean 'evap'?"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*range(20), *range(21, 48)], "line 22, columns 'year' and 'month': 1900-09 is missing"),
        ([*range(20), *range(25, 48)], "1900-09 to 1901-01 are missing"),
        ([*range(21), 20, *range(21, 48)], "line 23, .*: 1900-09 appears twice"),
        ([*range(21), 15, *range(21, 48)], "line 23, .*: 1900-04 comes after 1900-09"),
        (range(11), "11 spinup rows, exactly 12 are needed, before the run rows"),
        ([*range(20), *range(12)], "24 spinup rows, exactly 12"),
        ([*range(12, 48), *range(12)], "before the run rows"),
        (range(12), "there is no run row"),
    ],
)
def test_missing_and_repeated_months_are_named(tmp_path, three_years, rows, expected):
    text = complaint(tmp_path, three_years.iloc[list(rows)])
    assert re.search(expected, text)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clay_pct": -1}, "key 'clay_pct': -1 is outside 0 to 100 %"),
        ({"clay_pct": 101}, "key 'clay_pct': 101 is outside 0 to 100 %"),
        ({"clay_pct": "18"}, "key 'clay_pct': \"18\" is not a number"),
        ({"clay_pct": True}, "key 'clay_pct': true is not a number"),
        ({"clay_pct": None}, "key 'clay_pct': null is not a number"),
        ({"clay_pct": float("nan")}, "key 'clay_pct': nan is not a finite number"),
        ({"depth_cm": 0}, "key 'depth_cm': 0 is outside 0.1 to 1000 cm"),
        ({"rm_moist": 4}, "key 'rm_moist': 4 is outside 1 to 3"),
        ({"rm_moist": 1.5}, "key 'rm_moist': 1.5 is not a whole number"),
        ({"rm_moist": 2}, "key 'silt_pct' is missing, rm_moist 2 needs it"),
        (
            {"rm_moist": 3, "silt_pct": 50, "bulk_density_g_cm3": 1.3},
            "key 'oc_pct' is missing, rm_moist 3 needs it",
        ),
        (FARINA | {"bulk_density_g_cm3": 1300}, "outside 0.1 to 2.65 g/cm3 (is this in kg/m3?)"),
        ({"silt_pct": 90}, "clay_pct + silt_pct is 108.5, more than 100 %"),
        ({"opt_RMmoist": 2} | FARINA | {"oc_pct": None}, "key 'oc_pct': null is not a number"),
        ({"opt_RMmoist": 4}, "key 'opt_RMmoist': 4 is outside 1 to 3"),
        ({"opt_RMoist": 1}, "unknown key 'opt_RMoist', did you mean 'opt_RMmoist'?"),
        ({"clay_pct": 0.185}, "fractions? (--plausible clay_pct says that it is meant)"),
        ({"siltper": 50, "silt_pct": 50}, "keys 'siltper' and 'silt_pct' say the same"),
    ],
)
def test_bad_site_value_is_named_by_its_key(tmp_path, changes, expected):
    content = {"clay_pct": 18.5, "depth_cm": 25.0, "iom_tC_ha": 3.4} | changes
    assert complaint(tmp_path, site_text=json.dumps(content)).endswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is not valid JSON: "),
        ("[1]", "a JSON object is expected"),
        ('{"clay": 1}', "key 'clay_pct' is missing, did you mean 'clay'?"),
    ],
)
def test_bad_site_file_is_explained(tmp_path, text, expected):
    assert complaint(tmp_path, site_text=text).startswith(expected)


OFFICIAL = INPUTS.parent / "official"
V1, V2 = OFFICIAL / "v1_RothC_input.dat", OFFICIAL / "v2_RothC_input.dat"


def test_the_official_programs_own_file_gives_its_published_results(tmp_path):
    run_files(V1, None, tmp_path / "out.csv")
    found = pd.read_csv(tmp_path / "out.csv").rename(columns={"deltaC_permil": "deltaC"})
    published = pd.read_csv(OFFICIAL / "v1_month_results.csv")
    assert len(found) == len(published) == 840 - 12
    for name in published:
        # 14C passes through 0 permil, where nothing is relative
        atol = 1e-9 if name == "deltaC" else 0
        np.testing.assert_allclose(found[name], published[name], rtol=1e-9, atol=atol)


def test_a_month_of_dew_is_taken_as_the_official_code_takes_it():
    _, table, _ = rothc.read_official(V1)
    assert table["evap_mm"].min() == -20.7


def test_version_2_of_the_official_file_has_options_in_its_header(tmp_path):
    site, table, left_out = rothc.read_official(V2)
    assert (site.rm_moist, site.smd_bare, left_out, len(table)) == (1, 1, 0, 840)
    found = [site.clay_pct, site.depth_cm, site.iom_tC_ha, site.silt_pct, site.min_rm_moist]
    np.testing.assert_allclose(found, [23.4, 23.0, 3.0041, 58.6, 0.2])
    np.testing.assert_allclose([site.bulk_density_g_cm3, site.oc_pct], [1.27, 0.94])
    assert site == rothc.read_site(_written(tmp_path, V2))


def _written(folder, official):
    """The site of an official file as a site file, with the official names of the options."""
    lines = official.read_text().splitlines()
    options = dict(zip(lines[3].split(), map(float, lines[4].split()), strict=True))
    keys = ("clay_pct", "depth_cm", "iom_tC_ha", "nsteps", "siltper", "BD", "OC", "minRM_Moist")
    site = dict(zip(keys, map(float, lines[7].split()), strict=True))
    del site["nsteps"]
    path = folder / "site.json"
    path.write_text(json.dumps(site | options))
    return path


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("13.0\t25.0", "13,0\t25.0", "line 5, clay: '13,0' has a comma"),
        ("13.0\t25.0", "0.13\t25.0", "key 'clay': 0.13 is less than there is in soils"),
        ("13.0\t", "", "line 5: 3 values below 4 names"),
        ("840", "900", "nsteps 900 is not 13 to 840"),
        ("1939\t3\t97.5\t5.46", "1939\t3\t97.5\twarm", "line 22, column 'tmp_c': 'warm' is not"),
        ("1939\t3\t97.5", "1939\t3", "line 22: 9 values where the header has 10"),
        ("1939\t3\t97.5", "1939\t4\t97.5", "1939-03 is missing"),
        ("modern\tTmp", "modern\tTemp", "column 'tmp_c' is missing, did you mean 'Temp'?"),
        ("example", "2 2\nexample", "line 1: '2 2': above it is no line of known names"),
        ("year  month    modern", "yr  month    modern", "no line 'year month modern"),
    ],
)
def test_a_slip_in_an_official_file_is_named(tmp_path, old, new, expected):
    text = V1.read_text()
    assert old in text
    path = tmp_path / "RothC_input.dat"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        run_files(path, None, tmp_path / "out.csv")
    assert f"{path}: " in str(caught.value)
    assert expected in str(caught.value)


def test_months_beyond_nsteps_are_left_out_and_said_to_be(tmp_path, capsys):
    path = tmp_path / "RothC_input.dat"
    path.write_text(V1.read_text().replace("840", "36", 1))
    run_files(path, None, tmp_path / "out.csv")
    assert len(pd.read_csv(tmp_path / "out.csv")) == 24
    assert "804 months after 1940-12 are beyond nsteps" in capsys.readouterr().out


def test_a_site_file_belongs_to_our_table_alone(tmp_path):
    with pytest.raises(InputError, match=r"holds the site in its header; leave out --site"):
        run_files(V1, SITE, tmp_path / "out.csv")
    with pytest.raises(InputError, match=r"inputs.csv: needs --site SITE.json"):
        run_files(INPUTS, None, tmp_path / "out.csv")


def test_rain_in_another_unit_is_asked_about_and_can_be_meant(tmp_path, three_years):
    table = three_years.assign(rain_mm=three_years["rain_mm"] / 10)
    text = complaint(tmp_path, table)
    assert text.startswith("column 'rain_mm': ")
    assert text.endswith("(--plausible rain_mm says that it is meant)")
    run_files(tmp_path / "inputs.csv", SITE, tmp_path / "out.csv", confirmed=["rain_mm"])


def test_the_climate_of_the_spin_up_is_judged_too(tmp_path, three_years):
    table = three_years.copy()
    table.loc[:11, "rain_mm"] /= 1000
    assert complaint(tmp_path, table).startswith("column 'rain_mm': 0.")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"absent.csv: cannot be read"):
        run_files(tmp_path / "absent.csv", SITE, tmp_path / "out.csv")
    with pytest.raises(InputError, match=r"absent.json: cannot be read"):
        run_files(INPUTS, tmp_path / "absent.json", tmp_path / "out.csv")


def test_existing_output_is_refused_before_inputs_are_read(tmp_path):
    output = tmp_path / "out.csv"
    output.write_text("precious")
    with pytest.raises(InputError, match=r"out.csv: exists already"):
        run_files(tmp_path / "absent.csv", SITE, output)
    assert output.read_text() == "precious"


def test_spin_up_without_a_steady_state_is_an_error(tmp_path, three_years):
    frozen = three_years.iloc[:24].copy()
    frozen.loc[:11, "tmp_c"] = -20.0
    assert "no steady state within" in complaint(tmp_path, frozen)


# starts


def test_falloon_gives_the_inert_carbon_that_the_manual_has():
    # Hoosfield: 33.8 t C/ha in 1852, of which the manual of RothC takes 2.7 as inert
    assert float(rothc.falloon1998(jnp.asarray(33.8))) == pytest.approx(2.7, abs=0.01)


def test_months_start_with_the_measured_stock(rothamsted_year):
    found = run(HOOSFIELD, rothamsted_year, rothamsted_year, start=MeasuredStock(60.0))
    assert float(jnp.sum(found.start_pools)) == pytest.approx(60.0, rel=1e-12)
    assert float(found.start_pools[-1]) == pytest.approx(0.049 * 60.0**1.139)


def test_the_input_found_keeps_the_stock_for_200_years(rothamsted_year):
    manured = dataclasses.replace(rothamsted_year, fym_tC_ha=jnp.full(12, 0.02))
    factor = run(HOOSFIELD, manured, manured, start=MeasuredStock(60.0)).plant_factor
    kept = dataclasses.replace(manured, c_inp_tC_ha=factor * manured.c_inp_tC_ha)
    months = jax.tree.map(lambda of_year: jnp.tile(of_year, 200), kept)
    found = run(HOOSFIELD, manured, months, start=MeasuredStock(60.0))
    np.testing.assert_allclose(found.soc[11::12], 60.0, rtol=1e-9)
    # 14C is as old as it stays: the ages at the end of each year are those of the start
    np.testing.assert_allclose(found.ages[-1], found.start_ages, rtol=1e-6)


def test_a_measured_stock_in_balance_anyway_is_the_spin_up(rothamsted_year, hoosfield):
    """A site whose inert carbon is that of Falloon, and its own steady stock."""
    active = float(jnp.sum(hoosfield.start_pools[:ACTIVE_POOLS]))
    stock = active
    for _ in range(50):
        stock = active + float(rothc.falloon1998(jnp.asarray(stock)))
    found = run(HOOSFIELD, rothamsted_year, rothamsted_year, start=MeasuredStock(stock))
    assert float(found.plant_factor) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(
        found.start_pools[:ACTIVE_POOLS], hoosfield.start_pools[:ACTIVE_POOLS], rtol=1e-5
    )


def test_derivative_of_a_measured_start_is_that_of_its_formula(rothamsted_year):
    def last(clay, stock):
        of = dataclasses.replace(HOOSFIELD, clay_pct=clay)
        return run(of, rothamsted_year, rothamsted_year, start=MeasuredStock(stock)).soc[-1]

    at = (jnp.asarray(23.4), jnp.asarray(60.0))
    gradient = jax.grad(last, argnums=(0, 1))(*at)
    for number, step in enumerate((1e-3, 1e-3)):
        there = [last(*(v + sign * step * (n == number) for n, v in enumerate(at)))
                 for sign in (1.0, -1.0)]  # fmt: skip
        slope = float(there[0] - there[1]) / (2 * step)
        assert float(gradient[number]) == pytest.approx(slope, rel=1e-5)


def test_given_pools_are_where_the_months_begin(rothamsted_year, hoosfield):
    pools = 2.0 * hoosfield.start_pools
    empty = dataclasses.replace(rothamsted_year, c_inp_tC_ha=jnp.zeros(12), fym_tC_ha=jnp.zeros(12))
    alone = run(HOOSFIELD, rothamsted_year, empty, start=GivenPools(hoosfield.start_pools))
    twice = run(HOOSFIELD, rothamsted_year, empty, start=GivenPools(pools))
    spun_up = run(HOOSFIELD, rothamsted_year, empty)
    np.testing.assert_allclose(alone.pools, spun_up.pools, rtol=1e-12)
    np.testing.assert_allclose(alone.ages, spun_up.ages, rtol=1e-9)
    np.testing.assert_allclose(twice.pools, 2.0 * alone.pools, rtol=1e-12)


def test_the_official_example_runs_from_a_stock_and_from_pools(tmp_path, capsys):
    output = str(tmp_path / "out.csv")
    assert main(["rothc", str(V1), "--start-stock", "40", "-o", output]) == 0
    said = capsys.readouterr().out
    assert "starts with 40 t C/ha, 3.273 of them inert" in said
    first = pd.read_csv(output).iloc[0]
    assert first["SOC_t_C_ha"] == pytest.approx(40.0, rel=0.02)
    assert first["IOM_t_C_ha"] == pytest.approx(0.049 * 40**1.139)
    pools = "0.1,5,0.7,26,2.7"
    more = ["--start-pools", pools, "-o", output, "--overwrite"]
    assert main(["rothc", str(V1), *more]) == 0
    first = pd.read_csv(output).iloc[0]
    assert first["IOM_t_C_ha"] == 2.7
    assert first["HUM_t_C_ha"] == pytest.approx(26.0, rel=0.01)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--start-stock", "-3"], "--start-stock -3: must be a number above 0"),
        (["--start-stock", "4000"], "--start-stock 4000: is that of an organic soil"),
        (["--start-stock", "2.1"], "--start-stock 2.1: is less than there is in soils"),
        (["--start-pools", "1,2,3"], "--start-pools 1,2,3: must be DPM,RPM,BIO,HUM,IOM"),
        (["--start-pools", "1,2,3,x,5"], "must be DPM,RPM,BIO,HUM,IOM: five numbers"),
        (["--start-pools", "1,2,3,4,nan"], "must be DPM,RPM,BIO,HUM,IOM: five numbers"),
        (["--start-stock", "40", "--start-pools", "1,2,3,4,5"], "give one of them"),
    ],
)
def test_a_bad_start_is_refused(tmp_path, capsys, options, expected):
    output = tmp_path / "out.csv"
    assert main(["rothc", str(V1), *options, "-o", str(output)]) == 2
    assert expected in capsys.readouterr().err
    assert not output.exists()


def test_manure_that_keeps_more_than_was_measured_is_said(tmp_path, three_years):
    table = three_years.assign(fym_tC_ha=0.5)
    table.to_csv(tmp_path / "inputs.csv", index=False)
    start = RothCStart(start_stock=30.0)
    with pytest.raises(InputError, match=r"--start-stock 30: manure of the first twelve months"):
        run_files(tmp_path / "inputs.csv", SITE, tmp_path / "out.csv", start=start)

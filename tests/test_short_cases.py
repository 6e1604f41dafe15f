"""What a case leaves out and what holds instead; blocks of management; normals that go on."""

import numpy as np
import pandas as pd
import pytest
import tiny_case
import tomlkit

from calibration.twin.assimilation import _replace_drivers
from calibration.twin.scenario import lived, read
from diffsoil.cases import load_case, read_case
from diffsoil.cases.arrays import build
from diffsoil.cases.fingerprint import case_files
from diffsoil.cases.overview import overview, yearly_inputs
from diffsoil.io import InputError

SHORT = """
format = 2
start_year = 1600

[climate.early]
normals = "normals.csv"

[climate.weather]
monthly = "weather.csv"

[[soil.loam.horizons]]
upper_cm = 0
lower_cm = 23
clay_percent = 16
silt_percent = 60
bulk_density = 1.25
soc_percent = 1.2

[[soil.loam.horizons]]
upper_cm = 23
lower_cm = 62
clay_percent = 24
silt_percent = 55
bulk_density = 1.45
soc_percent = 0.5

[land_use.forest]
like = "deciduous_forest"

[land_use.crop]
like = "cereal"
plant_carbon_t_ha = 2.0

[[history]]
until = 1800
land_use = "forest"

[[history]]
until = 1899
land_use = "crop"

[experiment]
until = 1911
management = "management.csv"
"""


def write(folder, text=SHORT, name="my field.toml"):
    files = tiny_case.texts() | {name: text}
    files["management.csv"] = "treatment,year,land_use,plant_carbon_base_t_ha\n" + "".join(
        f"loam,{year},crop,2\n" for year in range(1900, 1912)
    )
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    return folder / name


def test_what_a_short_case_leaves_out_follows_from_what_it_says(tmp_path):
    case = load_case(write(tmp_path))
    file = case.file
    assert (case.name, file.title) == ("my_field", "my field")
    assert file.site == {"loam": "loam"}
    assert [(t.name, t.site) for t in file.treatment] == [("loam", "loam")]
    assert (file.grid.layers, file.grid.thickness_m) == (12, pytest.approx(0.62 / 12))
    assert [phase.climate for phase in file.history] == ["early", "early"]
    assert file.experiment.climate == "weather"
    # 201 and 99 years: the longest steps up to 10 that divide them
    assert [phase.step_years for phase in file.history] == [3, 9]


def test_all_that_follows_is_reported_as_default(tmp_path):
    held = dict(overview(load_case(write(tmp_path))).defaults.to_numpy())
    for key in ("title", "site", "grid", "history.0.step_years", "land_use.forest.root_beta"):
        assert key in held
    assert "climate = weather" not in held
    assert held["experiment.climate"] == "weather"


def test_a_case_toml_has_the_name_of_its_folder(tmp_path):
    folder = tmp_path / "broadbalk"
    folder.mkdir()
    assert load_case(write(folder, name="case.toml")).name == "broadbalk"


def test_a_climate_that_could_be_either_has_to_be_named(tmp_path):
    other = '[climate.early]\nnormals = "normals.csv"\n\n[climate.late]\nnormals = "normals.csv"'
    text = SHORT.replace('[climate.early]\nnormals = "normals.csv"', other)
    with pytest.raises(InputError, match=r"history\.0\.climate: is missing; the case has early"):
        load_case(write(tmp_path, text))


def test_a_fault_is_not_hidden_by_what_follows_from_it(tmp_path):
    with pytest.raises(InputError) as error:
        load_case(write(tmp_path, SHORT.replace("lower_cm = 23", "lower_cm = -23")))
    assert all("horizons.0" in line for line in error.value.faults)


BLOCKS = """
[[management]]
until = 1905
land_use = "crop"

[[management]]
from = 1906
land_use = "crop"
plant_carbon_t_ha = 3.0
manure_carbon_t_ha = 1.5
"""
IN_BLOCKS = SHORT.replace('management = "management.csv"\n', BLOCKS)


def test_blocks_of_years_are_the_same_as_a_table_of_them(tmp_path):
    blocks = load_case(write(tmp_path, IN_BLOCKS)).management
    rows = "".join(
        f"loam,{year},crop,{2 if year < 1906 else 3},{0 if year < 1906 else 1.5}\n"
        for year in range(1900, 1912)
    )
    path = write(tmp_path)
    header = "treatment,year,land_use,plant_carbon_base_t_ha,manure_carbon_t_ha\n"
    (tmp_path / "management.csv").write_text(header + rows, encoding="utf-8")
    table = load_case(path).management
    pd.testing.assert_frame_equal(
        blocks.reset_index(drop=True), table.reset_index(drop=True), check_like=True
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("from = 1906", "from = 1908", "treatment 'loam': year 1906 and 1 more are missing"),
        (
            "from = 1906",
            "from = 1904",
            "management.1: treatment 'loam': 1904 to 1905 is there already",
        ),
        ("until = 1905", "until = 1950", "management.0.until: 1950 is outside the experiment"),
        ("from = 1906", "form = 1906", "did you mean 'from'"),
        (
            'land_use = "crop"\n\n[[m',
            'land_use = "forest"\nplant_carbon_t_ha = 1\n\n[[m',
            "management.0.plant_carbon_t_ha: is not used, as land use 'forest' has npp",
        ),
        ("from = 1906", 'treatment = "laom"', "no treatment 'laom', did you mean 'loam'?"),
    ],
)
def test_blocks_that_do_not_fit_are_refused_by_treatment_and_year(old, new, words, tmp_path):
    assert old in IN_BLOCKS
    with pytest.raises(InputError) as error:
        load_case(write(tmp_path, IN_BLOCKS.replace(old, new, 1)))
    assert any(words in line for line in error.value.faults), error.value.faults


def test_a_table_and_blocks_may_share_the_treatments(tmp_path):
    treatments = """
[[treatment]]
name = "loam"

[[treatment]]
name = "manured"

[[management]]
treatment = "manured"
land_use = "crop"
manure_carbon_t_ha = 3.0
"""
    inputs = yearly_inputs(build(load_case(write(tmp_path, SHORT + treatments))))
    manure = inputs.groupby("treatment")["manure"].agg(["min", "max"])
    assert manure.loc["loam"].tolist() == [0, 0]
    assert manure.loc["manured"].tolist() == [3, 3]


def test_several_tables_are_as_one_and_a_row_that_two_have_is_named(tmp_path):
    whole = load_case(write(tmp_path)).management
    path = write(tmp_path, SHORT.replace('"management.csv"', '["management.csv", "late.csv"]'))
    lines = (tmp_path / "management.csv").read_text().splitlines(keepends=True)
    (tmp_path / "management.csv").write_text("".join(lines[:5]))
    (tmp_path / "late.csv").write_text(lines[0] + "".join(lines[5:]))
    parts = load_case(path)
    both = [of.reset_index(drop=True) for of in (parts.management, whole)]
    pd.testing.assert_frame_equal(*both)
    assert {name.name for name in case_files(parts)} >= {"management.csv", "late.csv"}
    (tmp_path / "late.csv").write_text(lines[0] + "".join(lines[4:]))
    with pytest.raises(InputError, match=r"late\.csv: line 2: .*year 1903.* appears twice"):
        load_case(path)


def test_normals_hold_in_each_year_of_an_experiment(tmp_path):
    text = IN_BLOCKS.replace('[climate.weather]\nmonthly = "weather.csv"\n', "")
    plan = build(load_case(write(tmp_path, text)))
    phase = plan.experiment
    assert phase.years == 12
    # the same weather as in the history, and constant, so that little is computed anew
    for name in ("air_temperature", "precipitation", "potential_evapotranspiration"):
        assert (phase.constant[name] == plan.history[-1].constant[name]).all()


NORMALS = IN_BLOCKS.replace('[climate.weather]\nmonthly = "weather.csv"\n', "")

SCENARIO = """
format = 1
until = 1920

[weather]
repeat_years = 30

[[option]]
name = "as_now"

[[option]]
name = "warmer"
warming = { k = 2.0, by = 1920 }
"""


def test_a_forecast_goes_on_from_normals_and_blocks(tmp_path):
    case = load_case(write(tmp_path, NORMALS))
    (tmp_path / "options.toml").write_text(SCENARIO, encoding="utf-8")
    plan = lived(read(tmp_path / "options.toml", case))
    now, warmer = np.asarray(plan.experiment.series["air_temperature"])
    assert plan.experiment.years == 21
    assert (now == now[0]).all()
    assert (warmer[-1] == now[-1] + 2).all()
    # the mean of the record goes on
    assert (
        plan.experiment.series["plant_input"][0, :, 0].tolist() == [2.0] * 6 + [3.0] * 6 + [2.5] * 9
    )


def test_drivers_of_a_later_case_may_be_normals_and_blocks(tmp_path):
    old = load_case(write(tmp_path, NORMALS))
    later = write(tmp_path, NORMALS.replace("until = 1911", "until = 1915"), "later.toml")
    document = tomlkit.parse(old.text)
    _replace_drivers(document, old, later)
    longer = read_case(old.path, tomlkit.dumps(document))
    assert longer.management["year"].max() == 1915

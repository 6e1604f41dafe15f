"""What a case leaves out: what holds instead, and that it is said."""

import pytest
import tiny_case

from diffsoil.cases import load_case
from diffsoil.cases.overview import overview
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

"""Cases in which the whole soil develops: format, mistakes, and the arrays they become."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.cases.arrays import build, check, initial_state, prepare_plan, settled
from diffsoil.cases.check import erosion_events
from diffsoil.io import InputError
from diffsoil.processes.biocycling import SolutionBiocycling
from diffsoil.processes.erosion import ContinuousErosion, Erosion
from diffsoil.processes.minerals import (
    ATOMIC_WEIGHT,
    CALCITE_MASS,
    FORMULA,
    MOLAR_MASS,
    STOICHIOMETRY,
)
from diffsoil.processes.oxides import KineticIron
from diffsoil.processes.richards import SimulatedRichards
from diffsoil.processes.texture import mixed_bulk_density
from diffsoil.processes.weathering import TransportWeathering
from diffsoil.state import CATIONS, ELEMENTS, MINERALS, SIZES
from diffsoil.variables import VARIABLES
from tests import tiny_case

LAYERS, THICKNESS = 6, 0.05
POTASSIUM = CATIONS.index("potassium")

CASE = """
format = 1
name = "ground"
title = "Two horizons over calcareous loess"
start_year = 0
column = "whole_soil"

[grid]
layers = 6
thickness_m = 0.05

[climate.early]
normals = "normals.csv"

[site]
field = "loess"

[mineralogy.loess]
clay = { kaolinite = 0.4, illite = 0.5, goethite = 0.1 }
silt = { quartz = 0.7, albite = 0.3 }
sand = { quartz = 1 }

[mineralogy.ash]
clay = { montmorillonite = 1 }
silt = { volcanic_glass = 0.8, quartz = 0.2 }
sand = { volcanic_glass = 1 }

[[soil.loess.horizons]]
upper_cm = 0
lower_cm = 12
clay_percent = 20
silt_percent = 60
bulk_density = 1.3
soc_percent = 0
base_saturation = 60
mineralogy = "loess"

[[soil.loess.horizons]]
upper_cm = 12
lower_cm = 40
clay_percent = 16
silt_percent = 67
bulk_density = 1.22
soc_percent = 0
calcite_percent = 9.9
base_saturation = 100
cec_mmol_kg = 90
exchange = { calcium = 0.8, magnesium = 0.2 }
mineralogy = "loess"

[deposition]
dust_g_m2_a = 10
dust_mineralogy = "ash"
dust_clay_percent = 10
dust_silt_percent = 80
dust_calcite_percent = 20
calcium_mmolc_m2_a = 15
silicon_mmol_m2_a = 3
anions_mmolc_m2_a = 12

[land_use.grass]
cover = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
plant_input_months = [0, 0, 0, 0.1, 0.2, 0.2, 0.2, 0.3, 0, 0, 0, 0]
dpm_rpm_ratio = 0.67
leaf_share = 0.2
root_beta = 0.943
input_group = "grass"
plant_carbon_t_ha = 3.0
litter_cations_g_kg = { calcium = 4.0078, potassium = 10, silicon = 5 }

[land_use.crop]
cover = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1]
plant_input_months = [0, 0, 0, 0.1, 0.2, 0.2, 0.2, 0.3, 0, 0, 0, 0]
dpm_rpm_ratio = 1.44
leaf_share = 0.3
root_beta = 0.961
input_group = "crop"
plant_carbon_t_ha = 2.0
harvest_share = 0.55
uptake_shallowness_factor = 0.8
manure_carbon_t_ha = 0.5

[[history]]
until = 200
step_years = 10
climate = "early"
land_use = "grass"

[[history]]
until = 300
step_years = 10
climate = "early"
land_use = "crop"
#amendments

[[history]]
until = 340
step_years = 20
climate = "early"
land_use = "grass"
"""

EXPERIMENT = """
[experiment]
until = 345
climate = "weather"
management = "management.csv"
erosion_mm_a = 25

[[treatment]]
name = "limed"
site = "field"
"""

FIRST = "until = 200\nstep_years = 10\n"
SECOND = "until = 300\nstep_years = 10\n"


def amendment(**keys: object) -> list[tuple[str, str]]:
    lines = [f"{key} = {value!r}" for key, value in keys.items()]
    text = "\n".join(["[[history.amendments]]", *lines, "", "#amendments"])
    return [("#amendments", text)]


def write(folder, *changes: tuple[str, str], case: str = CASE):
    for old, new in changes:
        assert old in case, old
        case = case.replace(old, new, 1)
    (folder / "normals.csv").write_text(tiny_case.texts()["normals.csv"], encoding="utf-8")
    path = folder / "case.toml"
    path.write_text(case, encoding="utf-8")
    return path


def with_experiment(folder, header: str = "lime_mol_m2", erosion: str = ""):
    weather = ["year,month,temperature_c,precipitation_mm,pet_mm"]
    management = [f"treatment,year,land_use,plant_carbon_base_t_ha,{header}"]
    for year in range(340, 346):
        weather += [f"{year},{month},10,60,50" for month in range(1, 13)]
        management.append(f"limed,{year},crop,2.0,{2.5 if year == 342 else 0}")
    (folder / "weather.csv").write_text("\n".join(weather) + "\n", encoding="utf-8")
    (folder / "management.csv").write_text("\n".join(management) + "\n", encoding="utf-8")
    climate = '[climate.weather]\nmonthly = "weather.csv"\n\n[site]'
    return write(folder, ("[site]", climate), case=CASE + EXPERIMENT)


def series(phase, name: str) -> np.ndarray:
    """Values of a variable of the first site, by slow step."""
    if name in phase.series:
        return np.asarray(phase.series[name])[0]
    value = np.asarray(phase.constant[name])[0]
    return np.broadcast_to(value, (phase.steps, *value.shape))


def arrays(path):
    case = load_case(path)
    return build(case)


MISTAKES = {
    "unknown column": (
        [('"whole_soil"', '"whole"')],
        ["case.toml: column", "'whole'"],
    ),
    "unknown mineral": (
        [("kaolinite = 0.4", "kaolinit = 0.4")],
        ["mineralogy.loess.clay", "'kaolinit'", "did you mean 'kaolinite'?"],
    ),
    "lime for an unknown site": (
        amendment(material="calcite", mol_m2=1, every_years=10, sites=["feild"]),
        ["history.1.amendments.0.sites", "did you mean 'field'"],
    ),
    "calcite among the minerals": (
        [("silt = { quartz = 0.7, albite = 0.3 }", "silt = { quartz = 0.7, calcite = 0.3 }")],
        ["mineralogy.loess.silt", "calcite_percent"],
    ),
    "minerals do not sum to one": (
        [("albite = 0.3", "albite = 0.4")],
        ["mineralogy.loess.silt", "1.1", "not to 1"],
    ),
    "size class without minerals": (
        [("sand = { quartz = 1 }\n", "")],
        ["mineralogy.loess.sand"],
    ),
    "unknown mineralogy": (
        [('mineralogy = "loess"', 'mineralogy = "los"')],
        ["soil.loess.horizons.0.mineralogy", "'los'", "did you mean 'loess'?"],
    ),
    "horizon without minerals": (
        [('mineralogy = "loess"\n', "")],
        ["soil.loess.horizons.0.mineralogy", "missing"],
    ),
    "more calcite than silt": (
        [("calcite_percent = 9.9", "calcite_percent = 70")],
        ["soil.loess.horizons.1.calcite_percent", "70", "67"],
    ),
    "prescribed clay minerals": (
        [("base_saturation = 60", "base_saturation = 60\none_to_one_share = 0.4")],
        ["soil.loess.horizons.0.one_to_one_share", "0.4"],
    ),
    "prescribed aluminium": (
        [("base_saturation = 60", "base_saturation = 60\ndissolved_al_fe = 0.1")],
        ["soil.loess.horizons.0.dissolved_al_fe", "0.1"],
    ),
    "prescribed change": (
        [
            (
                "[deposition]",
                '[[soil.loess.changes]]\nvariable = "base_saturation"\nupper_cm = 0\n'
                "lower_cm = 5\nyears = [0]\nvalues = [50]\n\n[deposition]",
            )
        ],
        ["soil.loess.changes", "base_saturation"],
    ),
    "exchange shares do not sum to one": (
        [("magnesium = 0.2", "magnesium = 0.3")],
        ["soil.loess.horizons.1.exchange", "1.1", "not to 1"],
    ),
    "unknown base": (
        [("{ calcium = 0.8,", "{ calzium = 0.8,")],
        ["soil.loess.horizons.1.exchange.calzium", "did you mean 'calcium'?"],
    ),
    "humus that leaves no room for minerals": (
        [("soc_percent = 0\nbase", "soc_percent = 15\nbase")],
        ["soil.loess.horizons.0.soc_percent", "15", "1.3"],
    ),
    "dust of nothing": (
        [('dust_mineralogy = "ash"\n', "")],
        ["deposition", "dust_g_m2_a 10", "dust_mineralogy"],
    ),
    "dust of unknown minerals": (
        [('dust_mineralogy = "ash"', 'dust_mineralogy = "as"')],
        ["deposition.dust_mineralogy", "'as'", "did you mean 'ash'?"],
    ),
    "dust with more calcite than silt": (
        [("dust_calcite_percent = 20", "dust_calcite_percent = 90")],
        ["deposition", "dust_calcite_percent 90", "80"],
    ),
    "dust above 100 %": (
        [("dust_clay_percent = 10", "dust_clay_percent = 30")],
        ["deposition", "dust_clay_percent + dust_silt_percent = 110"],
    ),
    "negative deposition": (
        [("calcium_mmolc_m2_a = 15", "calcium_mmolc_m2_a = -15")],
        ["deposition.calcium_mmolc_m2_a", "-15"],
    ),
    "unknown element in litter": (
        [("silicon = 5 }", "silicium = 5 }")],
        ["land_use.grass.litter_cations_g_kg.silicium", "did you mean 'silicon'?"],
    ),
    "erosion events that do not fit the slow steps": (
        [(FIRST, FIRST + "erosion_mm_a = 2\n")],
        ["history.0.erosion_mm_a", "2 takes", "every 25 years", "step_years 10"],
    ),
    "erosion events that are not whole years": (
        [(FIRST, FIRST + "erosion_mm_a = 0.3\n")],
        ["history.0.erosion_mm_a", "166.667", "step_years 10"],
    ),
    "erosion event within a later slow step": (
        [
            ("until = 200\n", "until = 210\nerosion_mm_a = 1.25\n"),
            (
                "until = 300\nstep_years = 10\n",
                "until = 310\nstep_years = 20\nerosion_mm_a = 1.25\n",
            ),
            ("until = 340\nstep_years = 20", "until = 340\nstep_years = 10"),
        ],
        ["history.1.erosion_mm_a", "1.25", "240", "step_years 20"],
    ),
    "negative erosion": (
        [(FIRST, FIRST + "erosion_mm_a = -1\n")],
        ["history.0.erosion_mm_a", "-1"],
    ),
    "unknown kind of erosion": (
        [('column = "whole_soil"', 'column = "whole_soil"\nerosion = "slow"')],
        ["erosion", "'slow'"],
    ),
    "unknown material": (
        amendment(material="calcit", mol_m2=1, year=200),
        ["history.1.amendments.0.material", "'calcit'", "did you mean 'calcite'?"],
    ),
    "amount twice": (
        amendment(material="calcite", mol_m2=1, kg_m2=1, year=200),
        ["history.1.amendments.0", "mol_m2 or kg_m2"],
    ),
    "no amount": (
        amendment(material="calcite", year=200),
        ["history.1.amendments.0", "mol_m2 or kg_m2"],
    ),
    "neither once nor repeated": (
        amendment(material="calcite", mol_m2=1),
        ["history.1.amendments.0", "every_years or year"],
    ),
    "negative amount": (
        amendment(material="calcite", mol_m2=-1, year=200),
        ["history.1.amendments.0.mol_m2", "-1"],
    ),
    "repeated out of step": (
        amendment(material="calcite", mol_m2=1, every_years=3),
        ["history.1.amendments.0.every_years", "3", "step_years 10"],
    ),
    "addition outside its phase": (
        amendment(material="calcite", mol_m2=1, year=300),
        ["history.1.amendments.0.year", "300", "200 to 299"],
    ),
    "addition within a slow step": (
        amendment(material="calcite", mol_m2=1, year=205),
        ["history.1.amendments.0.year", "205", "step_years 10"],
    ),
    "two depths in a slow step": (
        amendment(material="calcite", mol_m2=1, every_years=10, depth_m=0.1)
        + amendment(material="gibbsite", kg_m2=1, year=250, depth_m=0.2),
        ["history.1.amendments.1.depth_m", "0.2", "0.1"],
    ),
    "addition below the column": (
        amendment(material="calcite", mol_m2=1, year=200, depth_m=0.4),
        ["history.1.amendments.0.depth_m", "0.4", "0.3"],
    ),
    "size of what has none": (
        amendment(material="calcite", mol_m2=1, year=200, size="clay"),
        ["history.1.amendments.0", "'clay'", "calcite"],
    ),
}


def test_all_mistakes_in_soil_erosion_and_additions_are_reported_at_once(tmp_path):
    changes = [
        ("base_saturation = 60\n", ""),
        ("base_saturation = 100\n", ""),
        ('dust_mineralogy = "ash"', 'dust_mineralogy = "dust"'),
        ("until = 200", "erosion_mm_a = 3\nuntil = 200"),
        ("until = 340", "erosion_mm_a = 7\nuntil = 340"),
        *amendment(material="calcite", mol_m2=1, year=205, depth_m=0.4),
    ]
    with pytest.raises(InputError) as caught:
        load_case(write(tmp_path, *changes))
    fields = (
        "soil.loess.horizons.0.base_saturation",
        "soil.loess.horizons.1.base_saturation",
        "deposition.dust_mineralogy",
        "history.0.erosion_mm_a",
        "history.2.erosion_mm_a",
        "history.1.amendments.0.year",
        "history.1.amendments.0.depth_m",
    )
    for field in fields:
        assert sum(f" {field}:" in fault for fault in caught.value.faults) == 1, field
    assert len(caught.value.faults) == len(fields)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_one_line_with_file_field_and_value(mistake, tmp_path):
    changes, words = MISTAKES[mistake]
    path = write(tmp_path, *changes)
    with pytest.raises(InputError) as caught:
        load_case(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    for word in words:
        assert word in text


CARBON_CASE = {
    "mineralogy": "mineralogy",
    "deposition": "deposition",
    "erosion": "erosion",
    "horizon": "soil.loam.horizons.0.cec_mmol_kg",
    "biocycling": "biocycling",
    "weathering": "weathering",
    "litter": "land_use.forest.litter_cations_g_kg",
    "uptake": "land_use.forest.uptake_shallowness_factor",
    "rate": "history.0.erosion_mm_a",
    "amendments": "history.0.amendments",
    "experiment": "experiment.erosion_mm_a",
}
CARBON_CHANGES = {
    "mineralogy": (
        "[grid]",
        "[mineralogy.x]\nclay={quartz=1}\nsilt={quartz=1}\nsand={quartz=1}\n[grid]",
    ),
    "deposition": ("[grid]", "[deposition]\nsodium_mmolc_m2_a = 1\n\n[grid]"),
    "erosion": ("[grid]", 'erosion = "events"\n\n[grid]'),
    "horizon": ("clay_percent = 16", "clay_percent = 16\ncec_mmol_kg = 90"),
    "biocycling": ("[grid]", 'biocycling = "solution"\n\n[grid]'),
    "weathering": ("[grid]", 'weathering = "transport"\n\n[grid]'),
    "uptake": ("harvest_share = 0.4", "uptake_shallowness_factor = 0.5"),
    "litter": ("harvest_share = 0.4", "litter_cations_g_kg = { calcium = 1 }"),
    "rate": ("step_years = 20", "step_years = 20\nerosion_mm_a = 0"),
    "amendments": (
        "step_years = 20\n",
        'step_years = 20\namendments = [{ material = "calcite", mol_m2 = 1, every_years = 1 }]\n',
    ),
    "experiment": (
        'management = "management.csv"',
        'management = "management.csv"\nerosion_mm_a = 1',
    ),
}


@pytest.mark.parametrize("what", CARBON_CASE)
def test_keys_of_a_whole_soil_are_refused_where_the_case_prescribes_it(what, tmp_path):
    path = tiny_case.write(tmp_path, case=[CARBON_CHANGES[what]])
    with pytest.raises(InputError) as caught:
        load_case(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: {CARBON_CASE[what]}: ")
    assert 'column = "whole_soil"' in text
    assert "\n" not in text


@pytest.mark.parametrize("column", ["lime_mol_m2", "ammonium_kg_ha"])
def test_what_needs_an_exchanger_is_refused_where_the_case_prescribes_the_soil(column, tmp_path):
    path = tiny_case.write(tmp_path, management=[("fallow_share", column)])
    with pytest.raises(InputError, match=rf"management.csv: column '{column}'.*whole_soil"):
        load_case(path)


@pytest.mark.parametrize(
    ("column", "variable", "in_a_unit"),
    [("lime_mol_m2", "added_calcite", 1.0), ("ammonium_kg_ha", "added_nitrogen", 140.07)],
)
def test_lime_and_fertiliser_are_worked_in_in_their_year(column, variable, in_a_unit, tmp_path):
    path = with_experiment(tmp_path, header=column)
    ploughed = path.read_text().replace(
        'input_group = "crop"', 'input_group = "crop"\nplough_depth_m = 0.2'
    )
    path.write_text(ploughed)
    phase = build(load_case(path)).experiment
    limed = np.arange(340, 346) == 342
    np.testing.assert_allclose(series(phase, variable), np.where(limed, 2.5 / in_a_unit, 0.0))
    np.testing.assert_allclose(series(phase, "amendment_depth"), np.where(limed, 0.2, 0.0))


def test_a_treatment_cannot_prescribe_what_develops(tmp_path):
    path = with_experiment(tmp_path)
    change = (
        '\n[[treatment.changes]]\nvariable = "bulk_density"\nupper_cm = 0\nlower_cm = 5\n'
        "years = [340]\nvalues = [1.3]\n"
    )
    path.write_text(path.read_text() + change)
    with pytest.raises(InputError, match=r"treatment.0.changes: bulk_density"):
        load_case(path)


def test_minerals_are_neutral_and_their_mass_is_that_of_their_elements():
    charge = {"hydrogen": 1, "oxygen": -2, "sodium": 1, "magnesium": 2, "aluminium": 3}
    charge |= {"silicon": 4, "potassium": 1, "calcium": 2, "iron": 3}
    for number, mineral in enumerate(MINERALS):
        formula = FORMULA[mineral]
        assert sum(charge[e] * n for e, n in formula.items()) == pytest.approx(0, abs=1e-12)
        of_elements = STOICHIOMETRY[number] @ [ATOMIC_WEIGHT.get(e, 0) for e in ELEMENTS]
        light = sum(formula.get(e, 0) * ATOMIC_WEIGHT[e] for e in ("oxygen", "hydrogen"))
        assert of_elements + light == pytest.approx(1000 * MOLAR_MASS[number], rel=1e-12)
    assert MOLAR_MASS[MINERALS.index("kaolinite")] == pytest.approx(0.25816, abs=1e-5)
    assert MOLAR_MASS[MINERALS.index("muscovite")] == pytest.approx(0.39831, abs=2e-5)


def test_the_soil_at_the_start_has_the_texture_and_the_mass_of_its_horizons(tmp_path):
    ground = arrays(write(tmp_path)).ground
    minerals = np.asarray(ground.minerals)[0] * MOLAR_MASS[:, None, None]
    calcite = np.asarray(ground.calcite)[0] * CALCITE_MASS
    mass = minerals.sum(axis=(0, 1)) + calcite
    upper, lower = 1300 * THICKNESS, 1220 * THICKNESS
    # layers lie at 5 cm, the horizons meet at 12 cm
    mixed = 0.4 * upper + 0.6 * lower
    np.testing.assert_allclose(mass, [upper, upper, mixed, lower, lower, lower], rtol=1e-12)
    percent = 100 * minerals.sum(axis=0) / mass
    np.testing.assert_allclose(percent[SIZES.index("clay")][[0, 3]], [20, 16], rtol=1e-12)
    np.testing.assert_allclose(percent[SIZES.index("sand")][[0, 3]], [20, 17], rtol=1e-12)
    np.testing.assert_allclose(percent[SIZES.index("silt")][[0, 3]], [60, 67 - 9.9], rtol=1e-12)
    np.testing.assert_allclose(100 * calcite / mass, [0, 0, 9.9 * 0.6 * lower / mixed, *[9.9] * 3])
    kaolinite = minerals[MINERALS.index("kaolinite"), 0] / minerals[:, 0].sum(axis=0)
    np.testing.assert_allclose(kaolinite, 0.4, rtol=1e-12)


def test_the_exchanger_at_the_start_holds_its_bases(tmp_path):
    plan = arrays(write(tmp_path))
    labile = np.asarray(plan.ground.labile)[0]
    # without a measured CEC it is that of clay: 32 + 196 * 0.2
    np.testing.assert_allclose(labile[:4, 0].sum(), 0.0712 * 0.6 * 1300 * THICKNESS, rtol=1e-12)
    np.testing.assert_allclose(labile[:4, 0] / labile[:4, 0].sum(), [0.85, 0.10, 0.04, 0.01])
    full = 0.090 * 1220 * THICKNESS
    np.testing.assert_allclose(labile[:, 5], [0.8 * full, 0.2 * full, 0, 0, 0, 0], rtol=1e-12)
    offset = series(plan.history[0], "cec_offset")[0]
    np.testing.assert_allclose(offset[[0, 5]], [0, 90 - 32 - 196 * 0.16], atol=1e-12)
    np.testing.assert_array_equal(plan.ground.ph[0], [5.5, 5.5, 7.8, 7.8, 7.8, 7.8])
    density = series(plan.history[0], "mineral_bulk_density")[0]
    np.testing.assert_allclose(density[[0, 5]], [1.3, 1.22], rtol=1e-12)


def capacity_of_clay(column, plan) -> np.ndarray:
    """CEC of the mineral soil of the first site at the start, mmol/kg."""
    start = settled(column, plan)
    values = {name.removeprefix("cec."): v for name, v in column.values().items()}
    clay = np.array([20, 20, 0.4 * 20 + 0.6 * 16, 16, 16, 16]) / 100
    return values["mineral"] + values["clay"] * clay + start.history[0].constant["cec_offset"][0]


@pytest.mark.parametrize("where", ["the case", "the column"])
def test_the_exchanger_at_the_start_is_that_of_the_parameters_that_are_used(where, tmp_path):
    values = {"cec.clay": 400.0, "cec.mineral": 10.0, "texture.organic_density": 0.3}
    humus = ("soc_percent = 0\nbase", "soc_percent = 2\nbase")
    if where == "the case":
        text = "\n".join(f'"{name}" = {value}' for name, value in values.items())
        case = load_case(write(tmp_path, humus, case=f"{CASE}\n[set]\n{text}\n"))
        column, plan = case.column(), build(case)
    else:  # set by hand, or free
        case = load_case(write(tmp_path, humus))
        column, plan = case.column().with_parameters(values), build(case)
        plan = prepare_plan(column, plan)
    labile = np.asarray(plan.ground.labile)[0]
    mass = (1 - 0.02 * 1.724) * 1300 * THICKNESS
    np.testing.assert_allclose(labile[:4, 0].sum(), 0.09 * 0.6 * mass, rtol=1e-12)
    np.testing.assert_allclose(labile[:4, 5].sum(), 0.090 * 1220 * THICKNESS, rtol=1e-12)
    found = np.asarray(capacity_of_clay(column, plan))
    np.testing.assert_allclose(found[[0, 5]], [90, 90], rtol=1e-12)
    density = np.asarray(plan.history[0].constant["mineral_bulk_density"])[0]
    mixed = mixed_bulk_density(*map(jnp.asarray, (2 * 1.724, density[0], 0.3)))
    np.testing.assert_allclose(mixed, 1.3, rtol=1e-12)


def test_what_is_measured_of_the_exchanger_does_not_depend_on_free_parameters(tmp_path):
    case = load_case(write(tmp_path))
    column, plan = case.column(), build(case)

    def bases(clay: float) -> jax.Array:
        of = column.with_parameters({"cec.clay": clay})
        return initial_state(of, settled(of, plan)).ground.labile[0, :4].sum(axis=0)

    slope = np.asarray(jax.jacfwd(bases)(jnp.asarray(196.0)))
    # 60 % of the exchanger of the upper horizon, which is that of its clay; 90 mmol/kg below
    np.testing.assert_allclose(slope[0], 0.2e-3 * 0.6 * 1300 * THICKNESS, rtol=1e-12)
    np.testing.assert_allclose(slope[3:], 0.0, atol=1e-18)


def test_lighter_humus_that_leaves_no_room_is_refused_before_the_run(tmp_path):
    case = load_case(write(tmp_path, ("soc_percent = 0\nbase", "soc_percent = 7\nbase")))
    column = case.column().with_parameters({"texture.organic_density": 0.15})
    with pytest.raises(InputError, match=r"soc_percent: 7 .*organic_density is 0\.15"):
        check(build(case), column, case)


def test_humus_takes_room_that_minerals_then_lack(tmp_path):
    plan = arrays(write(tmp_path, ("soc_percent = 0\nbase", "soc_percent = 2\nbase")))
    organic = 0.02 * 1.724
    mass = np.sum(np.asarray(plan.ground.minerals)[0, :, :, 0] * MOLAR_MASS[:, None])
    np.testing.assert_allclose(mass, (1 - organic) * 1300 * THICKNESS, rtol=1e-12)
    density = series(plan.history[0], "mineral_bulk_density")[0, 0]
    np.testing.assert_allclose(1 / 1.3, organic / 0.244 + (1 - organic) / density, rtol=1e-12)


def test_every_site_has_the_ground_of_its_soil(tmp_path):
    sites = ('field = "loess"', 'field = "loess"\nhill = "lime"')
    horizon = CASE[CASE.index("upper_cm = 12") : CASE.index("[deposition]")]
    hill = "[[soil.lime.horizons]]\n" + horizon.replace("upper_cm = 12", "upper_cm = 0")
    both = arrays(write(tmp_path, sites, ("[deposition]", f"{hill}[deposition]")))
    assert both.sites == ("field", "hill")
    calcite = np.asarray(both.ground.calcite)
    np.testing.assert_array_equal(calcite[0], arrays(write(tmp_path)).ground.calcite[0])
    np.testing.assert_allclose(calcite[1], calcite[0, -1], rtol=1e-12)


def test_the_ground_is_where_the_run_starts(tmp_path):
    case = load_case(write(tmp_path))
    plan = build(case)
    state = initial_state(case.column(), plan)
    np.testing.assert_array_equal(state.ground.calcite, plan.ground.calcite)
    assert state.ground.minerals.shape == (1, len(MINERALS), len(SIZES), LAYERS)
    check(plan, case.column(), case)


def test_a_prescribed_soil_has_no_ground(tmp_path):
    plan = arrays(tiny_case.write(tmp_path))
    assert plan.ground is None
    given = {*plan.history[0].constant, *plan.history[0].series}
    of_plants = {"litter_cations", "harvest_share", "uptake_shallowness_factor"}
    assert not {"removed_layers", "cec_offset", *of_plants} & given


def test_what_the_soil_computes_is_not_given_and_all_else_has_its_shape(tmp_path):
    plan = arrays(write(tmp_path))
    size = {"layer": LAYERS, "month": 12, "group": 2, "mineral": 12, "size": 3, "solute": 6}
    computed = ("clay_percent", "silt_percent", "bulk_density", "soil_mass", "mineral_mass")
    computed += ("base_saturation", "calcite_fraction", "one_to_one_share", "dissolved_al_fe")
    computed += ("reference_organic_matter",)
    for phase in plan.history:
        given = {*phase.constant, *phase.series}
        assert not given & set(computed)
        for name in given:
            shape = tuple(size[d] for d in VARIABLES[name].dims)
            assert series(phase, name).shape == (phase.steps, *shape), name


def test_parent_material_is_a_layer_of_the_lowest_horizon(tmp_path):
    plan = arrays(write(tmp_path))
    for name in ("minerals", "calcite", "labile"):
        lowest = np.asarray(getattr(plan.ground, name))[0, ..., -1]
        np.testing.assert_allclose(series(plan.history[0], f"parent_{name}")[0], lowest, rtol=1e-12)


def test_dust_and_rain_fall_every_year(tmp_path):
    phase = arrays(write(tmp_path)).history[0]
    dust = series(phase, "dust_minerals")[0] * MOLAR_MASS[:, None]
    np.testing.assert_allclose(dust.sum(axis=0), [1e-3, 6e-3, 1e-3], rtol=1e-12)
    calcite = series(phase, "dust_calcite")[0] * CALCITE_MASS
    np.testing.assert_allclose(calcite, 2e-3, rtol=1e-12)
    rain = series(phase, "deposited_solutes")[0]
    np.testing.assert_allclose(rain, [0.015, 0, 0, 0, 0.003, 0.012])


def test_litter_harvest_and_manure_follow_the_land_use(tmp_path):
    phase = arrays(write(tmp_path)).history[0]
    grass = [0.2, 0, 10 / 39.0983, 0, 5 / 28.085, 0]
    np.testing.assert_allclose(series(phase, "litter_cations")[0], grass, rtol=1e-12)
    np.testing.assert_array_equal(series(phase, "litter_cations")[-1], 0)
    np.testing.assert_array_equal(series(phase, "harvest_share")[[0, -1]], [0, 0.55])
    np.testing.assert_array_equal(series(phase, "uptake_shallowness_factor")[[0, -1]], [1, 0.8])
    np.testing.assert_array_equal(series(phase, "manure_input")[[0, -1]], [0, 0.5])


def test_manure_works_in_the_history_of_a_prescribed_soil_too(tmp_path):
    manured = [("harvest_share = 0.4", "harvest_share = 0.4\nmanure_carbon_t_ha = 1.5")]
    plan = arrays(tiny_case.write(tmp_path, case=manured))
    np.testing.assert_array_equal(series(plan.history[0], "manure_input"), 1.5)


def test_phases_of_one_slow_step_become_one_with_the_same_values(tmp_path):
    changes = amendment(material="calcite", mol_m2=1, every_years=10)
    changes += [(FIRST, FIRST + "erosion_mm_a = 1\n")]
    merged = arrays(write(tmp_path, *changes)).history
    assert [(phase.steps, phase.years_per_step) for phase in merged] == [(30, 10), (2, 20)]
    # a first phase alone, and a second one alone from the year in which it begins
    middle = CASE.index("[[history]]\nuntil = 300")
    last = CASE.index("[[history]]\nuntil = 340")
    (alone,) = arrays(write(tmp_path, changes[-1], case=CASE[:middle])).history
    later = CASE[: CASE.index("[[history]]\nuntil = 200")] + CASE[middle:last]
    start = ("start_year = 0", "start_year = 200")
    (second,) = arrays(write(tmp_path, *changes[:-1], start, case=later)).history
    for name in {*merged[0].constant, *merged[0].series} - {"removed_layers", "plant_input"}:
        both = np.concatenate([series(alone, name), series(second, name)])
        np.testing.assert_array_equal(series(merged[0], name), both, err_msg=name)
    assert "deposited_solutes" in merged[0].constant
    assert "cover" in merged[0].series


def history(*phases: tuple[int, float], step: int = 10) -> tuple[str, str]:
    """Phases (until, erosion rate) instead of those of the case."""
    text = "".join(
        f'[[history]]\nuntil = {until}\nstep_years = {step}\nclimate = "early"\n'
        f'land_use = "grass"\nerosion_mm_a = {rate}\n\n'
        for until, rate in phases
    )
    return (CASE[CASE.index("[[history]]") :], text)


E1, E2, E3 = 0.05, 0.5, 5.0


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([(12000, E1)], [*range(1000, 12000, 1000)]),
        ([(8000, 0.0), (9900, E2), (12000, 0.0)], [*range(8100, 9901, 100)]),
        ([(9900, 0.0), (10000, E3), (12000, 0.0)], [*range(9910, 10001, 10)]),
        (
            [(8000, E1), (9900, E2), (10000, E3), (12000, E1)],
            [*range(1000, 8001, 1000), *range(8100, 9901, 100), *range(9910, 10001, 10), 11000],
        ),
        # equal rates count on through the border of a phase
        ([(1500, E1), (3000, E1)], [1000, 2000]),
        ([(100, 0.0), (200, 0.0)], []),
    ],
)
def test_a_layer_goes_whenever_erosion_has_eaten_it(phases, expected, tmp_path):
    case = load_case(write(tmp_path, history(*phases)))
    assert erosion_events(case.path, case.file) == expected
    (phase,) = build(case).history
    removed = series(phase, "removed_layers")
    np.testing.assert_array_equal(np.flatnonzero(removed) * 10, expected)
    assert set(np.unique(removed)) <= {0.0, 1.0}
    np.testing.assert_array_equal(series(phase, "erosion_rate"), 0)
    assert type(case.column().process("erosion")) is Erosion


def test_counts_of_the_study(tmp_path):
    """E2 takes 19 layers in 1900 years, E3 10 in 100, E1 12 in 12 000 less that at the end."""
    case = load_case(write(tmp_path, history((8000, 0.0), (9900, E2), (10000, E3), (12000, 0.0))))
    events = np.array(erosion_events(case.path, case.file))
    assert ((events > 8000) & (events <= 9900)).sum() == 19
    assert ((events > 9900) & (events <= 10000)).sum() == 10
    case = load_case(write(tmp_path, history((12000, E1))))
    assert len(erosion_events(case.path, case.file)) == 11


def test_continuous_erosion_has_a_rate_and_no_events(tmp_path):
    kind = ('column = "whole_soil"', 'column = "whole_soil"\nerosion = "continuous"')
    case = load_case(write(tmp_path, history((100, 0.0), (200, 0.3)), kind))
    (phase,) = build(case).history
    np.testing.assert_array_equal(series(phase, "removed_layers"), 0)
    np.testing.assert_allclose(series(phase, "erosion_rate"), [0] * 10 + [0.3e-3] * 10)
    assert type(case.column().process("erosion")) is ContinuousErosion
    check(build(case), case.column(), case)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"mol_m2": 1.88, "every_years": 10}, 1.88),
        ({"mol_m2": 0.28, "every_years": 1}, 2.8),
        ({"mol_m2": 1.0, "every_years": 50}, 0.2),
        ({"kg_m2": 0.1000869, "every_years": 10}, 1.0),
    ],
)
def test_repeated_lime_is_spread_over_the_slow_steps_of_its_phase(keys, expected, tmp_path):
    plan = arrays(write(tmp_path, *amendment(material="calcite", **keys)))
    added = series(plan.history[0], "added_calcite")
    np.testing.assert_array_equal(added[:20], 0)
    np.testing.assert_allclose(added[20:], expected, rtol=1e-12)
    np.testing.assert_array_equal(series(plan.history[1], "added_calcite"), 0)


def test_lime_for_one_field_stays_on_it(tmp_path):
    lime = amendment(material="calcite", mol_m2=1, every_years=10, sites=["limed"])
    two = ("[site]", '[site]\nlimed = "loess"')
    phase = arrays(write(tmp_path, two, *lime)).history[0]
    assert load_case(tmp_path / "case.toml").sites == ["limed", "field"]
    added = np.asarray(phase.series["added_calcite"])[:, 20:]
    np.testing.assert_array_equal(added, [[1] * 10, [0] * 10])


def test_rock_is_added_once_in_its_size_and_to_its_depth(tmp_path):
    rock = amendment(material="anorthite", kg_m2=2.5, year=250, depth_m=0.1, size="sand")
    phase = arrays(write(tmp_path, *rock)).history[0]
    added = series(phase, "added_minerals")
    assert np.argwhere(added).tolist() == [[25, MINERALS.index("anorthite"), SIZES.index("sand")]]
    np.testing.assert_allclose(added.sum(), 2.5 / 0.27820308, rtol=1e-9)
    np.testing.assert_array_equal(np.flatnonzero(series(phase, "amendment_depth")), [25])
    default = amendment(material="goethite", kg_m2=2.5, year=250)
    added = series(arrays(write(tmp_path, *default)).history[0], "added_minerals")
    np.testing.assert_allclose(added[25, :, SIZES.index("silt")].sum(), 28.1, atol=0.05)


def test_fertiliser_is_added_in_equivalents(tmp_path):
    changes = amendment(material="potassium", mol_m2=0.05, every_years=1)
    changes += amendment(material="magnesium", kg_m2=0.024305, year=200)
    phase = arrays(write(tmp_path, *changes)).history[0]
    added = series(phase, "added_solutes")
    np.testing.assert_allclose(added[20:, POTASSIUM], 0.5, rtol=1e-12)
    np.testing.assert_allclose(added[20], [0, 2, 0.5, 0, 0, 2.5], rtol=1e-12)
    np.testing.assert_array_equal(added[:20], 0)


def test_an_experiment_can_have_lime_and_erosion(tmp_path):
    case = load_case(with_experiment(tmp_path))
    plan = build(case)
    check(plan, case.column(), case)
    lime = series(plan.experiment, "added_calcite")
    np.testing.assert_array_equal(lime, [0, 0, 2.5, 0, 0, 0])
    np.testing.assert_array_equal(series(plan.experiment, "removed_layers"), [0, 0, 1, 0, 1, 0])
    rain = series(plan.experiment, "deposited_solutes")
    np.testing.assert_array_equal(rain[0], series(plan.history[0], "deposited_solutes")[0])


def test_an_experiment_without_lime_has_none(tmp_path):
    plan = arrays(with_experiment(tmp_path, header="manure_carbon_t_ha"))
    np.testing.assert_array_equal(series(plan.experiment, "added_calcite"), 0)


@pytest.mark.parametrize("name", ["loess_dry_steppe", "loess_wet_forest", "loess_dry_agriculture"])
def test_loess_of_the_study(name):
    case = load_case(name)
    plan = build(case)
    check(plan, case.column(), case)
    (phase,) = plan.history
    assert (phase.steps, phase.years_per_step, plan.layers) == (1200, 10, 40)
    minerals = np.asarray(plan.ground.minerals)[0] * MOLAR_MASS[:, None, None]
    calcite = np.asarray(plan.ground.calcite)[0]
    mass = minerals.sum(axis=(0, 1)) + CALCITE_MASS * calcite
    np.testing.assert_allclose(mass, 61, rtol=1e-12)
    np.testing.assert_allclose(100 * minerals[:, 0].sum(axis=0) / mass, 16, rtol=1e-12)
    np.testing.assert_allclose(calcite / THICKNESS, 1207, atol=1)
    clay = dict(zip(MINERALS, minerals[:, 0, 0], strict=True))
    two_to_one = clay["muscovite"] + clay["chlorite"] + clay["illite"] + clay["montmorillonite"]
    assert clay["kaolinite"] / (clay["kaolinite"] + two_to_one) == pytest.approx(0.46, abs=0.005)
    rain = series(phase, "precipitation")[0].sum()
    assert rain == pytest.approx(1000 if "wet" in name else 600, abs=1e-6)
    assert series(phase, "potential_evapotranspiration")[0].sum() == pytest.approx(800, abs=1e-6)


def test_agriculture_of_the_study_limes_fertilises_and_erodes():
    (phase,) = build(load_case("loess_dry_agriculture")).history
    lime, potassium = series(phase, "added_calcite"), series(phase, "added_solutes")[:, POTASSIUM]
    np.testing.assert_allclose(lime[[799, 800, 989, 990, 999, 1000]], [0, 1.88, 1.88, 2.8, 2.8, 0])
    np.testing.assert_allclose(potassium[[989, 990, 999, 1000]], [0, 0.5, 0.5, 0])
    assert series(phase, "removed_layers").sum() == 8 + 19 + 10 + 1
    plough = series(phase, "plough_depth")
    np.testing.assert_array_equal(plough[[799, 800, 990, 1000]], [0, 0.05, 0.20, 0])


@pytest.mark.parametrize(
    ("key", "name", "kind"),
    [
        ('dissolved_iron = "kinetic"', "oxides", KineticIron),
        ('biocycling = "solution"', "biocycling", SolutionBiocycling),
        ('weathering = "transport"', "weathering", TransportWeathering),
        ('water = "richards"', "water", SimulatedRichards),
    ],
)
def test_a_case_chooses_among_alternatives(tmp_path, key, name, kind):
    column = 'column = "whole_soil"'
    case = load_case(write(tmp_path, (column, f"{column}\n{key}")))
    process = case.column().process(name)
    assert isinstance(process.iron if name == "oxides" else process, kind)
    check(build(case), case.column(), case)


def test_a_prescribed_soil_dissolves_no_iron(tmp_path):
    path = tiny_case.write(
        tmp_path, case=[("format = 1", 'format = 1\ndissolved_iron = "kinetic"')]
    )
    with pytest.raises(InputError, match="dissolved_iron"):
        load_case(path)


def test_manure_is_added_in_its_year_to_what_the_land_use_gets(tmp_path):
    keys = {"material": "manure", "kg_m2": 0.4, "year": 220}
    plan = arrays(write(tmp_path, *amendment(**keys)))
    before = arrays(write(tmp_path))
    more = series(plan.history[0], "manure_input") - series(before.history[0], "manure_input")
    # 4 Mg C/ha at once, spread over the ten years of the slow step
    assert more.max() == pytest.approx(0.4)
    assert np.flatnonzero(more).tolist() == [22]


def test_manure_goes_where_the_plough_takes_it(tmp_path):
    keys = {"material": "manure", "kg_m2": 0.4, "year": 220, "depth_m": 0.2}
    with pytest.raises(InputError, match="manure is given in kg_m2 of carbon"):
        load_case(write(tmp_path, *amendment(**keys)))

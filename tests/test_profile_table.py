"""Horizons from a table: the same soil, stones, organic horizons, and what is refused."""

import numpy as np
import pytest
import tiny_case

from diffsoil.cases import load_case
from diffsoil.cases.arrays import build
from diffsoil.cases.fingerprint import files_of, fingerprint
from diffsoil.io import InputError, parse_toml

LOAM = tiny_case.CASE[
    tiny_case.CASE.index("[[soil.loam.horizons]]") : tiny_case.CASE.index("[[soil.clay.horizons]]")
]
HEADER = (
    "horizon,upper_cm,lower_cm,clay_percent,silt_percent,bulk_density,soc_percent,iom_percent,"
    "one_to_one_share,base_saturation,calcite_percent"
)
AP, BW = "Ap,0,25,16,60,1.25,1.2,0.08,0.9,60,", "Bw,25,90,24,55,1.45,0.5,0.05,0.1,90,5"


def write(folder, *rows, header=HEADER, name="profile.csv"):
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return tiny_case.write(folder, case=[(LOAM, f'[soil.loam]\nhorizons = "{name}"\n\n')])


def loam(path):
    return load_case(path).file.soil["loam"].horizons


def test_a_table_makes_the_same_soil_as_the_case_in_any_order_of_rows(tmp_path):
    (tmp_path / "toml").mkdir()
    given = loam(tiny_case.write(tmp_path / "toml"))
    path = write(tmp_path, BW, AP)
    assert loam(path) == given
    assert "calcite_percent" not in loam(path)[0].model_fields_set


def test_the_table_belongs_to_the_files_of_a_case(tmp_path):
    case = load_case(write(tmp_path, AP, BW))
    assert "profile.csv" in fingerprint(case)["files"]
    document = parse_toml(case.path, case.text)
    assert [table[key] for table, key in files_of(document)].count("profile.csv") == 1


def test_organic_horizons_are_left_out_and_that_is_said(tmp_path, capsys):
    path = write(tmp_path, "Oi,-6,-2,0,0,0.1,40,,,,", "Oa,-2,0,0,0,0.2,35,,,,", AP, BW)
    assert [h.upper_cm for h in loam(path)] == [0, 25]
    said = capsys.readouterr().err
    assert "line 2, 3: 2 organic horizons above the mineral soil are left out" in said
    assert "litter_layer" in said


def test_stones_take_the_place_of_fine_earth(tmp_path):
    header = f"{HEADER},stones_percent"
    without = build(load_case(write(tmp_path, f"{AP},", f"{BW},0", header=header)))
    stony = build(load_case(write(tmp_path, f"{AP},", f"{BW},40", header=header)))
    field = without.sites.index("field")
    ratio = (
        np.asarray(stony.history[0].constant["soil_mass"])[field]
        / (np.asarray(without.history[0].constant["soil_mass"])[field])
    )
    np.testing.assert_allclose(ratio[:2], 1)
    np.testing.assert_allclose(ratio[3:], 0.6)
    # inert carbon is a part of the fine earth
    np.testing.assert_allclose(stony.iom[field, 3:], 0.6 * without.iom[field, 3:])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((AP, BW.replace("25,", "30,")), "lines 2 and 3: nothing is given between 25 and 30 cm"),
        ((AP, BW.replace("25,", "20,")), "lines 2 and 3: overlap between 20 and 25 cm"),
        ((AP.replace("0,25", "5,25"), BW), "line 2: the profile begins at 5 cm, not at 0"),
        ((AP.replace("0,25", "-3,25"), BW), "crosses the surface of the mineral soil"),
        ((AP.replace("0,25", "0,-25"), BW), "depths grow downwards from 0"),
        ((AP.replace("0,25", "25,0"), BW), "upside down"),
        ((AP.replace("16,60", "16,90"), BW), "clay_percent + silt_percent = 106"),
        ((AP.replace("1.25", "1250"), BW), "column 'bulk_density'"),
        ((AP.replace("0.08", "3"), BW), "line 2: iom_percent 3 is more than soc_percent 1.2"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_with_its_rows(rows, words, tmp_path):
    with pytest.raises(InputError) as error:
        load_case(write(tmp_path, *rows))
    assert any("profile.csv" in line and words in line for line in error.value.faults), str(
        error.value
    )


def test_faults_of_a_profile_do_not_hide_those_of_the_case(tmp_path):
    path = write(tmp_path, AP, BW.replace("25,", "30,"))
    path.write_text(path.read_text().replace("leaf_share = 0.3", "leaf_share = 3"))
    with pytest.raises(InputError) as error:
        load_case(path)
    assert len(error.value.faults) == 2


def test_one_table_may_hold_several_soils(tmp_path):
    rows = [f"{soil},{row}" for soil in ("loam", "other") for row in (AP, BW)]
    path = write(tmp_path, *rows, header=f"soil,{HEADER}")
    assert len(loam(path)) == 2
    path = write(tmp_path, *rows[2:], header=f"soil,{HEADER}")
    with pytest.raises(InputError, match="column 'soil': no row of 'loam'"):
        load_case(path)

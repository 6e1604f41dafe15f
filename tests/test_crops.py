"""Plant carbon of yields: the numbers of the paper, and the way into a case."""

import pandas as pd
import pytest
import tiny_case

from diffsoil.cases import load_case
from diffsoil.cases.crops import crops
from diffsoil.cases.land_use import LandUse
from diffsoil.io import InputError


@pytest.mark.parametrize(("name", "ratio"), [("maize", 5.6), ("soybean", 5.2), ("forage", 1.6)])
def test_shoots_and_roots_have_the_ratio_of_the_paper(name, ratio):
    crop = crops()[name]
    # means in the abstract of Bolinder et al. (2007)
    assert (crop.product + crop.residues) / crop.roots == pytest.approx(ratio, rel=0.01)


def test_below_ground_is_a_fifth_of_annual_crops_and_half_of_forages():
    below = {name: crop.roots + crop.extra_roots for name, crop in crops().items()}
    annual = ("wheat", "barley", "triticale", "maize", "soybean")
    assert sum(below[name] for name in annual) / len(annual) == pytest.approx(0.2, abs=0.015)
    assert below["forage"] == pytest.approx(0.5, abs=0.01)


def test_roots_release_two_thirds_of_their_carbon_while_they_grow():
    for name, crop in crops().items():
        assert crop.extra_roots == pytest.approx(0.65 * crop.roots, abs=0.002), name


def test_a_tonne_of_wheat_brings_what_its_shares_say():
    wheat = crops()["wheat"]
    # 0.45 x (0.15 x 0.482 + 0.118 + 0.078) / 0.322
    assert wheat.carbon(1.0) == pytest.approx(0.3750, abs=1e-4)
    assert wheat.carbon(5.0, residues_left=1.0) == pytest.approx(4.7376, abs=1e-4)
    assert LandUse(like="cereal").leaf_share == pytest.approx(0.0723 / 0.2683, abs=1e-4)
    assert LandUse(like="cereal", residues_left_share=1).leaf_share == pytest.approx(
        0.711, abs=1e-3
    )


def with_yields(folder, header, row, crop="wheat"):
    path = tiny_case.write(
        folder,
        case=[('input_group = "crop"', f'crop = "{crop}"\ninput_group = "crop"')],
    )
    rows = pd.read_csv(folder / "management.csv")[["treatment", "year"]]
    lines = [f"{t},{y},crop,{row}" for t, y in rows.itertuples(index=False)]
    text = "\n".join([f"treatment,year,land_use,{header}", *lines])
    (folder / "management.csv").write_text(text + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "row", "base", "by_yield"),
    [
        ("yield_t_ha", "6", 0.0, 6 * crops()["wheat"].carbon(1)),
        ("yield_t_ha", "", 2.0, 0.0),  # what the land use says
        ("plant_carbon_base_t_ha,yield_t_ha", "0.5,6", 0.5, 6 * crops()["wheat"].carbon(1)),
        ("yield_t_ha,crop", "6,barley", 0.0, 6 * crops()["barley"].carbon(1)),
        ("yield_t_ha,residues_left_share", "6,1", 0.0, 6 * crops()["wheat"].carbon(1, 1.0)),
    ],
)
def test_yields_of_a_table_become_plant_carbon(header, row, base, by_yield, tmp_path):
    table = load_case(with_yields(tmp_path, header, row)).management
    assert table["plant_carbon_base_t_ha"].unique() == pytest.approx([base])
    assert table["plant_carbon_yield_t_ha"].unique() == pytest.approx([by_yield])


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("yield_t_ha,crop", "6,wheet", "'wheet' is no crop, did you mean 'wheat'?"),
        ("yield_t_ha", "65", "is this in dt/ha, or fresh weight?"),
        ("yield_t_ha,plant_carbon_yield_t_ha", "6,2", "is there already"),
    ],
)
def test_yields_that_cannot_be_are_refused(header, row, words, tmp_path):
    with pytest.raises(InputError) as error:
        load_case(with_yields(tmp_path, header, row))
    assert words in str(error.value)


def test_blocks_of_years_may_have_yields(tmp_path):
    blocks = '\n[[management]]\nland_use = "crop"\nyield_t_ha = 6\ncrop = "barley"\n'
    old = 'management = "management.csv"\n'
    table = load_case(tiny_case.write(tmp_path, case=[(old, blocks)])).management
    assert table["plant_carbon_yield_t_ha"].unique() == pytest.approx(
        [6 * crops()["barley"].carbon(1)]
    )
    assert (table["plant_carbon_base_t_ha"] == 0).all()

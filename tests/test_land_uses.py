"""Land uses that a case takes from the library."""

import pytest
import tiny_case

from diffsoil.cases import load_case
from diffsoil.cases.fingerprint import fingerprint
from diffsoil.cases.inputs import Input, value, with_values
from diffsoil.cases.land_use import LandUse, library
from diffsoil.io import InputError

FOREST = tiny_case.CASE[
    tiny_case.CASE.index("[land_use.forest]") : tiny_case.CASE.index("[land_use.crop]")
]


def case_with(tmp_path, forest: str, **changes):
    return tiny_case.write(tmp_path, case=[(FOREST, f"[land_use.forest]\n{forest}\n\n")], **changes)


def test_each_land_use_of_the_library_is_whole_and_says_how_sure_it_is():
    for name, entry in library().items():
        use = LandUse(like=name)
        for key, of in entry.values.items():
            assert key in LandUse.model_fields, (name, key)
            if of.source.startswith("assumption"):
                assert (
                    of.range
                    or any(c.isdigit() for c in of.source)
                    or "half" in of.source
                    or ("earlier or later" in of.source or key == "litter_layer")
                ), (name, key)
            if of.range:
                assert of.range[0] <= getattr(use, key) <= of.range[1], (name, key)


def test_roots_of_the_library_are_deeper_under_trees_than_under_grass():
    def above_30_cm(name):
        return 1 - LandUse(like=name).root_beta ** 30

    assert above_30_cm("grass") > above_30_cm("cereal") > above_30_cm("coniferous_forest")


def test_a_short_land_use_is_that_of_the_library_and_what_the_case_says_wins(tmp_path):
    case = load_case(case_with(tmp_path, 'like = "deciduous_forest"\nleaf_share = 0.7'))
    use = case.file.land_use["forest"]
    assert (use.root_beta, use.litter_layer, use.npp) == (0.966, True, "miami")
    assert use.leaf_share == 0.7
    assert use.input_group == "forest"
    assert use.model_fields_set == {"like", "leaf_share", "input_group"}
    assert fingerprint(case)["tables"]["land_use"]


def test_an_amount_of_carbon_takes_the_place_of_production_from_climate(tmp_path):
    case = load_case(case_with(tmp_path, 'like = "coniferous_forest"\nplant_carbon_t_ha = 4'))
    use = case.file.land_use["forest"]
    assert (use.npp, use.plant_carbon_t_ha) == (None, 4)


def test_a_land_use_that_the_library_does_not_have_is_named_with_the_nearest(tmp_path):
    path = case_with(tmp_path, 'like = "decidous_forest"')
    with pytest.raises(InputError) as error:
        load_case(path)
    (line,) = error.value.faults
    assert "land_use.forest: like: no land use 'decidous_forest'" in line
    assert "did you mean 'deciduous_forest'?" in line


def test_a_crop_of_the_library_needs_its_carbon_in_the_history(tmp_path):
    with pytest.raises(InputError, match="neither npp nor plant_carbon_t_ha"):
        load_case(case_with(tmp_path, 'like = "cereal"'))


def test_an_input_may_be_a_number_that_the_library_fills(tmp_path):
    case = load_case(case_with(tmp_path, 'like = "deciduous_forest"'))
    leaves = Input(what="", keys=["land_use.forest.leaf_share"], lower=0, upper=1)
    assert value(case, leaves) == 0.5
    other = with_values(case, {"leaves": leaves}, {"leaves": 0.6})
    assert other.file.land_use["forest"].leaf_share == 0.6


def test_a_wrong_crop_is_named_and_not_what_follows_from_it(tmp_path):
    path = case_with(tmp_path, 'like = "cereal"\nplant_carbon_t_ha = 2\ncrop = "whaet"')
    with pytest.raises(InputError) as error:
        load_case(path)
    (line,) = error.value.faults
    assert "land_use.forest.crop: no crop 'whaet', did you mean 'wheat'?" in line

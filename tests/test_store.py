"""The folder of a fit: what does not belong together is refused in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from calibration import saved_fit, store
from calibration.methods import NUTS, Laplace
from diffsoil.cases import load_case
from diffsoil.cases.fingerprint import checksum
from diffsoil.io import InputError
from diffsoil.options import Existing
from tests import tiny_case

OBSERVATIONS = '[observations]\nfiles = ["../data/observations.csv"]\n'


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    """A fit with made-up draws; nothing here runs the model."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "case").mkdir()
    (folder / "data").mkdir()
    path = tiny_case.write(folder / "case")
    path.write_text(path.read_text() + OBSERVATIONS)
    (folder / "data" / "observations.csv").write_text("site,year\nfield,1905\n")
    case = load_case(path)
    settings = store.Settings(
        case=case.name, case_sha256=checksum(case.text), method=NUTS(quick=True, draws=25),
        seed=0, set={}, free=sorted(case.file.free),
    )  # fmt: skip
    made = folder / "fit"
    with store.folder_of(made, Existing(), inputs=[path]) as place:
        store.begin(place, settings, case)
        draws = np.linspace(0.015, 0.025, 50).reshape(2, 25)
        store.write_posterior(made / "posterior.nc", {"posterior": {"carbon.k_hum": draws}})
        store.complete(place)
    return made


@pytest.fixture
def copy(fit, tmp_path):
    shutil.copytree(fit, tmp_path / "fit")
    return tmp_path / "fit"


def change(folder, **entries) -> None:
    content = json.loads((folder / "fit.json").read_text())
    (folder / "fit.json").write_text(json.dumps(content | entries))


def refused(folder, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        saved_fit.load(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_fit_carries_all_files_of_its_case(copy):
    found = saved_fit.load(copy)
    assert found.case().resolve("inputs/observations.csv") == copy / "inputs" / "observations.csv"
    assert found.case().resolve("weather.csv") == copy / "weather.csv"
    assert found.draws.shape == (50, 1)
    assert [e["method"] for e in found.history] == ["nuts"]
    found.column(found.case())


RESULTS = [name for name in store.KIND.files if name.endswith(".csv")]


@pytest.mark.parametrize("result", [*RESULTS, "Profile.csv", "laplace.npz"])
def test_a_file_of_the_case_never_takes_the_name_of_a_result(tmp_path, result):
    (tmp_path / "case").mkdir()
    path = tiny_case.write(tmp_path / "case")
    path.write_text(path.read_text().replace('"weather.csv"', f'"{result}"'))
    (path.parent / "weather.csv").rename(path.parent / result)
    case = load_case(path)
    settings = store.Settings.of(case, Laplace(), seed=0, fixed={})
    with store.folder_of(tmp_path / "fit", Existing(), inputs=[path]) as place:
        store.begin(place, settings, case)
        store.write_text(place.work / result, "a result\n")
        store.write_posterior(
            place.work / "posterior.nc", {"posterior": {"carbon.k_hum": np.full((1, 4), 0.02)}}
        )
        store.complete(place)
    found = saved_fit.load(tmp_path / "fit").case()
    assert found.resolve(f"inputs/{result}").read_bytes() == case.resolve(result).read_bytes()


def test_a_later_format_is_refused_with_both_numbers(copy):
    change(copy, format=7)
    refused(copy, r"fit.json: format: is 7, .* reads 1 to 3")


def test_a_fit_that_was_interrupted_is_refused(copy):
    change(copy, complete=False)
    refused(copy, "complete: is false, true is needed")


def test_another_case_is_refused_with_both_sums(copy):
    (copy / "case.toml").write_text((copy / "case.toml").read_text() + "# changed\n")
    refused(copy, "case.toml: has been changed since the fit: SHA-256 was [0-9a-f]{12}, is")


def test_a_file_that_is_gone_is_named(copy):
    (copy / "weather.csv").unlink()
    refused(copy, "weather.csv: is missing")


def test_half_written_files_are_named(copy):
    whole = (copy / "posterior.nc").read_bytes()
    (copy / "posterior.nc").write_bytes(whole[: len(whole) // 3])
    refused(copy, "posterior.nc: cannot be read, is it half written")
    (copy / "fit.json").write_text('{"format": 2, "case"')
    refused(copy, "fit.json: cannot be read, is it half written")


def test_missing_draws_of_a_free_parameter_are_named(copy):
    change(copy, free=["carbon.k_hum", "carbon.k_rpm"])
    refused(copy, "posterior.nc: no draws of 'carbon.k_rpm'.* it has carbon.k_hum")


def test_a_missing_setting_is_named(copy):
    content = json.loads((copy / "fit.json").read_text())
    del content["seed"]
    (copy / "fit.json").write_text(json.dumps(content))
    refused(copy, "fit.json: seed: is missing")


def test_values_that_this_program_does_not_allow_are_refused(copy):
    draws = np.full((2, 25), 7.0)
    store.write_posterior(copy / "posterior.nc", {"posterior": {"carbon.k_hum": draws}})
    found = saved_fit.load(copy)
    with pytest.raises(InputError, match=r"carbon.k_hum: the fit .* has values from 7 to 7, this"):
        found.column(found.case())


def test_a_fit_of_format_1_is_read_as_one_of_today(copy):
    content = json.loads((copy / "fit.json").read_text())
    text = (copy / "case.toml").read_text()
    content |= {"format": 1, "case_sha256": checksum(text)}
    for name in ("files", "history", "slow_step"):
        content.pop(name, None)
    (copy / "fit.json").write_text(json.dumps(content))
    found = saved_fit.load(copy)
    assert found.settings.format == store.FORMAT
    assert [e["method"] for e in found.history] == ["nuts"]
    (copy / "case.toml").write_text(text + "# changed\n")
    refused(copy, "is not the case of the fit: SHA-256 was")


def test_a_fit_of_format_2_has_the_settings_that_its_method_used(copy):
    sizes = {"quick": True, "chains": 3, "warmup": 25, "draws": 70, "starts": 1}
    own = {"tree_depth": 4, "acceptance": 0.7}
    history = [{"step": 0, "method": "nuts"}, {"step": 1, "method": "weights"}]
    change(copy, format=2, method="weights", options=None, history=history, **sizes, **own)
    found = saved_fit.load(copy).settings
    assert found.method == NUTS(**sizes, **own)
    assert found.weighted
    assert found.reported.name == "weights"
    change(copy, method="laplace", history=[])  # which had 1000 draws whatever was written there
    assert saved_fit.load(copy).settings.method == Laplace(quick=True, starts=1)


def test_a_method_that_this_program_has_not_is_named(copy):
    change(copy, method="gibbs")
    refused(copy, r"fit.json: method: is 'gibbs', known are map, laplace, ")
    change(copy, method="nuts", options={"chain": 3})
    refused(copy, r"fit.json: options: .*'chain'")


def test_no_fit_at_all_says_so(tmp_path):
    refused(tmp_path, "no fit.json there")

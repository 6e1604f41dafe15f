"""What is added from outside: examples of docs/how_to/extending.md, and entry points."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_case
from matplotlib.legend import Legend
from scipy import stats

import diffsoil
from calibration import prediction
from calibration.noise import NOISE, Normal
from calibration.quantities import QUANTITIES
from diffsoil import variables
from diffsoil.cases import parameter_table
from diffsoil.column import ADDED, standard_column
from diffsoil.io import InputError
from diffsoil.processes.protection import MECHANISMS, Clay, Mechanism
from diffsoil.quantities import layer_results
from diffsoil.registry import Registry
from tests.test_calibration import observation, write_case

PAGE = Path(__file__).parents[1] / "docs" / "how_to" / "extending.md"
SLOTS = (ADDED, MECHANISMS, NOISE)


@pytest.fixture(scope="module", autouse=True)
def nothing_stays() -> Iterator[None]:
    """Take out of the registries what the tests of this file add."""
    tables = [slot._added for slot in SLOTS] + [variables.VARIABLES]
    before = [dict(table) for table in tables]
    yield
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)


def section(title: str, folder: Path) -> dict[str, object]:
    """Run a section of the page beside a case, and give the names that it has defined."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    case, module = folder / "case.toml", types.ModuleType("my_soil")
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, flags=re.S):
        if kind == "toml":
            written = case.read_text()
            case.write_text(written + block if block.startswith("[") else block + written)
        else:
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The present folder, with a small case and its observations."""
    path = write_case(tmp_path, [observation(), observation(year=1907, value=30)])
    text = path.read_text().replace('keep_out = ["hill"]', "keep_out = []")
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_process_from_outside_slows_decomposition_where_it_is_wet(folder):
    before = diffsoil.simulate(diffsoil.load_case("case.toml")).to_xarray()
    run = section("A process", folder)["run"]
    assert run["wetness"].attrs["process"] == "waterlogging"
    assert "wetness" in QUANTITIES
    assert 0.2 < float(run["wetness"].mean()) < 1.2
    last = {"year": -1}
    assert (run["soc_stock_0_25"][last] > 1.02 * before["soc_stock_0_25"][last]).all()
    assert "waterlogging.slowing" in list(parameter_table()["name"])
    names = [process.name for process in diffsoil.load_case("case.toml").column().processes]
    assert names.index("waterlogging") == names.index("rate_modifiers") + 1


def test_a_carbon_model_from_outside_has_its_own_pools_and_loses_nothing(folder):
    run = section("A carbon model", folder)["run"]
    assert run.attrs["balance_carbon"] < 1e-12
    assert list(run["pool"].values) == ["leaves", "roots", "humus", "IOM"]
    last = run["soc_pool"].isel(output_year=-1).sum(["depth_m", "treatment"])
    assert (last > 0).all()
    assert float(last.sel(pool="humus")) > float(last.sel(pool="leaves"))
    assert "carbon.humified" in diffsoil.load_case("case.toml").column().parameters()


def test_a_mechanism_from_outside_limits_carbon_and_is_seen_everywhere(folder):
    before = diffsoil.simulate(diffsoil.load_case("case.toml")).to_xarray()
    names = section("A protection mechanism", folder)
    run = names["run"]
    soil = 1.0 - 0.5 * (run["clay"] + run["silt"]) / 100.0
    np.testing.assert_allclose(run["modifier_fines"], soil, rtol=1e-6)
    np.testing.assert_allclose(run["modifier_overall"], soil, rtol=1e-6)  # the strongest
    last = {"year": -1}
    assert (run["soc_stock_0_25"][last] > 1.1 * before["soc_stock_0_25"][last]).all()
    assert "protection.on_fines" in list(parameter_table()["name"])
    assert "modifier_fines" in layer_results()
    titles = [axes.get_title(loc="left") + axes.get_title() for axes in names["figure"].axes]
    assert any("clay and silt" in title for title in titles)
    (legend,) = [c for axes in names["figure"].axes for c in axes.get_children()
                 if isinstance(c, Legend)]  # fmt: skip
    assert [text.get_text() for text in legend.get_texts()] == ["clay and silt"]


def test_a_case_that_does_not_choose_a_mechanism_from_outside_is_as_before(folder):
    section("A protection mechanism", folder)
    column = standard_column()
    assert "protection.on_fines" not in column.parameters()
    assert "modifier_fines" not in column.process("protection").provides


def test_a_distribution_from_outside_is_that_of_scipy_in_a_calibration(folder):
    problem = section("A noise model", folder)["problem"]
    assert problem.errors.texts[0] == "Laplace, measured sd and a fitted relative part"
    x = problem.defaults
    found = eqx.filter_jit(problem.likelihood.predict)(x)
    value, expected, sd = (np.asarray(v) for v in (problem.errors.value, *found[1:3]))
    density = stats.laplace.logpdf(value, expected, sd)
    np.testing.assert_allclose(found.log_likelihood, density, rtol=1e-9)
    spread = problem.likelihood.spread(x, found.expected)
    keys = jax.random.split(jax.random.key(1), 20000)
    drawn = np.asarray(jax.vmap(lambda k: problem.errors.draw(k, found.expected, spread))(keys))
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(2.0) * sd, rtol=0.03)
    repeated = type(found)(*(jnp.repeat(v[None], 20000, axis=0) for v in found))
    table = prediction.table(problem, prediction.in_memory(repeated), 3)
    np.testing.assert_allclose(table["sd"], np.sqrt(2.0) * sd, rtol=0.03)


FAULTS = {
    'distribution = "laplacian"': "no distribution of errors 'laplacian'",
    'distribution = "student_t"': 'distribution = "student_t" needs dof',
    'distribution = "normal"\ndof = 4': 'dof does not belong to distribution = "normal"',
    'distribution = "student_t"\ndof = 4\nautocorrelation = true': "needs a normal or lognormal",
}


@pytest.mark.parametrize("text", FAULTS)
def test_an_error_that_no_distribution_has_is_refused(text, folder):
    from calibration import Problem

    path = folder / "case.toml"
    path.write_text(path.read_text() + f"\n[observations.errors.soc_stock]\n{text}\n")
    with pytest.raises(InputError, match=rf"case\.toml: observations\.errors\.soc_stock: .*"
                       f"{re.escape(FAULTS[text])}"):  # fmt: skip
        Problem(path)


CHOICES = {
    'column = "carbon_only"': "column: no column 'carbon_only'",
    'water = "richard"': "water: no model of soil water 'richard', did you mean 'richards'",
    'minimum = "sharp"': "minimum: no minimum 'sharp'",
    'protection = ["clay", "mooch"]': "no mechanism of protection 'mooch', did you mean 'mooh'",
    'processes = ["ants"]': "no process 'ants'",
}


@pytest.mark.parametrize("text", CHOICES)
def test_a_choice_that_is_none_is_refused_with_the_nearest(text, tmp_path):
    path = tiny_case.write(tmp_path, case=[('minimum = "hard"\n', "")])
    path.write_text(f"{text}\n{path.read_text()}")
    with pytest.raises(InputError, match=re.escape(CHOICES[text])):
        diffsoil.load_case(path)


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> Registry:
    """A registry with the entry points of a package that is installed in a folder."""
    (folder / "my_soil.py").write_text(
        "from diffsoil.processes.protection import Clay\n"
        "class Char(Clay):\n    name = 'char'\n    words = 'charcoal'\n"
    )
    info = folder / "my_soil-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_soil\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[test.mechanisms]\nchar = {value}\n")
    monkeypatch.syspath_prepend(folder)
    return Registry("mechanism", {"clay": Clay}, "test.mechanisms", Mechanism)


def test_a_package_adds_a_choice_by_its_entry_point(tmp_path, monkeypatch):
    found = package(tmp_path, monkeypatch, "my_soil:Char")
    assert list(found) == ["clay", "char"]
    assert found["char"].words == "charcoal"
    assert found.known("char") == "char"


def test_an_entry_point_that_cannot_be_loaded_is_named(tmp_path, monkeypatch):
    found = package(tmp_path, monkeypatch, "my_soil:Coal")
    for _ in range(2):  # not only at first sight
        with pytest.raises(InputError, match=r"mechanism 'char' \(test\.mechanisms, my_soil:Coal"):
            list(found)


def test_a_name_stands_for_one_choice():
    found: Registry = Registry("mechanism", {"clay": Clay}, kind=Mechanism)

    class Char(Clay):
        name = "char"

    with pytest.raises(ValueError, match="there is a mechanism 'clay' already"):
        found.register("clay", Char)
    with pytest.raises(ValueError, match="has the name 'char' of its own"):
        found.register("coal", Char)
    with pytest.raises(ValueError, match="is no class of Mechanism"):
        found.register("normal", Normal)
    found.register("char", Char)
    found.register("char", Char)  # the same once more, as in a notebook
    with pytest.raises(ValueError, match="no mechanism 'chr', did you mean 'char'"):
        found.known("chr")

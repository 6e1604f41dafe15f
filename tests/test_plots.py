"""Pictures of a run: what they show, and that they are drawn from anything a run may hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

from diffsoil import cli
from diffsoil.io import InputError
from diffsoil.output import plots
from diffsoil.report.pictures import Figure
from diffsoil.state import MINERALS

CASE = """
start_year = 0
erosion = "events"
[grid]
layers = 4
thickness_m = 0.05
[[history]]
until = 60
land_use = "steppe"
erosion_mm_a = 0
[[history]]
until = 100
land_use = "field"
erosion_mm_a = 5
"""

YEARS, STEPS, LAYERS = 100, 10, 4


@pytest.fixture
def run() -> xr.Dataset:
    """A run of two treatments in which the second half of the layers is twice as thick."""
    shape = ("treatment", "output_year", "depth_m")
    layer = np.tile(np.array([0.05, 0.05, 0.10, 0.10]), (2, STEPS, 1))
    falling = np.linspace(1.0, 0.0, STEPS)[:, None] * np.linspace(0.0, 1.0, LAYERS)
    fields = {
        "thickness": layer,
        "soc": 30.0 * np.ones_like(layer),
        "bulk_density": 1.2 * np.ones_like(layer),
        "calcite": 0.1 * np.stack([falling, falling]),
        "base_saturation": 50.0 + 50.0 * np.stack([falling, falling]),
        "ph": 5.0 + 3.0 * np.stack([falling, falling]),
        "clay": 16.0 + np.arange(LAYERS) * np.ones_like(layer),
        "one_to_one_share": 0.46 * np.ones_like(layer),
        "pco2": 0.004 * np.ones_like(layer),
        "percolation": 200.0 - 40.0 * np.arange(LAYERS) * np.ones_like(layer),
        "modifier_clay": 0.9 * np.ones_like(layer),
        "modifier_mooh": np.ones_like(layer),
        "modifier_aggregation": 1.0 - 0.2 * np.stack([falling, falling]),
        "modifier_pores": 0.95 * np.ones_like(layer),
        "modifier_overall": np.minimum(0.9, 1.0 - 0.2 * np.stack([falling, falling])),
    }
    minerals = np.zeros((2, STEPS, len(MINERALS), LAYERS))
    minerals[:, :, 0], minerals[:, :, 1] = 70.0, 30.0
    stock = np.tile(np.linspace(0.0, 80.0, YEARS), (2, 1))
    variables = {name: (shape, value) for name, value in fields.items()}
    variables["mineral_percent"] = (("treatment", "output_year", "mineral", "depth_m"), minerals)
    for name in plots.STOCKS:
        variables[name] = (("treatment", "year"), stock)
    return xr.Dataset(
        variables,
        coords={
            "treatment": ["nil", "manure"],
            "site": ("treatment", ["loess", "loess"]),
            "label": ("treatment", ["nothing", "farmyard manure"]),
            "year": np.arange(1, YEARS + 1),
            "output_year": np.arange(1, STEPS + 1) * YEARS // STEPS,
            "depth_m": 0.05 * (np.arange(LAYERS) + 0.5),
            "mineral": list(MINERALS),
        },
        attrs={"source": "diffsoil 0", "case": CASE, "title": "a tiny soil"},
    )


@pytest.fixture
def file(run, tmp_path):
    path = tmp_path / "run.nc"
    run = run[["soc", "soc_stock_0_100", "thickness", "bulk_density"]].isel(treatment=[0])
    run.to_netcdf(path, engine="h5netcdf")
    return path


def test_maps_put_layers_where_their_thickness_puts_them(run):
    grid = plots.pixels(run.isel(treatment=0), rows=30, columns=20)
    assert grid.extent == pytest.approx((0.0, 100.0, 0.3, 0.0))
    expected = np.repeat([0, 1, 2, 3], [5, 5, 10, 10])
    assert (grid.layer == expected[:, None]).all()
    assert (grid.year == np.repeat(np.arange(10), 2)).all()


def test_maps_are_empty_below_a_column_that_shrinks(run):
    thin = run.isel(treatment=0).copy(deep=True)
    thin["thickness"][5:] = 0.5 * thin["thickness"][5:]
    picture = plots.pixels(thin, rows=30, columns=20).take(thin["clay"].to_numpy())
    assert np.isfinite(picture[:, :10]).all()
    assert np.isnan(picture[15:, 10:]).all()


def test_a_run_of_an_older_program_is_read_in_calendar_years(run, tmp_path):
    new = run.assign_coords(
        year=run["year"] + 1599,
        year_of_run=("year", run["year"].to_numpy()),
        output_year=run["output_year"] + 1599,
        output_year_of_run=("output_year", run["output_year"].to_numpy()),
    )
    old = run.assign_coords(
        calendar_year=("year", new["year"].to_numpy()),
        output_calendar_year=("output_year", new["output_year"].to_numpy()),
    )
    old.to_netcdf(tmp_path / "old.nc", engine="h5netcdf")
    found = plots.read_run(tmp_path / "old.nc")
    xr.testing.assert_equal(found, new)
    member = found.isel(treatment=0)
    assert plots.pixels(member, 30, 20).extent[:2] == (1599.0, 1699.0)
    (ax,) = plots.stocks_through_time(found, "nil").axes
    assert (ax.get_xlim(), ax.get_xlabel()) == ((1599.0, 1699.0), "calendar year")


def test_phases_come_from_the_case(run):
    first, second = plots.phases(run)
    assert (first.start, first.end, first.label, first.interval) == (0, 60, "steppe", 1)
    assert (second.end, second.label, second.interval) == (100, "field, erosion 5 mm/a", 10)


def test_a_run_without_a_case_has_no_phases(run):
    assert plots.phases(run.drop_attrs()) == []


def test_the_strongest_mechanism_limits():
    modifiers = {"clay": np.array([0.9, 0.9, 1.0]), "pores": np.array([0.95, 0.8, 1.0])}
    assert plots.limiting(modifiers).tolist() == [1, 2, 0]


def test_trailing_mean_is_partial_at_the_start():
    values = np.array([0.0, 2.0, 4.0, 6.0])
    found = plots.trailing_mean(values, np.array([1, 2, 3, 2]))
    assert found == pytest.approx([0.0, 1.0, 2.0, 5.0])


def test_organic_carbon_is_a_share_of_the_soil(run):
    found = plots._values(run.isel(treatment=0), plots.BY_NAME["organic_carbon"])
    assert found is not None
    assert found[0, 0] == pytest.approx(100 * 30 / (0.05 * 1.2 * 1e4))


def test_an_axis_of_years_has_no_parts_of_years():
    figure = Figure(figsize=(7.0, 3.0), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    below.plot([1897, 1914], [0, 1])
    below.set_xlabel("year")
    FigureCanvasAgg(figure).draw()
    for ax in (above, below):
        assert [tick % 1 for tick in ax.get_xticks()] == [0] * len(ax.get_xticks())


def test_a_single_year_is_a_year():
    figure = Figure(figsize=(3.0, 2.0), layout="constrained")
    ax = figure.subplots()
    ax.plot([1993, 1993.3], [0, 1], "o")
    ax.set_xlabel("year")
    FigureCanvasAgg(figure).draw()
    assert "1993" in [label.get_text() for label in ax.get_xticklabels()]
    assert ax.xaxis.get_offset_text().get_text() == ""


def test_all_pictures_are_drawn(run, tmp_path):
    written = plots.draw(run.isel(treatment=[1]), tmp_path, "dry_")
    assert set(written) == {"dry_soil", "dry_protection", "dry_stocks", "dry_profiles"}
    assert all(path.stat().st_size > 5000 for path in written.values())


def test_pictures_of_several_treatments_have_their_names(run, tmp_path):
    written = plots.draw(run[["soc_stock_0_100"]], tmp_path)
    assert set(written) == {"stocks_nil", "stocks_manure"}


def test_what_a_run_does_not_hold_is_left_out(run):
    few = run[["soc", "soc_stock_0_100", "thickness", "bulk_density"]]
    soil = plots.soil_through_time(few, "nil")
    assert soil is not None
    titles = {ax.get_title(loc="left") for ax in soil.axes} - {""}
    assert titles == {"organic carbon", "bulk density"}
    assert plots.protection_through_time(few, "nil") is None
    assert plots.stocks_through_time(few, "nil") is not None
    assert plots.stocks_through_time(few[["soc"]], "nil") is None
    assert plots.profiles(few[["thickness"]], "nil") is None


def test_unknown_treatment_names_a_known_one(run):
    with pytest.raises(InputError, match="did you mean 'manure'"):
        plots.soil_through_time(run, "manur")


def test_profiles_show_the_last_year_once(run):
    figure = plots.profiles(run, "nil", years=(0, 50, 100, 5000))
    assert figure is not None
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["year 10", "year 50", "year 100"]


def test_shapes_are_relative_to_their_reference_depths():
    by_name = {shape.name: shape for shape in plots.SHAPES}
    profile = np.concatenate([np.full(20, 2.0), np.full(80, 3.0)])
    assert by_name["clay"].of(profile)[[0, 99]] == pytest.approx([1.0, 1.5])
    assert by_name["ph"].of(profile)[[0, 99]] == pytest.approx([-1.0, 0.0])
    assert by_name["calcite"].of(profile) is profile
    assert np.isnan(by_name["ph"].of(np.full(50, 6.0))).all()


def test_horizons_fill_their_centimetres():
    found = plots.by_centimetre(np.array([0.0, 2.0]), np.array([2.0, 3.0]), np.array([1.0, 5.0]), 4)
    assert found[:3].tolist() == [1.0, 1.0, 5.0]
    assert np.isnan(found[3])


def test_runs_are_drawn_beside_real_profiles(run):
    table = pd.DataFrame(
        {"profile": ["a", "a"], "upper_cm": [0, 20], "lower_cm": [20, 80], "clay": [10.0, 15.0]}
    )
    figure = plots.beside_profiles({"run": run}, {"real": table}, "shapes")
    assert [ax.get_xlabel() for ax in figure.axes] == ["clay / clay of 0-20 cm (1)"]


# The command.


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["plot", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("diffsoil: error: ")
    assert err.count("\n") == 1
    return err


def test_the_command_draws_into_a_new_folder_and_replaces_it_only_when_asked(
    file, tmp_path, capsys
):
    folder = tmp_path / "pictures"
    words = [str(file), "-o", str(folder)]
    assert cli.main(["plot", *words]) == 0
    assert {path.name for path in folder.glob("*.*g")} == {
        "soil.png",
        "stocks.png",
        "profiles.png",
    }
    assert "--overwrite" in refused(capsys, *words)
    (folder / "protection.png").touch()  # of another run
    assert cli.main(["plot", *words, "--overwrite"]) == 0
    assert "protection.png" not in {path.name for path in folder.iterdir()}
    (folder / "mine.png").touch()
    assert "mine.png" in refused(capsys, *words, "--overwrite")
    assert (folder / "mine.png").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run.nc", "pictures"}


def test_a_folder_that_holds_other_things_is_never_replaced(file, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    words = [str(file), "-o", str(tmp_path / "thesis"), "--overwrite"]
    assert "chapter.txt" in refused(capsys, *words)


def test_files_that_are_no_run_are_told(tmp_path, capsys):
    folder = str(tmp_path / "pictures")
    assert "absent.nc" in refused(capsys, str(tmp_path / "absent.nc"), "-o", folder)
    text = tmp_path / "text.nc"
    text.write_text("no netCDF")
    assert "text.nc" in refused(capsys, str(text), "-o", folder)
    other = tmp_path / "other.nc"
    xr.Dataset({"x": ("y", [1.0])}).to_netcdf(other, engine="h5netcdf")
    assert "no run of diffsoil" in refused(capsys, str(other), "-o", folder)
    assert not (tmp_path / "pictures").exists()


def test_dollar_in_a_name_is_text_and_powers_of_a_logarithmic_axis_are_typeset():
    figure = Figure(layout="constrained")
    ax = figure.subplots()
    ax.set(title=r"$N_{ \frac & <b>", xscale="log", xlim=(1e-3, 1e3), xlabel="cost, $")
    ax.set_yticks([0, 1], ["N$1", r"$\x^"])
    ax.plot([1, 2], [0, 1], label="a $^$ b")
    figure.legend(loc="outside right upper")
    FigureCanvasAgg(figure).draw()  # mathematics that makes no sense is an error
    assert not ax.xaxis.label.get_parse_math()
    assert all(label.get_parse_math() for label in ax.get_xticklabels())

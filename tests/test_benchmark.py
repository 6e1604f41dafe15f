"""The table of speeds: times by a yardstick, and a history that grows."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from diffsoil import benchmark, cli
from diffsoil.cases import load_case
from diffsoil.cases.arrays import build
from tests import tiny_case


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    """Two small measurements, and one that has no months."""

    def measurements(progress):
        alone = benchmark.rothc_alone(3, 2)
        yield alone
        months = 2 * alone.layer_months
        yield benchmark._measure("twice", lambda x: 2 * x, jnp.ones(2), months=months)
        yield benchmark._measure("timeless", lambda x: x + 1, jnp.ones(2))

    monkeypatch.setattr(benchmark, "measurements", measurements)


def test_months_of_layers_are_those_of_all_sites_and_treatments(tmp_path):
    plan = build(load_case(tiny_case.write(tmp_path)))
    # two sites for three centuries, four treatments for twelve years, eight layers
    assert benchmark.layer_months(plan) == 12 * 8 * (2 * 300 + 4 * 12)


def test_the_price_of_choices_is_that_of_a_soil_which_has_them():
    case = load_case(benchmark.WHOLE_SOIL)
    for of in benchmark.CHOSEN.values():
        column = benchmark._choosing(case, of).column()
        plain = case.column()
        made = {process.name: type(process).__name__ for process in column.processes}
        before = {process.name: type(process).__name__ for process in plain.processes}
        assert sum(made[name] != before.get(name) for name in made) == len(of) - ("set" in of)
        if "set" in of:
            assert float(column.values()["burial.depth"]) == 0.08


def test_the_yardstick_turns_carbon_over_as_rothc_does():
    month = jnp.asarray([[0.5], [1.5]])
    rates, fresh = jnp.asarray([10.0, 0.3, 0.66, 0.02]), jnp.full((4, 1), 0.25)
    end = benchmark._turn_over(jnp.ones((4, 1)), month, fresh, rates, jnp.asarray([3.0]))
    pools = np.ones(4)
    for modifier in (0.5, 1.5):
        lost = pools * -np.expm1(-np.asarray(rates) * modifier / 12)
        made = lost.sum() / 4.0 * np.array([0, 0, 0.46, 0.54])
        pools = pools - lost + made + 0.25
    np.testing.assert_allclose(end[:, 0], pools, rtol=1e-12)


def test_times_are_divided_by_those_of_the_yardstick():
    table = benchmark.run()
    assert table["to_rothc"].iloc[0] == pytest.approx(1.0)
    times = table["run_s"]
    assert table["to_rothc"].iloc[1] == pytest.approx(times[1] / times[0] / 2)
    assert np.isnan(table["to_rothc"].iloc[2])
    assert "to_rothc_before" not in table


def test_a_history_grows_and_the_run_before_stands_beside_the_present_one(tmp_path, capsys):
    path = tmp_path / "speed.csv"
    assert cli.main(["benchmark", "--history", str(path), "--device", "cpu"]) == 0
    first = path.read_text()
    rows = pd.read_csv(path)
    assert tuple(rows) == benchmark.HISTORY
    assert rows["quantity"].tolist() == ["RothC alone, 3 layers, 2 years", "twice", "timeless"]
    path.write_text(first.replace(first.splitlines()[2].rsplit(",", 1)[1], "123.4"))
    before = path.read_text()
    capsys.readouterr()
    assert cli.main(["benchmark", "--history", str(path), "--device", "cpu"]) == 0
    assert path.read_text().startswith(before)
    assert len(path.read_text().splitlines()) == 7
    (shown,) = [line for line in capsys.readouterr().out.splitlines() if "twice" in line]
    assert "123" in shown.split()


@pytest.mark.parametrize(
    "text",
    [
        "date,version,seconds\n2020-01-01,1,3\n",
        "date,version,machine,quantity,seconds,to_rothc,mine\n",
        "date,version,machine,quantity,seconds,to_rothc\n2020-01-01,1,a,b,3,fast\n",
        "my diary\n",
    ],
)
def test_a_file_that_is_no_history_is_refused_before_anything_is_measured(
    text, tmp_path, capsys, monkeypatch
):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    monkeypatch.setattr(benchmark, "measurements", None)
    assert cli.main(["benchmark", "--history", str(path), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "mine.csv: is not a file that this command writes" in said
    assert path.read_text() == text

"""Formats of a case: older ones mean what they meant, and are written in the present one."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import tiny_case

import diffsoil.io
from diffsoil import cli
from diffsoil.cases import load_case, read_case
from diffsoil.cases.arrays import build
from diffsoil.cases.formats import FORMAT, migrated
from diffsoil.io import InputError, data_path


def test_a_history_of_format_1_ends_with_the_year_before_until(tmp_path):
    case = load_case(tiny_case.write(tmp_path))
    assert "format = 1" in case.text
    assert case.file.spans() == [(1600, 1799), (1800, 1899)]
    assert (build(case).experiment_year, case.end_year) == (1900, 1911)


def test_migration_keeps_the_meaning_and_the_comments(tmp_path):
    path = tiny_case.write(tmp_path, case=[("until = 1800\n", "until = 1800 # old field\n")])
    old = load_case(path)
    new = read_case(path, migrated(old.text, path))
    assert new.file == old.file
    assert "format = 2" in new.text
    assert "until = 1799 # old field" in new.text
    assert "until = 1911" in new.text  # of the experiment, which it has always belonged to
    assert migrated(new.text, path) == new.text


def test_migrate_writes_a_new_file_and_leaves_the_old_one(tmp_path, capsys):
    path = tiny_case.write(tmp_path)
    text = path.read_text()
    assert cli.main(["migrate", str(path)]) == 0
    printed = capsys.readouterr().out
    assert cli.main(["migrate", str(path), "-o", str(tmp_path / "new.toml")]) == 0
    assert (tmp_path / "new.toml").read_text() == printed == migrated(text, path)
    assert cli.main(["migrate", str(path), "-o", str(path)]) == 2
    assert path.read_text() == text


def test_a_former_name_of_a_parameter_is_read_and_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(diffsoil.io, "_HINTED", set())
    own = '[set]\n"water.met_first" = 0.4\n\n[grid]'
    case = load_case(tiny_case.write(tmp_path, case=[("[grid]", own)]))
    assert case.file.set == {"water.direct_evaporation_share": 0.4}
    assert "water.met_first is now called water.direct" in capsys.readouterr().err


@pytest.mark.parametrize("odd", ["true", "[1]", '"1"', "7"])
def test_a_format_that_is_none_is_refused(odd, tmp_path):
    path = tiny_case.write(tmp_path, case=[("format = 1", f"format = {odd}")])
    with pytest.raises(InputError, match=r"case\.toml: format"):
        load_case(path)


def test_a_year_of_an_older_format_is_named_as_it_is_written(tmp_path):
    path = tiny_case.write(tmp_path, case=[("until = 1900", "until = 1700")])
    with pytest.raises(InputError, match=r"history\.1\.until: 1699 .* \(written as 1700"):
        load_case(path)


def test_shipped_cases_are_of_the_present_format():
    for path in data_path("cases").glob("*.toml"):
        assert f"format = {FORMAT}\n" in path.read_text(encoding="utf-8"), path


def test_loess_keeps_every_year_and_every_number_that_it_had_from_year_0():
    new = load_case("loess_dry_agriculture")
    text = new.text.replace("format = 2", "format = 1").replace("start_year = 1", "start_year = 0")
    before = read_case(new.path, text)
    assert new.file.spans() == [(1, 8000), (8001, 9900), (9901, 10000), (10001, 12000)]
    for old, now in zip(jax.tree.leaves(build(before)), jax.tree.leaves(build(new)), strict=True):
        np.testing.assert_array_equal(old, now)

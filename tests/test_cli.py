"""The command line: what it offers, and what it says when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from diffsoil import cli

COMMANDS = ["rothc", "parameters", "cases", "simulate", "calibrate", "predict", "plot", "benchmark"]


def fails_in_one_line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("diffsoil: error: ")
    assert err.count("\n") == 1
    return err


def test_help_lists_the_commands(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_its_options(command, capsys):
    assert cli.main([command, "--help"]) == 0
    assert f"Usage: diffsoil {command}" in capsys.readouterr().out


def test_no_command_shows_the_help(capsys):
    assert cli.main([]) == 0
    assert "Usage: diffsoil" in capsys.readouterr().out


def test_python_m_diffsoil_shows_the_version():
    done = subprocess.run(
        [sys.executable, "-m", "diffsoil", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.1.0"


def test_help_loads_no_packages_of_the_commands():
    heavy = {"pandas", "xarray", "matplotlib", "numpyro", "arviz", "calibration", "sensitivity"}
    program = (
        "import sys; from diffsoil.cli import main; main(['--help']);"
        f"sys.exit(' '.join({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_unknown_command(capsys):
    assert "ploughing" in fails_in_one_line(capsys, "ploughing")


def test_unknown_option(capsys):
    assert "--plough" in fails_in_one_line(capsys, "parameters", "--plough")


def test_missing_option(capsys):
    assert "parameter -o" in fails_in_one_line(capsys, "simulate", "rothamsted")


def test_missing_input_file(capsys, tmp_path):
    words = ["rothc", "absent.csv", "--site", __file__, "-o", str(tmp_path / "monthly.csv")]
    assert "absent.csv" in fails_in_one_line(capsys, *words)


def test_unknown_case_names_the_known_ones(capsys, tmp_path):
    message = fails_in_one_line(capsys, "simulate", "atlantis", "-o", str(tmp_path / "run.nc"))
    assert "atlantis" in message
    assert "rothamsted" in message


@pytest.mark.parametrize("setting", ["carbon.k_hum", "carbon.k_hum=fast", "k_hum=0.02", "=1"])
def test_setting_that_cannot_be_read(setting, capsys, tmp_path):
    words = ["simulate", __file__, "--set", setting, "-o", str(tmp_path / "run.nc")]
    assert setting in fails_in_one_line(capsys, *words)


def test_gpu_that_is_not_there(capsys, tmp_path):
    words = ["simulate", __file__, "--device", "gpu", "-o", str(tmp_path / "run.nc")]
    assert "--device gpu" in fails_in_one_line(capsys, *words)


def test_too_few_chains(capsys, tmp_path):
    words = ["calibrate", __file__, "--chains", "0", "-o", str(tmp_path / "fit")]
    assert "--chains" in fails_in_one_line(capsys, *words)


def test_cases_lists_names_and_titles(capsys):
    assert cli.main(["cases"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("rothamsted ") for line in lines)


def test_parameter_table_is_printed(capsys):
    assert cli.main(["parameters"]) == 0
    assert "carbon.k_hum" in capsys.readouterr().out


def test_parameter_table_is_written_and_not_overwritten_unasked(capsys, tmp_path):
    path = tmp_path / "table.csv"
    assert cli.main(["parameters", "-o", str(path)]) == 0
    table = pd.read_csv(path)
    assert "carbon.k_hum" in set(table["name"])
    assert {"default", "unit", "lower", "upper", "prior", "transform", "source"} <= set(table)
    assert "table.csv" in fails_in_one_line(capsys, "parameters", "-o", str(path))
    assert cli.main(["parameters", "-o", str(path), "--overwrite"]) == 0


def make_cases_raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def raise_it() -> None:
        raise error

    monkeypatch.setattr(cli, "_shipped_cases", raise_it)


def test_interruption_says_how_to_go_on(monkeypatch, capsys):
    make_cases_raise(monkeypatch, KeyboardInterrupt("go on with --resume"))
    assert cli.main(["cases"]) == 130
    assert capsys.readouterr().err == "diffsoil: interrupted; go on with --resume\n"


def test_file_that_cannot_be_written(monkeypatch, capsys):
    make_cases_raise(monkeypatch, PermissionError(13, "Permission denied", "run.nc"))
    assert "run.nc: Permission denied" in fails_in_one_line(capsys, "cases")


def test_bug_shows_its_traceback(monkeypatch, capsys):
    make_cases_raise(monkeypatch, ZeroDivisionError("a bug"))
    assert cli.main(["cases"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_reader_that_leaves_early_sees_no_traceback():
    done = subprocess.run(
        f"{sys.executable} -m diffsoil --help | true", shell=True, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_case_may_be_a_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.touch()
    assert cli._case_file(str(path)) == Path(path)

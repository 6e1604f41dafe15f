"""The command line: what it offers, and what it says when something is wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
from cyclopts.completion.detect import ShellDetectionError

from diffsoil import cli, io
from diffsoil.cli import machine, model, options
from diffsoil.cli.options import Case, app

COMMANDS = [
    "rothc",
    "parameters",
    "cases",
    "simulate",
    "simulate-sites",
    "calibrate",
    "predict",
    "plot",
    "benchmark",
]


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
    assert done.stdout.strip() == metadata.version("diffsoil")


def test_help_loads_no_packages_of_the_commands():
    heavy = {"jax", "pandas", "xarray", "matplotlib", "numpyro", "arviz", "sensitivity.problem"}
    heavy |= {"calibration.problem", "calibration.methods.method"}  # the names of methods are there
    program = (
        "import sys; from diffsoil.cli import main; main(['--help']);"
        f"sys.exit(' '.join({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_a_former_name_of_an_option_is_taken_and_told(capsys, monkeypatch):
    monkeypatch.setattr(io, "_HINTED", set())
    assert cli.main(["prune", "rothamsted", "-o", "x.toml", "--worth", "-1"]) == 2
    told, error = capsys.readouterr().err.splitlines()
    assert told == "diffsoil: --worth is now called --ablation"
    assert "-1: must be a whole number" in error


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


OPTIONS = {
    "calibrate": [
        "--seed -1",
        "--seed 1e3",
        f"--seed {2**64}",
        "--draws -3",
        "--draws 1_0",
        "--chains 0",
        "--chains 1.6",
        "--chains 100000",
        "--warmup -1",
        "--sbc 0",
        "--slow-step 0",
        "--set carbon.k_hum=nan",
        "--set carbon.k_hum=inf",
        "--set carbon.k_hum=0.02 --set carbon.k_hum=0.03",
    ],
    "sensitivity": ["--years 0", "--years -3", "--samples 1", "--workers 0", "--workers 9999"],
    "prune": [
        "--tolerance 0",
        "--tolerance 1",
        "--tolerance nan",
        "--quantile 2",
        "--unseen -1",
        "--ablation -1",
    ],
}


@pytest.mark.parametrize(("command", "option"), [(c, o) for c in OPTIONS for o in OPTIONS[c]])
def test_number_out_of_its_range_is_refused_before_anything_is_read(command, option, capsys):
    words = [command, __file__, "-o", "out.toml", *option.split()]
    words += ["--target", "soc_stock_0_100"] * (command == "prune")
    assert option.split(" --")[-1].removeprefix("--") in fails_in_one_line(capsys, *words)


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

    monkeypatch.setattr(model, "shipped_cases", raise_it)


def test_interruption_says_how_to_go_on(monkeypatch, capsys):
    make_cases_raise(monkeypatch, KeyboardInterrupt("go on with --resume"))
    assert cli.main(["cases"]) == 130
    assert capsys.readouterr().err == "diffsoil: interrupted; go on with --resume\n"


def test_file_that_cannot_be_written(monkeypatch, capsys):
    make_cases_raise(monkeypatch, PermissionError(13, "Permission denied", "run.nc"))
    assert "run.nc: Permission denied" in fails_in_one_line(capsys, "cases")


USERS_ERRORS = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded", "run.nc"),
    OSError(errno.ENAMETOOLONG, "File name too long", "a" * 3000),
    IsADirectoryError(errno.EISDIR, "Is a directory", "fit"),
    MemoryError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    EOFError("Compressed file ended"),
    zipfile.BadZipFile("File is not a zip file"),
    cli.UsageError("x" * 10000 + "\n" + "y" * 10000),
]


@pytest.mark.parametrize("error", USERS_ERRORS, ids=lambda error: type(error).__name__)
def test_what_a_file_or_disk_can_cause_is_one_short_line(error, monkeypatch, capsys):
    make_cases_raise(monkeypatch, error)
    assert len(fails_in_one_line(capsys, "cases")) < 500


def test_bug_says_what_to_report(monkeypatch, capsys):
    make_cases_raise(monkeypatch, ZeroDivisionError("a bug"))
    assert cli.main(["cases"]) == 1
    *trace, last = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: a bug" in trace
    assert "please report" in last
    assert f"diffsoil cases (diffsoil {metadata.version('diffsoil')}, jax" in last


def test_terminated_as_interrupted_with_its_own_exit_code(monkeypatch, capsys):
    def be_terminated() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(model, "shipped_cases", be_terminated)
    assert cli.main(["cases"]) == 143
    assert capsys.readouterr().err == "diffsoil: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def shell(command: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; " + command.format(f"{sys.executable} -m diffsoil")],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_reader_that_leaves_early_sees_no_traceback():
    assert shell("{} --help | true")[1] == ""
    assert shell("{} cases | true") == (141, "")


def test_output_that_is_closed_or_full(tmp_path):
    table = tmp_path / "table.csv"
    # the table must not get what is printed, though it would take the number of the output
    assert shell(f"{{}} parameters -o {table} <&- >&- 2>&-") == (0, "")
    assert table.read_text(encoding="utf-8").startswith("name,")
    if Path("/dev/full").exists():
        assert shell("{} cases > /dev/full") == (
            2,
            "diffsoil: error: No space left on device\n",
        )


def test_terminal_that_knows_only_ascii():
    command = "{} simulate “Gröbzig” -o no.nc"
    code, said = shell(command, PYTHONIOENCODING="ascii", LC_ALL="C.UTF-8")
    assert code == 2
    assert "Gr\\xf6bzig" in said


def test_case_may_be_a_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.touch()
    assert options.case_file(str(path)) == Path(path)


def test_an_interrupt_that_a_callback_swallows_comes_again():
    script = (
        "import gc, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from diffsoil import cli\n"
        "def swallow(phase, info):\n"
        "    gc.callbacks.remove(swallow)\n"
        "    raise KeyboardInterrupt\n"
        "def command(*words, **how):\n"
        "    gc.callbacks.append(swallow)\n"
        "    gc.collect()\n"
        "    time.sleep(20)\n"
        "cli.program.app = command\n"
        "sys.exit(cli.main(['cases']))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 130
    assert run.stderr.strip() == "diffsoil: interrupted"


def test_an_interrupt_while_the_command_line_is_loaded_ends_in_one_line():
    script = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cyclopts':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from diffsoil.__main__ import main\n"
        "sys.exit(main())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (130, "diffsoil: interrupted\n")


def test_the_command_line_loads_nothing_heavy():
    script = (
        "import sys\n"
        "from diffsoil import cli\n"
        "print(sorted({'jax', 'numpy', 'pandas', 'xarray', 'matplotlib'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_doctor_tells_what_a_report_of_a_fault_needs(capsys):
    assert cli.main(["doctor"]) == 0
    said = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert said["diffsoil"].startswith(metadata.version("diffsoil"))
    assert said["jax"] == metadata.version("jax")
    assert said["devices"].startswith("cpu")
    assert said["float64"] == "yes"


def test_the_shell_completes_commands_and_options_from_the_file_that_is_installed(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["--install-completion", "--shell", "bash"]) == 0
    path = Path(capsys.readouterr().out.partition(":")[0])
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    for words, expected in (("cali", "calibrate"), ("calibrate x --me", "--method")):
        last = len(words.split())
        press_tab = f"COMP_WORDS=(diffsoil {words}); COMP_CWORD={last}; _diffsoil"
        script = f'source {path}; {press_tab}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert expected in done.stdout.split(), done.stderr


def test_a_shell_that_is_not_known_has_to_be_named(monkeypatch, capsys):
    def unknown():
        raise ShellDetectionError

    monkeypatch.setattr(machine, "detect_shell", unknown)
    assert "--shell" in fails_in_one_line(capsys, "--install-completion")


def test_a_command_is_one_function_of_one_file(capsys):
    @app.command
    def greet(case: Case, /) -> None:
        """Greet a case."""
        print(f"hello, {options.case_file(case).stem}")

    try:
        assert cli.main(["greet", "rothamsted"]) == 0
        assert capsys.readouterr().out == "hello, rothamsted\n"
        assert cli.main(["greet", "nowhere"]) == 2  # faults are those of every command
        assert "no such file" in capsys.readouterr().err
    finally:
        del app["greet"]

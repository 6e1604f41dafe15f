"""Commands around one case: read it, run it, draw it."""

from __future__ import annotations

import dataclasses
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from diffsoil.cli.options import (
    Case,
    Device,
    ExistingFlags,
    Overwrite,
    Plausible,
    Settings,
    UsageError,
    WorkerFlags,
    app,
    case_file,
    flags,
    parameter_values,
    use_device,
)
from diffsoil.options import ManySites, RothCStart
from diffsoil.starter.answers import Answers, OwnTables

if TYPE_CHECKING:
    import pandas as pd

AnswerFlags, TableFlags = flags(Answers), flags(OwnTables)
StartFlags, KeptFlags = flags(RothCStart), flags(ManySites)

# Commands.


@app.command
def new(
    name: Annotated[Path, Parameter(help="Folder to make; its name is that of the case.")],
    /,
    *,
    source: Annotated[
        str | None,
        Parameter(
            name="--from",
            show_default=False,
            help="A CSV of horizons; RothC_input.dat, or a CSV for diffsoil rothc with --site; "
            "sites, for a table of many; or the name of a shipped case. Default: an example.",
        ),
    ] = None,
    site: Annotated[
        Path | None,
        Parameter(show_default=False, help="Site description of a CSV of RothC, JSON."),
    ] = None,
    answers: AnswerFlags = AnswerFlags(),
    tables: TableFlags = TableFlags(),
) -> None:
    """Make a folder with a commented case and tables that run as they are.

    On a terminal it asks for what is not given.
    """
    from diffsoil.starter.new import new_case

    given = source is not None or tables != TableFlags() or answers != AnswerFlags()
    if not given and sys.stdin.isatty():
        answers = _asked()
    files = new_case(name, source, site, answers, tables)
    print(f"{name}: {', '.join(files)}")
    run = f"diffsoil simulate {name / 'case.toml'} -o {name / 'run.nc'}"
    plots = f"diffsoil plot {name / 'run.nc'} -o {name / 'pictures'}"
    commands = [f"diffsoil check {name / 'case.toml'}", run, plots]
    if "sites.csv" in files:
        of = f"{name / 'sites.csv'} --case {name / 'case.toml'}"
        commands[1:] = [f"diffsoil simulate-sites {of} -o {name / 'runs'}"]
    print(f"\nNext, after a look into {name / 'case.toml'}:\n")
    print("\n".join(f"  {command}" for command in commands))


def _asked() -> Answers:
    """Answers of the user on a terminal; an empty one is the default."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Answers):
        text = field.metadata["text"].partition(" Default")[0]
        default = f" [{field.default}]" if field.default else ""
        answer = input(f"{text}{default} ").strip()
        if answer:
            try:
                found[field.name] = int(answer) if isinstance(field.default, int) else answer
            except ValueError:
                raise UsageError(f"{answer}: is no whole number") from None
    return Answers(**found)


@app.command
def rothc(
    inputs: Annotated[
        Path,
        Parameter(
            help="Monthly weather and carbon inputs, CSV; or RothC_input.dat of the official "
            "program, version 1 or 2, which holds its site."
        ),
    ],
    /,
    *,
    site: Annotated[
        Path | None, Parameter(show_default=False, help="Site description of a CSV, JSON.")
    ] = None,
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Monthly results, CSV.")],
    start: StartFlags = StartFlags(),
    plausible: Plausible = (),
    overwrite: Overwrite = False,
    device: Device = "cpu",
) -> None:
    """Run the official single-layer RothC on its own file formats."""
    use_device(device)
    from diffsoil.rothc import run_files

    run_files(inputs, site, output, overwrite=overwrite, confirmed=plausible, start=start)


@app.command
def parameters(
    *,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="Write the table here as CSV.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show the table of all parameters: default, unit, bounds, prior and source."""
    from diffsoil.cases import parameter_table
    from diffsoil.work.output_file import OutputFile, table_with

    table = parameter_table()
    if output is None:
        _print_table(table)
        return
    target = OutputFile(output, overwrite, like=table_with(*table.columns[:2]))
    with target, target.writing() as unfinished:
        table.to_csv(unfinished, index=False)


@app.command(name="cases")
def list_cases() -> None:
    """List the cases that come with the package, by name and title."""
    shipped = shipped_cases()
    width = max(map(len, shipped), default=0)
    for name, path in shipped.items():
        title = tomllib.loads(path.read_text(encoding="utf-8")).get("title", "")
        print(f"{name:{width}}  {title}".rstrip())


@app.command
def schema(
    kind: Annotated[
        Literal["case", "scenario"], Parameter(help="Of which file: a case, or a scenario.")
    ] = "case",
    /,
    *,
    output: Annotated[
        Path | None,
        Parameter(name=["-o", "--output"], help="Write it here instead of printing it."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the JSON schema of a case or a scenario: every key with unit, range and default.

    An editor with a TOML language server completes and checks a file whose first line is
    `#:schema ./case.schema.json`, after `diffsoil schema -o case.schema.json`.
    """
    from diffsoil.cases.json_schema import is_schema, json_schema

    if kind == "case":
        from diffsoil.cases.schema import CaseFile as Model
    else:
        from calibration.twin.scenario import ScenarioFile as Model  # type: ignore[assignment]
    text = json.dumps(json_schema(Model), indent=2, ensure_ascii=False) + "\n"
    _print_or_write(text, output, overwrite, is_schema)


@app.command
def migrate(
    case: Case,
    /,
    *,
    output: Annotated[
        Path | None,
        Parameter(name=["-o", "--output"], help="Write the case here instead of printing it."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print a case of an older format in the present one; comments stay.

    The file itself stays as it is; to replace it, name it as the output, with --overwrite. Files
    that the case names have to be beside the new one, or among the shipped data.
    """
    from diffsoil.cases import find_case, read_case
    from diffsoil.cases.formats import migrated
    from diffsoil.io import read_text
    from diffsoil.work.output_file import is_case

    path = find_case(case)
    text = read_text(path)
    file, new = read_case(path, text).file, migrated(text, path)
    if read_case(output or path, new).file != file:  # with the files that it names
        raise RuntimeError(f"{path}: would not mean the same in the present format")
    _print_or_write(new, output, overwrite, is_case)


@app.command
def simulate(
    case: Case,
    /,
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Results, netCDF.")],
    settings: Settings = (),
    treatment: Annotated[
        tuple[str, ...],
        Parameter(show_default=False, help="Only this treatment; may be repeated. Default: all."),
    ] = (),
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Run a case through its whole history."""
    path, values = case_file(case), parameter_values(settings)
    use_device(device)
    from diffsoil.output.simulation import simulate_file

    simulate_file(
        path, settings=values, output=output, overwrite=overwrite, treatments=list(treatment)
    )


@app.command
def simulate_sites(
    table: Annotated[
        Path, Parameter(help="A row for each site: name, place, horizons, climate, land use; CSV.")
    ],
    /,
    *,
    case: Annotated[
        str, Parameter(name="--case", help="The case that says all that a row does not.")
    ],
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Folder of the results.")],
    profiles: Annotated[
        Path | None,
        Parameter(
            show_default=False,
            help="Horizons of all sites, CSV, whose column soil has their names. Default: columns "
            "by depth of the table.",
        ),
    ] = None,
    kept: KeptFlags = KeptFlags(),
    existing: ExistingFlags = ExistingFlags(),
    workers: WorkerFlags = WorkerFlags(),
) -> None:
    """Run a case at every site of a table; rows that are wrong are listed, the others run."""
    path = case_file(case)
    use_device("cpu")  # GPUs are for the workers
    from diffsoil.output.many_sites import simulate_sites as simulate_all

    simulate_all(table, path, output, profiles, kept, existing, workers)


@app.command
def plot(
    run: Annotated[Path, Parameter(help="Results of `diffsoil simulate`, netCDF.")],
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of the pictures, PNG.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Draw the pictures of a run: the soil through time, protection, stocks and profiles."""
    from diffsoil.output.plots import plot_file

    plot_file(run, output, overwrite=overwrite)


def shipped_cases() -> dict[str, Path]:
    """Files of the cases that come with the package, by name."""
    from diffsoil.io import data_path

    return {path.stem: path for path in sorted(data_path("cases").glob("*.toml"))}


def _print_or_write(
    text: str, output: Path | None, overwrite: bool, like: Callable[[Path], bool]
) -> None:
    """Print a text, or write it to a file that is new or ``like`` what is written."""
    if output is None:
        print(text, end="")
        return
    from diffsoil.work.output_file import OutputFile

    target = OutputFile(output, overwrite, like=like)
    with target, target.writing() as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _print_table(table: pd.DataFrame) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    numeric = {"default", "lower", "upper"}
    shown = Table(box=box.SIMPLE_HEAD)
    # The transform follows from the bounds; it is in the CSV.
    names = [name for name in table.columns if name != "transform"]
    for name in names:
        shown.add_column(
            name,
            justify="right" if name in numeric else "left",
            overflow="fold",
            no_wrap=name in numeric | {"name", "unit"},
        )
    for row in table[names].to_dict("records"):
        shown.add_row(*(f"{v:g}" if k in numeric else str(v) for k, v in row.items()))
    # A pipe has no width of its own; 80 columns would break every row.
    Console(width=None if sys.stdout.isatty() else 180, markup=False).print(shown)

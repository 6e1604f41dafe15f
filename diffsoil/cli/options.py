"""The program, and the options that several commands share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import App, Parameter, Token

from diffsoil import _runtime, options
from diffsoil.io import hint
from diffsoil.work.progress import say

app = App(
    name="diffsoil",
    help="A differentiable soil column: simulate it, calibrate it, predict with it.",
    version=lambda: metadata.version("diffsoil"),
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # main() passes on what it says
)


class UsageError(Exception):
    """What the user asked for cannot be done; the message is one line and says why."""


# Numbers, which are checked before anything is loaded or computed.


def _number(
    within: options.Within, name: str = "", old: str = ""
) -> Callable[[Any, Sequence[Token]], float]:
    """Reader of a number; a former name of its option is told."""

    def read(of: Any, tokens: Sequence[Token]) -> float:
        (token,) = tokens
        if old and token.keyword == f"--{old}":
            hint(f"--{old} is now called {name}")
        kind = int if within.whole else float
        try:
            value = math.nan if "_" in token.value else kind(token.value)
        except ValueError:
            value = math.nan
        if fault := within.fault(value):
            raise UsageError(f"{token.keyword} {token.value}: {fault}")
        return value

    return read


Positive = Annotated[int, Parameter(converter=_number(options.POSITIVE))]


def flags(of: type[options.Options]) -> Any:
    """The fields of a dataclass of options as options of a command."""
    types = get_type_hints(of)
    fields = []
    for field in dataclasses.fields(of):  # type: ignore[arg-type]
        about = field.metadata
        parameter = Parameter(
            name=[options.flag(field), *([f"--{about['old']}"] if about["old"] else [])],
            help=about["text"],
            show_default=bool(field.default) and not isinstance(field.default, bool),
            converter=_number(about["within"], options.flag(field), about["old"])
            if about["within"]
            else None,
        )
        kept = dataclasses.field(default=field.default, metadata=about)
        fields.append((field.name, Annotated[types[field.name], parameter], kept))
    made = dataclasses.make_dataclass(of.__name__, fields, bases=(of,), frozen=True)
    return Annotated[made, Parameter(name="*")]


ExistingFlags, WorkerFlags = flags(options.Existing), flags(options.Workers)


# Options that several commands share.

Case = Annotated[str, Parameter(help="A case file, or a name that `diffsoil cases` lists.")]
Overwrite = Annotated[
    bool, Parameter(show_default=False, help="Replace the output if it is there.")
]
Device = Annotated[
    _runtime.Device, Parameter(help="Where to compute; auto takes a GPU where there is one.")
]
Settings = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        show_default=False,
        help="process.parameter=VALUE: fix a parameter at a value; may be repeated.",
    ),
]
Plausible = Annotated[
    tuple[str, ...],
    Parameter(
        show_default=False,
        help="A column or key whose unlikely values are meant; may be repeated.",
    ),
]
Seed = Annotated[
    int,
    Parameter(
        converter=_number(options.SEED),
        help="Seed of the random numbers; the same seed repeats a run.",
    ),
]
# What the commands share.


def use_device(device: _runtime.Device, cpu_devices: int = 1) -> None:
    """Choose the device; one that is not there is a mistake in the command."""
    try:
        _runtime.use_device(device, cpu_devices)
    except RuntimeError as error:
        raise UsageError(str(error)) from error
    _runtime.tell_of_compiling(say)


def case_file(case: str) -> Path:
    """Path of a case given by its path or, when there is no such file, by its name."""
    from diffsoil.cases import find_case

    return find_case(case)


def parameter_values(settings: Sequence[str]) -> dict[str, float]:
    """Parameter values out of ``process.parameter=VALUE``."""
    from diffsoil.parameters import current_name
    from diffsoil.tables import number

    values = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        name = current_name(name)
        try:
            value = number(text) if "." in name else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"--set {setting}: must be process.parameter=NUMBER")
        if name in values:
            raise UsageError(f"--set {setting}: {name} is set twice")
        values[name] = value
    return values

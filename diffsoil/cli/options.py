"""The program, and the options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, Token

from diffsoil import _runtime

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

MOST_CHAINS = 256
"""JAX gets a device for each on a CPU."""


def _number(
    kind: type[int] | type[float], lower: float, upper: float, above: bool = False
) -> Callable[[Any, Sequence[Token]], float]:
    """Reader of a number between two others; ``above`` leaves the lower one out."""

    def read(of: Any, tokens: Sequence[Token]) -> float:
        (token,) = tokens
        try:
            value = math.nan if "_" in token.value else kind(token.value)
        except ValueError:
            value = math.nan
        if (lower < value if above else lower <= value) and value <= upper:
            return value
        what = "a whole number" if kind is int else "a number"
        bounds = f"above {lower:g} and at most" if above else f"from {lower:g} to"
        raise UsageError(f"{token.keyword} {token.value}: must be {what} {bounds} {upper:.12g}")

    return read


Whole = Annotated[int, Parameter(converter=_number(int, 0, 10**7))]
Positive = Annotated[int, Parameter(converter=_number(int, 1, 10**7))]
Several = Annotated[int, Parameter(converter=_number(int, 2, 10**7))]
Chains = Annotated[int, Parameter(converter=_number(int, 1, MOST_CHAINS))]
Processes = Annotated[int, Parameter(converter=_number(int, 1, 1024))]
Years = Annotated[int, Parameter(converter=_number(int, 1, 10**5))]
Share = Annotated[float, Parameter(converter=_number(float, 0.0, 1.0, above=True))]


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
        converter=_number(int, 0, 2**32 - 1),
        help="Seed of the random numbers; the same seed repeats a run.",
    ),
]
Workers = Annotated[
    Processes | None,
    Parameter(
        show_default=False, help="Processes that compute side by side. Default: one for each core."
    ),
]
Scheduler = Annotated[
    str | None,
    Parameter(
        show_default=False,
        help="Address of a dask scheduler, tcp://HOST:PORT, whose workers compute.",
    ),
]
Resume = Annotated[bool, Parameter(show_default=False, help="Go on where a stopped one ended.")]


# What the commands share.


def use_device(device: _runtime.Device, cpu_devices: int = 1) -> None:
    """Choose the device; one that is not there is a mistake in the command."""
    try:
        _runtime.use_device(device, cpu_devices)
    except RuntimeError as error:
        raise UsageError(str(error)) from error


def case_file(case: str) -> Path:
    """Path of a case given by its path or, when there is no such file, by its name."""
    from diffsoil.cases import find_case

    return find_case(case)


def parameter_values(settings: Sequence[str]) -> dict[str, float]:
    """Parameter values out of ``process.parameter=VALUE``."""
    from diffsoil.tables import number

    values = {}
    for setting in settings:
        name, _, text = setting.partition("=")
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

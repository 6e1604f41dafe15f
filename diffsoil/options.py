"""Options that a command and a Python function share: declared once, checked once."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

from diffsoil._runtime import Device
from diffsoil.io import InputError

MOST = 10**7
"""Of anything that is counted."""


class Within(NamedTuple):
    """Bounds of a number; ``above`` leaves the lower one out."""

    lower: float
    upper: float
    whole: bool = True
    above: bool = False

    def fault(self, value: Any) -> str:
        """What is wrong with a value, or nothing."""
        number = value if isinstance(value, int | float) else math.nan
        inside = self.lower < number if self.above else self.lower <= number
        if inside and number <= self.upper and not (self.whole and number != int(number)):
            return ""
        what = "a whole number" if self.whole else "a number"
        bounds = f"above {self.lower:g} and at most" if self.above else f"from {self.lower:g} to"
        return f"must be {what} {bounds} {self.upper:.12g}"


WHOLE, POSITIVE, SEVERAL = Within(0, MOST), Within(1, MOST), Within(2, MOST)
SHARE = Within(0.0, 1.0, whole=False, above=True)
SEED = Within(0, 2**32 - 1)
PROCESSES = Within(1, 1024)


def option(default: Any, text: str, within: Within | None = None, old: str = "") -> Any:
    """A field of a dataclass of options.

    Args:
        default: its value where none is given.
        text: what it says, in the help of the command.
        within: bounds of a number.
        old: a former name, which the command line still takes.
    """
    metadata = {"text": text, "within": within, "old": old}
    return dataclasses.field(default=default, metadata=metadata)


def flag(field: dataclasses.Field[Any]) -> str:
    """How an option is written on the command line."""
    return "--" + field.name.replace("_", "-")


class Options:
    """Base of dataclasses of options: numbers outside of their bounds are refused.

    Raises:
        InputError: the first such number, named as on the command line.
    """

    def __post_init__(self) -> None:
        """Check the numbers."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, within = getattr(self, field.name), field.metadata["within"]
            if within is not None and value is not None and (fault := within.fault(value)):
                raise InputError(f"{flag(field)} {value}: {fault}")


@dataclasses.dataclass(frozen=True)
class Existing(Options):
    """What to do with an output that is there already; refused if neither is asked for."""

    overwrite: bool = option(False, "Replace the output if it is there.")
    resume: bool = option(False, "Go on where a stopped one ended.")


@dataclasses.dataclass(frozen=True)
class Workers(Options):
    """Who computes, see :func:`diffsoil.work.pool.cluster`."""

    workers: int | None = option(
        None, "Processes that compute side by side. Default: one for each core.", PROCESSES
    )
    scheduler: str | None = option(
        None, "Address of a dask scheduler, tcp://HOST:PORT, whose workers compute."
    )
    device: Device = option("auto", "Where to compute; auto takes a GPU where there is one.")


@dataclasses.dataclass(frozen=True)
class ManySites(Options):
    """How the sites of a table are put together, and what is kept of them."""

    batch: int = option(
        64, "Sites that are computed side by side; on a GPU more are faster.", POSITIVE
    )
    every: int = option(
        100, "Years between the stocks that are kept, back from the end of each phase.", POSITIVE
    )


@dataclasses.dataclass(frozen=True)
class RothCStart(Options):
    """What a RothC run starts from; the steady state of its first twelve months if not given.

    Raises:
        InputError: pools that are not five numbers from 0 on, or both a stock and pools.
    """

    start_stock: float | None = option(
        None,
        "Measured organic carbon at the start, t C/ha. Inert carbon is 0.049 SOC^1.139 (Falloon "
        "et al. 1998); the rest is in balance with the first twelve months, whose plant carbon is "
        "sought.",
        Within(0.0, 5000.0, whole=False, above=True),
    )
    start_pools: str | None = option(
        None, "Pools at the start, t C/ha: DPM,RPM,BIO,HUM,IOM as five numbers with commas."
    )

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if self.start_stock is not None and self.start_pools is not None:
            raise InputError("--start-stock and --start-pools: give one of them")
        if self.start_pools is not None:
            assert self.pools is not None

    @property
    def pools(self) -> tuple[float, ...] | None:
        """The pools as numbers."""
        if self.start_pools is None:
            return None
        try:
            pools = tuple(map(float, self.start_pools.split(",")))
        except ValueError:
            pools = ()
        within = Within(0.0, 5000.0, whole=False)
        if len(pools) != 5 or any(within.fault(pool) for pool in pools) or sum(pools) == 0:
            raise InputError(
                f"--start-pools {self.start_pools}: must be DPM,RPM,BIO,HUM,IOM: five numbers "
                "from 0 to 5000 t C/ha with commas between them, not all 0"
            )
        return pools

"""Outputs: numbers that a run is asked for, from a text such as ``soc_stock_0_100@8000``."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffsoil.cases import Case
from diffsoil.cases.kinds import at_site
from diffsoil.forward import GEOMETRY, Course, Reading
from diffsoil.io import InputError, nearest
from diffsoil.numerics import safe
from diffsoil.quantities import STOCKS, layer_results, results
from diffsoil.units import CM_PER_M

COMPARTMENTS = {"topsoil": "soc_stock_0_25", "subsoil": "soc_stock_25_75"}
"""Other names of stocks in recovery times."""

RECOVERED = 0.95
"""Share of the earlier level that counts as recovered when none is given."""

EXAMPLES = "soc_stock_0_100@8000, ph[0-25]@12000, calcite_depth, recovery_years[topsoil]"


class Quantity(abc.ABC):
    """What an output is of, whenever it is read."""

    yearly: tuple[str, ...] = ()
    """Quantities of :data:`diffsoil.quantities.YEARLY` that have to be recorded."""
    steps: tuple[str, ...] = ()
    """Variables that have to be recorded."""
    unit: str

    @abc.abstractmethod
    def read(self, course: Course, year: int) -> Float[Array, ""]:
        """The number at the end of a calendar year."""


@dataclasses.dataclass(frozen=True)
class Stock(Quantity):
    """A stock of carbon, Mg/ha."""

    name: str

    @property
    def yearly(self) -> tuple[str, ...]:  # type: ignore[override]
        """See :class:`Quantity`."""
        return (self.name,)

    @property
    def unit(self) -> str:  # type: ignore[override]
        """See :class:`Quantity`."""
        return results()[self.name].unit

    def read(self, course: Course, year: int) -> Float[Array, ""]:
        """See :class:`Quantity`."""
        return course.at(self.name, year, yearly=True)


@dataclasses.dataclass(frozen=True)
class Carbon(Quantity):
    """Carbon, or one pool of it, between two depths (m), Mg/ha."""

    name: str
    upper: float
    lower: float
    pool: int | None = None
    steps = GEOMETRY
    unit = "Mg ha-1"

    @property
    def yearly(self) -> tuple[str, ...]:  # type: ignore[override]
        """See :class:`Quantity`."""
        return ("soc",) if self.pool is None else ("pools",)

    def read(self, course: Course, year: int) -> Float[Array, ""]:
        """See :class:`Quantity`."""
        carbon = course.at(self.yearly[0], year, yearly=True)
        if self.pool is not None:
            carbon = carbon[self.pool]
        return jnp.sum(carbon * course.share(year, self.upper, self.lower))


@dataclasses.dataclass(frozen=True)
class Layered(Quantity):
    """Mean of a property of the layers between two depths (m), weighted by thickness."""

    name: str
    upper: float
    lower: float

    @property
    def steps(self) -> tuple[str, ...]:  # type: ignore[override]
        """See :class:`Quantity`."""
        return (*GEOMETRY, results()[self.name].variable)

    @property
    def unit(self) -> str:  # type: ignore[override]
        """See :class:`Quantity`."""
        return results()[self.name].unit

    def read(self, course: Course, year: int) -> Float[Array, ""]:
        """See :class:`Quantity`."""
        about = results()[self.name]
        values = course.at(about.variable, year)
        if about.months:
            values = (jnp.mean if about.months == "mean" else jnp.sum)(values, axis=0)
        inside = course.share(year, self.upper, self.lower) * course.at("thickness", year)
        return safe.divide(jnp.sum(values * inside), jnp.sum(inside))


@dataclasses.dataclass(frozen=True)
class CalciteDepth(Quantity):
    """Depth to which calcite is gone, m: thickness times the share lost, over all layers.

    What is lost is compared with the lowest layer as the history begins. Above a sharp front
    that is the depth of the front, and it goes on evenly while a layer dissolves. Parent
    material without calcite has a depth of 0.
    """

    steps = (*GEOMETRY, "calcite_fraction")
    unit = "m"

    def read(self, course: Course, year: int) -> Float[Array, ""]:
        """See :class:`Quantity`."""
        parent = course.at("calcite_fraction", course.first_year)[-1]
        there = safe.divide(course.at("calcite_fraction", year), parent, otherwise=1.0)
        return jnp.sum(course.at("thickness", year) * jnp.clip(1.0 - there, 0.0, 1.0))


@dataclasses.dataclass(frozen=True)
class Recovery(Quantity):
    """Years until a stock is back for good at a share of its level of an earlier year.

    Interpolated within the year in which it comes back, so it can be differentiated; 0 if the
    stock was never below. A stock that is not back in the last year of the run is censored: it
    has the years from the start of recovery to the end of the run, :attr:`limit`, and no
    derivative.
    """

    stock: str
    share: float
    level_year: int
    from_year: int
    end_year: int
    unit = "a"

    @property
    def yearly(self) -> tuple[str, ...]:  # type: ignore[override]
        """See :class:`Quantity`."""
        return (self.stock,)

    @property
    def limit(self) -> float:
        """What a censored time is."""
        return float(self.end_year - self.from_year)

    def read(self, course: Course, year: int) -> Float[Array, ""]:
        """See :class:`Quantity`."""
        stock = course.yearly(self.stock)
        level = stock[self.level_year - course.first_year]
        lack = self.share * level - stock[self.from_year - course.first_year :]
        lacking = lack > 0.0
        last = lack.size - 1 - jnp.argmax(lacking[::-1])
        before, after = lack[last], lack[jnp.minimum(last + 1, lack.size - 1)]
        crossing = last.astype(float) + safe.divide(before, before - after)
        never = ~jnp.any(lacking)
        return jnp.where(never, 0.0, jnp.where(lacking[-1], self.limit, crossing))


@dataclasses.dataclass(frozen=True)
class Output(Reading):
    """A number that a run is asked for.

    Attributes:
        name: as asked for, without the year.
        year: calendar year; None where the output has none of its own.
        quantity: how it is read.
    """

    name: str
    year: int | None
    quantity: Quantity

    @property
    def text(self) -> str:
        """Name and year."""
        return self.name if self.year is None else f"{self.name}@{self.year}"

    @property
    def limit(self) -> float:
        """What the output is where it is censored; infinite for one that cannot be."""
        return self.quantity.limit if isinstance(self.quantity, Recovery) else float("inf")

    @property
    def yearly(self) -> tuple[str, ...]:
        """See :class:`diffsoil.forward.Reading`."""
        return self.quantity.yearly

    @property
    def steps(self) -> tuple[str, ...]:
        """See :class:`diffsoil.forward.Reading`."""
        return self.quantity.steps

    def read(self, course: Course) -> Float[Array, ""]:
        """The number."""
        return self.quantity.read(course, course.ends[-1] if self.year is None else self.year)


# From text.


@dataclasses.dataclass(frozen=True)
class Ages:
    """Calendar years that outputs refer to when none is given.

    ``start`` and ``end`` are those of the run; ``agriculture`` and ``recovery`` (the last year of
    each) are None for a case without; ``early`` and ``late`` are years of the natural phase.
    """

    start: int
    early: int
    late: int
    agriculture: int | None
    recovery: int | None
    end: int


def ages(case: Case, site: str) -> Ages:
    """The phases of a site's history: natural, then another land use, then nature again."""
    file = case.file
    start, end = file.start_year, case.end_year
    stretches: list[tuple[int, str]] = []
    for phase in file.history:
        name = at_site(phase.land_use, site)
        if stretches and stretches[-1][1] == name:
            stretches.pop()
        stretches.append((phase.until, name))
    natural = stretches[0][0]
    length = natural - start + 1
    last_use = stretches[-1][1]
    comes_back = len(stretches) > 2 and last_use == stretches[0][1] and not file.experiment
    agriculture = stretches[-2][0] if comes_back else end if natural < end else None
    early = start - 1 + (1000 if length >= 4000 else max(1, length // 4))
    return Ages(start, early, natural, agriculture, end if comes_back else None, end)


def default_texts(case: Case, site: str) -> list[str]:
    """Stocks early and late in nature, after agriculture, times of recovery, calcite."""
    when = ages(case, site)
    years = [y for y in (when.early, when.late, when.agriculture) if y is not None]
    stocks = ("soc_stock_0_100", "soc_stock_0_25", "soc_stock_25_100")
    texts = [f"{stock}@{year}" for stock in stocks for year in years]
    if when.recovery is not None:
        texts += [f"recovery_years[{name}]" for name in COMPARTMENTS]
    if case.whole_soil:
        texts.append(f"calcite_depth@{when.end}")
    return texts


def parse(texts: Iterable[str], case: Case, site: str, years: int, option: str) -> list[Output]:
    """Outputs from their texts.

    Args:
        texts: ``QUANTITY[@YEAR]``, a calendar year; without one what changes in time is read at
            ``years`` equally spaced ones, the last one included.
        case: that is run.
        site: whose history it is.
        years: how many.
        option: named in messages.

    Raises:
        InputError: a quantity or a depth that is not known, a year outside of the run, or the
            same output twice.
    """
    when = ages(case, site)
    found: dict[str, Output] = {}
    pools = case.column().pools
    for text in texts:
        name, asked, after = text.strip().partition("@")
        where = f"{option} {text}"
        if asked and not after:
            raise InputError(f"{where}: the year behind @ is missing")
        quantity = _quantity(name, when, where, pools)
        if isinstance(quantity, Recovery):
            if after:
                raise InputError(f"{where}: a recovery time has no year")
            at: list[int | None] = [None]
        elif after:
            at = [_year(after, when, where)]
        else:
            at = list(spaced_years(when, years))
        for year in at:
            output = Output(name, year, quantity)
            found[output.text] = output
    if not found:
        raise InputError(f"{option}: there is none")
    return list(found.values())


def spaced_years(when: Ages, count: int) -> tuple[int, ...]:
    """So many calendar years at equal distances, of which the last is that of the run."""
    length = when.end - when.start + 1
    ends = np.linspace(0, length, count + 1)[1:]
    return tuple(dict.fromkeys(when.start - 1 + max(1, round(float(y))) for y in ends))


def _year(text: str, when: Ages, where: str) -> int:
    try:
        year = int(text)
    except ValueError:
        raise InputError(f"{where}: {text!r} is no year") from None
    if not when.start <= year <= when.end:
        raise InputError(
            f"{where}: calendar year {year} is outside of the case, {when.start} to {when.end}"
        )
    return year


def _quantity(name: str, when: Ages, where: str, pools: tuple[str, ...]) -> Quantity:
    if name in STOCKS:
        return Stock(name)
    if name == "calcite_depth":
        return CalciteDepth()
    matched = re.fullmatch(r"(\w+)\[([^\]]*)\]", name)
    base, inside = matched.groups() if matched else (name, "")
    if base == "recovery_years" and matched:
        return _recovery(inside, when, where)
    layered = [name for name, about in layer_results().items() if about.by_layer]
    by_depth = ("soc", *layered, *pools)
    if base in by_depth:
        interval = re.fullmatch(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*", inside)
        if not interval:
            raise InputError(f"{where}: needs a depth interval in cm, such as {base}[0-25]")
        upper, lower = (float(part) / CM_PER_M for part in interval.groups())
        if lower <= upper:
            raise InputError(f"{where}: {inside} cm is no interval from above to below")
        if base in layered:
            return Layered(base, upper, lower)
        return Carbon(base, upper, lower, pools.index(base) if base in pools else None)
    known = [*STOCKS, "calcite_depth", "recovery_years[STOCK]", *(f"{n}[CM-CM]" for n in by_depth)]
    bare = [*STOCKS, "calcite_depth", "recovery_years", *by_depth]
    raise InputError(
        f"{where}: no output {base!r}{nearest(base, bare)}; known are {', '.join(known)}"
    )


def _recovery(inside: str, when: Ages, where: str) -> Recovery:
    """``STOCK[, SHARE, LEVEL_YEAR, FROM_YEAR]``."""
    stock, *rest = (part.strip() for part in inside.split(","))
    stock = COMPARTMENTS.get(stock, stock)
    if stock not in STOCKS:
        known = (*COMPARTMENTS, *STOCKS)
        raise InputError(
            f"{where}: no stock {stock!r}{nearest(stock, known)}; known are {', '.join(known)}"
        )
    if len(rest) not in (0, 1, 3):
        raise InputError(f"{where}: write recovery_years[STOCK, SHARE, LEVEL_YEAR, FROM_YEAR]")
    share = RECOVERED
    if rest:
        try:
            share = float(rest[0])
        except ValueError:
            raise InputError(f"{where}: {rest[0]!r} is no share") from None
        if not 0.0 < share <= 2.0:
            raise InputError(f"{where}: share {share:g} is outside 0 to 2")
    if len(rest) == 3:
        level, begin = (_year(text, when, where) for text in rest[1:])
    elif when.recovery is not None and when.agriculture is not None:
        level, begin = when.late, when.agriculture
    else:
        raise InputError(
            f"{where}: the case has no land use that comes back; "
            "write recovery_years[STOCK, SHARE, LEVEL_YEAR, FROM_YEAR]"
        )
    if begin >= when.end:
        raise InputError(f"{where}: year {begin} is the end of the run")
    return Recovery(stock, share, level, begin, when.end)


def check_computed(outputs: Iterable[Output], computed: Iterable[str], option: str) -> None:
    """Refuse outputs of what no process of a column computes.

    Args:
        outputs: that are asked for.
        computed: variables that the case gives or the column provides.
        option: named in messages.

    Raises:
        InputError: the first such output.
    """
    known = set(computed)
    for output in outputs:
        for variable in output.quantity.steps:
            if variable not in known:
                raise InputError(f"{option} {output.text}: the case does not compute {variable}")

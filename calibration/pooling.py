"""Partial pooling: a free parameter that differs between the sites or treatments of a case.

Its value in one of them is its median times exp(spread x deviation). The median has the prior of
the parameter, the spread is the standard deviation of the logarithm between sites, and each
deviation is standard normal: what the data of a site do not tell stays near the median, as far
from it as sites differ. A site that was not fitted has a deviation drawn anew, so that predictions
are as wide as sites are apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from diffsoil.cases import Case
from diffsoil.forward import Pooled
from diffsoil.parameters import Parameter, Prior, lognormal, normal

BETWEEN = "between."
"""Of parameters that are the spread of another one."""

DEVIATION = "deviation."
"""Of parameters that tell where one site or treatment lies."""

USUAL = lognormal(0.2, 0.7)
"""Prior of a spread of which nothing is said."""

SMALLEST, LARGEST = 0.005, 2.0
"""Bounds of a spread: half a percent, and a factor of seven."""

FARTHEST = 6.0
"""Bound of a deviation, in spreads."""

type Pooling = Mapping[str, tuple[Literal["site", "group", "treatment"], Prior]]
"""What a parameter differs between, and the prior of its spread, by its full name."""


def pooling(case: Case) -> Pooling:
    """What a case states."""
    return {
        name: (free.by, Prior(**free.between.model_dump()) if free.between else USUAL)
        for name, free in case.file.free.items()
        if free.by is not None
    }


def groups(case: Case, by: str) -> tuple[str, ...]:
    """Names of the sites, of the groups of sites, or of the treatments."""
    of_group = case.file.group_of
    names = {
        "site": case.sites,
        "group": tuple(dict.fromkeys(of_group[site] for site in case.sites)),
        "treatment": tuple(treatment.name for treatment in case.file.treatment),
    }
    return tuple(names[by])


def parameters(name: str, case: Case, by: str, spread: Prior) -> Iterator[Parameter]:
    """The parameters that pooling adds to one: its spread and its deviations."""
    yield Parameter(
        name=BETWEEN + name,
        default=spread.location,
        unit="1",
        lower=SMALLEST,
        upper=LARGEST,
        prior=spread,
        source="the case" if spread != USUAL else "assumption: of some tenths, to a factor of two",
        description=f"standard deviation of the logarithm of {name} between {by}s",
    )
    for group in groups(case, by):
        yield Parameter(
            name=f"{DEVIATION}{name}.{group}",
            default=0.0,
            unit="1",
            lower=-FARTHEST,
            upper=FARTHEST,
            prior=normal(0.0, 1.0),
            source="standard normal by definition",
            description=f"how far {name} of {by} {group} lies from the median, in spreads",
        )


def sets_nothing(name: str) -> bool:
    """Whether a free parameter is of pooling or of observations, and sets none of the column."""
    return name.startswith((BETWEEN, DEVIATION, "observation."))


def places(
    names: Sequence[str], wanted: Pooling, case: Case, declared: Mapping[str, Parameter]
) -> tuple[Pooled, ...]:
    """Where the values of pooled parameters come from, out of the free parameters ``names``.

    The sites of a group have its deviation.
    """

    def of_each(by: str) -> tuple[str, ...]:
        if by != "group":
            return groups(case, by)
        return tuple(case.file.group_of[site] for site in case.sites)

    return tuple(
        Pooled(
            name=name,
            median=names.index(name),
            spread=names.index(BETWEEN + name),
            deviations=tuple(names.index(f"{DEVIATION}{name}.{of}") for of in of_each(by)),
            by="treatment" if by == "treatment" else "site",
            lower=declared[name].lower,
            upper=declared[name].upper,
        )
        for name, (by, _) in wanted.items()
        if name in names
    )

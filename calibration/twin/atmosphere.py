"""14C of the air after the end of a case's record, as a scenario states it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field, model_validator

from diffsoil.cases import Case
from diffsoil.cases.kinds import Strict, Year
from diffsoil.cases.plausible import of_atmosphere
from diffsoil.tables import Meant

Permil = Annotated[float, Field(ge=-1000, le=2000)]


class Radiocarbon(Strict):
    """14C of the air after the record of the case.

    Straight lines lead from the last year of the record to the first of these years, and from
    each to the next. One year with the last value of the record holds it.
    """

    years: Annotated[list[Year], Field(min_length=1)]
    """Years after the end of the record, ascending, up to the last year of the forecast or on."""
    delta14c_permil: Annotated[list[Permil], Field(min_length=1)]
    """Delta 14C of the air in each of these years, permil."""

    @model_validator(mode="after")
    def _paired(self) -> Radiocarbon:
        if len(self.years) != len(self.delta14c_permil):
            raise ValueError(
                f"{len(self.years)} years and {len(self.delta14c_permil)} values of "
                "delta14c_permil: one value for each year is needed"
            )
        for before, after in pairwise(self.years):
            if after <= before:
                raise ValueError(f"years: {after} comes after {before}, they have to ascend")
        return self


def faults_of(
    path: Path, told: Radiocarbon | None, case: Case, until: int, meant: Meant
) -> Iterator[str]:
    """What is wrong with the 14C of the years to come, line by line.

    Args:
        path: of the scenario.
        told: what it says.
        case: whose record goes on.
        until: last year of the forecast.
        meant: what the scenario confirms.
    """
    record = case.atmosphere
    if record is None:
        if told is not None:
            yield f"{path}: radiocarbon: the case {case.name} follows no 14C"
        return
    end = int(record["year"].iloc[-1])
    if told is None:
        if until > end:
            yield (
                f"{path}: radiocarbon: needed to {until}, for the record of the 14C of the air "
                f"({case.file.radiocarbon_atmosphere}) ends in {end}: give years and "
                "delta14c_permil"
            )
        return
    if told.years[0] <= end:
        yield f"{path}: radiocarbon.years: {told.years[0]} is in the record, which ends in {end}"
        return
    if told.years[-1] < until:
        yield (
            f"{path}: radiocarbon.years: the last one, {told.years[-1]}, is before {until}, the "
            "last year of the forecast"
        )
    joined = continued(record, told)
    assert joined is not None
    for doubt in of_atmosphere(joined[joined["year"] >= end], end, until):
        if question := meant.question("activity", doubt):
            yield f"{path}: radiocarbon: {question}"


def continued(record: pd.DataFrame | None, told: Radiocarbon | None) -> pd.DataFrame | None:
    """A record of the air with the years to come below it; None of a case without 14C."""
    if record is None or told is None:
        return record
    activity = [1.0 + value / 1000.0 for value in told.delta14c_permil]
    later = pd.DataFrame({"year": told.years, "activity": activity})
    return pd.concat([record[["year", "activity"]], later], ignore_index=True)


def words(told: Radiocarbon | None) -> str:
    """The 14C of the years to come, in words; empty if nothing is said."""
    if told is None:
        return ""
    points = ", ".join(
        f"{value:g} permil in {year}"
        for year, value in zip(told.years, told.delta14c_permil, strict=True)
    )
    return f"{points}, straight lines between"

"""What a new case asks for, and which tables of the user's own it takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from diffsoil.io import InputError
from diffsoil.options import Options, Within, option

YEARS = Within(-50000, 3000)


@dataclasses.dataclass(frozen=True)
class Answers(Options):
    """What a new case asks for; what is not given has the example's value.

    Raises:
        InputError: years that do not follow one another.
    """

    title: str = option("", "What the case is about. Default: its name.")
    column: str = option("carbon", "What is computed: carbon, or whole_soil with its pH.")
    native: str = option("deciduous_forest", "Vegetation before farming, of the library.")
    crop: str = option("cereal", "What is grown since, of the library.")
    since: int = option(1000, "First year of farming.", YEARS)
    first: int = option(1970, "First year with records of yields or inputs.", YEARS)
    last: int = option(2020, "Last year.", YEARS)

    def __post_init__(self) -> None:
        """Check the years."""
        super().__post_init__()
        if not self.since < self.first <= self.last:
            raise InputError(
                f"--since {self.since}, --first {self.first}, --last {self.last}: must follow one "
                "another"
            )

    def over(self, first: int, last: int, source: object) -> Answers:
        """The same for the years of a record.

        Raises:
            InputError: other years were asked for.
        """
        usual = Answers()
        for name, year in (("first", first), ("last", last)):
            if getattr(self, name) not in (getattr(usual, name), year):
                raise InputError(
                    f"--{name} {getattr(self, name)}: {source} has the years {first} to {last}"
                )
        since = min(self.since, first - 100)
        return dataclasses.replace(self, first=first, last=last, since=since)


@dataclasses.dataclass(frozen=True)
class OwnTables(Options):
    """Tables of the user's own, in place of those of the example."""

    normals: Path | None = option(None, "Twelve monthly normals of your climate, CSV.")
    weather: Path | None = option(None, "Weather by year and month of your records, CSV.")
    management: Path | None = option(
        None, "Land use and carbon by treatment and year, CSV; its years are those of the records."
    )
    observations: Path | None = option(None, "What was measured, CSV, at one site.")

    @property
    def given(self) -> dict[str, Path]:
        """Path by the name of the table."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: Path(path) for name, path in named.items() if path is not None}

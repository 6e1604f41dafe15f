"""What a new case asks for."""

from __future__ import annotations

import dataclasses

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

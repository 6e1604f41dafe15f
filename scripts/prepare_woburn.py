"""Derive the tables of the case `woburn` from the archive's tables of the ley-arable experiment.

python scripts/prepare_woburn.py            rewrites the derived tables
python scripts/prepare_woburn.py --check    exits 1 where a table on disk differs

Every decision is argued in data/observations/woburn/README.md.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(__file__).resolve().parents[1] / "data"
SOURCE = DATA / "observations" / "woburn" / "source"

FIRST_YEAR = 1938

RAIN_OF_ROTHAMSTED = 0.9
"""Assumption, 0.85 to 0.95: some 640 mm at Woburn."""

# --- treatments ---------------------------------------------------------------------

ROTATIONS = {
    "Ah": "ab",
    "Ar": "af",
    "Lu": "lc3",
    "L": "ln3",
    "Ah/L": "lc8a",
    "L/Ah": "lc8b",
    "Ar/Lu": "ln8a",
    "Lu/Ar": "ln8b",
}
"""Rotation of a plot as it began in 1938, and its name here; a and b alternate out of phase."""

# --- plant carbon -------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """What a crop of the archive is to the model.

    Attributes:
        land_use: of the case.
        like: crop of data/crops.toml that makes plant carbon of the yield; none for leys.
        yield_t_ha: dry matter, a round yield of a sandy loam: assumption, good to about a third.
    """

    land_use: str
    like: str = ""
    yield_t_ha: float | None = None


CROPS = {
    "winter wheat": Crop("autumn_cereal", "wheat", 4.5),
    "winter rye": Crop("autumn_cereal", "triticale", 3.5),
    "winter oats": Crop("autumn_cereal", "oats", 4.0),
    "spring barley": Crop("spring_cereal", "barley", 3.5),
    "spring wheat": Crop("spring_cereal", "wheat", 3.5),
    "spring rye": Crop("spring_cereal", "triticale", 3.0),
    "spring oats": Crop("spring_cereal", "oats", 3.0),
    "winter beans": Crop("beans", "pea", 2.5),
    "spring beans": Crop("beans", "pea", 2.5),
    "potatoes": Crop("roots", "potato", 7.0),
    "sugar beet": Crop("roots", "sugar_beet", 8.0),
    "carrots": Crop("roots", "potato", 5.0),
    "turnips": Crop("roots", "sugar_beet", 4.0),
    "kale": Crop("fodder", "silage_maize", 5.0),
    "forage maize": Crop("fodder", "silage_maize", 10.0),
    "grazed ley": Crop("grass"),
    "cut ley": Crop("grass"),
    "grass ley with n": Crop("grass"),
    "hay": Crop("grass"),
    "clover grass ley": Crop("clover_grass"),
    "lucerne": Crop("legume"),
    "sainfoin": Crop("legume"),
    "red clover": Crop("legume"),
    "fallow": Crop("fallow"),
}

# The rules of scripts/prepare_rothamsted.py: what does not follow the yield, in t C/ha/a.
BASE_CARBON = {"fallow": 0.0, "grass": 3.0, "clover_grass": 3.0, "legume": 3.0}
BASE_OF_ARABLE = 1.0

MANURE_CARBON = 3.0 * 37.7 / 35.0
"""Farmyard manure of 37.7 t/ha; 35 t/ha bring 3.0 t C/ha at Rothamsted."""

MANURE_YEARS = (1941, 1967)
MANURED_CROP = "1st test crop"

# --- observations -------------------------------------------------------------------

DOI = "doi:10.23637/wrn3-soc3809-01"
START_YEAR = 1938
LAST_TINSLEY_YEAR = 1979
DEPTH_CM = 25
LATE_SAMPLES = {(5, 1961): 1962}
"""Block and year of samples that were taken in the second year after, and the year used."""

COLUMNS = [
    "site",
    "treatment",
    "year",
    "variable",
    "upper_cm",
    "lower_cm",
    "value",
    "sd",
    "unit",
    "estimated",
    "basis",
    "soil_mass_Mg_ha",
    "source",
    "series",
    "method",
]


def read(name: str) -> pd.DataFrame:
    """One of the archive's tables."""
    return pd.read_csv(SOURCE / name)


def plots(soil: pd.DataFrame) -> pd.DataFrame:
    """Site and treatment of each main plot, by what it began with in 1938."""
    first = soil[soil["year"] == FIRST_YEAR].set_index("main_plot").sort_index()
    manured = first["fym"].str.upper() == "FYM"
    name = "b" + first["block"].astype(str) + "_" + first["rotation"].map(ROTATIONS)
    return pd.DataFrame(
        {
            "site": "woburn_" + first["block"].astype(str),
            "treatment": name + np.where(manured, "_fym", ""),
            "manured": manured,
        }
    )


def rain(table: pd.DataFrame) -> pd.DataFrame:
    """A climate of Rothamsted with the rain of Woburn."""
    drier = (RAIN_OF_ROTHAMSTED * table["precipitation_mm"]).round(2)
    columns = [*table.columns.intersection(["year", "month"]), "temperature_c"]
    return table.assign(precipitation_mm=drier)[[*columns, "precipitation_mm", "evaporation_mm"]]


def management(cropping: pd.DataFrame, soil: pd.DataFrame) -> pd.DataFrame:
    """Land use, yield and carbon inputs of every treatment and year."""
    table = cropping.join(plots(soil), on="main_plot")
    table["crop"] = table["crop"].str.lower()
    crop = table["crop"].map(CROPS)
    land_use = crop.map(lambda one: one.land_use)
    manured = (
        table["manured"]
        & (table["test_or_treatment"] == MANURED_CROP)
        & table["year"].between(*MANURE_YEARS)
    )
    rows = pd.DataFrame(
        {
            "treatment": table["treatment"],
            "year": table["year"],
            "land_use": land_use,
            "plant_carbon_base_t_ha": land_use.map(BASE_CARBON).fillna(BASE_OF_ARABLE),
            "yield_t_ha": crop.map(lambda one: one.yield_t_ha),
            "crop": crop.map(lambda one: one.like),
            "manure_carbon_t_ha": np.where(manured, round(MANURE_CARBON, 3), 0.0),
            "note": table["crop"],
        }
    )
    return rows.sort_values(["treatment", "year"], kind="stable", ignore_index=True)


def start(soil: pd.DataFrame) -> pd.DataFrame:
    """The one value of each block before the experiment, at its arable plot without manure."""
    table = soil[soil["year"] == START_YEAR].join(plots(soil), on="main_plot")
    return table[table["treatment"].str.fullmatch(r"b\d_ab")].assign(series="woburn_start")


def samples(soil: pd.DataFrame) -> pd.DataFrame:
    """All plots from 1955 on."""
    table = soil[soil["year"] > START_YEAR].join(plots(soil), on="main_plot")
    late = pd.Series(list(zip(table["block"], table["year"], strict=True)), index=table.index)
    return table.assign(series="woburn", year=late.map(LATE_SAMPLES).fillna(table["year"]))


def observations(soil: pd.DataFrame) -> pd.DataFrame:
    """All observations in the columns that the program reads."""
    table = pd.concat([start(soil), samples(soil)])
    mass = 100 * DEPTH_CM * table["bulk_density_g_cm3"]
    table = table.assign(
        variable="soc_percent",
        upper_cm=0,
        lower_cm=DEPTH_CM,
        value=table["soc_percent"],
        sd=np.nan,
        unit="%",
        estimated=0,
        basis="fixed_depth",
        soil_mass_Mg_ha=mass.round(0),
        source=DOI,
        method=np.where(table["year"] <= LAST_TINSLEY_YEAR, "tinsley", "combustion"),
    )
    table = table[COLUMNS].astype({"year": int})
    return table.sort_values(["site", "treatment", "year"], kind="stable", ignore_index=True)


def derive() -> dict[str, pd.DataFrame]:
    """Make all derived tables, by path below data/."""
    soil, cropping = read("soil.csv"), read("cropping.csv")
    weather = pd.read_csv(DATA / "climate" / "rothamsted_monthly.csv")
    normals = pd.read_csv(DATA / "climate" / "rothamsted_early_normals.csv")
    return {
        "climate/woburn_monthly.csv": rain(weather),
        "climate/woburn_early_normals.csv": rain(normals),
        "management/woburn.csv": management(cropping, soil),
        "observations/woburn/observations.csv": observations(soil),
    }


def as_text(table: pd.DataFrame) -> str:
    """Render a table as CSV with the same line ends everywhere."""
    return table.to_csv(index=False, lineterminator="\n")


def differing(tables: dict[str, pd.DataFrame], folder: Path) -> list[str]:
    """Paths whose text on disk is not that of the table."""
    return [
        path
        for path, table in tables.items()
        if not (folder / path).is_file()
        or (folder / path).read_bytes() != as_text(table).encode("utf-8")
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the derived tables, or compare them with those on disk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only, exit 1 if different")
    check = parser.parse_args(arguments).check
    tables = derive()
    if check:
        different = differing(tables, DATA)
        for path in different:
            print(f"{path}: differs from what the script makes", file=sys.stderr)
        return 1 if different else 0
    for path, table in tables.items():
        (DATA / path).parent.mkdir(parents=True, exist_ok=True)
        (DATA / path).write_bytes(as_text(table).encode("utf-8"))
        print(f"{len(table):5d} rows  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

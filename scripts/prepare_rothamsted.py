"""Derive the tables of the case `rothamsted` from the archive's original tables.

python scripts/prepare_rothamsted.py            rewrites the derived tables
python scripts/prepare_rothamsted.py --check    exits 1 where a table on disk differs

Every decision is argued in data/observations/rothamsted/README.md.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil.cases.crops import crops

DATA = Path(__file__).resolve().parents[1] / "data"
SOURCE = DATA / "observations" / "rothamsted" / "source"

FIRST_YEAR, LAST_YEAR = 1843, 2018

# --- climate ------------------------------------------------------------------------

EARLY_CYCLE, LATE_CYCLE = "1961-1990", "1981-2010"
FIRST_YEAR_OF_LATE_CYCLE = 1976
EARLY_TEMPERATURE_YEARS = (1878, 1907)
EARLY_RAIN_YEARS = (1853, 1899)
LATE_RAIN_NORMALS = "1991-2020"
EVAPORATION_NORMALS = ("1961-1990", "1971-2000")

# --- plant carbon -------------------------------------------------------------------

# Carbon of a yield: data/crops.toml, after Bolinder et al. (2007). The straw is carried off but
# for the stubble.
WHEAT = crops()["wheat"]
DRY_MATTER_OF_GRAIN = 0.85

# Assumed round magnitudes in t C/ha/a; calibrated factors multiply them.
BASE_CARBON = {"wheat": 1.0, "grass": 3.0, "arable": 1.6, "bare_fallow": 0.0, "woodland": 0.0}
MANURE_CARBON = 3.0

FALLOW_YEARS = (1926, 1967)
FALLOW_SHARE = 0.2

PLOT_3 = "unmanured_plot3_grain_t_ha"
PLOT_2_2 = "fym_plot2.2_grain_t_ha"
PLOT_8 = "pk_144kgN_plot8_grain_t_ha"


@dataclass(frozen=True)
class Period:
    """Management of one treatment from one year to another, both included."""

    first: int
    last: int
    land_use: str
    grain: str | None = None
    grain_factor: float = 1.0
    manured: bool = False
    note: str = ""


TREATMENTS = {
    "broadbalk_nil": (Period(FIRST_YEAR, LAST_YEAR, "wheat", PLOT_3, note="plot 3"),),
    "broadbalk_pk": (
        Period(
            FIRST_YEAR,
            LAST_YEAR,
            "wheat",
            PLOT_3,
            grain_factor=1.15,
            note="plot 5; assumed 1.15 x grain of plot 3",
        ),
    ),
    "broadbalk_npk": (Period(FIRST_YEAR, LAST_YEAR, "wheat", PLOT_8, note="plot 8"),),
    "broadbalk_fym_1843": (
        Period(FIRST_YEAR, LAST_YEAR, "wheat", PLOT_2_2, manured=True, note="plot 2.2"),
    ),
    "broadbalk_fym_1885": (
        Period(
            FIRST_YEAR, 1884, "wheat", PLOT_3, note="plot 2.1; unmanured, assumed grain of plot 3"
        ),
        Period(
            1885,
            LAST_YEAR,
            "wheat",
            PLOT_2_2,
            manured=True,
            note="plot 2.1; assumed grain of plot 2.2",
        ),
    ),
    "broadbalk_fymn_1968": (
        Period(
            FIRST_YEAR,
            1967,
            "wheat",
            PLOT_3,
            note="plot 1; history not given, assumed unmanured with grain of plot 3",
        ),
        Period(
            1968,
            2000,
            "wheat",
            PLOT_2_2,
            manured=True,
            note="plot 1; FYM and N, assumed grain of plot 2.2",
        ),
        Period(
            2001, LAST_YEAR, "wheat", PLOT_8, note="plot 1; N4, no FYM, assumed grain of plot 8"
        ),
    ),
    "wilderness": (
        Period(FIRST_YEAR, 1881, "wheat", PLOT_3, note="unmanured wheat, grain of plot 3"),
        Period(1882, LAST_YEAR, "woodland", note="plant carbon from NPP"),
    ),
    "highfield_grass": (Period(FIRST_YEAR, LAST_YEAR, "grass", note="old grass"),),
    "highfield_arable": (
        Period(FIRST_YEAR, 1948, "grass", note="old grass"),
        Period(1949, LAST_YEAR, "arable", note="arable rotation"),
    ),
    "highfield_bare_fallow": (
        Period(FIRST_YEAR, 1959, "grass", note="old grass"),
        Period(1960, LAST_YEAR, "bare_fallow", note="ploughed in December 1959, no input"),
    ),
    "fosters_arable": (Period(FIRST_YEAR, LAST_YEAR, "arable", note="old arable"),),
    "fosters_grass": (
        Period(FIRST_YEAR, 1948, "arable", note="old arable"),
        Period(1949, LAST_YEAR, "grass", note="sown grass"),
    ),
}

# --- observations -------------------------------------------------------------------

DOI_BROADBALK = "doi:10.23637/KeyRefOABKsoc-02"
DOI_LEY_ARABLE = "doi:10.23637/KeyRefOARLAsoc"
DOI_HIGHFIELD = "doi:10.23637/rrn1-HLAsoc4814-01"
DOI_BARE_FALLOW = "doi:10.23637/rrs1-SOILCN1959-2014-01"
DOI_WILDERNESS = "doi:10.23637/KeyRefOABKWoc"

BROADBALK_PLOTS = {
    "plot3_nil": "broadbalk_nil",
    "plot5_PK": "broadbalk_pk",
    "plot8_N3PK": "broadbalk_npk",
    "plot2.2_FYM_since_1843": "broadbalk_fym_1843",
    "plot2.1_FYM_since_1885": "broadbalk_fym_1885",
    "plot1_FYM+N_1968-2000_then_N4": "broadbalk_fymn_1968",
}
FYM_TREATMENTS = ("broadbalk_fym_1843", "broadbalk_fym_1885", "broadbalk_fymn_1968")
FOSTERS_PLOTS = {"fosters_grass": "fosters_grass", "fosters_long_term_arable": "fosters_arable"}
HIGHFIELD_CODES = {
    "G": "highfield_grass",
    "Gc": "highfield_grass",
    "Gn": "highfield_grass",
    "A": "highfield_arable",
}
PLOUGHED_NOTE = r"7(\.0)?"

BROADBALK_SOIL_MASS = 2880.0
# Bulk density below the topsoil in g/cm3 is an assumption; 1 cm of 1 g/cm3 is 100 Mg/ha.
WILDERNESS_SOIL_MASS = BROADBALK_SOIL_MASS + 100.0 * (23 * 1.45 + 23 * 1.5)
TOPSOIL_CM = 23.0

# Only for the Wilderness, which is predicted and not fitted: no error of its own is published.
WORKING_SD = 0.05

FIRST_COMBUSTION_YEAR = 2000
BROADBALK_OTHER_METHODS = {
    1843: "",
    1865: "nitrogen_ratio",
    1884: "",
    1966: "walkley_black",
    1967: "",
    1987: "tinsley",
}

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
    """Read one original table."""
    return pd.read_csv(SOURCE / name)


def temperature_cycle(normals: pd.DataFrame, period: str) -> pd.Series:
    """Departure of each month from the annual mean of a 30-year period, by month."""
    months = normals[normals["period"] == period].set_index("month")["t_mean_c"]
    return months - months.mean()


def monthly_mean(normals: pd.DataFrame, periods: tuple[str, ...], column: str) -> pd.Series:
    """Mean of the normals of several 30-year periods, by month."""
    return normals[normals["period"].isin(periods)].groupby("month")[column].mean()


def early_rain(monthly: pd.DataFrame) -> pd.Series:
    """Mean monthly rain of the first decades of the record, by month."""
    return monthly[monthly["year"].between(*EARLY_RAIN_YEARS)].groupby("month")["rain_mm"].mean()


def early_temperature(annual: pd.Series) -> float:
    """Mean annual temperature of the first 30 years of the record."""
    return annual.loc[slice(*EARLY_TEMPERATURE_YEARS)].mean()


def fill_temperature(months: pd.DataFrame, normals: pd.DataFrame, annual: pd.Series) -> pd.Series:
    """Fill unmeasured months so that the mean of each year's twelve equals the record."""
    early = months["month"].map(temperature_cycle(normals, EARLY_CYCLE))
    late = months["month"].map(temperature_cycle(normals, LATE_CYCLE))
    cycle = early.where(months["year"] < FIRST_YEAR_OF_LATE_CYCLE, late)

    target = months["year"].map(annual).fillna(early_temperature(annual))
    missing = months["t_mean_c"].isna()
    guess = months["t_mean_c"].fillna(cycle + target)
    # In a year with measured months the others take up the whole difference.
    surplus = 12 * target - guess.groupby(months["year"]).transform("sum")
    return guess + missing * surplus / missing.groupby(months["year"]).transform("sum").clip(1)


def climate_monthly(
    monthly: pd.DataFrame, normals: pd.DataFrame, annual: pd.Series
) -> pd.DataFrame:
    """Temperature, rain and open-pan evaporation of every month of the experiments."""
    years = range(FIRST_YEAR, LAST_YEAR + 1)
    index = pd.MultiIndex.from_product([years, range(1, 13)], names=["year", "month"])
    months = monthly.set_index(["year", "month"]).reindex(index).reset_index()

    before = months["month"].map(early_rain(monthly))
    after = months["month"].map(monthly_mean(normals, (LATE_RAIN_NORMALS,), "rain_mm"))
    rain_normal = before.where(months["year"] <= EARLY_RAIN_YEARS[1], after)
    evaporation = monthly_mean(normals, EVAPORATION_NORMALS, "evaporation_mm")
    in_record = months["year"].isin(annual.index)

    return pd.DataFrame(
        {
            "year": months["year"],
            "month": months["month"],
            "temperature_c": fill_temperature(months, normals, annual).round(4),
            "precipitation_mm": months["rain_mm"].fillna(rain_normal).round(2),
            "evaporation_mm": months["month"].map(evaporation).round(3),
            "temperature_origin": np.select(
                [months["t_mean_c"].notna(), in_record], ["measured", "reconstructed"], "normal"
            ),
            "precipitation_origin": np.where(months["rain_mm"].notna(), "measured", "normal"),
        }
    )


def climate_early(monthly: pd.DataFrame, normals: pd.DataFrame, annual: pd.Series) -> pd.DataFrame:
    """Mean annual cycle for the centuries before the experiments."""
    temperature = temperature_cycle(normals, EARLY_CYCLE) + early_temperature(annual)
    evaporation = monthly_mean(normals, EVAPORATION_NORMALS, "evaporation_mm")
    return pd.DataFrame(
        {
            "temperature_c": temperature.round(4),
            "precipitation_mm": early_rain(monthly).round(2),
            "evaporation_mm": evaporation.round(3),
        }
    ).reset_index()


def soil_temperature(normals: pd.DataFrame) -> pd.DataFrame:
    """Normals of air and soil temperature by period and month."""
    names = {
        "t_mean_c": "air_c",
        "soil_t_30cm_c": "soil_30cm_c",
        "soil_t_100cm_c": "soil_100cm_c",
    }
    return normals[["period", "month", *names]].rename(columns=names)


def grain_by_year(yields: pd.DataFrame) -> pd.DataFrame:
    """Period means as steps; the first and last period reach to the ends of the case."""
    years = np.arange(FIRST_YEAR, LAST_YEAR + 1)
    period = np.searchsorted(yields["first_year"], years, side="right") - 1
    return yields.iloc[period.clip(0)].set_index(years)


def management_note(period: Period, year: int, yields: pd.DataFrame, fallow: bool) -> str:
    """Say on what the row of one treatment and year rests."""
    notes = [period.note]
    if period.grain and year < yields["first_year"].min():
        notes.append("grain of the first period")
    if period.grain and year > yields["last_year"].max():
        notes.append("grain of the last period")
    if fallow:
        notes.append("one section in five fallow, inputs x 0.8")
    return "; ".join(notes)


def management_rows(treatment: str, period: Period, yields: pd.DataFrame) -> list[dict]:
    """Make one row for each year of a period."""
    grain = grain_by_year(yields)
    rows = []
    for year in range(period.first, period.last + 1):
        fallow = period.land_use == "wheat" and FALLOW_YEARS[0] <= year <= FALLOW_YEARS[1]
        cropped = 1 - FALLOW_SHARE * fallow
        harvest = period.grain_factor * grain.loc[year, period.grain] if period.grain else 0.0
        returned = harvest * WHEAT.carbon(DRY_MATTER_OF_GRAIN)
        rows.append(
            {
                "treatment": treatment,
                "year": year,
                "land_use": period.land_use,
                "plant_carbon_base_t_ha": round(cropped * BASE_CARBON[period.land_use], 4),
                "plant_carbon_yield_t_ha": round(cropped * returned, 4),
                "manure_carbon_t_ha": round(cropped * MANURE_CARBON * period.manured, 4),
                "fallow_share": FALLOW_SHARE * fallow,
                "note": management_note(period, year, yields, fallow),
            }
        )
    return rows


def management(yields: pd.DataFrame) -> pd.DataFrame:
    """Land use and carbon inputs of every treatment and year."""
    return pd.DataFrame(
        [
            row
            for treatment, periods in TREATMENTS.items()
            for period in periods
            for row in management_rows(treatment, period, yields)
        ]
    )


def ley_arable_method(years: pd.Series) -> np.ndarray:
    """Name the laboratory method of the ley-arable and bare-fallow samples."""
    return np.where(years < FIRST_COMBUSTION_YEAR, "tinsley", "combustion")


def stocks(rows: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Soil stocks of some treatments of the summary table, in the observation columns."""
    chosen = rows[rows["treatment"].isin(names) & (rows["component"] == "soil")]
    return pd.DataFrame(
        {
            "treatment": chosen["treatment"].map(names),
            "year": chosen["year"],
            "variable": "soc_stock",
            "upper_cm": chosen["upper_cm"],
            "lower_cm": chosen["lower_cm"],
            "value": chosen["c_t_ha"],
            "unit": "Mg C/ha",
            "estimated": chosen["estimated"],
        }
    )


def flag_estimated(table: pd.DataFrame, treatment: str, year: int, why: str) -> pd.DataFrame:
    """Mark a value that is no measurement of its own."""
    row = (table["treatment"] == treatment) & (table["year"] == year)
    return table.assign(
        estimated=table["estimated"].mask(row, 1),
        source=table["source"].mask(row, table["source"] + "; " + why),
    )


def broadbalk(timeseries: pd.DataFrame) -> pd.DataFrame:
    """Topsoil stocks of the six Broadbalk plots."""
    table = stocks(timeseries, BROADBALK_PLOTS)
    fym = table["treatment"].isin(FYM_TREATMENTS)
    table = table.assign(
        site="broadbalk",
        sd=np.nan,
        basis="equivalent_mass",
        soil_mass_Mg_ha=BROADBALK_SOIL_MASS,
        source=DOI_BROADBALK,
        series=np.where(fym, "broadbalk_fym", "broadbalk"),
        method=table["year"].map(BROADBALK_OTHER_METHODS).fillna("combustion"),
    )
    return flag_estimated(
        table, "broadbalk_fymn_1968", 1967, "start of a later FYM treatment, estimated"
    )


def fosters(timeseries: pd.DataFrame) -> pd.DataFrame:
    """Topsoil stocks of the Fosters field."""
    table = stocks(timeseries, FOSTERS_PLOTS)
    table = table.assign(
        site="fosters",
        sd=np.nan,
        basis="fixed_depth",
        soil_mass_Mg_ha=np.nan,
        source=DOI_LEY_ARABLE,
        series="ley_arable",
        method=ley_arable_method(table["year"]),
    )
    table = flag_estimated(table, "fosters_grass", 1948, "the value of fosters_arable 1948")
    return flag_estimated(table, "fosters_arable", 1951, "repeats the value of 1948")


def wilderness(timeseries: pd.DataFrame) -> pd.DataFrame:
    """Soil stocks to 69 cm of the woodland on former Broadbalk land."""
    table = stocks(timeseries, {"woodland_regrowth_calcareous": "wilderness"})
    return table.assign(
        site="broadbalk",
        sd=(WORKING_SD * table["value"]).round(3),
        basis="equivalent_mass",
        soil_mass_Mg_ha=WILDERNESS_SOIL_MASS,
        source=DOI_WILDERNESS,
        series="wilderness",
        method="",
    )


def percentages(table: pd.DataFrame) -> pd.DataFrame:
    """Columns that all percentage series of Highfield share."""
    return table.assign(
        site="highfield",
        variable="soc_percent",
        upper_cm=0,
        lower_cm=23,
        unit="%",
        estimated=0,
        basis="fixed_depth",
        method=ley_arable_method(table["year"]),
    )


def standard_error(values: pd.Series) -> float:
    """Standard error of a mean; not a number for one value."""
    return values.std(ddof=1) / np.sqrt(values.count())


def bare_fallow(subplots: pd.DataFrame) -> pd.DataFrame:
    """Means of the four sub-plots of the Highfield bare fallow."""
    table = subplots.groupby("sample_year", as_index=False).agg(
        value=("soc_pct", "mean"),
        sd=("soc_pct", standard_error),
        soil_mass_Mg_ha=("soil_weight_Mkg_ha", "mean"),
    )
    table = percentages(table.rename(columns={"sample_year": "year"}))
    return table.assign(
        treatment="highfield_bare_fallow",
        value=table["value"].round(4),
        sd=table["sd"].round(4),
        soil_mass_Mg_ha=(1000 * table["soil_mass_Mg_ha"]).round(1),
        source=DOI_BARE_FALLOW,
        series="bare_fallow",
    )


def sort_plots(plots: pd.DataFrame) -> pd.DataFrame:
    """Give each Highfield plot row its treatment, or the reason why it is left out."""
    code = plots["rotation_factor_level_code"].str.strip()
    treatment = code.map(HIGHFIELD_CODES)
    ploughed = plots["note_id"].astype("string").str.fullmatch(PLOUGHED_NOTE).fillna(False)
    why = np.select(
        [
            plots["soc_pct"].isna(),
            ploughed.to_numpy(dtype=bool),
            (code == "Al").to_numpy(),
            treatment.isna().to_numpy(),
        ],
        [
            "no SOC value",
            "grass ploughed by mistake in 1963 (note 7)",
            "arable since 2009 only, ley-arable before (code Al)",
            "ley, reseeded grass or fallow after ley",
        ],
        "",
    )
    return plots.assign(treatment=treatment, left_out=why)


def repeats(main_plots: pd.DataFrame) -> pd.Series:
    """Find values that repeat one bulked sample on several plots of a block."""
    return main_plots.duplicated(["treatment", "year", "block", "soc_pct"])


def main_plot_means(plots: pd.DataFrame) -> pd.DataFrame:
    """Means over the halves of a main plot."""
    return plots.groupby(["treatment", "year", "block", "main_plot"], as_index=False).agg(
        soc_pct=("soc_pct", "mean"), bulk_density=("bulk_density_g_cm3", "mean")
    )


def highfield(plots: pd.DataFrame) -> pd.DataFrame:
    """Old grass and continuous arable of Highfield; blocks are the independent plots."""
    main_plots = main_plot_means(plots[plots["left_out"] == ""])
    blocks = (
        main_plots[~repeats(main_plots)]
        .groupby(["treatment", "year", "block"], as_index=False)[["soc_pct", "bulk_density"]]
        .mean()
    )
    table = blocks.groupby(["treatment", "year"], as_index=False).agg(
        value=("soc_pct", "mean"),
        sd=("soc_pct", standard_error),
        bulk_density=("bulk_density", "mean"),
    )
    table = percentages(table).assign(
        value=table["value"].round(4),
        sd=table["sd"].round(4),
        soil_mass_Mg_ha=(100 * TOPSOIL_CM * table["bulk_density"]).round(1),
        source=DOI_HIGHFIELD,
        series="ley_arable",
    )
    return pd.concat([table, arable_start(table)], ignore_index=True)


def arable_start(table: pd.DataFrame) -> pd.DataFrame:
    """Start of the arable plots: the grass of 1948, not a second measurement."""
    grass = table[(table["treatment"] == "highfield_grass") & (table["year"] == 1948)]
    return grass.assign(
        treatment="highfield_arable",
        estimated=1,
        source=grass["source"] + "; the value of highfield_grass 1948",
    )


def observations(timeseries: pd.DataFrame, plots: pd.DataFrame) -> pd.DataFrame:
    """All observations in the columns that the program reads."""
    parts = [
        broadbalk(timeseries),
        wilderness(timeseries),
        fosters(timeseries),
        highfield(plots),
        bare_fallow(read("highfield_bare_fallow_subplots.csv")),
    ]
    table = pd.concat([part[COLUMNS] for part in parts], ignore_index=True)
    table = table.astype({"year": int, "estimated": int})
    return table.sort_values(["site", "treatment", "year"], kind="stable", ignore_index=True)


def left_out(timeseries: pd.DataFrame, plots: pd.DataFrame) -> pd.Series:
    """Count the original rows that enter no observation, by reason."""
    counts = plots.loc[plots["left_out"] != "", "left_out"].value_counts()
    counts["repeats of one bulked sample (1951)"] = repeats(
        main_plot_means(plots[plots["left_out"] == ""])
    ).sum()
    counts["Highfield means of the plot table"] = (
        timeseries["treatment"].str.startswith("highfield").sum()
    )
    counts["wilderness litter, roots and wood"] = (timeseries["component"] != "soil").sum()
    return counts


def derive() -> tuple[dict[str, pd.DataFrame], pd.Series]:
    """Make all derived tables, by path below data/, and the counts of rows left out."""
    monthly = read("monthly_rain_1853-2018_temp_1985-2017.csv")
    normals = read("monthly_normals.csv")
    annual = read("annual_temp_1878-2019.csv").set_index("year")["t_mean_c"]
    timeseries = read("soc_timeseries.csv")
    plots = sort_plots(read("highfield_ley_arable_plots.csv"))
    tables = {
        "climate/rothamsted_monthly.csv": climate_monthly(monthly, normals, annual),
        "climate/rothamsted_early_normals.csv": climate_early(monthly, normals, annual),
        "climate/rothamsted_soil_temperature.csv": soil_temperature(normals),
        "management/rothamsted.csv": management(read("broadbalk_grain_yields.csv")),
        "observations/rothamsted/observations.csv": observations(timeseries, plots),
    }
    return tables, left_out(timeseries, plots)


def differing(tables: dict[str, pd.DataFrame], folder: Path) -> list[str]:
    """Paths whose text on disk is not that of the table."""
    return [
        path
        for path, table in tables.items()
        if not (folder / path).is_file()
        or (folder / path).read_bytes() != as_text(table).encode("utf-8")
    ]


def as_text(table: pd.DataFrame) -> str:
    """Render a table as CSV with the same line ends everywhere."""
    return table.to_csv(index=False, lineterminator="\n")


def write(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write every table below the folder."""
    for path, table in tables.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(as_text(table).encode("utf-8"))


def summary(tables: dict[str, pd.DataFrame], counts: pd.Series) -> str:
    """Rows by table and series, and what was left out."""
    observed = tables["observations/rothamsted/observations.csv"]
    flags = observed.groupby(["series", "treatment"])["estimated"]
    series = pd.DataFrame({"rows": flags.size(), "estimated": flags.sum()})
    lines = [f"{len(table):5d} rows  {path}" for path, table in tables.items()]
    lines += ["", series.to_string(), "", "original rows left out"]
    return "\n".join([*lines, counts.rename_axis(None).to_string()])


def main(arguments: list[str] | None = None) -> int:
    """Write the derived tables, or compare them with those on disk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only, exit 1 if different")
    check = parser.parse_args(arguments).check

    tables, counts = derive()
    if check:
        different = differing(tables, DATA)
        for path in different:
            print(f"{path}: differs from what the script makes", file=sys.stderr)
        return 1 if different else 0
    write(tables, DATA)
    print(summary(tables, counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Draw the pictures of docs/explanation/whole_soil.md: processes, three soils, real profiles.

    python scripts/plot_whole_soil.py [RUN.nc ...] [--output docs/figures]

simulates the loess cases, or takes the runs of `diffsoil simulate` that are named instead; some
three minutes. Base saturation and pH of the upper 40 cm by how plants cycle bases go to the screen.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from diffsoil import _runtime

_runtime.use_device("cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import xarray as xr  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from diffsoil import load_case, simulate  # noqa: E402
from diffsoil.cases.read import read_case  # noqa: E402
from diffsoil.io import data_path  # noqa: E402
from diffsoil.output import plots  # noqa: E402
from diffsoil.processes import carbonate, exchange_layer, oxides  # noqa: E402
from diffsoil.processes.exchange import Exchange, ExchangeCapacity  # noqa: E402
from diffsoil.processes.migration import Migration, dispersion, settling  # noqa: E402
from diffsoil.processes.mixing import Fauna, mix, shares  # noqa: E402
from diffsoil.processes.physical_weathering import PhysicalWeathering  # noqa: E402
from diffsoil.processes.soil_gas import SoilGas, co2_profile  # noqa: E402
from diffsoil.processes.texture import Texture, mixed_bulk_density  # noqa: E402
from diffsoil.processes.vegetation import root_distribution  # noqa: E402
from diffsoil.processes.weathering import Weathering, dissolution_rate, neoformation  # noqa: E402
from diffsoil.report.pictures import (  # noqa: E402
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    Figure,
    save,
)
from diffsoil.state import ELEMENTS, MINERALS  # noqa: E402

CASES = {
    "loess_wet_forest": "wet forest",
    "loess_dry_steppe": "dry steppe",
    "loess_dry_agriculture": "dry, agriculture",
}

LAYERS, THICKNESS = 40, jnp.full(40, 0.05)
TOP = jnp.cumsum(THICKNESS) - THICKNESS
MIDDLE = np.asarray(TOP + 0.5 * THICKNESS)
PH = np.linspace(3.5, 9.0, 111)


def number(x: float) -> jnp.ndarray:
    """A scalar array."""
    return jnp.asarray(float(x))


def panels(title: str) -> tuple[Figure, list[Axes]]:
    """Eight small panels with a title."""
    figure = Figure(figsize=(12.0, 6.0), layout="constrained")
    axes = list(figure.subplots(2, 4).ravel())
    for ax in axes:
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure, axes


def name(ax: Axes, title: str, x: str, y: str, legend: str = "best") -> None:
    """Title, labels and legend of a panel."""
    ax.set_title(title, fontsize=9, loc="left")
    ax.set_xlabel(x, fontsize=8)
    ax.set_ylabel(y, fontsize=8)
    if legend:
        ax.legend(fontsize=7, frameon=False, loc=legend)


def downwards(ax: Axes, deepest: float = 2.0) -> None:
    """Depth on the vertical axis."""
    ax.set_ylim(deepest, 0)
    ax.set_xlim(left=0)


# Chemistry.


def chemistry() -> Figure:
    """Water and minerals: the pure functions of the chemical processes."""
    figure, axes = panels("Chemical processes of the column: their functions, default parameters")
    calcite_saturation(axes[0])
    soil_gas(axes[1])
    acidity(axes[2])
    buffering(axes[3])
    weathering_rates(axes[4])
    secondary_minerals(axes[5])
    solubility(axes[6])
    capacity(axes[7])
    return figure


def calcite_saturation(ax: Axes) -> None:
    """Dissolved calcium against the pressure of CO2."""
    pco2 = np.geomspace(2e-4, 5e-2, 60)
    for celsius, colour in ((5, BLUE), (10, GREEN), (15, YELLOW), (25, ORANGE)):
        calcium = carbonate.calcite_saturation(number(celsius), jnp.asarray(pco2))
        ax.semilogx(100 * pco2, calcium, color=colour, label=f"{celsius} °C")
    name(ax, "calcite dissolves in CO₂", "CO₂ of the soil air (volume %)", "Ca (mmol/L)")


def soil_gas(ax: Axes) -> None:
    """CO2 by depth for a respiration that declines with depth."""
    process = SoilGas()
    source = root_distribution(TOP, THICKNESS, number(0.95))
    for air, style in ((0.25, "-"), (0.15, "--")):
        for carbon, colour in ((4.0, GREEN), (10.0, ORANGE)):
            profile = co2_profile(
                carbon * source / jnp.sum(source), THICKNESS, jnp.full(LAYERS, air),
                jnp.full(LAYERS, 10.0), process.atmosphere, process.tortuosity,
            )  # fmt: skip
            label = f"{carbon:g} Mg C/ha/a, air {air:g}"
            ax.plot(100 * profile, MIDDLE, color=colour, ls=style, label=label)
    downwards(ax)
    ax.set_xlim(0, 2.2)
    name(ax, "CO₂ of roots and decomposers", "CO₂ of the soil air (volume %)", "depth (m)")


def layers_of_loess(share: jax.Array, pco2: float, anions: float) -> exchange_layer.Layers:
    """Layers of 5 cm, CEC 90 mmol/kg, 10 C, with a share of their exchanger full of bases."""
    process = Exchange()
    celsius, pressure = jnp.full_like(share, 10.0), jnp.full_like(share, pco2)
    capacity = jnp.full_like(share, 0.090 * 61.0)
    k1_kh = carbonate.log_k1(celsius) + carbonate.log_k_henry(celsius) + jnp.log10(pressure)
    calcium = carbonate.calcite_saturation(celsius, pressure)
    return exchange_layer.Layers(
        bases=jnp.array([0.85, 0.10, 0.04, 0.01])[:, None] * (share * capacity)[None],
        calcite=jnp.zeros_like(share),
        capacity=capacity,
        water=jnp.full_like(share, 0.015),  # pore water alone
        saturation=process.saturation_factor * 2e-3 * calcium,
        bicarbonate=10.0**k1_kh,
        k2=10.0 ** carbonate.log_k2(celsius),
        k_water=10.0 ** carbonate.log_k_water(celsius),
        aluminium=10.0 ** oxides.log_solubility(oxides.GIBBSITE, celsius),
        anions=jnp.full_like(share, anions / 1000.0),
        acid_exponent=process.acid_exponent * jnp.ones_like(share),
    )


def titrated(pco2: float, anions: float) -> np.ndarray:
    """Base saturation (%), pH and dissolved bases (mol_c/m3) from acid to full, [3, share]."""
    k = Exchange().selectivity()
    layers = layers_of_loess(jnp.linspace(0.02, 1.0, 50), pco2, anions)
    log_g = exchange_layer.solve(jnp.full(50, exchange_layer.START), layers, k)
    solution = exchange_layer.composition(log_g, layers, k)
    held = 100.0 * jnp.sum(solution.exchangeable, axis=0) / layers.capacity
    dissolved = 1000.0 * jnp.sum(solution.dissolved, axis=0)
    return np.asarray(jnp.stack([held, -jnp.log10(solution.protons), dissolved]))


TITRATIONS = (
    (1e-3, 0.1, GREEN, "CO₂ 0.1 %, anions 0.1 mmol_c/L"),
    (1e-2, 0.1, ORANGE, "CO₂ 1 %, anions 0.1 mmol_c/L"),
    (1e-2, 0.5, BLUE, "CO₂ 1 %, anions 0.5 mmol_c/L"),
)


def acidity(ax: Axes) -> None:
    """PH against base saturation."""
    for pco2, anions, colour, label in TITRATIONS:
        held, ph, _ = titrated(pco2, anions)
        ax.plot(held, ph, color=colour, label=label)
    ax.set_xlim(0, 100)
    name(ax, "exchange: pH follows the bases", "base saturation (%)", "pH", "upper left")


def buffering(ax: Axes) -> None:
    """Dissolved bases against base saturation: what leaching takes away."""
    for pco2, anions, colour, label in TITRATIONS:
        held, _, bases = titrated(pco2, anions)
        ax.semilogy(held, bases, color=colour, label=label)
    ax.set_xlim(0, 100)
    name(ax, "what leaching can take", "base saturation (%)", "dissolved bases (mmol_c/L)", "")


RATE_STYLES = {
    "anorthite": (ORANGE, "-"), "albite": (ORANGE, "--"), "k_feldspar": (ORANGE, ":"),
    "chlorite": (GREEN, "-"), "muscovite": (YELLOW, "-"), "montmorillonite": (SKY, "-"),
    "kaolinite": (PINK, "-"), "quartz": (GREY, "-"),
}  # fmt: skip


def weathering_rates(ax: Axes) -> None:
    """Dissolution rates in the field against pH."""
    field = Weathering().field_factor
    rates = field * dissolution_rate(jnp.asarray(PH), jnp.full(PH.size, 10.0))
    for mineral, (colour, style) in RATE_STYLES.items():
        rate = rates[MINERALS.index(mineral)]
        ax.semilogy(PH, rate, color=colour, ls=style, label=mineral.replace("_", "-"))
    ax.set_ylim(1e-19, 1e-7)
    name(ax, "weathering in the field, 10 °C", "pH", "rate (mol/m²/s)", "")
    ax.legend(fontsize=6.5, frameon=False, ncols=2, loc="upper right")


def secondary_minerals(ax: Axes) -> None:
    """Where the aluminium goes that weathering of albite releases."""
    process = Weathering()
    released = np.zeros((len(ELEMENTS), PH.size))
    released[ELEMENTS.index("aluminium")], released[ELEMENTS.index("silicon")] = 1.0, 3.0
    plenty = jnp.full(PH.size, 10.0)
    for silicon, style in ((0.2, "-"), (0.02, ":")):
        made = neoformation(
            jnp.asarray(released), plenty, jnp.full(PH.size, silicon), jnp.asarray(PH),
            process.silicon_threshold, process.smectite_ph,
        )  # fmt: skip
        parts = (
            (2.33 * made.montmorillonite, SKY, "montmorillonite"),
            (2.0 * made.kaolinite, PINK, "kaolinite"),
            (made.gibbsite, "black", "gibbsite"),
        )
        for share, colour, mineral in parts:
            label = mineral if style == "-" else None
            ax.plot(PH, share, color=colour, ls=style, label=label)
    ax.set_ylim(0, 1.32)
    ax.plot([], [], color=GREY, label="Si 0.2 mmol/L")
    ax.plot([], [], color=GREY, ls=":", label="Si 0.02 mmol/L")
    name(ax, "new minerals of weathered albite", "pH", "share of the aluminium", "")
    ax.legend(fontsize=6.5, frameon=False, ncols=2, loc="upper center")


def solubility(ax: Axes) -> None:
    """Al and Fe in solution against pH, and the range in which they protect."""
    ph, celsius = jnp.asarray(PH), jnp.full(PH.size, 10.0)
    amorphous = oxides.AMORPHOUS_ALUMINIUM
    lines = (
        (oxides.aluminium_in_solution(ph, celsius)[0], BLUE, "-", "Al³⁺, gibbsite"),
        (
            oxides.aluminium_in_solution(ph, celsius, amorphous.log_k, amorphous.enthalpy)[0],
            BLUE, ":", "Al³⁺, amorphous",
        ),
        (oxides.iron_in_solution(ph, celsius)[1], ORANGE, "-", "Fe(III), goethite"),
    )  # fmt: skip
    for values, colour, style, label in lines:
        ax.semilogy(PH, values, color=colour, ls=style, label=label)
    ax.axhspan(0.002, 0.0446, color=GREY, alpha=0.3, lw=0, label="protects by 1 to 20 %")
    ax.set_ylim(1e-9, 1e2)
    name(ax, "aluminium and iron in solution, 10 °C", "pH", "mmol/L", "upper right")


def capacity(ax: Axes) -> None:
    """CEC against organic carbon."""
    process = ExchangeCapacity()
    carbon = np.linspace(0, 6, 50)
    for clay, colour in ((10, SKY), (16, BLUE), (30, ORANGE)):
        cec = process.mineral + process.carbon * carbon / 100 + process.clay * clay / 100
        ax.plot(carbon, cec, color=colour, label=f"clay {clay} %")
    ax.set_ylim(bottom=0)
    name(ax, "cation exchange capacity", "organic carbon (mass %)", "CEC (mmol_c/kg)")


# Matter that moves.


def movement(runs: dict[str, xr.Dataset]) -> Figure:
    """Water, particles and plants: what moves matter up and down."""
    figure, axes = panels("Water, particles, plants and animals move matter, default parameters")
    percolation(axes[0], runs)
    biocycling(axes[1])
    dispersed(axes[2])
    filtered(axes[3])
    broken(axes[4])
    loosened(axes[5])
    mixed(axes[6])
    eroding(axes[7], runs)
    return figure


def percolation(ax: Axes, runs: dict[str, xr.Dataset]) -> None:
    """Percolation by depth at the end of the runs."""
    for (case, label), colour in zip(CASES.items(), (BLUE, ORANGE, YELLOW), strict=True):
        last = runs[case].isel(treatment=0, output_year=-1)
        ax.plot(last["percolation"], np.cumsum(last["thickness"]), color=colour, label=label)
    downwards(ax)
    name(ax, "percolation, last year of the runs", "percolation (mm/a)", "depth (m)")


def biocycling(ax: Axes) -> None:
    """Where plants take bases and where they return them."""
    from diffsoil.processes.biocycling import Biocycling

    plants = (("forest", 0.966, 0.6, BLUE), ("steppe", 0.943, 0.2, ORANGE))
    for label, beta, leaves, colour in plants:
        roots = np.asarray(root_distribution(TOP, THICKNESS, number(beta)))
        taken = roots ** float(Biocycling().shallowness)
        back = (1.0 - leaves) * roots
        back[0] += leaves
        ax.plot(100 * taken / taken.sum(), MIDDLE, color=colour, ls="--", label=f"{label}, uptake")
        ax.plot(100 * back, MIDDLE, color=colour, label=f"{label}, return")
    downwards(ax, 1.0)
    name(ax, "plants cycle bases", "share of each 5 cm (%)", "depth (m)", "lower right")


def dispersed(ax: Axes) -> None:
    """Share of the clay that can be dispersed against pH."""
    process = Migration()
    for bases, colour in ((0.2, BLUE), (1.0, GREEN), (2.0, ORANGE)):
        gate = dispersion(
            jnp.asarray(PH), jnp.zeros(PH.size), jnp.full(PH.size, bases),
            process.ph_low, process.ph_high, process.threshold,
        )  # fmt: skip
        ax.plot(PH, gate, color=colour, label=f"bases {bases:g} mmol_c/L")
    limed = dispersion(
        jnp.asarray(PH), jnp.full(PH.size, 0.005), jnp.full(PH.size, 0.2),
        process.ph_low, process.ph_high, process.threshold,
    )  # fmt: skip
    ax.plot(PH, limed, color="black", ls=":", label="the first, calcite 0.5 %")
    ax.set_ylim(0, 1.6)
    name(ax, "clay that can move", "pH", "share", "upper right")


def filtered(ax: Axes) -> None:
    """Where clay settles that leaves some depths."""
    to = settling(jnp.eye(len(THICKNESS)), THICKNESS, Migration().filter_length)[0].T
    for source, colour in ((0, BLUE), (4, GREEN), (10, ORANGE)):
        depth = 100 * (source + 1) * 0.05
        below = slice(source + 1, None)
        ax.plot(100 * to[below, source], MIDDLE[below], color=colour, label=f"from {depth:.0f} cm")
    downwards(ax)
    name(ax, "where clay settles", "share in each 5 cm (%)", "depth (m)")


def broken(ax: Axes) -> None:
    """Sand and silt that frost and heat leave whole."""
    process = PhysicalWeathering()
    years = np.linspace(0, 12000, 50)
    for label, rate, colour in (
        ("sand", process.sand_rate, ORANGE),
        ("silt", process.silt_rate, YELLOW),
    ):
        ax.plot(years, 100 * -np.expm1(-float(rate) * years), color=colour, label=label)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    name(ax, "grains broken by heat and frost", "year", "broken (%)")


def loosened(ax: Axes) -> None:
    """Bulk density against organic carbon."""
    carbon = np.linspace(0, 15, 60)
    for mineral, colour in ((1.22, BLUE), (1.5, ORANGE)):
        density = mixed_bulk_density(
            jnp.asarray(1.724 * carbon), number(mineral), Texture().organic_density
        )
        ax.plot(carbon, density, color=colour, label=f"{mineral:g} without humus")
    ax.set_ylim(bottom=0)
    name(ax, "humus loosens", "organic carbon (mass %)", "bulk density (g/cm³)")


def mixed(ax: Axes) -> None:
    """A layer that fauna spreads over the depth of its mixing."""
    process = Fauna()
    mass = jnp.full(LAYERS, 610.0)
    zone = jnp.where(process.depth > TOP + 1e-9, 1.0, 0.0)
    fraction = zone * process.rate / jnp.sum(zone * mass)
    share = shares(fraction, mass)
    once = np.asarray(jax.vmap(lambda a: mix(a, fraction, share))(jnp.eye(LAYERS)))
    edges = np.append(np.asarray(TOP), 2.0)
    for years, colour in ((100, BLUE), (500, GREEN), (2000, ORANGE)):
        amount = 100.0 * np.linalg.matrix_power(once, years)[0]
        ax.stairs(amount, edges, orientation="horizontal", baseline=None, color=colour, lw=1.5,
                  label=f"after {years} years")  # fmt: skip
    downwards(ax, 0.6)
    name(ax, "fauna spreads the top 5 cm", "in each 5 cm (%)", "depth (m)", "center right")


def eroding(ax: Axes, runs: dict[str, xr.Dataset]) -> None:
    """Soil that the agricultural run has lost."""
    run = runs["loess_dry_agriculture"]
    lost = 0.0
    years, depth = [0.0], [0.0]
    grid = tomllib.loads(run.attrs["case"])["grid"]["thickness_m"]
    for phase in plots.phases(run):
        rate = 0.0 if phase.interval == 1 else grid / phase.interval
        lost += rate * (phase.end - phase.start)
        years.append(phase.end)
        depth.append(lost)
    ax.plot(years, depth, color=ORANGE)
    ax.set(xlim=(0, years[-1]), ylim=(lost * 1.05 + 0.01, 0))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    name(ax, "erosion of the agricultural case", "year", "soil lost (m, as laid down)", "")


# Real profiles.


def dutch() -> dict[str, pd.DataFrame]:
    """Representative profiles of Dutch loess: brick soils and others without much humus."""
    table = pd.read_csv(data_path("observations", "dutch_loess", "layers.csv"))
    table = table.rename(columns={"profile_id": "profile", "clay_pct": "clay", "ph_kcl": "ph",
                                  "caco3_pct": "calcite"})  # fmt: skip
    table["organic_carbon"] = table["organic_matter_pct"] / 1.72
    luvisol = table["english_group"].str.startswith("Luvisol")
    young = table["english_group"].str.startswith(("Cambisol", "Gleysol"))
    return {"Dutch Luvisols": table[luvisol], "Dutch young soils of loess": table[young]}


MOST_CARBONATE = 100.0
"""g/kg; profiles with more stand on limestone, not on loess."""


def kansas() -> dict[str, pd.DataFrame]:
    """Measured profiles of Kansas: prairie and woodland (KONZ), cropland (KONA)."""
    table = pd.read_csv(data_path("observations", "neon_silty", "layers.csv"))
    table = table.rename(
        columns={"profile_id": "profile", "clay_pct": "clay", "ph_h2o": "ph",
                 "base_saturation_nh4oac_pct": "base_saturation"}
    )  # fmt: skip
    table["organic_carbon"] = table["soc_from_total_c_g_kg"].fillna(table["soc_g_kg"]) / 10.0
    # empty: no reaction with acid
    table["calcite"] = table["caco3_g_kg"].fillna(0.0).where(table["clay"].notna()) / 10.0
    most = table.groupby("profile")["caco3_g_kg"].transform("max").fillna(0.0)
    table = table[most <= MOST_CARBONATE]
    return {
        "Kansas prairie and woodland (KONZ)": table[table["site_id"] == "KONZ"],
        "Kansas cropland (KONA)": table[table["site_id"] == "KONA"],
    }


def real_profiles(runs: dict[str, xr.Dataset]) -> dict[str, Figure]:
    """Shapes of the runs beside those of real profiles."""
    wet = plots.beside_profiles(
        {"wet forest, end of the run": runs["loess_wet_forest"]},
        dutch(),
        "Shapes, not levels. Dutch loess: representative profiles of map units, mostly farmland "
        "(limed, eroded);\npH in KCl there, of the soil solution here",
    )
    dry = plots.beside_profiles(
        {
            "dry steppe, end of the run": runs["loess_dry_steppe"],
            "dry, agriculture and recovery": runs["loess_dry_agriculture"],
        },
        kansas(),
        "Shapes, not levels. Kansas: single pits, 860 mm rain (run: 600), twice the clay "
        "(37-39 %; loess of the run 16 %);\npH in water there; base saturation by NH₄OAc at pH 7",
    )
    return {"profiles_wet_dutch": wet, "profiles_dry_kansas": dry}


BY_SOLUTION = ('column = "whole_soil"', 'column = "whole_soil"\nbiocycling = "solution"')
DUST = (
    "[deposition]",
    """[deposition]
dust_g_m2_a = 10
dust_mineralogy = "loess"
dust_clay_percent = 20
dust_silt_percent = 70
dust_calcite_percent = 10""",
)
BASES = {
    "loess_wet_forest": {"by the solution": [BY_SOLUTION]},
    "loess_dry_steppe": {
        "by the solution": [BY_SOLUTION],
        "by base saturation, dust": [DUST],
        "by the solution, dust": [BY_SOLUTION, DUST],
    },
}
"""Cases, and what is changed in them."""


def varied(case: str, changes: list[tuple[str, str]]) -> xr.Dataset:
    """The run of a case with some of its text replaced."""
    shipped = load_case(case)
    text = shipped.text
    for old, new in changes:
        text = text.replace(old, new, 1)
    return simulate(read_case(shipped.path, text)).to_xarray()


def topsoil(last: xr.Dataset, variable: str, depth: float = 0.4) -> float:
    """Mean of the upper 0.4 m."""
    thickness = last["thickness"].to_numpy()
    top = np.cumsum(thickness) - thickness
    weights = np.clip(depth - top, 0.0, thickness)
    return float(np.average(last[variable], weights=weights))


def cycled_bases(runs: dict[str, xr.Dataset]) -> Figure:
    """Base saturation and pH by depth at the end of runs, by how plants cycle bases."""
    figure = Figure(figsize=(12.0, 3.8), layout="constrained")
    axes = iter(figure.subplots(1, 4).ravel())
    for case, variants in BASES.items():
        ends = {"by base saturation": runs[case]}
        ends |= {label: varied(case, changes) for label, changes in variants.items()}
        shown = {"base_saturation": "base saturation (%)", "ph": "pH"}
        for (variable, label), ax in zip(shown.items(), axes, strict=False):
            for (way, run), colour in zip(ends.items(), (GREY, BLUE, SKY, ORANGE), strict=False):
                last = run.isel(treatment=0, output_year=-1)
                middle = np.cumsum(last["thickness"]) - 0.5 * last["thickness"]
                ax.plot(last[variable], middle, color=colour, label=way)
                value = topsoil(last, variable)
                print(f"{CASES[case]}, {way}: {label} {value:.1f}, top {last[variable][0]:.1f}")
            ax.spines[["top", "right"]].set_visible(False)
            ax.set_ylim(2.0, 0)
            name(ax, CASES[case], label, "depth (m)", "lower left" if variable == "ph" else "")
    return figure


def read_or_simulate(files: list[Path]) -> dict[str, xr.Dataset]:
    """Runs by the name of their case."""
    runs = {}
    for file in files:
        run = plots.read_run(file)
        runs[tomllib.loads(run.attrs["case"])["name"]] = run
    for case in CASES:
        if case not in runs:
            runs[case] = simulate(case).to_xarray()
    return runs


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="runs to take instead of simulating")
    parser.add_argument("--output", type=Path, default=Path("docs/figures"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    runs = read_or_simulate(arguments.runs)
    for case in CASES:
        plots.draw(runs[case], arguments.output, f"{case}_")
    figures = {"process_chemistry": chemistry(), "process_movement": movement(runs)}
    figures["cycled_bases"] = cycled_bases(runs)
    for word, figure in (figures | real_profiles(runs)).items():
        save(figure, arguments.output / f"{word}.png", dpi=plots.DPI)


if __name__ == "__main__":
    main()

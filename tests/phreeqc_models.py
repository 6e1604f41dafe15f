"""PHREEQC beside the chemistry of the column: the same solutions, layers and constants.

What the column assumes is given to PHREEQC as text, and can be undone part by part so that each
assumption shows what it costs. ``python -m tests.phreeqc_models`` prints the table of
``docs/explanation/whole_soil.md``.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from phreeqc import Phreeqc

from diffsoil.processes import carbonate, exchange_layer, oxides
from diffsoil.processes.exchange import Exchange
from diffsoil.processes.exchange_layer import ALUMINIUM_HYDROLYSIS, LITRES, Layers
from diffsoil.processes.minerals import MINERALS
from diffsoil.state import BUDGET, SIZES, SOLUTES, Ground
from diffsoil.units import MG_PER_KG_M2, MMOL_PER_MOL

COUNT = 200
"""Solutions of each kind."""

BASES = ("Ca", "Mg", "K", "Na")
VALENCES = exchange_layer.VALENCE[:, 0]
SALT = 1e-3
"""Anions of strong acids above which a layer is called saline, mol_c/L."""
THIRD = f"{1 / 3:.12f}"

Array = np.ndarray

# what PHREEQC is told

DATABASE = importlib.resources.files("phreeqc") / "databases" / "phreeqc.dat"

IONS = ("H+", "Na+", "K+", "Mg+2", "Ca+2", "Al+3", "Cl-", "CO3-2", "SO4-2")
"""Ions that others are made of, besides Fe+3."""

FIRST, SECOND = (np.array(k) for k in (carbonate.FIRST_DISSOCIATION, carbonate.SECOND_DISSOCIATION))
CARBONATE = {
    "H2O = OH- + H+": carbonate.WATER,
    "CO3-2 + H+ = HCO3-": -SECOND,
    "CO3-2 + 2 H+ = CO2 + H2O": -FIRST - SECOND,
}
"""Coefficients of the column; those of PHREEQC's expression come in the same order."""

IRON = "Fe+2 = Fe+3 + e-"

PRODUCTS = (
    "{0}+3 + H2O = {0}OH+2 + H+",
    "{0}+3 + 2 H2O = {0}(OH)2+ + 2 H+",
    "{0}+3 + 3 H2O = {0}(OH)3 + 3 H+",
    "{0}+3 + 4 H2O = {0}(OH)4- + 4 H+",
)
HYDROLYSIS = {
    reaction.format(metal): constant
    for metal, constants in (("Al", oxides.ALUMINIUM_HYDROLYSIS), ("Fe", oxides.IRON_HYDROLYSIS))
    for reaction, constant in zip(PRODUCTS, constants, strict=True)
}
"""Constants of the column."""

IDEAL = "-gamma 1e9 0"
"""An ion as large as this has an activity coefficient of 1."""
OFF = "-log_k -99"


@dataclasses.dataclass(frozen=True)
class Model:
    """Whose assumptions PHREEQC makes."""

    activities: Literal["ideal", "davies", "database"] = "ideal"
    constants: Literal["column", "database"] = "column"
    """Of CO2, carbonate, water and minerals."""
    pairs: bool = False
    """Whether ions form pairs."""
    hydrolysis: Literal["exchange", "warmed", "oxides", "database"] = "exchange"
    """AlOH2+ alone at its constant of 25 C, or at that of the temperature; all of Al and Fe with
    constant enthalpies, or as the database has them."""


COLUMN = Model()
OWN = Model("database", "database", pairs=True, hydrolysis="database")
"""The database as it comes."""


@cache
def database() -> dict[str, tuple[str, str]]:
    """The constants and the activity of each reaction in solution, as lines of input."""
    text = DATABASE.read_text(encoding="latin-1")
    text = text.split("\nSOLUTION_SPECIES\n")[1].split("\nPHASES\n")[0]
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in re.sub(r"#.*", "", text).replace(";", "\n").splitlines():
        words = line.split()
        if "=" in words:
            lines = found.setdefault(" ".join(words), [])
        elif words:
            lines.append(" ".join(words))
    constant = re.compile(r"-?(log_k|delta_h|analytic)")
    return {
        equation: (
            "\n".join(x for x in lines if constant.match(x)),
            "\n".join(x for x in lines if x.startswith("-gamma")),
        )
        for equation, lines in found.items()
    }


def pairs() -> list[str]:
    """Reactions of the database between the ions, other than those that the column has."""
    ions = {*IONS, "Fe+3", "H2O", "CO2", "HCO3-", "HSO4-", "MgSO4"}
    known = {*CARBONATE, *HYDROLYSIS, *(f"{ion} = {ion}" for ion in (*IONS, "H2O"))}
    return [
        equation
        for equation in database()
        if equation not in known
        and "e-" not in equation.split()
        and {*re.findall(r"[A-Z(]\S*", equation.split("=")[0])} <= ions
    ]


def analytic(coefficients: Sequence[float]) -> str:
    return "-analytic " + " ".join(f"{float(x):.15g}" for x in coefficients)


def van_t_hoff(reaction: oxides.Reaction) -> str:
    return f"-log_k {reaction.log_k}\n-delta_h {reaction.enthalpy} kcal"


def species(model: Model) -> str:
    """Reactions in solution, as far as they differ from those of the database."""
    if model == OWN:
        return ""
    constants = {equation: given for equation, (given, _) in database().items()}
    wanted = {equation: constants[equation] for equation in (IRON, *CARBONATE, *HYDROLYSIS)}
    wanted |= {f"{ion} = {ion}": "-log_k 0" for ion in IONS}
    wanted |= {equation: constants[equation] if model.pairs else OFF for equation in pairs()}
    if model.constants == "column":
        wanted |= {equation: analytic(given) for equation, given in CARBONATE.items()}
    if model.hydrolysis == "oxides":
        wanted |= {equation: van_t_hoff(given) for equation, given in HYDROLYSIS.items()}
    if model.hydrolysis in ("exchange", "warmed"):
        first = next(iter(HYDROLYSIS))
        cold = f"-log_k {np.log10(ALUMINIUM_HYDROLYSIS)}"
        wanted |= dict.fromkeys(HYDROLYSIS, OFF)
        wanted[first] = cold if model.hydrolysis == "exchange" else constants[first]
    lines = ["SOLUTION_SPECIES"]
    for equation, given in wanted.items():
        charged = re.search(r"[+-]\d?$", equation.split("=")[1].split()[0])
        if model.activities == "database":
            activity = database()[equation][1]
        elif model.activities == "ideal" or not charged:
            activity = IDEAL
        else:  # Davies, unless PHREEQC is told
            activity = ""
        lines += [equation, given, activity]
    return "\n".join(lines)


def phases(model: Model) -> str:
    """Minerals and CO2, as far as they differ from those of the database."""
    if model.constants == "database":
        return ""
    reactions = {
        "CO2(g)\nCO2 = CO2": analytic(carbonate.HENRY),
        "Calcite\nCaCO3 = CO3-2 + Ca+2": analytic(carbonate.CALCITE),
        "Gibbsite\nAl(OH)3 + 3 H+ = Al+3 + 3 H2O": van_t_hoff(oxides.GIBBSITE),
        "Goethite\nFeOOH + 3 H+ = Fe+3 + 2 H2O": van_t_hoff(oxides.GOETHITE),
    }
    return "\n".join(["PHASES", *(f"{phase}\n{given}" for phase, given in reactions.items())])


def exchanger() -> str:
    """The Gapon exchanger: one site in each reaction, activities are shares of the sites.

    In the column bases exchange against acidity, of which H is ``1 / (1 + ratio)`` and Al the
    rest; PHREEQC has the two apart.
    """
    process = Exchange()
    empty = 20.0  # high enough that hardly a site is empty
    logs = np.log10(np.asarray(process.selectivity()))
    reactions = (
        "0.5 Ca+2 + Y- = Ca0.5Y",
        "0.5 Mg+2 + Y- = Mg0.5Y",
        "K+ + Y- = KY",
        "Na+ + Y- = NaY",
    )
    lines = ["EXCHANGE_MASTER_SPECIES\nY Y-\nEXCHANGE_SPECIES\nY- = Y-\n-log_k 0"]
    lines += [f"{r}\n-log_k {empty - k:.12g}" for r, k in zip(reactions, logs, strict=True)]
    # PHREEQC takes an expression in temperature: here a fit
    celsius = np.linspace(0.0, 25.0, 26)
    kelvin = celsius + carbonate.ZERO_CELSIUS
    aluminium = float(process.log_k_aluminium)
    log_solubility = np.asarray(oxides.log_solubility(oxides.GIBBSITE, jnp.asarray(celsius)))
    log_ratio = log_solubility / 3.0 - aluminium
    terms = np.stack([kelvin**0, kelvin, 1 / kelvin, np.log10(kelvin), kelvin**-2], axis=1)
    size = terms[0]
    of_hydrogen = empty - np.log10(1.0 + 10.0**log_ratio)
    fit = np.linalg.lstsq(terms / size, of_hydrogen, rcond=1e-14)[0] / size
    assert np.abs(terms @ fit - of_hydrogen).max() < 1e-5
    lines += ["H+ + Y- = HY", analytic(fit)]
    lines += [f"{THIRD} Al+3 + Y- = Al{THIRD}Y", analytic(fit - aluminium * np.eye(5)[0])]
    return "\n".join(lines)


def run(model: Model, text: str, punch: Sequence[str], state: str = "i_soln") -> Array:
    """What PHREEQC says of solutions, one row for each thing that is punched.

    Args:
        model: what it assumes.
        text: input of the solutions.
        punch: expressions of its Basic.
        state: of which results, those of initial solutions or of reactions (``"react"``).

    Raises:
        RuntimeError: it found no solution, or did not understand the input.
    """
    phreeqc = Phreeqc()
    phreeqc.LoadDatabase(str(DATABASE))
    output = [
        "SELECTED_OUTPUT\n-reset false\n-state true\n-high_precision true",
        f"USER_PUNCH\n-headings {' '.join(map(str, range(len(punch))))}",
        f"10 PUNCH {', '.join(punch)}\nEND",
    ]
    blocks = [species(model), phases(model), exchanger(), "END", *output, text]
    if phreeqc.RunString("\n".join(blocks)):
        raise RuntimeError(phreeqc.GetErrorString())
    states, *found = phreeqc.GetSelectedOutput().values()
    wanted = [str(x).strip() == state for x in states]
    rows = np.array(found, float)[:, wanted]
    assert rows.shape == (len(punch), COUNT)
    return rows


# solutions and layers of all kinds


class Solutions(NamedTuple):
    """Solutions of soils."""

    temperature: Array
    """degrees C."""
    pco2: Array
    """atm."""
    bases: Array
    """Ca, Mg, K, Na, mol_c/L."""
    anions: Array
    """mol_c/L."""
    sulphate: Array
    """Share of the anions."""

    def ions(self, i: int, skip: Sequence[str] = ()) -> str:
        """The ions of one as lines of input, but for some."""
        amounts = dict(zip(BASES, self.bases[i] / VALENCES, strict=True))
        amounts["Cl"] = self.anions[i] * (1 - self.sulphate[i])
        amounts["S(6)"] = self.anions[i] * self.sulphate[i] / 2
        return "\n".join(f"{ion} {1e3 * x:.12g}" for ion, x in amounts.items() if ion not in skip)


@cache
def solutions(seed: int = 1) -> Solutions:
    """Solutions of which a quarter are acid: more anions than bases."""
    rng = np.random.default_rng(seed)
    low, high = np.log([[0.01, 0.005, 0.005, 0.02], [5.0, 2.0, 1.0, 5.0]])
    bases = 1e-3 * np.exp(rng.uniform(low, high, (COUNT, 4))) * VALENCES
    total = bases.sum(axis=1)
    acid = rng.random(COUNT) < 0.25
    anions = np.where(acid, total + 10 ** rng.uniform(-5, -3.3, COUNT), total * rng.random(COUNT))
    return Solutions(
        temperature=rng.uniform(0, 25, COUNT),
        pco2=10 ** rng.uniform(-3.5, -1.5, COUNT),
        bases=bases,
        anions=anions,
        sulphate=rng.uniform(0.1, 0.6, COUNT),
    )


# what the column makes of them


def layers(at: Solutions, capacity: Array, calcite: Array, water: Array) -> tuple[Layers, Ground]:
    """Layers of 5 cm with the constants that the column gives them.

    Args:
        at: with all bases of the layer as if they were dissolved.
        capacity: of the exchanger, mol_c/m2.
        calcite: mol/m2.
        water: what drains and what stays, m.
    """
    labile = np.zeros((len(SOLUTES), COUNT))
    labile[: len(BASES)] = at.bases.T * LITRES * water
    ground = Ground(
        minerals=jnp.full((len(MINERALS), len(SIZES), COUNT), 1e6),
        calcite=jnp.asarray(calcite),
        labile=jnp.asarray(labile),
        ph=jnp.full(COUNT, 6.0),
        respiration=jnp.zeros(COUNT),
        gained=jnp.zeros(len(BUDGET)),
        lost=jnp.zeros(len(BUDGET)),
    )
    mass, wet, thickness = 60.0, 0.3, 0.05  # kg/m2, -, m
    environment = {
        "mineral_mass": jnp.full(COUNT, MG_PER_KG_M2 * mass),
        "cec": jnp.asarray(capacity * LITRES / mass),
        "water_content": jnp.full((1, COUNT), wet),
        "thickness": jnp.full(COUNT, thickness),
        "depth_top": jnp.zeros(COUNT),
        "pco2": jnp.asarray(at.pco2),
    }
    drainage = jnp.asarray(water - wet * thickness)
    made = Exchange()._layers(ground, environment, jnp.asarray(at.temperature), drainage)
    return made._replace(anions=jnp.asarray(at.anions)), ground


@cache
def soil() -> tuple[Solutions, Layers, Ground]:
    """Layers from acid to calcareous with the water of some years, a fifth of them saline."""
    rng = np.random.default_rng(2)
    at = solutions(seed=2)
    water = 10 ** rng.uniform(-1.5, 0.5, COUNT)
    capacity = rng.uniform(2.0, 18.0, COUNT)
    limed, saline = rng.random(COUNT) < 0.5, rng.random(COUNT) < 0.2
    filled = np.where(limed, rng.uniform(0.8, 1.0, COUNT), rng.uniform(0.05, 1.0, COUNT))
    usual, salty = (rng.dirichlet(x, COUNT) for x in ([8, 2, 0.5, 0.3], [2, 2, 1, 8]))
    shares = np.where(saline[:, None], salty, usual)
    least, most = np.log10(SALT) - np.array([2.0, 0.0]), np.log10(SALT) + np.array([0.0, 1.3])
    logs = np.where(saline, rng.uniform(*most, COUNT), rng.uniform(*least, COUNT))
    at = at._replace(
        bases=shares * (filled * capacity / (LITRES * water))[:, None], anions=10**logs
    )
    return at, *layers(at, capacity, np.where(limed, 10 ** rng.uniform(-3, 2, COUNT), 0.0), water)


@cache
def dissolved() -> tuple[Solutions, Layers]:
    """Solutions, and the layers of which they are the water."""
    at, one = solutions(), np.ones(COUNT)
    return at, layers(at, one, 0.0 * one, one)[0]


neutral = jax.jit(exchange_layer.neutral)


def ph(bases: Array, at: Layers) -> Array:
    return -np.log10(np.asarray(neutral(jnp.asarray(bases), at)))


def saturation_index(bases: Array, at: Layers) -> Array:
    """log10 of the ion product over that at which the column lets calcite precipitate."""
    h = 10 ** -ph(bases.sum(axis=1), at)
    carbonate_with = 0.5 * bases[:, 0] * np.asarray(at.bicarbonate) ** 2 / h**2
    return np.log10(carbonate_with / (0.5 * np.asarray(at.saturation) ** 3))


def conditional(at: Layers, temperature: Array) -> Array:
    """log10 of the constant of calcite with the activities in it, over that without."""
    ions = 0.5 * np.asarray(at.saturation) ** 3 * np.asarray(at.k2 / at.bicarbonate)
    return np.log10(ions) - np.asarray(carbonate.log_k_calcite(jnp.asarray(temperature)))


def saturated(at: Solutions, made: Layers) -> Array:
    """Calcium at calcite saturation in a solution of other ions, mol/L."""
    excess = jnp.asarray(at.bases[:, 1:].sum(axis=1) - at.anions)
    return 0.5 * np.asarray(jax.jit(exchange_layer.saturation_with)(excess, made.saturation))


def saturated_in_full(at: Solutions, made: Layers) -> Array:
    """The same where all of the charge counts, as in the pH of the column; by bisection."""
    bases = at.bases.copy()
    low, high = np.full(COUNT, -20.0), np.full(COUNT, 3.0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        bases[:, 0] = 2 * np.exp(middle)
        over = saturation_index(bases, made) > 0
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.exp(low)


@jax.jit
def exchange(made: Layers, ground: Ground) -> tuple[jax.Array, jax.Array]:
    """Shares of Ca, Mg, K, Na and Al on the exchanger, and [H+]."""
    process = Exchange()
    k = process.selectivity()
    log_g = exchange_layer.solve(jnp.full(COUNT, exchange_layer.START), made, k)
    bases = exchange_layer.bases_at(log_g, made, k)
    found = process._on_exchanger(bases, made, ground)
    al = found["exchangeable_aluminium"][None]
    shares = jnp.concatenate([found["exchangeable_bases"], al]) / 100.0
    return shares, exchange_layer.neutral(jnp.sum(bases.dissolved, axis=0), made)


# the two beside each other


class Compared(NamedTuple):
    """What both say of the same solutions."""

    name: str
    column: Array
    phreeqc: Array


GIBBSITE = "Al 1e-3 Gibbsite 0"
PH = '-LA("H+")'
CALCIUM = 'LOG10(TOT("Ca"))'


def begin(at: Solutions, i: int) -> str:
    return f"SOLUTION {i}\n-temp {at.temperature[i]}"


def head(at: Solutions, i: int, *more: str) -> str:
    """A solution with CO2 that is neutral at the pH to be found."""
    carbon = f"C(4) 1 CO2(g) {np.log10(at.pco2[i]):.12g}"
    return "\n".join([begin(at, i), "pH 7 charge", carbon, *more])


def every(text: Callable[[int], str]) -> str:
    """Input of all solutions."""
    return "\n".join(map(text, range(COUNT))) + "\nEND"


def shift(model: Model, made: Layers, temperature: Array) -> Array:
    """Saturation index of PHREEQC at which the column is at calcite saturation."""
    ideal = model.activities == "ideal"
    return conditional(made, temperature) if ideal else np.zeros(COUNT)


def of_co2(model: Model) -> list[Compared]:
    """Water with CO2 and nothing else."""
    at, made = dissolved()
    nothing = jnp.zeros(COUNT)
    made = made._replace(anions=nothing, aluminium=nothing + 1e-9)
    there = run(model, every(lambda i: head(at, i)), [PH])[0]
    return [Compared("pH of water and CO₂", ph(nothing, made), there)]


def in_solution(model: Model) -> list[Compared]:
    """pH and calcite of solutions over gibbsite."""
    at, made = dissolved()
    total = at.bases.sum(axis=1)
    text = every(lambda i: head(at, i, GIBBSITE, at.ions(i)))
    ph_there, si_there = run(model, text, [PH, 'SI("Calcite")'])
    si_there -= shift(model, made, at.temperature)
    ph_here, acid = ph(total, made), at.anions > total
    return [
        Compared("pH, more bases than anions", ph_here[~acid], ph_there[~acid]),
        Compared("pH, more anions than bases", ph_here[acid], ph_there[acid]),
        Compared("calcite saturation index", saturation_index(at.bases, made), si_there),
    ]


def calcium_over_calcite(model: Model) -> list[Compared]:
    """Water with CO2 and calcite, with activities."""
    at, made = dissolved()
    here = np.log10(0.5 * np.asarray(made.saturation))
    there = run(model, every(lambda i: head(at, i, "Ca 1 Calcite 0")), [CALCIUM])[0]
    return [Compared("lg Ca over calcite, pure water", here, there)]


def ph_over_calcite(model: Model) -> list[Compared]:
    """The same, as the charge balance has it, without activities."""
    at, made = dissolved()
    made = made._replace(anions=jnp.zeros(COUNT))
    si = shift(model, made, at.temperature)
    there = run(model, every(lambda i: head(at, i, f"Ca 1 Calcite {si[i]:.12g}")), [PH])[0]
    return [Compared("pH over calcite, pure water", ph(made.saturation, made), there)]


def among_others(model: Model) -> list[Compared]:
    """Calcite in solutions of other ions."""
    at, made = dissolved()
    si = shift(model, made, at.temperature)
    text = every(lambda i: head(at, i, GIBBSITE, at.ions(i, ["Ca"]), f"Ca 1 Calcite {si[i]:.12g}"))
    there = run(model, text, [CALCIUM])[0]
    return [
        Compared("lg Ca over calcite, other ions", np.log10(saturated(at, made)), there),
        Compared("the same, full charge balance", np.log10(saturated_in_full(at, made)), there),
    ]


def over_oxides(model: Model) -> list[Compared]:
    """Al over gibbsite and Fe over goethite, at any pH, among other ions."""
    at = solutions()
    acidity = np.random.default_rng(3).uniform(4.0, 8.0, COUNT)
    given = jnp.asarray(acidity), jnp.asarray(at.temperature)
    (free, al), (_, fe) = oxides.aluminium_in_solution(*given), oxides.iron_in_solution(*given)
    free, al, fe = (np.log10(np.asarray(x) / MMOL_PER_MOL) for x in (free, al, fe))
    phases = f"{GIBBSITE}\nFe(3) 1e-6 Goethite 0"
    text = every(lambda i: f"{begin(at, i)}\npH {acidity[i]}\n{phases}\n{at.ions(i)}")
    punch = ['LM("Al+3")', 'LOG10(TOT("Al"))', 'LOG10(TOT("Fe(3)"))']
    free_there, al_there, fe_there = run(model, text, punch)
    return [
        Compared("lg Al³⁺ over gibbsite", free, free_there),
        Compared("lg Al over gibbsite, all forms", al, al_there),
        Compared("lg Fe over goethite, all forms", fe, fe_there),
    ]


def on_exchanger(model: Model) -> list[Compared]:
    """Layers with exchanger, gibbsite and calcite."""
    at, made, ground = soil()
    si = shift(model, made, at.temperature)
    litres = LITRES * np.asarray(made.water)
    capacity, calcite = np.asarray(made.capacity) / litres, np.asarray(made.calcite) / litres
    sites = ("Ca0.5Y", "Mg0.5Y", "KY", "NaY", "HY")

    def text(i: int) -> str:
        held = [*at.bases[i], capacity[i] - at.bases[i].sum()]
        return "\n".join(
            [
                head(at, i, at.ions(i, BASES)),
                f"EXCHANGE {i}",
                *(f"{site} {x:.12g}" for site, x in zip(sites, held, strict=True)),
                f"EQUILIBRIUM_PHASES {i}\nCO2(g) {np.log10(at.pco2[i]):.12g}\nGibbsite 0 10",
                f"Calcite {si[i]:.12g} {calcite[i]:.12g}\nEND",
            ]
        )

    punch = [f'MOL("{site}") / TOT("Y")' for site in (*sites[:4], f"Al{THIRD}Y")]
    *there, ph_there = run(model, every(text), [*punch, PH], "react")
    here, h = (np.asarray(x) for x in exchange(made, ground))
    kinds = ("usual", at.anions < SALT), ("saline", at.anions >= SALT)
    found = []
    for kind, these in kinds:
        found += [
            Compared(f"exchanger, {kind}", here[:, these], np.array(there)[:, these]),
            Compared(f"pH over it, {kind}", -np.log10(h[these]), ph_there[these]),
        ]
    return found


KINDS: dict[Callable[[Model], list[Compared]], Model] = {
    of_co2: COLUMN,
    in_solution: COLUMN,
    calcium_over_calcite: dataclasses.replace(COLUMN, activities="davies"),
    ph_over_calcite: COLUMN,
    among_others: COLUMN,
    over_oxides: dataclasses.replace(COLUMN, hydrolysis="oxides"),
    on_exchanger: COLUMN,
}
"""What is compared, with the model that has the assumptions of the column."""


def undone(model: Model) -> dict[str, Model]:
    """Models in which one assumption of the column is undone."""
    better = "davies" if model.activities == "ideal" else "database"
    return {
        "activities": dataclasses.replace(model, activities=better),
        "ion pairs": dataclasses.replace(model, pairs=True),
        "hydrolysis": dataclasses.replace(model, hydrolysis="database"),
        "constants": dataclasses.replace(model, constants="database"),
    }


def size(difference: Array) -> tuple[float, float]:
    """Root mean square and largest."""
    return float(np.sqrt(np.mean(difference**2))), float(np.abs(difference).max())


class Row(NamedTuple):
    """How far PHREEQC is from the column in one thing: rms and largest."""

    name: str
    same: tuple[float, float]
    own: tuple[float, float]
    by: dict[str, tuple[float, float]]
    """What undoing each assumption of the column brings, in PHREEQC."""


def rows(kind: Callable[[Model], list[Compared]]) -> list[Row]:
    """The differences of one kind."""
    same, own = kind(KINDS[kind]), kind(OWN)
    by = {name: kind(model) for name, model in undone(KINDS[kind]).items()}
    return [
        Row(
            name=one.name,
            same=size(one.phreeqc - one.column),
            own=size(own[i].phreeqc - own[i].column),
            by={name: size(there[i].phreeqc - one.phreeqc) for name, there in by.items()},
        )
        for i, one in enumerate(same)
    ]


def table() -> str:
    """All differences, rms / largest, in Markdown."""
    heads = ["what", "same constants", "PHREEQC's own", *undone(COLUMN)]
    lines = ["| " + " | ".join(x) + " |" for x in (heads, ["---"] * len(heads))]
    for kind in KINDS:
        for row in rows(kind):
            cells = [f"{x[0]:.3f} / {x[1]:.3f}" for x in (row.same, row.own, *row.by.values())]
            lines.append("| " + " | ".join([row.name, *cells]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(table())

"""Whether the whole soil stays sound: any parameters within their bounds, in extreme soils.

Every draw takes all parameters from within their bounds (a Sobol sequence; one draw in four goes
to the bounds themselves), shifts the climate, and lives through one of :data:`SITES`. After each
slow step the state and all that was computed are checked (:data:`CHECKS`). A draw that fails is
lived through again up to the step that failed, then process by process, to name the first that
leaves something unsound.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.stats import qmc

from diffsoil.cases import load_case
from diffsoil.cases.arrays import build
from diffsoil.cases.horizons import composition
from diffsoil.cases.profiles import Mineralogy
from diffsoil.column import Column
from diffsoil.parameters import Parameter
from diffsoil.process import Environment
from diffsoil.processes.erosion import ContinuousErosion
from diffsoil.processes.minerals import CALCITE_MASS, MOLAR_MASS
from diffsoil.processes.oxides import KineticIron, Oxides
from diffsoil.processes.protection import Protection, SoftMinimum
from diffsoil.processes.texture import ground_totals
from diffsoil.state import BUDGET, CATIONS, MINERALS, SOLUTES, Ground, State, empty_state
from diffsoil.time import Phase, Record, advance

CASE = "loess_wet_forest"
LAYERS, THICKNESS = 20, 0.1
YEARS, STEP = 2000, 10
BATCH = 25

CHECKS = (
    "finite",
    "not negative",
    "base saturation",
    "pH",
    "radiocarbon",
    "carbon balance",
    "ground balance",
)
"""What is checked, in this order."""

CLOSURE = 1e-10
"""Largest relative error of a balance."""
ROUNDING = 1e-12
"""How far below zero, or above 100 %, rounding may take an amount, relative."""
LITTLE = 1e-3
"""mol/m2 (kg/m2, Mg/ha) that a balance is relative to where there is next to nothing."""
UNIT = 1.0
"""Amount that rounding is relative to where there is less: mol/m2, Mg/ha or mm."""
LOG_RANGE = 100.0
"""A parameter whose bounds are further apart than this factor is drawn on a logarithmic scale."""


# sites


@dataclasses.dataclass
class Site:
    """What a draw lives through: variables of the environment, and the soil at its start."""

    constant: dict[str, np.ndarray]
    series: dict[str, np.ndarray]
    soil: dict[str, np.ndarray]
    carbon: np.ndarray

    def state(self) -> State:
        """The column at the start."""
        layers = self.carbon.shape[1]
        zero = jnp.zeros(len(BUDGET))
        soil = {name: jnp.asarray(value) for name, value in self.soil.items()}
        ground = Ground(**soil, respiration=jnp.zeros(layers), gained=zero, lost=zero)
        state = empty_state(layers, jnp.zeros(layers), radiocarbon=True, ground=ground)
        carbon = jnp.asarray(self.carbon)
        return dataclasses.replace(state, carbon=carbon, radiocarbon=carbon)

    def made_of(
        self,
        percent: tuple[float, float],
        minerals: Mapping[str, Mapping[str, float]],
        calcite_percent: float = 0.0,
        bases: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        ph: float = 5.5,
    ) -> None:
        """Make the soil and its parent material of something else.

        Args:
            percent: clay and silt, mass %.
            minerals: shares by size class.
            calcite_percent: part of the silt.
            bases: exchangeable, mmol_c/kg.
            ph: at the start.
        """
        mass = self.soil_mass()
        amounts, calcite = composition(*percent, calcite_percent, Mineralogy(**minerals))  # type: ignore[arg-type]
        labile = np.zeros(len(SOLUTES))
        labile[: len(CATIONS)] = mass * np.array(bases) / 1000
        layer = {"minerals": mass * amounts, "calcite": np.asarray(mass * calcite)}
        layer["labile"] = labile
        for name, value in layer.items():
            self.constant[f"parent_{name}"] = value
            self.soil[name] = np.repeat(value[..., None], self.carbon.shape[1], axis=-1)
        self.soil["ph"] = np.full(self.carbon.shape[1], ph)

    def soil_mass(self) -> float:
        """Mass of a layer of parent material, kg/m2."""
        minerals = np.sum(MOLAR_MASS[:, None] * self.constant["parent_minerals"])
        return float(minerals + CALCITE_MASS * self.constant["parent_calcite"])


QUARTZ = {"quartz": 1.0}
POOR = {
    "clay": {"kaolinite": 0.7, "gibbsite": 0.1, "goethite": 0.2},
    "silt": QUARTZ,
    "sand": QUARTZ,
}
RICH = {
    "clay": {"montmorillonite": 0.8, "illite": 0.2},
    "silt": {"albite": 0.5, "anorthite": 0.3, "quartz": 0.2},
    "sand": {"albite": 0.5, "k_feldspar": 0.5},
}


def _no_rain(site: Site) -> None:
    site.constant["precipitation"] = np.zeros(12)


def _flooded(site: Site) -> None:
    site.constant["precipitation"] = np.full(12, 600.0)
    site.constant["potential_evapotranspiration"] = np.zeros(12)


def _all_sand(site: Site) -> None:
    site.made_of((0.0, 0.0), POOR)


def _no_clay(site: Site) -> None:
    site.made_of((0.0, 70.0), RICH, calcite_percent=5.0, bases=(25.0, 5.0, 1.0, 1.0), ph=7.8)


def _all_clay(site: Site) -> None:
    site.made_of((100.0, 0.0), RICH, bases=(150.0, 40.0, 10.0, 5.0), ph=6.5)


def _glass(site: Site) -> None:
    glass = {"volcanic_glass": 1.0}
    site.made_of((10.0, 50.0), {"clay": glass, "silt": glass, "sand": glass}, ph=6.0)


def _pure_lime(site: Site) -> None:
    site.made_of((2.0, 97.0), POOR, calcite_percent=96.0, bases=(30.0, 2.0, 0.0, 0.0), ph=8.0)


def _acid(site: Site) -> None:
    site.made_of((15.0, 40.0), POOR, ph=3.5)
    site.constant["deposited_solutes"] = _solutes(anions=0.3)


def _sodic(site: Site) -> None:
    site.made_of((40.0, 40.0), RICH, bases=(2.0, 2.0, 1.0, 90.0), ph=9.5)
    site.constant["deposited_solutes"] = _solutes(sodium=0.5)
    site.constant["precipitation"] = site.constant["precipitation"] * 0.4


def _salty(site: Site) -> None:
    site.constant["deposited_solutes"] = _solutes(sodium=5.0, anions=5.0)
    site.constant["precipitation"] = site.constant["precipitation"] * 0.4


def _eroded(site: Site) -> None:
    rate = 0.005
    every = round(THICKNESS / rate / STEP)
    site.series["removed_layers"][every::every] = 1.0
    site.constant["erosion_rate"] = np.asarray(rate)


def _limed(site: Site) -> None:
    _acid(site)
    site.series["added_calcite"][len(site.series["added_calcite"]) // 2] = 10.0 / CALCITE_MASS


def _rock(site: Site) -> None:
    middle = len(site.series["added_minerals"]) // 2
    added = site.series["added_minerals"][middle]
    added[MINERALS.index("volcanic_glass"), 1] = 25.0 / MOLAR_MASS[MINERALS.index("volcanic_glass")]
    added[MINERALS.index("anorthite"), 0] = 25.0 / MOLAR_MASS[MINERALS.index("anorthite")]


def _dusty(site: Site) -> None:
    shares = Mineralogy(**RICH)
    minerals, calcite = composition(20.0, 60.0, 20.0, shares)
    site.constant["dust_minerals"], site.constant["dust_calcite"] = (
        0.1 * minerals,
        np.asarray(0.1 * calcite),
    )


def _tilled(site: Site) -> None:
    site.constant["plough_depth"] = np.asarray(0.3)
    site.constant["litter_layer"] = np.asarray(0.0)
    site.constant["harvest_share"] = np.asarray(0.9)
    site.constant["manure_input"] = np.asarray(10.0)
    site.constant["manure_months"] = np.full(12, 1 / 12)
    site.constant["cover"] = np.zeros(12)
    site.constant["amendment_depth"] = np.asarray(0.3)
    site.series["added_calcite"][:] = 2.8
    site.series["added_solutes"][:] = _solutes(potassium=5.0, anions=5.0)


def _cold(site: Site) -> None:
    air = site.constant["air_temperature"]
    site.constant["air_temperature"] = air - air.mean() - 10.0


def _hot(site: Site) -> None:
    air = site.constant["air_temperature"]
    site.constant["air_temperature"] = air - air.mean() + 30.0


def _productive(site: Site) -> None:
    site.constant["plant_input"] = np.full_like(site.constant["plant_input"], 25.0)
    site.carbon[3, :5] = 200.0


def _bare(site: Site) -> None:
    site.constant["plant_input"] = np.zeros_like(site.constant["plant_input"])


def _solutes(**amounts: float) -> np.ndarray:
    return np.array([amounts.get(name, 0.0) for name in SOLUTES])


SITES: dict[str, Callable[[Site], None]] = {
    "loess": lambda site: None,
    "no rain": _no_rain,
    "flooded": _flooded,
    "all sand": _all_sand,
    "no clay": _no_clay,
    "all clay": _all_clay,
    "volcanic glass": _glass,
    "pure lime": _pure_lime,
    "acid": _acid,
    "sodic": _sodic,
    "salty": _salty,
    "eroded by 5 mm/a": _eroded,
    "100 t/ha of lime": _limed,
    "500 t/ha of rock": _rock,
    "dusty": _dusty,
    "tilled": _tilled,
    "-10 C": _cold,
    "30 C": _hot,
    "productive": _productive,
    "no plants": _bare,
}
"""Changes of the first one, a calcareous loess under forest."""


@functools.cache
def _base() -> tuple[Column, dict[str, np.ndarray], dict[str, np.ndarray]]:
    case = load_case(CASE)
    grid = case.file.grid.model_copy(update={"layers": LAYERS, "thickness_m": THICKNESS})
    case = dataclasses.replace(case, file=case.file.model_copy(update={"grid": grid}))
    plan = build(case)
    constant = {name: np.asarray(value)[0] for name, value in plan.history[0].constant.items()}
    assert plan.ground is not None
    names = ("minerals", "calcite", "labile", "ph")
    soil = {name: np.asarray(getattr(plan.ground, name))[0] for name in names}
    return case.column(), constant, soil


def site(name: str, years: int = YEARS, warmer: float = 0.0, rain: float = 1.0) -> Site:
    """One of :data:`SITES`.

    Args:
        name: of the site.
        years: to live through.
        warmer: degrees added to the air temperature.
        rain: factor on the precipitation.
    """
    _, constant, soil = _base()
    steps = years // STEP
    once = ("added_calcite", "added_minerals", "added_solutes", "added_nitrogen", "removed_layers")
    found = Site(
        constant={k: v.copy() for k, v in constant.items() if k not in once},
        series={k: np.zeros((steps, *constant[k].shape)) for k in once},
        soil={k: v.copy() for k, v in soil.items()},
        carbon=np.zeros((5, LAYERS)),
    )
    found.constant["atmosphere_14c"] = np.asarray(1.0)
    SITES[name](found)
    found.constant["air_temperature"] = found.constant["air_temperature"] + warmer
    found.constant["precipitation"] = found.constant["precipitation"] * rain
    return found


def columns() -> dict[str, Column]:
    """The column of the case, and one with every process exchanged that has an alternative."""
    column = _base()[0]
    other = column.replaced(ContinuousErosion())
    other = other.replaced(Protection(minimum=SoftMinimum())).replaced(Oxides(iron=KineticIron()))
    return {"standard": column, "alternative": other}


# draws


@dataclasses.dataclass(frozen=True)
class Draw:
    """One life of a column: what it was and where."""

    number: int
    column: str
    site: str
    warmer: float
    rain: float
    parameters: dict[str, float]


def within(parameter: Parameter, share: float) -> float:
    """The value at a share (0 to 1) of the way between the bounds of a parameter."""
    lower, upper = parameter.lower, parameter.upper
    if math.isinf(upper):  # the lower bound is 0
        return float(max(parameter.default, LITTLE) * LOG_RANGE ** (2.0 * share - 1.0))
    if lower > 0 and upper / lower >= LOG_RANGE:
        return float(lower * (upper / lower) ** share)
    return float(lower + share * (upper - lower))


def draws(number: int, seed: int = 0) -> list[Draw]:
    """Draws of everything; sites take turns, and the two columns by batches."""
    kinds = columns()
    names = list(kinds)
    most = max(len(column.parameters()) for column in kinds.values())
    power = math.ceil(math.log2(max(number, 2)))
    points = qmc.Sobol(most + 2, rng=seed).random_base2(power)[:number]
    # by chance: every n-th point of the sequence covers only a part of the space
    chance = np.random.default_rng(seed)
    rounds = math.ceil(number / len(SITES))
    where = np.concatenate([chance.permutation(list(SITES)) for _ in range(rounds)])
    at_bounds = chance.random(number) < 0.25
    sides = chance.integers(0, 2, points.shape)
    found = []
    for i, point in enumerate(points):
        kind = names[(i // BATCH) % len(names)]
        shares = sides[i] if at_bounds[i] else point
        declared = kinds[kind].parameters()
        found.append(
            Draw(
                number=i,
                column=kind,
                site=str(where[i]),
                warmer=float(10.0 * (point[-1] - 0.5)),
                rain=float(2.0 * point[-2]),
                parameters={
                    name: within(p, float(share))
                    for (name, p), share in zip(declared.items(), shares, strict=False)
                },
            )
        )
    return found


# checks


def unsound(state: State, found: Environment, start: State) -> dict[str, Array]:
    """What is wrong with a column, by check and layer: 0 where nothing is, else how much.

    Args:
        state: of one column.
        found: what its processes have provided.
        start: of the column's life, for the balances.
    """
    ground, first = state.ground, start.ground
    assert ground is not None
    assert first is not None
    layers = state.water.size
    result = {"finite": jnp.zeros(layers)}
    for leaf in (*jax.tree.leaves(state), *found.values()):
        broken = ~jnp.isfinite(leaf)
        each = broken.reshape(-1, layers).any(axis=0) if _by_layer(leaf, layers) else broken.any()
        result["finite"] = jnp.maximum(result["finite"], jnp.where(each, 1.0, 0.0))
    pools = [*_rows(state.carbon), *_rows(ground.minerals), *_rows(ground.labile)]
    pools += [ground.calcite, state.water, *(jnp.broadcast_to(x, (layers,)) for x in state.litter)]
    lowest = jnp.min(jnp.stack([x / (jnp.max(jnp.abs(x)) + UNIT) for x in pools]), axis=0)
    result["not negative"] = jnp.maximum(-lowest - ROUNDING, 0.0)
    bases = found.get("base_saturation", jnp.zeros(layers))
    beyond = jnp.maximum(-bases, bases - 100.0)
    result["base saturation"] = jnp.maximum(beyond / 100.0 - ROUNDING, 0.0)
    result["pH"] = jnp.maximum(jnp.maximum(-ground.ph, ground.ph - 14.0), 0.0)
    assert state.radiocarbon is not None
    excess = jnp.max(state.radiocarbon - state.carbon * (1.0 + 1e-9), axis=0)
    result["radiocarbon"] = jnp.maximum(jnp.maximum(excess, -jnp.min(state.radiocarbon)), 0.0)
    result["radiocarbon"] = jnp.maximum(result["radiocarbon"] - ROUNDING, 0.0)
    came, went = start.stock() + state.added, state.respired + state.eroded + state.leached
    carbon = jnp.abs(state.stock() + went - came) / (came + LITTLE)
    came, went = ground_totals(first) + ground.gained, ground.lost
    balance = jnp.max(jnp.abs(ground_totals(ground) + went - came) / (came + LITTLE))
    for name, error in (("carbon balance", carbon), ("ground balance", balance)):
        result[name] = jnp.broadcast_to(jnp.maximum(error - CLOSURE, 0.0), (layers,))
    return result


def _by_layer(leaf: Array, layers: int) -> bool:
    return leaf.ndim > 0 and leaf.shape[-1] == layers


def _rows(values: Array) -> Iterator[Array]:
    yield from values.reshape(-1, values.shape[-1])


def _provided(column: Column) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for p in column.processes for name in p.provides))


def _step(column: Column, constant: Environment, entry: Environment, state: State) -> tuple:
    """One slow step by way of the time stepping, and all that was computed in it."""
    series = {name: value[None] for name, value in entry.items()}
    phase = Phase(steps=1, years_per_step=STEP, constant=constant, series=series, yearly={})
    after, kept = advance(column, phase, state, Record(steps=_provided(column)))
    return after, {name: value[0] for name, value in kept.items()}


_one_step = eqx.filter_jit(_step)


@eqx.filter_jit
def _lives(
    columns: Column, constant: Environment, series: Environment, states: State
) -> tuple[Array, Array, State]:
    """By how much each check failed and in which layer, [draw, step, check], and the last states.

    What is not a number is not sound either.
    """

    def life(column: Column, fixed: Environment, entries: Environment, start: State) -> tuple:
        def step(state: State, entry: Environment) -> tuple[State, tuple[Array, Array]]:
            after, found = _step(column, fixed, entry, state)
            wrong = unsound(after, found, start)
            sizes = jnp.nan_to_num(jnp.stack([wrong[name] for name in CHECKS]), nan=jnp.inf)
            return after, (jnp.max(sizes, axis=1), jnp.argmax(sizes, axis=1))

        end, (sizes, layers) = jax.lax.scan(step, start, entries)
        return sizes, layers, end

    result: tuple[Array, Array, State] = jax.vmap(life)(columns, constant, series, states)
    return result


@dataclasses.dataclass(frozen=True)
class Failure:
    """A draw that did not stay sound: where and when it first went wrong.

    ``process`` acted last before it showed; ``layer`` counts from 0, ``size`` is by how much the
    check failed.
    """

    draw: Draw
    check: str
    year: int
    process: str
    layer: int
    size: float

    def __str__(self) -> str:
        draw = self.draw
        return (
            f"draw {draw.number} ({draw.column} column, {draw.site}, {draw.warmer:+.1f} C, rain "
            f"times {draw.rain:.2f}): {self.check} fails by {self.size:.3g} in layer {self.layer}, "
            f"year {self.year}, after {self.process!r}"
        )

    def write(self, folder: Path) -> Path:
        """Write everything that is needed to live through it again."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"draw_{self.draw.number}.json"
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")
        return path


def _arrays(draw: Draw, years: int) -> tuple[Column, Environment, Environment, State]:
    column = columns()[draw.column].with_parameters(draw.parameters)
    where = site(draw.site, years, draw.warmer, draw.rain)
    constant, series = (
        {name: jnp.asarray(value) for name, value in values.items()}
        for values in (where.constant, where.series)
    )
    return column, constant, series, where.state()


def check(
    wanted: Sequence[Draw],
    years: int = YEARS,
    progress: Callable[[int, int], None] = lambda done, failed: None,
) -> Iterator[Failure]:
    """Live through draws, batch by batch.

    Args:
        wanted: any number; whole batches of one column compile once each.
        years: of each life, a multiple of :data:`STEP`.
        progress: called after each batch with how many draws are done and how many failed.

    Yields:
        The draws that failed.
    """
    failures = 0
    by_column = [[d for d in wanted if d.column == name] for name in columns()]
    done = 0
    for mine in by_column:
        for first in range(0, len(mine), BATCH):
            batch = mine[first : first + BATCH]
            # a batch that is not full lives the last draw again: one shape, one program
            full = [*batch, *[batch[-1]] * (BATCH - len(batch))]
            each = [_arrays(draw, years) for draw in full]
            stacked: Any = jax.tree.map(lambda *x: jnp.stack(x), *each)
            sizes, layers = (np.asarray(x)[: len(batch)] for x in _lives(*stacked)[:2])
            done += len(batch)
            for i, draw in enumerate(batch):
                failed = sizes[i] > 0
                if not failed.any():
                    continue
                failures += 1
                step = int(np.argmax(failed.any(axis=1)))
                which = int(np.argmax(failed[step]))
                where, size = int(layers[i, step, which]), float(sizes[i, step, which])
                # rounding differs between a batch and a single column: it may not fail alone
                seen = Failure(draw, CHECKS[which], step * STEP, "unknown", where, size)
                yield locate(draw, years, step) or seen
            progress(done, failures)


def locate(draw: Draw, years: int, failed: int) -> Failure | None:
    """Find the process that first leaves a column unsound in a slow step, if one does.

    Args:
        draw: that failed.
        years: of its life.
        failed: number of the slow step.
    """
    column, constant, series, start = _arrays(draw, years)
    entries = [{k: v[i] for k, v in series.items()} for i in range(failed + 1)]
    state = start
    for entry in entries[:-1]:
        state, _ = _one_step(column, constant, entry, state)
    environment = constant | entries[-1]
    before = set(environment)
    acts: list[tuple[str, Callable]] = [
        (p.name, lambda s, e, p=p: p.slow(s, e, STEP)) for p in column.processes
    ]
    for year in range(STEP):
        acts += [
            (f"{p.name} (year {year + 1} of the step)", lambda s, e, p=p: (p.year(s, e), {}))
            for p in column.processes
        ]
    for process, act in acts:
        state, new = act(state, environment)
        environment |= new
        found = {k: v for k, v in environment.items() if k not in before}
        for wrong, by_layer in unsound(state, found, start).items():
            size = np.asarray(by_layer)
            if not np.all(size <= 0):
                layer = int(np.argmax(np.where(np.isnan(size), np.inf, size)))
                year = failed * STEP
                return Failure(draw, wrong, year, process, layer, float(size[layer]))
    return None

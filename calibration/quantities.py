"""What can be observed, and how a measurement of it follows from the layers of the column.

A measured sample mixes the soil of its interval. So contents are means weighted by what they are
contents of: organic carbon by the mass of soil, clay and calcite by that of minerals, base
saturation by exchange capacity where the column knows it, density and temperature by volume
(:attr:`diffsoil.variables.Variable.share_of`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from calibration import procedures
from calibration.procedures import SPELLED, Procedure
from calibration.units import in_unit, spelled
from diffsoil.io import nearest
from diffsoil.processes.carbon import CarbonModel
from diffsoil.quantities import Result, layer_results
from diffsoil.state import CATIONS
from diffsoil.variables import VARIABLES


@dataclasses.dataclass(frozen=True)
class Sample:
    """The layers that each observation meets, with axes observation and layer.

    ``share`` is the part of each layer that is sampled, ``mass`` and ``mineral_mass`` in Mg/ha of
    the whole layer, ``thickness`` in m; ``at`` looks a recorded variable up at member and year of
    every observation; ``month`` counts from 0, -1 stands for the mean of the year; ``carbon`` is
    the process of the column.
    """

    share: Float[Array, "obs layer"]
    soc: Float[Array, "obs layer"]
    mass: Float[Array, "obs layer"]
    mineral_mass: Float[Array, "obs layer"]
    thickness: Float[Array, "obs layer"] | None
    month: Int[Array, " obs"]
    at: Callable[[str], Array]
    carbon: CarbonModel | None = None

    def per_layer(self, share_of: str) -> Array:
        """What a mean over layers is weighted by, see :class:`diffsoil.variables.Variable`."""
        if share_of == "volume":
            assert self.thickness is not None
            return self.thickness
        if share_of == "soil":
            return self.mass
        return self.mineral_mass * (self.at("cec") if share_of == "exchanger" else 1.0)


def _mean(value: Array, weight: Array) -> Array:
    return jnp.sum(weight * value, axis=-1) / jnp.maximum(jnp.sum(weight, axis=-1), 1e-12)


def _stock(sample: Sample) -> Array:
    return jnp.sum(sample.share * sample.soc, axis=1)


def _percent(sample: Sample) -> Array:
    return 100.0 * _stock(sample) / jnp.sum(sample.share * sample.mass, axis=1)


def delta14c(modern: Array, carbon: Array) -> Array:
    """Delta 14C, permil, of carbon and of the amount of it times its 14C activity."""
    return 1000.0 * (modern / jnp.maximum(carbon, 1e-9) - 1.0)


def _delta14c(sample: Sample) -> Array:
    modern = jnp.sum(sample.share * sample.at("radiocarbon"), axis=1)
    return delta14c(modern, _stock(sample))


def _respired_delta14c(sample: Sample) -> Array:
    """CO2 of the sampled soil in a jar: its pools by their rates, its layers by protection."""
    assert sample.carbon is not None
    speed = sample.carbon.respiring_rates(sample.at("modifier_overall"))
    speed = speed * sample.share[:, None, :]
    modern = jnp.sum(speed * sample.at("radiocarbon_pools")[:, :-1], axis=(1, 2))
    carbon = jnp.sum(speed * sample.at("pools")[:, :-1], axis=(1, 2))
    return delta14c(modern, carbon)


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One kind of measurement.

    Attributes:
        name: for axes and tables.
        unit: unit in which it is compared.
        lower, upper: range outside of which a value is a mistake.
        predict: value of a sample.
        also: other units that a table may use -> one of them in ``unit``.
        slips: unit that a value out of range is likely to have -> one of it in ``unit``.
        hint: what to ask where no such unit explains the value.
        yearly: quantities of :data:`diffsoil.quantities.YEARLY` needed besides carbon.
        steps: variables of the slow step that are needed.
        error_known: whether the error model of the table's sd and a fitted relative part suits
            it; of others the case has to state it.
        procedures: ways of measuring it, by name, where they measure different things.
        unnamed: the one of them that is meant where a row names none; empty where it has to.
    """

    name: str
    unit: str
    lower: float
    upper: float
    predict: Callable[[Sample], Array]
    also: Mapping[str, float] = MappingProxyType({})
    slips: Mapping[str, float] = MappingProxyType({})
    hint: str = ""
    yearly: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    error_known: bool = False
    procedures: Mapping[str, Procedure] = MappingProxyType({})
    unnamed: str = ""

    @property
    def title(self) -> str:
        """Its name and its unit."""
        return in_unit(self.name, self.unit, ", ")

    @property
    def units(self) -> dict[str, float]:
        """Every unit that may be written, in one of its spellings -> one of it in :attr:`unit`."""
        return {self.unit: 1.0, **self.also}

    def factor(self, unit: str) -> float | None:
        """One of a unit, in any spelling, in :attr:`unit`; None if it is no unit of this."""
        by_spelling = {spelled(known): one for known, one in self.units.items()}
        return by_spelling.get(spelled(unit))

    def likely(self, value: float) -> str:
        """What may have gone wrong with a value out of range, as a question."""
        fitting = [u for u, one in self.slips.items() if self.lower <= value * one <= self.upper]
        return f"is this in {' or '.join(fitting)}?" if fitting else self.hint

    def procedure(self, method: str) -> str:
        """Name of the procedure that the method of a row means.

        Where all procedures measure the same it is the name of a laboratory method, as given.

        Raises:
            ValueError: it means none, or one that nothing in the column can be compared with; the
                text says so, without the method.
        """
        if not self.procedures:
            return method
        name = SPELLED.get(method.lower(), method.lower()) or self.unnamed
        if name not in self.procedures:
            known = [known for known, about in self.procedures.items() if not about.refused]
            how = f"has to say how {self.name} was measured: one of {', '.join(known)}"
            raise ValueError(how + (nearest(name, known) if name else ""))
        about = self.procedures[name]
        if about.refused:
            raise ValueError(f"({about.words}) cannot be compared: {about.refused}")
        return name


def kind(variable: str, method: str) -> str:
    """What an observation is of: its variable, and the procedure where that changes the value.

    Args:
        variable: name of a quantity.
        method: of the row, as :meth:`Quantity.procedure` names it.
    """
    about = MEASURED[variable].procedures.get(method) if variable in MEASURED else None
    return f"{variable} {method}" if about and about.measured else variable


def kinds(table: pd.DataFrame) -> list[str]:
    """The :func:`kind` of each row of a table of observations."""
    return [kind(*row) for row in zip(table["variable"], table["method"], strict=True)]


def predicted(kind: str, sample: Sample) -> Array:
    """What would have been measured of samples, all of one :func:`kind`."""
    value = QUANTITIES[kind.split()[0]].predict(sample)
    procedure = _changing(kind)
    return procedure.measured(value) if procedure and procedure.measured else value


def conversion_sd(table: pd.DataFrame) -> Float[np.ndarray, " obs"]:
    """Standard deviation that the procedure of each row of a table adds to its value."""
    of = {kind: _changing(kind) for kind in set(kinds(table))}
    return np.array([about.sd if (about := of[kind]) else 0.0 for kind in kinds(table)])


def _changing(kind: str) -> Procedure | None:
    """The procedure of a kind that has one."""
    variable, _, method = kind.partition(" ")
    return MEASURED[variable].procedures[method] if method else None


def _of_layers(
    variable: str,
    name: str,
    unit: str,
    lower: float,
    upper: float,
    factor: float = 1.0,
    **more: Any,
) -> Quantity:
    """The mean of a variable over the layers that a sample mixes, times a factor."""
    about = VARIABLES[variable]

    def predict(sample: Sample) -> Array:
        value = sample.at(variable)
        if about.months:
            month = jnp.clip(sample.month, 0)[:, None, None]
            chosen = jnp.take_along_axis(value, month, axis=1)[:, 0]
            year = (jnp.mean if about.months == "mean" else jnp.sum)(value, axis=1)
            value = jnp.where(sample.month[:, None] < 0, year, chosen)
        return factor * _mean(value, sample.share * sample.per_layer(about.share_of))

    steps = (variable, "cec") if about.share_of == "exchanger" else (variable,)
    return Quantity(name, unit, lower, upper, predict, steps=steps, **more)


def _exchangeable(cation: str) -> Quantity:
    """A base on the exchanger: its share of the exchange capacity, times that."""
    place = CATIONS.index(cation)

    def predict(sample: Sample) -> Array:
        amount = sample.at("exchangeable_bases")[:, place] / 100.0 * sample.at("cec")
        return _mean(amount, sample.share * sample.per_layer("minerals"))

    return Quantity(
        f"exchangeable {cation}", "mmol/kg", 0.0, 2000.0, predict,
        also=CHARGES, hint="mmol of charge; is this in mg/kg?",
        steps=("exchangeable_bases", "cec"), procedures=procedures.BASES, unnamed="nh4oac",
    )  # fmt: skip


CHARGES = MappingProxyType({"cmol/kg": 10.0, "meq/100g": 10.0})
"""Units of charge in a mass of soil besides mmol/kg."""
RADIOCARBON = ("radiocarbon",)
TENTH = MappingProxyType({"g/kg": 0.1})
SHARE = MappingProxyType(
    {"g/kg": 0.1, "mg/g": 0.1, "g/100g": 1.0, "permil": 0.1, "mg/kg": 1e-4, "kg/kg": 100.0}
)
"""Units of a content besides percent."""
MINERAL: dict[str, Any] = {"also": SHARE, "slips": TENTH, "hint": "a share of the mineral soil"}

MEASURED: dict[str, Quantity] = {
    "soc_stock": Quantity(
        "organic C", "Mg C/ha", 0.0, 2000.0, _stock,
        also=MappingProxyType({"kg C/m2": 10.0, "g C/m2": 0.01, "kg C/ha": 0.001}),
        slips=MappingProxyType({"g/m2": 0.01, "kg/ha": 0.001}),
        hint="organic carbon of a hectare is never negative", error_known=True,
    ),
    "soc_percent": Quantity(
        "organic C", "%", 0.0, 60.0, _percent, also=SHARE, slips=TENTH,
        hint="organic matter is 58 % carbon at most", error_known=True,
    ),
    "delta14c": Quantity(
        "Δ14C", "permil", -1000.0, 1000.0, _delta14c,
        hint="is this in percent modern?", yearly=RADIOCARBON, error_known=True,
    ),
    "respired_delta14c": Quantity(
        "Δ14C of respired CO2", "permil", -1000.0, 1000.0, _respired_delta14c,
        hint="is this in percent modern?", yearly=("pools", "radiocarbon_pools"),
        steps=("modifier_overall",),
    ),
    "bulk_density": _of_layers(
        "bulk_density", "bulk density", "g/cm3", 0.05, 2.65, hint="minerals have 2.65 g/cm3",
        also=MappingProxyType({"kg/m3": 0.001, "Mg/m3": 1.0, "kg/l": 1.0}),
        slips=MappingProxyType({"kg/m3": 0.001, "mg/cm3": 0.001}),
    ),
    "clay_percent": _of_layers("clay_percent", "clay", "%", 0.0, 100.0, **MINERAL),
    "calcite_percent": _of_layers(
        "calcite_fraction", "calcite", "%", 0.0, 100.0, factor=100.0, **MINERAL
    ),
    "ph": _of_layers(
        "ph", "pH", "1", 2.0, 11.5, hint="pH lies there; is this something else?",
        procedures=procedures.PH,
    ),
    "base_saturation": _of_layers(
        "base_saturation", "base saturation", "%", 0.0, 100.0,
        slips=MappingProxyType({"permil": 0.1}),
        hint="a share of the exchange capacity; are these mmol_c/kg?",
        procedures=procedures.BASE_SATURATION, unnamed="nh4oac",
    ),
    "cec": _of_layers(
        "cec", "cation exchange capacity", "mmol/kg", 0.0, 3000.0, also=CHARGES,
        hint="mmol of charge", procedures=procedures.CAPACITY, unnamed="nh4oac",
    ),
    **{f"exchangeable_{cation}": _exchangeable(cation) for cation in CATIONS},
    "soil_temperature": _of_layers(
        "soil_temperature", "soil temperature", "degC", -40.0, 50.0,
        hint="is this in kelvin or Fahrenheit?",
    ),
}  # fmt: skip
"""What is often measured, by the name it has in an observation table."""


class _Observable(Mapping[str, Quantity]):
    """What is often measured, and any other result that is a property of layers."""

    def __getitem__(self, name: str) -> Quantity:
        if name in MEASURED:
            return MEASURED[name]
        about = self._others()[name]
        return _of_layers(about.variable, about.long_name, about.unit, -math.inf, math.inf)

    def __iter__(self) -> Iterator[str]:
        yield from MEASURED
        yield from self._others()

    def __len__(self) -> int:
        return len(MEASURED) + len(self._others())

    @staticmethod
    def _others() -> dict[str, Result]:
        known = {quantity.steps[0] for quantity in MEASURED.values() if quantity.steps}
        return {
            name: about
            for name, about in layer_results().items()
            if about.by_layer
            and about.variable not in known
            and VARIABLES[about.variable].share_of != "itself"
        }


QUANTITIES: Mapping[str, Quantity] = _Observable()
"""All that can be observed, by the name it has in an observation table."""

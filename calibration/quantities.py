"""What can be observed, and how a measurement of it follows from the layers of the column.

A measured sample mixes the soil of its interval. So contents are means weighted by what they are
contents of: organic carbon by the mass of soil, clay and calcite by that of minerals, base
saturation by exchange capacity where the column knows it, density and temperature by volume.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffsoil.state import ACTIVE

CM_PER_M = 100.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """The layers that each observation meets, with axes observation and layer.

    ``share`` is the part of each layer that is sampled, ``mass`` and ``mineral_mass`` in Mg/ha of
    the whole layer, ``thickness`` in m; ``at`` looks a recorded variable up at member and year of
    every observation; ``month`` counts from 0, -1 stands for the mean of the year; ``rates`` are
    those of the active pools, 1/a.
    """

    share: Float[Array, "obs layer"]
    soc: Float[Array, "obs layer"]
    mass: Float[Array, "obs layer"]
    mineral_mass: Float[Array, "obs layer"]
    thickness: Float[Array, "obs layer"] | None
    month: Int[Array, " obs"]
    at: Callable[[str], Array]
    rates: Float[Array, "4"] | None = None


def _mean(value: Array, weight: Array) -> Array:
    return jnp.sum(weight * value, axis=-1) / jnp.maximum(jnp.sum(weight, axis=-1), 1e-12)


def _stock(sample: Sample) -> Array:
    return jnp.sum(sample.share * sample.soc, axis=1)


def _percent(sample: Sample) -> Array:
    return 100.0 * _stock(sample) / jnp.sum(sample.share * sample.mass, axis=1)


def _delta(modern: Array, carbon: Array) -> Array:
    return 1000.0 * (modern / jnp.maximum(carbon, 1e-9) - 1.0)


def _delta14c(sample: Sample) -> Array:
    modern = jnp.sum(sample.share * sample.at("radiocarbon"), axis=1)
    return _delta(modern, _stock(sample))


def _respired_delta14c(sample: Sample) -> Array:
    """CO2 of the sampled soil in a jar: its pools by their rates, its layers by protection."""
    assert sample.rates is not None
    speed = sample.rates[None, :, None] * sample.at("modifier_overall")[:, None, :]
    speed = speed * sample.share[:, None, :]
    modern = jnp.sum(speed * sample.at("radiocarbon_pools")[:, :ACTIVE], axis=(1, 2))
    carbon = jnp.sum(speed * sample.at("pools")[:, :ACTIVE], axis=(1, 2))
    return _delta(modern, carbon)


def _bulk_density(sample: Sample) -> Array:
    return _mean(sample.at("bulk_density"), _volume(sample))


def _volume(sample: Sample) -> Array:
    assert sample.thickness is not None
    return sample.share * sample.thickness


def _clay(sample: Sample) -> Array:
    return _mean(sample.at("clay_percent"), sample.share * sample.mineral_mass)


def _calcite(sample: Sample) -> Array:
    return 100.0 * _mean(sample.at("calcite_fraction"), sample.share * sample.mineral_mass)


def _ph(sample: Sample) -> Array:
    return _mean(sample.at("ph"), sample.share * sample.mass)


def _base_saturation(sample: Sample) -> Array:
    exchanger = sample.share * sample.mineral_mass * sample.at("cec")
    return _mean(sample.at("base_saturation"), exchanger)


def _soil_temperature(sample: Sample) -> Array:
    by_month = sample.at("soil_temperature")
    month = jnp.clip(sample.month, 0)[:, None, None]
    chosen = jnp.take_along_axis(by_month, month, axis=1)[:, 0]
    value = jnp.where(sample.month[:, None] < 0, jnp.mean(by_month, axis=1), chosen)
    return _mean(value, _volume(sample))


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
        yearly: quantities of :data:`diffsoil.time.YEARLY` needed besides carbon.
        steps: variables of the slow step that are needed.
        of_volume: whether the thickness of the layers is needed.
        error_known: whether the error model of the table's sd and a fitted relative part suits
            it; of others the case has to state it.
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
    of_volume: bool = False
    error_known: bool = False

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


RADIOCARBON = ("radiocarbon",)
TENTH = MappingProxyType({"g/kg": 0.1})
SHARE = MappingProxyType(
    {"g/kg": 0.1, "mg/g": 0.1, "g/100g": 1.0, "permil": 0.1, "mg/kg": 1e-4, "kg/kg": 100.0}
)
"""Units of a content besides percent."""

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−·⋅", "0123456789--  ", "^*")

WORDS = {
    "%": ("%", "percent", "per cent", "pct", "wt%", "wt %", "wt.%", "mass %", "mass%", "% w/w"),
    "permil": ("permil", "per mil", "permille", "per mille", "‰", "o/oo", "0/00"),
    "degC": ("degc", "c", "°c", "deg c", "degree c", "degrees c", "celsius", "degrees celsius"),
    "1": ("1", "-", "ph", "none", "unitless", "dimensionless"),
}
"""Units that are words, in small letters."""

PREFIXED = {"Mg": "t", "tonne": "t", "tonnes": "t", "cc": "cm3", "ml": "cm3", "dm3": "l", "L": "l"}
"""Other names of a factor of a unit."""

ELEMENT = ("C", "c", "OC", "SOC", "TOC", "carbon", "Corg", "soil")
"""What a unit may say of the element; the variable says it."""


def spelled(unit: str) -> str:
    """A unit in the one spelling that stands for all of its others.

    ``t C/ha``, ``Mg ha-1`` and ``tonnes per ha`` are one unit, ``g kg⁻¹`` and ``g/kg`` are one.
    A text that is no unit comes back as it is.
    """
    text = " ".join(unit.translate(SUPERSCRIPTS).split())
    for name, words in WORDS.items():
        if text.lower() in words:
            return name
    above, *below = re.split(r" ?/ ?| per ", text)
    powers: dict[str, int] = {}
    for sign, part in ((1, above), *((-1, part) for part in below)):
        for factor in part.split():
            found = re.fullmatch(r"([A-Za-z]+?)(-?[0-9]?)", PREFIXED.get(factor, factor))
            if found is None:
                return unit
            symbol, power = found[1], int(found[2] or 1)
            if factor not in ELEMENT:
                symbol = PREFIXED.get(symbol, symbol)
                powers[symbol] = powers.get(symbol, 0) + sign * power
    return " ".join(f"{symbol}{power}" for symbol, power in sorted(powers.items()) if power)


QUANTITIES: dict[str, Quantity] = {
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
    "bulk_density": Quantity(
        "bulk density", "g/cm3", 0.05, 2.65, _bulk_density,
        also=MappingProxyType({"kg/m3": 0.001, "Mg/m3": 1.0, "kg/l": 1.0}),
        slips=MappingProxyType({"kg/m3": 0.001, "mg/cm3": 0.001}),
        hint="minerals have 2.65 g/cm3", steps=("bulk_density",), of_volume=True,
    ),
    "clay_percent": Quantity(
        "clay", "%", 0.0, 100.0, _clay, also=SHARE, slips=TENTH,
        hint="a share of the mineral soil", steps=("clay_percent",),
    ),
    "calcite_percent": Quantity(
        "calcite", "%", 0.0, 100.0, _calcite, also=SHARE, slips=TENTH,
        hint="a share of the mineral soil", steps=("calcite_fraction",),
    ),
    "ph": Quantity(
        "pH", "1", 2.0, 11.5, _ph, hint="pH in water lies there; is this something else?",
        steps=("ph",),
    ),
    "base_saturation": Quantity(
        "base saturation", "%", 0.0, 100.0, _base_saturation,
        slips=MappingProxyType({"permil": 0.1}),
        hint="a share of the exchange capacity; are these mmol_c/kg?",
        steps=("base_saturation", "cec"),
    ),
    "soil_temperature": Quantity(
        "soil temperature", "degC", -40.0, 50.0, _soil_temperature,
        hint="is this in kelvin or Fahrenheit?", steps=("soil_temperature",), of_volume=True,
    ),
}  # fmt: skip
"""Variables that can be observed, by the name they have in an observation table."""

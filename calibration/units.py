"""Units as people write them: ``t C/ha``, ``Mg ha-1`` and ``tonnes per ha`` are one unit."""

from __future__ import annotations

import re

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−·⋅", "0123456789--  ", "^*")

WORDS = {
    "%": ("%", "percent", "per cent", "pct", "wt%", "wt %", "wt.%", "mass %", "mass%", "% w/w"),
    "permil": ("permil", "per mil", "permille", "per mille", "‰", "o/oo", "0/00"),
    "degC": ("degc", "c", "°c", "deg c", "degree c", "degrees c", "celsius", "degrees celsius"),
    "1": ("1", "-", "ph", "none", "unitless", "dimensionless"),
}
"""Units that are words, in small letters."""

PREFIXED = {
    "Mg": "t", "tonne": "t", "tonnes": "t", "cc": "cm3", "ml": "cm3", "dm3": "l", "L": "l",
    "mmolc": "mmol", "meq": "mmol", "cmolc": "cmol",
}  # fmt: skip
"""Other names of a factor of a unit."""

CHARGE = ("(+)", "_c", "(c)")
"""What a unit of an amount may say of charge; the variable says it."""

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
    for mark in CHARGE:
        text = text.replace(mark, "")
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


def in_unit(words: str, unit: str, between: str = " ") -> str:
    """Words or a number with their unit, which nobody reads where it is 1."""
    return words if unit == "1" else f"{words}{between}{unit}"

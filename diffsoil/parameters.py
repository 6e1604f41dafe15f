"""Parameters: declared once, beside the process they belong to.

A process is an ``equinox.Module``; a field made with :func:`parameter` is one of its
parameters. The table that users, priors, sensitivity ranges and documents read is collected
from those declarations (:func:`places`), never written a second time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from diffsoil.io import hint

NARROWEST = 1e-9
"""Standard deviation of a prior, of its location, with which derivatives still mean something."""

LEAST_WITHIN = 0.01
"""Probability of a prior within the bounds, below which it hardly is the one that was meant."""


@dataclasses.dataclass(frozen=True)
class Prior:
    """Prior of a parameter, truncated to the parameter's bounds.

    kind ``uniform`` uses the bounds alone; ``normal`` has mean ``location`` and standard
    deviation ``scale``; ``lognormal`` has median ``location`` and standard deviation of the
    logarithm ``scale``.
    """

    kind: Literal["uniform", "normal", "lognormal"] = "uniform"
    location: float = math.nan
    scale: float = math.nan

    def objection(self, lower: float, upper: float) -> str:
        """Why the prior does not suit a parameter of such bounds, or an empty text."""
        bounds = f"the bounds {lower:g} to {upper:g}"
        if self.kind == "uniform":
            return "" if math.isfinite(upper - lower) else f"a uniform prior needs an end, {bounds}"
        if not lower <= self.location <= upper:
            return f"location {self.location:g} of the prior is outside {bounds}"
        size = 1.0 if self.kind == "lognormal" else abs(self.location)
        if self.scale < NARROWEST * size:
            return f"scale {self.scale:g} of the prior is so small that the parameter is not free"
        within = self.within(lower, upper)
        if within < LEAST_WITHIN:
            return f"only {within:.2g} of the prior lies within {bounds}"
        return ""

    def within(self, lower: float, upper: float) -> float:
        """Probability between bounds, of a prior that is not uniform and without bounds."""
        return self._below(upper) - self._below(lower)

    def _below(self, value: float) -> float:
        """Probability of a value below one, without bounds."""
        if self.kind == "lognormal":
            if value <= 0:
                return 0.0
            z = (math.log(value) - math.log(self.location)) / self.scale
        else:
            z = (value - self.location) / self.scale
        return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))

    def __str__(self) -> str:
        if self.kind == "uniform":
            return "uniform"
        return f"{self.kind}({self.location:g}, {self.scale:g})"


def normal(mean: float, sd: float) -> Prior:
    """Normal prior, truncated to the bounds."""
    return Prior("normal", mean, sd)


def lognormal(median: float, sigma: float) -> Prior:
    """Lognormal prior by its median and the standard deviation of its logarithm."""
    return Prior("lognormal", median, sigma)


UNIFORM = Prior()


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One declared parameter: what it is, where it may lie, and who says so."""

    name: str
    default: float
    unit: str
    lower: float
    upper: float
    prior: Prior
    source: str
    description: str

    @property
    def transform(self) -> str:
        """How the bounded value maps to the whole real line: ``log`` or ``logit``."""
        return "log" if math.isinf(self.upper) else "logit"


def parameter(
    default: float,
    *,
    unit: str,
    lower: float,
    upper: float,
    source: str,
    description: str,
    prior: Prior = UNIFORM,
    labels: tuple[str, ...] = (),
) -> Any:
    """Declare a field of a process as a parameter.

    Args:
        default: value when nothing else is said; must lie within the bounds.
        unit: unit as a soil scientist writes it, ``1`` for none.
        lower, upper: hard bounds; ``upper`` may be infinite, then ``lower`` must be 0.
        source: publication, or ``assumption:`` and the reasoning.
        description: one line.
        prior: default prior within the bounds.
        labels: for a parameter with one value for each of several labels.
    """
    if not lower <= default <= upper:
        raise ValueError(f"parameter default {default} outside its bounds [{lower}, {upper}]")
    declaration = {
        "unit": unit,
        "lower": lower,
        "upper": upper,
        "prior": prior,
        "source": source,
        "description": description,
    }

    def factory() -> Any:
        if labels:
            return {label: jnp.asarray(default, dtype=float) for label in labels}
        return jnp.asarray(default, dtype=float)

    return eqx.field(
        default_factory=factory,
        metadata={"parameter": {"default": default, **declaration}},
    )


RENAMED = {"water.met_first": "water.direct_evaporation_share"}
"""Former names of parameters."""


def current_name(name: str) -> str:
    """The name that a parameter has today; a former one is told."""
    if name not in RENAMED:
        return name
    hint(f"the parameter {name} is now called {RENAMED[name]}")
    return RENAMED[name]


class Place(NamedTuple):
    """A parameter and where its value is: ``field`` of a process, or of one of its parts.

    ``label`` is that of a labelled field (one value for each label, e.g. each input group).
    """

    parameter: Parameter
    field: Callable[[Any], Any]
    label: str

    def value(self, process: Any) -> Any:
        """The present value."""
        value = self.field(process)
        return value[self.label] if self.label else value

    def replaced(self, process: Any, value: Any) -> Any:
        """The process with another value."""
        if self.label:
            value = self.field(process) | {self.label: value}
        return eqx.tree_at(self.field, process, value)


def places(process: Any) -> dict[str, Place]:
    """Where the parameters of a process are, by full name.

    A full name is ``process.parameter``, e.g. ``protection.b1``, also of a parameter that one of
    the parts of the process declares; that of a labelled field is ``process.parameter.label``.
    """
    found: dict[str, Place] = {}
    for number, owner in enumerate((process, *process.parts)):
        for field in dataclasses.fields(owner):
            if "parameter" not in field.metadata:
                continue
            where = partial(_field, number, field.name)
            value = where(process)
            for label in value if isinstance(value, dict) else ("",):
                name = ".".join(filter(None, (process.name, field.name, label)))
                if name in found:
                    raise ValueError(f"two parts of a process declare {name!r}")
                declared = Parameter(name=name, **field.metadata["parameter"])
                found[name] = Place(declared, where, label)
    return found


def _field(number: int, name: str, process: Any) -> Any:
    return getattr((process, *process.parts)[number], name)


def with_values[T](processes: tuple[T, ...], values: Mapping[str, Any]) -> tuple[T, ...]:
    """Processes with some of their parameters replaced.

    Args:
        processes: process objects.
        values: full name -> new scalar value (float or traced array).

    Raises:
        KeyError: a name that no process declares.
    """
    changed, left = [], dict(values)
    for process in processes:
        for name, place in places(process).items():
            if name in left:
                process = place.replaced(process, jnp.asarray(left.pop(name), dtype=float))
        changed.append(process)
    if left:
        raise KeyError(next(iter(left)))
    return tuple(changed)

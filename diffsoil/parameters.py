"""Parameters: declared once, beside the process they belong to.

A process is an ``equinox.Module``; a field made with :func:`parameter` is one of its
parameters. The table that users, priors, sensitivity ranges and documents read is collected
from those declarations (:func:`declared`), never written a second time.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Literal

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
        within = self._below(upper) - self._below(lower)
        if within < LEAST_WITHIN:
            return f"only {within:.2g} of the prior lies within {bounds}"
        return ""

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


def declared(processes: Iterable[Any]) -> dict[str, Parameter]:
    """Collect the parameters of processes (classes or objects) by full name.

    A full name is ``process.parameter``, e.g. ``protection.b1``. A parameter declared on a
    labelled field (one value for each label, e.g. each input group) appears once for each
    label of the object, as ``process.parameter.label``.
    """
    table: dict[str, Parameter] = {}
    for process in processes:
        for field in dataclasses.fields(process):
            if "parameter" not in field.metadata:
                continue
            full = f"{process.name}.{field.name}"
            value = None if isinstance(process, type) else getattr(process, field.name)
            names = [f"{full}.{label}" for label in value] if isinstance(value, dict) else [full]
            for name in names:
                table[name] = Parameter(name=name, **field.metadata["parameter"])
    return table


def with_values[T](processes: tuple[T, ...], values: Mapping[str, Any]) -> tuple[T, ...]:
    """Processes with some of their parameters replaced.

    Args:
        processes: process objects.
        values: full name -> new scalar value (float or traced array).

    Raises:
        KeyError: a name that no process declares.
    """
    known = declared(processes)
    for name in values:
        if name not in known:
            raise KeyError(name)
    changed = []
    for process in processes:
        for name in [n for n in values if n.split(".")[0] == process.name]:  # type: ignore[attr-defined]
            _, field, *label = name.split(".", 2)
            new = jnp.asarray(values[name], dtype=float)
            if label:
                new = getattr(process, field) | {label[0]: new}
            process = eqx.tree_at(operator.attrgetter(field), process, new)
        changed.append(process)
    return tuple(changed)

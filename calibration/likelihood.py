"""Error models: how far a measurement lies from what is in the soil.

The standard deviation of a measured value joins the sd that its table gives and a part that the
fit finds, relative to the value or absolute. The fitted part holds all that the model does not
explain, so in a plot that is measured again and again it may be correlated in time; the measured
part never is. How an error is distributed around the expected value
is that of :mod:`calibration.noise` which the case names. Errors of one site, treatment, variable,
depth and series may be correlated (:mod:`calibration.noise.ornstein_uhlenbeck`); only fitted rows
belong to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from calibration.noise import NOISE, Noise, OrnsteinUhlenbeck, memory_parameter
from calibration.quantities import QUANTITIES, conversion_sd
from diffsoil.cases import Case
from diffsoil.cases.schema import ErrorText
from diffsoil.io import InputError, nearest
from diffsoil.parameters import Parameter, lognormal

ERROR = "observation.error."
MEMORY = "observation.correlation_years."
METHOD = "observation.method_factor."

SMALLEST_SD = 1e-6
"""Keeps the likelihood finite where a prediction is zero and no sd was measured."""

KNOWN = ErrorText(distribution="normal", fitted="relative")
"""Of variables that have one without being asked: normal, measured sd and a relative part."""


class Spread(NamedTuple):
    """Error of each observation: measured ``sd``, fitted ``scatter``, memory in years or 0."""

    sd: Float[Array, " obs"]
    scatter: Float[Array, " obs"]
    memory: Float[Array, " obs"]

    @property
    def total(self) -> Float[Array, " obs"]:
        """Standard deviation of a measured value, or whatever its distribution has instead."""
        return jnp.sqrt(self.sd**2 + self.scatter**2 + SMALLEST_SD**2)


class ErrorModel(eqx.Module):
    """Measurement errors of a table.

    ``series`` names the fitted parts in the order of their parameters (``assumed`` is that of a
    row which none of them tells, relative or absolute as they are), ``memories`` those of
    the correlations; ``methods`` names laboratory methods whose results are a fitted factor away
    from the truth. ``noise`` is the distribution of each row.
    """

    value: Float[Array, " obs"]
    sd: Float[Array, " obs"]
    of_series: Float[Array, "obs series"]
    assumed: Float[Array, " obs"]
    of_method: Float[Array, "obs method"]
    series: tuple[str, ...] = eqx.field(static=True)
    methods: tuple[str, ...] = eqx.field(static=True)
    relative: Bool[Array, " obs"]
    noise: tuple[Noise, ...] = eqx.field(static=True)
    of_memory: Float[Array, "obs memory"]
    memories: tuple[str, ...] = eqx.field(static=True)
    correlation: OrnsteinUhlenbeck
    texts: tuple[str, ...] = eqx.field(static=True)

    def mean(self, latent: Float[Array, " obs"], factors: Float[Array, " method"]) -> Array:
        """Expected measured value, from what is in the soil."""
        return latent * (1.0 + self.of_method @ (factors - 1.0))

    def spread(
        self,
        fitted: Float[Array, " series"],
        expected: Float[Array, " obs"],
        memory: Float[Array, " memory"] | None = None,
    ) -> Spread:
        """Errors around expected values, from the fitted parts and the memories in years."""
        size = jnp.where(self.relative, jnp.abs(expected), 1.0)
        years = jnp.zeros_like(expected) if memory is None else self.of_memory @ memory
        return Spread(self.sd, (self.of_series @ fitted + self.assumed) * size, years)

    def total_sd(self, fitted: Float[Array, " series"], expected: Array) -> Float[Array, " obs"]:
        """Standard deviation of a measured value."""
        return self.spread(fitted, expected).total

    def log_density(
        self, expected: Array, spread: Spread, value: Array | None = None
    ) -> tuple[Float[Array, " obs"], Float[Array, " obs"]]:
        """Logarithm of the density of each observation, twice.

        Args:
            expected: expected measured values.
            spread: their errors.
            value: what was measured; the table's own if not given.

        Returns:
            Given the earlier ones of its repeated plot, so that the sum is the joint density;
            and given all others of its plot, which leave-one-out needs. Both are the same where
            errors are independent.
        """
        value = self.value if value is None else value
        sd = spread.total / self.stretch(expected)
        residual = self._of_noise("symmetric", value) - self._of_noise("symmetric", expected)
        terms = self._of_noise("log_density", residual / sd) - jnp.log(sd)
        others = terms
        if self.correlation:
            covariance = self._covariance(expected, spread)
            earlier, left_out = self.correlation.log_density(covariance, residual)
            terms = self.correlation.put(earlier, terms)
            others = self.correlation.put(left_out, others)
        added = -jnp.log(self.stretch(value))
        return terms + added, others + added

    def _of_noise(self, method: str, values: Float[Array, "... obs"]) -> Float[Array, "... obs"]:
        """What a method of each distribution makes of the values of its rows."""
        found = values
        for noise, rows in self._groups:
            part = getattr(noise, method)(values[..., rows])
            found = part if len(rows) == len(self.noise) else found.at[..., rows].set(part)
        return found

    @property
    def _groups(self) -> list[tuple[Noise, np.ndarray]]:
        """Each distribution and the rows that have it."""
        kinds = dict.fromkeys(self.noise)
        return [(kind, np.flatnonzero([n == kind for n in self.noise])) for kind in kinds]

    def _covariance(self, expected: Array, spread: Spread) -> Float[Array, "plot row row"]:
        """Covariance of the errors of each repeated plot, where they are symmetric."""
        stretch = self.stretch(expected)
        alone = jnp.sqrt((spread.sd / stretch) ** 2 + SMALLEST_SD**2)
        return self.correlation.covariance(spread.scatter / stretch, alone, spread.memory)

    def symmetric(self, value: np.ndarray) -> np.ndarray:
        """Values on the scale on which their errors are symmetric: logarithms where log-normal."""
        return np.asarray(self._of_noise("symmetric", jnp.asarray(value)))

    def stretch(self, value: Array) -> Float[Array, " obs"]:
        """What a small difference on that scale is in values, for one."""
        return self._of_noise("stretch", value)

    def covariance(self, expected: Array, spread: Spread) -> Float[np.ndarray, "obs obs"]:
        """Covariance of the errors on that scale; a finite one of heavy tails."""
        variance = np.array([noise.variance for noise in self.noise])
        sd = np.asarray(spread.total / self.stretch(jnp.asarray(expected)))
        found = np.diag(sd**2 * variance)
        if self.correlation:
            plots = np.asarray(_of_plots(jnp.asarray(expected), spread, self))
            for own, of_plot in zip(self.correlation.blocks, plots, strict=True):
                there = own >= 0
                found[np.ix_(own[there], own[there])] = of_plot[np.ix_(there, there)]
        return found

    def draw(self, key: Array, expected: Array, spread: Spread) -> Float[Array, " obs"]:
        """What might be measured, errors of repeated plots correlated as they are."""
        standard = jnp.zeros_like(expected)
        for noise, rows in self._groups:
            standard = standard.at[rows].set(noise.sample(key, expected.shape)[rows])
        error = standard * spread.total / self.stretch(expected)
        if self.correlation:
            together = self.correlation.sample(self._covariance(expected, spread), standard)
            error = self.correlation.put(together, error)
        return self._of_noise("measured", self._of_noise("symmetric", expected) + error)


_of_plots = jax.jit(lambda expected, spread, errors: errors._covariance(expected, spread))


# From a case.


def noise_of(text: ErrorText) -> Noise:
    """The distribution that a case states.

    Raises:
        ValueError: there is none such, it lacks a number or has one too many, or it cannot be
            correlated in time.
    """
    kind = NOISE[NOISE.known(text.distribution)]
    numbers = dict(text.options) if text.dof is None else {"dof": text.dof, **text.options}
    fields = [field.name for field in dataclasses.fields(kind)]
    for name in numbers:
        if name not in fields:
            raise ValueError(f'{name} does not belong to distribution = "{text.distribution}"')
    for name in fields:
        if name not in numbers:
            raise ValueError(f'distribution = "{text.distribution}" needs {name}')
    if text.autocorrelation and not kind.gaussian:
        able = " or ".join(name for name, of in NOISE.items() if of.gaussian)
        raise ValueError(f"autocorrelation needs a {able} distribution")
    return kind(**numbers)


def error_texts(table: pd.DataFrame, case: Case) -> list[ErrorText]:
    """The error model that the case states for each row, or the known one.

    Raises:
        InputError: a variable whose error the case has to state and does not, a key that is
            neither a variable nor a series, or a row without any error.
    """
    listed = case.file.observations
    stated: Mapping[str, ErrorText] = listed.errors if listed else {}
    known = {*table["variable"], *table["series"]}
    for name, of in stated.items():
        try:
            noise_of(of)
        except ValueError as error:
            raise InputError(f"{case.path}: observations.errors.{name}: {error}") from error
        if name not in known:
            raise InputError(
                f"{case.path}: observations.errors: {name!r} is neither a variable nor a series "
                f"of the observations{nearest(name, known)}"
            )
    found = []
    for _, row in table.iterrows():
        series, variable = row["series"], row["variable"]
        text = stated.get(series) or stated.get(variable)
        if text is None and QUANTITIES[variable].error_known:
            text = KNOWN
        if text is None:
            raise InputError(
                f"{case.path}: observations.errors.{variable}: state the error of {variable}, e.g. "
                f'[observations.errors.{variable}] distribution = "normal", fitted = "absolute", '
                f"typical = 0.1 ({QUANTITIES[variable].unit})"
            )
        if text.fitted == "none" and not row["sd"] > 0 and row["estimated"] == 0:
            raise InputError(
                f"{row['file']}: line {row['line']}, column 'sd': empty, and the case says that "
                f"the error of {variable} has no fitted part"
            )
        if noise_of(text).positive and row["value"] <= 0:
            raise InputError(
                f"{row['file']}: line {row['line']}, column 'value': {row['value']:g} cannot have "
                f"a {text.distribution} error, which the case states for {variable}"
            )
        found.append(text)
    return found


def _name(row: pd.Series, case: Case) -> str:
    """Name of the fitted part of a row: its series, and its variable where that has its own."""
    listed = case.file.observations
    stated = listed.errors if listed else {}
    own = row["series"] not in stated and row["variable"] in stated
    return f"{row['series']}.{row['variable']}" if own else str(row["series"])


def error_parameters(table: pd.DataFrame, case: Case) -> dict[str, Parameter]:
    """Parameters of the errors of what is fitted: a fitted part, and a memory if it has one."""
    found: dict[str, Parameter] = {}
    texts = error_texts(table, case)
    for (_, row), text in zip(table.iterrows(), texts, strict=True):
        name = _name(row, case)
        if not row["fitted"] or text.fitted == "none":
            continue
        unit = "1" if text.fitted == "relative" else QUANTITIES[row["variable"]].unit
        middle = text.typical
        found[ERROR + name] = Parameter(
            name=ERROR + name,
            default=middle,
            unit=unit,
            lower=0.02 * middle,
            upper=12.0 * middle,
            prior=lognormal(middle, text.spread),
            source="assumption: 5 % of a stock is a fair working value"
            if text is KNOWN
            else "the case",
            description=f"{text.fitted} standard deviation of {name} beyond the measured one",
        )
        if text.autocorrelation:
            found[MEMORY + name] = memory_parameter(MEMORY + name, name, text.memory_years)
    errors = {n: p for n, p in found.items() if n.startswith(ERROR)}
    return dict(sorted(errors.items())) | dict(sorted(found.items()))


def observation_parameters(
    table: pd.DataFrame,
    methods: tuple[str, ...],
    case: Case,
    errors: dict[str, Parameter] | None = None,
) -> dict[str, Parameter]:
    """Parameters of the error model: fitted errors by series, a factor by method.

    Args:
        table, methods, case: see :func:`calibration.likelihood.error_model`.
        errors: those of a fit of other observations, in the place of those of the table.
    """
    found = dict(error_parameters(table, case) if errors is None else errors)
    for method in methods:
        found[METHOD + method] = Parameter(
            name=METHOD + method,
            default=1.0,
            unit="1",
            lower=0.7,
            upper=1.3,
            prior=lognormal(1.0, 0.04),
            source="assumption: laboratory methods agree to some percent",
            description=f"measured over true value of the method {method}",
        )
    return found


class Part(NamedTuple):
    """A part of an error that a fit finds: of a series, or of a variable of it."""

    name: str
    variable: str
    kind: str


class FoundErrors(NamedTuple):
    """What a fit finds of errors: the parts by what they are of, and their parameters."""

    parts: tuple[Part, ...]
    parameters: dict[str, Parameter]


def found_errors(table: pd.DataFrame, case: Case) -> FoundErrors:
    """The fitted parts of the errors of a table, and what tells which rows they are for."""
    parameters = error_parameters(table, case)
    texts = error_texts(table, case)
    rows = [
        Part(_name(row, case), str(row["variable"]), text.fitted)
        for (_, row), text in zip(table.iterrows(), texts, strict=True)
    ]
    parts = dict.fromkeys(p for p in rows if ERROR + p.name in parameters and p.kind != "none")
    return FoundErrors(tuple(parts), parameters)


def error_model(
    table: pd.DataFrame,
    methods: tuple[str, ...],
    case: Case,
    before: FoundErrors | None = None,
) -> ErrorModel:
    """The error model of a table; every fitted series has its own fitted part.

    A series of which nothing is fitted has the mean of those of its variable that are, for a
    model that is some percent off where it was fitted is no better elsewhere; or, where there are
    none or the case states an error for the series itself, what the case says is typical.

    Args:
        table: observations.
        methods: laboratory methods with a factor.
        case: what states the errors.
        before: what a fit of other observations has found, in the place of what this table would.
    """
    texts = error_texts(table, case)
    parts, parameters = before or found_errors(table, case)
    names = [_name(row, case) for _, row in table.iterrows()]
    series = tuple(n.removeprefix(ERROR) for n in parameters if n.startswith(ERROR))
    memories = tuple(n.removeprefix(MEMORY) for n in parameters if n.startswith(MEMORY))

    def one_hot(own: list[str], of: tuple[str, ...]) -> np.ndarray:
        found = [[float(name == other) for other in of] for name in own]
        return np.array(found).reshape(len(own), len(of))

    of_series, assumed, said = one_hot(names, series), np.zeros(len(table)), []
    for place, (name, text) in enumerate(zip(names, texts, strict=True)):
        own = {part.kind for part in parts if part.name == name}
        if text.fitted in {*own, "none"}:
            said.append(describe(text))
        elif alike := _alike(table, texts, parts, place, case):
            of_series[place] = one_hot(alike, series).mean(axis=0)
            said.append(describe(text, f"the mean fitted {text.fitted} part of other series"))
        else:
            of_series[place], assumed[place] = 0.0, text.typical
            said.append(describe(text, f"an assumed {text.fitted} part of {text.typical:g}"))
    converted = conversion_sd(table)
    said = [f"{words}, sd {sd:g} of the procedure" if sd else words
            for words, sd in zip(said, converted, strict=True)]  # fmt: skip
    fitted = table["fitted"].to_numpy()
    with_memory = [n if t.autocorrelation else "" for n, t in zip(names, texts, strict=True)]
    blocks = _blocks(table, fitted & np.array([n in memories for n in with_memory], dtype=bool))
    return ErrorModel(
        value=jnp.asarray(table["value"].to_numpy(float)),
        sd=jnp.asarray(np.hypot(table["sd"].fillna(0.0).to_numpy(float), converted)),
        of_series=jnp.asarray(of_series),
        assumed=jnp.asarray(assumed),
        of_method=jnp.asarray(one_hot(list(table["method"]), methods)),
        series=series,
        methods=methods,
        relative=jnp.asarray([t.fitted == "relative" for t in texts]),
        noise=tuple(noise_of(text) for text in texts),
        of_memory=jnp.asarray(one_hot(with_memory, memories)),
        memories=memories,
        correlation=OrnsteinUhlenbeck(blocks, table["year"].to_numpy(float)),
        texts=tuple(said),
    )


def _alike(
    table: pd.DataFrame,
    texts: list[ErrorText],
    parts: tuple[Part, ...],
    place: int,
    case: Case,
) -> list[str]:
    """Fitted series whose error tells that of a row: of its variable, and of the same kind."""
    listed = case.file.observations
    if listed and table["series"].iloc[place] in listed.errors:
        return []
    wanted = (table["variable"].iloc[place], texts[place].fitted)
    return list(dict.fromkeys(p.name for p in parts if (p.variable, p.kind) == wanted))


def _blocks(table: pd.DataFrame, chosen: np.ndarray) -> np.ndarray:
    """Rows of each repeated plot by year, [plot, row], filled up with -1."""
    keys = ["site", "treatment", "variable", "upper_cm", "lower_cm", "series", "method"]
    place = table.assign(place=np.arange(len(table)))[chosen].sort_values("year", kind="stable")
    found = [g["place"].to_numpy() for _, g in place.groupby(keys[:-1], sort=True)]
    width = max((len(rows) for rows in found), default=0)
    return np.array([np.pad(r, (0, width - len(r)), constant_values=-1) for r in found], dtype=int)


def describe(text: ErrorText, part: str = "") -> str:
    """An error model in words; ``part`` where its fitted one is not its own."""
    said = f"{noise_of(text).words}, measured sd"
    if text.fitted != "none":
        said += f" and {part or f'a fitted {text.fitted} part'}"
    if text.autocorrelation:
        said += OrnsteinUhlenbeck.words
    return said

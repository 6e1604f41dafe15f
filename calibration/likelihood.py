"""Error models: how far a measurement lies from what is in the soil.

The standard deviation of a measured value joins the sd that its table gives and a part that the
fit finds, relative to the value or absolute. The fitted part holds all that the model does not
explain, so in a plot that is measured again and again it may be correlated in time; the measured
part never is. Around the expected value an error is

* ``normal``;
* ``lognormal``: the logarithm is normal, with sd / expected value as its standard deviation, and
  the expected value is the median;
* ``student_t``: the sd is the scale, and ``dof`` says how heavy the tails are.

Correlated errors (of one site, treatment, variable, depth and series) are one multivariate normal
with correlation exp(-years / T): an Ornstein-Uhlenbeck process, AR(1) where years are equally
far apart. Only fitted rows belong to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float

from calibration.quantities import QUANTITIES
from diffsoil.cases import Case
from diffsoil.cases.schema import ErrorText
from diffsoil.io import InputError, nearest
from diffsoil.parameters import Parameter, lognormal

ERROR = "observation.error."
MEMORY = "observation.correlation_years."

SMALLEST_SD = 1e-6
"""Keeps the likelihood finite where a prediction is zero and no sd was measured."""

KNOWN = ErrorText(distribution="normal", fitted="relative")
"""Of variables that have one without being asked: normal, measured sd and a relative part."""

LOG_2PI = float(np.log(2 * np.pi))


class Spread(NamedTuple):
    """Error of each observation: measured ``sd``, fitted ``scatter``, memory in years or 0."""

    sd: Float[Array, " obs"]
    scatter: Float[Array, " obs"]
    memory: Float[Array, " obs"]

    @property
    def total(self) -> Float[Array, " obs"]:
        """Standard deviation of a measured value; the scale of a Student t."""
        return jnp.sqrt(self.sd**2 + self.scatter**2 + SMALLEST_SD**2)


@dataclasses.dataclass(frozen=True)
class ErrorModel:
    """Measurement errors of a table.

    ``series`` names the fitted parts in the order of their parameters (``assumed`` is that of a
    row which none of them tells, relative or absolute as they are), ``memories`` those of
    the correlations; ``methods`` names laboratory methods whose results are a fitted factor away
    from the truth. ``blocks`` lists the rows of each repeated plot, filled up with -1.
    """

    value: Float[Array, " obs"]
    sd: Float[Array, " obs"]
    of_series: Float[Array, "obs series"]
    assumed: Float[Array, " obs"]
    of_method: Float[Array, "obs method"]
    series: tuple[str, ...]
    methods: tuple[str, ...]
    relative: Bool[Array, " obs"]
    logarithmic: Bool[np.ndarray, " obs"]
    dof: Float[np.ndarray, " obs"]
    year: Float[Array, " obs"]
    of_memory: Float[Array, "obs memory"]
    memories: tuple[str, ...]
    blocks: np.ndarray
    texts: tuple[str, ...]

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
        residual, sd, added = self._standard(expected, spread.total, value)
        terms = jnp.where(
            np.isinf(self.dof),
            -0.5 * (residual / sd) ** 2 - jnp.log(sd) - 0.5 * LOG_2PI,
            _log_student(residual / sd, np.where(np.isinf(self.dof), 1.0, self.dof)) - jnp.log(sd),
        )
        others = terms
        if self.blocks.size:
            terms, others = self._correlated(expected, spread, residual, terms)
        return terms + added, others + added

    def _standard(self, expected: Array, sd: Array, value: Array) -> tuple[Array, Array, Array]:
        """Residuals and sd on the scale on which an error is symmetric, and the log Jacobian."""
        if not self.logarithmic.any():
            return value - expected, sd, jnp.zeros_like(value)
        positive = jnp.where(self.logarithmic, jnp.maximum(expected, 1e-9), 1.0)
        measured = jnp.where(self.logarithmic, jnp.maximum(value, 1e-9), 1.0)
        log = jnp.log(measured) - jnp.log(positive)
        residual = jnp.where(self.logarithmic, log, value - expected)
        return residual, jnp.where(self.logarithmic, sd / positive, sd), -jnp.log(measured)

    def _correlated(
        self, expected: Array, spread: Spread, residual: Array, terms: Array
    ) -> tuple[Array, Array]:
        """Terms of the repeated plots in the place of the independent ones."""
        rows, there = jnp.asarray(np.maximum(self.blocks, 0)), self.blocks >= 0
        factor = self._factors(expected, spread)

        def one(lower: Array, e: Array, known: Array) -> tuple[Array, Array]:
            white = solve_triangular(lower, e, lower=True)
            earlier = -0.5 * white**2 - jnp.log(jnp.diag(lower)) - 0.5 * LOG_2PI
            inverse = solve_triangular(lower, jnp.eye(e.size), lower=True)
            precision = inverse.T @ inverse
            width = jnp.diag(precision)
            left = precision @ e
            other = 0.5 * (jnp.log(width) - left**2 / width - LOG_2PI)
            return jnp.where(known, earlier, 0.0), jnp.where(known, other, 0.0)

        e = jnp.where(there, residual[rows], 0.0)
        earlier, other = jax.vmap(one)(factor, e, jnp.asarray(there))
        rows = jnp.where(there, self.blocks, residual.size)  # what fills up falls off the end
        return (
            terms.at[rows].set(earlier, mode="drop"),
            terms.at[rows].set(other, mode="drop"),
        )

    def _factors(self, expected: Array, spread: Spread) -> Array:
        """Cholesky factors of the covariance of each repeated plot."""
        rows, there = jnp.asarray(np.maximum(self.blocks, 0)), self.blocks >= 0
        log = jnp.asarray(self.logarithmic)
        scale = jnp.where(log, 1.0 / jnp.maximum(expected, 1e-9), 1.0)

        def one(row: Array, known: Array) -> Array:
            memory = jnp.maximum(spread.memory[row], 1e-3)
            away = jnp.abs(self.year[row][:, None] - self.year[row][None, :])
            same = (spread.scatter * scale)[row]
            covariance = same[:, None] * same[None, :] * jnp.exp(-away / memory[:, None])
            alone = (scale[row] * spread.sd[row]) ** 2 + SMALLEST_SD**2
            covariance = covariance + jnp.diag(alone)
            both = known[:, None] & known[None, :]
            return jnp.linalg.cholesky(jnp.where(both, covariance, jnp.eye(row.size)))

        return jax.vmap(one)(rows, jnp.asarray(there))

    def symmetric(self, value: np.ndarray) -> np.ndarray:
        """Values on the scale on which their errors are symmetric: logarithms where log-normal."""
        return np.where(self.logarithmic, np.log(np.maximum(value, 1e-9)), value)

    def covariance(self, expected: Array, spread: Spread) -> Float[np.ndarray, "obs obs"]:
        """Covariance of the errors on that scale; of a Student t with its tails cut at dof 3."""
        size = np.where(self.logarithmic, np.maximum(np.asarray(expected), 1e-9), 1.0)
        heavy = np.where(np.isinf(self.dof), 1.0, 1.0 / (1.0 - 2.0 / np.maximum(self.dof, 3.0)))
        found = np.diag((np.asarray(spread.total) / size) ** 2 * heavy)
        for own in self.blocks:
            rows = own[own >= 0]
            years = np.asarray(self.year)[rows]
            same = (np.asarray(spread.scatter) / size)[rows]
            memory = np.maximum(np.asarray(spread.memory)[rows], 1e-3)
            together = np.exp(-np.abs(years[:, None] - years) / memory) * same[:, None] * same
            alone = (np.asarray(spread.sd) / size)[rows] ** 2 + SMALLEST_SD**2
            found[np.ix_(rows, rows)] = together + np.diag(alone)
        return found

    def draw(self, key: Array, expected: Array, spread: Spread) -> Float[Array, " obs"]:
        """What might be measured, errors of repeated plots correlated as they are."""
        normal_key, t_key = jax.random.split(key)
        noise = jax.random.normal(normal_key, expected.shape)
        dof = jnp.asarray(np.where(np.isinf(self.dof), 1e8, self.dof))
        heavy = 2.0 * jax.random.gamma(t_key, dof / 2) / dof
        noise = jnp.where(np.isinf(self.dof), noise, noise / jnp.sqrt(heavy))
        error = noise * spread.total
        if self.blocks.size:
            rows, there = jnp.asarray(np.maximum(self.blocks, 0)), self.blocks >= 0
            factor = self._factors(expected, spread)
            together = jnp.einsum("bij,bj->bi", factor, jnp.where(there, noise[rows], 0.0))
            size = jnp.where(self.logarithmic, jnp.maximum(expected, 1e-9), 1.0)
            rows = jnp.where(there, self.blocks, expected.size)
            error = error.at[rows].set(together * size[jnp.maximum(self.blocks, 0)], mode="drop")
        if not self.logarithmic.any():
            return expected + error
        positive = jnp.maximum(expected, 1e-9)
        median = jnp.exp(jnp.log(positive) + error / positive)
        return jnp.where(self.logarithmic, median, expected + error)


def _log_student(t: Array, dof: np.ndarray) -> Array:
    half = 0.5 * (dof + 1)
    norm = gammaln(half) - gammaln(0.5 * dof) - 0.5 * jnp.log(jnp.pi * dof)
    return norm - half * jnp.log1p(t**2 / dof)


# From a case.


def error_texts(table: pd.DataFrame, case: Case) -> list[ErrorText]:
    """The error model that the case states for each row, or the known one.

    Raises:
        InputError: a variable whose error the case has to state and does not, a key that is
            neither a variable nor a series, or a row without any error.
    """
    listed = case.file.observations
    stated: Mapping[str, ErrorText] = listed.errors if listed else {}
    known = {*table["variable"], *table["series"]}
    for name in stated:
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
        if text.distribution == "lognormal" and row["value"] <= 0:
            raise InputError(
                f"{row['file']}: line {row['line']}, column 'value': {row['value']:g} cannot have "
                f"a lognormal error, which the case states for {variable}"
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
            found[MEMORY + name] = Parameter(
                name=MEMORY + name,
                default=text.memory_years,
                unit="a",
                lower=0.05 * text.memory_years,
                upper=20.0 * text.memory_years,
                prior=lognormal(text.memory_years, 0.7),
                source="the case",
                description=f"years after which errors of {name} are correlated by 1/e",
            )
    errors = {n: p for n, p in found.items() if n.startswith(ERROR)}
    return dict(sorted(errors.items())) | dict(sorted(found.items()))


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
    fitted = table["fitted"].to_numpy()
    with_memory = [n if t.autocorrelation else "" for n, t in zip(names, texts, strict=True)]
    blocks = _blocks(table, fitted & np.array([n in memories for n in with_memory], dtype=bool))
    return ErrorModel(
        value=jnp.asarray(table["value"].to_numpy(float)),
        sd=jnp.asarray(table["sd"].fillna(0.0).to_numpy(float)),
        of_series=jnp.asarray(of_series),
        assumed=jnp.asarray(assumed),
        of_method=jnp.asarray(one_hot(list(table["method"]), methods)),
        series=series,
        methods=methods,
        relative=jnp.asarray([t.fitted == "relative" for t in texts]),
        logarithmic=np.array([t.distribution == "lognormal" for t in texts]),
        dof=np.array([t.dof if t.dof is not None else np.inf for t in texts]),
        year=jnp.asarray(table["year"].to_numpy(float)),
        of_memory=jnp.asarray(one_hot(with_memory, memories)),
        memories=memories,
        blocks=blocks,
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
    kind = {"normal": "normal", "lognormal": "log-normal", "student_t": "Student t"}
    said = kind[text.distribution]
    if text.dof is not None:
        said += f" with {text.dof:g} degrees of freedom"
    said += ", measured sd"
    if text.fitted != "none":
        said += f" and {part or f'a fitted {text.fitted} part'}"
    if text.autocorrelation:
        said += ", correlated in time"
    return said

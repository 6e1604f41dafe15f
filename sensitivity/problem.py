"""A case as a function: from values of its inputs to its outputs, with exact derivatives."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffsoil import strength
from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, build, check, select
from diffsoil.cases.factors import FACTORS
from diffsoil.cases.inputs import Input as FileInput
from diffsoil.column import Column
from diffsoil.forward import GEOMETRY, STRENGTH, Course, Forward, Reading, computed
from diffsoil.io import InputError, nearest
from diffsoil.parameters import UNIFORM, Parameter, Prior, current_name
from diffsoil.processes.geometry import overlap
from diffsoil.processes.protection import HardMinimum, Protection, SoftMinimum, modifier
from diffsoil.processes.vegetation import Vegetation
from diffsoil.processes.weathering import Weathering
from diffsoil.state import MINERALS
from sensitivity.outputs import Output, check_computed, default_texts, parse

WINDOWS = 24
"""Parts of a run in which it is told which modifier limits decomposition."""

COMPARTMENTS = {"0-25 cm": (0.0, 0.25), "25-100 cm": (0.25, 1.0)}
"""Depths, m, in which it is told."""

UNPROTECTED = 1e-6
"""A modifier closer to 1 than that limits nothing."""

NEOFORMED = {"montmorillonite", "kaolinite"}
"""Minerals that form in the soil and are dissolved by their rate."""

FORWARD_BATCH, GRADIENT_BATCH = 16, 1
"""Draws that are computed together: runs gain by it, Jacobians lose."""


FORWARD, BACKWARD, BATCHED = (0.4, 1.0), (0.6, 1.6), (0.4, 0.9)
"""Runs that a derivative costs for each input (forward) or each output (backwards), and that a
run among others in a batch costs, from and to. Measured on a whole soil of 12 000 years in slow
steps of 10 and of 50 years, with 30 inputs and 4 to 12 outputs."""


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a study.

    Attributes:
        parameter: name, the value it has in the case, unit, bounds and prior.
        keys: what it sets: full names of parameters, of factors (:mod:`diffsoil.cases.factors`)
            or of process strengths, all to the same value.
    """

    parameter: Parameter
    keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.parameter.name


@dataclasses.dataclass(frozen=True)
class Limiting(Reading):
    """Share of the soil of a compartment and of a window of time in which a modifier is lowest.

    Attributes:
        mechanisms: what may limit decomposition; NaN is read where there is none.
    """

    mechanisms: tuple[str, ...]

    @property
    def yearly(self) -> tuple[str, ...]:
        """See :class:`diffsoil.forward.Reading`."""
        return ()

    @property
    def steps(self) -> tuple[str, ...]:
        """See :class:`diffsoil.forward.Reading`."""
        return (*GEOMETRY, *map(modifier, self.mechanisms)) if self.mechanisms else ()

    def read(self, course: Course) -> Float[Array, "compartment window limit"]:
        """See :func:`limiting_shares`; without a derivative."""
        return jax.lax.stop_gradient(limiting_shares(course, self.mechanisms))


def read(
    model: Forward, x: Float[Array, " input"]
) -> tuple[Float[Array, " output"], Float[Array, "compartment window limit"]]:
    """Outputs, and the share of layers and time in which each modifier limits decomposition."""
    ((*outputs, shares),) = model.read(x)
    return jnp.stack(outputs), shares


def with_outputs(model: Forward, outputs: Sequence[Output]) -> Forward:
    """The model with other outputs."""
    kept = [reading for reading in model.readings if isinstance(reading, Limiting)]
    return dataclasses.replace(model, readings=(*outputs, *kept))


def forward_mode(model: Forward) -> bool:
    """Whether derivatives go along with the run instead of backwards: what is cheaper."""
    return len(_outputs(model)) * BACKWARD[1] > len(model.keys) * FORWARD[1]


def gradient_runs(model: Forward) -> tuple[float, float]:
    """Runs that a gradient of all outputs costs, from and to."""
    if forward_mode(model):
        each, count = FORWARD, len(model.keys)
    else:
        each, count = BACKWARD, len(_outputs(model))
    low, high = (1.0 + count * runs for runs in each)
    return low, high


def _outputs(model: Forward) -> list[Any]:
    return [reading for reading in model.readings if not isinstance(reading, Limiting)]


def limiting_shares(
    course: Course, mechanisms: tuple[str, ...]
) -> Float[Array, "compartment window limit"]:
    """Share of the soil of a compartment and of a window of time in which a modifier is lowest.

    Each layer counts with its thickness inside the compartment, each slow step with its years
    in the window; the first share is that where no modifier is below 1. NaN without mechanisms.
    """
    shape = (len(COMPARTMENTS), WINDOWS, 1 + len(mechanisms))
    if not mechanisms:
        return jnp.full(shape, jnp.nan)
    length = sum(phase.years for phase, _ in course.phases)
    borders = np.linspace(0, length, WINDOWS + 1)
    total = jnp.zeros(shape)
    start = 0
    for phase, record in course.phases:
        edges = start + np.arange(phase.steps + 1) * phase.years_per_step
        inside = np.minimum(edges[None, 1:], borders[1:, None]) - np.maximum(
            edges[None, :-1], borders[:-1, None]
        )
        weight = jnp.asarray(np.clip(inside, 0, None) / (length / WINDOWS))
        modifiers = jnp.stack([record[modifier(name)] for name in mechanisms])
        lowest = jnp.where(
            jnp.min(modifiers, axis=0) < 1.0 - UNPROTECTED, jnp.argmin(modifiers, axis=0) + 1, 0
        )
        limits = jax.nn.one_hot(lowest, shape[-1], dtype=float)
        thickness, top = (record[name] for name in GEOMETRY)
        parts = []
        for upper, lower in COMPARTMENTS.values():
            here = thickness * jax.vmap(partial(overlap, upper=upper, lower=lower))(top, thickness)
            here = here / jnp.maximum(jnp.sum(here, axis=1, keepdims=True), 1e-9)
            parts.append(weight @ jnp.einsum("sl,slr->sr", here, limits))
        total = total + jnp.stack(parts)
        start += phase.years
    return total


@eqx.filter_jit
def _values(model: Forward, x: Float[Array, "draw input"]) -> tuple[Array, Array]:
    return jax.vmap(partial(read, model))(x)


@eqx.filter_jit
def _gradients(model: Forward, x: Float[Array, "draw input"]) -> tuple[Array, tuple[Array, Array]]:
    def both(x: Float[Array, " input"]) -> tuple[Array, tuple[Array, Array]]:
        y, shares = read(model, x)
        return y, (y, shares)

    derivative = jax.jacfwd if forward_mode(model) else jax.jacrev
    result: tuple[Array, tuple[Array, Array]] = jax.vmap(derivative(both, has_aux=True))(x)
    return result


def evaluate(model: Forward, x: Float[np.ndarray, "draw input"]) -> dict[str, np.ndarray]:
    """Runs of a batch of draws; ``partial(evaluate, model)`` is what an ensemble computes.

    Args:
        model: of a problem.
        x: draws; fewer than a batch are filled up, so that nothing is compiled anew.

    Returns:
        ``x``, ``value`` [draw, output], ``ruling`` [draw, compartment, window, limit] and
        ``seconds`` [draw], what a draw took without compiling.
    """
    (value, shares), seconds = _timed(_values, model, _filled(x, FORWARD_BATCH))
    kept = {"value": value, "ruling": shares, "seconds": seconds}
    return {"x": x} | {name: np.asarray(found)[: len(x)] for name, found in kept.items()}


def gradients(model: Forward, x: Float[np.ndarray, "draw input"]) -> dict[str, np.ndarray]:
    """As :func:`evaluate`, with ``gradient`` [draw, output, input] as well."""
    (slope, (value, shares)), seconds = _timed(_gradients, model, _filled(x, GRADIENT_BATCH))
    kept = {"value": value, "ruling": shares, "gradient": slope, "seconds": seconds}
    return {"x": x} | {name: np.asarray(found)[: len(x)] for name, found in kept.items()}


_COMPILED: set[Any] = set()
"""What this process has computed before."""


def _timed(
    compute: Callable[[Forward, Array], Any], model: Forward, x: Float[Array, "draw input"]
) -> tuple[Any, Float[np.ndarray, " draw"]]:
    """A result, and the seconds that each draw took; the first time is not counted."""
    shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(model))
    key = (compute is _gradients, jax.tree.structure(model), shapes, x.shape)
    if key not in _COMPILED:
        jax.block_until_ready(compute(model, x))
        _COMPILED.add(key)
    began = time.perf_counter()
    result = jax.block_until_ready(compute(model, x))
    return result, np.full(len(x), (time.perf_counter() - began) / len(x))


def _filled(x: np.ndarray, size: int) -> Float[Array, "draw input"]:
    """Draws and the last of them again, up to a whole batch (or several)."""
    missing = -len(x) % size
    return jnp.asarray(np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]), dtype=float)


class Problem:
    """A case, inputs of it and outputs of it.

    Args:
        case: a case, or the name or path of one.
        outputs: texts (:mod:`sensitivity.outputs`); those that suit the case if empty.
        parameters: names of parameters, factors and strengths; all parameters with a finite
            range of what the case uses if empty.
        inputs: from :func:`diffsoil.cases.inputs.load_inputs`, instead of ``parameters``.
        treatment: which one, of a case with several.
        years: how many of an output without a year.

    Attributes:
        model: the function itself.
        mechanisms: of protection, which may limit decomposition.

    Raises:
        diffsoil.io.InputError: an unknown name, or an output that the case does not compute.
    """

    def __init__(
        self,
        case: Case | str | Path,
        outputs: Iterable[str] = (),
        parameters: Sequence[str] = (),
        inputs: Mapping[str, FileInput] | None = None,
        treatment: str | None = None,
        years: int = 12,
    ) -> None:
        self.case = case if isinstance(case, Case) else load_case(case)
        column, plan = self.case.column(), build(self.case)
        check(plan, column, self.case)
        plan = _one_member(plan, self.case, treatment)
        self.treatment = treatment
        self.name = self.case.name if treatment is None else f"{self.case.name}/{treatment}"
        site = plan.sites[0]
        texts = list(outputs) or default_texts(self.case, site)
        self.outputs = tuple(parse(texts, self.case, site, years, "--target"))
        known = computed(column, plan)
        check_computed(self.outputs, known, "--target")
        if inputs:
            self.inputs = tuple(_from_file(self.case, column, inputs))
        else:
            names = list(dict.fromkeys(map(current_name, parameters)))
            names = names or default_inputs(column, plan)
            self.inputs = tuple(_input(self.case, column, name, (name,)) for name in names)
        if not self.inputs:
            raise InputError(f"{self.case.path}: there is no parameter with a range")
        self.mechanisms = _mechanisms(column)
        self.model = Forward(
            column=column,
            plan=plan,
            keys=tuple(of.keys for of in self.inputs),
            readings=(*self.outputs, Limiting(self.mechanisms)),
        )
        self._check_factors()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(of.name for of in self.inputs)

    @property
    def defaults(self) -> Float[np.ndarray, " input"]:
        """Values of the inputs in the case."""
        return np.array([of.parameter.default for of in self.inputs])

    def values(self, x: Float[Array, " input"]) -> Float[Array, " output"]:
        """Outputs at values of the inputs; traced, pure JAX."""
        return read(self.model, x)[0]

    def with_minimum(self, minimum: HardMinimum | SoftMinimum) -> Forward:
        """The model whose protection takes another minimum of its modifiers."""
        old = self._protection()
        assert old is not None
        column = self.model.column.replaced(dataclasses.replace(old, minimum=minimum))
        return dataclasses.replace(self.model, column=column)

    def other_minimum(self) -> tuple[str, Forward] | None:
        """The soft minimum where the case has the hard one, or the other way round."""
        protection = self._protection()
        if protection is None or len(protection.mechanisms) < 2:
            return None
        if isinstance(protection.minimum, HardMinimum):
            return "soft", self.with_minimum(SoftMinimum())
        return "hard", self.with_minimum(HardMinimum())

    def _protection(self) -> Protection | None:
        for process in self.model.column.processes:
            if isinstance(process, Protection):
                return process
        return None

    def _check_factors(self) -> None:
        """A factor on what the soil holds must leave room for the rest."""
        for of in self.inputs:
            for key in of.keys:
                if not key.startswith("initial."):
                    continue
                upper = FACTORS[key].change(self.model.plan, jnp.asarray(of.parameter.upper))
                assert upper.ground is not None
                if bool(jnp.any(upper.ground.minerals < 0.0)):
                    raise InputError(
                        f"{self.case.path}: {of.name}: up to {of.parameter.upper:g} times leaves "
                        "no room for other minerals; give it a smaller range with --inputs"
                    )


def _one_member(plan: Plan, case: Case, treatment: str | None) -> Plan:
    """The plan of one treatment, or of one site where there is none."""
    if treatment is None and len(plan.members) > 1:
        raise InputError(
            f"{case.path}: has several treatments; choose one with --treatment: "
            f"{', '.join(plan.members)}"
        )
    return select(plan, [treatment or plan.members[0]], case.path)


# Inputs.


def known_inputs(case: Case, column: Column) -> dict[str, Parameter]:
    """All inputs that a case can have, by name, at the values that they have in it."""
    own, values = case.priors(), column.values()
    table = {
        name: dataclasses.replace(
            declared, default=float(values[name]), prior=own.get(name) or declared.prior
        )
        for name, declared in column.parameters().items()
    }
    for name, factor in FACTORS.items():
        if case.whole_soil or not factor.whole_soil:
            table[name] = factor.parameter
    if case.file.erosion != "continuous":
        table.pop("forcing.erosion", None)
    return table | _strengths(column)


def _strengths(column: Column) -> dict[str, Parameter]:
    """Strengths of the processes that can be weakened."""
    source = "by definition: 0 is a column without the process, 1 with it"
    return {
        STRENGTH + name: Parameter(
            STRENGTH + name, 1.0, "1", 0.0, 1.0, UNIFORM, source, f"strength of {name}"
        )
        for name in strength.candidates(column)
    }


def _input(case: Case, column: Column, name: str, keys: tuple[str, ...]) -> Input:
    known = known_inputs(case, column)
    for key in keys:
        if key not in known:
            if key in FACTORS:
                need = 'erosion = "continuous"' if key == "forcing.erosion" else "a whole soil"
                raise InputError(f"{case.path}: input {key}: the case needs {need} for it")
            raise InputError(
                f"{case.path}: no parameter or factor {key!r}{nearest(key, known)}; "
                f"`diffsoil parameters` lists them, factors are {', '.join(FACTORS)}"
            )
    return Input(known[keys[0]], keys)


def _from_file(case: Case, column: Column, inputs: Mapping[str, FileInput]) -> Iterable[Input]:
    """Inputs of a file: their keys have to be parameters or factors."""
    for name, of in inputs.items():
        found = _input(case, column, name, tuple(of.keys))
        prior = Prior(**of.prior.model_dump()) if of.prior else found.parameter.prior
        declared = found.parameter
        for key in found.keys:
            bounds = _input(case, column, key, (key,)).parameter
            if not bounds.lower <= of.lower < of.upper <= bounds.upper:
                raise InputError(
                    f"input {name}: {of.lower:g} to {of.upper:g} is not inside the bounds of "
                    f"{key}, {bounds.lower:g} to {bounds.upper:g}"
                )
        parameter = dataclasses.replace(
            declared, name=name, lower=of.lower, upper=of.upper, prior=prior, description=of.what
        )
        yield Input(parameter, found.keys)


def default_inputs(column: Column, plan: Plan) -> list[str]:
    """Parameters with a finite range whose process has something to do in a plan."""
    table = column.parameters()
    unused = _unused(column, plan)
    return [
        n for n, p in table.items() if np.isfinite([p.lower, p.upper]).all() and n not in unused
    ]


def _mechanisms(column: Column) -> tuple[str, ...]:
    """Mechanisms of protection that a column has, whether they act or not."""
    for process in column.processes:
        if isinstance(process, Protection):
            return tuple(part.name for part in process.parts)
    return ()


def _unused(column: Column, plan: Plan) -> set[str]:
    """Parameters that cannot matter: of what is not added, not there, or not chosen."""
    unused: set[str] = set()
    if not any(x.any() for x in _given(plan, "manure_input")):
        unused |= {name for name in column.parameters() if name.startswith("manure.")}
    for process in column.processes:
        if isinstance(process, Protection):
            idle = [part for part in process.parts if part.name not in process.mechanisms]
            unused |= {f"protection.{f.name}" for part in idle for f in dataclasses.fields(part)}
        if process.name == "carbon" and not np.any(np.asarray(plan.iom)):
            unused.add("carbon.iom_factor")
        if isinstance(process, Vegetation):
            amounts = [x.reshape(-1, x.shape[-1]).max(axis=0) for x in _given(plan, "plant_input")]
            grown = dict(zip(sorted(process.input_factor), np.max(amounts, axis=0), strict=True))
            unused |= {f"vegetation.input_factor.{g}" for g, most in grown.items() if most == 0.0}
        if isinstance(process, Weathering):
            unused |= {f"weathering.mineral_factor.{mineral}" for mineral in _absent(plan)}
    return unused


def _given(plan: Plan, name: str) -> list[np.ndarray]:
    """A variable in every phase of a plan that has it, with leading axes of sites and steps."""
    found = [phase.constant.get(name, phase.series.get(name)) for phase in plan.phases]
    return [np.asarray(values) for values in found if values is not None]


def _absent(plan: Plan) -> set[str]:
    """Minerals that a soil neither has nor gets nor forms."""
    assert plan.ground is not None
    there = np.asarray(plan.ground.minerals).sum(axis=(0, 2, 3))
    for name in ("parent_minerals", "dust_minerals", "added_minerals"):
        for values in _given(plan, name):
            there = there + values.reshape(-1, *values.shape[-2:]).sum(axis=(0, 2))
    named = zip(MINERALS, there, strict=True)
    return {mineral for mineral, amount in named if amount == 0.0} - NEOFORMED

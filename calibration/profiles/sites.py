"""Many profiles at once: what the column computes for each of them, and of what.

Profiles come from one case or from several with the same grid and the same phases; each is a
site of its case. Their chemistry, texture and pores are prescribed, so the carbon of a profile is
linear in its plant input and depends on all shared parameters through few numbers: two
decomposition rates, and the factor by which protection and depth slow decomposition in each
layer. :meth:`Sites.stocks` is the column as a function of just these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from calibration.observations import read
from calibration.operator import LAYERS, operator
from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, build, check, initial_state, prepare_plan
from diffsoil.cases.kinds import at_site
from diffsoil.column import Column
from diffsoil.forward import Forward
from diffsoil.io import InputError, nearest
from diffsoil.process import Environment, Process
from diffsoil.processes.carbon import subsoil_factor
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.processes.protection import MECHANISMS, Protection, modifier
from diffsoil.processes.vegetation import Vegetation
from diffsoil.state import State
from diffsoil.time import Phase, Record

GIVEN = "given_modifier"
RATES = ("carbon.k_rpm", "carbon.k_hum")
SLOWING = "carbon.subsoil_slowing"
IOM = "carbon.iom_factor"

COVARIATES = Protection().needs
"""What the mechanisms of protection need to know of a layer."""
KEPT = (*COVARIATES, *LAYERS)

RECORD = Record(yearly=("soc",))

FREE = (*RATES, IOM)
"""What :class:`Stocks` is a function of, besides the modifiers."""


class GivenProtection(Process):
    """Protection whose modifier is an input of the column, not a function of its soil."""

    name: ClassVar[str] = "protection"
    needs: ClassVar[tuple[str, ...]] = (GIVEN,)
    provides: ClassVar[tuple[str, ...]] = (modifier("overall"),)

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        return state, {modifier("overall"): environment[GIVEN]}


class Stocks(eqx.Module):
    """Active carbon in each observed interval, as a function of what moves it.

    Attributes:
        forward: the column of all profiles as a function of :data:`FREE`.
        profile, year: of each observation; years count from the first of the experiment.
        weights: share of each layer in the observed interval.
    """

    forward: Forward
    profile: Int[Array, " obs"]
    year: Int[Array, " obs"]
    weights: Float[Array, "obs layer"]

    def __call__(
        self,
        log_rates: Float[Array, "2"],
        log_modifier: Float[Array, "profile layer"],
        iom_factor: Float[Array, ""],
    ) -> Float[Array, " obs"]:
        """Carbon at an input factor of 1, Mg/ha; see :meth:`Sites.stocks`."""
        given = {GIVEN: jnp.exp(log_modifier)}
        plan = self.forward.plan.changed(
            lambda phase: dataclasses.replace(phase, constant=phase.constant | given)
        )
        forward = dataclasses.replace(self.forward, plan=plan)
        x = jnp.append(jnp.exp(log_rates), iom_factor)
        soc = forward.run(x).experiment["soc"]
        return jnp.sum(self.weights * soc[self.profile, self.year], axis=1)


class Sites:
    """Profiles of one or more cases, ready to run side by side.

    Args:
        cases: cases or their names or paths; same grid, phases and years with yearly drivers.
        profiles: names of the sites to take; all if not given.

    Attributes:
        names: of the profiles.
        cover: land use of the last year of each profile without the name of the profile.
        case_of: place in ``cases`` of the case that each profile is of.
        table: observations of these profiles; ``profile`` is the place in ``names``.
        column: the column of the first case, with pore classes prescribed.
        mineral: mineral soil of each observed interval, Mg/ha.
        inert: inert carbon in each observed interval at a factor of 1, Mg/ha.
        depth: middle of the layers, m.

    Raises:
        InputError: cases that do not fit together, an unknown profile, observations other than
            SOC in percent of a depth interval, a soil that changes in time.
    """

    def __init__(
        self, cases: Sequence[Case | str | Path], profiles: Sequence[str] | None = None
    ) -> None:
        self.cases = [c if isinstance(c, Case) else load_case(c) for c in cases]
        if not self.cases:
            raise InputError("--case: at least one case is needed")
        column = self.cases[0].column()
        if "pores" in {p.name for p in column.processes}:
            column = column.without("pores")
        self.column: Column = column.replaced(Vegetation({"plants": jnp.ones(())}))
        parts = [self._part(case) for case in self.cases]
        plan, table = self._joined(parts)
        self.names: tuple[str, ...] = plan.members
        if profiles is not None:
            plan, table = self._chosen(plan, table, profiles)
        self.table = table
        self.case_of = tuple(
            next(i for i, case in enumerate(self.cases) if name in case.file.site)
            for name in self.names
        )
        self.cover = tuple(map(self._cover, self.names, self.case_of))
        known = plan.history[0].constant
        self._soil: Environment = {name: known[name] for name in COVARIATES}
        self.depth = np.asarray(known["depth_top"][0] + 0.5 * known["thickness"][0])
        self._state = jax.tree.map(lambda leaf: leaf[0], initial_state(self.column, plan))
        runner = self.column.replaced(GivenProtection()).with_parameters({SLOWING: 0.0})
        keys = tuple((name,) for name in FREE)
        self._stocks = Stocks(
            forward=Forward(runner, plan, keys, in_experiment=RECORD, ahead=True),
            profile=jnp.asarray(table["profile"].to_numpy()),
            year=jnp.asarray(table["year"].to_numpy() - plan.experiment_year),
            weights=jnp.asarray(np.stack(table["weights"].to_list())),
        )
        self.mineral = np.stack(table["mineral"].to_list())
        self.table = table.drop(columns=["weights", "mineral"])
        self._compiled = eqx.filter_jit(self._stocks)
        neutral = jnp.zeros((len(self.names), self.depth.size))
        rates = jnp.log(jnp.asarray([0.3, 0.02]))
        both = self._compiled(rates, neutral, jnp.ones(()))
        self.inert = np.asarray(both - self._compiled(rates, neutral, jnp.zeros(())))

    def _part(self, case: Case) -> tuple[Plan, pd.DataFrame]:
        """Prepared plan and observations of one case."""
        if case.whole_soil:
            raise InputError(f'{case.path}: column: many sites need column = "carbon"')
        if case.file.initial == "measured":
            raise InputError(f"{case.path}: initial: many sites start from their history")
        plan = build(case)
        check(plan, case.column(), case)
        if plan.experiment is None or plan.site_of != tuple(range(len(plan.sites))):
            raise InputError(f"{case.path}: treatment: many sites need one treatment for each site")
        table = read(case, plan)
        wrong = table[(table["variable"] != "soc_percent") | np.isfinite(table["soil_mass_Mg_ha"])]
        if len(wrong):
            row = wrong.iloc[0]
            raise InputError(
                f"{row['file']}: line {row['line']}, column 'variable': many sites are fitted to "
                f"soc_percent of depth intervals, not to {row['variable']}"
            )
        table = table[table["fitted"] & (table["value"] > 0)].reset_index(drop=True)
        runner = self.column.replaced(GivenProtection())
        later = (*FREE, SLOWING, "protection.given")
        plan = prepare_plan(runner, plan.changed(_one_group), later, keep=KEPT)
        if self.column.process("pores").needs and "mesopores" not in plan.history[0].constant:
            raise InputError(f"{case.path}: soil: a soil that changes in time is not supported")
        measured = operator(table, case, plan, plan.experiment_year)
        table["weights"] = list(np.asarray(measured.weights))
        mineral = np.sum(np.asarray(measured.weights * measured.mineral_mass), axis=1)
        return plan, table.assign(mineral=mineral, profile=table["member"])

    def _joined(self, parts: list[tuple[Plan, pd.DataFrame]]) -> tuple[Plan, pd.DataFrame]:
        first = parts[0][0]
        for case, (plan, _) in zip(self.cases[1:], parts[1:], strict=True):
            shapes: list[Any] = [jax.tree.structure(_anonymous(p)) for p in (plan, first)]
            same = shapes[0] == shapes[1]
            if not same or plan.start_year != first.start_year:
                raise InputError(
                    f"{case.path}: history: its phases, slow steps or layers are not those of "
                    f"{self.cases[0].path}"
                )
        members = tuple(name for plan, _ in parts for name in plan.members)
        if len(set(members)) < len(members):
            raise InputError(f"{self.cases[-1].path}: site: a profile is in two of the cases")
        plans = [_anonymous(plan) for plan, _ in parts]
        plan = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *plans)
        start = np.cumsum([0] + [len(p.members) for p, _ in parts])
        tables = [
            t.assign(profile=t["profile"] + s) for (_, t), s in zip(parts, start, strict=False)
        ]
        return _renamed(plan, members), pd.concat(tables, ignore_index=True)

    def _chosen(
        self, plan: Plan, table: pd.DataFrame, profiles: Sequence[str]
    ) -> tuple[Plan, pd.DataFrame]:
        for name in profiles:
            if name not in self.names:
                raise InputError(f"--profiles: no profile {name!r}{nearest(name, self.names)}")
        at = [self.names.index(name) for name in profiles]
        table = table[table["profile"].isin(at)]
        table = table.assign(profile=[at.index(p) for p in table["profile"]])
        plan = jax.tree.map(lambda leaf: leaf[jnp.asarray(at)], plan)
        self.names = tuple(profiles)
        return _renamed(plan, self.names), table.sort_values("profile", kind="stable").reset_index(
            drop=True
        )

    def _cover(self, name: str, case: int) -> str:
        last = self.cases[case].file.history[-1]
        return at_site(last.land_use, name).removeprefix(f"{name}_")

    def stocks(
        self, log_rates: Float[Array, "2"], log_modifier: Float[Array, "profile layer"]
    ) -> Float[Array, " obs"]:
        """Active carbon in each observed interval at an input factor of 1, Mg/ha.

        Args:
            log_rates: logarithms of the decomposition rates of RPM and HUM, 1/a.
            log_modifier: logarithm of what slows decomposition in each layer, see
                :meth:`log_modifier`.
        """
        return self._compiled(log_rates, log_modifier, jnp.zeros(()))

    def sensitivity(
        self, log_rates: Float[Array, "2"], log_modifier: Float[Array, "profile layer"]
    ) -> Float[np.ndarray, "obs layer"]:
        """Derivative of the logarithm of each stock to the log modifier of its own layers."""

        @jax.jit
        def along(tangent: Array, stocks: Stocks) -> Array:
            def log_stocks(m: Array) -> Array:
                return jnp.log(stocks(log_rates, m, jnp.zeros(())))

            return jax.jvp(log_stocks, (log_modifier,), (tangent,))[1]

        layers = np.eye(self.depth.size)
        shape = log_modifier.shape
        columns = [along(jnp.broadcast_to(jnp.asarray(e), shape), self._stocks) for e in layers]
        return np.stack([np.asarray(c) for c in columns], axis=1)

    def log_modifier(
        self, values: Mapping[str, Any], switched_on: Float[Array, " mechanism"]
    ) -> Float[Array, "profile layer"]:
        """Logarithm of what protection and depth leave of decomposition.

        Args:
            values: parameters by full name; those of protection and the slowing in the subsoil
                are used, and what is not given has the value of the case.
            switched_on: 1 for each mechanism of :data:`.protection.MECHANISMS` (``own``) that
                acts, 0 for one that is not there; without any the modifier is exactly 1 above
                0.25 m.
        """
        process = self.column.process("protection")
        assert isinstance(process, Protection)
        minimum = process.minimum
        process = Protection(minimum=minimum)
        chosen = self.column.values() | dict(values)
        mine = {n: v for n, v in chosen.items() if n.startswith("protection.")}
        protection = Column((process,)).with_parameters(mine).processes[0]

        def one(soil: Environment) -> Array:
            provided = protection.slow(self._state, soil, 1)[1]
            each = jnp.stack([provided[modifier(m)] for m in MECHANISMS.own])
            return minimum(jnp.where(switched_on[:, None] > 0, each, 1.0), switched_on)

        overall = jax.vmap(one)(self._soil)
        slowing = subsoil_factor(jnp.asarray(self.depth), jnp.asarray(chosen[SLOWING], dtype=float))
        return jnp.log(overall) + jnp.log(slowing)[None]

    def percent(
        self, active: Float[Array, "... obs"], iom_factor: Float[Array, "..."], factor: Array
    ) -> Float[Array, "... obs"]:
        """SOC of each observed interval, %, that a measurement would find.

        Args:
            active: from :meth:`stocks`.
            iom_factor: factor on the inert carbon.
            factor: input factor of the profile of each observation.
        """
        return soc_percent(active * factor + self.inert * iom_factor, self.mineral)


def soc_percent(stock: Array, mineral: Array | np.ndarray) -> Array:
    """SOC, % of the soil mass, of carbon (Mg/ha) in a mass of mineral soil (Mg/ha)."""
    return 100.0 * stock / (mineral + ORGANIC_MATTER_IN_CARBON * stock)


def _one_group(phase: Phase) -> Phase:
    """All plant input in one group: profiles are told apart by their place, not by groups."""

    def summed(values: Environment) -> Environment:
        if "plant_input" not in values:
            return values
        total = jnp.sum(values["plant_input"], axis=-1, keepdims=True)
        return values | {"plant_input": total}

    return dataclasses.replace(phase, constant=summed(phase.constant), series=summed(phase.series))


def _renamed(plan: Plan, members: tuple[str, ...]) -> Plan:
    each = tuple(range(len(members)))
    return dataclasses.replace(plan, members=members, sites=members, site_of=each)


def _anonymous(plan: Plan) -> Plan:
    return _renamed(plan, ())

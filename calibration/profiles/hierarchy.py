"""A hierarchical model of many profiles: shared soil parameters, partially pooled plant input.

The logarithm of a profile's input factor is normal around the mean of its land cover, with a
spread that is fitted. Given the shared parameters profiles are independent, so each input factor
is integrated out by itself (Gauss-Hermite quadrature around its mode): what is left to sample has
a dozen dimensions and no funnel, and the likelihood of a profile is that of a profile whose input
nobody knows, as leave-one-profile-out asks.

An observation is log-normal: the sd of its logarithm is the measured relative error (rounding,
bulk density) and a fitted part, one for the topsoil and one for the subsoil.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpyro.infer import NUTS
from scipy import optimize, special

from calibration.methods.mode import hessian, inverse
from calibration.priors import Priors, Transform
from calibration.profiles.covariates import Regression
from calibration.profiles.emulator import Emulator
from calibration.profiles.sites import IOM, RATES, SLOWING, Sites, soc_percent
from diffsoil.parameters import Parameter, Prior, lognormal
from diffsoil.processes.protection import MECHANISMS

MEAN = "input.mean."
SPREAD = "input.spread"
ERROR = "error."
STRATA = ("topsoil", "subsoil")
TOPSOIL_CM = 30.0
"""An interval whose middle lies above is topsoil."""

PROTECTION = {name: f"protection.{of.strength}" for name, of in MECHANISMS.own.items()}
"""What is fitted of each mechanism; ``protection.b3b`` keeps its value."""

LEAST_CURVATURE = 0.1
"""Curvature that the normal approximation has along any direction at least."""

NODES = 9
NEWTON = 4
GRID = 81

VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    **{m: (m,) for m in PROTECTION},
    "all": tuple(PROTECTION),
    **{f"all but {m}": tuple(o for o in PROTECTION if o != m) for m in PROTECTION},
}
"""Plain RothC, each mechanism alone, all together, and all but one."""


class Given(NamedTuple):
    """What a fit is given, as arrays: one compiled program serves all variants and all folds.

    ``switched_on`` is 1 for each mechanism that acts, ``fitted`` for each profile that counts;
    without an ``emulator`` the column itself runs.
    """

    switched_on: Float[Array, " mechanism"]
    fitted: Float[Array, " profile"]
    emulator: Emulator | None


def hyper_parameters(covers: Sequence[str]) -> list[Parameter]:
    """Parameters of the distribution of inputs over profiles, and of the errors."""

    def one(name: str, prior: Prior, lower: float, upper: float, about: str) -> Parameter:
        source = "assumption: weak, so that the profiles decide"
        return Parameter(name, prior.location, "1", lower, upper, prior, source, about)

    means = [
        one(MEAN + cover, lognormal(1.0, 0.5), 0.05, 5.0, f"median input factor under {cover}")
        for cover in covers
    ]
    about = "standard deviation of the log input factor between profiles of one land cover"
    spread = one(SPREAD, lognormal(0.3, 0.5), 0.02, 1.5, about)
    typical = {"topsoil": 0.2, "subsoil": 0.3}
    errors = [
        one(ERROR + s, lognormal(typical[s], 0.5), 0.01, 1.5, f"relative error of {s} SOC")
        for s in STRATA
    ]
    return [*means, spread, *errors]


class Draws(NamedTuple):
    """Posterior draws, chains first: ``z`` unbounded, ``x`` bounded parameters."""

    z: Float[np.ndarray, "chain draw parameter"]
    x: Float[np.ndarray, "chain draw parameter"]
    diverging: np.ndarray
    steps: np.ndarray
    accept: np.ndarray
    log_posterior: np.ndarray

    @property
    def flat(self) -> np.ndarray:
        """Unbounded draws, chains one after another."""
        return self.z.reshape(-1, self.z.shape[-1])


@dataclasses.dataclass(frozen=True)
class Mode:
    """Most probable unbounded parameters, covariance there, and the log posterior density."""

    z: Float[np.ndarray, " parameter"]
    covariance: Float[np.ndarray, "parameter parameter"]
    log_posterior: float


class Hierarchy:
    """The hierarchical model of some profiles.

    The parameter of a mechanism that is switched off is still there: nothing depends on it, so
    its posterior is its prior, and it changes no evidence.

    Args:
        sites: the profiles.
        regression: of the turnover on covariates of the horizons; none if not given.

    Attributes:
        parameters, names: shared parameters in the order of every vector here; priors of soil
            parameters are those that the first case gives them, or else of the parameter table.
    """

    def __init__(self, sites: Sites, regression: Regression | None = None) -> None:
        self.sites, self.regression = sites, regression
        self.covers = sorted(set(sites.cover))
        declared = sites.column.parameters()
        own = sites.cases[0].priors()
        free = [*RATES, SLOWING, IOM, *PROTECTION.values()]
        soil = [
            dataclasses.replace(declared[n], prior=own.get(n) or declared[n].prior) for n in free
        ]
        self.parameters: list[Parameter] = [*soil, *hyper_parameters(self.covers)]
        if regression is not None:
            self.parameters += regression.parameters()
        self.names = tuple(p.name for p in self.parameters)
        self.transform = Transform(self.parameters)
        self.priors = Priors(self.parameters)
        self._cover = jnp.asarray([self.covers.index(c) for c in sites.cover])
        table = sites.table
        middle = 0.5 * (table["upper_cm"] + table["lower_cm"]).to_numpy()
        self.stratum: Int[np.ndarray, " obs"] = (middle >= TOPSOIL_CM).astype(int)
        value = table["value"].to_numpy(float)
        self.log_value = np.log(value)
        self.relative_sd = np.nan_to_num(table["sd"].to_numpy(float)) / value
        self._place, self._there = _padded(table["profile"].to_numpy(), len(sites.names))
        self._descent = jax.jit(jax.value_and_grad(lambda z, given: -self.log_posterior(z, given)))
        self._sampler = jax.jit(
            jax.vmap(self._chain, in_axes=(0, 0, None, None, None, None, None)),
            static_argnums=(4, 5),
        )
        self._each = jax.jit(self._profiles_of_draws)
        self._density = jax.jit(jax.vmap(self.log_posterior, in_axes=(0, None)))

    def given(
        self,
        emulator: Emulator | None,
        mechanisms: Sequence[str],
        fitted: Float[np.ndarray, " profile"] | None = None,
    ) -> Given:
        """What a fit is given.

        Args:
            emulator: of the column; the column itself if None.
            mechanisms: of protection that are switched on; none is plain RothC with slower
                subsoils.
            fitted: 1 for each profile that counts; all if not given.
        """
        fitted = np.ones(len(self.sites.names)) if fitted is None else fitted
        switched_on = [float(m in mechanisms) for m in PROTECTION]
        arrays = None if emulator is None else jax.tree.map(jnp.asarray, emulator)
        return Given(jnp.asarray(switched_on), jnp.asarray(fitted, dtype=float), arrays)

    # --- parameters -----------------------------------------------------------------

    def values(self, x: Float[Array, " parameter"]) -> dict[str, Array]:
        """Bounded values by name."""
        return {name: x[i] for i, name in enumerate(self.names)}

    def inputs(
        self, x: Float[Array, " parameter"], switched_on: Float[Array, " mechanism"]
    ) -> tuple[Array, Array]:
        """What :meth:`.sites.Sites.stocks` needs: log rates and log modifiers."""
        values = self.values(x)
        rates = jnp.log(jnp.stack([values[name] for name in RATES]))
        soil = {n: v for n, v in values.items() if n.startswith("protection.") or n == SLOWING}
        modifier = self.sites.log_modifier(soil, switched_on)
        return rates, modifier if self.regression is None else modifier + self.regression(values)

    def log_stock(self, x: Float[Array, " parameter"], given: Given) -> Float[Array, " obs"]:
        """Log stock of every observation at an input factor of 1."""
        inputs = self.inputs(x, given.switched_on)
        if given.emulator is None:
            return jnp.log(self.sites.stocks(*inputs))
        return given.emulator(*inputs)

    def state(self, z: Float[Array, " parameter"], given: Given) -> tuple[Array, Array]:
        """Bounded parameters and log stocks of unbounded parameters."""
        x = self.transform.forward(z)
        return x, self.log_stock(x, given)

    def _population(self, values: Mapping[str, Array]) -> tuple[Array, Array]:
        """Mean log input factor of every profile, and the spread."""
        means = jnp.log(jnp.stack([values[MEAN + c] for c in self.covers]))
        return means[self._cover], values[SPREAD]

    def log_error(self, values: Mapping[str, Array]) -> Float[Array, " obs"]:
        """Standard deviation of the logarithm of every observation."""
        relative = jnp.stack([values[ERROR + s] for s in STRATA])[self.stratum]
        return jnp.sqrt(relative**2 + self.relative_sd**2)

    # --- likelihood -----------------------------------------------------------------

    def _of_input(
        self, values: Mapping[str, Array], log_stock: Array, u: Float[Array, "profile node"]
    ) -> tuple[Array, Array, Array]:
        """Joint log density of a profile's observations and its log input u.

        Returns it by profile and node, with the first derivative to u and the information
        (expected second derivative, negated).
        """
        place, there = self._place, self._there
        active = jnp.exp(log_stock[place])[:, :, None] * jnp.exp(u)[:, None]
        inert = (self.sites.inert[place])[:, :, None] * values[IOM]
        stock = active + inert
        expected = soc_percent(stock, self.sites.mineral[place][:, :, None])
        slope = active / stock * (1.0 - 0.01724 * expected)
        sd = self.log_error(values)[place][:, :, None]
        residual = (self.log_value[place][:, :, None] - jnp.log(expected)) / sd
        count = there[:, :, None]
        terms = -0.5 * residual**2 - jnp.log(sd) - 0.5 * np.log(2 * np.pi)
        mean, spread = self._population(values)
        away = (u - mean[:, None]) / spread
        density = jnp.sum(count * terms, axis=1)
        density = density - 0.5 * away**2 - jnp.log(spread) - 0.5 * np.log(2 * np.pi)
        first = jnp.sum(count * residual * slope / sd, axis=1) - away / spread
        information = jnp.sum(count * (slope / sd) ** 2, axis=1) + 1.0 / spread**2
        return density, first, information

    def _mode_of_input(self, values: Mapping[str, Array], log_stock: Array) -> tuple[Array, Array]:
        """Most probable log input of every profile, and its width."""

        def step(_: int, u: Array) -> Array:
            first, information = self._of_input(values, log_stock, u)[1:]
            return u + jnp.clip(first / information, -1.5, 1.5)

        start = self._population(values)[0][:, None]
        u: Array = jax.lax.fori_loop(0, NEWTON, step, start)
        information = self._of_input(values, log_stock, u)[2]
        return u[:, 0], 1.0 / jnp.sqrt(information[:, 0])

    def profile_log_likelihood(
        self, x: Float[Array, " parameter"], log_stock: Float[Array, " obs"]
    ) -> Float[Array, " profile"]:
        """Log density of the log SOC of every profile, its unknown input integrated out.

        Args:
            x: bounded shared parameters.
            log_stock: of every observation at an input factor of 1, see :meth:`log_stock`.
        """
        values = self.values(x)
        # where the nodes lie does not change the integral, so it need not be differentiated
        u, width = jax.lax.stop_gradient(self._mode_of_input(values, log_stock))
        nodes, weights = special.roots_hermite(NODES)
        at = u[:, None] + np.sqrt(2.0) * width[:, None] * nodes[None]
        density, _, _ = self._of_input(values, log_stock, at)
        logs = density + (nodes**2 + np.log(weights))[None]
        return jax.scipy.special.logsumexp(logs, axis=1) + jnp.log(np.sqrt(2.0) * width)

    def log_likelihood(self, z: Float[Array, " parameter"], given: Given) -> Float[Array, ""]:
        """Log likelihood of the fitted profiles, of unbounded parameters."""
        each = self.profile_log_likelihood(*self.state(z, given))
        return jnp.sum(jnp.where(given.fitted > 0, each, 0.0))

    def log_prior(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Log prior density of unbounded parameters."""
        return self.priors.log_density(self.transform.forward(z)) + self.transform.log_jacobian(z)

    def log_posterior(self, z: Float[Array, " parameter"], given: Given) -> Float[Array, ""]:
        """Log posterior density of unbounded parameters, not normalised."""
        return self.log_likelihood(z, given) + self.log_prior(z)

    def densities(self, z: Float[np.ndarray, "draw parameter"], given: Given) -> np.ndarray:
        """Log posterior density, not normalised, of many unbounded parameters."""
        return np.asarray(self._density(jnp.asarray(z), given))

    def _profiles_of_draws(self, z: Array, given: Given) -> Array:
        def one(z: Array) -> Array:
            return self.profile_log_likelihood(*self.state(z, given))

        return jax.lax.map(one, z, batch_size=50)

    def profile_log_likelihoods(self, draws: Draws, given: Given) -> np.ndarray:
        """Log likelihood by chain, draw and profile."""
        each = np.asarray(self._each(jnp.asarray(draws.flat), given))
        return each.reshape(*draws.z.shape[:2], -1)

    # --- inputs of the profiles -----------------------------------------------------

    def sample_inputs(
        self, key: Array, x: Float[Array, " parameter"], log_stock: Float[Array, " obs"]
    ) -> Float[Array, " profile"]:
        """Draw the log input factor of every profile from its posterior given the rest."""
        values = self.values(x)
        u, width = self._mode_of_input(values, log_stock)
        steps = jnp.linspace(-6.0, 6.0, GRID)
        at = u[:, None] + width[:, None] * steps[None]
        density, _, _ = self._of_input(values, log_stock, at)
        mass = jnp.cumsum(jax.nn.softmax(density, axis=1), axis=1)
        level = jax.random.uniform(key, (u.size,))
        return jax.vmap(jnp.interp)(level, mass, at)

    def new_inputs(self, key: Array, x: Float[Array, " parameter"]) -> Float[Array, " profile"]:
        """Draw the log input factor of every profile as if it had not been seen."""
        mean, spread = self._population(self.values(x))
        return mean + spread * jax.random.normal(key, mean.shape)

    def predict(
        self,
        key: Array,
        x: Float[Array, " parameter"],
        log_stock: Float[Array, " obs"],
        log_input: Float[Array, " profile"],
    ) -> tuple[Array, Array]:
        """SOC (%) in the soil at every observation, and a measurement of it."""
        values = self.values(x)
        factor = jnp.exp(log_input)[self.sites.table["profile"].to_numpy()]
        latent = self.sites.percent(jnp.exp(log_stock), values[IOM], factor)
        sd = self.log_error(values)
        return latent, latent * jnp.exp(sd * jax.random.normal(key, sd.shape))

    # --- fitting --------------------------------------------------------------------

    def mode(self, given: Given, starts: int = 2, seed: int = 0) -> Mode:
        """Most probable parameters from several starts, with the curvature there."""

        def function(z: np.ndarray) -> tuple[float, np.ndarray]:
            f, g = self._descent(jnp.asarray(z), given)
            return float(f), np.asarray(g)

        first = jnp.asarray([_middle(p) for p in self.parameters])
        drawn = self.priors.sample(jax.random.key(seed), max(starts - 1, 1))
        found = []
        for x in [first, *drawn[: starts - 1]]:
            start = np.clip(np.asarray(self.transform.inverse(x)), -6, 6)
            found.append(optimize.minimize(function, start, jac=True, method="L-BFGS-B"))
        best = min(found, key=lambda f: f.fun)
        identity = np.eye(best.x.size)
        covariance = inverse(hessian(function, best.x, identity, 1e-3), identity, LEAST_CURVATURE)
        return Mode(best.x, covariance, -float(best.fun))

    def sample(
        self,
        given: Given,
        mode: Mode,
        seed: int,
        chains: int = 4,
        warmup: int = 500,
        draws: int = 1000,
    ) -> Draws:
        """NUTS in standard coordinates at the mode."""
        factor = np.linalg.cholesky(mode.covariance)
        keys = jax.random.split(jax.random.PRNGKey(seed), chains + 1)
        start = 0.5 * jax.random.normal(keys[0], (chains, len(self.names)))
        whitening = (jnp.asarray(mode.z), jnp.asarray(factor))
        kept = self._sampler(keys[1:], start, *whitening, warmup, draws, given)
        w, diverging, steps, accept, energy = (np.asarray(a) for a in kept)
        z = mode.z + w @ factor.T
        x = np.asarray(jax.vmap(jax.vmap(self.transform.forward))(jnp.asarray(z)))
        return Draws(z, x, diverging, steps, accept, -energy)

    def _chain(
        self,
        key: Array,
        start: Array,
        middle: Array,
        factor: Array,
        warmup: int,
        draws: int,
        given: Given,
    ) -> tuple[Array, ...]:
        """One chain of NumPyro's NUTS: whitened draws and statistics after warm-up."""

        def potential(w: Array) -> Array:
            return -self.log_posterior(middle + factor @ w, given)

        kernel = NUTS(potential_fn=potential, target_accept_prob=0.85, max_tree_depth=8)
        state = kernel.init(key, warmup, init_params=start, model_args=(), model_kwargs={})

        def transition(state: Any, _: None) -> tuple[Any, tuple[Array, ...]]:
            state = kernel.sample(state, (), {})
            kept = (state.z, state.diverging, state.num_steps, state.accept_prob)
            return state, (*kept, state.potential_energy)

        _, kept = jax.lax.scan(transition, state, None, length=warmup + draws)
        return tuple(values[warmup:] for values in kept)


def _padded(of_profile: np.ndarray, profiles: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations of every profile side by side: their places, and 1 where there is one."""
    most = max(int(np.bincount(of_profile, minlength=profiles).max()), 1)
    place = np.zeros((profiles, most), dtype=int)
    there = np.zeros((profiles, most))
    for profile in range(profiles):
        mine = np.flatnonzero(of_profile == profile)
        place[profile, : mine.size] = mine
        there[profile, : mine.size] = 1.0
    return place, there


def _middle(parameter: Parameter) -> float:
    """Where a search begins: the middle of the prior, or the default."""
    if np.isfinite(parameter.prior.location):
        return float(np.clip(parameter.prior.location, parameter.lower, parameter.upper))
    return parameter.default

"""Likelihood and posterior of the parameters of a case.

Both are pytrees that compiled programs take as arguments, so that none of their arrays becomes a
constant of the program.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from calibration.likelihood import ERROR, MEMORY, METHOD, ErrorModel, Spread
from calibration.operator import Operator
from calibration.priors import Priors
from calibration.reparameterization import Reparameterization
from diffsoil.forward import GEOMETRY, Forward


class Prediction(NamedTuple):
    """What one set of parameters predicts.

    ``latent`` is what is in the soil at each observation, ``expected`` the mean (median, where
    the error is log-normal) of a measurement of it, ``sd`` its error. ``log_likelihood`` of each
    observation sums up to the joint one, ``left_out`` is that of each given all others of its
    repeated plot. ``memory`` is the time over which errors of a plot are correlated, years, 0
    where they are not. The others are those of :class:`Soil`.
    """

    latent: Float[Array, " obs"]
    expected: Float[Array, " obs"]
    sd: Float[Array, " obs"]
    log_likelihood: Float[Array, " obs"]
    left_out: Float[Array, " obs"]
    memory: Float[Array, " obs"]
    topsoil: Float[Array, "member year"]
    profile: Float[Array, "member pool layer"]
    bottom: Float[Array, "member layer"]


class Soil(NamedTuple):
    """What is in the soil, measured or not.

    ``topsoil`` is the stock of the topsoil by member and year, ``profile`` the carbon of each
    layer by pool at the end of the last year, both Mg C/ha; ``bottom`` the depth, m, at which
    each layer ends then.
    """

    topsoil: Float[Array, "member year"]
    profile: Float[Array, "member pool layer"]
    bottom: Float[Array, "member layer"]


class Likelihood(eqx.Module):
    """What parameters predict, and how likely what was measured is then.

    Attributes:
        forward: the case as a function of its parameters; those of errors change nothing in it.
        operator: what would have been measured in a run.
        errors: of the measurements, and what was measured.
        fitted: which observations count.
        names: of the parameters, in the order of every vector of them.
        first_year: calendar year that the operator counts from.
        topsoil_year: first calendar year of the topsoil stocks.
        topsoil_m: their depth, m.
    """

    forward: Forward
    operator: Operator
    errors: ErrorModel
    fitted: Bool[Array, " obs"]
    names: tuple[str, ...] = eqx.field(static=True)
    first_year: int = eqx.field(static=True)
    topsoil_year: int = eqx.field(static=True)
    topsoil_m: float = eqx.field(static=True)

    def predict(
        self, x: Float[Array, " parameter"], value: Float[Array, " obs"] | None = None
    ) -> Prediction:
        """Prediction of every observation, fitted or not.

        Args:
            x: bounded parameter values.
            value: what was measured; that of the table if not given.
        """
        column, _ = self.forward.at(x)
        run, wanted = self.forward.run(x), self.forward.in_experiment
        record = {n: run.by_year(n, self.first_year) for n in (*wanted.yearly, *wanted.steps)}
        latent = self.operator(record, column.carbon)
        assert run.end is not None
        thickness, top = (run.by_year(name, self.topsoil_year)[:, -1] for name in GEOMETRY)
        soil = Soil(
            topsoil=run.stock(0.0, self.topsoil_m, self.topsoil_year),
            profile=run.end.carbon,
            bottom=top + thickness,
        )
        return self.compare(x, latent, soil, value)

    def compare(
        self,
        x: Float[Array, " parameter"],
        latent: Float[Array, " obs"],
        soil: Soil | None = None,
        value: Float[Array, " obs"] | None = None,
    ) -> Prediction:
        """Compare what is in the soil with what was measured; no model runs.

        Args:
            x: bounded parameter values; only those of the errors matter.
            latent: what is in the soil at each observation.
            soil: what else is; of no depth if not given.
            value: what was measured; that of the table if not given.
        """
        if soil is None:
            none = jnp.zeros((1, 0))
            soil = Soil(topsoil=none, profile=jnp.zeros((1, 0, 0)), bottom=none)
        by_name = {name: x[i] for i, name in enumerate(self.names)}
        factors = jnp.asarray([by_name.get(METHOD + m, 1.0) for m in self.errors.methods])
        expected = self.errors.mean(latent, factors)
        spread = self.spread(x, expected)
        terms, left_out = self.errors.log_density(expected, spread, value)
        return Prediction(
            latent=latent,
            expected=expected,
            sd=spread.total,
            log_likelihood=terms,
            left_out=left_out,
            memory=spread.memory,
            **soil._asdict(),
        )

    def spread(self, x: Float[Array, " parameter"], expected: Float[Array, " obs"]) -> Spread:
        """Errors of measurements around their expected values."""
        by_name = {name: x[i] for i, name in enumerate(self.names)}
        fitted = jnp.asarray([by_name[ERROR + s] for s in self.errors.series])
        memory = jnp.asarray([by_name[MEMORY + s] for s in self.errors.memories])
        return self.errors.spread(fitted, expected, memory)

    def joint(self, terms: Float[Array, " obs"]) -> Float[Array, ""]:
        """Logarithm of the likelihood of what is fitted, from that of all observations."""
        return jnp.sum(jnp.where(self.fitted, terms, 0.0))

    def draw(self, key: Array, x: Float[Array, " parameter"]) -> Float[Array, " obs"]:
        """What might be measured if bounded parameters were these."""
        expected = self.predict(x).expected
        return self.errors.draw(key, expected, self.spread(x, expected))


class Posterior(eqx.Module):
    """Density of unbounded parameters, given what was measured.

    Attributes:
        likelihood: of bounded parameters.
        reparameterization: from unbounded parameters to bounded ones.
        priors: of bounded parameters.
    """

    likelihood: Likelihood
    reparameterization: Reparameterization
    priors: Priors = eqx.field(static=True)

    def __call__(
        self, z: Float[Array, " parameter"], value: Float[Array, " obs"] | None = None
    ) -> Float[Array, ""]:
        """Logarithm of prior times likelihood, normalised both; its integral is the evidence.

        Args:
            z: unbounded parameters.
            value: what was measured; that of the table if not given.
        """
        terms = self.likelihood.predict(self.reparameterization.bounded(z), value).log_likelihood
        return self.log_prior(z) + self.likelihood.joint(terms)

    def log_prior(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the prior density of unbounded parameters."""
        x = self.reparameterization.bounded(z)
        return self.priors.log_density(x) + self.reparameterization.log_jacobian(z)

"""NUTS on a fast stand-in for the column, corrected by weights of exact runs.

What the column predicts is a smooth function of its parameters. The logarithm of what is in the
soil at each observation is learnt as a polynomial of the unbounded model parameters, from runs of
the column around the best fit; the priors and the errors of measurement stay exact. NUTS on the
stand-in costs seconds. The column is then run at its draws, and each is weighted by the exact
density over that of the stand-in (Pareto smoothed importance sampling). Where the weights cannot
be trusted, those runs join the ones that the polynomial is made from, and it is sampled anew:
now it is exact where the posterior is. Where rounds of this do not get there, NUTS samples the
column itself, from what was learnt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import MappingProxyType

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array
from scipy.stats import norm, qmc

from calibration import prediction
from calibration.checks.sampling import sampler_checks
from calibration.methods import importance, mode
from calibration.methods.climbing import by_runs
from calibration.methods.method import Method, Repeated, Row
from calibration.methods.mode import Normal, Start
from calibration.methods.nuts import NUTS, Sampler
from calibration.methods.posterior import Draws
from calibration.methods.stand_in import Fenced, Runs, exact_density, fenced, fitted, moves, probes
from calibration.problem import Problem, by_row
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say, paced

WIDER = 1.2
"""Spread of the first runs, in standard deviations of the normal approximation."""
FARTHEST = 3.0
"""No parameter of them is farther out than so many standard deviations of their spread."""

FIRST_WEIGHT = 0.3
"""Weight of a run of the design beside one of the posterior."""

THIN = 5
"""Transitions on the stand-in from one draw to the next: they cost little beside a run, and chains
come often enough to where another mechanism takes over, which a few percent of the draws do."""

GOOD, SHARE = 0.5, 0.4
"""A round that is not the last ends the search where Pareto k is below the one, so that the weights
have a variance, and its draws are worth the other of them: a next round does better for less than
what the rest of the exact runs take."""

MANY = 40
"""Parameters from which a gradient of the stand-in costs milliseconds, and paths of small steps
through the spreads of what differs between fields minutes for nothing."""
MANY_ACCEPTANCE, MANY_DEPTH, MANY_THIN = 0.9, 7, 2

JUDGED_EACH = 8
"""Exact runs for each parameter that judge a round at least: the next one learns from them where a
posterior lies that is not where the normal approximation had it."""

ALMOST_ALL = 0.95
"""Where the draws that judge a round are worth this share of them, all draws decide: of few weights
that are nearly the same Pareto k is mostly chance."""


def good_enough(weights: importance.Weights, judged: int, last: bool) -> bool:
    """Whether all draws of a round are worth their exact runs, by the weights of ``judged`` ones.

    ``last`` tells that no other round follows, which would do better.
    """
    good = weights.trusted
    if not last:
        good = weights.k < GOOD and weights.effective >= SHARE * judged
    return good or weights.effective >= ALMOST_ALL * judged


_of_stand_in = jax.jit(lambda z, of, value: of(z, value))


def _shapes(of: Fenced) -> tuple[tuple[int, ...], ...]:
    """Stand-ins with the same ones have the same programs."""
    return tuple(leaf.shape for leaf in jax.tree.leaves(of.inside.polynomials))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surrogate(Method):
    """NUTS on polynomials, corrected by exact runs.

    Args:
        chains: of NUTS on the polynomials, at least 1.
        warmup: transitions of each that tune it.
        draws: exact runs that the posterior is made of, a chain.
        runs: exact runs that the first polynomials are made from.
        judged: exact runs, of all chains, by which a round is judged; for many parameters more,
            see :data:`JUDGED_EACH`.
        rounds: at most.
        acceptance: mean acceptance probability that warm-up sets the step size for; a quick fit
            takes steps twice as long, which in ten thousand transitions meet a divergence or two.

    With more than :data:`MANY` parameters the steps are longer, the paths shorter, and fewer draws
    are left out, see there.
    """

    name = "surrogate"
    description = (
        "draws from a polynomial stand-in for the column by Hamiltonian Monte Carlo (NUTS), each "
        "weighted by an exact run of the column (Pareto-smoothed importance sampling)"
    )
    options = ("chains", "warmup", "draws")
    short = MappingProxyType(
        {"starts": 2, "chains": 2, "warmup": 150, "draws": 400}
        | {"runs": 600, "judged": 400, "acceptance": 0.95}
    )
    unchecked = ""

    chains: int = 4
    warmup: int = 500
    draws: int = 500
    runs: int = 2000
    judged: int = 400
    rounds: int = 4
    acceptance: float = 0.99

    def best(
        self, problem: Problem, points: Sequence[Normal], report: Say, value: Array | None = None
    ) -> Start:
        """See :meth:`.method.Method.best`; no gradient of the column is compiled."""
        return by_runs(problem, points, report, value)

    def draw(
        self,
        problem: Problem,
        start: Normal,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
    ) -> Draws:
        """See :meth:`.method.Method.draw`."""
        search = _Search(self, problem, seed, checkpoints, report)
        drawn = search.run(start)
        if search.trusted or self.quick:
            return drawn
        report(
            f"the polynomials cannot stand for the column (Pareto k {search.k:.2f}): "
            "NUTS on the column itself"
        )
        sampler = NUTS(chains=self.chains, warmup=self.warmup, draws=self.draws).warm()
        warm = mode.moments(drawn.z, 1e-9)
        drawn = sampler.draw(problem, warm, seed, checkpoints.within("nuts"), report)
        facts = {"surrogate_k": search.k, "fallback": "nuts"}
        return drawn._replace(runs=float(search.count), facts=facts)

    def repeated(self, problem: Problem, seed: int) -> Repeated:
        """See :meth:`.method.Method.repeated`."""

        def draws(start: Normal, value: Array, seed: int) -> Draws:
            search = _Search(self, problem, seed, Checkpoints(None), lambda line: None, value)
            return search.run(start)._replace(predicted=None)

        return draws

    def checks(self, tree: xr.DataTree) -> list[Row]:
        """See :meth:`.method.Method.checks`."""
        return sampler_checks(tree, self.quick)

    def told(self) -> dict[str, str]:
        """See :meth:`.method.Method.told`."""
        return super().told() | {
            "warm-up": f"{self.warmup} steps a chain, on the stand-in",
            "exact runs": f"{self.runs} to learn from, {self.chains * self.draws} as draws",
        }


class _Search:
    """Rounds of learning, sampling and exact runs.

    Args:
        method, problem, seed, checkpoints, report: see :meth:`.method.Method.draw`.
        value: measured values in the place of the table's own.
    """

    def __init__(
        self,
        method: Surrogate,
        problem: Problem,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
        value: Array | None = None,
    ) -> None:
        self.method, self.problem, self.seed = method, problem, seed
        self._checkpoints, self._report, self._value = checkpoints, report, value
        self._samplers: dict[tuple[tuple[int, ...], ...], Sampler] = {}
        self.k, self.trusted, self.count = np.inf, False, 0

    def run(self, start: Normal) -> Draws:
        """The draws of the last round, with the density that they come from."""
        method, size = self.method, start.mean.size
        sobol = qmc.Sobol(size, seed=self.seed).random_base2((method.runs - 1).bit_length())
        points = WIDER * np.clip(norm.ppf(sobol[: method.runs]), -FARTHEST, FARTHEST)
        z = start.mean + points @ start.factor.T
        self._report(f"{method.runs} runs of the column around the best fit")
        self._moved = self._moves(start)
        runs = self._learnt(z, self._exact(z, self._checkpoints.within("design")), FIRST_WEIGHT)
        normal = start
        for number in range(1, method.rounds + 1):
            drawn, new = self._round(runs, normal, number)
            if self.trusted:
                break
            runs, normal = runs.joined(new), mode.corrected(normal, drawn.z)
        return drawn._replace(runs=float(self.count))

    def _moves(self, start: Normal) -> np.ndarray:
        """Which parameters move which treatment."""
        if len(self.problem.members) == 1:
            return np.ones((1, start.mean.size), dtype=bool)
        z = probes(self.problem, start)
        self.count += len(z)
        kept = self._checkpoints.within("probes")
        return moves(self.problem, self._exact(z, kept).rows("latent"))

    def _round(self, runs: Runs, normal: Normal, number: int) -> tuple[Draws, Runs]:
        """Learn, sample, and judge by exact runs; all of them where the first ones will do."""
        method = self.method
        polynomials, error = fitted(self.problem, runs, self._moved)
        stand_in = fenced(self.problem, runs, polynomials)
        drawn = self._sampled(stand_in, normal, number)
        flat = drawn.z.reshape(-1, drawn.z.shape[-1])
        # the exact runs are of draws in random order, so that the first ones stand for all
        order = np.random.default_rng([self.seed, number]).permutation(len(flat))
        batch = prediction.BATCH * jax.local_device_count()
        enough = max(method.judged, JUDGED_EACH * normal.mean.size)
        judged = min(-(-enough // batch) * batch, len(flat))
        proposal = by_row(_of_stand_in, flat, stand_in, self._value)
        kept = self._checkpoints.within(f"round_{number}")
        first = order[:judged]
        predicted = self._exact(flat[first], kept)
        weights = self._weights(flat[first], predicted, proposal[first])
        self._report(
            f"round {number}: {len(polynomials.factors)} terms learnt from {len(runs.z)} runs, "
            f"error {error:.2f} of a measurement's; Pareto k {weights.k:.2f}, "
            f"{weights.effective:.0f} of {judged} draws effective"
        )
        last = number == method.rounds
        new = self._learnt(flat[first], predicted, 1.0)
        if good_enough(weights, judged, last) or (method.quick and last):
            self._report(f"{len(flat)} exact runs in all at the draws of the stand-in")
            predicted = self._exact(flat[order], kept)
            weights = self._weights(flat[order], predicted, proposal[order])
            self.count -= judged
            new = self._learnt(flat[order], predicted, 1.0)
            self.trusted = weights.trusted
            drawn = drawn._replace(predicted=predicted.taken(np.argsort(order)))
        self.k = weights.k
        return drawn._replace(log_proposal=proposal.reshape(drawn.z.shape[:2])), new

    def _sampled(self, stand_in: Fenced, normal: Normal, number: int) -> Draws:
        """Thinned draws of NUTS on the stand-in, with the statistics of every transition."""
        method, many = self.method, normal.mean.size > MANY
        thin = MANY_THIN if many else THIN
        nuts = NUTS(
            quick=method.quick,
            chains=method.chains,
            warmup=method.warmup,
            draws=method.draws * thin,
            acceptance=MANY_ACCEPTANCE if many else method.acceptance,
            tree_depth=MANY_DEPTH if many else NUTS.tree_depth,
        )
        seed, form = self.seed + number, _shapes(stand_in)
        if form not in self._samplers:  # compiled once for each
            self._samplers[form] = Sampler(stand_in, normal, nuts, seed, self._value)
        sampler = self._samplers[form]
        sampler.restart(normal, seed, self._value, stand_in)
        drawn = sampler.draw(Checkpoints(None), paced(self._report))
        return drawn._replace(z=drawn.z[:, : method.draws * thin : thin], gradients=0.0)

    def _exact(self, z: np.ndarray, kept: Checkpoints) -> prediction.Predicted:
        """Predictions of the column; those of a run that is resumed are kept already."""
        return prediction.stream(self.problem, self.problem.bounded(z), kept, self._report)

    def _learnt(self, z: np.ndarray, predicted: prediction.Predicted, weight: float) -> Runs:
        """Exact runs to learn from; one that has no answer teaches nothing."""
        latent, sd = predicted.rows("latent"), predicted.rows("sd")
        self.count += len(z)
        found = Runs(z, latent, sd, np.full(len(z), weight))
        return found.part(np.isfinite(latent).all(axis=1) & np.isfinite(sd).all(axis=1))

    def _weights(
        self, z: np.ndarray, predicted: prediction.Predicted, proposal: np.ndarray
    ) -> importance.Weights:
        posterior, latent = self.problem.posterior, predicted.rows("latent")
        target = [
            exact_density(posterior, *row, self._value) for row in zip(z, latent, strict=True)
        ]
        return importance.weights(np.array(target, dtype=float), proposal)

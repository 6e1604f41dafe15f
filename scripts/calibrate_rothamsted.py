"""Calibrate the Rothamsted case step by step, in Python: a workflow to copy and change.

    python scripts/calibrate_rothamsted.py FOLDER

does in about a minute and a half what `diffsoil calibrate rothamsted --method laplace` does,
prints what each step gives, and asks two questions that the command does not: how fast would the
bare fallow lose carbon without any protection, and which parameter moves its stock of 2014 most?
"""

from __future__ import annotations

import sys
from pathlib import Path

from diffsoil import _runtime

_runtime.use_device("auto")  # before the first array

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from calibration import Problem  # noqa: E402
from calibration.methods.mode import by_gradients, starting  # noqa: E402
from calibration.posterior import Likelihood  # noqa: E402
from calibration.prediction import predict_draws, table  # noqa: E402


def main(folder: Path) -> None:
    """Fit, look at the result, and ask two questions of it."""
    folder.mkdir(parents=True, exist_ok=True)

    # 1. The problem: case, observations, free parameters with their priors.
    problem = Problem("rothamsted")
    print(f"{problem.table['fitted'].sum()} observations, {len(problem.names)} free parameters")

    # 2. The best fit, and a normal approximation of the posterior around it.
    posterior = by_gradients(problem, starting(problem, starts=1, seed=0), print).normal
    z = posterior.sample(300, seed=0)
    x = problem.bounded(z)
    for name, mean, sd in zip(problem.names, x.mean(axis=0), x.std(axis=0), strict=True):
        print(f"  {name:42s} {mean:8.4f} +- {sd:.4f}")

    # 3. Predictions of all observations, also of those that were kept out.
    predicted = predict_draws(problem, x)
    result = table(problem, predicted, seed=0)
    result.to_csv(folder / "predictions.csv", index=False)
    wilderness = result[result["treatment"] == "wilderness"]
    print(wilderness[["year", "value", "mean", "q05", "q95"]].round(1).to_string(index=False))

    # 4. What if nothing protected the carbon? Every mechanism's parameter to "none".
    fit = jnp.asarray(x.mean(axis=0))
    year = 2014 - int(problem.topsoil_years[0])
    fallow = problem.members.index("highfield_bare_fallow")
    bare = problem.column.with_parameters(
        {"protection.b1": 1.0, "protection.b3a": 0.0, "protection.b3b": 0.0, "protection.b4": 1.0}
    )
    free = [name for name in problem.names if not name.startswith("protection.")]
    unprotected = Problem(problem.case, bare, dict.fromkeys(free))
    values = jnp.asarray([fit[problem.names.index(name)] for name in unprotected.names])
    for label, p, v in (("as fitted", problem, fit), ("without protection", unprotected, values)):
        stock = p.likelihood.predict(v).topsoil[fallow, year]
        print(f"bare fallow in 2014, {label}: {float(stock):.1f} Mg C/ha in 0-23 cm")

    # 5. Elasticities: relative change of that stock per relative change of each parameter.
    def log_stock(log_x: jax.Array, likelihood: Likelihood) -> jax.Array:
        return jnp.log(likelihood.predict(jnp.exp(log_x)).topsoil[fallow, year])

    elasticity = jax.jit(jax.grad(log_stock))(jnp.log(fit), problem.likelihood)
    for i in np.argsort(-np.abs(np.asarray(elasticity)))[:6]:
        print(f"  {problem.names[i]:42s} {float(elasticity[i]):+.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/calibrate_rothamsted.py FOLDER")
    main(Path(sys.argv[1]))

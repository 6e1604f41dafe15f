"""Fit many profiles and compare what protects their carbon: all stages, each resumable.

Every stage writes one file whole and is skipped where its file is there, so a run that was
interrupted goes on and ends with the same answer.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.special import logsumexp

from calibration import store
from calibration.methods import importance
from calibration.profiles import covariates as of_horizons
from calibration.profiles import emulator as emulators
from calibration.profiles import model_comparison
from calibration.profiles import report as many_sites_report
from calibration.profiles.emulator import Emulator, Runs
from calibration.profiles.hierarchy import (
    PROTECTION,
    VARIANTS,
    Draws,
    Given,
    Hierarchy,
)
from calibration.profiles.sites import RATES, Sites
from diffsoil.cases import find_case
from diffsoil.cases.fingerprint import check_same, checksum_of, fingerprint
from diffsoil.io import InputError, nearest
from diffsoil.tables import read_written
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.files import read_json, write_json, write_table
from diffsoil.work.folder import Kind, OutputFolder, having
from diffsoil.work.progress import Say

PRIOR_WEIGHT = 0.05
"""Weight of a run of the prior beside one of the posterior, when the emulator is refitted."""

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work is done.

    ``prior_runs`` train the first emulator; ``corrections`` draws of each variant are run with
    the column; ``folds`` of profiles are withheld in turn, and the profiles of each case where
    there are several; ``direct`` is the number of draws of each of two chains of NUTS on the
    column itself with ``direct_profiles`` profiles.
    """

    prior_runs: int = 256
    chains: int = 4
    warmup: int = 300
    draws: int = 750
    corrections: int = 60
    iterations: int = 3
    particles: int = 400
    folds: int = 4
    direct: int = 150
    direct_profiles: int = 3


QUICK = Sizes(
    prior_runs=64,
    chains=2,
    warmup=150,
    draws=250,
    corrections=50,
    iterations=1,
    particles=0,
    folds=0,
    direct=0,
)


@dataclasses.dataclass(frozen=True)
class Covariates:
    """What the turnover of a layer follows, beside depth and protection.

    Attributes:
        table: horizons with ``profile_id``, ``upper_cm``, ``lower_cm`` and a column each.
        columns: their names.
        regression: a name in :data:`calibration.profiles.covariates.REGRESSIONS`.
    """

    table: Path
    columns: tuple[str, ...]
    regression: str = "linear"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run was asked to do; a folder is resumed only with the same."""

    cases: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    variants: tuple[str, ...]
    profiles: tuple[str, ...] | None
    seed: int
    sizes: dict[str, int]
    covariates: dict[str, Any]


def calibrate(
    cases: Sequence[str],
    output: Path,
    variants: Sequence[str] = tuple(VARIANTS),
    profiles: Sequence[str] | None = None,
    seed: int = 0,
    sizes: Sizes | None = None,
    resume: bool = False,
    say: Say = print,
    covariates: Covariates | None = None,
) -> pd.DataFrame:
    """Fit all variants of the hierarchical model to the profiles of some cases.

    Args:
        cases: names or paths of cases.
        output: folder; made if it is not there.
        variants: names in :data:`calibration.profiles.hierarchy.VARIANTS`.
        profiles: those to use; all if not given.
        seed: same seed, same answer.
        sizes: how much work.
        resume: go on with what is in the folder.
        say: progress lines.
        covariates: what the turnover follows; nothing if not given.

    Returns:
        The comparison of the variants, also in ``evidence.csv``.

    Raises:
        InputError: an unknown variant, a folder of another run, bad cases, bad covariates.
    """
    sizes = sizes or Sizes()
    for name in variants:
        if name not in VARIANTS:
            raise InputError(f"--variants: no variant {name!r}{nearest(name, VARIANTS)}")
    say(f"reading {', '.join(str(c) for c in cases)}")
    paths = [find_case(case) for case in cases]
    read = [] if covariates is None else [covariates.table]
    place = OutputFolder(output, KIND, resume=resume, inputs=[*paths, *read])
    sites = Sites(cases, profiles)
    model, told = Hierarchy(sites), {}
    if covariates is not None:
        values = of_horizons.of_layers(
            covariates.table, covariates.columns, sites.names, sites.depth, say
        )
        kind = of_horizons.REGRESSIONS[covariates.regression]
        model = Hierarchy(sites, kind(jnp.asarray(values), covariates.columns))
        columns, digest = list(covariates.columns), checksum_of(covariates.table)
        told = {"regression": covariates.regression, "columns": columns, "table": digest}
    settings = Settings(
        cases=tuple(c.name for c in sites.cases),
        inputs=tuple(fingerprint(c) for c in sites.cases),
        variants=tuple(variants),
        profiles=None if profiles is None else tuple(profiles),
        seed=seed,
        sizes=dataclasses.asdict(sizes),
        covariates=told,
    )
    with place:
        file, wanted = place.work / SETTINGS, dataclasses.asdict(settings)
        if place.resumed and file.is_file():
            check_same(file, read_json(file), wanted)
        else:
            write_json(file, wanted)
        place.keep()
        checkpoints = Checkpoints(place.work, place.resumed, say)
        return Study(model, settings, sizes, checkpoints, place.work, say).run()


SETTINGS = "settings.json"
KIND = Kind("many sites", "a fit of many sites", (), older=having(SETTINGS), resumable=True)


class Study:
    """The stages of :func:`calibrate`, in order."""

    def __init__(
        self,
        model: Hierarchy,
        settings: Settings,
        sizes: Sizes,
        checkpoints: Checkpoints,
        folder: Path,
        say: Say,
    ) -> None:
        self.model, self.sites = model, model.sites
        self.settings, self.sizes = settings, sizes
        self.checkpoints, self.folder, self.say = checkpoints, folder, say
        self.variants = settings.variants

    def run(self) -> pd.DataFrame:
        """All stages; returns the comparison of the variants."""
        table = self.sites.table
        self.say(
            f"{len(self.sites.names)} profiles, {len(table)} observations, "
            f"{len(self.variants)} variants"
        )
        emulator, draws, corrections = self.sample()
        comparison = self.compare(emulator, draws, corrections)
        main = "all" if "all" in draws else self.settings.variants[-1]
        withheld, summary = self.withhold(emulator, draws)
        self.write_posterior(main, emulator, draws)
        self.summarise(draws)
        found = many_sites_report.Findings(
            self.sites,
            self.model,
            main,
            draws,
            comparison,
            withheld,
            summary,
            self.sizes.folds,
            direct=pd.DataFrame(),
        )
        many_sites_report.write(self.folder, found)
        self.say(f"report: {self.folder / 'report.html'}")
        direct = self.direct(main)  # takes longest, and the report need not wait for it
        if len(direct):
            many_sites_report.write(self.folder, dataclasses.replace(found, direct=direct))
        self.say(f"done: open {self.folder / 'report.html'}")
        return comparison

    # --- stages ---------------------------------------------------------------------

    def sample(self) -> tuple[Emulator, dict[str, Draws], pd.DataFrame]:
        """Emulator, posterior draws and their correction, refined until k can be trusted."""
        prior, weights = self._prior_runs()
        error = self._emulator_error(weights, prior)
        self.say(f"emulator on the prior: relative error of a stock {100 * error:.2f} % (rms)")
        runs, trust = prior, np.ones(len(prior.log_rates))
        rows: list[dict[str, Any]] = []
        for iteration in range(1, self.sizes.iterations + 1):
            emulator = emulators.fit(self.sites, weights, runs, trust)
            draws = {v: self._draws(v, emulator, iteration) for v in self.variants}
            for variant in self.variants:
                row, new = self._correction(variant, emulator, draws[variant], iteration)
                rows.append(row)
                runs = runs.joined(new)
            trust = np.ones(len(runs.log_rates))
            trust[: len(prior.log_rates)] = PRIOR_WEIGHT
            found = pd.DataFrame(rows)
            write_table(self.folder / "corrections.csv", found)
            worst = found.loc[found["iteration"] == iteration, "pareto_k"].max(skipna=False)
            self.say(f"iteration {iteration}: largest Pareto k {worst:.2f}")
            if worst <= importance.TRUSTED:
                break
        return emulator, draws, found[found["iteration"] == iteration].set_index("variant")

    def compare(
        self, emulator: Emulator, draws: dict[str, Draws], corrections: pd.DataFrame
    ) -> pd.DataFrame:
        """Evidence and leave-one-profile-out of all variants."""
        path = self.folder / "evidence.csv"
        if path.exists() and (self.folder / "loo.csv").exists():
            return read_written(path, ("variant", "log_evidence", "elpd_gain")).set_index("variant")
        model = self.model
        rows, pointwise = [], {}
        for variant in self.variants:
            given = model.given(emulator, VARIANTS[variant])
            evidence = model_comparison.bridge(
                partial(model.densities, given=given),
                draws[variant].z,
                self.settings.seed,
            )
            correction = corrections.loc[variant]
            row = {
                "variant": variant,
                "log_evidence": evidence.log_evidence + correction["log_mean_ratio"],
                "error": float(np.hypot(evidence.error, correction["log_mean_ratio_error"])),
                "of_emulator": evidence.log_evidence,
                "by_smc": np.nan,
                "smc_error": np.nan,
            }
            if self.sizes.particles and variant in ("none", "all"):
                smc = model_comparison.tempered(
                    model, given, self.sizes.particles, self.settings.seed
                )
                row |= {"by_smc": smc.log_evidence, "smc_error": smc.error}
            loo = self._left_out(variant, emulator, draws[variant])
            pointwise[variant] = loo["elpd"].to_numpy()
            row |= {
                "elpd": loo["elpd"].sum(),
                "loo_k": loo.loc[~loo["refitted"], "pareto_k"].max(),
                "loo_refitted": int(loo["refitted"].sum()),
            }
            rows.append(row)
            self.say(
                f"  {variant}: log evidence {row['log_evidence']:.2f} +- {row['error']:.2f}, "
                f"elpd {row['elpd']:.2f}"
            )
        found = pd.DataFrame(rows).set_index("variant")
        base = "none" if "none" in pointwise else self.settings.variants[0]
        reference = float(found["log_evidence"].to_numpy()[list(found.index).index(base)])
        found["log_bayes_factor"] = found["log_evidence"] - reference
        gain = {v: p - pointwise[base] for v, p in pointwise.items()}
        found["elpd_gain"] = [gain[v].sum() for v in found.index]
        found["elpd_gain_se"] = [np.sqrt(len(g)) * g.std(ddof=1) for g in gain.values()]
        columns = ["elpd", "loo_k", "loo_refitted", "elpd_gain", "elpd_gain_se"]
        write_table(self.folder / "loo.csv", found[columns].reset_index())
        write_table(path, found.reset_index())
        return found

    def _left_out(self, variant: str, emulator: Emulator, drawn: Draws) -> pd.DataFrame:
        """Density of each profile given the others: by weights, or fitted anew where they fail."""
        path = self.folder / f"loo_{_file(variant)}.csv"
        if path.exists():
            return read_written(path, ("profile", "elpd", "pareto_k", "refitted"))
        every = self.model.given(emulator, VARIANTS[variant])
        loo = leave_one_out(self.model.profile_log_likelihoods(drawn, every))
        loo.insert(0, "profile", self.sites.names)
        loo["refitted"] = ~(loo["pareto_k"] <= importance.TRUSTED)
        for place in np.flatnonzero(loo["refitted"]):
            others = np.arange(len(loo)) != place
            again, given = self._without(variant, emulator, others, int(place))
            each = self.model.profile_log_likelihoods(again, given)[..., place].ravel()
            loo.loc[place, "elpd"] = log_mean(each)
            self.say(f"  {variant}: fitted without {loo['profile'][place]}, which weights cannot")
        write_table(path, loo)
        return loo

    def _without(
        self, variant: str, emulator: Emulator, fitted: np.ndarray, number: int
    ) -> tuple[Draws, Given]:
        """Draws of a variant fitted to some of the profiles."""
        model, sizes = self.model, self.sizes
        given = model.given(emulator, VARIANTS[variant], fitted.astype(float))
        mode = model.mode(given, starts=1)
        seed = self.settings.seed + number
        return model.sample(given, mode, seed, sizes.chains, sizes.warmup, sizes.draws), given

    def withhold(
        self, emulator: Emulator, draws: dict[str, Draws]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Predict profiles that were withheld, plain RothC against the full model."""
        path = self.folder / "withheld.csv"
        if not self.sizes.folds:
            return pd.DataFrame(), pd.DataFrame()
        if not path.exists():
            chosen = [v for v in ("none", "all") if v in self.variants]
            tables = [
                self._folds(variant, emulator, fold).assign(left_out=left_out)
                for left_out, fold in self._parts().items()
                for variant in chosen
            ]
            write_table(path, pd.concat([*tables, self._rothc()]))
        table = read_written(path, ("left_out", "variant", "value", *QUANTILES))
        summary = pd.DataFrame(
            [
                {"left_out": left_out, "variant": variant} | scores(rows)
                for (left_out, variant), rows in table.groupby(["left_out", "variant"], sort=False)
            ]
        )
        write_table(self.folder / "withheld_scores.csv", summary)
        return table, summary

    def _parts(self) -> dict[str, np.ndarray]:
        """What is left out in turn: parts of the profiles, and those of a case; its number."""
        order = np.random.default_rng(self.settings.seed).permutation(len(self.sites.names))
        part = np.empty(len(order), dtype=int)
        part[order] = np.arange(len(order)) % self.sizes.folds
        cases = np.array(self.sites.case_of)
        return {"profiles": part} | ({"a case": cases} if cases.any() else {})

    def _rothc(self) -> pd.DataFrame:
        """What RothC in layers predicts with nothing fitted, at the inputs of the cases."""
        sites, usual = self.sites, self.sites.column.values()
        rates = jnp.log(jnp.stack([jnp.asarray(usual[name], dtype=float) for name in RATES]))
        neutral = jnp.zeros((len(sites.names), sites.depth.size))
        found = sites.percent(sites.stocks(rates, neutral), jnp.ones(()), jnp.ones(()))
        table = self.predicted(np.asarray(found)[None], np.asarray(found)[None])
        spread = [name for name in QUANTILES if name != "q50"]
        return table.assign(
            left_out="nothing fitted", variant="RothC", **dict.fromkeys([*spread, "profile_elpd"])
        )

    def direct(self, variant: str) -> pd.DataFrame:
        """NUTS on the column itself for a few profiles, beside NUTS on their emulator."""
        path = self.folder / "direct.csv"
        if path.exists():
            return read_written(path, ())
        if not self.sizes.direct:
            return pd.DataFrame()
        covers = sorted(set(self.sites.cover))
        by_cover = [[n for n, c in zip(self.sites.names, self.sites.cover, strict=True) if c == k]
                    for k in covers]  # fmt: skip
        spread = [of[i] for i in range(max(map(len, by_cover))) for of in by_cover if i < len(of)]
        names = spread[: self.sizes.direct_profiles]
        self.say(f"direct NUTS on {', '.join(names)}")
        few, at = Sites(self.sites.cases, names), [self.sites.names.index(n) for n in names]
        regression = self.model.regression
        model = Hierarchy(few, None if regression is None else regression.part(at))
        prior, _ = self._prior_runs()
        runs = emulators.simulate(few, prior.log_rates, prior.log_modifier[:, at], self.say)
        emulator = emulators.fit(few, emulators.layer_weights(few, runs), runs)
        given = model.given(emulator, VARIANTS[variant])
        mode = model.mode(given)
        seed, count = self.settings.seed, self.sizes.direct
        quick = model.sample(given, mode, seed, draws=1000)
        column = model.given(None, VARIANTS[variant])
        exact = model.sample(column, mode, seed, 2, max(count // 2, 10), count)
        rows = []
        for i, name in enumerate(model.names):
            a, b = exact.x[:, :, i], quick.x[:, :, i]
            rows.append(
                {
                    "parameter": name,
                    "direct_mean": a.mean(),
                    "direct_sd": a.std(),
                    "emulator_mean": b.mean(),
                    "emulator_sd": b.std(),
                    "difference_in_mcse": (a.mean() - b.mean())
                    / np.hypot(float(az.mcse(a)), float(az.mcse(b))),
                    "direct_ess": float(az.ess(a)),
                    "direct_r_hat": float(az.rhat(a)),
                }
            )
        table = pd.DataFrame(rows)
        write_table(path, table)
        return table

    def write_posterior(self, variant: str, emulator: Emulator, draws: dict[str, Draws]) -> None:
        """Write ``posterior.nc`` and ``predictions.csv`` of a variant."""
        model, drawn = self.model, draws[variant]
        given = model.given(emulator, VARIANTS[variant])

        @jax.jit
        def one(key: Any, z: Any) -> tuple[Any, Any, Any]:
            x, log_stock = model.state(z, given)
            first, second = jax.random.split(key)
            u = model.sample_inputs(first, x, log_stock)
            return u, *model.predict(second, x, log_stock, u)

        keys = jax.random.split(jax.random.key(self.settings.seed + 7), len(drawn.flat))
        u, latent, noisy = (np.asarray(a) for a in jax.lax.map(
            lambda kz: one(*kz), (keys, jnp.asarray(drawn.flat)), batch_size=50))  # fmt: skip
        shape = drawn.z.shape[:2]
        prior = np.asarray(model.priors.sample(jax.random.key(self.settings.seed + 1), 2000))
        each = model.profile_log_likelihoods(drawn, given)
        groups = {
            "posterior": {n: drawn.x[..., i] for i, n in enumerate(model.names)}
            | {"input_factor": np.exp(u).reshape(*shape, -1)},
            "prior": {n: prior[None, :, i] for i, n in enumerate(model.names)},
            "posterior_predictive": {"soc_percent": noisy.reshape(*shape, -1)},
            "log_likelihood": {"log_soc_of_profile": each},
            "sample_stats": {
                "diverging": drawn.diverging,
                "n_steps": drawn.steps,
                "acceptance_rate": drawn.accept,
                "lp": drawn.log_posterior,
            },
            "observed_data": {"soc_percent": self.sites.table["value"].to_numpy()},
        }
        store.write_posterior(
            self.folder / "posterior.nc",
            groups,
            dims={
                "input_factor": ["profile"],
                "soc_percent": ["obs"],
                "log_soc_of_profile": ["profile"],
            },
            coords={"profile": list(self.sites.names)},
        )
        write_table(self.folder / "predictions.csv", self.predicted(noisy, latent))

    def predicted(self, noisy: np.ndarray, latent: np.ndarray) -> pd.DataFrame:
        """The observations with the distribution of what would be measured."""
        kept = ["site", "year", "upper_cm", "lower_cm", "value", "sd", "series"]
        table = self.sites.table[kept].rename(columns={"sd": "observed_sd"})
        values = {name: np.quantile(noisy, q, axis=0) for name, q in QUANTILES.items()}
        return table.assign(mean=noisy.mean(axis=0), **values, latent_mean=latent.mean(axis=0))

    def summarise(self, draws: dict[str, Draws]) -> None:
        """``summary.csv``: posterior, contraction and R-hat of every parameter and variant."""
        rows = []
        for variant, drawn in draws.items():
            model = self.model
            active = protection_names(variant)
            prior = np.asarray(model.priors.sample(jax.random.key(0), 4000))
            for i, name in enumerate(model.names):
                if name.startswith("protection.") and name not in active:
                    continue
                x = drawn.x[:, :, i]
                rows.append(
                    {
                        "variant": variant,
                        "parameter": name,
                        "mean": x.mean(),
                        "sd": x.std(),
                        "q05": np.quantile(x, 0.05),
                        "q95": np.quantile(x, 0.95),
                        "prior_mean": prior[:, i].mean(),
                        "prior_sd": prior[:, i].std(),
                        "contraction": 1 - x.var() / prior[:, i].var(),
                        "r_hat": float(az.rhat(x)),
                        "ess": float(az.ess(x)),
                        "divergences": int(drawn.diverging.sum()),
                    }
                )
        write_table(self.folder / "summary.csv", pd.DataFrame(rows))

    # --- parts ----------------------------------------------------------------------

    def _prior_runs(self) -> tuple[Runs, np.ndarray]:
        """Runs of the column over the prior, with and without each mechanism, and weights."""
        file = self.checkpoints.once("prior_runs", self._run_prior)
        return Runs(*(file[name] for name in Runs._fields)), file["weights"]

    def _run_prior(self) -> dict[str, np.ndarray]:
        self.say(f"{self.sizes.prior_runs} runs of the column over the prior")
        rates, modifier = [], []
        some = list(VARIANTS.values())
        model = self.model
        inputs = jax.jit(jax.vmap(model.inputs, in_axes=(0, None)))
        count = -(-self.sizes.prior_runs // len(some))
        for number, mechanisms in enumerate(some):
            key = jax.random.fold_in(jax.random.key(self.settings.seed + 3), number)
            switched_on = model.given(None, mechanisms).switched_on
            r, m = inputs(model.priors.sample(key, count), switched_on)
            rates.append(np.asarray(r))
            modifier.append(np.asarray(m))
        # one variant after another, so that any part of the runs has all of them
        order = np.argsort(np.tile(np.arange(count), len(some)), kind="stable")
        order = order[: self.sizes.prior_runs]
        runs = emulators.simulate(
            self.sites, np.concatenate(rates)[order], np.concatenate(modifier)[order], self.say
        )
        return {"weights": emulators.layer_weights(self.sites, runs), **runs._asdict()}

    def _emulator_error(self, weights: np.ndarray, runs: Runs) -> float:
        """Error of an emulator of three quarters of the runs at the others."""
        count = len(runs.log_rates) * 3 // 4
        part = emulators.fit(self.sites, weights, runs.part(slice(0, count)))
        return float(np.sqrt(np.mean(emulators.errors(part, runs.part(slice(count, None))) ** 2)))

    def _draws(self, variant: str, emulator: Emulator, iteration: int) -> Draws:
        def compute() -> dict[str, np.ndarray]:
            model, given = self.model, self.model.given(emulator, VARIANTS[variant])
            mode = model.mode(given, seed=self.settings.seed)
            seed, sizes = self.settings.seed + iteration, self.sizes
            drawn = model.sample(given, mode, seed, sizes.chains, sizes.warmup, sizes.draws)
            worst = max(float(az.rhat(drawn.x[:, :, i])) for i in range(len(model.names)))
            self.say(
                f"  NUTS, {variant}: {drawn.steps.mean():.1f} gradients a draw, "
                f"{int(drawn.diverging.sum())} divergences, largest R-hat {worst:.4f}"
            )
            return drawn._asdict()

        return Draws(**self.checkpoints.once(f"draws_{iteration}_{_file(variant)}", compute))

    def _correction(
        self, variant: str, emulator: Emulator, drawn: Draws, iteration: int
    ) -> tuple[dict[str, Any], Runs]:
        """Run the column at some draws of a variant: Pareto k of the emulator's posterior."""
        model, given = self.model, self.model.given(emulator, VARIANTS[variant])
        count = min(self.sizes.corrections, len(drawn.flat))
        z = drawn.flat[np.linspace(0, len(drawn.flat) - 1, count).astype(int)]
        x = jax.vmap(model.transform.forward)(jnp.asarray(z))

        def compute() -> dict[str, np.ndarray]:
            rates, modifier = jax.vmap(model.inputs, in_axes=(0, None))(x, given.switched_on)
            return emulators.simulate(
                self.sites, np.asarray(rates), np.asarray(modifier), self.say, variant
            )._asdict()

        runs = Runs(**self.checkpoints.once(f"column_{iteration}_{_file(variant)}", compute))
        likelihood = jax.jit(jax.vmap(model.profile_log_likelihood))
        assert given.emulator is not None
        every = jax.vmap(given.emulator.__call__)
        stock = every(jnp.asarray(runs.log_rates), jnp.asarray(runs.log_modifier))
        true = np.asarray(likelihood(x, jnp.asarray(runs.log_stock))).sum(axis=1)
        near = np.asarray(likelihood(x, stock)).sum(axis=1)
        ratio = true - near
        corrected = importance.weights(true, near)
        return {
            "iteration": iteration,
            "variant": variant,
            "draws": count,
            "pareto_k": corrected.k,
            "ess": corrected.effective,
            "sd_of_log_ratio": ratio.std(),
            "log_mean_ratio": importance.log_evidence(true, near),
            "log_mean_ratio_error": ratio.std() / np.sqrt(count),
            "stock_error_rms": float(np.sqrt(np.mean((np.asarray(stock) - runs.log_stock) ** 2))),
        }, runs

    def _folds(
        self, variant: str, emulator: Emulator, fold: Int[np.ndarray, " profile"]
    ) -> pd.DataFrame:
        """Predictive distribution of every observation with its fold of profiles withheld."""
        seed, model = self.settings.seed, self.model
        of_profile = self.sites.table["profile"].to_numpy()
        noisy = np.zeros((0, len(of_profile)))
        latent = np.zeros_like(noisy)
        density = np.zeros(len(fold))

        def one(key: Any, z: Any, given: Given) -> tuple[Any, Any]:
            first, second = jax.random.split(key)
            x, log_stock = model.state(z, given)
            return model.predict(second, x, log_stock, model.new_inputs(first, x))

        run = jax.jit(
            lambda keys, z, given: jax.lax.map(
                lambda kz: one(kz[0], kz[1], given), (keys, z), batch_size=50
            )
        )
        for k in np.unique(fold).tolist():
            drawn, given = self._without(variant, emulator, fold != k, k)
            keys = jax.random.split(jax.random.key(seed + k), len(drawn.flat))
            found = run(keys, jnp.asarray(drawn.flat), given)
            of_soil, measured = (np.asarray(a) for a in found)
            if not len(noisy):
                noisy, latent = np.zeros_like(measured), np.zeros_like(of_soil)
            mine = fold[of_profile] == k
            noisy[:, mine], latent[:, mine] = measured[:, mine], of_soil[:, mine]
            each = model.profile_log_likelihoods(drawn, given).reshape(-1, len(fold))
            density[fold == k] = log_mean(each)[fold == k]
            self.say(f"  withheld, {variant}: fold {k + 1} of {fold.max() + 1}")
        table = self.predicted(noisy, latent)
        table.insert(0, "variant", variant)
        return table.assign(fold=fold[of_profile], profile_elpd=density[of_profile])


def leave_one_out(each: np.ndarray) -> pd.DataFrame:
    """Leave-one-profile-out by PSIS, from log likelihoods by chain, draw and profile."""
    tree = az.from_dict({"posterior": {"x": each[..., 0]}, "log_likelihood": {"profile": each}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of k, which is in the table and shown
        loo = az.loo(tree, pointwise=True, var_name="profile", reff=1.0)
    return pd.DataFrame({"elpd": np.asarray(loo.elpd_i), "pareto_k": np.asarray(loo.pareto_k)})


def log_mean(log: np.ndarray) -> Any:
    """Logarithm of the mean over draws of densities that are given as logarithms."""
    return logsumexp(log, axis=0) - np.log(len(log))


def scores(table: pd.DataFrame) -> dict[str, float]:
    """How well withheld observations were predicted; SOC in percent."""
    error = table["q50"] - table["value"]
    spread = table["q05"].notna().all()
    inside = {
        "coverage_90": table["value"].between(table["q05"], table["q95"]).mean(),
        "coverage_50": table["value"].between(table["q25"], table["q75"]).mean(),
    }
    inside = {name: share if spread else np.nan for name, share in inside.items()}
    by_profile = table.drop_duplicates("site")["profile_elpd"]
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": float(error.mean()),
        "rmse_of_log": float(np.sqrt(np.mean(np.log(table["q50"] / table["value"]) ** 2))),
        **{k: float(v) for k, v in inside.items()},
        "elpd": float(by_profile.sum(skipna=False)),
        "profiles": float(len(by_profile)),
    }


def protection_names(variant: str) -> list[str]:
    """Parameters of the mechanisms of a variant."""
    return [PROTECTION[m] for m in VARIANTS[variant]]


def _file(variant: str) -> str:
    return variant.replace(" ", "_")

"""A fitted site kept up to date: new monitoring enters a fit that is there.

The draws of the last calibration are weighted with the likelihood of all data that came since
(importance sampling, Pareto-smoothed: Vehtari et al. 2024). The weights are kept as they are and
added to, so two steps are the same as one with the data of both. Where they fail - the Pareto k is
too high, or too few draws carry the weight - the fit is made again for all data, old and new,
beginning from the posterior before.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import tomlkit
from jaxtyping import Float

from calibration import checks, compatibility, fitting, prediction, results, saved_fit, store
from calibration.methods import importance, mode
from calibration.methods.method import Method
from calibration.methods.reweighting import Reweighting
from calibration.observations import read as read_observations
from calibration.options import Update
from calibration.problem import Problem
from diffsoil.cases import Case, find_case, load_case, plausible, read_case
from diffsoil.cases.arrays import build
from diffsoil.cases.fingerprint import check_same, checksum, checksum_of, files_of, fingerprint
from diffsoil.cases.kinds import names_of
from diffsoil.io import InputError, nearest
from diffsoil.options import Existing
from diffsoil.work import arrays
from diffsoil.work.files import read_json
from diffsoil.work.folder import OutputFolder
from diffsoil.work.progress import Clock, Say

MOST_DRAWS = prediction.PREDICTED_DRAWS
"""Draws that are weighted, if no other number is asked for."""

PLACE = ["site", "treatment", "year", "variable", "upper_cm", "lower_cm"]
"""What a measurement is of."""

WEIGHTS = "weights.npz"


@dataclasses.dataclass(frozen=True)
class Base:
    """Draws of the last calibration or refit.

    Attributes:
        names: parameters.
        draws: bounded values by draw and parameter.
        log_likelihood: logarithm of the likelihood of the data that they were drawn for, by draw;
            None if the fit does not keep it.
        efficiency: independent draws per draw, at most 1.
    """

    names: list[str]
    draws: Float[np.ndarray, "draw parameter"]
    log_likelihood: Float[np.ndarray, " draw"] | None
    efficiency: float


def largest_k(draws: int) -> float:
    """Limit of Pareto k for so many draws, at most 0.7 (Vehtari et al. 2024, section 3.2.4)."""
    return min(importance.TRUSTED, 1 - 1 / np.log10(max(draws, 11)))


def hold(weights: importance.Weights) -> bool:
    """Whether weighted draws can stand for the posterior."""
    return (
        weights.k <= largest_k(weights.weight.size)
        and weights.effective >= importance.LEAST_EFFECTIVE
    )


def assimilate_case(
    fit: Path,
    observations: Path,
    output: Path,
    update: Update = Update(),
    *,
    existing: Existing = Existing(),
) -> pd.DataFrame:
    """Bring new observations into a fit, and write a whole fit to a folder.

    Args:
        fit: folder of a fit, of a calibration or of this function.
        observations: new rows, in the format of the observation files of a case.
        output: folder; made if it is not there.
        update: how they enter it, and what they need besides; see :func:`staged`.
        existing: what to do with a folder that holds something already.

    Returns:
        The checks of the fit.

    Raises:
        InputError: the fit or the observations cannot be used, or have been used already.
    """
    say = Clock()
    found = saved_fit.load(fit)
    found.refuse_differing("an update")
    drivers = update.drivers
    inputs = [fit, observations, *([find_case(drivers)] if drivers else [])]
    place = store.folder_of(output, existing, inputs)
    with tempfile.TemporaryDirectory() as folder:
        old = staged(found, Path(folder), drivers, update.plausible)
        column = found.column(old)
        new_rows = check_new(old, Path(observations))
        say(f"{old.file.title}: fit of {sum(_fitted_rows(found))} observations")
        if drivers is not None:
            say(f"weather and management to {old.end_year}: {drivers}")
        say(f"new: {_told(new_rows)}")
        case, name = with_file(old, Path(observations), len(found.history), Path(folder))
        problem = Problem(case, column)
        entry = _entry(found, Path(observations), name, new_rows, update.seed)
        if drivers is not None:
            entry["drivers"] = driving_files(old)
        settings = _settings(found, problem, len(new_rows), entry)
        step = Step(found, problem, settings, len(new_rows), place, say, update)
        with place:
            if not place.resumed:
                step.run()
            elif not place.finished:
                step.resume()
    say(f"done: open {place.path / 'report.html'}")
    return checks.read(place.path)


def assimilate(
    fit: saved_fit.Fit | Path, observations: Path, folder: Path, **how: Any
) -> saved_fit.Fit:
    """Bring new observations into a fit, and return the fit to all of them.

    Args:
        fit, observations, folder, how: as :func:`assimilate_case` takes them.
    """
    assimilate_case(fit if isinstance(fit, Path) else fit.folder, observations, folder, **how)
    return saved_fit.load(folder)


def _settings(
    found: saved_fit.Fit, problem: Problem, new: int, entry: store.Entry
) -> store.Settings:
    """Settings of a fit with an entry more in its history."""
    return dataclasses.replace(
        found.settings,
        case_sha256=checksum(problem.case.text),
        inputs=fingerprint(problem.case),
        seed=entry["seed"],
        history=[*_complete(found, problem, new), entry],
        version=metadata.version("diffsoil"),
    )


class Step:
    """One assimilation: a problem of all data, and the fit without the new ones."""

    def __init__(
        self,
        found: saved_fit.Fit,
        problem: Problem,
        settings: store.Settings,
        new: int,
        place: OutputFolder,
        say: Say,
        update: Update,
    ) -> None:
        self.found = found
        self.problem = problem
        self.settings = settings
        self.old_rows = len(problem.table) - new
        self.place = place
        self.say = say
        self.update = update

    def run(self) -> None:
        """Weight, judge the weights, and finish with them or refit."""
        draws, seed = self.update.draws, self.settings.seed
        base, drawn_anew = base_draws(self.found, self.problem, draws, seed)
        if drawn_anew:
            self.say(f"not in the fit, drawn from their priors: {', '.join(drawn_anew)}")
        if self.update.method == "refit" or len(base.draws) < 2:
            why = (
                "asked for"
                if self.update.method == "refit"
                else "a fit of one draw cannot be weighted"
            )
            self._refit(base, {"remark": why}, drawn_anew)
            return
        learnt, predicted = self.learn(base)
        weights = importance.weights(learnt, np.zeros_like(learnt))
        weights = weights._replace(effective=weights.effective * base.efficiency)
        facts = {"k": round(weights.k, 3), "ess": round(weights.effective, 1)}
        self.say(
            f"Pareto k {weights.k:.2f} (limit {largest_k(len(learnt)):.2f}), "
            f"{weights.effective:.0f} effective draws of {len(learnt)} (at least "
            f"{importance.LEAST_EFFECTIVE})"
        )
        if hold(weights) or self.update.method == "weights":
            self._weighted(base, weights, predicted, facts, drawn_anew)
        else:
            self.say("the weights fail: refitting to all data, from the posterior before")
            self._refit(base, facts | {"remark": "weights failed"}, drawn_anew)

    def resume(self) -> None:
        """Go on with an interrupted refit; what was stopped before one began is done again."""
        work = self.place.work
        file = work / "fit.json"
        if not file.is_file():
            self.run()
            return
        before = saved_fit.settings_in(file, read_json(file))
        check_same(file, _files(before.history), _files(self.settings.history))
        wanted = dataclasses.replace(self.settings, method=before.method, history=before.history)
        store.go_on(self.place, wanted)
        if wanted.weighted or not (work / mode.START).is_file():
            self.run()
            return
        fitting.draw(self.problem, wanted, self.place, self.say, resume=True)

    def learn(self, base: Base) -> tuple[np.ndarray, prediction.Prediction]:
        """What all data since the base say of its draws; makes sure that the model is the same.

        Returns:
            Logarithm of the likelihood of what has come since by draw, and the predictions.
        """
        self.say(f"predicting with {len(base.draws)} draws")
        first, _ = compatibility.stored_draw(self.found)
        known = base_row(self.found, first, self.problem, base)
        x = np.concatenate([base.draws, known[None]])
        predicted = prediction.predict_draws(self.problem, x, self.say)
        again = np.asarray(predicted.latent)[-1, : self.old_rows]
        new_drivers = "drivers" in self.settings.history[-1]
        compatibility.refuse_difference(self.found, self.problem.table, again, new_drivers)
        predicted = jax.tree.map(lambda a: a[:-1], predicted)
        terms = np.asarray(predicted.log_likelihood)
        fitted = self.problem.table["fitted"].to_numpy()
        if base.log_likelihood is not None:
            # the joint one: measurements of one plot may be correlated
            return terms[:, fitted].sum(axis=1) - base.log_likelihood, predicted
        new = fitted & (np.arange(len(fitted)) >= self.old_rows)
        return terms[:, new].sum(axis=1), predicted

    def _weighted(
        self,
        base: Base,
        weights: importance.Weights,
        predicted: prediction.Prediction,
        facts: dict[str, Any],
        drawn_anew: Sequence[str],
    ) -> None:
        facts = facts | {"method": Reweighting.name, "draws": len(base.draws)}
        wanted = self._wanted(self.settings.method, facts, drawn_anew)
        chosen = importance.resampled(weights.weight, len(base.draws), self.settings.seed)
        likelihood = base.log_likelihood
        if likelihood is None:
            terms = np.asarray(predicted.log_likelihood)[:, : self.old_rows]
            likelihood = terms[:, _fitted_rows(self.found)].sum(axis=1)
        store.begin(self.place, wanted, self.problem.case)
        work = self.place.work
        arrays.save(
            work / WEIGHTS,
            names=np.array(base.names),
            draws=base.draws,
            log_likelihood=likelihood,
            efficiency=base.efficiency,
            weight=weights.weight,
        )
        outcome = results.Outcome(
            base.draws[chosen][None],
            prediction.in_memory(predicted).taken(chosen),
            (1, len(chosen)),
            {"method": Reweighting.name, "pareto_k": weights.k, "effective": weights.effective},
            checks=weight_checks(weights),
        )
        results.write(self.problem, wanted, work, outcome, self.say)
        store.complete(self.place)

    def _refit(self, base: Base, facts: dict[str, Any], drawn_anew: Sequence[str]) -> None:
        method = self.settings.method.warm()
        wanted = self._wanted(method, facts | {"method": method.name}, drawn_anew)
        start = warm_start(self.problem, base)
        if method.searches and not method.exact:  # an approximation is one around the mode
            self.say("best fit, from the mean of the posterior before")
            start = method.best(self.problem, [start], self.say).normal
        store.begin(self.place, wanted, self.problem.case)
        work = self.place.work
        mode.save(work, start)
        fitting.draw(self.problem, wanted, self.place, self.say, resume=True)

    def _wanted(
        self, method: Method, facts: dict[str, Any], drawn_anew: Sequence[str]
    ) -> store.Settings:
        """Settings with what has come out of the weights in the last entry of their history."""
        remark = facts.pop("remark", "")
        if drawn_anew:
            remark = "; ".join(filter(None, [remark, "from priors: " + ", ".join(drawn_anew)]))
        entry = self.settings.history[-1] | facts | {"remark": remark}
        history = [*self.settings.history[:-1], entry]
        return dataclasses.replace(self.settings, method=method, history=history)


# New observations.


def check_new(case: Case, path: Path) -> pd.DataFrame:
    """The rows of a file of new observations, none of which the case has already.

    Raises:
        InputError: a bad row, a row that is known, one that contradicts a known one, or no row
            that may be fitted.
    """
    listed = case.file.observations
    assert listed is not None  # a fit has observations
    plan = build(case)
    known = read_observations(case, plan)
    only = listed.model_copy(
        update={"files": [str(path.resolve())], "keep_out": [], "method_factors": []}
    )
    alone = dataclasses.replace(case, file=case.file.model_copy(update={"observations": only}))
    new = read_observations(alone, plan)
    _refuse_known(path, known, new)
    new["fitted"] = (new["estimated"] == 0) & ~new["series"].isin(listed.keep_out)
    if not new["fitted"].any():
        raise InputError(
            f"{path}: none of {len(new)} rows may be fitted: they are estimated, or of a series "
            f"that the case keeps out ({', '.join(listed.keep_out) or 'none'})"
        )
    return new


def _refuse_known(path: Path, known: pd.DataFrame, new: pd.DataFrame) -> None:
    pairs = new.merge(known, on=PLACE, suffixes=("", "_known"))
    same = pairs[pairs["value"] == pairs["value_known"]]
    if len(same):
        row = same.iloc[0]
        count = same["line"].nunique()
        more = f" (and {count - 1} more rows)" if count > 1 else ""
        raise InputError(
            f"{path}: line {row['line']}{more}: {_place(row)}, value {row['value']:g}, is in the "
            f"fit already: {Path(row['file_known']).name} line {row['line_known']}"
        )
    # another value is another measurement only if it says so
    alike = (pairs["series"] == pairs["series_known"]) & (pairs["method"] == pairs["method_known"])
    against = pairs[alike & (pairs["estimated"] == pairs["estimated_known"])]
    if len(against):
        row = against.iloc[0]
        raise InputError(
            f"{path}: line {row['line']}, column 'value': {row['value']:g} contradicts "
            f"{row['value_known']:g} in {Path(row['file_known']).name} line {row['line_known']}, "
            f"{_place(row)}; a second measurement needs a series or method of its own"
        )


def _place(row: pd.Series) -> str:
    return (
        f"{row['variable']} of {row['treatment'] or row['site']} in {row['year']}, "
        f"{row['upper_cm']:g}-{row['lower_cm']:g} cm"
    )


def _told(rows: pd.DataFrame) -> str:
    return (
        f"{len(rows)} observations of {_years(rows)}, {int(rows['fitted'].sum())} of them to fit "
        f"({', '.join(sorted(set(rows['series'])))})"
    )


def _years(rows: pd.DataFrame) -> str:
    first, last = int(rows["year"].min()), int(rows["year"].max())
    return str(first) if first == last else f"{first}-{last}"


def _fitted_rows(found: saved_fit.Fit) -> np.ndarray:
    return np.asarray(found.tree["constant_data"]["fitted"].to_numpy(), bool)


def staged(
    found: saved_fit.Fit, folder: Path, drivers: Path | None = None, confirmed: Sequence[str] = ()
) -> Case:
    """The case of a fit with all its files in a folder, and longer drivers if there are any.

    Args:
        found: the fit.
        folder: where to.
        drivers: case whose experiment (last year, weather, management) and record of the 14C of
            the air take the place of those of the fit; nothing else of it is used. That it tells
            the same of the past is seen when the first draw predicts what the fit has stored.
        confirmed: names that join those under ``plausible``.

    Raises:
        InputError: there is no experiment, it ends sooner, or does not know the treatments.
    """
    old = found.case()
    document = tomlkit.parse(found.text)
    meant = [*old.file.plausible, *confirmed]
    if drivers is not None:
        meant += _replace_drivers(document, old, drivers)
    for name in confirmed:
        if name not in plausible.NAMES:
            near = nearest(name, plausible.NAMES)
            raise InputError(f"--plausible {name}: this is never in doubt{near}")
    if meant:
        document["plausible"] = list(dict.fromkeys(meant))
    for table, key in files_of(document):
        known = Path(str(table[key]))
        source = old.resolve(str(known))
        if known.is_absolute() or ".." in known.parts:  # a driver, or a fit of format 1
            table[key] = str(source.resolve())
            continue
        (folder / known).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / known)
    return read_case(folder / "case.toml", tomlkit.dumps(document))


def _replace_drivers(document: tomlkit.TOMLDocument, old: Case, drivers: Path) -> list[str]:
    """Put the experiment of another case in the place of a case's own.

    Returns:
        What that case says to be meant.
    """
    longer = load_case(drivers)
    for case in (old, longer):
        if case.file.experiment is None:
            raise InputError(f"{case.path}: experiment: is missing, and with it yearly drivers")
    experiment = longer.file.experiment
    assert experiment is not None
    if longer.end_year < old.end_year:
        raise InputError(
            f"{longer.path}: experiment.until: is {longer.end_year}, the fit has drivers to "
            f"{old.end_year}"
        )
    missing = [t.name for t in old.file.treatment if t.name not in _managed(longer)]
    if missing:
        raise InputError(f"{longer.path}: experiment.management: nothing for {missing[0]!r}")
    kept = experiment.model_dump(exclude_defaults=True)
    if experiment.tables:
        kept["management"] = [str(longer.resolve(name).resolve()) for name in experiment.tables]
    document["experiment"] = kept
    document.pop("management", None)
    if longer.file.management:
        blocks = [
            block.model_dump(by_alias=True, exclude_unset=True) for block in longer.file.management
        ]
        document["management"] = blocks
    for name in names_of(experiment.climate):
        ((kind, table),) = longer.file.climate[name].model_dump(exclude_none=True).items()
        document["climate"][name] = {kind: str(longer.resolve(table).resolve())}
    if old.file.radiocarbon_atmosphere and longer.file.radiocarbon_atmosphere:
        record = longer.resolve(longer.file.radiocarbon_atmosphere)
        document["radiocarbon_atmosphere"] = str(record.resolve())
    return longer.file.plausible


def _managed(case: Case) -> set[str]:
    assert case.management is not None  # there is an experiment
    return set(case.management["treatment"])


def driving_files(case: Case) -> list[dict[str, str]]:
    """Files of weather, management and 14C of the air of a case, with their SHA-256."""
    experiment = case.file.experiment
    assert experiment is not None
    climates = [case.file.climate[name] for name in names_of(experiment.climate)]
    names = [of.monthly or of.normals for of in climates]
    names += [*experiment.tables, case.file.radiocarbon_atmosphere]
    files = [case.resolve(name) for name in names if name is not None]
    return [{"file": file.name, "sha256": checksum_of(file)} for file in files]


def with_file(case: Case, path: Path, number: int, folder: Path) -> tuple[Case, str]:
    """A case of :func:`staged` with one more file of observations, and the name of that."""
    document = tomlkit.parse(case.text)
    name = f"assimilated/{number:02d}_{path.name}"
    document["observations"]["files"].append(name)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / name)
    return read_case(folder / "case.toml", tomlkit.dumps(document)), name


# History.


def _entry(
    found: saved_fit.Fit, path: Path, name: str, rows: pd.DataFrame, seed: int
) -> store.Entry:
    return {
        "step": len(found.history),
        "date": datetime.date.today().isoformat(),
        "data": [{"file": name, "sha256": checksum_of(path)}],
        "rows": len(rows),
        "fitted": int(rows["fitted"].sum()),
        "years": _years(rows),
        "seed": seed,
        "version": metadata.version("diffsoil"),
        "from": checksum_of(found.folder / "posterior.nc"),
    }


def _files(history: Sequence[store.Entry]) -> dict[str, dict[str, str]]:
    """Files that the last assimilation began with, by name, with their SHA-256."""
    entry = history[-1] if history else {}
    listed = (*entry.get("data", ()), *entry.get("drivers", ()))
    files = {of["file"]: of["sha256"] for of in listed}
    return {"files": files | {"posterior.nc": entry.get("from", "")}}


def _complete(found: saved_fit.Fit, problem: Problem, new: int) -> list[store.Entry]:
    """The history of a fit; the counts of its calibration are filled in if they are missing."""
    history = [dict(entry) for entry in found.history]
    if "rows" not in history[0]:
        later = sum(entry.get("rows", 0) for entry in history[1:])
        rows = problem.table.iloc[: len(problem.table) - new - later]
        history[0] |= {
            "rows": len(rows),
            "fitted": int(rows["fitted"].sum()),
            "years": _years(rows),
        }
    return json.loads(json.dumps(history))


# Draws and weights.


def base_draws(
    found: saved_fit.Fit, problem: Problem, most: int | None, seed: int
) -> tuple[Base, list[str]]:
    """The draws to weight, and the parameters that had to be drawn from their priors.

    Args:
        found: the fit.
        problem: the case with the new data; an error parameter of a series that the fit does not
            know is drawn from its prior, for nothing else is known of it.
        most: number of draws at most.
        seed: of the prior draws.
    """
    path = found.folder / WEIGHTS
    if path.is_file():
        file = arrays.load(path)
        names = [str(name) for name in file["names"]]
        x = file["draws"]
        likelihood: np.ndarray | None = file["log_likelihood"]
        efficiency = float(file["efficiency"])
    else:
        names, x, likelihood = _predicted_draws(found)
        chosen = prediction.evenly(len(x), most or MOST_DRAWS)
        x = x[chosen]
        likelihood = None if likelihood is None else likelihood[chosen]
        efficiency = _efficiency(found, len(x))
    own = [n for n in problem.names if n not in names and n.startswith("observation.")]
    prior = np.asarray(problem.priors.sample(jax.random.key(seed), len(x)))
    extra = prior[:, [problem.names.index(name) for name in own]]
    joined = compatibility.in_order(
        [*names, *own], np.concatenate([x, extra], axis=1), problem.names, found
    )
    return Base(list(problem.names), joined, likelihood, efficiency), own


def _predicted_draws(found: saved_fit.Fit) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Draws of a fit whose likelihood it keeps, or else all of them."""
    if "joint" not in found.tree.children:
        return found.names, found.draws, None
    joint = found.tree["joint"].to_dataset()
    likelihood = joint["log_likelihood"].transpose("chain", "draw").to_numpy().ravel()
    return found.names, found.predicted, likelihood


def base_row(
    found: saved_fit.Fit, draw: np.ndarray, problem: Problem, base: Base
) -> Float[np.ndarray, " parameter"]:
    """One draw of the fit in the order of a problem; what it does not know as in the base."""
    values = dict(zip(found.names, draw, strict=True))
    return np.array([values.get(n, base.draws[0, i]) for i, n in enumerate(problem.names)])


def _efficiency(found: saved_fit.Fit, wanted: int) -> float:
    """Independent draws per draw of those that are kept, mean over the parameters, at most 1."""
    facts = found.folder / "facts.json"
    if facts.is_file() and "effective" in (read := read_json(facts)):
        return min(1.0, float(read["effective"]) / wanted)  # resampled draws repeat themselves
    if not found.settings.method.exact or len(found.draws) < checks.ENOUGH_DRAWS:
        return 1.0
    sizes = [checks.accuracy(d)["ess_bulk"] for d in checks.draws_of(found.tree).values()]
    known = [s for s in sizes if np.isfinite(s)]
    return min(1.0, float(np.mean(known)) / wanted) if known else 1.0


def weight_checks(weights: importance.Weights) -> list[checks.Row]:
    """What the weights have to meet, as rows of the table of checks."""
    limit = largest_k(weights.weight.size)
    good_k = weights.k <= limit
    return [
        {
            "check": "importance weights (Pareto k)",
            "value": weights.k,
            "threshold": limit,
            "passed": good_k,
            "meaning": "The draws before cover the posterior with the new data."
            if good_k
            else "The new data lead where the draws before hardly reach: refit.",
        },
        checks.effective_row(weights, "refit"),
    ]


# Refit.


def warm_start(problem: Problem, base: Base) -> mode.Normal:
    """Normal approximation of the posterior before, in the coordinates of a problem.

    Too few draws for a covariance (a best fit alone) give the prior's, a standard logistic.
    """
    z = problem.unbounded(base.draws)
    if len(z) <= 2 * z.shape[1]:
        return mode.wide(z.mean(axis=0))
    return mode.moments(z, 1e-6)  # a direction without spread would never be left

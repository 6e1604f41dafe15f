"""Run the study: its scenarios as families of runs, stored run by run."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsoil.cases import set_parameters
from diffsoil.cases.arrays import Plan, build, check
from diffsoil.cases.fingerprint import case_files, checksum
from diffsoil.cases.fingerprint import fingerprint as of_case
from diffsoil.column import Column
from diffsoil.io import InputError
from diffsoil.options import Existing, Workers
from diffsoil.quantities import results
from diffsoil.studies.vandermeij2026.family import OUTPUT_INTERVAL, PROFILES, YEARLY, family, whole
from diffsoil.studies.vandermeij2026.scenarios import Scenario, Study, load_study
from diffsoil.work import ensemble
from diffsoil.work.ensemble import Batch
from diffsoil.work.files import write_copy
from diffsoil.work.folder import Kind, OutputFolder, having, some
from diffsoil.work.pool import Pool, cluster
from diffsoil.work.progress import say
from diffsoil.work.store import Store

STORE = "runs.zarr"


def families(study: Study, scenarios: Sequence[Scenario]) -> list[Batch]:
    """Build all that runs need, a family for each setting of protection; nothing is computed yet.

    Args:
        study: the study.
        scenarios: runs; the rows of a batch are their places in this sequence.

    Raises:
        diffsoil.io.InputError: the case lacks something that the runs need.
    """
    description = study.description
    borders = (description.until[0], description.until[-1], description.recovery_until)
    plans = _plans(study, scenarios)
    batches = []
    for protection in description.protection:
        rows = tuple(i for i, s in enumerate(scenarios) if s.protection == protection)
        own = [plans[_history(study, scenarios[i])] for i in rows]
        if rows:
            batches.append(Batch(rows, family(column(study, protection), own, borders)))
    return batches


def _history(study: Study, scenario: Scenario) -> Scenario:
    """How much is protected is a matter of parameters; all else is the same."""
    return dataclasses.replace(scenario, protection=study.description.recovery.protection)


def _plans(study: Study, scenarios: Sequence[Scenario]) -> dict[Scenario, Plan]:
    """The arrays of each history, built once for all settings of protection."""
    column = study.base.column()
    plans = {}
    for history in dict.fromkeys(_history(study, s) for s in scenarios):
        case = study.case(history)
        plans[history] = build(case)
        check(plans[history], column, case)
    return plans


def column(study: Study, protection: str) -> Column:
    """The column of a setting of protection."""
    settings = study.settings(protection)
    where = f"protection {protection}"
    return set_parameters(study.base.column(), settings, study.base.path, where)


def template(study: Study, scenarios: Sequence[Scenario]) -> xr.Dataset:
    """What the store of some runs holds: names, units, coordinates; no values yet."""
    years = study.description.recovery_until
    grid = study.base.file.grid
    size = {"scenario": len(scenarios), "year": years, "depth_m": grid.layers}
    size["output_year"] = years // OUTPUT_INTERVAL
    about = {name: results()[name] for name in (*YEARLY, "soc", *PROFILES)}
    variables = {}
    for name, result in about.items():
        dims = ("scenario", *result.dims)
        nothing = np.broadcast_to(np.nan, [size[d] for d in dims])
        variables[name] = (dims, nothing, {"units": result.unit, "long_name": result.long_name})
    of_year = {"units": "year", "long_name": "calendar year, from 1"}
    coordinates = {
        "scenario": [s.name for s in scenarios],
        **{
            name: ("scenario", [getattr(s, name) for s in scenarios])
            for name in ("bioclimate", "protection", "land_use", "recovery", "rock")
        },
        "erosion": ("scenario", ["-".join(s.erosion) for s in scenarios]),
        "until": ("scenario", [study.until(s) for s in scenarios], of_year),
        "year": ("year", np.arange(1, years + 1), of_year),
        "output_year": (
            "output_year",
            np.arange(OUTPUT_INTERVAL, years + 1, OUTPUT_INTERVAL),
            {"units": "year", "long_name": "calendar year with profiles"},
        ),
        "depth_m": (
            "depth_m",
            (np.arange(grid.layers) + 0.5) * grid.thickness_m,
            {"units": "m", "long_name": "depth of the middle of the layer as laid down"},
        ),
    }
    attributes = {
        "title": study.base.file.title,
        "source": f"diffsoil {metadata.version('diffsoil')}",
        "case": study.base.text,
    }
    return xr.Dataset(variables, coordinates, attributes)


def fingerprint(study: Study) -> dict[str, Any]:
    """Tells whether two stores come from the same inputs and program."""
    return {
        **of_case(study.base),
        "description": checksum(study.description.model_dump_json()),
        "version": metadata.version("diffsoil"),
    }


KIND = Kind("study runs", "runs of the study", (), older=having(STORE), resumable=True, grows=True)


def run_study(
    output: Path,
    scenarios: Collection[str] = (),
    case: str | Path | None = None,
    existing: Existing = Existing(),
    workers: Workers = Workers(),
) -> None:
    """Run the study, or some of its runs, into ``output/runs.zarr``.

    Args:
        output: folder; made if it is not there.
        scenarios: names of runs; all if empty.
        case: what all runs have in common; the description's own if not given.
        existing: begin anew where there is a store, or go on with it; runs that are done are
            left as they are.
        workers: who computes.

    Raises:
        diffsoil.io.InputError: bad case, unknown run, or a store that is in the way or has other
            inputs.
    """
    study = load_study(case)
    chosen = study.chosen(scenarios)
    _plans(study, chosen)  # what is wrong with a run shows before a store is made or replaced
    place = OutputFolder(output, KIND, inputs=case_files(study.base))
    store = partial(
        Store.open,
        place.path / STORE,
        template(study, study.scenarios),
        fingerprint(study),
        resume=existing.resume,
    )
    with place, contextlib.ExitStack() as stack:
        made = None if existing.overwrite else store()
        pool = None
        if made is None or _left(study, made, chosen):
            # before anything is replaced: there may be no such workers
            pool = stack.enter_context(cluster(*dataclasses.astuple(workers)))
        made = made or store(overwrite=True)
        place.keep()
        _copy_fit(study, place.path)
        _compute(study, made, chosen, pool)
    say(f"study: {made.progress()} in {output / STORE}")


def read_runs(
    folder: Path,
    names: Sequence[str],
    chosen: Callable[[xr.Dataset], np.ndarray] | None = None,
) -> xr.Dataset:
    """Results of the runs in a folder, in memory.

    Args:
        folder: that :func:`run_study` wrote.
        names: variables and labels that are needed.
        chosen: tells the numbers of the runs that are needed; all if not given.

    Raises:
        diffsoil.io.InputError: there are none, or some of them are missing.
    """
    path, again = folder / STORE, f"diffsoil study run -o {folder}"
    if not path.exists():
        raise InputError(f"{path}: does not exist; make it with: {again}")
    store = Store(path)
    with store.dataset() as dataset:
        lacking = [n for n in names if n not in dataset.variables]
        if lacking:
            raise InputError(f"{path}: is no suite of the study, it has no {lacking[0]}")
        wanted = np.arange(store.done.size) if chosen is None else chosen(dataset)
        missing = [store.rows[row] for row in wanted if not store.done[row]]
        if missing:
            raise InputError(
                f"{path}: {len(missing)} of {wanted.size} runs are missing ({some(missing)}); "
                f"go on with: {again} --resume"
            )
        return dataset[list(names)].isel(scenario=wanted).load()


def _left(study: Study, store: Store, chosen: Sequence[Scenario]) -> list[Scenario]:
    """The runs that are not there yet."""
    left = [s for s, done in zip(study.scenarios, store.done, strict=True) if not done]
    return [s for s in left if s in chosen]


def _compute(study: Study, store: Store, chosen: Sequence[Scenario], pool: Pool | None) -> None:
    """Compute what is not there yet."""
    for file in store.damaged:
        say(f"study: {file} is damaged; its runs are computed again")
    left = _left(study, store, chosen)
    say(f"study: {len(left)} of {len(chosen)} runs to compute")
    if not left or pool is None:
        return
    place = {scenario: row for row, scenario in enumerate(study.scenarios)}
    batches = [
        Batch(tuple(place[left[row]] for row in batch.rows), batch.argument)
        for batch in families(study, left)
    ]
    ensemble.run(whole, batches, store, pool, lambda text: say(f"study: {text}"))


def _copy_fit(study: Study, output: Path) -> None:
    """Tables that a fit left beside its case go where the report looks for them."""
    for name in ("targets.csv", "inputs.csv"):
        beside = study.base.path.with_name(f"{study.base.path.stem}_{name}")
        if beside.is_file():
            write_copy(output / name, beside)

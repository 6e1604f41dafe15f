"""Prune a column: find the processes that some outputs can do without, with a measured loss.

Ordered elimination. Every candidate (a process, or a mechanism of protection) is switched off by
its strength, so one compiled program per case serves the whole search. In each round all that are
left are measured again, given what is gone already; the one that costs least goes if the loss is
within the tolerance on all cases and over random draws of the parameters. Cheaper alternatives
follow: layers twice as thick, longer slow steps, the bucket, continuous erosion. The result is a
case file, in which what was removed is not compiled.

The error of a run is the largest, over targets and years, of ``|pruned - full| / |full|``; where
``|full|`` is below a hundredth of its largest value in the run, that hundredth divides.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from diffsoil.cases import Case, load_case
from diffsoil.cases.fingerprint import case_files, fingerprint
from diffsoil.io import InputError
from diffsoil.options import Existing, Workers
from diffsoil.work.checkpoints import Checkpoints, beside
from diffsoil.work.folder import Kind, OutputFolder
from diffsoil.work.output_file import OutputFile, case_with_note
from diffsoil.work.pool import cluster
from diffsoil.work.progress import Say, say
from sensitivity.options import PruneOptions
from sensitivity.pruning import ablation, confirmation, laplace
from sensitivity.pruning.alternatives import cheapen, edited, known
from sensitivity.pruning.case_text import without_text
from sensitivity.pruning.elimination import Decision, Search
from sensitivity.pruning.loss import Rule
from sensitivity.pruning.measurements import Measurements
from sensitivity.pruning.report import write_report
from sensitivity.pruning.result import Pruned

REPORT = "_report"


def prune(
    cases: Sequence[Case | str | Path],
    options: PruneOptions,
    workers: Workers = Workers(device="cpu"),
    folder: Path | None = None,
    checkpoints: Checkpoints | None = None,
    say: Say = lambda text: None,
) -> Pruned:
    """Find the smallest column whose targets stay within a tolerance.

    Args:
        cases: what it has to hold in.
        options: what has to hold; a stock without a year counts every year
            (:mod:`sensitivity.outputs`, :mod:`sensitivity.pruning.workflow`).
        workers: who computes.
        folder: where the files of the cases will be.
        checkpoints: keep what is measured, of :func:`asked`, so that a stopped pruning can be
            resumed. Nothing else is written.
        say: told what is done.

    Raises:
        diffsoil.io.InputError: bad input, or a tolerance that nothing meets.
    """
    if not options.target:
        raise InputError("--target: there is none, e.g. --target soc_stock_0_100")
    if not cases:
        raise InputError("there is no case")
    read, others = ([c if isinstance(c, Case) else load_case(c) for c in own]
                    for own in (cases, options.check))  # fmt: skip
    names = [case.name for case in (*read, *others)]
    if len(set(names)) < len(names):
        raise InputError("two cases have the same name")
    measurements = Measurements(checkpoints)
    with cluster(*dataclasses.astuple(workers)) as pool:
        search = Search(read, options.target, _rule(options), pool, say, measurements)
        for case in read:
            laplace.check_free(case, options.calibrate)
        for case in others:
            ablation.of_case(case, options.target, switches=())  # what is wrong shows now
        return _pruned(search, others, options, folder)


def asked(cases: Sequence[Case], options: PruneOptions) -> dict[str, Any]:
    """What the measurements of a pruning depend on; with the same it can be resumed."""
    return {
        "cases": [fingerprint(case) for case in cases],
        "targets": list(options.target),
        "rule": dataclasses.asdict(_rule(options)),
        "version": metadata.version("diffsoil"),
    }


def _rule(options: PruneOptions) -> Rule:
    return Rule(options.tolerance, options.draws, options.quantile, options.seed)


def _pruned(
    search: Search, others: Sequence[Case], options: PruneOptions, folder: Path | None
) -> Pruned:
    """Search, judge what was found, and measure what it saves and what was worth most."""
    say, kept, unseen = search.say, search.measurements, options.unseen
    read, targets = search.cases, options.target
    for line in (line for case in (*read, *others) for line in case.medians_taken()):
        say(line)
    say(_announced(search, unseen))
    search.prepare()
    each = search.time_of_run()
    say(f"prune: {each:.2f} s for a run; about {_minutes(search, unseen, each):.0f} min to go")
    decisions, order = search.eliminate()
    gone = [decision.name for decision in order]
    bare = edited(read, gone, {})
    say(f"prune: compile the column without {', '.join(gone)}")
    difference = search.check_static(bare, gone)
    changes: dict[str, Any] = {}
    taken: list[Decision] = []
    if not options.processes_only:
        changes, taken, bare = cheapen(search, gone)
    say(f"prune: {unseen} draws that it was not chosen on")
    errors, failed = confirmation.judge(search, bare, unseen)
    if others:
        say(f"prune: {', '.join(c.name for c in others)}, which it was not chosen on")
        more, more_failed = confirmation.check(search, others, gone, changes, unseen)
        errors, failed = pd.concat([errors, more], ignore_index=True), failed + more_failed
    say("prune: time and memory of each step")
    path = confirmation.path(search, order, taken, search.beyond(gone, decisions))
    of_ablation = ablation.of_cases(read, targets, options.ablation, search.pool, kept, say)
    cost = confirmation.costs(read, bare, targets, kept, say)
    posteriors = laplace.of_cases(read, bare, targets, options.calibrate, options.seed, kept, say)
    note = _note(search.rule, targets, gone, taken)
    texts = [without_text(case, known(case, gone), note, folder, **changes) for case in read]
    return Pruned(
        cases=tuple(bare),
        texts=tuple(texts),
        removed=tuple(gone),
        changes=changes,
        decisions=pd.DataFrame([dataclasses.asdict(d) for d in (*decisions, *taken)]),
        errors=errors,
        cost=cost,
        path=path,
        ablation=of_ablation,
        posteriors=posteriors,
        static_difference=difference,
        failed=failed,
        runs=kept.runs,
        minutes=kept.seconds / 60.0,
    )


def _expected(search: Search, unseen: int) -> int:
    """Runs that a search takes when about half of the candidates go."""
    count, cases = len(search.names), len(search.cases)
    rounds = 3 * count * count // 8
    return cases * (rounds + (count + 1) * search.rule.draws + 2 * unseen)


def _announced(search: Search, unseen: int) -> str:
    return (
        f"prune: {len(search.names)} candidates, {len(search.cases)} cases, {search.rule.draws} "
        f"draws: about {_expected(search, unseen)} runs; compiling first"
    )


def _minutes(search: Search, unseen: int, each: float) -> float:
    return _expected(search, unseen) * each / 60.0


def _note(
    rule: Rule, targets: Sequence[str], gone: Sequence[str], taken: Sequence[Decision]
) -> str:
    ways = [d.name for d in taken if d.decision == "taken"]
    return (
        f"without {', '.join([*gone, *ways])}: {', '.join(targets)} within {100 * rule.tolerance:g}"
        f" % of the full column on the cases and at the {rule.quantile:g} quantile of draws"
    )


def _older(path: Path) -> list[str] | None:
    """Whether a folder is a report of a pruning, made before folders had markers."""
    return [p.name for p in path.glob("worth_*.png")] if (path / "prune.csv").is_file() else None


KIND = Kind(
    "prune report",
    "a report of a pruning",
    (
        *(f"{name}.csv" for name in ("prune", "errors", "cost", "path", "worth", "posteriors")),
        *("pareto.png", "report.html"),
    ),
    older=_older,
)


def prune_cases(
    cases: Sequence[str | Path],
    output: Path,
    options: PruneOptions,
    existing: Existing = Existing(),
    workers: Workers = Workers(),
) -> None:
    """Prune cases into files, see :func:`prune`.

    The pruned first case goes to ``output``, the others beside it, ``OUTPUT_CASE.toml``, and
    tables, pictures and report into the folder ``OUTPUT_report``. None of it is written before all
    is found; until then ``OUTPUT_progress`` keeps what was measured.

    Args:
        cases: names or paths.
        output: file of the first case.
        options: what has to hold.
        existing: replace what is there, or go on with a pruning that was stopped.
        workers: who computes.

    Raises:
        diffsoil.io.InputError: as :func:`prune`, or a file that is there.
    """
    read = [load_case(case) for case in cases]
    paths = [output, *(output.with_name(f"{output.stem}_{c.name}.toml") for c in read[1:])]
    folder = output.with_name(f"{output.stem}{REPORT}")
    inputs = [file for case in read for file in case_files(case)]
    files = [
        OutputFile(
            path, existing.overwrite, suffix=".toml", like=case_with_note("pruned"), inputs=inputs
        )
        for path in paths
    ]
    place = OutputFolder(folder, KIND, overwrite=existing.overwrite, inputs=inputs)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(beside(output, asked(read, options), existing, say))
        for file in files:
            stack.enter_context(file)
        stack.enter_context(place)
        found = prune(read, options, workers, output.parent, checkpoints, say)
        place.add([f"worth_{case}.png" for case in dict.fromkeys(found.ablation.get("case", []))])
        write_report(found, options, place.work)
        for file, text in zip(files, found.texts, strict=True):
            with file.writing() as part:
                part.write_text(text, encoding="utf-8")
    say(f"prune: {', '.join(map(str, paths))}; report in {folder}")

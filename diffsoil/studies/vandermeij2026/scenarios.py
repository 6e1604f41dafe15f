"""The runs of the study: from one description to the case of each run.

Source: van der Meij & Finke (2026), SOIL 12, 165, Table 2; ``data/study/scenarios.toml``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tomlkit

from diffsoil.cases import Case, find_case, read_case
from diffsoil.cases.formats import migrated
from diffsoil.cases.kinds import Strict
from diffsoil.cases.schema import Amendment, HistoryPhase
from diffsoil.cases.validation import validated
from diffsoil.io import InputError, data_path, nearest, read_text, read_toml

LAYER_MM = 50.0
"""Erosion that makes an event, mm."""
START_YEAR = 1
"""First year of every run, whatever history the common case has of its own."""


class Bioclimate(Strict):
    """A climate and the natural vegetation, by their names in the case."""

    climate: str
    vegetation: str


class History(Strict):
    """Land use of each phase, and the erosion classes that go with it."""

    land_use: list[str]
    erosion: list[list[str]]


class Recovery(Strict):
    """What goes on after the last phase."""

    protection: str
    land_use: dict[str, str]


class Rocks(Strict):
    """Rock additions at the start of recovery."""

    kg_m2: float
    erosion: list[str]
    materials: list[str]
    size: dict[str, Literal["clay", "silt", "sand"]]


class Description(Strict):
    """The description as written; ``until`` is the last year of each phase."""

    format: Literal[1]
    case: str
    step_years: int
    until: list[int]
    recovery_until: int
    bioclimate: dict[str, Bioclimate]
    mechanism: dict[str, dict[str, float]]
    protection: dict[str, list[str]]
    erosion: dict[str, float]
    history: dict[str, History]
    recovery: Recovery
    rocks: Rocks
    amendments: dict[str, list[Amendment]]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One run.

    Attributes:
        bioclimate: ``dry`` or ``wet``.
        protection: ``n`` none, ``a`` aggregation, ``c`` clay, ``m`` MOOH, ``p`` pores, ``x`` all.
        land_use: ``natural`` or ``agricultural``, of the phases before recovery.
        erosion: class of each phase before recovery.
        recovery: land use after them, or empty for a run that ends there.
        rock: what is added at the start of recovery, or ``none``.
    """

    bioclimate: str
    protection: str
    land_use: str
    erosion: tuple[str, ...]
    recovery: str = ""
    rock: str = "none"

    @property
    def name(self) -> str:
        """Unique name."""
        parts = [self.bioclimate, self.protection, self.land_use, *self.erosion]
        parts += ["then", self.recovery] if self.recovery else []
        parts += [self.rock] if self.rock != "none" else []
        return "-".join(parts)


@dataclasses.dataclass(frozen=True)
class Study:
    """The description, and the case that all runs have in common."""

    description: Description
    base: Case

    @cached_property
    def scenarios(self) -> tuple[Scenario, ...]:
        """All runs: first those that end before recovery, then those that go on."""
        return (*self._short(), *self._long())

    def _short(self) -> Iterator[Scenario]:
        for bioclimate in self.description.bioclimate:
            for protection in self.description.protection:
                yield from self._histories(bioclimate, protection)

    def _histories(self, bioclimate: str, protection: str) -> Iterator[Scenario]:
        for land_use, history in self.description.history.items():
            for erosion in history.erosion:
                yield Scenario(bioclimate, protection, land_use, tuple(erosion))

    def _long(self) -> Iterator[Scenario]:
        recovery, rocks = self.description.recovery, self.description.rocks
        for bioclimate in self.description.bioclimate:
            for run in self._histories(bioclimate, recovery.protection):
                natural = run.land_use == "natural"
                for then in ("natural",) if natural else recovery.land_use:
                    yield dataclasses.replace(run, recovery=then)
                    if not natural and list(run.erosion) == rocks.erosion:
                        for rock in rocks.materials:
                            yield dataclasses.replace(run, recovery=then, rock=rock)

    def chosen(self, names: Iterable[str]) -> tuple[Scenario, ...]:
        """The runs of some names, in the order of all; all if no name is given.

        Raises:
            diffsoil.io.InputError: a name that no run has.
        """
        names = list(names)
        known = [s.name for s in self.scenarios]
        for name in names:
            if name not in known:
                raise InputError(f"--scenario {name}: no such run{nearest(name, known)}")
        return tuple(s for s in self.scenarios if not names or s.name in names)

    def until(self, scenario: Scenario) -> int:
        """Last year of a run, and the number of its years."""
        return self.description.recovery_until if scenario.recovery else self.description.until[-1]

    def settings(self, protection: str) -> dict[str, float]:
        """Parameter values that switch off the mechanisms that a setting does not have."""
        on = self.description.protection[protection]
        off = [values for name, values in self.description.mechanism.items() if name not in on]
        return {name: float(value) for values in off for name, value in values.items()}

    def event_interval(self, erosion: str) -> int:
        """Years between two erosion events of a class; 1 where there are none."""
        rate = self.description.erosion[erosion]
        return round(LAYER_MM / rate) if rate else 1

    def text(self, scenario: Scenario) -> str:
        """A run as the text of a case."""
        document = tomlkit.parse(migrated(self.base.text, self.base.path))
        document["name"] = scenario.name
        document["title"] = f"{self.base.file.title}: {scenario.name}"
        document["start_year"] = START_YEAR
        values = document.setdefault("set", {})
        for name, value in self.settings(scenario.protection).items():
            values[name] = value
        history = tomlkit.aot()
        for phase in self._phases(scenario):
            history.append(tomlkit.item(phase))
        document["history"] = history
        return tomlkit.dumps(document)

    def case(self, scenario: Scenario) -> Case:
        """A run as a case; its text is that of the common case, see :meth:`text`."""
        update = {
            "name": scenario.name,
            "start_year": START_YEAR,
            "set": self.base.file.set | self.settings(scenario.protection),
            "history": [HistoryPhase.model_validate(phase) for phase in self._phases(scenario)],
        }
        return dataclasses.replace(self.base, file=self.base.file.model_copy(update=update))

    def _phases(self, scenario: Scenario) -> Iterator[dict[str, Any]]:
        description = self.description
        uses = list(description.history[scenario.land_use].land_use)
        classes, until = list(scenario.erosion), list(description.until)
        if scenario.recovery:
            uses.append(description.recovery.land_use[scenario.recovery])
            classes.append(classes[0])
            until.append(description.recovery_until)
        bioclimate = description.bioclimate[scenario.bioclimate]
        for use, erosion, end in zip(uses, classes, until, strict=True):
            additions = description.amendments.get(use, [])
            phase: dict[str, Any] = {
                "until": end,
                "step_years": description.step_years,
                "climate": bioclimate.climate,
                "land_use": bioclimate.vegetation if use == "natural" else use,
                "erosion_mm_a": description.erosion[erosion],
                "amendments": [a.model_dump(exclude_defaults=True) for a in additions],
            }
            if end == description.recovery_until and scenario.rock != "none":
                phase["amendments"].append(self._rock(scenario.rock))
            if not phase["amendments"]:
                del phase["amendments"]
            yield phase

    def _rock(self, material: str) -> dict[str, Any]:
        rocks = self.description.rocks
        rock = {"material": material, "kg_m2": rocks.kg_m2, "year": self.description.until[-1] + 1}
        return rock | ({"size": rocks.size[material]} if material in rocks.size else {})


def load_study(case: str | Path | None = None) -> Study:
    """Read the description, and the case that all runs have in common.

    Args:
        case: name or path of a case to take in the place of the one that the description names.

    Raises:
        diffsoil.io.InputError: the first thing wrong, in one line.
    """
    path = data_path("study", "scenarios.toml")
    description = validated(path, Description, read_toml(path))
    file = find_case(case or description.case)
    study = Study(description, read_case(file, read_text(file)))
    _check(study)
    return study


def _check(study: Study) -> None:
    """The case has what the description names."""
    file, description = study.base.file, study.description

    def known(what: str, name: str, names: Iterable[str]) -> None:
        if name not in names:
            raise InputError(
                f"{study.base.path}: the runs of the study need the {what} {name!r}"
                f"{nearest(name, names)}"
            )

    if not study.base.whole_soil:
        raise InputError(f'{study.base.path}: column: the study needs "whole_soil"')
    for bioclimate in description.bioclimate.values():
        known("climate", bioclimate.climate, file.climate)
        known("land use", bioclimate.vegetation, file.land_use)
    for use in description.amendments:
        known("land use", use, file.land_use)

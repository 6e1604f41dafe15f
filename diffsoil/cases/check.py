"""What a case file says has to hold together: names, years, phases, horizons, additions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from diffsoil.cases import plausible
from diffsoil.cases.horizons import HORIZON_VARIABLES
from diffsoil.cases.kinds import BySite, names_of
from diffsoil.cases.measured import no_balance, profile_stock
from diffsoil.cases.profile import check_room
from diffsoil.cases.schema import CaseFile
from diffsoil.io import (
    Faults,
    nearest,
)
from diffsoil.processes.texture import Texture
from diffsoil.tables import Meant
from diffsoil.units import CM_PER_M

MOST_YEARS = 100_000
"""Years of a case: more than any soil of the last glaciation needs."""

MOST_VALUES = 2e8
"""Years times members times layers, of which each recorded variable takes 8 bytes."""


def faults_of(path: Path, file: CaseFile) -> Faults:
    """All in the content of a case file that does not hold together.

    Args:
        path: the file, named in messages.
        file: its content.
    """
    faults = Faults()
    for check in (_check_names, _check_times, _check_inputs, _check_start):
        check(path, file, faults)
    if file.whole_soil:
        _check_ground(path, file, faults)
        with faults.gathered():
            declared = float(Texture().organic_density)
            light = file.set.get("texture.organic_density", declared)
            check_room(light, file.soil, path)
        with faults.gathered():
            erosion_events(path, file)
        for number in range(len(file.history)):
            _check_amendments(path, file, number, faults)
    else:
        for where in _ground_keys(file):
            faults.add(
                f'{path}: {where}: needs column = "whole_soil", the case has column = "carbon"'
            )
    _check_soils(path, file, faults)
    return faults


def _check_names(path: Path, file: CaseFile, faults: Faults) -> None:
    """Every name used is a name given."""

    def known(what: str, name: str, given: Iterable[str], where: str) -> None:
        given = list(given)
        if not name:
            faults.add(f"{path}: {where}: is missing; the case has {', '.join(given) or 'none'}")
        elif name not in given:
            faults.add(f"{path}: {where}: no {what} {name!r}{nearest(name, given)}")

    def of_sites(what: str, given: BySite, choices: Iterable[str], where: str) -> None:
        for site in given if isinstance(given, dict) else ():
            known("site", site, file.site, where)
        for site in file.site if isinstance(given, dict) else ():
            if site not in given:
                faults.add(f"{path}: {where}: nothing for site {site!r}")
        for name in names_of(given):
            known(what, name, choices, where)

    for site, soil in file.site.items():
        known("soil", soil, file.soil, f"site.{site}")
    _check_groups(path, file, known, faults)
    for number, phase in enumerate(file.history):
        where = f"history.{number}"
        of_sites("climate", phase.climate, file.climate, f"{where}.climate")
        of_sites("land use", phase.land_use, file.land_use, f"{where}.land_use")
        for name in names_of(phase.climate):
            if name in file.climate and file.climate[name].normals is None:
                faults.add(f"{path}: {where}.climate: history needs a climate of normals")
    of_uses = file.land_use.values()
    groups = {g for use in of_uses for g in (use.input_group, use.yield_group) if g}
    for number, treatment in enumerate(file.treatment):
        known("site", treatment.site, file.site, f"treatment.{number}.site")
        for group in treatment.input_groups:
            known("input group", group, groups, f"treatment.{number}.input_groups")
    if len({t.name for t in file.treatment}) < len(file.treatment):
        faults.add(f"{path}: treatment: two treatments have the same name")
    if file.management and not file.experiment:
        faults.add(f"{path}: management: is of an experiment, and there is none")
    if bool(file.treatment) != bool(file.experiment):
        faults.add(f"{path}: experiment and treatment belong together; one is missing")
    if file.experiment:
        of_sites("climate", file.experiment.climate, file.climate, "experiment.climate")


def _check_groups(
    path: Path,
    file: CaseFile,
    known: Callable[[str, str, Iterable[str], str], None],
    faults: Faults,
) -> None:
    """A site is in one group at most, and a group has no name of a site that is elsewhere."""
    for name, sites in file.group.items():
        where = f"group.{name}"
        for site in sites:
            known("site", site, file.site, where)
            if file.group_of.get(site) != name:
                other = file.group_of[site]
                faults.add(f"{path}: {where}: site {site!r} is in group {other!r} as well")
        if name in file.site and name not in sites:
            faults.add(f"{path}: {where}: is the name of a site that is not in the group")


def _check_times(path: Path, file: CaseFile, faults: Faults) -> None:
    """Phases follow one another, and slow steps fill them."""
    for number, (phase, (first, last)) in enumerate(zip(file.history, file.spans(), strict=True)):
        if last < first:
            faults.add(
                f"{path}: history.{number}.until: {last} is before {first}, where the phase begins"
            )
        elif (last - first + 1) % phase.step_years:
            faults.add(
                f"{path}: history.{number}.step_years: {phase.step_years} does not divide the "
                f"{last - first + 1} years of the phase, {first} to {last}"
            )
    start = file.history[-1].until + 1
    if file.experiment and file.experiment.until < start:
        faults.add(
            f"{path}: experiment.until: {file.experiment.until} is before {start}, "
            "where the experiment begins"
        )
    end = file.experiment.until + 1 if file.experiment else start
    years, members = end - file.start_year, max(len(file.site), len(file.treatment))
    if years > MOST_YEARS or years * members * file.grid.layers > MOST_VALUES:
        faults.add(
            f"{path}: until: {years} years of {members} sites or treatments with "
            f"{file.grid.layers} layers are too many: at most {MOST_YEARS} years, and "
            f"{MOST_VALUES:g} years times members times layers"
        )
    depth = file.grid.layers * file.grid.thickness_m * 100
    for name, soil in file.soil.items():
        if soil.horizons[-1].lower_cm < depth - 1e-6:
            faults.add(
                f"{path}: soil.{name}: horizons end at {soil.horizons[-1].lower_cm:g} cm, the "
                f"layers of the grid at {depth:g} cm"
            )


def _check_inputs(path: Path, file: CaseFile, faults: Faults) -> None:
    """A land use of the history says what it brings to the soil, be it nothing."""
    for number, phase in enumerate(file.history):
        for name in names_of(phase.land_use):
            use = file.land_use.get(name)
            if number == 0 and file.seeks_input:
                if use and use.plant_carbon_t_ha == 0:
                    faults.add(
                        f"{path}: land_use.{name}.plant_carbon_t_ha: is 0, but initial = "
                        '"measured" seeks it; leave it out, or use measured.solve = "inert"'
                    )
            elif use and use.npp is None and use.plant_carbon_t_ha is None:
                faults.add(
                    f"{path}: land_use.{name}: neither npp nor plant_carbon_t_ha, which "
                    f"history.{number} needs; plant_carbon_t_ha = 0 says that nothing grows"
                )


def _check_start(path: Path, file: CaseFile, faults: Faults) -> None:
    """A measured stock is one, lies in the column, and is of a soil whose carbon can balance."""
    measured, where = file.measured, f"{path}: measured"
    deepest = file.grid.layers * file.grid.thickness_m * CM_PER_M
    if measured.lower_cm > deepest + 1e-6:
        faults.add(f"{where}.lower_cm: {measured.lower_cm:g} is below the column of {deepest:g} cm")
    given = measured.stock_t_ha
    by_site = given if isinstance(given, dict) else dict.fromkeys(file.site, given)
    for site in sorted(by_site.keys() - file.site.keys()):
        faults.add(f"{where}.stock_t_ha: no site {site!r}{nearest(site, file.site)}")
    for site in sorted(file.site.keys() - by_site.keys()):
        faults.add(f"{where}.stock_t_ha: nothing for site {site!r}")
    for stock in sorted({stock for stock in by_site.values() if stock is not None}):
        doubt = plausible.of_stock(stock, 0.0, measured.lower_cm)
        if doubt and (question := Meant(file.plausible).question("soc_stock", doubt)):
            faults.add(f"{where}.stock_t_ha: {stock:g} {question}")
    if file.initial == "history":
        return
    if reason := no_balance(file):
        faults.add(f'{path}: initial: "measured" {reason}; start from the history')
    for site, name in file.site.items():
        soil = file.soil.get(name)
        if given is None and soil and profile_stock(soil, measured.lower_cm) == 0:
            faults.add(
                f"{path}: initial: soil of site {site!r} has no carbon down to "
                f"{measured.lower_cm:g} cm (soc_percent is 0)"
            )
    if measured.solve == "inert":
        for what in ("set", "free"):
            if "carbon.iom_factor" in getattr(file, what):
                faults.add(
                    f'{path}: {what}: carbon.iom_factor has no effect: measured.solve = "inert" '
                    "seeks the inert carbon"
                )


def _check_soils(path: Path, file: CaseFile, faults: Faults) -> None:
    """Ask about values of the initial profiles that look like another unit."""
    meant = Meant(file.plausible)

    wrong = faults.lines
    twice = file.carbon == "rothc_passive" and "carbon.iom_factor" not in {**file.set, **file.free}

    def ask(where: str, name: str, value: float, doubt: str) -> None:
        place = f"{path}: {where}.{name}: "
        known = any(line.startswith(place) for line in wrong)
        if doubt and not known and (question := meant.question(name, doubt)):
            faults.add(f"{place}{value:g} {question}")

    for soil_name, soil in file.soil.items():
        for number, horizon in enumerate(soil.horizons):
            where = f"soil.{soil_name}.horizons.{number}"
            if twice and horizon.iom_percent > 0:
                faults.add(
                    f"{path}: {where}.iom_percent: {horizon.iom_percent:g} of inert carbon beside "
                    'the old pool of carbon = "rothc_passive", which would count it twice: leave '
                    "it out, or say in [set] what carbon.iom_factor is (0 for none)"
                )
            for name in HORIZON_VARIABLES:
                value = getattr(horizon, name)
                ask(where, name, value, plausible.of_soil(name, value, horizon.upper_cm))
            upper, lower = horizon.upper_cm, horizon.lower_cm
            ask(where, "lower_cm", lower, plausible.of_depth(upper, lower))
            if not file.whole_soil and horizon.calcite_percent > horizon.silt_percent:
                ask(
                    where,
                    "calcite_percent",
                    horizon.calcite_percent,
                    "is more than silt_percent "
                    f"{horizon.silt_percent:g}, of which calcite is a part",
                )


def _ground_keys(file: CaseFile) -> Iterator[str]:
    """Keys of the case that mean something only where the whole soil develops."""

    def given(of: BaseModel, where: str, *keys: str) -> Iterator[str]:
        yield from (f"{where}{key}" for key in keys if key in of.model_fields_set)

    own = ("mineralogy", "deposition", "erosion", "dissolved_iron", "biocycling", "weathering")
    yield from given(file, "", *own)
    for name, soil in file.soil.items():
        for number, horizon in enumerate(soil.horizons):
            where = f"soil.{name}.horizons.{number}."
            yield from given(horizon, where, "mineralogy", "cec_mmol_kg", "exchange")
    for name, use in file.land_use.items():
        of_bases = ("litter_cations_g_kg", "uptake_shallowness_factor")
        yield from given(use, f"land_use.{name}.", *of_bases)
    for number, phase in enumerate(file.history):
        yield from given(phase, f"history.{number}.", "erosion_mm_a", "amendments")
    if file.experiment:
        yield from given(file.experiment, "experiment.", "erosion_mm_a")


def _check_ground(path: Path, file: CaseFile, faults: Faults) -> None:
    """A soil that develops has minerals, and prescribes nothing that follows from them."""

    def known(name: str, where: str) -> None:
        if name not in file.mineralogy:
            suggestion = nearest(name, file.mineralogy)
            faults.add(f"{path}: {where}: no mineralogy {name!r}{suggestion}")

    changes = [(f"soil.{name}", soil.changes) for name, soil in file.soil.items()]
    changes += [(f"treatment.{n}", treatment.changes) for n, treatment in enumerate(file.treatment)]
    for where, given in changes:
        for change in given:
            faults.add(
                f"{path}: {where}.changes: {change.variable} is computed in a case with "
                'column = "whole_soil" and cannot be prescribed'
            )
    for name, soil in file.soil.items():
        for number, horizon in enumerate(soil.horizons):
            where = f"soil.{name}.horizons.{number}"
            for key in ("one_to_one_share", "dissolved_al_fe"):
                if key in horizon.model_fields_set:
                    faults.add(
                        f"{path}: {where}.{key}: is computed in a case with "
                        f'column = "whole_soil", not given (got {getattr(horizon, key):g})'
                    )
            if horizon.mineralogy is None:
                faults.add(
                    f'{path}: {where}.mineralogy: missing, a case with column = "whole_soil" '
                    "needs the minerals of every horizon"
                )
            else:
                known(horizon.mineralogy, f"{where}.mineralogy")
            if "base_saturation" not in horizon.model_fields_set:
                faults.add(
                    f'{path}: {where}.base_saturation: missing, a case with column = "whole_soil" '
                    "starts from it; 0 is a soil without any base"
                )
            if horizon.calcite_percent > horizon.silt_percent:
                faults.add(
                    f"{path}: {where}.calcite_percent: {horizon.calcite_percent:g} is more than "
                    f"silt_percent {horizon.silt_percent:g}, of which calcite is a part"
                )
    if file.deposition.dust_mineralogy is not None:
        known(file.deposition.dust_mineralogy, "deposition.dust_mineralogy")


def erosion_events(path: Path, file: CaseFile) -> list[int]:
    """Years at whose start erosion takes the uppermost layer away.

    That is each time that erosion at one rate has eaten a layer as thick as laid down, counted
    from the year in which the rate began. One that is full as a rate ends goes in the first
    slow step of the next; one that is full at the very end is still there.

    Raises:
        InputError: events that are not at the start of a slow step.
    """
    if not file.erodes_in_events:
        return []
    phases = [
        (f"history.{number}", phase.until + 1, phase.step_years, phase.erosion_mm_a)
        for number, phase in enumerate(file.history)
    ]
    if file.experiment:
        phases.append(("experiment", file.experiment.until + 1, 1, file.experiment.erosion_mm_a))
    layer = file.grid.thickness_m * 1000
    events: list[int] = []
    start = began = file.start_year
    before = 0.0
    faults = Faults()
    for where, end, step, rate in phases:
        if rate != before:
            began, before = start, rate
        if rate > 0:
            interval = round(layer / rate)
            if abs(interval * rate - layer) > 1e-6 * layer or interval % step:
                faults.add(
                    f"{path}: {where}.erosion_mm_a: {rate:g} takes a layer of {layer:g} mm every "
                    f"{layer / rate:g} years, which is not a multiple of step_years {step}"
                )
                start = end
                continue
            first = began + interval * ((start - began) // interval + 1)
            here = range(first, end + 1, interval)
            if here and (here[0] - start) % step:
                faults.add(
                    f"{path}: {where}.erosion_mm_a: the layer of {layer:g} mm that {rate:g} has "
                    f"taken by {here[0]} goes within a slow step of step_years {step}"
                )
            events += here
        start = end
    faults.refuse()
    return [year for year in events if year < start]


def _check_amendments(path: Path, file: CaseFile, number: int, faults: Faults) -> None:
    """What is added fits the slow steps, and goes to one depth in each of them."""
    phase = file.history[number]
    start, last = file.spans()[number]
    depths: dict[int | None, float] = {}
    for place, amendment in enumerate(phase.amendments):
        where = f"{path}: history.{number}.amendments.{place}"
        for site in amendment.sites:
            if site not in file.site:
                faults.add(f"{where}.sites: no site {site!r}{nearest(site, file.site)}")
        every, year, step = amendment.every_years, amendment.year, phase.step_years
        if every is not None and every % step and step % every:
            faults.add(
                f"{where}.every_years: {every} is neither a multiple nor a divisor of "
                f"step_years {step}"
            )
        if year is not None and not start <= year <= last:
            faults.add(f"{where}.year: {year} is outside the phase, {start} to {last}")
        elif year is not None and (year - start) % step:
            faults.add(
                f"{where}.year: {year} is not the start of a slow step, {start} + a multiple of "
                f"step_years {step}"
            )
        deepest = file.grid.layers * file.grid.thickness_m
        if amendment.depth_m > deepest:
            faults.add(
                f"{where}.depth_m: {amendment.depth_m:g} is below the column of {deepest:g} m"
            )
        if amendment.material == "manure":
            continue  # it goes where the plough takes it
        # None stands for every slow step of the phase
        together = depths if year is None else {None, year} & depths.keys()
        for other in together:
            if depths[other] != amendment.depth_m:
                faults.add(
                    f"{where}.depth_m: {amendment.depth_m:g}, but another addition in the same "
                    f"slow step goes to {depths[other]:g}"
                )
        depths[year] = amendment.depth_m

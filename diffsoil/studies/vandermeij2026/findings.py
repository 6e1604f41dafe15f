"""Each finding of the study, whether it is ours too, and why.

A verdict and its reasons follow from the numbers of the suite; nothing is said beforehand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from diffsoil.output.plots import look as look_of
from diffsoil.studies.vandermeij2026 import analysis, figures
from diffsoil.studies.vandermeij2026.analysis import EARLY, END, EXTENSIVE, LATE, NATURAL
from diffsoil.studies.vandermeij2026.figures import CLIMATES, FARMED, ROCKS

OWN = "no number"
"""Verdict on what the reference numbers of the study do not tell."""

PARTS = {
    "all": "soc_stock_0_100",
    "topsoil": "soc_stock_0_25",
    "subsoil": "soc_stock_25_100",
    "litter": "litter_stock",
}
STRETCHES = {
    "natural": slice(NATURAL - 1000, NATURAL),
    "extensive": slice(EXTENSIVE - 1000, EXTENSIVE),
    "intensive": slice(EXTENSIVE, END),
}
"""Years whose mean stands for a phase: whole intervals between erosion events where it has any."""

RIVALS = {"a": "modifier_aggregation", "c": "modifier_clay"}
PERIODS = {"early": EARLY, "late": LATE, "liming": slice(EXTENSIVE - 100, EXTENSIVE)}


# What the suite says.


@dataclasses.dataclass(frozen=True)
class Results:
    """All that verdicts are made of; tables as :mod:`.vandermeij2026.analysis` makes them.

    Attributes:
        shares: from :func:`diffsoil.studies.vandermeij2026.figures.limiting_shares`.
        stocks: from :func:`phase_stocks`.
        rivals: from :func:`rivals`.
    """

    table3: pd.DataFrame
    smoothing: pd.DataFrame
    comparison: pd.DataFrame
    recovery: pd.DataFrame
    recovery_fit: pd.DataFrame
    rocks: pd.DataFrame
    protection: pd.DataFrame
    shares: pd.DataFrame
    stocks: pd.DataFrame
    rivals: pd.DataFrame

    def row(self, name: str) -> pd.Series:
        """A line of the comparison by its id."""
        return self.comparison.set_index("id").loc[[name]].iloc[0]

    def ours(self, name: str) -> float:
        """Our number for a target."""
        return float(self.row(name)["ours"])

    def paper(self, name: str) -> float:
        """The paper's number."""
        return float(self.row(name)["paper"])

    def verdict(self, name: str) -> str:
        """Verdict on one number."""
        return str(self.row(name)["verdict"])

    def both(self, name: str, unit: str = "") -> str:
        """Our number, with its unit, and the paper's, as in a sentence."""
        return f"{g(self.ours(name))}{unit} (paper {g(self.paper(name))})"

    def stock(self, compartment: str = "all", **labels: str) -> float:
        """Mean stock of one compartment, or of all, in a phase of a run, Mg C/ha."""
        return float(chosen(self.stocks, compartment=compartment, **labels)["stock"].item())

    def rival(self, protection: str, period: str, column: str) -> float:
        """A mean from :func:`rivals`."""
        return float(chosen(self.rivals, protection=protection, period=period)[column].item())


def chosen(table: pd.DataFrame, **labels: Any) -> pd.DataFrame:
    """Rows with some values."""
    return table[np.logical_and.reduce([table[name] == value for name, value in labels.items()])]


def evaluate(suite: xr.Dataset, before: Mapping[str, float], fitted: Iterable[str]) -> Results:
    """All tables of a suite."""
    recovery = analysis.recovery(suite)
    return Results(
        table3=analysis.table3(suite)[0],
        smoothing=analysis.smoothing(suite),
        comparison=analysis.comparison(suite, before, list(fitted)),
        recovery=recovery,
        recovery_fit=analysis.recovery_fit(recovery),
        rocks=analysis.rocks(suite),
        protection=analysis.protection(suite),
        shares=figures.limiting_shares(suite),
        stocks=phase_stocks(suite),
        rivals=rivals(suite),
    )


def phase_stocks(suite: xr.Dataset) -> pd.DataFrame:
    """Mean yearly stocks by phase of the ten-thousand-year runs with all protections.

    Returns:
        bioclimate, land_use, erosion, phase, compartment (all, topsoil 0-25 cm, subsoil
        25-100 cm, litter), stock in Mg C/ha.
    """
    runs = analysis.histories(suite)
    places = analysis.find(runs, protection="x", recovery="")
    rows = []
    for part, name in PARTS.items():
        values = suite[name].isel(scenario=places).to_numpy()
        for place, stock in zip(places, values, strict=True):
            labels = runs.iloc[place][["bioclimate", "land_use", "erosion"]].to_dict()
            for phase, years in STRETCHES.items():
                own = {"phase": phase, "compartment": part, "stock": float(stock[years].mean())}
                rows.append(labels | own)
    return pd.DataFrame(rows)


def rivals(suite: xr.Dataset) -> pd.DataFrame:
    """Aggregation and clay, each alone, in the dry farmed soil without erosion.

    Returns:
        protection (a, c), period (early, late, liming), modifier and base_saturation (%), means
        over the carbon of the first metre.
    """
    labels = {"bioclimate": "dry", "land_use": "agricultural", "erosion": FARMED[0]}
    runs, year = analysis.histories(suite), suite["output_year"].to_numpy()
    rows = []
    for protection, modifier in RIVALS.items():
        place = analysis.find(runs, protection=protection, recovery="", **labels)[:1]
        for period, years in PERIODS.items():
            inside = np.flatnonzero((year > years.start) & (year <= years.stop))
            if not inside.size:  # profiles are kept more seldom than that
                inside = np.array([np.searchsorted(year, years.stop)])
            run = suite.isel(scenario=place, output_year=inside)
            carbon = figures.carbon_within(run, 1.0)
            row: dict[str, Any] = {"protection": protection, "period": period}
            for column, name in (("modifier", modifier), ("base_saturation", "base_saturation")):
                row[column] = float((carbon * run[name].to_numpy()).sum() / carbon.sum())
            rows.append(row)
    return pd.DataFrame(rows)


# Verdicts and words.


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding of the study and what became of it.

    Attributes:
        claim: what the study says, or asks.
        verdict: ``reproduced``, ``partly``, ``not``, or ``no number`` where the reference numbers
            do not tell.
        reason: what the runs say, and what follows.
        ids: targets that it is judged by.
    """

    claim: str
    verdict: str
    reason: str
    ids: tuple[str, ...] = ()


def judge(results: Results, ids: Sequence[str], direction: bool) -> str:
    """Verdict on a finding of several numbers.

    ``not`` if the direction or order is not that of the study; otherwise ``reproduced`` if all
    numbers are, and ``partly`` if the direction alone is.
    """
    if not direction:
        return "not"
    met = all(results.verdict(name) == "reproduced" for name in ids)
    return "reproduced" if met else "partly"


def g(value: float) -> str:
    """A number as it is read: three digits, no exponent, 0 for next to nothing, – for none."""
    if not np.isfinite(value):
        return "–"
    if abs(value) < 1e-4:
        return "0"
    text = f"{value:.0f}" if abs(value) >= 100.0 else f"{value:.3g}"
    return text.replace("-", "−")


def missed(results: Results, ids: Sequence[str]) -> str:
    """Which numbers are further from the paper than their tolerance, and by how much."""
    out = [results.row(name) for name in ids if results.verdict(name) != "reproduced"]
    if not out:
        return "All these numbers are within tolerance."
    told = [
        f"{row['what'].rsplit(', ', 1)[0].replace('_', ' ')} {g(row['ours'])} against "
        f"{g(row['paper'])} ± {g(row['tolerance'])}"
        for row in out
    ]
    return f"Outside tolerance: {'; '.join(told)}."


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _order(results: Results, words: Mapping[str, str], ends: Sequence[int]) -> tuple[Any, str]:
    """Whether some numbers come in the order of the paper, and in which.

    Args:
        results: what the suite says.
        words: names by id.
        ends: places that have to be those of the paper for the order to be partly so.
    """
    paper = sorted(words, key=results.paper, reverse=True)
    ours = sorted(words, key=results.ours, reverse=True)
    told = ", ".join(f"{words[i]} {g(results.ours(i))} ({g(results.paper(i))})" for i in ours)
    if ours == paper:
        return True, f"ours (paper): {told}. This is the order of the paper."
    swaps = [
        f"{words[a]} comes before {words[b]}"
        for i, a in enumerate(ours)
        for b in ours[i + 1 :]
        if paper.index(a) > paper.index(b)
    ]
    verdict = "partly" if all(ours[i] == paper[i] for i in ends) else "not"
    return verdict, f"ours (paper): {told}. Against the paper {listed(swaps)}."


def _than(value: float) -> str:
    return "less" if value < 0.0 else "more"


# Findings. Each says whether the direction is that of the study, or gives the verdict, and why.

Outcome = tuple[bool | str, str]
Look = Callable[[Results], Outcome]


def bioclimate(results: Results) -> Outcome:
    """Wet soils hold less than dry ones."""
    value = results.ours("T3-wet")

    def apart(phase: str, part: str = "all", use: str = "natural") -> float:
        labels = {"land_use": use, "erosion": FARMED[0], "phase": phase}
        wet, dry = (results.stock(part, bioclimate=c, **labels) for c in ("wet", "dry"))
        return wet - dry

    before, after = apart("natural"), apart("extensive", use="agricultural")
    parts = {part: apart("natural", part) for part in PARTS if part != "all"}
    where = max(parts, key=lambda part: np.sign(before) * parts[part])
    reason = (
        f"Over all runs wet soils hold {g(abs(value))} Mg C/ha {_than(value)} than dry ones "
        f"(paper {g(abs(results.paper('T3-wet')))} less). Before farming, without erosion and "
        f"with all protections, wet minus dry is {g(before)}: {g(parts['topsoil'])} in the "
        f"topsoil, {g(parts['subsoil'])} in the subsoil and {g(parts['litter'])} in the litter "
        f"layer, so the largest part of it arises in the {where}. Under extensive agriculture "
        f"it is {g(after)}, {_contrast(after, before)}."
    )
    return value < 0.0, reason


def _contrast(after: float, before: float) -> str:
    if after * before < 0.0:
        return "with the sign turned: farming reverses the contrast and so weakens the mean"
    share = abs(after / before) if before else np.inf
    if share < 0.75:
        return "so farming takes away part of the contrast, and the mean over all years with it"
    return "so farming keeps the contrast" if share < 1.33 else "so farming widens the contrast"


def ranking(results: Results) -> Outcome:
    """Climate, land use, protection, erosion, year."""
    words = {f"T3-eta2-{name}": name.replace("_", " ") for name in analysis.VARIABLES}
    verdict, told = _order(results, words, ends=(0,))
    return verdict, (
        f"Share of the variance in %, {told} The texts of the study differ about this order; the "
        "target is Table 3 of the preprint."
    )


def protection_order(results: Results) -> Outcome:
    """All > clay > aggregation > pores > MOOH."""
    words = {f"T3-{p}": label for p, (label, _, _) in figures.PROTECTIONS.items() if p != "n"}
    verdict, told = _order(results, words, ends=(0, -1))
    return verdict, f"Mg C/ha over no protection, {told}"


def together(results: Results) -> Outcome:
    """All together add more than the best alone and less than their sum."""
    ids = [f"T3-{p}" for p in "acmp"]
    alone, paper = ([read(name) for name in ids] for read in (results.ours, results.paper))
    every, best, total = results.ours("T3-x"), max(alone), sum(alone)
    by_run = results.shares.groupby("mechanism")["share"].mean()
    shares = by_run[by_run > 0.005].sort_values(ascending=False)
    told = listed([f"{look_of(str(m)).words} for {100.0 * s:.0f} %" for m, s in shares.items()])
    reason = (
        f"All together add {g(every)} Mg C/ha, the best alone {g(best)}, the sum of the four is "
        f"{g(total)} (paper {g(results.paper('T3-x'))}, {g(max(paper))} and {g(sum(paper))}). "
        f"Only the strongest acts at a place and time: averaged over these runs, {told} of the "
        "carbon of the first metre."
    )
    return best < every < total, reason


def mooh(results: Results) -> Outcome:
    """MOOH does nothing that could be seen."""
    own = results.shares[results.shares["mechanism"] == "mooh"]
    most = own.iloc[own["share"].to_numpy().argmax()]
    why = "it is nowhere the strongest in any run and year"
    if most["share"] >= 0.0005:
        why = (
            f"it is the strongest for {g(100.0 * own['share'].mean())} % of the carbon on average "
            f"and for {g(100.0 * most['share'])} % at most ({most['bioclimate']}, "
            f"{most['land_use']}, {most['erosion']}, year {most['output_year']})"
        )
    gains = chosen(results.protection, protection="m").groupby("bioclimate")["percent_over_none"]
    largest = listed([f"{g(v)} % ({c})" for c, v in gains.max().items()])
    reason = (
        f"It adds {g(results.ours('T3-m'))} Mg C/ha in the regression (paper "
        f"{g(results.paper('T3-m'))}) and {g(results.ours('F1-m'))} % to the dry natural soil "
        f"(paper: nothing to be seen). Alone it never adds more than {largest}. With all "
        f"protections {why}."
    )
    return any(results.verdict(name) == "reproduced" for name in ("T3-m", "F1-m")), reason


def alone(results: Results) -> Outcome:
    """Clay adds 12 % and pores 11 %."""
    reason = (
        f"In years 2001 to 8000 clay alone adds {results.both('F1-c', ' %')} and pores alone "
        f"{results.both('F1-p', ' %')}."
    )
    return results.ours("F1-c") > 0.0 < results.ours("F1-p"), reason


def aggregation_declines(results: Results) -> Outcome:
    """Aggregation adds much early and less later."""
    bases = [results.rival("a", period, "base_saturation") for period in ("early", "late")]
    reason = (
        f"Aggregation alone adds {results.both('F1-a-early', ' %')} in years 501 to 2000 and "
        f"{results.both('F1-a-late', ' %')} in years 7501 to 8000. It follows base saturation, "
        f"around the carbon of the first metre {g(bases[0])} % early and {g(bases[1])} % late."
    )
    return results.ours("F1-a-early") > results.ours("F1-a-late"), reason


def switch(results: Results) -> Outcome:
    """Clay overtakes aggregation at about year 5000."""
    year = results.ours("F1-x-switch")
    late, clay = results.ours("F1-a-late"), results.ours("F1-c")
    if np.isfinite(year):
        told = f"Clay overtakes aggregation in year {year:.0f} (paper about 5000)."
    else:
        ahead = "aggregation stays ahead" if late > clay else "clay is ahead throughout"
        told = f"It does not happen before year 8000: {ahead}."
    verdict = results.verdict("F1-x-switch")
    if verdict == "not" and np.isfinite(year) and late < results.ours("F1-a-early"):
        verdict = "partly"
    return verdict, (
        f"{told} At the end of the natural phase the modifier around the carbon is "
        f"{results.rival('a', 'late', 'modifier'):.3f} of aggregation and "
        f"{results.rival('c', 'late', 'modifier'):.3f} of clay (lower protects more), at a base "
        f"saturation of {g(results.rival('a', 'late', 'base_saturation'))} %; aggregation adds "
        f"{g(late)} %, clay {g(clay)} %."
    )


def liming(results: Results) -> Outcome:
    """Liming gives the lead back to aggregation."""
    labels = {"bioclimate": "dry", "land_use": "agricultural", "erosion": FARMED[0]}
    rows = chosen(results.protection, year=EXTENSIVE, **labels)
    own = rows.set_index("protection")["percent_over_none"]
    late, clay = results.ours("F1-a-late"), results.ours("F1-c")
    led = late > clay
    again = "though it had not lost the lead before" if led else "after clay had led"
    reason = (
        f"At the end of the extensive phase aggregation adds {g(own['a'])} % and clay "
        f"{g(own['c'])} %, at a base saturation of "
        f"{g(results.rival('a', 'liming', 'base_saturation'))} % under liming; before farming "
        f"{g(late)} % and {g(clay)} %, at {g(results.rival('a', 'late', 'base_saturation'))} %"
        + (f": it leads, {again}." if results.ours("F1-a-liming") > 0.5 else ": it does not lead.")
    )
    verdict = results.verdict("F1-a-liming")
    return "partly" if verdict == "reproduced" and led else verdict, reason


def filling(results: Results) -> Outcome:
    """The stock without protection stops rising after about 1500 years."""
    row = results.row("F1-n-equilibrium")
    reason = (
        f"It takes {g(row['ours'])} years until less than 1 % is added in 500 years "
        f"(paper about {g(row['paper'])}, tolerance {g(row['tolerance'])})."
    )
    if row["verdict"] != "reproduced":
        slow = row["ours"] > row["paper"]
        reason += f" The soil fills more {'slowly' if slow else 'quickly'} here."
    return str(row["verdict"]), reason


def farming(results: Results) -> Outcome:
    """Agriculture lowers stocks; extensively to 80 %."""
    value, share = results.ours("T3-agricultural"), results.ours("F1-n-extensive")
    told = []
    for climate in CLIMATES:
        labels = {"bioclimate": climate, "erosion": FARMED[0], "phase": "intensive"}
        natural, farmed = (
            {part: results.stock(part, land_use=use, **labels) for part in PARTS}
            for use in ("natural", "agricultural")
        )
        loss = {part: g(natural[part] - farmed[part]) for part in PARTS}
        parts = ", ".join(f"{part} {text}" for part, text in loss.items() if part != "all")
        told.append(f"{climate} {loss['all']} ({parts})")
    reason = (
        f"Farmed years have {g(abs(value))} Mg C/ha {_than(value)} (paper "
        f"{g(abs(results.paper('T3-agricultural')))} less); at the end of extensive agriculture "
        f"the unprotected dry soil has {100.0 * share:.0f} % of its natural stock (paper "
        f"{100.0 * results.paper('F1-n-extensive'):.0f} %). Loss against the soil never farmed in "
        f"the intensive phase, all protections, no erosion, in Mg C/ha: {'; '.join(told)}."
    )
    return value < 0.0 and share < 1.0, reason


def erosion_order(results: Results) -> Outcome:
    """Faster erosion costs more."""
    ids = ("T3-E1", "T3-E2", "T3-E3")
    values = [results.ours(name) for name in ids]
    told = ", ".join(f"{name[-2:]} {results.both(name)}" for name in ids)
    ordered = values[2] < values[1] < values[0] < 0.0
    means = []
    for climate in CLIMATES:
        labels = {"bioclimate": climate, "land_use": "agricultural", "phase": "intensive"}
        stocks = [g(results.stock(erosion=history, **labels)) for history in FARMED]
        means.append(f"{climate} {', '.join(stocks)}")
    reason = (
        f"Mg C/ha against no erosion: {told}. The order is "
        f"{'that of the paper' if ordered else 'another'}. Mean stocks of the intensive phase "
        f"with all protections under E0, E1, E2 and E3, Mg C/ha: {'; '.join(means)}."
    )
    return ordered, reason


def drift(results: Results) -> Outcome:
    """Stocks still rise slowly with time."""
    value = results.ours("T3-year")
    reason = (
        f"The slope is {value:.4f} Mg C/ha a year, {g(10000.0 * value)} Mg C/ha in 10 000 years "
        f"(paper {results.paper('T3-year'):.3f}; printed with one digit)."
    )
    return value > 0.0, reason


def explained(results: Results) -> Outcome:
    """Level of the regression and what it explains."""
    reason = (
        "The reference (dry, natural, no erosion, no protection, year 0) is at "
        f"{results.both('T3-intercept', ' Mg C/ha')}, adjusted R² is "
        f"{results.ours('T3-r2'):.2f} (paper {results.paper('T3-r2'):.2f})."
    )
    return any(results.verdict(n) == "reproduced" for n in ("T3-intercept", "T3-r2")), reason


def erosion_by_climate(results: Results) -> Outcome:
    """How much of the stock the fastest erosion takes in both bioclimates."""
    losses, told = {}, []
    for climate in CLIMATES:
        labels = {"bioclimate": climate, "land_use": "agricultural", "phase": "intensive"}
        none, most = (results.stock(erosion=FARMED[i], **labels) for i in (0, 3))
        losses[climate] = none - most
        told.append(f"{g(none - most)} Mg C/ha or {g(100.0 * (1.0 - most / none))} % ({climate})")
    return OWN, (
        f"In the intensive phase E1–E2–E3 has less than no erosion by {listed(told)}; the loss is "
        f"larger in the {max(losses, key=lambda c: losses[c])} bioclimate."
    )


def recovery_and_deficit(results: Results) -> Outcome:
    """Recovery time against deficit."""
    words = {"top": "topsoil", "sub": "subsoil"}
    told = []
    for line in results.recovery_fit.to_dict("records"):
        slope, p = line["slope_a_per_Mg"], line["p_value"]
        text = "too few different deficits"
        if np.isfinite(slope):
            text = (
                f"{g(abs(slope))} years {'longer' if slope > 0.0 else 'shorter'} for each Mg C/ha "
                f"({figures.p_value(p)}, R² = {g(line['r2'])}, n = {line['n']})"
                + ("" if p < 0.05 else ", which is not significant")
            )
        told.append(f"{words[line['compartment']]}: {text}")
    return OWN, f"{'; '.join(told)}. {recovery_notes(results)}"


def recovery_notes(results: Results) -> str:
    """What to keep in mind about recovery times."""
    table = results.recovery
    late = int((~table["recovered"]).sum())
    pairs = zip(table["erosion"], table["recovery_years"], strict=True)
    event = sum(figures.after_event(erosion, years) for erosion, years in pairs)
    notes = (
        f"A field has recovered once it lacks no more than {100.0 * analysis.RECOVERED:g} % for "
        f"good. {late} of {len(table)} have not after 2000 years and are left out."
    )
    if event:
        notes += (
            f" {event} did within {figures.AFTER_EVENT} years after an erosion event: it took more "
            "from the soil never farmed than from the field, which has not fallen behind again."
        )
    return notes


def top_and_sub(results: Results) -> Outcome:
    """Which recovers first."""
    times = results.recovery.pivot_table(
        index=["bioclimate", "erosion"], columns="compartment", values="recovery_years"
    )
    times = times.reindex(columns=["top", "sub"]).dropna()
    later = int((times["sub"] > times["top"]).sum())
    every = results.recovery.fillna({"recovery_years": np.inf})
    medians = every.groupby("compartment")["recovery_years"].median()
    return OWN, (
        f"In {later} of {len(times)} histories in which both recovered the subsoil was later; of "
        f"all histories the median time is {g(medians.get('top', np.nan))} years in the topsoil "
        f"and {g(medians.get('sub', np.nan))} in the subsoil."
    )


def rock(results: Results) -> Outcome:
    """What ground rock adds."""
    table = results.rocks[results.rocks["rock"] != "none"]
    words = {"natural": "left to nature", "agriculture": "farmed on"}
    told = []
    for (climate, use), own in table.groupby(["bioclimate", "land_use"], sort=False):
        peak = own.iloc[own["difference_to_none"].abs().to_numpy().argmax()]
        gain, stock = peak["difference_to_none"], peak["soc_stock_0_100"]
        told.append(
            f"{climate}, {words[str(use)]}: {g(gain)} Mg C/ha ({g(100.0 * gain / (stock - gain))} "
            f"%) with {ROCKS[peak['rock']][0]} in year {peak['year']}"
        )
    last = chosen(table, year=table["year"].max())["difference_to_none"].abs().max()
    return OWN, (
        f"Largest difference to no addition: {'; '.join(told)}. In the last year none differs by "
        f"more than {g(last)} Mg C/ha."
    )


def limiting_mechanisms(results: Results) -> Outcome:
    """Which mechanism protects most, in early and late natural soils and under farming."""
    told = []
    for climate in CLIMATES:
        for use, year in (("natural", 1000), ("natural", NATURAL), ("agricultural", END)):
            labels = {"bioclimate": climate, "land_use": use, "erosion": FARMED[0]}
            own = chosen(results.shares, output_year=year, **labels)
            first = own.iloc[own["share"].to_numpy().argmax()]
            where = f"{climate}, {'farmed, ' if use == 'agricultural' else ''}year {year}"
            share = f"{100.0 * first['share']:.0f} % of the carbon"
            told.append(f"{where}: {look_of(str(first['mechanism'])).words} ({share})")
    return OWN, f"Without erosion, over the first metre: {'; '.join(told)}."


FINDINGS: dict[Look, tuple[str, tuple[str, ...]]] = {
    bioclimate: ("Stocks in the wet bioclimate are lower than in the dry one.", ("T3-wet",)),
    ranking: (
        "Drivers rank climate > land use > protection > erosion > year by eta².",
        tuple(f"T3-eta2-{name}" for name in analysis.VARIABLES),
    ),
    farming: (
        "Agriculture lowers stocks, extensive agriculture to about 80 %.",
        ("T3-agricultural", "F1-n-extensive"),
    ),
    erosion_order: (
        "Erosion lowers stocks, E3 more than E2 more than E1.",
        ("T3-E1", "T3-E2", "T3-E3"),
    ),
    protection_order: (
        "Protection adds carbon: all > clay > aggregation > pores, and MOOH next to nothing.",
        tuple(f"T3-{p}" for p in analysis.LEVELS["protection"][1:]),
    ),
    together: (
        "All mechanisms together add more than any alone, but less than their sum.",
        ("T3-x",),
    ),
    mooh: ("Metal hydroxides (MOOH) have no visible effect.", ("T3-m", "F1-m")),
    alone: (
        "Without erosion, clay alone adds about 12 % and pores about 11 % to the dry natural soil.",
        ("F1-c", "F1-p"),
    ),
    aggregation_declines: (
        "Aggregation protects most while the soil is rich in bases and less later.",
        ("F1-a-early", "F1-a-late"),
    ),
    switch: ("Aggregation leads until about year 5000, then clay.", ("F1-x-switch",)),
    liming: ("Aggregation leads again under liming after year 8000.", ("F1-a-liming",)),
    filling: (
        "Without protection and erosion the dry soil is filled after about 1500 years.",
        ("F1-n-equilibrium",),
    ),
    drift: ("Stocks rise a little with time.", ("T3-year",)),
    explained: (
        "The regression starts at 110 Mg C/ha and explains 81 % of the variance.",
        ("T3-intercept", "T3-r2"),
    ),
    erosion_by_climate: ("Erosion in the dry and in the wet bioclimate (Figure 3).", ()),
    recovery_and_deficit: ("Does recovery take longer after a larger deficit (Figure 4)?", ()),
    top_and_sub: ("Does the subsoil recover more slowly than the topsoil (Figure 4)?", ()),
    rock: ("What does an addition of ground rock change (Figure 5)?", ()),
    limiting_mechanisms: ("Which mechanism limits decomposition when and where?", ()),
}
"""What the study says, or asks, and the targets that it is judged by."""


def find(look: Look, results: Results) -> Finding:
    """Verdict on one finding, which says of several numbers which are missed."""
    claim, ids = FINDINGS[look]
    outcome, reason = look(results)
    verdict = outcome if isinstance(outcome, str) else judge(results, ids, outcome)
    if len(ids) > 1:
        reason += f" {missed(results, ids)}"
    return Finding(claim, verdict, reason, ids)


def findings(results: Results) -> list[Finding]:
    """A verdict on every finding."""
    return [find(look, results) for look in FINDINGS]

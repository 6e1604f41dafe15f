"""RothC from files to a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

from diffsoil import io
from diffsoil.cases import plausible
from diffsoil.io import InputError
from diffsoil.options import RothCStart
from diffsoil.processes.carbon import RothC
from diffsoil.rothc.model import (
    SPINUP_YEARS,
    Forcing,
    GivenPools,
    MeasuredStock,
    RothCOutput,
    Site,
    run,
)
from diffsoil.rothc.official import is_official, read_official
from diffsoil.rothc.tables import CONFIRMED, INPUT_COLUMNS, SITE_KEYS, read_inputs, read_site
from diffsoil.state import INERT
from diffsoil.tables import Meant
from diffsoil.work.output_file import OutputFile, table_with


def _forcing(table: pd.DataFrame) -> Forcing:
    columns = [name for name in INPUT_COLUMNS if name not in ("role", "year", "month")]
    values: dict[str, Any] = {name: table[name].to_numpy(dtype=float) for name in columns}
    return Forcing(**values)


def run_files(
    inputs: str | Path,
    site: str | Path | None,
    output: str | Path,
    overwrite: bool = False,
    confirmed: Collection[str] = (),
    start: RothCStart = RothCStart(),
) -> None:
    """Run RothC from an input file and a site file to a monthly table.

    Args:
        inputs: CSV with the columns of ``INPUT_COLUMNS``, or the official program's own file.
        site: JSON with the fields of :class:`Site`; None where the inputs hold the site.
        output: CSV that is written, whole or not at all, with 15 significant digits.
        overwrite: whether an existing output may be replaced.
        confirmed: columns and keys whose unlikely values are meant.
        start: what the months start from.

    Raises:
        InputError: bad files, an output that may not or cannot be written, a spin-up without
            a steady state, or a stock that no input keeps.
    """
    read = [inputs, *([site] if site is not None else [])]
    target = OutputFile(output, overwrite, like=table_with("Year", "Month"), inputs=read)
    known = (*INPUT_COLUMNS, *SITE_KEYS, *STOCK)
    for name in confirmed:
        if name not in known:
            raise InputError(f"--plausible {name}: no such column or key{io.nearest(name, known)}")
    meant = dataclasses.replace(CONFIRMED, names=confirmed)
    soil, table = _read(inputs, site, meant)
    begins = _start(start, soil, meant)
    with target:
        months = _forcing(table.iloc[:12]), _forcing(table.iloc[12:])
        result = run(soil, *months, start=begins)
        if not result.spun_up:
            raise InputError(
                f"{inputs}: rows with role spinup: no steady state within {SPINUP_YEARS} years, "
                "decomposition is too slow (always frozen?)"
            )
        if start.start_stock is not None:
            print(_told(start.start_stock, inputs, months[0], soil, result))
        with target.writing() as part:
            _monthly(table.iloc[12:], result).to_csv(part, index=False, float_format="%.15g")


STOCK = ("soc_stock",)
"""What ``--plausible`` calls the stock of ``--start-stock``."""


def _start(start: RothCStart, site: Site, meant: Meant) -> MeasuredStock | GivenPools | None:
    """What the months start from."""
    if start.pools is not None:
        return GivenPools(jnp.asarray(start.pools))
    if start.start_stock is None:
        return None
    doubt = plausible.of_stock(start.start_stock, 0.0, float(site.depth_cm))
    if doubt and (question := meant.question(STOCK[0], doubt)):
        raise InputError(f"--start-stock {start.start_stock:g}: {question}")
    return MeasuredStock(jnp.asarray(start.start_stock))


def _told(
    stock: float, inputs: str | Path, spinup: Forcing, site: Site, result: RothCOutput
) -> str:
    """What a measured stock is at the start.

    Raises:
        InputError: no plant carbon keeps it.
    """
    factor, inert = float(result.plant_factor), float(result.start_pools[-1])
    plants = float(spinup.c_inp_tC_ha.sum())
    if plants == 0.0:
        raise InputError(
            f"{inputs}: c_inp: no plant carbon in the first twelve months, which "
            "--start-stock multiplies"
        )
    if factor < 0.0:
        raise InputError(
            f"--start-stock {stock:g}: manure of the first twelve months and inert carbon "
            f"({inert:.3g}) alone keep more"
        )
    return (
        f"diffsoil: {inputs}: starts with {stock:g} t C/ha, {inert:.4g} of them inert "
        f"({float(site.iom_tC_ha):g} in the site), in balance with {factor * plants:.4g} t C/ha of "
        f"plants in a year ({plants:.4g} in the first twelve months)"
    )


def _read(inputs: str | Path, site: str | Path | None, meant: Meant) -> tuple[Site, pd.DataFrame]:
    """Site and months, from two files of ours or one of the official program."""
    official = is_official(inputs)
    if official and site is not None:
        raise InputError(f"{inputs}: holds the site in its header; leave out --site {site}")
    if official:
        soil, table, left_out = read_official(inputs, meant)
        if left_out:
            year, month = table[["year", "month"]].iloc[-1]
            last = f"{year}-{month:02d}"
            print(f"diffsoil: {inputs}: {left_out} months after {last} are beyond nsteps, left out")
        return soil, table
    if site is None:
        raise InputError(
            f"{inputs}: needs --site SITE.json: it is not the official program's own file, whose "
            "header has a line 'clay depth iom nsteps'"
        )
    faults = io.Faults()
    with faults.gathered():
        table = read_inputs(inputs, meant)
    with faults.gathered():
        soil = read_site(site, meant)
    faults.refuse()
    return soil, table


def _monthly(months: pd.DataFrame, result: RothCOutput) -> pd.DataFrame:
    pools = {f"{name}_t_C_ha": result.pools[:, i] for i, name in enumerate((*RothC.pools, INERT))}
    ages = {f"{name}_age_yr": result.ages[:, i] for i, name in enumerate(RothC.pools)}
    values = pools | {
        "SOC_t_C_ha": result.soc,
        "deltaC_permil": result.delta_c,
        "RM_TMP": result.rm_tmp,
        "RM_Moist": result.rm_moist,
        "RM_PC": result.rm_pc,
        "SWC_mm": result.swc_mm,
        "CO2_t_C_ha": result.co2,
    }
    date = {"Year": months["year"].to_numpy(), "Month": months["month"].to_numpy()}
    return pd.DataFrame(date | {name: jax.device_get(v) for name, v in (values | ages).items()})

"""The official single-layer RothC: the model, its files and ours."""

from diffsoil.rothc.files import run_files
from diffsoil.rothc.model import (
    FARINA_BARE,
    RATES,
    Forcing,
    GivenPools,
    MeasuredStock,
    MoistureLimits,
    RothCOutput,
    Site,
    falloon1998,
    moisture_limits,
    run,
)
from diffsoil.rothc.official import read_official
from diffsoil.rothc.tables import read_inputs, read_site

__all__ = [
    "FARINA_BARE",
    "RATES",
    "Forcing",
    "GivenPools",
    "MeasuredStock",
    "MoistureLimits",
    "RothCOutput",
    "Site",
    "falloon1998",
    "moisture_limits",
    "read_inputs",
    "read_official",
    "read_site",
    "run",
    "run_files",
]

"""Turnover of soil organic carbon: what models of it share, and a file for each of them."""

from diffsoil.processes.carbon.carbon import Carbon, protected
from diffsoil.processes.carbon.ctool import CTool
from diffsoil.processes.carbon.dissolved import Dissolved, carried
from diffsoil.processes.carbon.icbm import ICBM
from diffsoil.processes.carbon.linear import Transfers, compose_year, twelve_months
from diffsoil.processes.carbon.millennial import Millennial2
from diffsoil.processes.carbon.model import (
    RADIOCARBON_MEAN_LIFE,
    CarbonModel,
    depth_of_decay,
    subsoil_factor,
)
from diffsoil.processes.carbon.rothc import (
    BIO_SHARE,
    MANURE_DPM,
    MANURE_HUM,
    MANURE_RPM,
    RothC,
    co2_ratio,
    decompose,
    plant_shares,
)
from diffsoil.processes.carbon.rothc_passive import RothCPassive

__all__ = [
    "BIO_SHARE",
    "ICBM",
    "MANURE_DPM",
    "MANURE_HUM",
    "MANURE_RPM",
    "RADIOCARBON_MEAN_LIFE",
    "CTool",
    "Carbon",
    "CarbonModel",
    "Dissolved",
    "Millennial2",
    "RothC",
    "RothCPassive",
    "Transfers",
    "carried",
    "co2_ratio",
    "compose_year",
    "decompose",
    "depth_of_decay",
    "plant_shares",
    "protected",
    "subsoil_factor",
    "twelve_months",
]

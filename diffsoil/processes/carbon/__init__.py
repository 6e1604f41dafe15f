"""Turnover of soil organic carbon in the four active pools of RothC-26.3."""

from diffsoil.processes.carbon.carbon import RADIOCARBON_MEAN_LIFE, Carbon, subsoil_factor
from diffsoil.processes.carbon.pools import (
    BIO_SHARE,
    MANURE_DPM,
    MANURE_HUM,
    MANURE_RPM,
    co2_ratio,
    decompose,
    plant_shares,
)
from diffsoil.processes.carbon.year import compose_year, twelve_months

__all__ = [
    "BIO_SHARE",
    "MANURE_DPM",
    "MANURE_HUM",
    "MANURE_RPM",
    "RADIOCARBON_MEAN_LIFE",
    "Carbon",
    "co2_ratio",
    "compose_year",
    "decompose",
    "plant_shares",
    "subsoil_factor",
    "twelve_months",
]

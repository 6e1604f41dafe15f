"""Units in which the column computes, and what turns one into another."""

CM_PER_M = 100.0
MM_PER_M = 1000.0
MM_PER_CM = 10.0
G_PER_KG = 1000.0
MMOL_PER_MOL = 1000.0

SECONDS_PER_YEAR = 365.25 * 86400.0

CM_PER_HPA = 1.019716
"""Height of a column of water, cm, that weighs one hPa."""

MG_PER_HA_M = 1e4
"""Mg/ha in a layer of 1 m at a bulk density of 1 g/cm3."""

MG_PER_KG_M2 = 10.0
"""Mg/ha in a kg/m2."""

KG_HA_PER_MOL_N_M2 = 140.07
"""kg N/ha in a mol N/m2."""

MOL_PER_MG_HA = 100.0 / 12.011
"""mol C/m2 in a Mg C/ha."""

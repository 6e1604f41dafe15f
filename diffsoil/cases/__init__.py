"""Cases: one TOML file that says what a site is, what happened there, and what was observed."""

from diffsoil.cases.case import Case, parameter_table, set_parameters
from diffsoil.cases.read import find_case, load_case, read_case

__all__ = ["Case", "find_case", "load_case", "parameter_table", "read_case", "set_parameters"]

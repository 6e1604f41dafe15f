"""Cases: one TOML file that says what a site is, what happened there, and what was observed."""

from diffsoil.cases.read import (
    Case,
    find_case,
    load_case,
    parameter_table,
    read_case,
    set_parameters,
)

__all__ = ["Case", "find_case", "load_case", "parameter_table", "read_case", "set_parameters"]

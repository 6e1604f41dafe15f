"""The command ``diffsoil``. A subcommand's packages are loaded only when it is called."""

from diffsoil.cli import calibration, machine, model, sensitivity, study
from diffsoil.cli.options import UsageError, app
from diffsoil.cli.program import main

__all__ = ["UsageError", "app", "calibration", "machine", "main", "model", "sensitivity", "study"]

"""Fit the silty NEON profiles together, and ask what protects their carbon.

    python scripts/calibrate_neon.py --case neon_kansas -o FOLDER
    python scripts/calibrate_neon.py --case neon_silty -o FOLDER --variants none all
    python scripts/calibrate_neon.py --case neon_silty -o FOLDER --variants none all \
        --regression linear --covariates clay_pct ph_h2o

``neon_silty`` stands for all five cases: Kansas and the acid sites. With ``--regression`` the
turnover of a layer follows what is measured of its horizon. ``--quick`` is for a first
look, ``--resume`` goes on with a folder. docs/explanation/many_sites.md tells what comes out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from diffsoil import _runtime

_runtime.use_device("cpu")  # before the first array

from calibration.profiles import workflow as many_sites  # noqa: E402
from calibration.profiles.covariates import REGRESSIONS  # noqa: E402
from calibration.profiles.hierarchy import VARIANTS  # noqa: E402
from diffsoil.io import InputError  # noqa: E402
from diffsoil.work.progress import Clock  # noqa: E402

GROUPS = {"neon_silty": ["neon_kansas", "neon_blan", "neon_dela", "neon_ornl", "neon_unde"]}

HORIZONS = Path(__file__).parents[1] / "data" / "observations" / "neon_silty" / "layers.csv"
COVARIATES = (
    "clay_pct",
    "ph_h2o",
    "base_saturation_nh4oac_pct",
    "fe_dithionite_g_kg",
    "al_oxalate_g_kg",
    "mat_c",
)
"""Texture, acidity, bases, oxides, climate."""


def main(arguments: list[str] | None = None) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", default=["neon_kansas"], help="cases, or neon_silty")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help=", ".join(VARIANTS))
    parser.add_argument("--profiles", nargs="+", help="only these profiles")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--regression", choices=sorted(REGRESSIONS), help="of the turnover")
    parser.add_argument("--covariates", nargs="+", default=COVARIATES, help="of the horizons")
    parser.add_argument("--horizons", type=Path, default=HORIZONS, help="table that has them")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(arguments)
    cases = [name for case in given.case for name in GROUPS.get(case, [case])]
    sizes = many_sites.QUICK if given.quick else many_sites.Sizes()
    of = (given.horizons, tuple(given.covariates), given.regression)
    table = many_sites.calibrate(
        cases,
        given.output,
        given.variants,
        given.profiles,
        given.seed,
        sizes,
        given.resume,
        Clock(),
        many_sites.Covariates(*of) if given.regression else None,
    )
    shown = ["log_evidence", "error", "log_bayes_factor", "elpd", "elpd_gain", "elpd_gain_se"]
    print(table[shown].round(2).to_string())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; finished stages are kept, go on with --resume")

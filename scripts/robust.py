"""Live through thousands of extreme soils with parameters from all over their bounds.

    python scripts/robust.py [--draws N] [--seed SEED] [--years YEARS] [-o FOLDER]

checks after every slow step that everything is finite, possible and conserved, says which process
first broke which rule in each draw that fails, and writes the parameters of that draw to FOLDER.
The exit code is 1 if any draw failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from diffsoil import _runtime

_runtime.use_device("auto")  # before the first array

from diffsoil import robustness  # noqa: E402


def main() -> int:
    """Check, and report as failures are found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000, help="how many (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the Sobol sequence (default 0)")
    parser.add_argument("--years", type=int, default=robustness.YEARS, help="of each life")
    parser.add_argument("-o", "--output", type=Path, default=Path("robust"), help="for failures")
    options = parser.parse_args()
    began = time.perf_counter()

    def progress(done: int, failed: int) -> None:
        passed = time.perf_counter() - began
        print(f"{done}/{options.draws} draws, {failed} failed, {passed:.0f} s", flush=True)

    wanted = robustness.draws(options.draws, options.seed)
    failures = 0
    for failure in robustness.check(wanted, options.years, progress):
        failures += 1
        print(f"{failure}; see {failure.write(options.output)}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

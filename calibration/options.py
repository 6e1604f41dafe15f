"""Options of calibration and of assimilation, of the command line and of Python alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from diffsoil.options import POSITIVE, SEED, SEVERAL, WHOLE, Options, Within, option

MOST_CHAINS = 256
"""JAX gets a device for each on a CPU."""

SEED_TEXT = "Seed of the random numbers; the same seed repeats a run."


@dataclasses.dataclass(frozen=True)
class Sizes(Options):
    """How much a method does; what is not given is as the method has it."""

    quick: bool = option(False, "A short run that shows how it works; not for papers.")
    chains: int | None = option(
        None,
        "Chains or independent runs; on a CPU they run side by side. Default: 4, 2 with --quick.",
        Within(1, MOST_CHAINS),
    )
    warmup: int | None = option(
        None,
        "Steps of each chain that tune the sampler and are dropped; svi and flow take ten steps "
        "of their optimiser for each.",
        WHOLE,
    )
    draws: int | None = option(
        None,
        "Posterior draws of each chain; particles of smc, members of each ensemble.",
        POSITIVE,
    )


@dataclasses.dataclass(frozen=True)
class Sampling(Options):
    """What is sampled, and how it is judged."""

    slow_step: int | None = option(
        None,
        "Sample with slow steps of up to so many years, and weight the draws to those of the "
        "case; sample again where the weights fail.",
        Within(1, 10**5),
    )
    sbc: int | None = option(
        None,
        "Check the method instead: calibrate so many data sets simulated from the prior, and see "
        "whether their parameters come back (simulation-based calibration).",
        POSITIVE,
    )
    seed: int = option(0, SEED_TEXT, SEED)
    strict: bool = option(False, "Exit with 1 when a check of the fit fails.")


@dataclasses.dataclass(frozen=True)
class Update(Options):
    """How new observations enter a fit, and what they need besides themselves."""

    drivers: Path | None = option(
        None,
        "Case whose weather, management and last year replace those of the fit, for observations "
        "after its last year.",
    )
    plausible: tuple[str, ...] = option(
        (),
        "A column whose unlikely values are meant, in the new rows as under plausible in a case; "
        "may be repeated.",
    )
    method: Literal["auto", "weights", "refit"] = option(
        "auto",
        "auto: weight the draws of the fit, and refit to all data where the weights fail.",
    )
    draws: int | None = option(
        None, "Draws to weight. Default: 600, or all of a smaller fit.", SEVERAL
    )
    seed: int = option(0, SEED_TEXT, SEED)

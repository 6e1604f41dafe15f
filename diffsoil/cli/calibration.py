"""Commands of calibration: fit, predict, keep up to date, compare options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from calibration import methods
from diffsoil.cli.options import (
    MOST_CHAINS,
    Case,
    Chains,
    Device,
    Overwrite,
    Plausible,
    Positive,
    Seed,
    Settings,
    Several,
    Whole,
    Years,
    app,
    case_file,
    parameter_values,
    use_device,
)
from diffsoil.options import Existing

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(methods.METHODS)]


@app.command
def check(
    case: Case,
    /,
    *,
    output: Annotated[
        Path | None,
        Parameter(
            name=["-o", "--output"],
            show_default=False,
            help="Also write a page: time line, inputs, climate, and what the priors predict of "
            "each observation. Takes a minute.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Read a case with all its files, and say what will be done with it."""
    path = case_file(case)
    use_device("cpu")
    from calibration.preview import check_case

    print(check_case(path, output, overwrite))


@app.command
def calibrate(
    case: Case,
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of the posterior, tables and plots.")
    ],
    method: Annotated[
        MethodName,
        Parameter(
            help="map: best fit; laplace: normal approximation around it; svi, flow: nearest "
            "normal, or flow; nuts: full posterior; smc: full posterior with evidence; ensemble: "
            "without gradients."
        ),
    ] = "nuts",
    quick: Annotated[
        bool,
        Parameter(show_default=False, help="A short run that shows how it works; not for papers."),
    ] = False,
    chains: Annotated[
        Chains | None,
        Parameter(
            help="Chains or independent runs; on a CPU they run side by side. Default: 4, 2 with "
            "--quick."
        ),
    ] = None,
    warmup: Annotated[
        Whole | None,
        Parameter(
            help="Steps of each chain that tune the sampler and are dropped; svi and flow take "
            "ten steps of their optimiser for each."
        ),
    ] = None,
    draws: Annotated[
        Positive | None,
        Parameter(
            help="Posterior draws of each chain; particles of smc, members of each ensemble."
        ),
    ] = None,
    slow_step: Annotated[
        Years | None,
        Parameter(
            show_default=False,
            help="Sample with slow steps of up to so many years, and weight the draws to those of "
            "the case; sample again where the weights fail.",
        ),
    ] = None,
    sbc: Annotated[
        Positive | None,
        Parameter(
            name="--sbc",
            show_default=False,
            help="Check the method instead: calibrate so many data sets simulated from the prior, "
            "and see whether their parameters come back (simulation-based calibration).",
        ),
    ] = None,
    seed: Seed = 0,
    strict: Annotated[
        bool, Parameter(show_default=False, help="Exit with 1 when a check of the fit fails.")
    ] = False,
    settings: Settings = (),
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        Parameter(show_default=False, help="Go on with an interrupted run in the output folder."),
    ] = False,
    device: Device = "auto",
) -> int | None:
    """Fit a case's free parameters to its observations."""
    path, values = case_file(case), parameter_values(settings)
    chosen = methods.METHODS[method].sized(quick, chains=chains, warmup=warmup, draws=draws)
    # chains have a device each, and those are set up before anything is computed
    use_device(device, cpu_devices=chosen.side_by_side)
    existing = Existing(overwrite, resume)
    how: dict[str, Any] = {"seed": seed, "settings": values, "existing": existing}
    if sbc is not None:
        from calibration.simulation_based import check_case

        checks = check_case(path, output, chosen, sbc, **how)
    else:
        from calibration.fitting import calibrate_case

        checks = calibrate_case(path, output, chosen, slow_step=slow_step, **how)
    return 1 if strict and not checks["passed"].all() else 0


@app.command
def predict(
    case: Case,
    /,
    *,
    fit: Annotated[Path, Parameter(help="Folder that `diffsoil calibrate` wrote.")],
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Predictions, CSV.")],
    draws: Annotated[
        Positive | None,
        Parameter(help="Posterior draws to use. Default: enough for the quantiles."),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Predict a case's observations with a fit's posterior; the case may be a new site."""
    path = case_file(case)
    use_device(device)
    from calibration.transfer import predict_case

    predict_case(path, fit=fit, output=output, draws=draws, seed=seed, overwrite=overwrite)


Fit = Annotated[
    Path, Parameter(help="Folder that `diffsoil calibrate` or `diffsoil assimilate` wrote.")
]


@app.command
def assimilate(
    fit: Fit,
    /,
    *,
    observations: Annotated[
        Path, Parameter(help="New observations, CSV, in the format of those of the case.")
    ],
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Folder of the updated fit.")],
    drivers: Annotated[
        Path | None,
        Parameter(
            show_default=False,
            help="Case whose weather, management and last year replace those of the fit, for "
            "observations after its last year.",
        ),
    ] = None,
    method: Annotated[
        Literal["auto", "weights", "refit"],
        Parameter(
            help="auto: weight the draws of the fit, and refit to all data where the weights fail."
        ),
    ] = "auto",
    draws: Annotated[
        Several | None, Parameter(help="Draws to weight. Default: 600, or all of a smaller fit.")
    ] = None,
    seed: Seed = 0,
    strict: Annotated[
        bool, Parameter(show_default=False, help="Exit with 1 when a check of the fit fails.")
    ] = False,
    plausible: Plausible = (),
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        Parameter(show_default=False, help="Go on with an interrupted refit in the output folder."),
    ] = False,
    device: Device = "auto",
) -> int | None:
    """Bring new monitoring into a fit; the result is a fit that can be updated again."""
    use_device(device, cpu_devices=_chains_of(fit))
    from calibration.twin.assimilation import How, Monitoring, assimilate_case

    checks = assimilate_case(
        fit,
        Monitoring(observations, drivers, plausible),
        output,
        How(method, draws, seed),
        existing=Existing(overwrite, resume),
    )
    return 1 if strict and not checks["passed"].all() else 0


@app.command
def forecast(
    fit: Fit,
    /,
    *,
    scenario: Annotated[
        str,
        Parameter(help="Management options from the last year of the record on, TOML; or a name."),
    ],
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of tables, pictures and report.")
    ],
    draws: Annotated[
        Positive | None,
        Parameter(help="Posterior draws to use. Default: 600, or all of a smaller fit."),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Forecast management options with a fit, and how probable their differences are."""
    use_device(device, cpu_devices=2)
    from calibration.twin.forecast import forecast_case

    forecast_case(fit, scenario, output, draws=draws, seed=seed, overwrite=overwrite)


def _chains_of(fit: Path) -> int:
    """Chains of a fit, which a refit runs side by side; 2 where it does not say."""
    try:
        content = json.loads((fit / "fit.json").read_text(encoding="utf-8"))
        chains = content.get("options", content)["chains"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 2  # what is wrong with the folder is said when it is read
    return chains if isinstance(chains, int) and 1 <= chains <= MOST_CHAINS else 2

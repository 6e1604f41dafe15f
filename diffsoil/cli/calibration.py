"""Commands of calibration: fit, predict, keep up to date, compare options."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter

from calibration.methods import METHODS
from calibration.options import MOST_CHAINS, Sampling, Sizes, Update
from diffsoil.cli.options import (
    Case,
    Device,
    ExistingFlags,
    Overwrite,
    Positive,
    Seed,
    Settings,
    app,
    case_file,
    flags,
    parameter_values,
    use_device,
)

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]


SizeFlags, SamplingFlags, UpdateFlags = flags(Sizes), flags(Sampling), flags(Update)


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
    keep_stock: Annotated[
        bool,
        Parameter(
            show_default=False,
            help="Say as well which constant plant carbon keeps the measured stock of each site "
            "(`[measured]`, or that of the horizons), under its history and each treatment.",
        ),
    ] = False,
) -> None:
    """Read a case with all its files, and say what will be done with it."""
    path = case_file(case)
    use_device("cpu")
    from calibration.preview import check_case

    print(check_case(path, output, overwrite, keep_stock))


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
            help="surrogate: full posterior, on a stand-in that exact runs correct; nuts: full "
            "posterior on the column itself; map: best fit; laplace: normal approximation around "
            "it; svi, flow: nearest normal, or flow; smc: full posterior with evidence; ensemble: "
            "without gradients."
        ),
    ] = "surrogate",
    sizes: SizeFlags = SizeFlags(),
    sampling: SamplingFlags = SamplingFlags(),
    settings: Settings = (),
    existing: ExistingFlags = ExistingFlags(),
    device: Device = "auto",
) -> int | None:
    """Fit a case's free parameters to its observations."""
    path, values = case_file(case), parameter_values(settings)
    chosen, wanted = METHODS[method].sized(**dataclasses.asdict(sizes)), cast(Sampling, sampling)
    # chains have a device each, and those are set up before anything is computed
    use_device(device, cpu_devices=chosen.side_by_side)
    how: dict[str, Any] = {"seed": wanted.seed, "settings": values, "existing": existing}
    if wanted.sbc is not None:
        from calibration.simulation_based import check_case

        checks = check_case(path, output, chosen, wanted.sbc, **how)
    else:
        from calibration.fitting import calibrate_case

        checks = calibrate_case(path, output, chosen, slow_step=wanted.slow_step, **how)
    return 1 if wanted.strict and not checks["passed"].all() else 0


@app.command
def predict(
    case: Case,
    /,
    *,
    fit: Annotated[Path, Parameter(help="Folder that `diffsoil calibrate` wrote.")],
    output: Annotated[
        Path,
        Parameter(
            name=["-o", "--output"],
            help="Folder of predictions, scores, pictures and a report; a CSV if it ends in .csv.",
        ),
    ],
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
    update: UpdateFlags = UpdateFlags(),
    strict: Annotated[
        bool, Parameter(show_default=False, help="Exit with 1 when a check of the fit fails.")
    ] = False,
    existing: ExistingFlags = ExistingFlags(),
    device: Device = "auto",
) -> int | None:
    """Bring new monitoring into a fit; the result is a fit that can be updated again."""
    use_device(device, cpu_devices=_chains_of(fit))
    from calibration.twin.assimilation import assimilate_case

    checks = assimilate_case(fit, observations, output, update, existing=existing)
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


@app.command
def explore(
    fit: Fit,
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="The page, HTML; it needs no network.")
    ] = Path("explore.html"),
    forecast: Annotated[
        tuple[Path, ...],
        Parameter(
            show_default=False,
            help="Folder of a forecast with this fit, which goes on with the stocks; may be "
            "repeated.",
        ),
    ] = (),
    overwrite: Overwrite = False,
) -> None:
    """Make one page to move a parameter along its posterior and see stocks and profiles change."""
    use_device("cpu")
    from calibration.explore import explore_fit

    explore_fit(fit, output, forecast, overwrite)


def _chains_of(fit: Path) -> int:
    """Chains of a fit, which a refit runs side by side; 2 where it does not say."""
    try:
        content = json.loads((fit / "fit.json").read_text(encoding="utf-8"))
        chains = content.get("options", content)["chains"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 2  # what is wrong with the folder is said when it is read
    return chains if isinstance(chains, int) and 1 <= chains <= MOST_CHAINS else 2

"""`jensen fit`: one model, one posterior, its certificate and report."""

import dataclasses
import datetime
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jensen._cli.models import Loaded, load_model
from jensen._cli.setup import configure
from jensen._cli.show import show_fit, show_place
from jensen.core import Fit, InputError, StopCode, UnknownName
from jensen.core.random import POSTERIOR, stream
from jensen.core.storage import CHECKPOINT, check_folder


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for, as given."""

    model: str
    data: str | None = None
    method: str = "auto"
    out: str | None = None
    seed: int = 0
    steps: int | None = None
    time_limit: float | None = None
    family: str = "gaussian"
    prior: Sequence[str] = ()
    missing: str = "error"
    overwrite: bool = False
    log: str | None = None
    log_file: str | None = None


def fit_command(request: Request) -> int:
    """Check all, fit, show, write. Returns the exit code: 0, or 130 if the user stopped it (and all is kept).

    The run is saved within the folder until the fit is written. A command that was killed, or stopped by SIGTERM (exit
    code 0 once the chunk in work is saved), goes on from there when it is given again with `--out`.
    """
    check_seed(request.seed)
    if request.time_limit is not None and not request.time_limit > 0:
        raise InputError(f"--time-limit must be a positive number of seconds, got {request.time_limit}")
    if request.steps is not None and request.steps < 1:
        raise InputError(f"--steps must be a positive whole number, got {request.steps}")
    check_log(request)
    folder = check_folder(request.out or free_folder(request.model), request.overwrite)
    configure()
    algorithm = chosen(request.method)
    if algorithm is None and request.steps is not None:
        raise InputError("--steps belongs to one method: add --method NAME, or limit the autopilot by --time-limit")
    from jensen._run.signals import watched

    with watched() as watch:
        loaded = load_model(request.model, request.data, request.family, request.prior, request.missing)
        fit = _resumed(loaded.target, algorithm, request, folder)
        if watch.asked:
            return say_stopped(folder / CHECKPOINT, folder)
        fit = complete(fit, loaded, request)
        show_fit(fit)
        write(fit, folder, request.overwrite)
        show_place(folder)
    return 130 if any(run.stop is StopCode.INTERRUPTED for run in fit.runs) else 0


def check_seed(seed: int) -> None:
    """Raise `InputError` for a seed that JAX would not take."""
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed must lie between 0 and 2147483647, got {seed}")


def chosen(method: str) -> Any:
    """The algorithm of this name, None for the autopilot."""
    from jensen.algorithms._registry import algorithm_named

    return None if method.lower() == "auto" else algorithm_named(method)


def _resumed(target: Any, algorithm: Any, request: Request, folder: Path) -> Fit:
    """The fit, gone on with where the folder holds the same one unfinished; `--overwrite` drops another one."""
    from jensen._run.checkpoint import OtherRun

    checkpoint, progress = folder / CHECKPOINT, listeners(request, folder)
    arguments = (target, algorithm, request.seed, request.steps, request.time_limit, checkpoint, progress)
    try:
        return infer(*arguments)
    except OtherRun:
        if not request.overwrite:
            raise
    shutil.rmtree(checkpoint)
    return infer(*arguments)


def say_stopped(checkpoint: Path, folder: Path) -> int:
    """Tell who stopped the command by SIGTERM where its work is. Returns the exit code."""
    print(
        f"jensen: stopped by SIGTERM; the work is saved in {checkpoint}: the same command with --out {folder} goes on",
        file=sys.stderr,
    )
    return 0


def check_log(request: Request) -> None:
    """Raise `InputError` for a log that cannot be written."""
    if request.log not in (None, "jsonl"):
        raise UnknownName("format of a log", request.log, ["jsonl"])
    if request.log_file is not None:
        if request.log is None:
            raise InputError("--log-file belongs to --log jsonl: add it")
        place = Path(request.log_file).absolute()
        if place.is_dir() or not place.parent.is_dir():
            raise InputError(f"--log-file {request.log_file}: give a file in a folder that exists")


def listeners(request: Request, folder: Path) -> Any:
    """Who is told of the run: `progress.jsonl` in the folder always, the log if asked for, else a bar on a terminal.

    The log goes to a file or to standard error, where it has no bar beside it; standard output is the result's.
    """
    from jensen.progress import FILE, JsonLines, Several, listener

    kept = JsonLines(folder / FILE, interval=0.25, share=1e-3, fresh=True)
    if request.log is None:
        return Several(kept, listener(None))
    if request.log_file is None:
        return Several(kept, JsonLines(sys.stderr))
    return Several(kept, JsonLines(request.log_file, fresh=True), listener(None))


def infer(
    target: Any,
    algorithm: Any,
    seed: int,
    steps: int | None = None,
    time_limit: float | None = None,
    checkpoint: Path | None = None,
    progress: Any = None,
) -> Fit:
    """Run the algorithm, or the autopilot where it is None."""
    import jax

    key = jax.random.key(seed)
    if algorithm is None:
        from jensen._ladder import fit

        return fit(target, key=key, time_limit=time_limit, checkpoint=checkpoint, progress=progress)
    from jensen._run import run

    return run(algorithm, target, key=key, steps=steps, time_limit=time_limit, checkpoint=checkpoint, progress=progress)


def complete(fit: Fit, loaded: Loaded, request: Request) -> Fit:
    """The fit with predictive draws and the record of where it comes from."""
    import jax

    from jensen.core.predictive import posterior_predictive

    replicated, observed = fit.predictive, fit.observed
    if not replicated:
        key = stream(jax.random.key(request.seed), POSTERIOR)
        replicated, observed = posterior_predictive(fit.posterior, loaded.target, key)
    about = {
        "model": loaded.title,
        "command": command_line(request),
        "method": request.method,
        "seed": request.seed,
        "data": loaded.data,
        "labels": loaded.labels,
        "priors": loaded.priors,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "precision": "double" if jax.config.read("jax_enable_x64") else "single",
        "machine": f"{platform.system()} {platform.machine()}, {jax.default_backend()}",
        "versions": versions(),
    }
    return dataclasses.replace(fit, info=fit.info | about, predictive=replicated, observed=observed)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("jensen", "jax", "numpyro", "blackjax", "flowjax", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a source tree that was never installed
            continue
    return found


def command_line(request: Request) -> str:
    """The command that makes this fit again."""
    parts = ["jensen", "fit", request.model]
    default = Request(request.model)
    for field in dataclasses.fields(request)[1:]:
        value, name = getattr(request, field.name), f"--{field.name.replace('_', '-')}"
        if field.name == "seed":
            parts += [name, str(value)]
        elif field.name == "prior":
            parts += [part for prior in value for part in (name, prior)]
        elif value != getattr(default, field.name) and field.name not in ("out", "overwrite", "log", "log_file"):
            parts += [name, str(value)]
    return shlex.join(parts)


def free_folder(model: str) -> Path:
    """`jensen-MODEL`, or the first of `jensen-MODEL-2`, `-3` ... that does not exist."""
    stem = Path(model.rpartition(":")[0]).stem + "-" + model.rpartition(":")[2] if ".py:" in model else model
    name = "jensen-" + (re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-") or "fit")[:60]
    path, n = Path(name), 1
    while path.exists():
        n += 1
        path = Path(f"{name}-{n}")
    return path


def write(fit: Fit, folder: Path, overwrite: bool) -> None:
    """The fit, its report and its draws for ArviZ, all in `folder`."""
    from jensen.core._arviz import write_netcdf
    from jensen.report import write_report

    fit.save(folder, overwrite=overwrite)
    write_report(fit, folder / "report.html")
    write_netcdf(fit.to_arviz(num_draws=4000), folder / "posterior.nc")


def report_command(folder: str) -> int:
    """`jensen report DIR`: write the report of a saved fit again."""
    configure()
    from jensen.core.storage import load_fit
    from jensen.report import write_report

    path = write_report(load_fit(folder), Path(folder) / "report.html")
    print(path, file=sys.stdout)
    return 0

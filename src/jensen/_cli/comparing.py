"""`jensen compare`: several methods on one model."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jensen._cli.fitting import Request, check_seed, chosen, infer
from jensen._cli.models import load_model
from jensen._cli.setup import configure
from jensen._cli.show import console
from jensen.core import InputError, JensenError
from jensen.core._plain import dumps
from jensen.core.files import write_atomic
from jensen.core.storage import check_folder


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one method came to. `error`: the largest |median - truth| in robust sd of the truth, NaN where not known."""

    method: str
    seconds: float = math.nan
    certified: bool = False
    khat: float = math.nan
    ess: float = math.nan
    elbo: float = math.nan
    error: float = math.nan
    failure: str = ""


def compare_command(request: Request, methods: str) -> int:
    """Run each method, print the table, write `compare.json` and `compare.svg` to --out. A failure is a row."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise InputError("--methods needs names divided by commas, as in --methods laplace,batch-match,auto")
    check_seed(request.seed)
    folder = check_folder(request.out, request.overwrite) if request.out else None
    configure()
    algorithms = {name: chosen(name) for name in names}
    loaded = load_model(request.model, request.data, request.family, request.prior, request.missing)
    truth = _truth(request.model)
    outcomes = [_one(name, algorithm, loaded.target, request, truth) for name, algorithm in algorithms.items()]
    _show(outcomes)
    if folder is not None:
        _write(folder, loaded.title, outcomes)
        console().print(f"Written to {folder}")
    return 0


def _one(name: str, algorithm: Any, target: Any, request: Request, truth: Callable[[Any], float] | None) -> Outcome:
    import jax

    try:
        fit = infer(target, algorithm, request.seed, None if algorithm is None else request.steps, request.time_limit)
    except JensenError as error:
        return Outcome(name, failure=str(error))
    certificate, seconds = fit.certificate, sum(run.seconds for run in fit.runs)
    numbers = {n: getattr(certificate, n) for n in ("khat", "ess", "elbo")} if certificate else {}
    numbers = {n: math.nan if value is None else value for n, value in numbers.items()}
    error = math.nan if truth is None else truth(fit.posterior.sample(jax.random.key(request.seed), 4000))
    done = Outcome(name, seconds, bool(certificate and certificate.passed), error=error)
    return dataclasses.replace(done, **numbers)


def _truth(model: str) -> Callable[[Any], float] | None:
    """The error of draws against the reference draws of a posterior of posteriordb; None for any other model."""
    if "~" in model or ".py" in model:
        return None
    import numpy as np

    from jensen.targets._posteriordb import flatten, reference

    draws = reference(model).flat
    draws = draws.reshape(-1, draws.shape[-1])
    low, middle, high = np.quantile(draws, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / 1.349
    moving = spread > 0

    def error(values: Any) -> float:
        mine = np.median(flatten(model, {name: np.asarray(value) for name, value in values.items()}), 0)
        return float(np.max(np.abs(mine - middle)[moving] / spread[moving]))

    return error


def _show(outcomes: list[Outcome]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "method",
        "seconds",
        "certificate",
        "k-hat",
        "ess",
        "ELBO",
        "error, sd",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for column in (1, 3, 4, 5, 6):
        table.columns[column].justify = "right"
    for o in outcomes:
        if o.failure:
            table.add_row(Text(o.method), "-", Text(o.failure))
            continue
        numbers = [_number(o.khat, ".2f"), _number(o.ess, ".0f"), _number(o.elbo, ".2f"), _number(o.error, ".2f")]
        table.add_row(Text(o.method), f"{o.seconds:.2f}", "certified" if o.certified else "not certified", *numbers)
    out = console()
    out.print(table)
    out.print(Text("seconds include compilation; error: the worst median, in sd of the reference draws", "dim"))


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _write(folder: Path, title: str, outcomes: list[Outcome]) -> None:
    from jensen.plots import comparison, to_svg

    ran = [o for o in outcomes if not o.failure]
    plain = {"model": title, "methods": [dataclasses.asdict(o) for o in outcomes]}
    write_atomic(folder / "compare.json", dumps(plain).encode())
    if ran:
        known = any(not math.isnan(o.error) for o in ran)
        quality = [o.error if known else o.khat for o in ran]
        words = "Error of the worst median, in sd" if known else "Pareto k-hat (below 0.7)"
        figure = comparison(
            [o.method for o in ran], [o.seconds for o in ran], [o.certified for o in ran], quality, words
        )
        write_atomic(folder / "compare.svg", to_svg(figure).encode())

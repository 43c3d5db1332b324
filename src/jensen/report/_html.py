"""A fit as one HTML file: no script, no link, nothing loaded from anywhere."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from jensen.core import Fit
from jensen.core.files import write_atomic
from jensen.core.support import describe
from jensen.report._figures import figures
from jensen.report._summary import fit_draws, is_internal, summarise
from jensen.report._words import check_rows, evidence, story, verdict

MAX_ROWS = 400  # of the summary table


def write_report(fit: Fit, path: str | Path) -> Path:
    """Write the report of `fit` to the HTML file `path`, atomically. Raises `StorageError` if it cannot be written."""
    path = Path(path)
    write_atomic(path, render_report(fit).encode())
    return path


def render_report(fit: Fit) -> str:
    """The report as HTML text. Every name and note is escaped; a strict content policy forbids scripts and requests."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("jensen.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    draws = fit_draws(fit)
    rows = summarise(fit, draws)
    shown = {
        section: [(Markup(svg), caption) for svg, caption in parts] for section, parts in figures(fit, draws).items()
    }
    style = Markup(environment.loader.get_source(environment, "style.css")[0])  # pyright: ignore[reportOptionalMemberAccess]
    return environment.get_template("template.html").render(
        title=str(fit.info.get("model") or "Jensen fit"),
        style=style,
        verdict=verdict(fit.certificate),
        reasons=fit.certificate.reasons if fit.certificate else (),
        blind_to=fit.certificate.blind_to if fit.certificate else (),
        checks=check_rows(fit.certificate),
        evidence=evidence(fit.certificate),
        story=story(fit),
        tables=_tables(rows, draws),
        more_rows=max(0, len(rows) - MAX_ROWS),
        chains=any(row.ess is not None for row in rows),
        figures=shown,
        runs=[_run(run) for run in fit.runs],
        priors=str(fit.info.get("priors") or ""),
        unknowns=[
            (v.name, str(v.shape) if v.shape else "scalar", describe(v.support)) for v in fit.posterior.space.variables
        ],
        dimension=fit.posterior.space.dimension,
        posterior=getattr(fit.posterior, "origin", "") or type(fit.posterior).__name__,
        reproduce=_reproduce(fit.info),
        command=str(fit.info.get("command") or ""),
    )


def _tables(rows: list[Any], draws: Any) -> list[dict[str, Any]]:
    """Rows in two tables, those of the model's own unknowns and those of internal ones; sites in groups."""
    out = []
    for internal in (False, True):
        kept = [row for row in rows[:MAX_ROWS] if is_internal(row.site, draws) is internal]
        groups = [(site, [_cells(r) for r in part]) for site, part in itertools.groupby(kept, key=lambda r: r.site)]
        if groups:
            out.append({"internal": internal, "groups": groups, "size": len(kept)})
    return out


def _cells(row: Any) -> dict[str, Any]:
    numbers = [row.text(v) for v in (row.mean, row.sd, row.q05, row.q50, row.q95)]
    ess = "-" if row.ess is None or not math.isfinite(row.ess) else f"{row.ess:.0f}"
    return {"label": row.label, "numbers": numbers, "ess": ess, "poor": row.ess is not None and row.ess < 400}


def _run(run: Any) -> dict[str, Any]:
    settings = ", ".join(f"{name} {_setting(value)}" for name, value in run.settings.items())
    certificate = run.certificate
    failed = [] if certificate is None else [c.name for c in certificate.checks if c.holds is False]
    told = all(name in run.verdict for name in failed)
    notes = list(run.notes) + ([f"failed: {', '.join(failed)}"] if failed and not told else [])
    last = run.history.objective[np.isfinite(run.history.objective)][-1:]
    return {
        "name": run.algorithm,
        "steps": run.steps,
        "seconds": f"{run.seconds:.2f}",
        "stop": run.stop.words,
        "objective": f", last objective {last[0]:.4g}" if len(last) else "",
        "verdict": run.verdict or ("certified" if certificate is not None and certificate.passed else "-"),
        "notes": notes,
        "settings": settings,
    }


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{n} {_setting(v)}" for n, v in value.items() if n != "class")
        return f"{value.get('class', '')}({inner})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _reproduce(info: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of what is recorded of where the fit comes from."""
    out = []
    for name, words in (
        ("seed", "seed"),
        ("method", "method"),
        ("created", "made"),
        ("precision", "precision"),
        ("machine", "machine"),
    ):
        if info.get(name) is not None:
            out.append((words, str(info[name])))
    data = info.get("data")
    if isinstance(data, dict):
        out += [(f"data: {name}", str(value)) for name, value in data.items() if value is not None]
    versions = info.get("versions")
    if isinstance(versions, dict):
        out.append(("versions", ", ".join(f"{name} {value}" for name, value in versions.items())))
    return out

"""Fits on a terminal."""

from pathlib import Path
from typing import Any

MAX_ROWS = 30
# A name may hold what a terminal obeys: colours, cursor moves, titles, text that runs backwards.
_OBEYED = {n: f"\\x{n:02x}" for n in (*range(9), *range(11, 32), *range(127, 160))}
_OBEYED |= {n: f"\\u{n:04x}" for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def harmless(words: str) -> str:
    """`words` with the characters that a terminal obeys spelled out."""
    return words.translate(_OBEYED)


def _text(words: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(harmless(words), style)


def console() -> Any:
    """Standard output, by rich: plain text where it is not a terminal."""
    from rich.console import Console

    wide = Console(highlight=False, markup=False)
    return wide if wide.is_terminal else Console(highlight=False, markup=False, width=max(wide.width, 110))


def show_fit(fit: Any) -> None:
    """Verdict, reasons, checks and the first rows of the summary."""
    from rich.table import Table

    from jensen.report import summarise
    from jensen.report._summary import fit_draws, is_internal
    from jensen.report._words import check_rows, evidence, story, verdict

    out, judged = console(), verdict(fit.certificate)
    style = {"good": "bold green", "bad": "bold red", "unknown": "bold yellow"}
    out.print(_text(judged.title, style[judged.tone]), _text(judged.meaning))
    for reason in fit.certificate.reasons if fit.certificate else ():
        out.print(_text(f"  - {reason}"))
    out.print(_text(story(fit), "dim"))
    checks = Table("check", "verdict", "value", "limit", box=None, pad_edge=False, header_style="dim")
    for c in check_rows(fit.certificate):
        checks.add_row(
            _text(c["name"]), _text(c["mark"], style[c["tone"]].removeprefix("bold ")), c["value"], c["limit"]
        )
    if checks.row_count:
        out.print(checks)
    for name, value in evidence(fit.certificate):
        out.print(_text(f"{name}: {value}"))
    draws = fit_draws(fit)
    rows = [row for row in summarise(fit, draws) if not is_internal(row.site, draws)]
    chains = any(row.ess is not None for row in rows)
    table = Table(
        "",
        *("mean", "sd", "5 %", "50 %", "95 %"),
        *(("ess",) if chains else ()),
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows[:MAX_ROWS]:
        numbers = [row.text(v) for v in (row.mean, row.sd, row.q05, row.q50, row.q95)]
        ess = [f"{row.ess:.0f}" if row.ess is not None else "-"] if chains else []
        table.add_row(_text(f"{row.site}[{row.label}]" if row.label else row.site), *numbers, *ess)
    out.print(table)
    if len(rows) > MAX_ROWS:
        out.print(_text(f"... and {len(rows) - MAX_ROWS} more rows, in the report", "dim"))


def show_place(folder: Path) -> None:
    """Where things were written."""
    out = console()
    out.print(_text(f"Written to {folder}"))
    out.print(
        _text(
            f"  report:   {folder / 'report.html'}\n"
            f"  python:   jensen.load({str(folder)!r})\n"
            f"  ArviZ:    {folder / 'posterior.nc'}"
        )
    )

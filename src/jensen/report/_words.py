"""The verdict in words."""

import dataclasses
from typing import Any

from jensen.core import Certificate, Fit


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`tone` is good, bad or unknown; a headline, and a sentence on what it means for the reader."""

    tone: str
    title: str
    meaning: str


def verdict(certificate: Certificate | None) -> Verdict:
    """What a reader should make of a certificate."""
    if certificate is None:
        return Verdict(
            "unknown",
            "Not checked",
            "No certificate was computed for this fit: nothing is known of how far it may be trusted.",
        )
    ran = [c for c in certificate.checks if c.holds is not None]
    if certificate.passed:
        words = f"{_count(len(ran), 'check')} ran on fresh evidence, and every one held. "
        return Verdict(
            "good",
            "Certified",
            words + "The means, spreads and intervals below may be used, within what the checks can see.",
        )
    failed = sum(not c.holds for c in ran)
    if failed:
        words = f"{failed} of {_count(len(ran), 'check')} failed. "
        words += "This is the best result that was found, not one to rely on yet."
        return Verdict("bad", "Not certified", words)
    return Verdict("unknown", "Not certified", "No check that could find it wrong applies to this kind of result.")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def story(fit: Fit) -> str:
    """One sentence on how the posterior came about."""
    if not fit.runs:
        return "No run is recorded."
    seconds = sum(run.seconds for run in fit.runs)
    last = fit.runs[-1]
    tried = f"{len(fit.runs)} methods tried, " if len(fit.runs) > 1 else ""
    winner = f"{last.algorithm} ({_count(last.steps, 'step')}): {last.stop.words}"
    return f"{tried}{seconds:.1f} s in all; this is the result of {winner}."


def check_rows(certificate: Certificate | None) -> list[dict[str, Any]]:
    """A dict a check for the table: mark, name, value, threshold, what it cannot see, source."""
    if certificate is None:
        return []
    rows = []
    for c in certificate.checks:
        error = f" ± {c.standard_error:.2g}" if 0 < c.standard_error < float("inf") else ""
        mark = {True: ("good", "holds"), False: ("bad", "fails"), None: ("unknown", "does not apply")}[c.holds]
        value = f"{_figures(c.value)}{error}" if c.value == c.value else "not a number" if c.holds is False else "-"
        limit = _figures(c.threshold) if c.holds is not None else "-"
        rows.append(
            {"tone": mark[0], "mark": mark[1], "name": c.name, "value": value, "limit": limit, "source": c.source}
        )
    return rows


def _figures(value: float) -> str:
    """Three figures, and whole numbers where there are more before the point."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def evidence(certificate: Certificate | None) -> list[tuple[str, str]]:
    """Summary numbers of a certificate, each with a name."""
    if certificate is None:
        return []
    out = []
    if certificate.elbo is not None:
        error = "" if certificate.elbo_standard_error is None else f" ± {certificate.elbo_standard_error:.2g}"
        out.append(("ELBO, nats", f"{certificate.elbo:.3f}{error}"))
    named = (
        ("log evidence, at least", certificate.evidence_lower),
        ("log evidence, at most", certificate.evidence_upper),
    )
    out += [(name, f"{value:.3f}") for name, value in named if value is not None]
    if certificate.khat is not None:
        out.append(("Pareto k-hat", f"{certificate.khat:.2f}"))
    if certificate.ess is not None:
        out.append(("effective draws", f"{certificate.ess:.0f} of {certificate.num_draws}"))
    return out

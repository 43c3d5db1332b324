"""Certificates: evidence, computed afterwards and from fresh draws, of how far a posterior may be trusted."""

from collections.abc import Iterable
from typing import Any

import equinox as eqx


class Check(eqx.Module):
    """One number held against one threshold.

    `holds`: True, False, or None where the check does not apply. `independent`: whether it sees errors that the
    training objective cannot (fresh draws, other starting points). `blind_to`: what it cannot see, in words. `advice`:
    what to do if it fails. `source`: where the threshold comes from.
    """

    name: str = eqx.field(static=True)
    value: float = eqx.field(static=True)
    standard_error: float = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    holds: bool | None = eqx.field(static=True)
    blind_to: str = eqx.field(static=True, default="")
    independent: bool = eqx.field(static=True, default=False)
    words: str = eqx.field(static=True, default="")
    advice: str = eqx.field(static=True, default="")
    source: str = eqx.field(static=True, default="")


class Certificate(eqx.Module):
    """All checks of a posterior, and the bounds on the log evidence that were measured on the way.

    `passed` only if every applicable check holds and at least one check independent of the training objective ran.
    `evidence_lower` and `evidence_upper` are filled by declared bounds only.
    """

    checks: tuple[Check, ...] = eqx.field(static=True)
    khat: float | None = eqx.field(static=True, default=None)
    ess: float | None = eqx.field(static=True, default=None)
    elbo: float | None = eqx.field(static=True, default=None)
    elbo_standard_error: float | None = eqx.field(static=True, default=None)
    evidence_lower: float | None = eqx.field(static=True, default=None)
    evidence_upper: float | None = eqx.field(static=True, default=None)
    num_draws: int = eqx.field(static=True, default=0)

    @property
    def passed(self) -> bool:
        """Whether every applicable check holds and one independent of the training objective was among them."""
        ran = [c for c in self.checks if c.holds is not None]
        return all(c.holds for c in ran) and any(c.independent for c in ran)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it did not pass, in plain words with what to do next; empty if it passed."""
        failed = [f"{c.words} {c.advice}".strip() for c in self.checks if c.holds is False]
        if not failed and not self.passed:
            failed.append(
                "No check that is independent of the training objective applies to this kind of result: it is "
                "uncertified. Use a method that gives a density or draws."
            )
        return tuple(failed)

    @property
    def blind_to(self) -> tuple[str, ...]:
        """What the checks that ran cannot see, each once."""
        return tuple(dict.fromkeys(c.blind_to for c in self.checks if c.holds is not None and c.blind_to))

    def __str__(self) -> str:
        lines = [f"certificate: {'PASSED' if self.passed else 'NOT PASSED'}"]
        mark = {True: "ok  ", False: "FAIL", None: "n/a "}
        for c in self.checks:
            error = (
                f" +- {c.standard_error:.2g}" if c.standard_error == c.standard_error and c.standard_error > 0 else ""
            )
            lines.append(f"  {mark[c.holds]} {c.name:<22} {c.value:.4g}{error}  (threshold {c.threshold:.4g})")
        lines.extend(f"  {reason}" for reason in self.reasons)
        return "\n".join(lines)


def merge(parts: Iterable[Certificate], **values: Any) -> Certificate:
    """One certificate with the checks of all `parts`; each summary number comes from the first part that has it."""
    parts = tuple(parts)
    summary: dict[str, Any] = {}
    for name in ("khat", "ess", "elbo", "elbo_standard_error", "evidence_lower", "evidence_upper"):
        summary[name] = next((getattr(p, name) for p in parts if getattr(p, name) is not None), None)
    summary["num_draws"] = max((p.num_draws for p in parts), default=0)
    return Certificate(tuple(c for p in parts for c in p.checks), **(summary | values))

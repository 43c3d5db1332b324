"""Certificates and runs as plain data and arrays, and back."""

from typing import Any

import equinox as eqx
import numpy as np

from jensen.core._pack_posterior import Arrays, take
from jensen.core.algorithm import StopCode
from jensen.core.certificate import Certificate, Check
from jensen.core.result import History, Run


def _fields(record: eqx.Module) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def pack_certificate(certificate: Certificate | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    return _fields(certificate) | {"checks": [_fields(c) for c in certificate.checks]}


def unpack_certificate(spec: Any) -> Certificate | None:
    if spec is None:
        return None
    checks = []
    for c in spec["checks"]:
        value, error, threshold = (float(c[name]) for name in ("value", "standard_error", "threshold"))
        holds = None if c["holds"] is None else bool(c["holds"])
        words = {name: str(c[name]) for name in ("blind_to", "words", "advice", "source")}
        checks.append(
            Check(str(c["name"]), value, error, threshold, holds, independent=bool(c["independent"]), **words)
        )
    names = [n for n in Certificate.__dataclass_fields__ if n not in ("checks", "num_draws")]
    numbers = {n: None if spec.get(n) is None else float(spec[n]) for n in names}
    return Certificate(tuple(checks), num_draws=int(spec["num_draws"]), **numbers)


def pack_run(run: Run, name: str, arrays: Arrays) -> dict[str, Any]:
    arrays |= {
        f"{name}/objective": np.asarray(run.history.objective),
        f"{name}/residual": np.asarray(run.history.residual),
    }
    arrays.update({f"{name}/scalar/{i}": np.asarray(v) for i, v in enumerate(run.history.scalars.values())})
    return {
        "algorithm": run.algorithm,
        "settings": run.settings,
        "stop": int(run.stop),
        "seconds": float(run.seconds),
        "notes": list(run.notes),
        "verdict": run.verdict,
        "certificate": pack_certificate(run.certificate),
        "scalars": list(run.history.scalars),
    }


def unpack_run(spec: Any, name: str, arrays: Arrays) -> Run:
    objective = take(arrays, f"{name}/objective", (None,), "f")
    residual = take(arrays, f"{name}/residual", (None,), "f")
    scalars = {str(n): take(arrays, f"{name}/scalar/{i}", None, "fiub") for i, n in enumerate(spec["scalars"])}
    return Run(
        str(spec["algorithm"]),
        dict(spec["settings"]),
        History(objective, residual, scalars),
        StopCode(spec["stop"]),
        float(spec["seconds"]),
        tuple(str(n) for n in spec["notes"]),
        str(spec["verdict"]),
        unpack_certificate(spec["certificate"]),
    )

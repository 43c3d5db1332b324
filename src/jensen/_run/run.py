"""`run`: one algorithm on one target, certified."""

import dataclasses
from pathlib import Path
from typing import Any

from jensen._run.driver import DEFAULT_CHUNK, drive
from jensen._run.stop import Plateau
from jensen.core import Fit, Noisy, Posterior, stream
from jensen.core.random import CERTIFY
from jensen.progress import Progress, listener


def run(
    algorithm: Any,
    target: Any,
    *,
    key: Any,
    steps: Any = None,
    start: Posterior | None = None,
    plateau: Plateau | None = None,
    time_limit: Any = None,
    chunk: int = DEFAULT_CHUNK,
    checkpoint: str | Path | None = None,
    progress: bool | Progress | None = None,
    certify: bool = True,
) -> Fit:
    """Run one algorithm on a target and certify what comes out.

    Args:
        algorithm: an instance of a class of `jensen.algorithms`, or of your own.
        target: the posterior to approximate, or a noisy version of it (`targets.Minibatched`) where the algorithm takes
        one.
        key: a typed JAX key; the same key gives the same result, bit for bit, whatever `chunk` is.
        steps: the limit of steps; the algorithm's own default where None.
        start: a posterior to begin from; else a point of finite density among 64 draws of `target.start`.
        plateau: stop (or cool down) when the noisy objective surely no longer improves; see `Plateau`.
        time_limit: seconds, looked at between chunks.
        chunk: steps a compiled call; one call must hold `chunk` records in memory.
        checkpoint: a folder; the run is saved there after each chunk and resumed from there.
        progress: show a bar, with steps a second and the time left; only on a terminal where None. Or who listens
        instead: anything that fulfils `jensen.progress.Progress`, such as `JsonLines` or `TensorBoard`.
        certify: compute the certificate, from draws that the run has not seen.

    Returns:
        A `Fit` with the posterior, the certificate (None if not asked for) and the one run.

    Raises:
        InputError: for settings or a start that do not fit.
        MissingCapability: if the target lacks what the algorithm needs.
        NonFiniteDensity: if the log density is not finite at any start.
        StorageError: if the checkpoint cannot be written or belongs to another run.
    """
    outcome = drive(
        algorithm,
        target,
        key=key,
        steps=steps,
        start=start,
        plateau=plateau,
        time_limit=time_limit,
        chunk=chunk,
        checkpoint=checkpoint,
        progress=progress,
    )
    if not certify:
        return Fit(outcome.posterior, None, (outcome.run,))
    from jensen.certificate import certify as certify_posterior

    exact = target.exact if isinstance(target, Noisy) else target
    certificate = certify_posterior(outcome.posterior, exact, stream(key, CERTIFY))
    listening = listener(False if isinstance(progress, bool) else progress)
    listening.certified(outcome.run.algorithm, certificate)
    verdict = "certified" if certificate.passed else "not certified"
    done = dataclasses.replace(outcome.run, verdict=verdict, certificate=certificate)
    return Fit(outcome.posterior, certificate, (done,))

"""`run`: one algorithm on one target, certified."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from jensen._run.ahead import DEFAULT_CHUNK
from jensen._run.devices import devices_of
from jensen._run.driver import drive
from jensen._run.stop import Plateau
from jensen.core import Fit, Posterior, StopCode, StorageError, Streams, check_needs, stream
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
    mesh: Any = None,
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
        time_limit: seconds of this call, looked at between chunks; one chunk is always run.
        chunk: steps a compiled call; one call must hold `chunk` records in memory.
        checkpoint: a folder; the run is saved there after each chunk, and the same call goes on from there, with the
            same result bit for bit. The two newest checkpoints are kept; a damaged one is found out by its checksum,
            and the run goes on from the one before, with a warning and a note. One run a folder.
        progress: show a bar, with steps a second and the time left; only on a terminal where None. Or who listens
        instead: anything that fulfils `jensen.progress.Progress`, such as `JsonLines` or `TensorBoard`.
        certify: compute the certificate, from draws that the run has not seen.
        mesh: devices to share the work: a `jax.sharding.Mesh`, "all" for those of this process, one device where None.
            Its axes say what is shared: `data` the rows of the target, `draws` the draws of a step and the particles,
            chains or restarts of the algorithm, `parameters` the coordinates of a family (the rows of a full-rank or
            low-rank factor, where their number allows). "all" takes `draws` where the devices can share the algorithm's
            chains equally, else `data` where there are rows. The same key gives the same result as one device, to
            rounding; it comes back as ordinary arrays. In several processes (`jax.distributed`) each makes the same
            call and has the same result; the first one alone reads and writes checkpoints.

    Returns:
        A `Fit` with the posterior, the certificate (None if not asked for) and the one run. Ctrl-C ends the run and
        hands back what there is, certified; so does SIGTERM once the chunk is finished and saved, with
        `StopCode.TERMINATED` and no certificate, since who sends it does not wait. Of several processes whichever gets
        it: they ask one another after each chunk, and all end at the same one.

    Raises:
        InputError: for settings or a start that do not fit.
        MissingCapability: if the target lacks what the algorithm needs.
        NonFiniteDensity: if the log density is not finite at any start.
        ProcessLost: if another process of a run over several has ended.
        StorageError: if the checkpoint cannot be written (the error's `kept` is then the fit so far, not certified, and
            the last checkpoint is whole), is of another run (the message names what differs: data, settings, key,
            versions, code), is damaged in both copies, or if another run is at work in its folder.
    """
    check_needs(algorithm, target)
    devices = devices_of(mesh, algorithm, target)
    try:
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
            mesh=devices,
        )
    except StorageError as error:
        if error.kept is not None:
            error.kept = Fit(error.kept.posterior, None, (error.kept.run,), shared=devices.several)
        raise
    if not certify or outcome.run.stop is StopCode.TERMINATED:
        return Fit(outcome.posterior, None, (outcome.run,), shared=devices.several)
    from jensen.certificate import certify as certify_posterior

    # where rows are read from disk, each process passes over its own, and computes the rest as the others do
    with contextlib.nullcontext() if isinstance(target, Streams) else devices.use():
        certificate = certify_posterior(outcome.posterior, devices.exact(target), stream(key, CERTIFY))
    listening = listener(False if isinstance(progress, bool) or not devices.writes else progress)
    listening.certified(outcome.run.algorithm, certificate)
    verdict = "certified" if certificate.passed else "not certified"
    done = dataclasses.replace(outcome.run, verdict=verdict, certificate=certificate)
    return Fit(outcome.posterior, certificate, (done,), shared=devices.several)

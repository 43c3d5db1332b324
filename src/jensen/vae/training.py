"""Train a latent variable model and its encoder on rows, by the loop that all algorithms share."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen._run import drive
from jensen.algorithms import AmortisedVI, ClosedUpdate, EarlyStopping, Refreshed
from jensen.core import BatchObjective, InputError, Objective, PointPosterior, PRNGKey, Run, check_key
from jensen.datasets.sources import RowSource
from jensen.objectives import NegativeElbo
from jensen.progress import Progress
from jensen.targets import Shuffled, Streamed
from jensen.vae.heads import SizedHead
from jensen.vae.model import latent_rows
from jensen.vae.objectives import SampledLikelihoodElbo
from jensen.vae.priors import closed_divergence
from jensen.vae.row_sources import column_of
from jensen.vae.vamp import TiedPrior, VampPrior

LARGEST_BATCH, SMALLEST_BATCH, BATCHES = 128, 16, 20  # an epoch of few rows should not be a handful of steps


class Trained(eqx.Module):
    """A trained model p(x, z), its conditional q(z | x), and the run that trained them."""

    model: Any
    conditional: Any
    run: Run


def default_objective(model: Any, conditional: Any, row: Float[Array, " n"]) -> Objective:
    """The ELBO with its divergence in closed form where that is known, else all by draws.

    By the `estimator` of q, where its class names one.
    """
    q = _family(conditional, row)
    if hasattr(type(q), "estimator"):
        return NegativeElbo(type(q).estimator)
    known = eqx.filter_eval_shape(closed_divergence, q, model.prior)
    return NegativeElbo() if known is None else SampledLikelihoodElbo()


def _family(conditional: Any, row: Float[Array, " n"]) -> Any:
    """The density of a row in shapes alone; where the head tells, without tracing the encoder for it."""
    head = getattr(conditional, "head", None)
    if isinstance(head, SizedHead):
        return eqx.filter_eval_shape(head.density, jax.ShapeDtypeStruct((head.context,), row.dtype))
    return eqx.filter_eval_shape(conditional.given, row)


def default_batch(rows: int) -> int:
    """A twentieth of the rows, at least 16 and at most 128, and never more than there are."""
    return min(rows, LARGEST_BATCH, max(SMALLEST_BATCH, rows // BATCHES))


def train(
    key: PRNGKey,
    model: Any,
    conditional: Any,
    X: Float[Array, "rows n"] | RowSource,
    *,
    held_out: Float[Array, "held n"] | None = None,
    objective: Objective | BatchObjective | None = None,
    closed: ClosedUpdate | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    warmup: float = 50.0,
    cooling: float = 0.3,
    patience: int = 10,
    dynamic: bool = False,
    checkpoint: str | Path | None = None,
    progress: bool | Progress | None = None,
    mesh: Any = None,
) -> Trained:
    """Maximise the sum over rows of a bound on log p(x) by `AmortisedVI`, on minibatches without replacement.

    Args:
        key: a typed JAX key; the same key gives the same result, bit for bit.
        model: a `LatentModel`, or `ConditionalModel`, trained from where it is.
        conditional: q(z | x), trained from where it is.
        X: rows; or a source of them (`datasets.open_rows`, `generate_rows`) with one column of vectors, read while it
            trains (`targets.Streamed`), for data larger than memory.
        held_out: rows on which the bound is looked at after each epoch; the best epoch is kept, and after `patience`
            epochs in vain training ends.
        objective: of a row; where None the ELBO, its divergence in closed form where that is known. With a `VampPrior`
            it is taken under the prior that follows the encoder (`TiedPrior`).
        closed: what is set by a formula between steps and not learned, such as `RunningScale` or `Relevance`.
        epochs: at most so many passes over X.
        batch_size: rows a step; where None a twentieth of the rows, at least 16 and at most 128.
        learning_rate: Adam's.
        warmup: steps over which it rises.
        cooling: share of the run, at its end, over which it falls to zero; 0 keeps it as it is.
        patience: see `held_out`.
        dynamic: values are probabilities, and rows are drawn anew at each visit.
        checkpoint: a folder; the run is saved there and resumed from there.
        progress: show a bar; only on a terminal where None.
        mesh: devices to share the rows of a step, as in `jensen.run`.

    Raises `InputError` for sizes that do not fit or an objective that is not finite at the start, `StorageError` for a
    checkpoint of another run.
    """
    check_key(key)
    if epochs < 1:
        raise InputError(f"epochs must be at least 1, got {epochs}")
    if not (0 < learning_rate < np.inf and 0 <= warmup < np.inf and 0 <= cooling <= 1):
        raise InputError(
            "learning_rate must be positive, warmup a number of steps of at least 0 and cooling a share of at most 1, "
            f"got {learning_rate}, {warmup} and {cooling}"
        )
    read = isinstance(X, RowSource)
    num_rows = X.num_rows if read else len(X)
    batch_size = default_batch(num_rows) if batch_size is None else batch_size
    if batch_size > num_rows:
        raise InputError(f"batch_size {batch_size} is more than the {num_rows} rows to train on: take a smaller one")
    if read:
        name = column_of(X)
        target = latent_rows(model, jnp.asarray(X.read(0, 0, 1)[name]), dynamic)
        batches: Any = Streamed(lambda rows: latent_rows(model, rows[name], dynamic), X, batch_size)
    else:
        target = latent_rows(model, X, dynamic)
        batches = Shuffled(target, batch_size)
    chosen = default_objective(model, conditional, target.data[0]) if objective is None else objective
    tied = isinstance(model.prior, VampPrior)
    if tied and not isinstance(chosen, TiedPrior):
        chosen = TiedPrior(chosen)
    algorithm: Any = AmortisedVI(conditional, chosen, learning_rate, warmup, cooling)
    if closed is not None:
        refreshed: Any = Refreshed
        algorithm = refreshed(algorithm, closed)
    start = PointPosterior(target.space, target.theta)
    if held_out is not None:
        stopping: Any = EarlyStopping
        algorithm = stopping(algorithm, latent_rows(model, held_out), batches.epoch, patience)
    outcome = drive(
        algorithm,
        batches,
        key=key,
        steps=epochs * batches.epoch,
        start=start,
        checkpoint=checkpoint,
        progress=progress,
        mesh=mesh,
    )
    first = outcome.run.history.objective[:1]
    if not np.all(np.isfinite(first)):
        raise InputError(
            f"The objective is {first[0]} before training: values lie outside the likelihood's support, or overflow; "
            "check and rescale the columns"
        )
    posterior: Any = outcome.posterior
    model = target.at(posterior.z)
    if tied:
        model = eqx.tree_at(lambda m: m.prior, model, model.prior.tied(posterior.conditional))
    return Trained(model, posterior.conditional, outcome.run)

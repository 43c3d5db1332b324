"""The linear variational autoencoder, whose optimum is known: probabilistic principal components."""

import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen._run import drive
from jensen.algorithms import Mode
from jensen.amortised import Encoded
from jensen.core import Compiled, InputError, PointPosterior, PRNGKey
from jensen.core.compiled import PASSES
from jensen.targets import from_log_density
from jensen.vae.heads import FullRank, MeanField
from jensen.vae.likelihoods import Gaussian
from jensen.vae.model import LatentModel, row_target
from jensen.vae.networks import LinearDecoder, SharedScale
from jensen.vae.objectives import ClosedGaussianElbo
from jensen.vae.priors import StandardNormal


class ProbabilisticPCA(eqx.Module):
    """x ~ N(W z + b, s I), z ~ N(0, I_k), at its maximum likelihood.

    `weight`: W = U_k (Lambda_k - s I)^1/2, (n, k), for the eigenvalues Lambda of the covariance (divided by the number
    of rows), largest first. `mean`: b. `noise`: s, the mean of the discarded eigenvalues. `eigenvalues`: (n,).
    `log_evidence`: of a row, in nats: -1/2 (n log 2 pi + sum log lambda_1..k + (n - k) log s + n).

    Source: Tipping and Bishop (1999), Probabilistic principal component analysis.
    """

    weight: Float[Array, "n k"]
    mean: Float[Array, " n"]
    noise: Float[Array, ""]
    eigenvalues: Float[Array, " n"]
    log_evidence: Float[Array, ""]

    def log_prob(self, x: Float[Array, " n"]) -> Float[Array, ""]:
        """log N(x; b, W W^T + s I)."""
        cov = self.weight @ self.weight.T + self.noise * jnp.eye(self.mean.shape[0])
        return jnp.asarray(jax.scipy.stats.multivariate_normal.logpdf(x, self.mean, cov))


def probabilistic_pca(X: np.ndarray | Array, k: int) -> ProbabilisticPCA:
    """Probabilistic PCA with k latents by an eigendecomposition. Raises `InputError` unless 1 <= k < columns."""
    rows = np.asarray(X, float)
    if rows.ndim != 2 or not 1 <= k < rows.shape[1]:
        raise InputError(f"Probabilistic PCA wants 1 <= k < columns of X, got k = {k} and X of shape {rows.shape}")
    n = rows.shape[1]
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = float(np.mean(values[k:]))
    if not noise > 0:
        raise InputError(f"X has rank {k} or less: nothing is left for the noise, and the likelihood has no maximum")
    weight = vectors[:, :k] * np.sqrt(np.maximum(values[:k] - noise, 0.0))
    spent = n * math.log(2 * math.pi) + np.sum(np.log(values[:k])) + (n - k) * math.log(noise) + n
    arrays = (jnp.asarray(a) for a in (weight, rows.mean(0), noise, values.copy(), -0.5 * spent))
    return ProbabilisticPCA(*arrays)


def linear_vae(
    key: PRNGKey, columns: int, k: int, full_rank: bool = False, scale: float = 1.0
) -> tuple[LatentModel, Encoded]:
    """A linear decoder with a learned noise scale and a linear encoder, with small random weights.

    The covariance of q(z | x) does not depend on x, as that of the exact posterior.
    """
    return _linear_vae(key, int(columns), int(k), bool(full_rank), jnp.asarray(math.log(scale), float))


@Compiled
def _linear_vae(
    key: PRNGKey, columns: int, k: int, full_rank: bool, log_scale: Float[Array, ""]
) -> tuple[LatentModel, Encoded]:
    key_decoder, key_encoder = jax.random.split(key)
    real = jnp.result_type(float)
    weight = jax.random.normal(key_decoder, (columns, k), real) / math.sqrt(columns)
    head = FullRank(k) if full_rank else MeanField(k)
    encoder = SharedScale(
        jax.random.normal(key_encoder, (k, columns), real) / math.sqrt(columns),
        jnp.zeros(k, real),
        jnp.zeros(head.context - k, real),
    )
    likelihood = Gaussian(log_scale)
    model = LatentModel(StandardNormal(k), LinearDecoder(weight, jnp.zeros(columns, real)), likelihood)
    return model, Encoded(encoder, head)


def closed_bound(model: Any, conditional: Any, X: Array, weight: Any = 1.0) -> Float[Array, ""]:
    """The mean over rows of the bound of `ClosedGaussianElbo`, in nats."""
    objective, key = ClosedGaussianElbo(weight=weight), jax.random.key(0)
    losses = jax.vmap(lambda x: objective.loss(key, conditional.given(x), row_target(model, x)).value)(X)
    return -jnp.mean(losses)


_closed_bound = Compiled(closed_bound, small=PASSES)


def fit_linear(
    model: Any, conditional: Any, X: np.ndarray | Array, weight: float = 1.0, steps: int = 3000
) -> tuple[Any, Any, float]:
    """A linear Gaussian model and its encoder where `closed_bound` is highest, and that bound, by L-BFGS.

    No noise enters, so that the optimum is met to many digits; minibatches and Adam take long to turn the latents'
    axes into those of the data, which a diagonal q wants.
    """
    example = model.partition()[0], eqx.filter(conditional, eqx.is_inexact_array)
    rest = model.partition()[1], eqx.filter(conditional, eqx.is_inexact_array, inverse=True)
    arrays, plain = eqx.partition(rest, eqx.is_array)
    made = maximised(_Bound(plain), example, arrays, jnp.asarray(X), jnp.asarray(weight, float), steps=steps)
    model, conditional = eqx.combine(made, rest)
    return model, conditional, float(_closed_bound(model, conditional, jnp.asarray(X), jnp.asarray(weight, float)))


def maximised(fn: Any, example: Any, *arrays: Any, steps: int = 3000) -> Any:
    """Where fn(tree, *arrays) is highest, by L-BFGS from `example`, a PyTree of arrays."""
    target = from_log_density(fn, example, *arrays)
    z = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(example)])
    outcome = drive(
        Mode(num_starts=1, tolerance=1e-14, memory=20),
        target,
        key=jax.random.key(0),
        steps=steps,
        start=PointPosterior(target.space, z),
        progress=False,
    )
    found: Any = outcome.posterior
    return _tree_of(target.space, target.layout, found.z)


@partial(Compiled, small=PASSES)
def _tree_of(space: Any, layout: Any, z: Float[Array, " d"]) -> Any:
    return layout.tree(space.split(z))


class _Bound(eqx.Module):
    """`closed_bound` summed over rows, as a function of the trainable parts; compared by its structure."""

    plain: Any = eqx.field(static=True)

    def __call__(self, trainable: Any, arrays: Any, X: Array, weight: Float[Array, ""]) -> Float[Array, ""]:
        model, conditional = eqx.combine(trainable, eqx.combine(arrays, self.plain))
        return len(X) * closed_bound(model, conditional, X, weight)


def posterior_collapse(eigenvalues: np.ndarray | Array, noise: float, weight: float = 1.0) -> np.ndarray:
    """Squared singular values max(0, lambda_i - beta s) of the decoder of an optimal linear VAE: zero is collapse.

    s = `noise`, held fixed; beta = `weight`. A unit whose data eigenvalue is below beta s carries nothing: q(z_i | x)
    is the prior at the optimum, however long the training.

    Source: Lucas et al. (2019); Dang, Tran, Nguyen and Ho (2024), Beyond vanilla variational autoencoders.
    """
    return np.maximum(0.0, np.asarray(eigenvalues, float) - weight * noise)

"""What the papers on images share: digits in [0, 1], parts of an autoencoder of them, how far draws are from them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.amortised import Encoded
from jensen.core import Compiled
from jensen.vae import LatentModel, MeanField, StandardNormal, perceptron_decoder, perceptron_encoder
from jensen.vae.likelihoods import Likelihood

_brief: Any = partial(Compiled, small=1_000_000)  # each runs once or twice


def digits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """1,437 rows to train on and 360 others, grey values in [0, 1], in an order of this seed."""
    images = np.asarray(jn.datasets.load("digits")["images"], float).reshape(-1, 64) / 16
    order = np.random.default_rng(seed).permutation(len(images))
    return images[order[:1437]], images[order[1437:]]


def parts(
    key: Any,
    X: np.ndarray,
    likelihood: Likelihood,
    latent: int,
    hidden: tuple[int, ...] = (64,),
    posterior: Callable[[Any, int], Any] = lambda key, size: MeanField(size),
) -> tuple[LatentModel, Encoded]:
    """An untrained model of X with perceptrons, and its encoder, in single precision."""
    key_decoder, key_encoder = jax.random.split(key)
    rows, head = jnp.asarray(X, jnp.float32), posterior(jax.random.fold_in(key, 2), latent)
    spread = jnp.where(rows.std(0) > 0, rows.std(0), 1.0)
    decoder = perceptron_decoder(key_decoder, latent, hidden, jnp.asarray(likelihood.initial(X), jnp.float32))
    encoder = perceptron_encoder(key_encoder, rows.mean(0), spread, hidden, head.context)
    return LatentModel(StandardNormal(latent), decoder, likelihood), Encoded(encoder, head)


@_brief
def codes(key: Any, conditional: Any, X: Any) -> tuple[Any, Any]:
    """(means of q(z | x), a draw of each), rows by latents."""
    keys = jax.random.split(key, len(X))
    return jax.vmap(lambda x, k: (conditional.given(x).mean_and_cov()[0], conditional.given(x).sample(k)))(X, keys)


@_brief
def decoded(model: LatentModel, Z: Any) -> Any:
    """E[x | z] of each."""
    return jax.vmap(model.reconstruct)(Z)


@_brief
def drawn(key: Any, model: LatentModel, n: int) -> Any:
    """E[x | z] of `n` draws from the prior."""
    return jax.vmap(lambda k: model.reconstruct(model.prior.sample(k)))(jax.random.split(key, n))


class Components:
    """Rows in the space of the leading principal components of X, and their Frechet distance to X's."""

    def __init__(self, X: np.ndarray, number: int = 20):
        self.mean = X.mean(0)
        self.axes = np.linalg.svd(X - self.mean, full_matrices=False)[2][:number].T
        self.reference = (X - self.mean) @ self.axes

    def distance(self, rows: Any) -> float:
        """Of `rows` (n, columns) to all of X."""
        return jn.metrics.frechet((np.asarray(rows, float) - self.mean) @ self.axes, self.reference)

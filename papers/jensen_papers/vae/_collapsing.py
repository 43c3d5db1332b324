"""Rows that the noise of a decoder hides: under the plain bound the latents collapse, and other objectives use them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.algorithms import AmortisedVI
from jensen.amortised import Encoded
from jensen.targets import Shuffled
from jensen.vae import (
    LatentModel,
    MeanField,
    StandardNormal,
    latent_rows,
    latent_use,
    perceptron_decoder,
    perceptron_encoder,
)
from jensen_papers.vae._linear import fixed
from jensen_papers.vae._training import train_each

ROWS, COLUMNS, K, NOISE = 256, 8, 2, 1.0


def clusters(rows: int = ROWS) -> np.ndarray:
    """Four clusters in a plane, of eigenvalues below the noise that the decoders are given."""
    rng = np.random.default_rng(0)
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    two = 0.8 * corners[rng.integers(4, size=rows)] + 0.2 * rng.normal(size=(rows, 2))
    return two @ np.linalg.qr(rng.normal(size=(COLUMNS, 2)))[0].T


def uses(objective: Any, steps: int, seeds: int = 5) -> dict[str, np.ndarray]:
    """Active units, mutual information, margins and joint divergence to the prior, log det Cov of q(z), of each key."""
    X = jnp.asarray(clusters())
    keys = jax.random.split(jax.random.key(0), 2)
    head = MeanField(K)
    encoder = perceptron_encoder(keys[0], X.mean(0), X.std(0), (16,), head.context)
    decoder = perceptron_decoder(keys[1], K, (16,), X.mean(0)[:, None])
    target = latent_rows(LatentModel(StandardNormal(K), decoder, fixed(NOISE)), X)
    algorithm: Any = AmortisedVI(Encoded(encoder, head), objective, learning_rate=1e-2)
    seen = jax.random.split(jax.random.key(1), seeds)
    states, _ = train_each(seen, algorithm, Shuffled(target, 64), steps, nothing, steps)
    found = {name: [] for name in ("units", "information", "margins", "joint", "log_det")}
    for i in range(seeds):
        conditional = jax.tree.map(lambda a, i=i: a[i] if eqx.is_array(a) else a, states.conditional)
        use = latent_use(jax.random.key(2), conditional, X, 256)
        found["units"].append(use.active_units)
        found["information"].append(float(use.mutual_information))
        found["margins"].append(float(use.marginals))
        found["joint"].append(float(use.aggregate))
        found["log_det"].append(float(np.linalg.slogdet(_cov(conditional, X))[1]))
    return {name: np.asarray(values, float) for name, values in found.items()}


@eqx.filter_jit
def _cov(conditional: Any, X: Any) -> Any:
    means, covs = jax.vmap(lambda x: conditional.given(x).mean_and_cov())(X)
    return jnp.cov(means, rowvar=False, bias=True) + jnp.mean(covs, 0)


def nothing(state: Any, target: Any) -> Any:
    """Nothing to watch."""
    return jnp.zeros(())

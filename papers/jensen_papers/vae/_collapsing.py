"""Binary digits under a decoder that sees all pixels before each: by itself it needs no latents, and they collapse."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.algorithms import AmortisedVI
from jensen.amortised import Encoded
from jensen.targets import Shuffled
from jensen.vae import (
    AutoregressiveBernoulli,
    LatentModel,
    MeanField,
    StandardNormal,
    causal_perceptron,
    latent_rows,
    latent_use,
    perceptron_decoder,
    perceptron_encoder,
)
from jensen_papers.vae._mixtures import binary_digits
from jensen_papers.vae._training import train_each

K, SEEDS, STEPS = 8, 5, 800
WORDS = (
    f"binary digits, decoder with a masked network over all pixels before each, {K} latents, {SEEDS} keys of network, "
    "row order and noise"
)


def uses(objective: Any, steps: int, *, each: bool = False) -> dict[str, np.ndarray]:
    """What the latents are used for after `steps` steps of 32 of 1,437 rows, of each key.

    `units`: active ones; `information`, of row and latents; `divergence` of a row; `margins` and `joint`, divergences
    of the aggregate posterior to the prior, in nats; `log_det` of the aggregate's covariance. `each`: the objective's
    arrays have a leading axis keys.
    """
    with jax.enable_x64(False):
        X = jnp.asarray(binary_digits(0)[0], jnp.float32)
        keys = jax.random.split(jax.random.key(0), SEEDS)
        objective = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32) if eqx.is_inexact_array(a) else a, objective)
        algorithms, targets = _begun(keys, objective, X, each)
        runs = jax.random.split(jax.random.key(1), SEEDS)
        states, _ = train_each(
            runs, algorithms, Shuffled(targets, 32), steps, _nothing, steps, stacked=True, hasty=False
        )
        found = {name: [] for name in ("units", "information", "divergence", "margins", "joint", "log_det")}
        for i in range(SEEDS):
            conditional = jax.tree.map(lambda a, i=i: a[i] if eqx.is_array(a) else a, states.conditional)
            use = latent_use(jax.random.key(2), conditional, X, 256)
            found["units"].append(use.active_units)
            found["information"].append(float(use.mutual_information))
            found["divergence"].append(float(np.sum(use.divergence)))
            found["margins"].append(float(use.marginals))
            found["joint"].append(float(use.aggregate))
            found["log_det"].append(float(np.linalg.slogdet(np.asarray(_cov(conditional, X), float))[1]))
    return {name: np.asarray(values, float) for name, values in found.items()}


@eqx.filter_jit
def _begun(keys: Any, objective: Any, X: Any, each: bool) -> tuple[Any, Any]:
    """Algorithms and targets, each key with networks of its own."""

    def one(key: Any, objective: Any) -> tuple[Any, Any]:
        key_causal, key_decoder, key_encoder = jax.random.split(key, 3)
        head, hidden = MeanField(K), (32,)
        shares = jnp.clip(X.mean(0), 0.01, 0.99)
        start = (jnp.log(shares) - jnp.log1p(-shares))[:, None]
        likelihood = AutoregressiveBernoulli(causal_perceptron(key_causal, X.shape[1], 128))
        model = LatentModel(StandardNormal(K), perceptron_decoder(key_decoder, K, hidden, start), likelihood)
        encoder = perceptron_encoder(key_encoder, X.mean(0), jnp.maximum(X.std(0), 0.1), hidden, head.context)
        algorithm: Any = AmortisedVI(Encoded(encoder, head), objective, learning_rate=1e-2)
        return algorithm, latent_rows(model, X)

    return eqx.filter_vmap(one, in_axes=(0, eqx.if_array(0) if each else None))(keys, objective)


@eqx.filter_jit
def _cov(conditional: Any, X: Any) -> Any:
    means, covs = jax.vmap(lambda x: conditional.given(x).mean_and_cov())(X)
    return jnp.cov(means, rowvar=False, bias=True) + jnp.mean(covs, 0)


def _nothing(state: Any, target: Any) -> Any:
    return jnp.zeros(())

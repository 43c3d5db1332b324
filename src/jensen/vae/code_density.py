"""A density fitted to the codes of a trained model, to draw from in place of its prior."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError
from jensen.families import GaussianMixture
from jensen.vae.model import LatentModel


def ex_post(model: LatentModel, codes: Float[Array, "rows k"] | np.ndarray, components: int = 10) -> LatentModel:
    """`model` with a mixture of `components` full Gaussians in place of its prior, fitted to `codes` by EM.

    For autoencoders without a prior, and for those whose codes do not look like the prior's draws. Give codes drawn
    from q(z | x), or its means for a deterministic model. Bounds on the evidence under the new prior are bounds for
    another model.

    Raises `InputError` for codes of another dimension, that are not finite, or fewer than components.

    Source: Ghosh, Sajjadi, Vergari, Black and Schoelkopf (2020), From variational to deterministic autoencoders.
    """
    Z = np.asarray(codes, float)
    if Z.ndim != 2 or Z.shape[1] != model.prior.dimension:
        raise InputError(f"Codes must have shape (rows, {model.prior.dimension}), got {Z.shape}")
    if not np.all(np.isfinite(Z)):
        raise InputError("Codes must be finite: training has diverged")
    if not 1 <= components <= len(Z):
        raise InputError(f"components must lie between 1 and the {len(Z)} codes, got {components}")
    try:
        from sklearn.mixture import GaussianMixture as Fitted
    except ImportError as error:  # the rest of the library does without it
        raise ImportError("ex_post fits by scikit-learn: pip install 'jensen[sklearn]'") from error
    fitted: Any = Fitted(components, random_state=0).fit(Z)
    real = jnp.result_type(float)
    tril = np.linalg.cholesky(fitted.covariances_)
    arrays = (jnp.asarray(a, real) for a in (np.log(fitted.weights_), fitted.means_, tril))
    return eqx.tree_at(lambda m: m.prior, model, GaussianMixture(*arrays))

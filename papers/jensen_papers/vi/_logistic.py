"""Bayesian logistic regression with its Gaussian variational objective, exact up to one-dimensional quadrature."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.families import Gaussian

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


class LogisticRegression:
    """y_i ~ Bernoulli(1 / (1 + exp(-x_i^T z))), z ~ N(0, I), with rows x_i ~ N(0, I) and data from the prior."""

    def __init__(self, num_rows: int, dimension: int, seed: int):
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=(num_rows, dimension))
        logits = self.x @ rng.normal(size=dimension)
        self.y = (rng.random(num_rows) < 1 / (1 + np.exp(-logits))).astype(float)

    @staticmethod
    def log_density(z: Any, x: Any, y: Any) -> Any:
        """log p(y, z) up to a constant, in nats."""
        logits = x @ z
        return y @ logits - jnp.sum(jax.nn.softplus(logits)) - 0.5 * z @ z

    def objective(self, q: Gaussian) -> float:
        """E_q[-log p] - H(q) in nats: each x_i^T z is Gaussian under q, so that 64 Gauss-Hermite nodes serve."""
        return float(_objective(q.mean, q.scale_tril, jnp.asarray(self.x), jnp.asarray(self.y)))

    def optimum(self) -> float:
        """The least objective over all Gaussians, by L-BFGS on mean and factor: no route of the library's."""
        from scipy.optimize import minimize

        d = self.x.shape[1]
        rows, columns = np.tril_indices(d)
        x, y = jnp.asarray(self.x), jnp.asarray(self.y)

        def value(parameters: Any) -> Any:
            tril = jnp.zeros((d, d)).at[rows, columns].set(parameters[d:])
            return _objective(parameters[:d], tril, x, y)

        begin = np.concatenate([np.zeros(d), 0.5 * np.eye(d)[rows, columns]])
        slope = jax.jit(jax.value_and_grad(value))
        found = minimize(
            lambda p: jax.tree.map(np.asarray, slope(p)), begin, jac=True, method="L-BFGS-B", options={"ftol": 1e-14}
        )
        return float(found.fun)


@jax.jit
def _objective(mean: Any, tril: Any, x: Any, y: Any) -> Any:
    centre, spread = x @ mean, jnp.linalg.norm(x @ tril, axis=1)
    weights = jnp.asarray(_WEIGHTS / _WEIGHTS.sum())
    softplus = jax.nn.softplus(centre[:, None] + spread[:, None] * jnp.asarray(_NODES)) @ weights
    energy = jnp.sum(softplus) - y @ centre + 0.5 * (mean @ mean + jnp.sum(tril**2))
    return energy - jnp.sum(jnp.log(jnp.abs(jnp.diagonal(tril)))) - 0.5 * len(mean) * (1 + jnp.log(2 * jnp.pi))

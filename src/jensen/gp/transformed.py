"""Many dependent non-stationary processes from one Gaussian process, for classification into many classes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, PRNGKey, Scalar, require, scalar_field
from jensen.gp._linalg import cholesky, solve_lower
from jensen.gp.kernels._fields import as_real, hyperparameter
from jensen.gp.kernels.stationary import as_rows

NODES = 24  # of Gauss-Hermite: one dimension, whatever the number of classes


class TransformedGP(eqx.Module):
    """f_c(x) = a sinh(b asinh(f_0(x)) - s) + t, (a, b, s, t)_c from a network at x; p(y = c | x) = softmax(f(x))_c.

    One Gaussian process f_0 ~ GP(0, k) drives the C logits, so that they depend on each other and E_q log p(y | f_0) is
    an integral in one dimension for any C. q(u) = N(L mean, L S L^T), S = root root^T, over the inducing values
    u = f_0(z), Kzz = L L^T: the cost of the process, O(n M^2 + M^3), does not grow with C. No Jacobian enters: the
    transformation is of the latent values, not of the data. Weights of the network have the prior N(0, weight_scale^2)
    and are estimated at a point.

    The network can carry a classification alone (f_0 = 0): compare with `predict(x, alone=True)`.

    Trained by `EvidenceTarget` of `bound`, for `Hyperparameters` knows all leaves. `z`: (M, d). `mean`: (M,). `scale`:
    (M, M), the root's strict lower part, and logarithms on the diagonal.

    Source: Maroñas and Hernández-Lobato (2023), Efficient transformed Gaussian processes for non-stationary dependent
    multi-class classification.
    """

    kernel: Any
    z: Float[Array, "m d"] = hyperparameter(real=True)
    mean: Float[Array, " m"] = hyperparameter(real=True)
    scale: Float[Array, "m m"] = hyperparameter(real=True)
    network: eqx.nn.MLP = eqx.field(kw_only=True, metadata={"real": True})
    weight_scale: Scalar = scalar_field(1.0, metadata={"fixed": True})

    @property
    def num_classes(self) -> int:
        """C."""
        return self.network.out_size // 4  # pyright: ignore[reportOperatorIssue]

    def latent(self, x: Any) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Mean and variance of f_0."""
        half = solve_lower(cholesky(self.kernel(self.z, self.z)), self.kernel(self.z, as_rows(x)))
        spread = jnp.sum((self.root().T @ half) ** 2, 0)
        return half.T @ self.mean, jnp.maximum(self.kernel(as_rows(x)) - jnp.sum(half**2, 0), 0.0) + spread

    def root(self) -> Float[Array, "m m"]:
        """The Cholesky factor of S."""
        return jnp.tril(self.scale, -1) + jnp.diag(jnp.exp(jnp.diagonal(self.scale)))

    def logits(self, f: Float[Array, "n q"], x: Float[Array, "n d"]) -> Float[Array, "n q c"]:
        """The logits of all classes at q values of f_0 for each input."""
        heads = jax.vmap(self.network)(x).reshape(x.shape[0], 1, self.num_classes, 4)
        a, b = jax.nn.softplus(heads[..., 0]), jax.nn.softplus(heads[..., 1])
        return a * jnp.sinh(b * jnp.arcsinh(f[..., None]) - heads[..., 2]) + heads[..., 3]

    def at_nodes(self, x: Any) -> tuple[Float[Array, "n q c"], Float[Array, " q"]]:
        """Log probabilities of the classes at the nodes of f_0, and the nodes' weights."""
        x = as_rows(x)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        mean, variance = self.latent(x)
        # the derivative of a root is infinite at 0
        f = mean[:, None] + jnp.sqrt(jnp.maximum(variance, 1e-12))[:, None] * nodes
        return jax.nn.log_softmax(self.logits(f, x)), jnp.asarray(weights / weights.sum(), x.dtype)

    @Compiled
    def predict(self, x: Any, alone: bool = False) -> Float[Array, "n c"]:
        """Probabilities of the classes at new inputs; with `alone` those of the network at f_0 = 0."""
        x = as_rows(x)
        if alone:
            return jax.nn.softmax(self.logits(jnp.zeros((x.shape[0], 1), x.dtype), x))[:, 0]
        logs, weights = self.at_nodes(x)
        return jnp.einsum("nqc,q->nc", jnp.exp(logs), weights)

    def divergence(self) -> Float[Array, ""]:
        """KL(q(u) || p(u)) in nats."""
        root = self.root()
        logs = jnp.sum(jnp.diagonal(self.scale))
        return 0.5 * (jnp.sum(root**2) + self.mean @ self.mean - len(self.mean)) - logs

    def bound(self, x: Any, y: Any, num_rows: int | None = None) -> Float[Array, ""]:
        """E_q log p(y | f_0, w) - KL(q(u) || p(u)) + log p(w) up to a constant, in nats; y are labels 0 .. C - 1.

        Where x and y are a batch of `num_rows` rows their sum is scaled by num_rows / batch.
        """
        logs, weights = self.at_nodes(x)
        picked = jnp.take_along_axis(logs, jnp.asarray(y, int)[:, None, None], 2)[..., 0]
        scale = 1.0 if num_rows is None else num_rows / picked.shape[0]
        leaves = jax.tree.leaves(eqx.filter(self.network, eqx.is_inexact_array))
        prior = -0.5 * sum(jnp.sum(leaf**2) for leaf in leaves) / self.weight_scale**2
        return scale * jnp.sum(picked @ weights) - self.divergence() + prior


@Compiled  # drawn eagerly, each array of weights would be several programs
def _network(key: PRNGKey, size: int, out: int, width: int) -> eqx.nn.MLP:
    network = eqx.nn.MLP(size, out, width, 1, key=key, activation=jnp.tanh)
    last = network.layers[-1]
    small = jax.tree.map(lambda a: 0.1 * a, (last.weight, last.bias))
    return eqx.tree_at(lambda n: (n.layers[-1].weight, n.layers[-1].bias), network, small)


def transformed_gp(
    key: PRNGKey, kernel: Any, z: Any, num_classes: int, width: int = 32, weight_scale: float = 1.0
) -> TransformedGP:
    """A `TransformedGP` to start from: q(u) the prior, a network of one hidden layer of `width` units.

    Its last layer starts small, so that all classes begin near a = b = log 2 and s = t = 0. Raises `InputError` for
    fewer than two classes or an empty network.
    """
    z = as_rows(as_real(z))
    require(num_classes >= 2, f"Two classes or more are wanted, got {num_classes}")
    require(width >= 1, f"The width must be 1 or more, got {width}")
    network = _network(key, z.shape[1], 4 * int(num_classes), int(width))
    m = z.shape[0]
    return TransformedGP(kernel, z, jnp.zeros(m), jnp.zeros((m, m)), network=network, weight_scale=weight_scale)

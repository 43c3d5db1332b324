"""Entropic optimal transport between rows and draws of the prior: autoencoders whose codes fill the prior."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, as_scalar, check_key
from jensen.vae.model import LatentModel

ANNEALED = 12  # rounds at falling eps before those that count


class Coupling(eqx.Module):
    """The entropic coupling of rows i and bank points j, each side with equal weights, in nats.

    `log_plan`: log pi_ij, (rows, bank), summing to one. `value`: E_pi[c] + eps KL(pi || rows x bank), the dual's value.
    `potentials`: u, (rows,); log pi_ij = (u_i + v_j - c_ij) / eps - log(rows bank). `error`: the largest deviation of a
    row's mass from 1 / rows, times rows; the bank's side is exact.
    """

    log_plan: Float[Array, "n m"]
    value: Float[Array, ""]
    potentials: Float[Array, " n"]
    error: Float[Array, ""]

    def draw(self, key: PRNGKey) -> Array:
        """For each row a bank point drawn from pi(. | row), (rows,) of indices."""
        return jax.random.categorical(key, self.log_plan, axis=1)


def couple(cost: Float[Array, "n m"], epsilon: Any = 1.0, tolerance: float = 1e-4, most: int = 1000) -> Coupling:
    """min over couplings pi of E_pi[c] + eps KL(pi || product of the margins), by Sinkhorn's rounds in logarithms.

    `cost`: c_ij. `epsilon`: eps > 0. Rounds end when every row's mass is right to a relative `tolerance`, or after
    `most`. O(n m) a round: both sides are held whole, a few thousand each. With m draws of the prior the value is a
    biased estimate of that with the prior itself: take many more than the prior's volume over a posterior's.

    Raises `InputError` for costs that are not finite, no matrix, or an epsilon that is not positive.

    Source: Cuturi (2013), Sinkhorn distances; in logarithms: Peyre and Cuturi (2019), Computational optimal transport.
    """
    _check(cost, epsilon)
    return _couple(cost, as_scalar(epsilon), as_scalar(tolerance), most)


def _check(cost: Any, epsilon: Any) -> None:
    if cost.ndim != 2 or 0 in cost.shape or not bool(np.all(np.isfinite(cost))):
        raise InputError(f"Costs must be finite, of shape (rows, bank), got {cost.shape}")
    if not float(epsilon) > 0:
        raise InputError(f"epsilon must be positive, got {float(epsilon):g}")


@eqx.filter_jit
def _couple(cost: Array, epsilon: Scalar, tolerance: Scalar, most: int) -> Coupling:
    n, m = cost.shape
    kernel = -cost / epsilon

    def bank(u: Array) -> Array:
        return jnp.log(n) - jax.nn.logsumexp(kernel + u[:, None], 0)

    def row(v: Array) -> Array:
        return jnp.log(m) - jax.nn.logsumexp(kernel + v, 1)

    def go(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        u, _, t = state
        moved = row(bank(u))
        # mass of a row under (u, v(u)) is exp(u - moved) / n
        return moved, jnp.max(jnp.abs(jnp.expm1(u - moved))), t + 1

    def on(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > tolerance) & (state[2] < most)

    start = annealed(cost, epsilon, ANNEALED) / epsilon, jnp.asarray(jnp.inf, cost.dtype), jnp.zeros((), jnp.int32)
    u, error, _ = jax.lax.while_loop(on, go, start)
    v = bank(u)
    log_plan = kernel + u[:, None] + v - jnp.log(n) - jnp.log(m)
    return Coupling(log_plan, epsilon * (jnp.mean(u) + jnp.mean(v)), epsilon * u, error)


def annealed(cost: Float[Array, "n m"], epsilon: Any, rounds: int) -> Float[Array, " n"]:
    """Potentials u of the rows after so many of Sinkhorn's rounds, eps halved from the costs' range down to `epsilon`.

    A few rounds come near where hundreds at a small eps would: far pairs are sorted out first.
    """
    widest = jnp.maximum(jnp.max(cost) - jnp.min(cost), epsilon)

    def go(u: Array, t: Array) -> tuple[Array, None]:
        eps = jnp.maximum(epsilon, widest * 0.5**t)
        v = -eps * (jax.nn.logsumexp((u[:, None] - cost) / eps, 0) - jnp.log(cost.shape[0]))
        return -eps * (jax.nn.logsumexp((v - cost) / eps, 1) - jnp.log(cost.shape[1])), None

    return jax.lax.scan(go, jnp.zeros(cost.shape[0], cost.dtype), jnp.arange(rounds))[0]


def semi_dual(
    key: PRNGKey, cost: Float[Array, "n m"], epsilon: Any = 1.0, steps: int = 2000, batch: int = 16
) -> Float[Array, " n"]:
    """Potentials u of the rows by averaged stochastic ascent of mean_i u_i + E_z f_u(z), f_u the soft minimum of c - u.

    f_u(z) = -eps log mean_i exp((u_i - c(x_i, z)) / eps); its slope in u_i is minus the share of row i at z. For banks
    too large to go through at each round: a step sees `batch` columns. The step length falls as eps n / (4 sqrt t), and
    the second half of the path is averaged.

    Raises `InputError` as `couple`.

    Source: Genevay, Cuturi, Peyre and Bach (2016), Stochastic optimization for large-scale optimal transport.
    """
    check_key(key)
    _check(cost, epsilon)
    return _ascend(key, cost, as_scalar(epsilon), steps, batch)


@eqx.filter_jit
def _ascend(key: PRNGKey, cost: Array, epsilon: Scalar, steps: int, batch: int) -> Array:
    n, m = cost.shape

    def one(state: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], None]:
        u, total = state
        columns = jax.random.randint(jax.random.fold_in(key, t), (batch,), 0, m)
        shares = jax.nn.softmax((u[:, None] - cost[:, columns]) / epsilon, axis=0)
        slope = 1 / n - jnp.mean(shares, 1)
        u = u + epsilon * n / (4 * jnp.sqrt(t + 1.0)) * slope
        return (u, total + jnp.where(t >= steps // 2, u, 0.0)), None

    zeros = jnp.zeros(n, cost.dtype)
    (_, total), _ = jax.lax.scan(one, (zeros, zeros), jnp.arange(steps))
    return total / (steps - steps // 2)


def semi_dual_value(potentials: Float[Array, " n"], cost: Float[Array, "n m"], epsilon: Any = 1.0) -> Float[Array, ""]:
    """mean_i u_i + mean_j f_u(z_j): a lower bound on `couple`'s value at any u, met at the best."""
    scaled = (potentials[:, None] - cost) / epsilon
    soft = -epsilon * (jax.nn.logsumexp(scaled, 0) - jnp.log(len(potentials)))
    return jnp.mean(potentials) + jnp.mean(soft)


def sinkhorn_divergence(x: Float[Array, "n d"], y: Float[Array, "m d"], epsilon: Any = 0.1) -> Float[Array, ""]:
    """S(x, y) = W(x, y) - W(x, x) / 2 - W(y, y) / 2, W the entropic cost of |a - b|^2 / 2: zero only where x = y.

    Raises `InputError` as `couple`.

    Source: Feydy et al. (2019), Interpolating between optimal transport and MMD using Sinkhorn divergences.
    """

    def entropic(a: Array, b: Array) -> Array:
        return couple(0.5 * jnp.sum((a[:, None] - b) ** 2, -1), epsilon).value

    return entropic(x, y) - 0.5 * entropic(x, x) - 0.5 * entropic(y, y)


@eqx.filter_jit
def coupling_cost(model: LatentModel, X: Float[Array, "n c"], Z: Float[Array, "m k"]) -> Float[Array, "n m"]:
    """c_ij = -log p(x_i | z_j), in nats; the decoder runs once a bank point."""
    raw = jax.vmap(model.decoder)(Z)
    return -jax.vmap(lambda x: jax.vmap(lambda r: model.likelihood.log_prob(x, r))(raw))(X)

"""A mixture of the images of a Gaussian under repeated Hamiltonian moves."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.families.augmented import Augmented
from jensen.families.gaussian import DiagonalGaussian

SHIFT = math.pi / 16  # of the pseudotime u a move: irrational, so that refreshments never repeat

Point = tuple[Float[Array, " d"], Float[Array, " d"], Float[Array, ""]]
Noise = tuple[Float[Array, " d"], Float[Array, " d"], Float[Array, ""], Int[Array, ""]]


class MixFlow(Augmented):
    """q_N = 1/N sum_{n<N} T^n # q_0 over s = (z, p, u): momentum p, Laplace(0, 1) in each coordinate; u in [0, 1).

    T is `num_leapfrog` leapfrog steps of the target's Hamiltonian dynamics without correction, then the momentum is
    moved along its own distribution by amounts that depend on z and u, and u by pi / 16. q_0 = `base` x Laplace x
    uniform. No part of T is learned: as N grows, q_N nears the target up to the error of the step size. T is invertible
    in closed form, so that along one backward orbit, with J_T the Jacobian,

        log q_N(s) = log 1/N sum_{n<N} q_0(T^-n s) / prod_{j=1..n} |J_T(T^-j s)|,     log r = log q_N(s) - log m(p).

    In floating point the inverse loses digits, and a chaotic orbit all of them; its density would be of another point,
    and bounds could exceed the evidence. So each draw goes back N - 1 moves and forth again; where it misses its place
    by more than `tolerance`, log r = inf: that draw has weight zero, and E[p / r] <= Z. `checked_elbo` gives the bound
    that is left. Single precision fails within a few moves, in most cases.

    `target`: whose log density T follows; its arrays are not trained. `step_size`: of the leapfrog, in units of z;
    choose it and the other settings on a grid, by `checked_elbo`. A draw costs (N - 1) L gradients of log p, its
    density twice as many. Not saved as a density, for it holds the target.

    Raises `InputError` for num_flows or num_leapfrog below 1, or a target of another dimension.

    Source: Xu, Chen and Campbell (2023), MixFlows: principled variational inference via mixed flows.
    """

    target: Any
    base: DiagonalGaussian
    step_size: Scalar = scalar_field(0.02)
    tolerance: Scalar = scalar_field(1e-6)
    num_flows: int = eqx.field(static=True, default=50)
    num_leapfrog: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        for name in ("num_flows", "num_leapfrog"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        d = self.target.space.dimension
        if self.base.dimension != d:
            raise InputError(f"The base has dimension {self.base.dimension}, the target {d}")

    @property
    def dimension(self) -> int:
        return self.base.dimension

    def partition(self) -> tuple["MixFlow", "MixFlow"]:
        """The base and the step size are trained."""
        wanted = jax.tree.map(lambda _: False, self)
        trained = lambda q: (q.base, q.step_size)  # noqa: E731
        return eqx.partition(self, eqx.tree_at(trained, wanted, jax.tree.map(lambda _: True, trained(self))))

    def noise(self, key: PRNGKey) -> Noise:
        """Standard normal for z, the first momentum and pseudotime, and the number of moves."""
        keys = jax.random.split(key, 4)
        d, real = self.dimension, self.base.mean.dtype
        momentum = jax.random.laplace(keys[1], (d,), real)
        n = jax.random.randint(keys[3], (), 0, self.num_flows)
        return jax.random.normal(keys[0], (d,), real), momentum, jax.random.uniform(keys[2], (), real), n

    def from_noise(self, eps: Noise) -> Float[Array, " d"]:
        return self._start_and_end(eps)[1][0]

    def from_noise_and_log_prob(self, eps: Noise) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        z, log_r, error = self.from_noise_and_log_prob_and_error(eps)
        return z, jnp.where(error <= self.tolerance, log_r, jnp.inf)

    def from_noise_and_log_prob_and_error(
        self, eps: Noise
    ) -> tuple[Float[Array, " d"], Float[Array, ""], Float[Array, ""]]:
        """z, log r as computed, and by how much the draw misses its place after N - 1 moves back and as many forth."""
        _, end = self._start_and_end(eps)
        log_q, first = self._log_density(end)
        again = jax.lax.stop_gradient(self._forward(first, jnp.asarray(self.num_flows - 1)))
        gap = jnp.abs(again[2] - end[2])
        errors = jnp.concatenate([again[0] - end[0], again[1] - end[1], jnp.minimum(gap, 1 - gap)[None]])
        error = jnp.max(jnp.abs(errors))
        return end[0], log_q - _log_laplace(end[1]), jnp.where(jnp.isnan(error), jnp.inf, error)

    def estimate_log_prob(self, key: PRNGKey, z: Float[Array, " d"], num_draws: int = 16) -> Float[Array, ""]:
        def one(key: PRNGKey) -> Float[Array, ""]:
            key_p, key_u = jax.random.split(key)
            p = jax.random.laplace(key_p, z.shape, z.dtype)
            return self._log_density((z, p, jax.random.uniform(key_u, (), z.dtype)))[0] - _log_laplace(p)

        return jax.nn.logsumexp(jax.vmap(one)(jax.random.split(key, num_draws))) - math.log(num_draws)

    def log_prob_augmented(self, z: Any, p: Any, u: Any) -> Float[Array, ""]:
        """log q_N(z, p, u), as computed, whatever the error of the inverse."""
        return self._log_density((z, p, u))[0]

    def _start_and_end(self, eps: Noise) -> tuple[Point, Point]:
        start = (self.base.from_noise(eps[0]), eps[1], eps[2])
        return start, self._forward(start, eps[3])

    def _forward(self, s: Point, n: Int[Array, ""]) -> Point:
        def move(s: Point, j: Int[Array, ""]) -> tuple[Point, None]:
            return _choose(j < n, self._move(s), s), None

        return jax.lax.scan(move, s, jnp.arange(self.num_flows - 1))[0]

    def _log_density(self, s: Point) -> tuple[Float[Array, ""], Point]:
        """log q_N(s) and T^-(N-1) s."""

        def back(carry: Any, _: None) -> tuple[Any, None]:
            s, log_jacobian, total = carry
            s, log_det = self._move_back(s)
            log_jacobian = log_jacobian + log_det
            return (s, log_jacobian, jnp.logaddexp(total, self._log_base(s) - log_jacobian)), None

        begin = (s, jnp.zeros_like(s[2]), self._log_base(s))
        (first, _, total), _ = jax.lax.scan(back, begin, None, self.num_flows - 1)
        return total - math.log(self.num_flows), first

    def _log_base(self, s: Point) -> Float[Array, ""]:
        return self.base.log_prob(s[0]) + _log_laplace(s[1])

    def _move(self, s: Point) -> Point:
        """T."""
        z, p = self._leapfrog(s[0], s[1], self.step_size)
        return z, _quantile((_cdf(p) + _amount(z, s[2])) % 1.0), (s[2] + SHIFT) % 1.0

    def _move_back(self, s: Point) -> tuple[Point, Float[Array, ""]]:
        """T^-1(s) and log |J_T| there."""
        u = (s[2] - SHIFT) % 1.0
        p = _quantile((_cdf(s[1]) - _amount(s[0], u)) % 1.0)
        log_det = _log_laplace(p) - _log_laplace(s[1])
        return (*self._leapfrog(s[0], p, -self.step_size), u), log_det

    def _leapfrog(self, z: Any, p: Any, step: Scalar) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        gradient = jax.grad(self.target.log_density)
        step = step.astype(z.dtype)
        p = p + 0.5 * step * gradient(z)

        def inner(carry: Any, last: Bool[Array, ""]) -> tuple[Any, None]:
            z, p = carry
            z = z + step * jnp.sign(p)
            return (z, p + jnp.where(last, 0.5, 1.0) * step * gradient(z)), None

        return jax.lax.scan(inner, (z, p), jnp.arange(self.num_leapfrog) == self.num_leapfrog - 1)[0]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MixFlow":
        raise InputError("A MixFlow holds its target and is saved as draws")


class CheckedElbo(eqx.Module):
    """A lower bound on the log evidence from draws that are checked, in nats, with its standard error.

    `share`: of draws that pass. `errors`: round-trip error of each draw, shape (n,). `log_weights`: log p - log r, -inf
    where the draw fails.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    share: Float[Array, ""]
    errors: Float[Array, " n"]
    log_weights: Float[Array, " n"]


@eqx.filter_jit
def checked_elbo(key: PRNGKey, q: MixFlow, target: Any, num_draws: int = 200) -> CheckedElbo:
    """E[log p - log r | the draw passes] + log P(it passes): the ELBO of q restricted to the draws that it can invert.

    The restricted distribution has density q / P on its set, whence the bound: it is at most the evidence of the target
    on that set. -inf where no draw passes.
    """

    def one(key: PRNGKey) -> tuple[Float[Array, ""], Float[Array, ""]]:
        z, log_r, error = q.from_noise_and_log_prob_and_error(q.noise(key))
        return target.log_density(z) - log_r, error

    log_weights, errors = jax.vmap(one)(jax.random.split(key, num_draws))
    passed = (errors <= q.tolerance) & ~jnp.isnan(log_weights)
    n = jnp.sum(passed)
    share = n / num_draws
    kept = jnp.where(passed, log_weights, 0.0)
    mean = jnp.sum(kept) / n
    variance = jnp.sum(jnp.where(passed, (kept - mean) ** 2, 0.0)) / (n - 1)
    # of the two terms: the mean over n draws, and log of a share (delta method)
    error = jnp.sqrt(variance / n + (1 - share) / (share * num_draws))
    value = jnp.where(n > 0, mean + jnp.log(share), -jnp.inf)
    return CheckedElbo(value, error, share, errors, jnp.where(passed, log_weights, -jnp.inf))


def _choose(condition: Bool[Array, ""], a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def _amount(z: Float[Array, " d"], u: Float[Array, ""]) -> Float[Array, " d"]:
    """By how much of its distribution a momentum is moved, in [0, 1]."""
    return 0.5 * (jnp.sin(2 * z + u) + 1)


def _log_laplace(p: Float[Array, " d"]) -> Float[Array, ""]:
    return -jnp.sum(jnp.abs(p)) - p.shape[0] * math.log(2)


def _cdf(p: Float[Array, " d"]) -> Float[Array, " d"]:
    tail = 0.5 * jnp.exp(-jnp.abs(p))
    return jnp.where(p < 0, tail, 1 - tail)


def _quantile(x: Float[Array, " d"]) -> Float[Array, " d"]:
    """Inverse of `_cdf`, at a positive distance from both ends."""
    x = jnp.clip(x, jnp.finfo(x.dtype).tiny, 1 - jnp.finfo(x.dtype).epsneg)
    return jnp.where(x < 0.5, jnp.log(2 * jnp.minimum(x, 0.5)), -jnp.log(2 * (1 - jnp.maximum(x, 0.5))))

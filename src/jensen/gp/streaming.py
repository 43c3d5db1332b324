"""Sequential learning with a sparse Gaussian process: dual parameters and a memory of past rows."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import Compiled, InputError, PRNGKey, Scalar, Sites, require, scalar_field
from jensen.gp._linalg import cholesky, jitter, solve_lower, solve_upper
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.likelihoods import Likelihood


class Duals(eqx.Module):
    """Sums over rows of their sites, seen from the inducing inputs: l = sum_i l_i k_Zi, Lam = sum_i p_i k_Zi k_Zi^T.

    Of q(u) the mean is Kzz (Kzz + Lam)^-1 l and the covariance Kzz (Kzz + Lam)^-1 Kzz. They add over rows.
    """

    linear: Float[Array, " m"]
    precision: Float[Array, "m m"]

    def plus(self, other: "Duals", sign: float = 1.0) -> "Duals":
        """These and those of other rows; with `sign` -1 without them."""
        return Duals(self.linear + sign * other.linear, self.precision + sign * other.precision)


class StreamingGP(eqx.Module):
    """A sparse Gaussian process that takes rows batch by batch and keeps a few of them.

    q(u) is held by `duals`. Rows that are kept (the first `kept` of `memory_x`, `memory_y`, which are filled up to a
    power of two) have a `ledger`: what they have contributed to the duals. When a batch comes, the inducing inputs
    move, the batch's contribution is added by natural-gradient steps of `rate`, and the memory's is taken out by the
    ledger, computed anew under the better posterior, and put back. For a Gaussian likelihood and inducing inputs that
    stand still the result is that of all rows at once, exactly.

    `kernel`, `likelihood` (of one latent function, log-concave: no precision of a site may be negative). `z`: inducing
    inputs, (m, d). `num_seen`: rows taken so far. A value: `update` gives a new one. Cost of a batch of b rows:
    O((b + memory) m^2 + m^3), free of the number of rows seen.

    Source: Chang, Verma, John, Solin and Khan (2023), Memory-based dual Gaussian processes for sequential learning.
    """

    kernel: Any
    likelihood: Likelihood
    z: Float[Array, "m d"]
    duals: Duals
    ledger: Duals
    memory_x: Float[Array, "k d"]
    memory_y: Float[Array, " k"]
    kept: Int[Array, ""]
    num_seen: Int[Array, ""]
    rate: Scalar = scalar_field(0.8)

    def update(
        self, key: PRNGKey, x: Any, y: Any, *, num_inducing: int | None = None, remember: int = 10, steps: int = 4
    ) -> "StreamingGP":
        """After one more batch of rows.

        `num_inducing`: inducing inputs afterwards, chosen greedily from the old ones and the batch's; the old ones stay
        where None. `remember`: rows of the batch to keep, drawn without replacement with probabilities proportional
        to their Bayesian leverage p_i var f_i. `steps`: natural-gradient steps for the batch, and for the memory.
        Raises `InputError` for inputs of another width, labels outside the likelihood's support or non-finite values.
        """
        x, y = self.checked(x, y)
        here = self if num_inducing is None else self.moved(self.chosen(x, num_inducing))
        here, sites = _absorbed(here, x, y, jnp.asarray(steps))
        remember = min(remember, len(y))
        return here if remember == 0 else _remembering(here.with_room(remember), key, x, y, sites, remember)

    def checked(self, x: Any, y: Any) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
        """Inputs and outputs of a batch as arrays. Raises `InputError`."""
        inputs = as_rows(np.asarray(x, float))
        width = self.z.shape[1]
        require(inputs.shape[1] == width, f"Inputs have {inputs.shape[1]} columns, the inducing inputs {width}")
        require(bool(np.all(np.isfinite(inputs))), "Inputs must be finite: there is a NaN or an infinity among them")
        outputs = self.likelihood.check(np.asarray(y))
        if len(outputs) != len(inputs):
            raise InputError(
                f"There are {len(inputs)} rows of inputs and {len(outputs)} outputs: one for each is wanted"
            )
        return jnp.asarray(inputs, self.z.dtype), jnp.asarray(outputs, self.z.dtype)

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Mean and variance of f at new inputs."""
        return self.predict_from(self.duals, as_rows(jnp.asarray(x, self.z.dtype)))

    def predict_from(self, duals: Duals, x: Float[Array, "n d"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """The same under the q(u) of other duals: k_xZ (Kzz + Lam)^-1 l, k_xx - k_xZ (Kzz^-1 - (Kzz + Lam)^-1) k_Zx."""
        prior, total = self.factors(duals)
        across = self.kernel(self.z, x)
        less, more = solve_lower(prior, across), solve_lower(total, across)
        mean = more.T @ solve_lower(total, duals.linear)
        return mean, self.kernel(x) - jnp.sum(less**2, 0) + jnp.sum(more**2, 0)

    def factors(self, duals: Duals) -> tuple[Float[Array, "m m"], Float[Array, "m m"]]:
        """Cholesky factors of Kzz and of Kzz + Lam."""
        prior = cholesky(self.kernel(self.z, self.z))
        return prior, jnp.linalg.cholesky(prior @ prior.T + duals.precision)

    def divergence(self) -> Float[Array, ""]:
        """KL(q(u) || p(u)) in nats."""
        prior, total = self.factors(self.duals)
        half = solve_lower(total, prior)
        mean = half.T @ solve_lower(total, self.duals.linear)
        logs = jnp.sum(jnp.log(jnp.diagonal(total))) - jnp.sum(jnp.log(jnp.diagonal(prior)))
        return 0.5 * (jnp.sum(half**2) + mean @ mean - len(mean)) + logs

    def sites(self, duals: Duals, x: Float[Array, "n d"], y: Float[Array, " n"]) -> Sites:
        """Undamped sites of rows: (g_i - h_i m_i, -h_i), g = d/dm and h = 2 d/dv of E_q log p(y_i | f_i)."""
        mean, variance = self.predict_from(duals, x)

        def total(mean: Array, variance: Array) -> Array:
            return jnp.sum(jax.vmap(self.likelihood.expected)(y, mean[:, None], variance[:, None, None]))

        slope, half = jax.grad(total, (0, 1))(mean, variance)
        return Sites((slope - 2 * half * mean)[:, None], -2 * half[:, None, None])

    def contribution(self, x: Float[Array, "n d"], sites: Sites) -> Duals:
        """What rows with these sites add to the duals."""
        across = self.kernel(self.z, x)
        return Duals(across @ sites.linear[:, 0], (across * sites.precision[:, 0, 0]) @ across.T)

    def fitted(self, others: Duals, x: Float[Array, "n d"], y: Float[Array, " n"], steps: Any) -> Sites:
        """Sites of new rows after `steps` natural-gradient steps from none, beside the duals of other rows."""
        sites = Sites(jnp.zeros((len(y), 1), x.dtype), jnp.zeros((len(y), 1, 1), x.dtype))

        def step(_: Any, sites: Sites) -> Sites:
            duals = others.plus(self.contribution(x, sites))
            return sites.moved(self.sites(duals, x, y), self.rate)

        return jax.lax.fori_loop(0, steps, step, sites)

    def refreshed(self, steps: Any) -> "StreamingGP":
        """With the memory's contribution taken out by the ledger, moved by `steps` steps, and put back."""
        others = self.duals.plus(self.ledger, -1.0)

        def step(_: Any, ledger: Duals) -> Duals:
            sites = self.remembered(self.sites(others.plus(ledger), self.memory_x, self.memory_y))
            wanted = self.contribution(self.memory_x, sites)
            return jax.tree.map(lambda a, b: a + self.rate * (b - a), ledger, wanted)

        ledger = jax.lax.fori_loop(0, steps, step, self.ledger)
        return eqx.tree_at(lambda s: (s.duals, s.ledger), self, (others.plus(ledger), ledger))

    def remembered(self, sites: Sites) -> Sites:
        """Sites of the memory's rows, none for the rows that only fill it up."""
        there = (jnp.arange(len(self.memory_y)) < self.kept)[:, None]
        return Sites(jnp.where(there, sites.linear, 0.0), jnp.where(there[:, None], sites.precision, 0.0))

    def with_room(self, num: int) -> "StreamingGP":
        """With places for `num` more rows in the memory."""
        size, least = len(self.memory_y), int(self.kept) + num
        if least <= size:
            return self
        wanted = 1 << (least - 1).bit_length()
        x, y = self.memory_x, self.memory_y
        fill = jnp.zeros((wanted - size, x.shape[1]), x.dtype)
        grown = (jnp.concatenate([x, fill]), jnp.concatenate([y, jnp.zeros(wanted - size, y.dtype)]))
        return eqx.tree_at(lambda s: (s.memory_x, s.memory_y), self, grown)

    def moved(self, z: Float[Array, "m2 d"]) -> "StreamingGP":
        """With other inducing inputs: l <- A^T l, Lam <- A^T Lam A, A = Kzz^-1 K(z, new); exact if the old stay."""
        prior = cholesky(self.kernel(self.z, self.z))
        a = solve_upper(prior, solve_lower(prior, self.kernel(self.z, z)))

        def along(duals: Duals) -> Duals:
            return Duals(a.T @ duals.linear, a.T @ duals.precision @ a)

        return eqx.tree_at(lambda s: (s.z, s.duals, s.ledger), self, (z, along(self.duals), along(self.ledger)))

    def chosen(self, x: Float[Array, "n d"], num: int) -> Float[Array, "m2 d"]:
        """Inducing inputs by a pivoted Cholesky factorisation over the old ones and x: the largest variance left."""
        return greedy_inputs(self.kernel, jnp.concatenate([self.z, x]), num)

    def learning_objective(self, kernel: Any, likelihood: Likelihood, x: Any, y: Any) -> Float[Array, ""]:
        """What hyperparameters are to make large, with the duals fixed, in nats.

        sum_B E_q log p(y | f) + (num_seen / kept) sum_memory E_q log p(y | f) - KL(q(u) || p(u)). Make a target of it
        by `targets.from_log_density` and climb by `algorithms.Mode`. The memory stands for all rows seen here, and
        only here.
        """
        here = eqx.tree_at(lambda s: (s.kernel, s.likelihood), self, (kernel, likelihood))

        def expected(x: Array, y: Array, count: Any) -> Array:
            mean, variance = here.predict(x)
            terms = jax.vmap(likelihood.expected)(y, mean[:, None], variance[:, None, None])
            return jnp.sum(jnp.where(jnp.arange(len(y)) < count, terms, 0.0))

        total = expected(as_rows(jnp.asarray(x)), jnp.asarray(y), len(y)) - here.divergence()
        if len(self.memory_y):
            total += self.num_seen / jnp.maximum(self.kept, 1) * expected(self.memory_x, self.memory_y, self.kept)
        return total


def streaming_gp(kernel: Any, likelihood: Likelihood, z: Any, rate: float = 0.8, capacity: int = 0) -> StreamingGP:
    """A `StreamingGP` that has seen nothing, with inducing inputs `z`.

    `capacity`: places for rows in the memory from the start; when they do not suffice they are doubled, and what is
    compiled for the old number is compiled again. Raises `InputError` for a likelihood of several latent functions.
    """
    require(likelihood.num_values == 1, f"{type(likelihood).__name__} sees several latent functions, and there is one")
    z = as_rows(jnp.asarray(z, jnp.result_type(float)))
    m = z.shape[0]
    none = Duals(jnp.zeros(m, z.dtype), jnp.zeros((m, m), z.dtype))
    room, outputs = jnp.zeros((capacity, z.shape[1]), z.dtype), jnp.zeros(capacity, z.dtype)
    return StreamingGP(kernel, likelihood, z, none, none, room, outputs, jnp.asarray(0), jnp.asarray(0), rate)


@eqx.filter_jit
def _absorbed(here: StreamingGP, x: Array, y: Array, steps: Array) -> tuple[StreamingGP, Sites]:
    """With a batch's contribution added and the memory's refreshed; and the batch's sites."""
    sites = here.fitted(here.duals, x, y, steps)
    duals = here.duals.plus(here.contribution(x, sites))
    here = eqx.tree_at(lambda s: (s.duals, s.num_seen), here, (duals, here.num_seen + len(y)))
    return (here.refreshed(steps) if len(here.memory_y) else here), sites


@eqx.filter_jit
def _remembering(here: StreamingGP, key: PRNGKey, x: Array, y: Array, sites: Sites, num: int) -> StreamingGP:
    """With `num` of these rows in the memory, and what they have contributed, by their `sites`, in the ledger."""
    _, variance = here.predict(x)
    score = jnp.maximum(sites.precision[:, 0, 0] * variance, jnp.finfo(variance.dtype).tiny)
    # the largest of log p_i + Gumbel noise: draws without replacement
    _, kept = jax.lax.top_k(jnp.log(score) + jax.random.gumbel(key, score.shape, score.dtype), num)
    own = Sites(sites.linear[kept], sites.precision[kept])
    return eqx.tree_at(
        lambda s: (s.memory_x, s.memory_y, s.kept, s.ledger),
        here,
        (
            jax.lax.dynamic_update_slice(here.memory_x, x[kept], (here.kept, jnp.zeros_like(here.kept))),
            jax.lax.dynamic_update_slice(here.memory_y, y[kept], (here.kept,)),
            here.kept + num,
            here.ledger.plus(here.contribution(x[kept], own)),
        ),
    )


def greedy_inputs(kernel: Any, x: Float[Array, "n d"], num: int) -> Float[Array, "m d"]:
    """The first `num` pivots of a Cholesky factorisation of the covariance at x: O(n m^2), the n x n matrix not formed.

    As many as there are rows with variance left above the jitter, if these are fewer; then not to be traced.
    """
    n, num = x.shape[0], min(num, x.shape[0])
    left, rows = kernel(x), jnp.zeros((num, n), x.dtype)
    floor = 10 * float(jitter(jnp.mean(left) * jnp.eye(1)))
    pivots: list[int] = []
    for i in range(num):
        pivot = int(jnp.argmax(left))
        if float(left[pivot]) <= floor:
            break
        row = (kernel(x[pivot][None], x)[0] - rows[:, pivot] @ rows) / jnp.sqrt(left[pivot])
        rows, pivots = rows.at[i].set(row), [*pivots, pivot]
        left = jnp.maximum(left - row**2, 0.0).at[pivot].set(0.0)
    return x[jnp.array(pivots)]

"""A density fitted to draws by maximum likelihood."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, Density, InputError, PRNGKey, check_key
from jensen.core.compiled import PASSES
from jensen.families._builders import Builder
from jensen.families.gaussian import Gaussian, gaussian_from_cov

LOOKS = 20  # at the draws held out, of which the best member is kept
BRIEF = 1000  # steps up to which few draws are not worth a program compiled with all that XLA can do


def fit_to_draws(
    key: PRNGKey,
    family: Any,
    draws: Any,
    *,
    steps: int = 1000,
    learning_rate: float = 5e-3,
    batch_size: int = 256,
    held_out: float = 0.2,
) -> Any:
    """argmax_q sum_i log q(z_i) by Adam; of `LOOKS` members on the way the one that suits the held-out draws best.

    Where a target is at hand, `objectives.MaximumLikelihood` does the same within `jensen.run`; this needs draws alone,
    and is a loop of its own because the certificate's evidence, which stands below the algorithms, is computed by it.

    Args:
        key: for the order of draws and the weights of a network.
        family: a builder, begun at the Gaussian with the moments of the draws, or a density, trained from where it is.
        draws: shape (n, d). Independent ones: the held-out share of a chain is no fresh sample.
        steps: of Adam, its rate falling to zero as half a cosine.
        learning_rate: Adam's.
        batch_size: draws a step, with replacement.
        held_out: share of the draws that is not trained on, in (0, 1).

    Returns:
        A member of the family; the start itself, if no step was better.

    Raises:
        InputError: for draws that are no finite matrix of at least 10 rows and two a coordinate, fewer than `LOOKS`
            steps, `held_out` outside (0, 1), or a family of another dimension or without density.
    """
    check_key(key)
    z = jnp.asarray(draws)
    if z.ndim != 2 or not jnp.issubdtype(z.dtype, jnp.floating) or not np.all(np.isfinite(np.asarray(z))):
        raise InputError(f"draws must be finite real numbers of shape (n, d), got {z.dtype} of shape {z.shape}")
    n, d = z.shape
    if n < max(10, 2 * d):
        raise InputError(f"{n} draws are too few for d = {d}: give at least {max(10, 2 * d)}")
    if steps < LOOKS or not 0 < held_out < 1:
        raise InputError(f"steps must be at least {LOOKS} and held_out in (0, 1), got {steps} and {held_out}")
    key_order, key_build, key_fit = jax.random.split(key, 3)
    z = _shuffled(key_order, z)
    kept = max(1, int(held_out * n))
    q = _begun(family, key_build, z) if isinstance(family, Builder) else family
    if not isinstance(q, Density) or q.dimension != d:
        raise InputError(f"A density or builder of dimension {d} is wanted, got {type(q).__name__}")
    given = (key_fit, q, z[kept:], z[:kept], jnp.asarray(learning_rate, z.dtype), steps, batch_size)
    program = _fit.form(*given) if steps <= BRIEF else _fit.full
    return program(*given)


@partial(Compiled, small=PASSES)
def _shuffled(key: PRNGKey, z: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return jax.random.permutation(key, z)


@partial(Compiled, small=PASSES)
def gaussian_of_draws(z: Float[Array, "n d"]) -> Gaussian:
    """N(m, S) of the moments of draws."""
    return gaussian_from_cov(jnp.mean(z, 0), jnp.atleast_2d(jnp.cov(z, rowvar=False)))


@partial(Compiled, small=PASSES)
def _begun(family: Builder, key: PRNGKey, z: Float[Array, "n d"]) -> Any:
    return family.build(key, gaussian_of_draws(z))


@Compiled
def _fit(key: PRNGKey, q: Any, z: Any, held_out: Any, rate: Float[Array, ""], steps: int, batch_size: int) -> Any:
    import optax

    adam = optax.scale_by_adam()
    begin, rest = q.partition()

    def loss(trained: Any, rows: Float[Array, "n d"]) -> Float[Array, ""]:
        return -jnp.mean(jax.vmap(eqx.combine(trained, rest).log_prob)(rows))

    def step(carry: Any, t: Any) -> tuple[Any, None]:
        trained, moments = carry
        rows = z[jax.random.randint(jax.random.fold_in(key, t), (batch_size,), 0, z.shape[0])]
        direction, moments = adam.update(jax.grad(loss)(trained, rows), moments)
        now = rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(t / (steps // LOOKS * LOOKS), 1.0)))
        return (jax.tree.map(lambda p, u: p - (now * u).astype(p.dtype), trained, direction), moments), None

    def look(carry: Any, t: Any) -> tuple[Any, None]:
        walk, best, least = carry
        value = loss(walk[0], held_out)
        better = value < least  # false for NaN
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), walk[0], best)
        return (jax.lax.scan(step, walk, t)[0], best, jnp.where(better, value, least)), None

    # one more round, of steps of length zero, so that start and end are looked at by the one program in the loop
    each = steps // LOOKS
    times = jnp.arange(each * (LOOKS + 1)).reshape(LOOKS + 1, each)
    walk = (begin, adam.init(begin))
    (_, best, _), _ = jax.lax.scan(look, (walk, begin, jnp.asarray(jnp.inf, z.dtype)), times)
    return eqx.combine(best, rest)

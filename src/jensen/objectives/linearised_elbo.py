"""The evidence lower bound of an implicit distribution, its entropy linearised."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, InputError, LogDensity, Objective, PRNGKey
from jensen.core.fields import check_count
from jensen.families import linearised_log_det, smallest_singular_log_det
from jensen.gradient_estimators._draws import check_num_draws, draw_noise, standard_error


class LinearisedElbo(Objective):
    """-E_q[log p(z, data)] - H~(q), H~ = d/2 (1 + log 2 pi) + E_e 1/2 log det(J J^T + sigma^2 I), in nats.

    J = dg/de is the Jacobian of the generator of an `Implicit` family. Exact for an affine g. It is no bound on the
    evidence: H~ exceeds the entropy where g folds, by log 2 for g(e) = |e|. Cost: `num_draws` gradients of log p, and k
    forward derivatives of g each.

    Raises `InputError` for another family than `Implicit`, or fewer than one draw.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = None
    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        _check_family(self, q)
        return _estimate(key, q, target, self.num_draws, linearised_log_det)


class SingularValueElbo(Objective):
    """-E_q[log p(z, data)] - H(q), H = d/2 (1 + log 2 pi) + E_e[n/2 log(s^2 + sigma^2)] + (d - n) log sigma, in nats.

    `LinearisedElbo` with the determinant replaced by a lower bound, n = min(d, k) times its smallest factor: s is the
    smallest singular value of J, by `num_steps` steps of Lanczos' recursion. Cost: `num_draws` gradients of log p, and
    num_steps + 1 forward and num_steps reverse derivatives of g each, where `LinearisedElbo` takes k of them: it is for
    generators of hundreds of latent variables. With k up to a few dozen take `LinearisedElbo`, which is exact and
    no dearer.

    It never exceeds the linearised entropy where the recursion has converged (`num_steps` >= n is exact); like that it
    is no bound on the evidence. The entropy sees one direction at a time, so that directions in which q is wider than
    in its narrowest are held open by nothing but log p: fits are narrower than by `LinearisedElbo`, most where spreads
    differ in the family's whitened coordinates.

    Raises `InputError` for another family than `Implicit`, or fewer than one draw or step.

    Source: Uppal, Stensbo-Smidt, Boomsma and Frellsen (2023).
    """

    needs: ClassVar[Any] = LogDensity
    bound: ClassVar[str | None] = None
    num_draws: int = eqx.field(static=True, default=16)
    num_steps: int = eqx.field(static=True, default=12)

    def __check_init__(self):
        check_num_draws(self.num_draws)
        check_count("num_steps", self.num_steps)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        _check_family(self, q)
        key_noise, key_starts = jax.random.split(key)
        n = min(q.dimension, q.generator.size)
        starts = jax.random.normal(key_starts, (min(self.num_steps, n), n), q.mean.dtype)
        half_log_det = partial(smallest_singular_log_det, starts=starts)
        return _estimate(key_noise, q, target, self.num_draws, half_log_det)


def _check_family(objective: Objective, q: Any) -> None:
    if not hasattr(q, "linearised"):
        raise InputError(
            f"{type(objective).__name__} needs an Implicit family, and {type(q).__name__} has no linearised entropy: "
            "use NegativeElbo"
        )


def _estimate(key: PRNGKey, q: Any, target: Any, num_draws: int, half_log_det: Callable[..., Any]) -> Estimate:
    def value(eps: Any) -> Float[Array, ""]:
        z, minus_entropy = q.linearised(eps, half_log_det)
        return minus_entropy - target.log_density(z)

    values = jax.vmap(value)(draw_noise(key, q, num_draws))
    mean = jnp.mean(values)
    return Estimate(mean, mean, standard_error(values))

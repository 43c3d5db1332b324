"""Exact regression on the line in linear time, by the Kalman filter of the kernel's differential equation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.core import Compiled, InputError, Scalar, Sites, as_scalar
from jensen.gp._linalg import LOG_2PI
from jensen.gp.exact import GaussianRegression
from jensen.gp.priors.state_space import StateSpace
from jensen.gp.state_space.filtering import Chain, Smoothed


class Kalman(GaussianRegression):
    """The posterior of `Exact` for one input and a kernel with a state-space form: O(n d^3), d the number of states.

    Each y_i is the Gaussian site exp(y_i f_i / noise - f_i^2 / (2 noise)) of a `StateSpace` prior. With Z the
    normaliser of prior times sites, log p(y) = log Z - sum_i y_i^2 / (2 noise) - n/2 log(2 pi noise).

    `kernel`: any that `gp.state_space.state_space_form` takes (of `Periodic` it keeps 8 harmonics, all others are
    exact). `noise`: variance. `x`: times, (n,) or (n, 1), in any order, repeated or not; a regular grid costs less.
    `y`: (n,). `present`: rows that count. Memory for gradients is O(n d^2).

    Raises `InputError` for kernels without a state-space form, and for times that are not finite or not
    one-dimensional. It is made outside compiled functions, since times are sorted once.

    Source: Hartikainen and Sarkka (2010), Kalman filtering and smoothing solutions to temporal Gaussian process
    regression models; covariances between times: de Jong (1989), Smoothing and interpolation with the state-space
    model.
    """

    prior: StateSpace
    noise: Scalar
    y: Float[Array, " n"]
    present: Bool[Array, " n"]

    def __init__(self, kernel: Any, noise: Any, x: Any, y: Any, present: Any = None):
        self.prior, self.noise, self.y = StateSpace(kernel, x), as_scalar(noise), jnp.asarray(y)
        if self.y.shape != (self.prior.num_sites,):
            raise InputError(f"y must have shape ({self.prior.num_sites},), a value for each time: got {self.y.shape}")
        self.present = jnp.ones(self.y.shape, bool) if present is None else jnp.asarray(present)

    def at(self, parts: dict[str, Any]) -> "Kalman":
        return eqx.tree_at(lambda m: (m.prior.kernels, m.noise), self, ((parts["kernel"],), parts["noise"]))

    def sites(self) -> Sites:
        """The likelihood, as factors of f."""
        linear, precision = jnp.where(self.present, self.y, 0.0) / self.noise, self.present / self.noise
        return Sites(linear[:, None], precision[:, None, None])

    @Compiled
    def log_evidence(self) -> Float[Array, ""]:
        square = jnp.sum(jnp.where(self.present, self.y, 0.0) ** 2)
        constant = square / self.noise + jnp.sum(self.present) * (LOG_2PI + jnp.log(self.noise))
        return self.prior.condition(self.sites()).log_normaliser - 0.5 * constant

    @Compiled
    def predict(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        mean, cov = self.prior.predict(self.sites(), x)
        return mean[:, 0], jnp.maximum(cov[:, 0, 0], 0.0)

    @Compiled
    def joint(self, x: Any) -> tuple[Float[Array, " m"], Float[Array, "m m"]]:
        new, sites = jnp.asarray(x, self.prior.t.dtype).reshape(-1), self.sites()
        n, m = self.y.shape[0], new.shape[0]
        # the new times as sites that say nothing
        times = jnp.concatenate([jnp.zeros(n, new.dtype).at[self.prior.order].set(self.prior.t), new])
        order = jnp.argsort(times, stable=True)
        gaps = jnp.diff(times[order], prepend=times[order[:1]])
        prior = eqx.tree_at(lambda p: (p.t, p.gaps, p.order), self.prior, (times[order], gaps, order))
        more = Sites(
            jnp.concatenate([sites.linear, jnp.zeros((m, 1), new.dtype)]),
            jnp.concatenate([sites.precision, jnp.zeros((m, 1, 1), new.dtype)]),
        )
        chain, passes, _ = prior._smooth(more)
        wanted = jnp.where(order >= n, order - n, m)
        return prior.condition(more).mean[n:, 0], _covariances(chain, passes, wanted, m)


def _covariances(chain: Chain, passes: Smoothed, wanted: Array, m: int) -> Float[Array, "m m"]:
    """Posterior covariances of f between times: place t of the chain is number `wanted[t]` among m, or m for none.

    For s < t: H C_s L_s^T ... L_{t-1}^T (I - A_t C_t) H^T, with C, A of `Smoothed` and L_t = Phi_{t+1} (I - C_t H^T G_t
    H). The products are carried along the times for all s at once: O(n m d^2).
    """
    h, d = chain.readout[0], chain.stationary.shape[0]

    def move(carry: tuple[Array, Array], now: Any) -> tuple[tuple[Array, Array], None]:
        reached, found = carry
        phi, cov, weight, information, place = now
        reached = reached @ phi.T
        at_end = h - information @ (cov @ h)
        out = cov @ h
        found = found.at[:, place].set(reached @ at_end, mode="drop")
        found = found.at[place, place].set(out @ at_end, mode="drop")
        reached = reached.at[place].set(out, mode="drop")
        # nothing has been seen at a new time, so that its own gain is zero
        return (reached - weight * jnp.outer(reached @ h, out), found), None

    moving = (chain.transition, passes.cov, passes.weight[0], passes.information)
    moving = tuple(jnp.moveaxis(jnp.broadcast_to(a, (*a.shape[:-1], len(wanted))), -1, 0) for a in moving)
    start = jnp.zeros((m, d), h.dtype), jnp.zeros((m, m), h.dtype)
    (_, found), _ = jax.lax.scan(move, start, (*moving, wanted))
    # columns are the later times, rows the earlier ones
    return jnp.where(found == 0, found.T, found)

"""Stationary Gauss-Markov processes: a kernel on the line as a linear stochastic differential equation."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.gp.state_space._lanes import block_diagonal, congruence, kronecker, transpose


class SDE(eqx.Module):
    """f(t) = h . x(t) with dx = F x dt + L dw in its stationary state: k(t, t') = h^T Phi(t - t') P h for t >= t'.

    Given at any gap dt >= 0 by x(t + dt) = Phi(dt) x(t) + N(0, Q(dt)), Phi(dt) = exp(F dt), Q(dt) = P - Phi P Phi^T.
    Gaps come as a batch, and batches are the last axis.
    """

    @abc.abstractmethod
    def readout(self) -> Float[Array, " d"]:
        """h."""

    @abc.abstractmethod
    def stationary(self) -> Float[Array, "d d"]:
        """P, the covariance of x(t) at any time."""

    @abc.abstractmethod
    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        """Phi(dt)."""

    @abc.abstractmethod
    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        """Q(dt), without the cancellation of P - Phi P Phi^T at small gaps wherever a form without it is known."""


class Sum(SDE):
    """The sum of two independent processes."""

    first: SDE
    second: SDE

    def readout(self) -> Float[Array, " d"]:
        return jnp.concatenate([self.first.readout(), self.second.readout()])

    def stationary(self) -> Float[Array, "d d"]:
        return block_diagonal(self.first.stationary()[..., None], self.second.stationary()[..., None])[..., 0]

    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return block_diagonal(self.first.transition(gap), self.second.transition(gap))

    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return block_diagonal(self.first.noise(gap), self.second.noise(gap))


class Product(SDE):
    """The process whose kernel is the product of two kernels: states multiply, x = x1 (x) x2 in second moments.

    Q = P1 (x) P2 - (P1 - Q1) (x) (P2 - Q2) = Q1 (x) P2 + (P1 - Q1) (x) Q2: sums of positive semi-definite terms.
    """

    first: SDE
    second: SDE

    def readout(self) -> Float[Array, " d"]:
        return jnp.kron(self.first.readout(), self.second.readout())

    def stationary(self) -> Float[Array, "d d"]:
        return jnp.kron(self.first.stationary(), self.second.stationary())

    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return kronecker(self.first.transition(gap), self.second.transition(gap))

    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        kept = congruence(self.first.transition(gap), self.first.stationary()[..., None])
        whole = kronecker(self.first.noise(gap), self.second.stationary()[..., None])
        return whole + kronecker(kept, self.second.noise(gap))


class Scaled(SDE):
    """`inner` with its kernel multiplied by `variance`."""

    inner: SDE
    variance: Float[Array, ""]

    def readout(self) -> Float[Array, " d"]:
        return self.inner.readout()

    def stationary(self) -> Float[Array, "d d"]:
        return self.variance * self.inner.stationary()

    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return self.inner.transition(gap)

    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return self.variance * self.inner.noise(gap)


class Level(SDE):
    """k = variance: an unknown constant."""

    variance: Float[Array, ""]

    def readout(self) -> Float[Array, " d"]:
        return jnp.ones(1, self.variance.dtype)

    def stationary(self) -> Float[Array, "d d"]:
        return self.variance[None, None]

    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return jnp.ones((1, 1, *gap.shape), gap.dtype)

    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return jnp.zeros((1, 1, *gap.shape), gap.dtype)


class Oscillation(SDE):
    """k(t) = cos(frequency |t|): a sinusoid of random amplitude and phase that never decays; frequency in radians."""

    frequency: Float[Array, ""]

    def readout(self) -> Float[Array, " d"]:
        return jnp.array([1.0, 0.0], self.frequency.dtype)

    def stationary(self) -> Float[Array, "d d"]:
        return jnp.eye(2, dtype=self.frequency.dtype)

    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        cos, sin = jnp.cos(self.frequency * gap), jnp.sin(self.frequency * gap)
        return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])

    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        return jnp.zeros((2, 2, *gap.shape), gap.dtype)


class Quasiseparable(SDE):
    """Any kernel of `tinygp.kernels.quasisep`. Q is formed by a difference, exact to about 1e-16 P."""

    kernel: Any

    def readout(self) -> Float[Array, " d"]:
        return self.kernel.observation_model(jnp.zeros(()))

    def stationary(self) -> Float[Array, "d d"]:
        return self.kernel.stationary_covariance()

    def transition(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        # tinygp's matrix acts on row vectors
        one = jax.vmap(lambda dt: self.kernel.transition_matrix(jnp.zeros_like(dt), dt).T)
        return jnp.moveaxis(one(gap), 0, -1)

    def noise(self, gap: Float[Array, " b"]) -> Float[Array, "d d b"]:
        stationary = self.stationary()[..., None]
        noise = stationary - congruence(self.transition(gap), stationary)
        return 0.5 * (noise + transpose(noise))

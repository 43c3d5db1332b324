"""Hyperparameters and q(u) of a sparse model from minibatches of its rows."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.algorithms._descent import begin, descend, scheduled
from jensen.algorithms._natural import NaturalGradient
from jensen.algorithms.stochastic_cvi import StochasticCVI, StochasticCVIState
from jensen.core import (
    Clock,
    PointPosterior,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    Target,
    as_scalar,
    real_space,
    scalar_field,
)
from jensen.gp.evidence_target import log_normal_prior
from jensen.gp.hyperparameters import Hyperparameters
from jensen.gp.latent import LatentModel


class TrainedModel(Target):
    """p(y, z | theta) p(theta): a `LatentModel` on inducing variables whose hyperparameters theta are unknown too.

    log N(theta; theta_0, prior_scale^2) + log N(z; 0, I) + sum_i E[log p(y_i | f_i) | z, theta] over (p + d,)
    coordinates: theta as in `EvidenceTarget`, then the white inducing variables z. It offers rows, so that
    `targets.Minibatched(model, 1000)` is seen through some of them at a time.

    `tree`: what is trained; `placed(tree, template)`: the latent model with the tree's parts in the template's place.
    """

    space: Space
    hyperparameters: Hyperparameters
    template: LatentModel
    placed: Callable[[Any, LatentModel], LatentModel] = eqx.field(static=True)
    prior_scale: Scalar

    def __init__(self, placed: Callable[..., LatentModel], tree: Any, template: LatentModel, prior_scale: Any = 3.0):
        self.hyperparameters, self.template, self.placed = Hyperparameters(tree), template, placed
        self.space = real_space(theta=(len(self.hyperparameters.names),), z=(template.prior.dimension,))
        self.prior_scale = as_scalar(prior_scale)

    @property
    def num_rows(self) -> int:
        """n."""
        return self.template.num_rows

    def at(self, theta: Float[Array, " p"]) -> LatentModel:
        """The latent model with these hyperparameters."""
        return self.placed(self.hyperparameters.at(theta), self.template)

    def split(self, z: Float[Array, " d"]) -> tuple[Float[Array, " p"], Float[Array, " m"]]:
        """Hyperparameters and white inducing variables."""
        p = len(self.hyperparameters.names)
        return z[:p], z[p:]

    def log_theta(self, theta: Float[Array, " p"]) -> Float[Array, ""]:
        """The log prior of the hyperparameters but for its constant."""
        return log_normal_prior(self.hyperparameters, theta, self.prior_scale)

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        theta, white = self.split(z)
        return self.log_theta(theta) + self.template.log_prior(white)

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " n"]:
        theta, white = self.split(z)
        return self.at(theta).log_likelihood(white)

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.log_prior(z) + jnp.sum(self.log_likelihood(z))

    def minibatch(self, rows: Int[Array, " b"]) -> "TrainedModel":
        return eqx.tree_at(lambda t: t.template, self, self.template.minibatch(rows))


class TrainedCVIState(eqx.Module):
    """Hyperparameters theta, Adam's moments, and the sites of all rows seen from z: l and P."""

    theta: Float[Array, " p"]
    moments: Any
    linear: Float[Array, " d"]
    precision: Float[Array, "d d"]


class TrainedCVI(NaturalGradient):
    """A natural-gradient step of q(z) as in `StochasticCVI`, then one of Adam in theta up the same ELBO at that q.

    (l, P) <- (1 - r)(l, P) + r (l_B, P_B), theta <- theta + rate Adam(grad_theta ELBO_B(q, theta) + log p(theta)).
    For `TrainedModel`, best behind `Minibatched`: O(B d^2 + d^3) a step, whatever the number of rows. q follows theta
    within a few steps of `rate`; the rate of theta, `learning_rate`, rises over 20 steps and falls to zero over the
    last `settling` part of the run, in which q settles too. The history holds -ELBO in nats, from the batch.

    Gives the point (theta, E_q[z]). With Gaussian noise the best q at theta is `Collapsed`'s, one pass over the rows.
    Where all rows can be had at each step in reasonable time, climbing the collapsed bound needs far fewer of them.

    Source: Hensman, Fusi and Lawrence (2013), Gaussian processes for big data; Salimbeni, Eleftheriadis and Hensman
    (2018), Natural gradients in practice.
    """

    needs: ClassVar[Any] = TrainedModel
    gives: ClassVar[type] = PointPosterior
    exact: ClassVar[bool] = False
    rate: Scalar = scalar_field(0.2)
    settling: Scalar = scalar_field(0.5)
    tolerance: Scalar = scalar_field(0.0)
    learning_rate: Scalar = scalar_field(0.01)

    @property
    def default_steps(self) -> int:
        return 2000

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> TrainedCVIState:
        theta, white = target.split(start.sample_z(key, 1)[0])
        d = white.shape[0]
        return TrainedCVIState(theta, begin(theta), white, jnp.zeros((d, d), white.dtype))  # q(z) = N(white, I)

    def step(self, key: PRNGKey, state: TrainedCVIState, target: Any, clock: Clock) -> tuple[TrainedCVIState, Step]:
        rule = StochasticCVI(rate=self.rate, settling=self.settling, tolerance=self.tolerance)
        model = target.at(state.theta)
        sites = StochasticCVIState(model.prior, state.linear, state.precision)
        sites, step = rule.step(key, sites, model, clock)
        q: Any = rule.posterior(sites, None, model.space).q
        q = q.white

        def loss(theta: Float[Array, " p"]) -> Float[Array, ""]:
            model = target.at(theta)
            mean, cov = model.prior.from_white(q.mean)
            spread = model.prior.design().weights @ q.scale_tril
            cov = cov + spread @ jnp.swapaxes(spread, 1, 2)
            return -jnp.sum(model.expected(mean, cov)) - target.log_theta(theta)

        value, gradient = jax.value_and_grad(loss)(state.theta)
        rate = scheduled(clock, self.learning_rate, as_scalar(20.0), self.settling)
        theta, moments, _ = descend(state.theta, gradient, value, state.moments, rate, as_scalar(10.0))
        return TrainedCVIState(theta, moments, sites.linear, sites.precision), step

    def posterior(self, state: TrainedCVIState, draws: Any, space: Space) -> PointPosterior:
        d = state.linear.shape[0]
        mean = jnp.linalg.solve(jnp.eye(d, dtype=state.linear.dtype) + state.precision, state.linear)
        return PointPosterior(space, jnp.concatenate([state.theta, mean]))

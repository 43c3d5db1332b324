"""Training by minibatches: its fixed point is the collapsed bound's, and the estimator's answers agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import InputError, PointPosterior
from jensen.gp import Collapsed, GPRegressor
from jensen.gp._minibatch import TrainedCVI, TrainedModel
from jensen.gp._representation import represented
from jensen.gp.kernels import RBF
from jensen.gp.latent import LatentModel
from jensen.gp.likelihoods import Gaussian
from jensen.gp.priors import Inducing, Points
from jensen.gp.regressor import _placed


def waves(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, (n, 1))
    return x, np.sin(2 * x[:, 0]) + 0.1 * rng.normal(size=n)


def test_one_step_on_all_rows_is_the_best_q_and_the_slope_of_the_collapsed_bound():
    """By the envelope theorem the ELBO's slope in theta at the best q is the collapsed bound's."""
    x, y = waves(40)
    with jax.enable_x64(True):
        tree = {"kernel": RBF(0.7, 1.5), "noise": jnp.asarray(0.05), "features": Points(x[:6])}
        tree = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)
        template = LatentModel(Inducing([tree["kernel"]], x, tree["features"]), Gaussian(tree["noise"]), y)
        model = TrainedModel(_placed, tree, template, jnp.inf)
        theta = model.hyperparameters.theta
        start = PointPosterior(model.space, jnp.concatenate([theta, jnp.zeros(6)]))
        rule = TrainedCVI(rate=1.0, settling=1.0, learning_rate=1e-3)
        fit = jn.run(rule, model, key=jax.random.key(0), steps=1, start=start, certify=False, progress=False)
        moved, white = model.split(fit.posterior.z)

        def bound(theta):
            return (
                represented("inducing", tree, x, y, tree["features"]).at(model.hyperparameters.at(theta)).log_evidence()
            )

        slope = jax.grad(bound)(theta)
        # Adam's first step is the sign of the slope times the rate, a twentieth of it while it warms up
        np.testing.assert_array_equal(np.sign(moved - theta), np.sign(slope))
        np.testing.assert_allclose(np.abs(moved - theta), np.full(len(theta), 1e-3 / 20), rtol=1e-4)
        collapsed = Collapsed(tree["kernel"], tree["noise"], x, y, tree["features"])
        mean, _ = template.prior.from_white(white)
        np.testing.assert_allclose(mean[:, 0], collapsed.predict(x)[0], atol=1e-8)


def test_the_estimator_agrees_with_all_rows_at_each_step_and_says_what_it_did():
    x, y = waves(400)
    settings = {"representation": "inducing", "num_inducing": 15}
    whole = GPRegressor(**settings).fit(x, y)
    batches = GPRegressor(**settings, batch_size=64).fit(x, y)
    new = np.linspace(-3, 3, 50)[:, None]
    a, b = whole.predict(new, return_std=True), batches.predict(new, return_std=True)
    assert np.max(np.abs(a[0] - b[0])) < 0.02  # of the noise of 0.1, as of inducing points beside the exact posterior
    assert np.max(np.abs(a[1] - b[1])) < 0.02
    assert batches.representation_.endswith("15 points, trained by 64 rows a step (as asked)")


@pytest.mark.parametrize("size", [0, 2.5, True])
def test_wrong_sizes(size):
    with pytest.raises(InputError, match="batch_size must be a whole number"):
        GPRegressor(batch_size=size).fit(*waves(5))


def test_batches_of_a_representation_that_has_none():
    with pytest.raises(InputError, match="batch_size is for inducing points"):
        GPRegressor(batch_size=3).fit(*waves(5))

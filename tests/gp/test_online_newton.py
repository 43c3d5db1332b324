import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp._effective_dimension import effective_dimension, ridge_leverage_scores
from jensen.gp.kernels.dot_product import Linear
from jensen.gp.kernels.stationary import RBF
from jensen.gp.online_newton import KernelOnlineNewton, best_in_hindsight


def stream(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(n, 2))
    return x, np.clip(np.sin(3 * x[:, 0]) * x[:, 1] + 0.1 * rng.normal(size=n), -1, 1)


def explicit(phi, y, ridge, s, radius):
    """The same method with features, A as a matrix."""
    a, u, predictions = ridge * np.eye(phi.shape[1]), np.zeros(phi.shape[1]), []
    for p, target in zip(phi, y, strict=True):
        z, toward = u @ p, np.linalg.solve(a, p)
        w = u - np.sign(z) * max(abs(z) - radius, 0) * toward / (p @ toward)
        predictions.append(w @ p)
        g = 2 * (w @ p - target) * p
        a = a + s * np.outer(g, g)
        u = w - np.linalg.solve(a, g)
    return np.array(predictions)


@pytest.mark.parametrize("radius", [1.0, 0.05])  # the smaller one projects in most rounds
def test_the_kernel_form_equals_the_explicit_one(radius):
    x, y = stream(40)
    kernel = Linear(variance=1.3)
    learner = KernelOnlineNewton(kernel, radius=radius)
    found = learner.run(jax.random.key(0), x, y)
    truth = explicit(np.sqrt(1.3) * x, y, 1.0, 0.125, radius)
    np.testing.assert_allclose(found.predictions, truth, atol=1e-8)
    assert np.max(np.abs(found.predictions)) <= radius + 1e-12
    assert bool(jnp.all(found.kept))


def test_regret_stays_below_its_bound():
    x, y = stream(150)
    kernel = RBF(0.4)
    learner = KernelOnlineNewton(kernel)
    found = learner.run(jax.random.key(0), x, y)
    gram = kernel(jnp.asarray(x), jnp.asarray(x))
    best, norm = best_in_hindsight(gram, jnp.asarray(y), 1.0)
    regret = jnp.sum(found.losses) - jnp.sum((best - y) ** 2)
    assert regret <= learner.regret_bound(gram, found, norm)
    # the leverage against all of the past is that of the last row of the weighted matrix
    roots = np.sqrt(0.125) * np.abs(np.asarray(found.slopes))
    weighted = roots[:, None] * np.asarray(gram) * roots
    np.testing.assert_allclose(found.leverage[-1], ridge_leverage_scores(jnp.asarray(weighted), 1.0)[-1], atol=1e-10)


def test_the_sketch_keeps_a_share_and_overestimates_leverage(key):
    x, y = stream(150)
    exact = KernelOnlineNewton(RBF(0.4))
    sketch = KernelOnlineNewton(RBF(0.4), share=0.2, oversampling=0.0)
    kept = jnp.sum(sketch.run(key, x, y).kept)
    assert abs(kept - 30) < 5 * np.sqrt(150 * 0.2 * 0.8)
    whole = KernelOnlineNewton(RBF(0.4), share=1.0, oversampling=0.0).run(key, x, y)
    np.testing.assert_array_equal(whole.predictions, exact.run(jax.random.key(0), x, y).predictions)


def test_effective_dimension_and_bound_of_the_determinant():
    x, _ = stream(40)
    gram = RBF(0.4)(jnp.asarray(x), jnp.asarray(x))
    scores = ridge_leverage_scores(gram, 0.3)
    found = effective_dimension(gram, 0.3)
    np.testing.assert_allclose(jnp.sum(scores), found, rtol=1e-10)
    np.testing.assert_allclose(found, np.trace(gram @ np.linalg.inv(gram + 0.3 * np.eye(40))), rtol=1e-10)
    log_det = np.linalg.slogdet(np.eye(40) + gram / 0.3)[1]
    assert log_det <= found * (1 + np.log(np.linalg.norm(gram, 2) / 0.3 + 1))


def test_clear_errors():
    x, y = stream(10)
    cases = {
        "ridge": lambda: KernelOnlineNewton(RBF(), ridge=0.0),
        "share": lambda: KernelOnlineNewton(RBF(), share=1.5),
        "shape": lambda: KernelOnlineNewton(RBF()).run(jax.random.key(0), x, y[:-1]),
        "NaN": lambda: KernelOnlineNewton(RBF()).run(jax.random.key(0), x, y * np.nan),
        "positive": lambda: effective_dimension(jnp.eye(2), 0.0),
    }
    for words, attempt in cases.items():
        with pytest.raises(InputError, match=words):
            attempt()

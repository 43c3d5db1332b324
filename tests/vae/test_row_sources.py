"""Autoencoders on rows that are read while they train: the same optimum, resumable, and refused where rows are bad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.datasets import generate_rows
from jensen.vae import VAE, ClosedGaussianElbo, linear_vae, train
from jensen.vae.row_sources import Passed, ScaledRows, column_of, likelihood_of

N, COLUMNS = 60, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 1)) @ np.array([[2.0, -1.0, 1.5]]) + 0.3 * RNG.normal(size=(N, COLUMNS)) + 5


def source(rows=X, block=17):
    return generate_rows(lambda low, high: {"x": rows[low:high]}, len(rows), block=block)


def trained(rows, batch_size, epochs, **options):
    model, conditional = linear_vae(jax.random.key(0), COLUMNS, 1)
    options |= dict(objective=ClosedGaussianElbo(), learning_rate=1e-2, progress=False) | options
    found = train(jax.random.key(1), model, conditional, rows, batch_size=batch_size, epochs=epochs, **options)
    return jax.tree.leaves((found.model, found.conditional))


class Listener:
    """Keeps the steps that it is told of, and stops the run at one."""

    def __init__(self, until=10**9):
        self.until, self.steps = until, []

    def update(self, moment):
        self.steps.append(moment.step)
        if moment.step >= self.until:
            raise KeyboardInterrupt

    def certified(self, run, certificate):
        pass

    def close(self):
        pass


def test_whole_batches_train_as_rows_in_memory_do():
    for a, b in zip(trained(source(), N, 40), trained(jnp.asarray(X), N, 40), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path):
    whole = trained(source(), 10, 30)
    first, second = Listener(until=100), Listener()
    trained(source(), 10, 30, checkpoint=tmp_path, progress=first)
    again = trained(source(), 10, 30, checkpoint=tmp_path, progress=second)
    assert 0 < second.steps[0] < first.steps[-1] < second.steps[-1] == 180
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))


def test_a_pass_finds_moments_and_ranges():
    passed = Passed(source())
    np.testing.assert_allclose(passed.mean, X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(passed.deviation, X.std(0), rtol=1e-12)
    np.testing.assert_array_equal([passed.low, passed.high], [X.min(0), X.max(0)])
    np.testing.assert_array_equal(passed.rows, X)
    assert not passed.binary
    scaled = ScaledRows(source(), passed.mean, passed.deviation)
    np.testing.assert_allclose(scaled.read(1, 2, 5)["x"], ((X - X.mean(0)) / X.std(0))[19:22], rtol=1e-5, atol=1e-6)
    assert scaled.mark != ScaledRows(source(), passed.mean + 1, passed.deviation).mark
    assert Passed(source(np.round(RNG.random((40, 2))))).binary


def test_the_estimator_beats_independent_columns():
    vae = VAE(1, hidden=(8,), epochs=150, learning_rate=1e-2, random_state=0).fit(source())
    np.testing.assert_allclose(vae._spread, X.std(0), rtol=1e-12)
    assert vae.transform(X).shape == (N, 1)
    independent = -np.sum(np.log(X.std(0)) + 0.5 * np.log(2 * np.pi) + 0.5)  # the best of all such densities, on X
    assert vae.score(X) > independent


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        (np.where(np.arange(120).reshape(40, 3) == 101, np.nan, 1.0), {}, "NaN, null or infinite at row 33"),
        (np.where(np.arange(120).reshape(40, 3) == 101, 2.0, 1.0), {"likelihood": "bernoulli"}, "values 0 and 1"),
        (np.where(np.arange(120).reshape(40, 3) == 101, 2.0, 1.0), {"dynamic_binarisation": True}, "divide by"),
        (np.column_stack([X, np.ones(N)]), {}, "Columns 3 of X are constant"),
        (X, {"latent_dim": 0}, "latent_dim must be"),
    ],
)
def test_bad_rows_are_refused_before_training(rows, settings, words):
    with pytest.raises(InputError, match=words):
        VAE(**{"latent_dim": 1} | settings).fit(source(rows))


def test_sources_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="one column of vectors"):
        column_of(generate_rows(lambda low, high: {"x": X[low:high], "y": X[low:high]}, N, block=17))
    with pytest.raises(InputError, match="one column of vectors"):
        VAE(1).fit(generate_rows(lambda low, high: {"x": X[low:high, 0]}, N, block=17))
    labels = np.arange(40.0).reshape(20, 2) % 5
    assert likelihood_of("categorical", source(labels), Passed(source(labels))).classes == 5

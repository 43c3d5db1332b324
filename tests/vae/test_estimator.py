"""The variational autoencoder for scikit-learn: its contract, what it learns, and bad input at the door."""

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.killing import killed_at_save

from jensen.core import InputError, StorageError, UnknownName
from jensen.gradient_estimators import DoublyReparameterised
from jensen.objectives import ImportanceWeighted
from jensen.vae import VAE, StandardNormal, certify_rows, probabilistic_pca
from jensen.vae.training import default_batch

TINY = dict(latent_dim=1, hidden=(), epochs=1, num_draws=2, validation_fraction=0)


@parametrize_with_checks([VAE(**TINY)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    weight = np.array([[2.0, 0.0], [0.0, 1.5], [1.0, 1.0], [-1.0, 0.5]])
    return 3 + rng.normal(size=(400, 2)) @ weight.T + 0.5 * rng.normal(size=(400, 4))


@pytest.mark.parametrize(("rows", "batch"), [(10, 10), (100, 16), (1366, 68), (50_000, 128)])
def test_the_default_batch_leaves_an_epoch_of_few_rows_some_steps(rows, batch):
    assert default_batch(rows) == batch


SETTINGS = dict(latent_dim=2, hidden=(), epochs=60, batch_size=32, learning_rate=0.01, random_state=0)


@pytest.fixture(scope="module")
def fitted(X):
    return VAE(**SETTINGS).fit(X)


def test_it_comes_near_the_evidence_of_probabilistic_pca(X, fitted):
    """Of standardised columns, in which it is linear; within 0.1 nats of the optimum, never above."""
    truth = probabilistic_pca((X - X.mean(0)) / X.std(0), 2).log_evidence - np.sum(np.log(X.std(0)))
    score = fitted.score(X)
    assert float(truth) - 0.1 < score < float(truth) + 0.02
    assert np.isfinite(fitted.history_.scalars["held_out"][-1])


def test_reconstructions_samples_and_latents_have_the_units_of_the_data(X, fitted):
    Z = fitted.transform(X)
    assert Z.shape == (400, 2)
    back = fitted.inverse_transform(Z)
    assert np.mean((back - X) ** 2) < 0.3 * np.mean((X - X.mean(0)) ** 2)
    draws = fitted.sample(4000, random_state=1)
    assert np.all(np.abs(draws.mean(0) - X.mean(0)) < 0.3)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(X.T), atol=1.0)
    assert fitted.latent_use(X, 200).active_units == 2
    assert list(fitted.get_feature_names_out()) == ["vae0", "vae1"]


def test_a_killed_fit_goes_on_bit_for_bit_and_another_network_is_refused(X, tmp_path, monkeypatch, fitted):
    killed_at_save(monkeypatch, 2)
    with pytest.raises(SystemExit):
        VAE(**SETTINGS, checkpoint=tmp_path).fit(X)
    monkeypatch.undo()
    with pytest.raises(StorageError, match="another run"):
        VAE(**SETTINGS | {"posterior": "full_rank"}, checkpoint=tmp_path).fit(X)
    again = VAE(**SETTINGS, checkpoint=tmp_path).fit(X)
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))


def test_rows_are_certified_as_they_are_given_in_their_own_units(X, fitted):
    found = fitted.certify(X[:10], num_draws=200)
    assert found.khat.shape == (10,)
    with jax.enable_x64(True):
        inside = jax.numpy.asarray(fitted._inside(X[:10]))
        again = certify_rows(jax.random.key(2), fitted.model_, fitted.conditional_, inside, 200)
    np.testing.assert_array_equal(found.khat, again.khat)
    # the ELBO is below the importance-weighted bound of the same rows, up to what 200 draws tell
    bound = fitted.score_samples(X[:10]) + np.sum(np.log(fitted._spread))
    assert np.mean(found.elbo) < np.mean(bound) + 5 * found.certificate.elbo_standard_error / 10


@pytest.mark.optimised
def test_other_parts_train_too():
    """Images by convolutions, a learned mixture as prior, an importance-weighted objective, binary rows drawn anew."""
    rng = np.random.default_rng(1)
    base = np.repeat(rng.random((4, 64)) > 0.5, 32, 0)
    P = np.where(base, 0.9, 0.1)
    objective = ImportanceWeighted(num_weights=4, estimator=DoublyReparameterised(num_draws=1))
    vae = VAE(
        2,
        image_shape=(8, 8, 1),
        channels=(4, 8),
        prior="mixture",
        num_components=4,
        objective=objective,
        epochs=100,
        batch_size=32,
        learning_rate=1e-2,
        patience=100,
        dynamic_binarisation=True,
        random_state=0,
    )
    vae.fit(P)
    rows = (rng.random(P.shape) < P).astype(float)
    mean = rows.mean(0)
    apart = np.mean(np.sum(rows * np.log(mean) + (1 - rows) * np.log(1 - mean), 1))
    assert vae.score(rows) > apart + 2  # 90 steps gave 1.5, 600 more than 3
    assert vae.sample(3).shape == (3, 64)
    assert set(np.unique(vae.sample(3))) <= {0.0, 1.0}


def table_with_text(X):
    return pd.DataFrame({"size": X[:, 0], "kind": ["small" if x < 5 else "large" for x in X[:, 0]]})


@pytest.mark.parametrize(
    ("settings", "change", "error", "words"),
    [
        ({"latent_dim": 0}, None, InputError, "latent_dim must be a whole number of at least 1"),
        ({"batch_size": 500}, None, InputError, "batch_size 500 is more than the"),
        ({"likelihood": "bernoulli"}, None, InputError, "values 0 and 1.*ranges over"),
        ({"likelihood": "bernouli"}, None, UnknownName, "bernoulli"),
        ({"likelihood": "categorical"}, None, InputError, "whole numbers"),
        ({"prior": "mixtur"}, None, UnknownName, "mixture"),
        ({"posterior": "flows"}, None, UnknownName, "posterior family"),
        ({"epochs": 0}, None, InputError, "epochs"),
        ({"validation_fraction": 1.0}, None, InputError, "validation_fraction"),
        ({"hidden": (4, 5)}, None, InputError, "one positive width"),
        ({"image_shape": (3, 3, 1)}, None, InputError, "have 9 values"),
        ({"image_shape": (2, 2, 1), "channels": (4, 4)}, None, InputError, "multiples of 4"),
        ({"dynamic_binarisation": True}, None, InputError, "probabilities"),
        ({}, lambda X: np.concatenate([X, np.ones((400, 1))], 1), InputError, "Columns 4 of X are constant"),
        (
            {},
            lambda X: np.where(X[7, 1] == X, np.nan, X),
            InputError,
            "NaN or infinity in 1 of 400 rows.*row 7, column 1",
        ),
        ({}, lambda X: np.where(X[7, 1] == X, np.inf, X), InputError, "row 7, column 1: drop these rows, or fill"),
        ({}, table_with_text, InputError, "Columns 'kind' of X hold no numbers .1 of 2.: encode them"),
        ({"learning_rate": -1.0}, None, InputError, "learning_rate must be positive"),
        ({"learning_rate": np.nan}, None, InputError, "learning_rate must be positive"),
        ({}, lambda X: X[:1], ValueError, "1 row|1 sample|n_samples=1"),
        ({}, lambda X: X[:, 0], ValueError, "2D"),
    ],
)
def test_bad_input_is_met_at_the_door(X, settings, change, error, words):
    with pytest.raises(error, match=words):
        VAE(**{"latent_dim": 1, "hidden": ()} | settings).fit(X if change is None else change(X))


def test_bad_input_to_a_fitted_one(X, fitted):
    with pytest.raises(ValueError, match="features"):
        fitted.transform(X[:, :2])
    with pytest.raises(InputError, match="Z must have shape"):
        fitted.inverse_transform(np.zeros((2, 3)))
    binary = VAE(1, hidden=(), epochs=1, random_state=0).fit((X > 3).astype(float))
    with pytest.raises(InputError, match="values 0 and 1"):
        binary.score_samples(X)


def test_the_same_seed_gives_the_same_fit_whatever_the_float_width(X, fitted):
    with jax.enable_x64(False):
        again = VAE(**SETTINGS).fit(X)
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))


def test_a_saved_autoencoder_comes_back_value_for_value_and_bad_files_are_refused(X, fitted, tmp_path):
    file = fitted.save(tmp_path / "vae.npz")
    again = VAE.load(file)
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    np.testing.assert_array_equal(again.score_samples(X[:5]), fitted.score_samples(X[:5]))
    np.testing.assert_array_equal(again.sample(3), fitted.sample(3))
    np.testing.assert_array_equal(again.history_.objective, fitted.history_.objective)
    assert again.n_iter_ == fitted.n_iter_
    with pytest.raises(StorageError, match="exists"):
        fitted.save(file)
    whole = file.read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="truncated"):
        VAE.load(tmp_path / "half.npz")
    with pytest.raises(StorageError, match="No file"):
        VAE.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(StorageError, match="no saved VAE"):
        VAE.load(tmp_path / "other.npz")
    with np.load(file) as archive:
        arrays = dict(archive)
    header = arrays["header"].tobytes().replace(b'"mean_field"', b'"full_rank"')
    np.savez(tmp_path / "another.npz", **arrays | {"header": np.frombuffer(header, np.uint8)})
    with pytest.raises(StorageError, match="another architecture"):
        VAE.load(tmp_path / "another.npz")
    own = VAE(**SETTINGS | {"epochs": 1, "prior": StandardNormal(2)}).fit(X[:60])
    with pytest.raises(InputError, match="prior of its own"):
        own.save(tmp_path / "own.npz")

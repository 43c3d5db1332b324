"""The prior of pseudo-inputs: its density given the encoder, what is trained, what follows, and the estimator."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.algorithms import AmortisedVI
from jensen.core import Clock, InputError, PointPosterior
from jensen.gradient_estimators import DoublyReparameterised, Reparameterisation
from jensen.objectives import ImportanceWeighted, NegativeElbo
from jensen.vae import (
    VAE,
    LatentModel,
    StandardNormal,
    TiedPrior,
    latent_rows,
    linear_vae,
    log_likelihood_bound,
    row_target,
    train,
    vamp_prior,
)

COLUMNS, K, PARTS = 4, 2, 5


@pytest.fixture(scope="module")
def X():
    """Two clusters in the plane of two latents, and a little noise."""
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((120, 1)) < 0.5, -3.0, 3.0) + 0.3 * rng.normal(size=(120, K))
    return jnp.asarray(codes @ rng.normal(size=(K, COLUMNS)) + 0.1 * rng.normal(size=(120, COLUMNS)))


@pytest.fixture(scope="module")
def parts(X):
    model, conditional = linear_vae(jax.random.key(0), COLUMNS, K)
    return eqx.tree_at(lambda m: m.prior, model, vamp_prior(jax.random.key(1), conditional, X, PARTS)), conditional


def test_the_density_is_the_mixture_of_posteriors_of_the_pseudo_inputs(parts):
    model, conditional = parts
    z = np.array([0.3, -1.2])
    terms = []
    for u in np.asarray(model.prior.inputs):
        mean, cov = map(np.asarray, conditional.given(jnp.asarray(u)).mean_and_cov())
        off = z - mean
        quadratic = off @ np.linalg.solve(cov, off) + np.linalg.slogdet(2 * np.pi * cov)[1]
        terms.append(np.exp(-0.5 * quadratic))
    np.testing.assert_allclose(model.prior.log_prob(jnp.asarray(z)), np.log(np.mean(terms)), rtol=1e-12)
    assert model.prior.dimension == K
    drawn = eqx.filter_jit(jax.vmap(model.prior.sample))(jax.random.split(jax.random.key(2), 20_000))
    means = np.asarray(model.prior.parts.mean)
    spread = np.asarray(drawn.std(0)) / np.sqrt(len(drawn))
    assert np.all(np.abs(np.asarray(drawn.mean(0)) - means.mean(0)) < 5 * spread)


def test_the_objective_is_the_elbo_under_the_prior_tied_to_the_conditional(parts, X):
    """Value and gradient against the mixture written out, at a conditional that the prior was not made with."""
    model, conditional = parts
    moved = eqx.tree_at(lambda c: c.encoder.bias, conditional, conditional.encoder.bias + 0.7)
    rows = latent_rows(model, X[:6])
    key = jax.random.key(3)
    objective = NegativeElbo(Reparameterisation(num_draws=4))

    def whole(tied, conditional):
        theta = rows.theta
        made = tied.losses(key, conditional, rows.data, lambda row: rows.local(theta, row), rows.num_rows)
        return jnp.sum(made.surrogate), jnp.sum(made.value)

    def written_out(conditional):
        prior = model.prior.tied(conditional)

        def one(key, row):
            target = row_target(LatentModel(prior, model.decoder, model.likelihood), row)
            return objective.loss(key, conditional.given(row), target).surrogate

        return jnp.sum(jax.vmap(one)(jax.random.split(key, 6), rows.data))

    ours, value = eqx.filter_jit(eqx.filter_grad(lambda c: whole(TiedPrior(objective), c), has_aux=True))(moved)
    truth = eqx.filter_jit(eqx.filter_grad(written_out))(moved)
    np.testing.assert_allclose(ours.encoder.weight, truth.encoder.weight, rtol=1e-9)
    np.testing.assert_allclose(value, written_out(moved), rtol=1e-12)


def test_the_gradient_reaches_pseudo_inputs_and_their_densities_are_no_unknowns(parts, X):
    model, conditional = parts
    target = latent_rows(model, X)
    assert [v.name for v in target.space.variables if v.name.startswith("prior")] == ["prior.inputs"]
    algorithm = AmortisedVI(conditional, TiedPrior(), learning_rate=1e-2)
    state = algorithm.init(jax.random.key(0), target, PointPosterior(target.space, target.theta))
    clock = Clock(jnp.asarray(60), jnp.asarray(1000))
    state, _ = eqx.filter_jit(algorithm.step)(jax.random.key(1), state, target, clock)
    moved = target.space.split(state.z)["prior.inputs"] - model.prior.inputs
    assert np.all(np.asarray(moved) != 0)


def test_training_ties_the_prior_and_bounds_are_ordered(parts, X):
    """After `train` the prior is the trained encoder's, and more draws give a higher bound."""
    model, conditional = parts
    trained = train(
        jax.random.key(4), model, conditional, X, epochs=60, batch_size=60, learning_rate=2e-2, progress=False
    )
    again = trained.model.prior.tied(trained.conditional)
    z = jnp.ones(K)
    np.testing.assert_array_equal(trained.model.prior.log_prob(z), again.log_prob(z))
    bounds = [
        np.mean([log_likelihood_bound(k, trained.model, trained.conditional, X, n).mean() for k in keys])
        for n, keys in ((1, jax.random.split(jax.random.key(5), 20)), (100, jax.random.split(jax.random.key(6), 4)))
    ]
    assert bounds[0] < bounds[1]


def test_bad_input_is_met_at_the_door(parts, X):
    model, conditional = parts
    with pytest.raises(InputError, match="at least one component"):
        vamp_prior(jax.random.key(0), conditional, X, 0)
    with pytest.raises(InputError, match="q's alone"):
        TiedPrior(ImportanceWeighted(num_weights=4, estimator=DoublyReparameterised(num_draws=1)))
    plain = eqx.tree_at(lambda m: m.prior, model, StandardNormal(K))
    rows = latent_rows(plain, X)
    with pytest.raises(InputError, match="wants a model with a VampPrior"):
        TiedPrior().losses(jax.random.key(0), conditional, X, lambda row: rows.local(rows.theta, row), len(X))
    with pytest.raises(InputError, match="not saved as such"):
        model.prior.from_config({})


def test_the_estimator_takes_it_by_name_and_saves_it(X, tmp_path):
    settings = dict(hidden=(8,), prior="vamp", num_components=3, epochs=2, batch_size=60, random_state=0)
    vae = VAE(2, **settings).fit(X)
    assert vae.model_.prior.inputs.shape == (3, COLUMNS)
    vae.save(tmp_path / "codes.npz")
    again = VAE.load(tmp_path / "codes.npz")
    np.testing.assert_array_equal(again.score_samples(X[:5]), vae.score_samples(X[:5]))
    np.testing.assert_array_equal(again.sample(3), vae.sample(3))

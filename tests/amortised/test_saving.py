"""A trained posterior is kept: the same densities come back, and nothing that was not saved."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen import amortised
from jensen.amortised import (
    Amortisation,
    Encoder,
    Mixture,
    Set,
    SplineFlow,
    Vector,
    distribution_transformer,
    neural_posterior,
    prior_fitted_network,
    simulations,
)
from jensen.core import InputError, StorageError, real_space
from jensen.core.algorithm import StopCode
from jensen.core.result import Fit, History, Run
from jensen.families import GaussianMixture

KEY = jax.random.key(0)
RUN = Run("GradientVI", {"rate": 0.1}, History(np.arange(3.0), np.arange(3.0), {}), StopCode.PLATEAU, 1.0)
SIMULATOR = jn.targets.from_simulator(
    lambda key: {"mu": jax.random.normal(key, (2,))}, lambda key, x: {"y": x["mu"] + jax.random.normal(key, (4, 2))}
)


def of_vectors(key):
    return neural_posterior(key, SIMULATOR, Vector(8, 1, 4), SplineFlow(2, 3, 8))


def of_sets(key):
    return neural_posterior(key, SIMULATOR, Set(8, 1, 2, 4), Mixture(2, 8))


def fitted_to_a_prior(key):
    data = {"x": jnp.ones((9, 4, 1)), "y": jnp.ones((9, 4)), "mask": jnp.ones((9, 4)), "query": jnp.ones((9, 2, 1))}
    return prior_fitted_network(key, jax.random.normal(key, (9, 2)), data, bars=4, width=8, blocks=1, heads=2)


def with_its_prior(key):
    one = GaussianMixture(jnp.zeros(3), jnp.ones((3, 2)), jnp.broadcast_to(jnp.eye(2), (3, 2, 2)))
    prior = jax.tree.map(lambda a: jnp.broadcast_to(a, (9, *a.shape)), one)
    return distribution_transformer(key, {"prior": prior, "observed": jnp.ones((9, 4, 2))}, 8, 1, 2)


@pytest.mark.parametrize("make", [of_vectors, of_sets, fitted_to_a_prior, with_its_prior])
def test_every_conditional_comes_back_bit_for_bit(make, tmp_path):
    made = Amortisation(make(KEY), real_space(mu=(2,)), RUN)
    again = amortised.load(made.save(tmp_path / "a.npz"))
    assert jax.tree.structure(again.conditional) == jax.tree.structure(made.conditional)
    assert again.space.variables == made.space.variables
    for a, b in zip(jax.tree.leaves(again.conditional), jax.tree.leaves(made.conditional), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    assert np.array_equal(again.run.history.objective, RUN.history.objective)
    with pytest.raises(StorageError, match="exists"):
        made.save(tmp_path / "a.npz")
    assert made.save(tmp_path / "a.npz", overwrite=True).exists()


@pytest.mark.parametrize("make", [of_vectors, fitted_to_a_prior])
def test_a_posterior_of_data_is_saved_with_its_density(make, tmp_path):
    """Of the families that are made by networks: a fit keeps its density, and the draws of a key."""
    conditional = make(KEY)
    _, data = simulations(KEY, SIMULATOR, 1)
    if make is fitted_to_a_prior:
        data = {"x": jnp.ones((1, 4, 1)), "y": jnp.ones((1, 4)), "mask": jnp.ones((1, 4)), "query": jnp.ones((1, 2, 1))}
    posterior = Amortisation(conditional, real_space(mu=(2,)), RUN).posterior(jax.tree.map(lambda a: a[0], data))
    again = jn.load(Fit(posterior, None, (), {}).save(tmp_path / "fit")).posterior
    assert type(again.q) is type(posterior.q)
    z = posterior.sample_z(KEY, 5)
    assert np.array_equal(again.sample_z(KEY, 5), z)
    assert np.array_equal(again.log_prob(z), posterior.log_prob(z))


class Own(Encoder):
    """An encoder that is not Jensen's."""

    weight: jax.Array

    def __call__(self, data):
        return self.weight @ jnp.ravel(data["y"])


def test_own_classes_are_named_when_it_is_loaded(tmp_path):
    network = of_vectors(KEY)
    network = eqx.tree_at(lambda q: q.encoder, network, Own(jnp.ones((4, 8))))
    path = Amortisation(network, SIMULATOR.space, RUN).save(tmp_path / "own.npz")
    with pytest.raises(StorageError, match="unknown class 'Own'"):
        amortised.load(path)
    assert isinstance(amortised.load(path, classes=(Own,)).conditional.encoder, Own)


def test_supports_that_depend_on_unknowns_want_the_simulator(tmp_path):
    import numpyro
    import numpyro.distributions as dist

    def model():
        top = numpyro.sample("top", dist.Uniform(1.0, 2.0))
        numpyro.sample("x", dist.Uniform(0.0, top))

    space = jn.targets.from_numpyro(model).space
    assert space.program is not None
    path = Amortisation(of_vectors(KEY), space, RUN).save(tmp_path / "a.npz")
    with pytest.raises(InputError, match="simulator"):
        amortised.load(path)
    held = type("Held", (), {"space": space})()
    assert amortised.load(path, held).space is space
    with pytest.raises(InputError, match="other unknowns"):
        amortised.load(path, SIMULATOR)


def test_what_is_no_amortised_posterior_is_refused(tmp_path):
    made = Amortisation(of_sets(KEY), real_space(mu=(2,)), RUN)
    data = made.save(tmp_path / "a.npz").read_bytes()
    for name, bad in {"cut": data[: len(data) // 2], "empty": b"", "text": b"hello"}.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(StorageError):
            amortised.load(tmp_path / name)
    with pytest.raises(StorageError):
        amortised.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be saved"):
        Amortisation(eqx.tree_at(lambda q: q.encoder, of_sets(KEY), jnp.sin), made.space, RUN).save(tmp_path / "f")
    assert not (tmp_path / "f").exists()

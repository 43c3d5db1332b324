"""Autoencoders around a law: solutions in closed form, what networks add, and each term of the objective by itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.vae import (
    ClosedForm,
    PhysicsDecoder,
    PhysicsElbo,
    SampledLikelihoodElbo,
    StandardNormal,
    Trajectory,
    latent_rows,
    linear_vae,
    physics_autoencoder,
)

TIMES = jnp.linspace(0.0, 1.0, 11)
LOW, HIGH = jnp.array([1.0]), jnp.array([3.0])
SCALE = 0.2


def spring(t, y, theta):
    return jnp.stack([y[1], -(theta[0] ** 2) * y[0]])


def free(t, y, theta):
    return jnp.stack([y[1], jnp.zeros_like(y[0])])


def at_rest(given):
    return jnp.stack([given[0], jnp.zeros_like(given[0])])


def damped(theta, given):
    return given[0] * jnp.exp(-theta[0] * TIMES[1:])


ROWS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 11)))


def test_a_trajectory_is_the_solution_to_the_order_of_its_method():
    errors = []
    for steps in (10, 20):
        times = jnp.linspace(0.0, 1.0, steps + 1)
        values = Trajectory(LOW, HIGH, times, spring, at_rest).values(jnp.array([3.0]), jnp.array([0.5]))
        errors.append(float(np.max(np.abs(values - 0.5 * np.cos(3 * times[1:])))))
    assert errors[0] < 1e-5
    assert errors[0] > 2**4.5 * errors[1]  # fifth order


def test_several_components_lie_side_by_side_and_parameters_have_the_broad_prior_of_their_range():
    law = Trajectory(LOW, HIGH, TIMES, spring, at_rest, (0, 1))
    values = law.values(jnp.array([2.0]), jnp.array([1.0])).reshape(-1, 2)
    np.testing.assert_allclose(values[:, 1], -2 * np.sin(2 * TIMES[1:]), atol=1e-5)
    assert law.num_values == 20
    assert float(law.parameters(jnp.zeros(1))[0]) == 2.0
    # three times the standard deviation of the uniform law, (high - low) / sqrt(12)
    np.testing.assert_allclose(law.parameters(jnp.ones(1))[0] - 2.0, 3 * 2 / np.sqrt(12), rtol=1e-12)
    assert float(law.parameters(jnp.full(1, 50.0))[0]) == float(law.parameters(jnp.full(1, 4.0))[0])


def constant(network, value):
    """A network of one linear layer that gives this value whatever comes in."""
    at = jnp.broadcast_to(jnp.asarray(value), network.bias.shape)
    return eqx.tree_at(lambda n: (n.weight, n.bias), network, (jnp.zeros_like(network.weight), at))


def test_networks_add_what_they_should():
    """A constant force of 2 from rest: y = y0 + t^2; outside another 0.3."""
    law = Trajectory(jnp.zeros(0), jnp.zeros(0), TIMES, free, at_rest)
    model, _ = physics_autoencoder(jax.random.key(0), law, ROWS, 1, outside=2, hidden=())
    decoder = eqx.tree_at(
        lambda d: (d.within, d.outside),
        model.decoder,
        (constant(model.decoder.within, 2.0), constant(model.decoder.outside, 0.3)),
    )
    at, z = decoder.given(jnp.array([0.5])), jnp.zeros(3)
    parts, t = at.parts(z), np.asarray(TIMES[1:])
    np.testing.assert_allclose(parts.known, 0.5 + 0 * t, rtol=1e-12)
    np.testing.assert_allclose(parts.within, 0.5 + t**2, rtol=1e-10)
    np.testing.assert_allclose(parts.outside, 0.8 + 0 * t, rtol=1e-12)
    np.testing.assert_allclose(parts.whole, 0.8 + t**2, rtol=1e-10)
    np.testing.assert_allclose(at(z)[:, 0], parts.whole, rtol=1e-12)
    alone = eqx.tree_at(lambda d: d.outside, decoder, None, is_leaf=lambda leaf: leaf is None)
    further = alone.over(jnp.linspace(0.0, 3.0, 31)).given(jnp.array([0.5]))(z)[:, 0]
    np.testing.assert_allclose(further, 0.5 + np.linspace(0.1, 3.0, 30) ** 2, rtol=1e-10)
    with pytest.raises(InputError, match="goes on in time"):
        decoder.over(TIMES)
    with pytest.raises(InputError, match="times that rise"):
        alone.over(TIMES[::-1])


@pytest.fixture(scope="module")
def parts():
    """Linear networks, and a q so narrow that its draws are its mean."""
    law = Trajectory(LOW, HIGH, TIMES, spring, at_rest)
    model, conditional = physics_autoencoder(jax.random.key(1), law, ROWS, 1, outside=1, hidden=(), scale=SCALE)
    encoder = conditional.encoder

    def narrow(network):
        half = network.bias.shape[0] // 2
        return eqx.tree_at(
            lambda n: (n.weight, n.bias),
            network,
            (network.weight.at[half:].set(0.0), network.bias.at[half:].set(-30.0)),
        )

    encoder = eqx.tree_at(lambda e: (e.neural, e.physics), encoder, (narrow(encoder.neural), narrow(encoder.physics)))
    return model, eqx.tree_at(lambda c: c.encoder, conditional, encoder)


@eqx.filter_jit
def losses(objective, model, conditional, rows=ROWS):
    target = latent_rows(model, rows)
    theta = target.theta
    return objective.losses(jax.random.key(2), conditional, rows, lambda row: target.local(theta, row), len(rows)).value


@eqx.filter_jit
def by_hand(model, conditional):
    """Of each row: -ELBO, R_need, R_unmixed and the divergence, from means of q."""
    target = latent_rows(model, ROWS)
    theta = target.theta

    def one(row):
        q = conditional.given(row)
        elbo = SampledLikelihoodElbo().loss(jax.random.key(0), q, target.local(theta, row)).value
        p = model.decoder.given(row[:1]).parts(q.mean)
        pairs = ((p.within, p.known), (p.outside, p.known), (p.whole, p.within), (p.whole, p.outside))
        need = 0.25 * sum(jnp.sum((a - b) ** 2) for a, b in pairs) / (2 * SCALE**2)
        unmixed = jnp.sum((conditional.encoder.unmixed(row)[0][1:] - p.known) ** 2) / (2 * SCALE**2)
        return elbo, need, unmixed, jnp.sum(0.5 * (q.mean**2 + jnp.exp(2 * q.log_scale) - 1) - q.log_scale)

    return jax.vmap(one)(ROWS)


def test_each_term_of_the_objective_is_what_it_says(parts):
    model, conditional = parts
    weights = [jnp.asarray(w) for w in np.diag([0.3, 0.3, 0.3])]
    plain = losses(PhysicsElbo(*jnp.zeros(3)), model, conditional)
    elbo, need, unmixed, divergence = map(np.asarray, by_hand(model, conditional))
    np.testing.assert_allclose(plain, elbo, rtol=1e-8)
    found = losses(PhysicsElbo(*weights[0]), model, conditional) - plain
    np.testing.assert_allclose(found, 0.3 * (need + divergence), rtol=1e-7)
    found = losses(PhysicsElbo(*weights[2]), model, conditional) - plain
    np.testing.assert_allclose(found, 0.3 * unmixed, rtol=1e-7)


def test_simulated_rows_are_the_laws_own_and_an_encoder_that_is_right_about_them_loses_nothing():
    """A law x = theta given, whose parameter a linear encoder reads off exactly; then it errs by 0.5 everywhere."""

    def proportional(theta, given):
        return theta * given

    law = ClosedForm(LOW, HIGH, proportional)
    rows = jnp.stack([jnp.ones(6), jnp.linspace(1.0, 3.0, 6)], 1)
    model, conditional = physics_autoencoder(
        jax.random.key(3), law, rows, 1, driving=None, outside=1, hidden=(), scale=SCALE
    )
    encoder = conditional.encoder
    plain = eqx.tree_at(lambda e: (e.centre, e.spread), encoder, (jnp.zeros(2), jnp.ones(2)))
    per_latent = np.sqrt(3) / 2 * 2.0
    exact = eqx.tree_at(
        lambda e: (e.physics.weight, e.physics.bias),
        plain,
        (jnp.array([[0.0, 1 / per_latent], [0.0, 0.0]]), jnp.array([-2.0 / per_latent, -30.0])),
    )
    wrong = eqx.tree_at(lambda e: e.physics.bias, exact, exact.physics.bias.at[0].add(0.5 / per_latent))
    for chosen, error in ((exact, 0.0), (wrong, 0.5)):
        q = eqx.tree_at(lambda c: c.encoder, conditional, chosen)
        found = [losses(PhysicsElbo(*jnp.array([0.0, b, 0.0])), model, q, rows) for b in (1.0, 0.0)]
        np.testing.assert_allclose(found[0] - found[1], error**2 / (2 * SCALE**2), atol=1e-6)


def test_nothing_of_the_law_is_trained(parts):
    model, conditional = parts
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(losses(PhysicsElbo(1.0, 1.0, 1.0), m, conditional))))(
        model
    )
    known = gradient.decoder.known
    assert all(np.all(np.asarray(leaf) == 0) for leaf in (known.low, known.high, known.times))
    assert np.any(np.asarray(gradient.decoder.within.weight) != 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"driving": None}, "at least one latent"),
        ({"inputs": 11}, "at least one latent"),
        ({"enters": (2,)}, "components"),
        ({"known": Trajectory(LOW, HIGH, TIMES[:5], spring, at_rest)}, r"gives \(4,\) values"),
        ({"known": ClosedForm(LOW, HIGH, damped)}, "closed form has no state"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, words):
    empty = Trajectory(jnp.zeros(0), jnp.zeros(0), TIMES, free, at_rest)
    settings = {"known": empty if "driving" in change else Trajectory(LOW, HIGH, TIMES, spring, at_rest), "inputs": 1}
    settings |= change
    with pytest.raises(InputError, match=words):
        physics_autoencoder(jax.random.key(0), settings.pop("known"), ROWS, settings.pop("inputs"), **settings)


def test_other_bad_input_is_met_at_the_door(parts):
    model, _ = parts
    with pytest.raises(InputError, match="is empty"):
        ClosedForm(HIGH, LOW, damped)
    with pytest.raises(InputError, match="times that rise"):
        Trajectory(LOW, HIGH, jnp.zeros(3), spring, at_rest)
    with pytest.raises(InputError, match="no state"):
        ClosedForm(LOW, HIGH, damped).values(jnp.ones(1), jnp.ones(1), lambda t, y: y)
    with pytest.raises(InputError, match="must not be negative"):
        PhysicsElbo(need=-1.0)
    plain, other = linear_vae(jax.random.key(0), 11, 2)
    rows = latent_rows(plain, ROWS)
    with pytest.raises(InputError, match="see physics_autoencoder"):
        PhysicsElbo().losses(jax.random.key(0), other, ROWS, lambda row: rows.local(rows.theta, row), 6)
    assert isinstance(model.decoder, PhysicsDecoder)
    assert isinstance(model.prior, StandardNormal)

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import DensityPosterior, InputError
from jensen.families import DiagonalGaussian, Gaussian, MixFlow, checked_elbo
from jensen.targets import from_log_density
from jensen.targets.synthetic import Banana


def bent(z):
    return -0.5 * z[0] ** 2 - 0.25 * z[0] ** 4


LINE = from_log_density(bent, np.zeros(1))
LOG_Z = float(np.log(np.trapezoid(np.exp(-0.5 * (x := np.linspace(-8, 8, 4001)) ** 2 - 0.25 * x**4), x)))


def flow(**more):
    base = DiagonalGaussian(jnp.array([0.3]), jnp.array([-0.3]))
    return MixFlow(LINE, **({"base": base, "step_size": 0.1, "num_flows": 8, "num_leapfrog": 5} | more))


def test_moves_are_inverted_and_their_determinant_is_that_of_the_jacobian():
    q = flow()
    keys = jax.random.split(jax.random.key(3), 3)
    s = jnp.concatenate(
        [jax.random.normal(keys[0], (1,)), jax.random.laplace(keys[1], (1,)), jax.random.uniform(keys[2], (1,))]
    )
    unpack = lambda s: (s[:1], s[1:2], s[2])  # noqa: E731
    pack = lambda s: jnp.concatenate([s[0], s[1], s[2][None]])  # noqa: E731
    end = q._move(unpack(s))
    back, log_det = q._move_back(end)
    assert jnp.allclose(pack(back), s, atol=1e-10)
    jacobian = eqx.filter_jit(jax.jacfwd(lambda s: pack(q._move(unpack(s)))))(s)
    assert jnp.allclose(jnp.linalg.slogdet(jacobian)[1], log_det, atol=1e-8)


def test_density_is_the_mean_of_the_images():
    """log q_3(s) against the three terms of the definition, by hand."""
    q = flow(num_flows=3)
    s = (jnp.array([0.4]), jnp.array([-0.7]), jnp.asarray(0.2))
    terms, total, at = [q._log_base(s)], 0.0, s
    for _ in range(2):
        at, log_det = q._move_back(at)
        total = total + log_det
        terms.append(q._log_base(at) - total)
    assert jnp.allclose(q.log_prob_augmented(*s), jax.nn.logsumexp(jnp.stack(terms)) - np.log(3), atol=1e-12)


def test_density_integrates_to_one():
    """E_phi[q_N(s) / phi(s)] = 1 over the three-dimensional state, phi heavy-tailed."""
    q, n = flow(), 50_000

    @jax.jit
    @jax.vmap
    def weight(key):
        keys = jax.random.split(key, 3)
        z = 2 * jax.random.t(keys[0], 3.0, (1,))
        p = 2 * jax.random.laplace(keys[1], (1,))
        log_phi = jax.scipy.stats.t.logpdf(z[0] / 2, 3.0) - jnp.log(2) + jax.scipy.stats.laplace.logpdf(p[0], scale=2.0)
        return jnp.exp(q.log_prob_augmented(z, p, jax.random.uniform(keys[2])) - log_phi)

    weights = weight(jax.random.split(jax.random.key(0), n))
    error = jnp.std(weights) / np.sqrt(n)
    assert abs(jnp.mean(weights) - 1) < 5 * error
    assert 5 * error < 0.05


def test_weights_of_draws_are_proper():
    q, n = flow(), 20_000
    z, log_r = jax.jit(jax.vmap(q.sample_and_log_prob))(jax.random.split(jax.random.key(0), n))
    phi = Gaussian(jnp.mean(z, 0), 0.7 * jnp.std(z, 0)[:, None])
    weights = jnp.exp(eqx.filter_jit(jax.vmap(phi.log_prob))(z) - log_r)
    error = jnp.std(weights) / np.sqrt(n)
    assert abs(jnp.mean(weights) - 1) < 5 * error
    assert 5 * error < 0.2


def test_bound_rises_with_the_number_of_moves_and_stays_below_the_evidence():
    narrow = DiagonalGaussian(jnp.array([0.3]), jnp.array([-1.5]))
    elbos = [checked_elbo(jax.random.key(0), flow(base=narrow, num_flows=n), LINE, 500) for n in (1, 6, 36)]
    assert all(e.share == 1 for e in elbos)
    values = [float(e.value) for e in elbos]
    assert values[0] < values[1] < values[2]
    assert values[2] < LOG_Z + 5 * elbos[2].standard_error
    assert values[2] > LOG_Z - 0.2


def test_a_draw_whose_orbit_cannot_be_inverted_has_no_weight():
    """Chaotic orbits on a narrow banana: density of another point, which must not enter a bound."""
    target = Banana(curvature=0.1, scale=10.0)
    base = DiagonalGaussian(jnp.array([0.0, 0.0]), jnp.log(jnp.array([10.0, 14.0])))
    q = MixFlow(target, base, step_size=0.3, num_flows=60, num_leapfrog=60)
    elbo = checked_elbo(jax.random.key(0), q, target, 400)
    assert 0 < elbo.share < 1
    assert jnp.all(elbo.log_weights[elbo.errors > q.tolerance] == -jnp.inf)
    assert elbo.value < 5 * elbo.standard_error
    draws = jax.jit(jax.vmap(q.sample_and_log_prob))(jax.random.split(jax.random.key(0), 400))
    # which orbits are lost depends on rounding, and so on the program
    assert abs(jnp.mean(jnp.isinf(draws[1])) + elbo.share - 1) < 5 * 0.5 / np.sqrt(400)


def test_its_certificate_never_claims_evidence_that_is_not_there():
    target = Banana(curvature=0.1, scale=10.0)
    base = DiagonalGaussian(jnp.array([0.0, -9.5]), jnp.array([0.8, 0.0]))
    q = MixFlow(target, base, step_size=0.3, num_flows=20, num_leapfrog=20)
    certificate = jn.certify(DensityPosterior(target.space, q), target, jax.random.key(1), num_draws=500)
    assert certificate.evidence_lower is None or certificate.evidence_lower < 0.5
    assert not certificate.passed


def test_only_base_and_step_size_are_trained():
    trained, _ = flow().partition()
    assert len(jax.tree.leaves(trained)) == 3

    def loss(trained, rest):
        return checked_elbo(jax.random.key(0), eqx.combine(trained, rest), LINE, 50).value

    gradient = eqx.filter_jit(jax.grad(loss))(*flow().partition())
    assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_bad_settings_are_met_at_the_door():
    with pytest.raises(InputError, match="num_flows"):
        flow(num_flows=0)
    with pytest.raises(InputError, match="dimension 2, the target 1"):
        MixFlow(LINE, DiagonalGaussian(jnp.zeros(2), jnp.zeros(2)))
    with pytest.raises(InputError, match="saved as draws"):
        MixFlow.from_config({"dimension": 1})

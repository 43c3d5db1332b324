"""What the objectives converge to as draws grow: divergences in closed form, or by quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.objectives.gaussians import (
    AT,
    LOG_Z,
    MEAN,
    SCALE,
    TARGET,
    WEIGHTS,
    agrees,
    expected,
    nodes,
    q_of,
    replicates,
)

from jensen.families import Gaussian, GaussianMixture, kl_gaussian
from jensen.gradient_estimators import DoublyReparameterised, Reparameterisation, ScoreFunction
from jensen.objectives import (
    ChiDivergence,
    Cubo,
    FDivergence,
    ForwardChi,
    ForwardKL,
    ImportanceWeighted,
    MaximumLikelihood,
    NegativeElbo,
    PathMaximumLikelihood,
    Renyi,
    ThermodynamicObjective,
    generators,
)
from jensen.targets import from_log_density

K = 4000
P = Gaussian(jnp.array([MEAN]), jnp.array([[SCALE]]))


def gaussian(at):
    return Gaussian(at[:1], jnp.exp(at[1:])[None])


Q = gaussian(AT)
NARROW = jnp.array([0.3, -0.4])  # than p, so that the moments of 1 / w exist


def renyi_divergence(alpha, q, p):
    """D_alpha(q || p) of two Gaussians on the line. Gil, Alajaji and Linder (2013)."""
    s, t = q.scale_tril[0, 0] ** 2, p.scale_tril[0, 0] ** 2
    mixed = alpha * t + (1 - alpha) * s
    shift = alpha * (q.mean[0] - p.mean[0]) ** 2 / (2 * mixed)
    return shift + jnp.log(t / s) / 2 + jnp.log(t / mixed) / (2 * (alpha - 1))


def values(objective, at=AT):
    return replicates(objective, 64, at)[0][:, None]


@pytest.mark.parametrize(("alpha", "at"), [(0.3, AT), (0.7, AT), (2.0, NARROW)])
def test_renyi(alpha, at):
    truth = renyi_divergence(alpha, gaussian(at), P) - LOG_Z
    agrees(values(Renyi(alpha, K, Reparameterisation(1)), at), truth[None], 0.1)


@pytest.mark.parametrize("order", [2.0, 3.0])
def test_cubo_is_renyis_divergence_of_the_posterior_above_the_evidence(order):
    """CUBO_n = log Z + (n - 1) / n D_n(p || q)."""
    truth = LOG_Z + (order - 1) / order * renyi_divergence(order, P, Q)
    assert truth > LOG_Z
    agrees(values(Cubo(order, K, Reparameterisation(1))), truth[None], 0.1)
    exponentiated = values(ChiDivergence(order, 0.5, Reparameterisation(K)))
    agrees(exponentiated, jnp.exp(order * (truth - 0.5))[None], 0.2)


def test_a_sampled_cubo_is_no_upper_bound():
    """A q that is too narrow: CUBO_2 is infinite, and its estimates lie below the evidence."""
    q = q_of(jnp.array([-1.0, -1.5]))
    estimate = eqx.filter_jit(jax.vmap(lambda k: Cubo(num_weights=64).loss(k, q, TARGET).value))(
        jax.random.split(jax.random.key(0), 99)
    )
    assert Cubo.bound is None
    assert jnp.mean(estimate) < LOG_Z - 5 * jnp.std(estimate) / np.sqrt(99)


@pytest.mark.parametrize("f", generators.GENERATORS, ids=lambda f: f.name.split(",")[0])
def test_f_divergences(f):
    _, log_w = nodes(AT)
    log_r = log_w - LOG_Z
    truth = WEIGHTS @ f(jnp.exp(log_r))
    agrees(values(FDivergence(f, K, Reparameterisation(1))), truth[None], 0.3)
    assert np.allclose(f(jnp.exp(log_r)), f.of_log(log_r), rtol=1e-9, atol=1e-12)


def test_kullback_leibler_both_ways_and_jeffreys():
    """Three generators against the closed form of Gaussians."""
    there, back = kl_gaussian(P, Q), kl_gaussian(Q, P)
    for f, truth in (
        (generators.FORWARD_KL, there),
        (generators.REVERSE_KL, back),
        (generators.JEFFREYS, there + back),
    ):
        agrees(values(FDivergence(f, K, Reparameterisation(1))), truth[None], 0.3)


WEIGHT = {  # the table of the paper, in the order of GENERATORS
    "h": (
        lambda r: 1.0,
        lambda r: r,
        lambda r: r / (r + 1),
        lambda r: 1 / (r + 1),
        lambda r: 1 + r,
        lambda r: r**0.5 / 4,
        lambda r: 2 * r**2,
    )
}


@pytest.mark.parametrize("i", range(7))
def test_weights_of_the_path_gradient(i):
    for r in (0.01, 0.5, 1.0, 3.0, 40.0):
        assert np.isclose(generators.GENERATORS[i].weight(r), WEIGHT["h"][i](r), rtol=1e-9)


def test_the_constant_of_f_does_not_count():
    f, g = FDivergence(lambda r: r * jnp.log(r)), FDivergence(lambda r: r * jnp.log(r) + 3.0)
    a, b = (o.loss(jax.random.key(0), Q, TARGET).value for o in (f, g))
    assert jnp.allclose(a, b, atol=1e-12)


def test_thermodynamic_objective_is_a_left_sum_over_the_path():
    """E_{pi_b}[log w] of Gaussians by quadrature over q reweighted by w^b."""
    objective = ThermodynamicObjective(num_weights=K, estimator=Reparameterisation(1))
    _, log_w = nodes(AT)
    parts = [WEIGHTS @ (jnp.exp(b * log_w) * log_w) / (WEIGHTS @ jnp.exp(b * log_w)) for b in objective.points[:-1]]
    truth = -jnp.diff(objective.points) @ jnp.stack(parts)
    elbo, _ = replicates(NegativeElbo(Reparameterisation(K)), 64)
    agrees(values(objective), truth[None], 0.1)
    assert -LOG_Z < truth < elbo.mean()


def test_forward_kl_by_reweighting():
    objective = ForwardKL(num_weights=K)
    got, gradients = replicates(objective, 256)
    agrees(got[:, None], kl_gaussian(P, Q)[None], 0.1)
    slope = eqx.filter_jit(jax.grad(lambda at: kl_gaussian(P, gaussian(at))))(AT)
    agrees(gradients, slope, 0.1)
    one = objective.loss(jax.random.key(0), q_of(AT), TARGET)
    assert 0.8 < one.standard_error / np.std(got) < 1.25  # to first order, and over 256 replicates


@pytest.mark.parametrize("order", [2.0, 3.0])
def test_forward_chi_by_reweighting(order):
    objective = ForwardChi(order, num_weights=K)
    got, gradients = replicates(objective, 256)
    truth = lambda at: LOG_Z + (order - 1) / order * renyi_divergence(order, P, gaussian(at))  # noqa: E731
    agrees(got[:, None], truth(AT)[None], 0.1)
    agrees(gradients, eqx.filter_jit(jax.grad(truth))(AT), 0.2)
    one = objective.loss(jax.random.key(0), q_of(AT), TARGET)
    assert 0.7 < one.standard_error / np.std(got) < 1.4


def test_maximum_likelihood_and_its_path_gradient():
    """Both estimate the gradient of KL(p || q), on exact draws of p; the second is zero where q = p."""
    draws = P.mean + SCALE * jax.random.normal(jax.random.key(3), (200_000, 1))
    slope = eqx.filter_jit(jax.grad(lambda at: kl_gaussian(P, gaussian(at))))(AT)
    for cls in (MaximumLikelihood, PathMaximumLikelihood):
        got, gradients = replicates(cls(draws, batch_size=4), 20_000)
        agrees(got[:, None], (kl_gaussian(P, Q) + LOG_Z)[None], 0.1)
        agrees(gradients, slope, 0.3)
    still = eqx.filter_jit(
        jax.grad(lambda q: PathMaximumLikelihood(draws).loss(jax.random.key(0), q, TARGET).surrogate)
    )(P)
    noisy = eqx.filter_jit(jax.grad(lambda q: MaximumLikelihood(draws).loss(jax.random.key(0), q, TARGET).surrogate))(P)
    assert max(jnp.max(jnp.abs(g)) for g in jax.tree.leaves(still)) < 1e-12
    assert max(jnp.max(jnp.abs(g)) for g in jax.tree.leaves(noisy)) > 1e-3


def test_score_function_trains_a_mixture():
    """A q that is not reparameterised: the gradient of its ELBO against quadrature on a grid."""
    q = GaussianMixture(jnp.array([0.2, -0.3]), jnp.array([[-1.0], [0.8]]), jnp.array([[[0.9]], [[0.5]]]))
    grid = jnp.linspace(-12, 12, 4001)[:, None]

    def exact(q):
        log_q, log_p = jax.vmap(q.log_prob)(grid), jax.vmap(TARGET.log_density)(grid)
        return jnp.sum(jnp.exp(log_q) * (log_q - log_p)) * (grid[1, 0] - grid[0, 0])

    truth = jax.jit(jax.grad(exact))(q)
    objective = NegativeElbo(ScoreFunction(num_draws=8))
    gradient = jax.grad(lambda q, k: objective.loss(k, q, TARGET).surrogate)
    rows = jax.jit(jax.vmap(lambda k: gradient(q, k)))(jax.random.split(jax.random.key(2), 10_000))
    for got, exact_slope in zip(jax.tree.leaves(rows), jax.tree.leaves(truth), strict=True):
        agrees(got, exact_slope, 0.6)


def test_an_objective_without_data_is_not_confused_by_scale():
    """The divergences do not change when p is multiplied by a constant."""
    other = from_log_density(lambda z: TARGET.log_density(z) + 5.0, jnp.zeros(1))
    for objective in (FDivergence(), ForwardKL()):
        a, b = (objective.loss(jax.random.key(0), Q, t).value for t in (TARGET, other))
        assert jnp.allclose(a, b, atol=1e-9)


def log_rayleigh(z):
    """z exp(-z^2 / 2) on the right half: continuous at its edge, where paths would not see a jump."""
    inside = z[0] > 0
    return jnp.where(inside, jnp.log(jnp.where(inside, z[0], 1.0)) - 0.5 * z[0] ** 2, -jnp.inf)


HALF = from_log_density(log_rayleigh, jnp.zeros(1))


@pytest.mark.parametrize(
    "objective",
    [
        ForwardKL(),
        ForwardChi(),
        Cubo(estimator=DoublyReparameterised(2)),
        ImportanceWeighted(16, DoublyReparameterised(2)),
        *(
            FDivergence(f)
            for f in (
                generators.FORWARD_KL,
                generators.JENSEN_SHANNON,
                generators.SQUARED_HELLINGER,
                generators.PEARSON,
            )
        ),
    ],
    ids=lambda o: f"{type(o).__name__}{getattr(getattr(o, 'f', None), 'name', '')[:7]}",
)
def test_draws_where_p_is_zero_count_as_weights_of_zero(objective):
    """A posterior on half of the line: values and gradients stay finite, as the divergences do."""
    q = q_of(AT)
    estimate = objective.loss(jax.random.key(0), q, HALF)
    gradient = eqx.filter_jit(jax.grad(lambda q: objective.loss(jax.random.key(0), q, HALF).surrogate))(q)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((estimate, gradient)))
    assert gradient.mean[0] < 0  # towards the half that has mass


def test_the_elbo_where_p_is_zero_is_infinite():
    assert NegativeElbo().loss(jax.random.key(0), q_of(AT), HALF).value == jnp.inf


@pytest.mark.parametrize("f", [generators.REVERSE_KL, generators.JENSEN_SHANNON, generators.PEARSON])
def test_f_divergences_with_the_evidence_known_are_without_bias(f):
    """Value and gradient of one weight against quadrature; they are not those of the posterior up to a constant."""
    objective = FDivergence(f, 1, DoublyReparameterised(1), LOG_Z)
    value, gradient = replicates(objective, 40_000)

    def exact(at):
        return expected(lambda log_w: f.of_log(log_w[0] - LOG_Z), at, 1)

    agrees(value, exact(AT), 0.2)
    agrees(gradient, jax.grad(exact)(AT), 0.2)

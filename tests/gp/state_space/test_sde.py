import jax.numpy as jnp
import numpy as np
import pytest
import tinygp
from scipy.linalg import expm, solve_continuous_lyapunov

from jensen.gp.kernels.dot_product import Periodic
from jensen.gp.kernels.hida_matern import HidaMatern
from jensen.gp.kernels.stationary import Matern12, Matern32, Matern52
from jensen.gp.state_space import Matern, state_space_form
from jensen.gp.state_space.matern import constants


def correlation(q):
    scale = np.sqrt(np.diag(q))
    return q / np.outer(scale, scale)


GAPS = jnp.asarray([0.0, 1e-5, 0.01, 0.3, 1.0, 1.1, 4.0])


@pytest.mark.parametrize(
    "kernel",
    [Matern12(0.8), Matern32(0.8, 2.0), Matern52(0.8), HidaMatern(4, 0.8), HidaMatern(1, 0.8, 3.0, 2.0)],
    ids=["1/2", "3/2", "5/2", "9/2", "Hida-Matern"],
)
def test_a_form_has_its_kernel_and_stays_stationary(kernel):
    form = state_space_form(kernel)
    h, p, phi, q = form.readout(), form.stationary(), form.transition(GAPS), form.noise(GAPS)
    np.testing.assert_allclose(jnp.einsum("i,ijb,jk,k->b", h, phi, p, h), kernel(GAPS, jnp.zeros(1))[:, 0], atol=1e-13)
    np.testing.assert_allclose(
        jnp.einsum("ijb,jk,lkb->ilb", phi, p, phi) + q, jnp.broadcast_to(p[..., None], q.shape), atol=1e-12
    )


@pytest.mark.parametrize("order", range(5))
def test_the_constants_are_those_of_the_differential_equation(order):
    size = order + 1
    companion = np.diag(np.ones(order), 1)
    companion[-1] = -np.poly(-np.ones(size))[::-1][:size]
    noise = np.zeros((size, size))
    noise[-1, -1] = 1.0
    stationary = solve_continuous_lyapunov(companion, -noise)
    scale = np.sqrt(np.diag(stationary))
    _, p, _, _ = constants(order)
    np.testing.assert_allclose(p, stationary / np.outer(scale, scale), atol=1e-10)
    form = Matern(order, jnp.asarray(np.sqrt(2 * order + 1)), jnp.asarray(1.0))
    for u in (0.2, 1.7):
        truth = expm(companion * u) * scale / scale[:, None]
        np.testing.assert_allclose(form.transition(jnp.asarray([u]))[..., 0], truth, atol=1e-12)


@pytest.mark.parametrize("order", range(4))
def test_the_noise_of_small_gaps_has_full_relative_accuracy(order):
    # to leading order Q is that of the (p + 1)-fold integral of white noise, a Hankel matrix over factorials
    u = 1e-6
    form = Matern(order, jnp.asarray(np.sqrt(2 * order + 1)), jnp.asarray(1.0))
    found = np.asarray(form.noise(jnp.asarray([u]))[..., 0])
    powers = order - np.arange(order + 1)
    factorial = np.array([float(np.prod(np.arange(1, m + 1))) for m in powers])
    total = powers[:, None] + powers + 1
    truth = u**total / (total * factorial[:, None] * factorial)
    np.testing.assert_allclose(correlation(found), correlation(truth), rtol=1e-5)
    assert np.all(np.linalg.eigvalsh(correlation(found)) > 0)
    difference = 1.0 - form.transition(jnp.asarray([u]))[0, 0, 0] ** 2  # the naive form of Q, an upper bound
    assert found[0, 0] <= difference + 1e-15


def test_harmonics_of_a_periodic_kernel_converge():
    kernel, t = Periodic(1.0, 2.0), jnp.linspace(0.0, 2.0, 50)

    def error(harmonics):
        form = state_space_form(kernel, harmonics)
        found = jnp.einsum("i,ijb,jk,k->b", form.readout(), form.transition(t), form.stationary(), form.readout())
        return float(jnp.max(jnp.abs(found - kernel(t, jnp.zeros(1))[:, 0])))

    assert error(8) < 1e-7
    assert error(3) > 1e3 * error(8)


def test_kernels_of_tinygp_are_taken_as_they_are():
    quasisep = tinygp.kernels.quasisep
    oscillator = quasisep.SHO(omega=jnp.asarray(2.0), quality=jnp.asarray(1.3))
    kernel = oscillator + 2.0 * quasisep.Celerite(a=1.0, b=0.2, c=0.7, d=3.0)
    form = state_space_form(kernel)
    found = jnp.einsum("i,ijb,jk,k->b", form.readout(), form.transition(GAPS), form.stationary(), form.readout())
    truth = [kernel.evaluate(gap, jnp.zeros(())) for gap in GAPS]
    np.testing.assert_allclose(found, truth, atol=1e-13)
    kept = jnp.einsum("ijb,jk,lkb->ilb", form.transition(GAPS), form.stationary(), form.transition(GAPS))
    whole = jnp.broadcast_to(form.stationary()[..., None], kept.shape)
    np.testing.assert_allclose(kept + form.noise(GAPS), whole, atol=1e-12)

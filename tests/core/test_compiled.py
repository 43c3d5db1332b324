import threading

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen._run import chunk
from jensen.algorithms.derivatives import HessianDraws
from jensen.core import at_step, stream
from jensen.core.compiled import PASSES, WHILE, WORK, Compiled, density_work, haste


def quadratic(z, scale):
    return -0.5 * jnp.sum((z / scale) ** 2)


def looped(z):
    return -jax.lax.fori_loop(0, 50, lambda i, s: s + jnp.sum(z**2), jnp.zeros((), z.dtype))


def unbounded(z):
    return -jax.lax.while_loop(lambda s: s < 3.0, lambda s: s + 1 + jnp.sum(z**2) * 0, jnp.zeros((), z.dtype))


def large(z, x):
    return -jnp.sum(jnp.exp(x * z[0]) ** 2)


@pytest.mark.optimised
def test_both_forms_give_the_same_value():
    double = Compiled(lambda x: jnp.linalg.cholesky(x @ x.T + jnp.eye(4)).sum())
    x = jax.random.normal(jax.random.key(0), (4, 4))
    assert haste()  # this version of XLA knows the options
    np.testing.assert_allclose(double.hasty(x), double.full(x), rtol=1e-5)
    np.testing.assert_allclose(double.at(1)(x), double.full(x), rtol=1e-5)
    np.testing.assert_allclose(double(x), double.fn(x), rtol=1e-5)


@pytest.mark.parametrize(("small", "hasty"), [(10, False), (20_000, True), (PASSES, True)])
def test_large_arrays_are_worth_a_good_program(small, hasty):
    add = Compiled(lambda x: x + 1, small)
    assert (add.form(jnp.zeros(100)) is add.hasty) == hasty


def test_a_density_with_much_to_compute_is_worth_a_good_program():
    program = Compiled(lambda target, z: target.log_density(z))
    z = np.zeros(2)
    light = jn.targets.from_log_density(quadratic, z, np.ones(2))
    heavy = jn.targets.from_log_density(large, z, np.ones(WORK))
    assert program.form(light) is program.hasty
    assert program.form(heavy) is program.full
    assert program.form({"key": (heavy,)}) is program.full
    assert program.form(heavy, heavy=1) is program.at(1)
    assert program.form(light, heavy=1) is program.hasty
    assert program.form(light, evaluations=WORK, heavy=1) is program.at(1)


def test_a_target_may_name_its_level():
    program = Compiled(lambda target, z: target.log_density(z))
    tree = {"scale": jnp.ones(())}
    for level in (0, 1):
        target = jn.gp.EvidenceTarget(lambda tree, x: -jnp.sum(x * tree["scale"]), tree, np.ones(9), optimisation=level)
        assert program.form(target) is program.at(level)


@pytest.mark.parametrize("draws", [2, 1000])
def test_a_brief_run_is_compiled_better_the_more_its_steps_compute(draws):
    target = jn.targets.from_log_density(quadratic, np.zeros(100), np.ones(100))
    assert WORK / 1000 < density_work(target) < WORK / 2
    rule = jn.algorithms.NaturalGradientVI(derivatives=HessianDraws(draws))
    assert rule.evaluations == draws
    assert chunk.program(rule, target) is chunk.advance.at(0 if draws == 2 else 1)
    assert chunk.program(jn.algorithms.NUTS(), target) is chunk.advance.full


def test_work_counts_loops_as_often_as_they_run():
    z = np.zeros(2)
    once = density_work(jn.targets.from_log_density(quadratic, z, np.ones(2)))
    assert once < 20
    assert 50 * 2 <= density_work(jn.targets.from_log_density(looped, z)) <= 50 * 20
    assert density_work(jn.targets.from_log_density(unbounded, z)) >= WHILE


def test_within_a_trace_it_is_the_function_itself():
    square = Compiled(lambda x: jnp.sum(x**2))
    x = jnp.arange(3.0)
    np.testing.assert_allclose(jax.grad(square)(x), 2 * x)
    np.testing.assert_allclose(jax.jit(lambda: square(x))(), 5.0)


@pytest.fixture
def compilations():
    """Names of the programs that XLA compiled, with the thread that waited for it."""
    seen = []

    def listener(event, _, **about):
        if event.endswith("backend_compile_duration"):
            seen.append((about.get("fun_name"), threading.current_thread() is threading.main_thread()))

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listener)


@pytest.mark.parametrize("form", ["hasty", "full"])
def test_a_program_compiled_ahead_is_the_one_that_is_called(form, compilations):
    def cube_of_ahead(x):
        return jnp.sum(x**3)

    go, x = getattr(Compiled(cube_of_ahead), form), jax.device_put(np.arange(3.0))
    compilations.clear()
    assert go.ahead(x)
    assert not go.ahead(x + 1)  # for arrays of that shape it was done
    np.testing.assert_allclose(go(x), 9.0)
    np.testing.assert_allclose(go(2 * x), 72.0)
    assert [main for name, main in compilations if "cube_of_ahead" in name] == [False]


def test_ahead_of_a_program_that_cannot_be_traced_says_so_and_does_nothing_within_a_trace():
    go = Compiled(lambda x: jnp.reshape(x, (7,))).full
    with pytest.raises(TypeError):
        go.ahead(jnp.zeros(3))
    assert jax.jit(lambda x: x if not Compiled(jnp.sin).full.ahead(x) else -x)(1.0) == 1.0


def test_streams_are_those_of_jax_itself(key):
    assert jnp.array_equal(jax.random.key_data(stream(key, 5)), jax.random.key_data(jax.random.fold_in(key, 5)))
    traced = jax.jit(lambda t: at_step(key, t))(jnp.asarray(7))
    assert jnp.array_equal(jax.random.key_data(traced), jax.random.key_data(at_step(key, 7)))

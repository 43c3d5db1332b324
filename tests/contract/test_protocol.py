"""What every algorithm keeps to, whatever it computes: state, randomness, compilation, checkpoints, failure."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive
from jensen._run.chunk import begin, one_step
from jensen.core import Clock, DrawsPosterior, MissingCapability, NonFiniteDensity, StopCode
from tests.contract.cases import CASES, MODE, NOISY_MODE
from tests.contract.helpers import CHUNK, all_finite, assert_same_outcome, compilations, fitted
from tests.contract.target import broken_everywhere, noisy
from tests.killing import killed_at_save

# of the module, so that all tests of an algorithm come one after another, on one worker, and share its programs
pytestmark = pytest.mark.parametrize("name", CASES, scope="module")


def clock(t: int = 0, total: int = 10) -> Clock:
    return Clock(jnp.asarray(t, jnp.int32), jnp.asarray(total, jnp.int32))


def signature(tree):
    """Structure, shapes, dtypes and weak types."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [(x.shape, x.dtype, x.weak_type) for x in map(jax.typeof, leaves)]


def test_state_keeps_its_tree_dtypes_and_weak_types(name):
    algorithm, target = CASES[name].make(), CASES[name].target()
    state, _, _ = begin(algorithm, target, jax.random.key(0), None)
    new, _ = one_step(algorithm, jax.random.key(1), state, target, clock())
    assert signature(eqx.filter(new, eqx.is_array)) == signature(eqx.filter(state, eqx.is_array))
    assert not any(weak for *_, weak in signature(eqx.filter(state, eqx.is_array))[1])


def test_second_run_compiles_nothing(name):
    case = CASES[name]
    fitted(name).posterior.sample(jax.random.key(0), 10)
    target, algorithm = CASES[name].target(scale=2.0), case.make()
    settings, rest = eqx.partition(algorithm, eqx.is_inexact_array)
    # so near to one that a share of the run for warm-up stays the same number of steps: other draws have other shapes
    algorithm = eqx.combine(jax.tree.map(lambda s: 0.9999 * s, settings), rest)
    steps = case.steps + (not issubclass(algorithm.gives, DrawsPosterior))
    key = jax.random.key(17)
    with compilations() as count:
        outcome = drive(algorithm, target, key=key, steps=steps, chunk=CHUNK)
        outcome.posterior.sample(key, 10)
    assert len(count) == 0


def test_chunk_length_changes_no_bit(name):
    case = CASES[name]
    other = drive(case.make(), CASES[name].target(), key=jax.random.key(0), steps=case.steps, chunk=7)
    assert_same_outcome(other, fitted(name))


def test_killed_run_resumes_bit_for_bit(name, tmp_path, monkeypatch):
    case = CASES[name]
    run = dict(key=jax.random.key(0), steps=case.steps, chunk=7, checkpoint=tmp_path)
    killed_at_save(monkeypatch, 2)
    with pytest.raises(SystemExit):
        drive(case.make(), CASES[name].target(), **run)
    monkeypatch.undo()
    assert_same_outcome(drive(case.make(), CASES[name].target(), **run), fitted(name))


def test_vmap_over_keys_equals_a_loop(name):
    algorithm, target = CASES[name].make(), CASES[name].target()
    keys = jax.random.split(jax.random.key(3), 3)

    def begin_and_step(key):
        state, _, _ = begin(algorithm, target, key, None)
        return eqx.filter(one_step(algorithm, key, state, target, clock()), eqx.is_array)

    together = eqx.filter_jit(eqx.filter_vmap(begin_and_step))(keys)
    one_by_one = jax.tree.map(lambda *rows: jnp.stack(rows), *(begin_and_step(key) for key in keys))
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(one_by_one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_single_precision_stays_single(name):
    with jax.enable_x64(False):
        outcome = drive(CASES[name].make(), CASES[name].target(), key=jax.random.key(0), steps=5)
    for leaf in jax.tree.leaves(eqx.filter(outcome.state, eqx.is_inexact_array)):
        assert leaf.dtype == jnp.float32
    assert all_finite(eqx.filter(outcome.state, eqx.is_inexact_array))


def test_what_is_no_target_is_refused_before_tracing(name):
    algorithm, key = CASES[name].make(), jax.random.key(0)
    with compilations() as count, pytest.raises(MissingCapability, match="target is wanted"):
        drive(algorithm, lambda z: -z @ z, key=key)
    assert len(count) == 0


def test_noisy_target_is_refused_by_exact_methods_only(name):
    algorithm, target, key = CASES[name].make(), noisy(CASES[name].target()), jax.random.key(0)
    if algorithm.exact:
        with compilations() as count, pytest.raises(MissingCapability, match="exact log density"):
            drive(algorithm, target, key=key)
        assert len(count) == 0
    else:
        assert all_finite(drive(algorithm, target, key=key, steps=2).state)


def test_density_that_is_finite_nowhere_is_an_error(name):
    with pytest.raises(NonFiniteDensity, match="every starting point"):
        drive(
            CASES[name].make(),
            broken_everywhere(CASES[name].target),
            key=jax.random.key(0),
            steps=CASES[name].steps,
            chunk=CHUNK,
        )


def test_nan_on_the_way_ends_in_a_code_and_a_finite_state(name):
    case = CASES[name]
    outcome = drive(case.make(), CASES[name].target(hole=0.7), key=jax.random.key(0), steps=case.steps, chunk=CHUNK)
    assert isinstance(outcome.run.stop, StopCode)
    assert outcome.run.stop is not StopCode.CONTINUE
    assert all_finite(eqx.filter(outcome.state, eqx.is_inexact_array))


def test_draws_are_finite_in_support_and_named_as_in_the_model(name):
    draws = fitted(name).posterior.sample(jax.random.key(1), 200)
    assert set(draws) == {"mu", "sigma"}
    assert draws["mu"].shape == draws["sigma"].shape == (200, 2)
    assert all_finite(draws)
    assert np.all(draws["sigma"] > 0)
    if CASES[name].recovers not in (MODE, NOISY_MODE):
        assert np.std(draws["mu"]) > 0


def test_gives_what_it_declares(name):
    assert isinstance(fitted(name).posterior, CASES[name].make().gives)

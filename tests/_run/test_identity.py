"""Which differences between two runs are seen, how they are named, and that nothing else is taken for one."""

import dataclasses
import functools
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run._describe import describe
from jensen._run.identity import differences


def words(value) -> dict[str, str]:
    return describe(value, "x")


def scaled(scale):
    return lambda z: scale * jnp.sum(z**2)


def plain(z):
    return jnp.sum(z**2)


def with_default(z, power=2):
    return jnp.sum(z**power)


def changed(source: str):
    """A function `f` of a module of the user's, from its source."""
    module = types.ModuleType("of_the_user")
    exec(source, module.__dict__)
    return module.f


def test_arrays_are_told_apart_by_any_bit_and_equal_ones_are_not():
    a = np.arange(12.0).reshape(3, 4)
    assert words(a) == words(jnp.asarray(a)) == words(np.asfortranarray(a))
    for other in (a + 1e-15, a.T, a.reshape(4, 3), a.astype(np.float32), a[:2]):
        assert words(other) != words(a)
    assert words(jnp.asarray(0.1)) == {"x": "0.1"}
    assert words(jax.random.key(1)) != words(jax.random.key(2))


def test_functions_are_told_apart_by_what_they_do():
    assert words(scaled(2.0)) == words(scaled(2.0))
    assert words(scaled(2.0)) != words(scaled(3.0))
    assert words(scaled(jnp.ones(2))) != words(scaled(jnp.zeros(2)))
    assert words(functools.partial(with_default, power=3)) != words(functools.partial(with_default, power=4))
    assert words(jax.jit(plain)) == words(plain)
    base = changed("def g(z): return z + 1\nSCALE = 2.0\ndef f(z): return SCALE * g(z)")
    moved = changed("\n\n# a comment\ndef g(z):\n    return z + 1\nSCALE = 2.0\n\ndef f(z): return SCALE * g(z)")
    assert words(base) == words(moved)
    for source in (
        "def g(z): return z + 1\nSCALE = 3.0\ndef f(z): return SCALE * g(z)",
        "def g(z): return z + 2\nSCALE = 2.0\ndef f(z): return SCALE * g(z)",
        "def g(z): return z + 1\nSCALE = 2.0\ndef f(z): return SCALE + g(z)",
    ):
        assert words(changed(source)) != words(base)


def test_counts_and_caches_that_a_program_fills_are_no_difference():
    calls, cache = [], {}

    def counted(z):
        calls.append(1)
        cache["last"] = 1.0
        return z

    before = words(counted)
    counted(0.0)
    assert words(counted) == before


def test_what_holds_itself_and_what_is_deep_come_to_an_end():
    loop: list = []
    loop.append(loop)
    assert words(loop)

    def recursive(n):
        return recursive(n - 1) if n else 0

    assert words(recursive) == words(recursive)
    deep = current = []
    for _ in range(500):
        current.append([])
        current = current[0]
    assert words(deep)
    assert len(words(list(range(10**5)))) == 1


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    names: tuple = ("a", "b")
    where: object = None


def test_parts_have_readable_names():
    told = words({"inner": Settings(where=[np.zeros(2), None])})
    assert told["x['inner'].rate"] == "0.1"
    assert told["x['inner'].names"] == "('a', 'b')"
    assert told["x['inner'].where[1]"] == "None"
    assert told["x['inner'].where[0]"].startswith("float64[2] sha256:")


HERE = {
    "Jensen": "0.2.0 (code 1)",
    "Python": "3.11",
    "steps": "2000",
    "algorithm": "jensen.algorithms.GradientVI",
    "algorithm.learning_rate": "0.2",
    "target": "of_the_user.Target code 12",
    "target.rows": "float64[10] sha256:aa",
    "target.fn": "of_the_user.f code ab",
}


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({}, []),
        ({"Jensen": "0.1.0 (code 2)"}, ["Jensen 0.1.0 (code 2) wrote it, this is 0.2.0 (code 1)"]),
        ({"steps": "1000"}, ["steps 1000 vs 2000"]),
        ({"algorithm.learning_rate": "0.1"}, ["learning_rate 0.1 vs 0.2"]),
        ({"target.rows": "float64[10] sha256:bb"}, ["the data differ: leaf .rows of Target"]),
        (
            {"target.rows": "float64[9] sha256:bb"},
            ["the data differ: leaf .rows of Target (float64[9] vs float64[10])"],
        ),
        ({"target.fn": "of_the_user.f code cd"}, ["the code of of_the_user.f (target.fn) differs"]),
        ({"Python": "3.12", "target.fn": "of_the_user.f code cd"}, ["Python 3.12 vs 3.11"]),
        ({"algorithm.new": "1"}, ["new 1 vs absent"]),
    ],
)
def test_differences_in_words(change, want):
    assert differences(HERE | change, HERE) == want


def test_many_differences_are_counted():
    there = HERE | {f"target.x[{i}]": f"float64[1] sha256:{i}" for i in range(10)}
    assert differences(there, HERE)[-1] == "6 more"


EVERYWHERE = """
import jax, sys
jax.config.update("jax_enable_x64", True)
from jensen._run.identity import identity
from tests.contract.cases import CASES
import jensen as jn, hashlib, pandas as pd, numpy as np
parts = {}
for name in CASES:
    parts[name] = identity(CASES[name].make(), CASES[name].target(), jax.random.key(0), start=None)
frame = pd.DataFrame({"y": np.arange(12.0), "x": np.arange(12.0) ** 2, "g": list("aabbccddeeff")})
target = jn.targets.from_formula("y ~ x + (1|g)", frame)
parts["formula"] = identity(jn.algorithms.Laplace(), target, jax.random.key(0), start=None)
print(hashlib.sha256(repr(parts).encode()).hexdigest() if len(sys.argv) < 2 else parts)
"""


def test_the_same_run_has_the_same_identity_in_every_process():
    """All algorithms and targets of the contract, and a formula, under another seed of Python's hashes."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    told = [
        subprocess.run(
            [sys.executable, "-c", EVERYWHERE],
            env=environment | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=500,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 65

"""Which leaves of targets and states are shared over a mesh; no devices are needed to say so."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import polars as pl
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from jensen._run.spread import row_count, spread_target, state_specs
from jensen.algorithms import CVI, NUTS, BatchMatch, GradientVI
from jensen.core import InputError
from jensen.core.parallel import axis_size, gathered, spread
from jensen.gp import LatentModel, likelihoods
from jensen.gp.kernels import RBF
from jensen.gp.priors import Dense, Inducing
from jensen.targets import (
    Minibatched,
    Tempered,
    from_formula,
    from_log_density,
    from_numpyro,
    from_rows,
)

N, WIDTH = 11, 3
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, WIDTH)), RNG.normal(size=N)


def rows():
    return from_rows(lambda b: -jnp.sum(b**2), lambda b, r: -((r[1] - r[0] @ b) ** 2), (X, Y), jnp.zeros(WIDTH))


def model(x, y, plate=False):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([WIDTH]).to_event(1))
    if not plate:
        numpyro.sample("y", dist.Normal(x @ b, 1), obs=y)
        return
    with numpyro.plate("rows", N, subsample_size=4) as i:
        numpyro.sample("y", dist.Normal(x[i] @ b, 1), obs=y[i])


def process(prior, *args):
    return LatentModel(prior(RBF(1.0, 1.0), X, *args), likelihoods.Gaussian(0.1), Y)


FRAME = pl.DataFrame({"y": Y, "a": X[:, 0]})
NORMAL = from_log_density(lambda z, s: -jnp.sum((z / s) ** 2), jnp.zeros(N), np.ones(N))
# (target, shapes of what is shared, before it is filled up to 12 rows)
SHARED = {
    "rows": (rows, {(N, WIDTH), (N,)}),
    "minibatches": (lambda: Minibatched(rows(), 4), {(N, WIDTH), (N,)}),
    "tempered": (lambda: Tempered(rows(), 0.5), {(N, WIDTH), (N,)}),
    "numpyro": (lambda: from_numpyro(model, X, Y), {(N, WIDTH), (N,)}),
    "formula": (lambda: from_formula("y ~ a", FRAME), {(N, 1), (N,)}),
    "sparse process": (lambda: process(Inducing, X[:2]), {(N, WIDTH), (N,)}),
    "dense process": (lambda: process(Dense), {(N, WIDTH), (N,)}),
    "plate": (lambda: from_numpyro(model, X, Y, plate=True), {(N,)}),
    "no rows": (lambda: NORMAL, set()),
}


def over(**sizes):
    mesh = AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
    return jax.sharding.use_abstract_mesh(mesh)


@pytest.mark.parametrize("name", SHARED)
def test_rows_are_shared_and_all_else_is_whole(name):
    make, shapes = SHARED[name]
    target, put = make(), []

    def note(leaf, spec, length):
        put.append((leaf.shape, spec, length, leaf))
        return leaf

    placed = spread_target(target, 4, note)
    assert {shape for shape, spec, _, _ in put if spec == PartitionSpec("data")} == shapes
    assert all(length == (12 if spec == PartitionSpec("data") else None) for _, spec, length, _ in put)
    assert len({id(leaf) for *_, leaf in put}) == len(put)  # a model's data stand in its space too, and go over once
    if name == "plate":  # its data are indexed by the model itself, the index is what is shared
        assert {leaf.dtype.kind for _, spec, _, leaf in put if spec == PartitionSpec("data")} == {"i"}
    z = jnp.linspace(-1, 1, target.space.dimension)
    inner = target.target if name == "minibatches" else target
    np.testing.assert_allclose(placed.log_density(z), inner.log_density(z), rtol=1e-12)


def test_filling_is_taken_off_again():
    def filled(leaf, spec, length):
        more = 0 if length is None else length - len(leaf)
        return jnp.concatenate([leaf, jnp.full((more, *leaf.shape[1:]), jnp.nan)]) if more else leaf

    placed = spread_target(rows(), 4, filled)
    z = jnp.linspace(-1, 1, WIDTH)
    assert {a.shape[0] for a in placed.leaves if a.ndim} == {12}
    value, slope = jax.jit(jax.value_and_grad(placed.log_density))(z)
    np.testing.assert_allclose(value, rows().log_density(z), rtol=1e-12)
    np.testing.assert_allclose(slope, jax.grad(rows().log_density)(z), rtol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "algorithm", "target", "wanted"),
    [
        ({"draws": 4}, NUTS(chains=8), NORMAL, {(8, N): "draws", (8,): "draws", (N,): None}),
        ({"draws": 3}, NUTS(chains=8), NORMAL, {(8, N): None}),
        ({"parameters": 11}, GradientVI(), NORMAL, {(N, N): "parameters", (N,): "parameters", (): None}),
        ({"data": 11}, CVI(), process(Inducing, X[:2]), {(N, 1): "data", (2, 2): None}),
        ({"data": 2, "draws": 2}, BatchMatch(), rows(), {(WIDTH, WIDTH): None}),
    ],
    ids=["chains", "chains that do not divide", "factor", "sites", "a Gaussian"],
)
def test_a_state_is_shared_by_the_length_of_its_leading_axes(sizes, algorithm, target, wanted):
    state = [jnp.zeros(shape) for shape in wanted]
    with over(**sizes):
        specs = state_specs(state, algorithm, target)
    axes = [None if spec == PartitionSpec() else spec[0] for spec in specs]
    assert axes == list(wanted.values())


def test_rows_are_counted_through_wrappers():
    assert row_count(Tempered(from_numpyro(model, X, Y), 0.5)) == N
    assert row_count(Minibatched(rows(), 4)) == N
    assert row_count(NORMAL) == 0


def test_words_for_a_mesh_are_nothing_without_one_and_in_a_mesh_of_others():
    x = jnp.arange(8.0)
    assert axis_size("data") == 1
    assert spread(x) is x
    assert gathered(x) is x
    mesh = AbstractMesh((4,), ("batch",), axis_types=(AxisType.Auto,))
    with jax.sharding.use_abstract_mesh(mesh):
        assert axis_size("batch") == 1
        assert gathered(x) is x


def test_local_mesh_refuses_sizes_that_are_none():
    from jensen import local_mesh

    assert dict(local_mesh(data=1).shape) == {"data": 1}
    for sizes in ({"data": 0}, {"data": 2.0}, {"data": True}, {"rows": 1}):
        with pytest.raises(InputError, match="mesh"):
            local_mesh(**sizes)

"""Streamed rows: each once an epoch, unbiased at each step, the same bits after any resume, an honest certificate."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from tests.contract.helpers import compilations

import jensen as jn
from jensen._run import drive
from jensen.algorithms import IVON, SGHMC, GradientVI, Laplace, StochasticCVI
from jensen.core import InputError, MissingCapability, Noisy, StopCode, StorageError, Streams
from jensen.datasets import generate_rows, open_rows
from jensen.targets import Streamed, from_log_density, from_numpyro, from_rows
from jensen.targets.streaming import AllRows
from jensen.targets.streaming._order import EpochOrder

N, D = 103, 2
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, D))
Y = X @ np.array([1.0, -0.5]) + 0.5 * RNG.normal(size=N)
KEY = jax.random.key(7)
Z = jnp.array([0.3, -0.2])


def log_prior(beta):
    return -0.5 * jnp.sum(beta**2)


def log_likelihood(beta, rows):
    return -2.0 * (rows["y"] - rows["x"] @ beta) ** 2


def make(rows):
    return from_rows(log_prior, log_likelihood, rows, jnp.zeros(D))


def data(low, high):
    return {"x": X[low:high], "y": Y[low:high]}


def source(block=17):
    return generate_rows(data, N, block=block)


FULL = make(data(0, N))
# least squares with noise of variance 1/4 and a N(0, 1) prior
PRECISION = np.eye(D) + 4 * X.T @ X
MEAN = np.linalg.solve(PRECISION, 4 * X.T @ Y)


def streamed(batch_size=10, window=600, **options):
    return Streamed(make, source(), batch_size, window=window, **options)


def numbers(target, t):
    """Which rows step t sees, by their values, without those that only fill up."""
    batch = target.realise_at(KEY, t)
    rows = np.asarray(batch.rows.data["y"])[np.asarray(batch.weights) > 0]
    return [int(np.argmin(np.abs(Y - y))) for y in rows]


@pytest.mark.parametrize(("batch_size", "window"), [(10, 600), (1, 1), (103, 10**6), (40, 1), (7, 10**6)])
def test_every_row_is_seen_exactly_once_an_epoch(batch_size, window):
    target = streamed(batch_size, window)
    epochs = []
    for epoch in range(2):
        seen = [numbers(target, epoch * target.epoch + t) for t in range(target.epoch)]
        assert {len(rows) for rows in seen} <= {N // target.epoch, -(-N // target.epoch)}
        assert max(len(rows) for rows in seen) <= batch_size
        epochs.append([i for rows in seen for i in rows])
        assert sorted(epochs[-1]) == list(range(N))
    assert epochs[0] != epochs[1]


def test_the_gradients_of_an_epoch_average_to_that_of_all_rows():
    """By rows held; to rounding. And they differ from one another, or the test would see nothing."""
    target = streamed()
    assert N % target.epoch  # some batches are filled up
    both = jax.value_and_grad(lambda z, seen: seen.log_density(z))
    values, gradients, shares = [], [], []
    for t in range(target.epoch):
        batch = target.realise_at(KEY, t)
        value, gradient = both(Z, batch)
        values.append(value), gradients.append(gradient), shares.append(np.sum(np.asarray(batch.weights) > 0) / N)
    value, gradient = both(Z, FULL)
    np.testing.assert_allclose(np.dot(shares, values), value, rtol=1e-12)
    np.testing.assert_allclose(np.dot(shares, gradients), gradient, rtol=1e-12)
    assert np.std(values) > 1.0


def test_every_row_is_at_every_place_with_the_same_probability():
    """Exactly: over all entrances of the circle of blocks, each row is once at each place, however long blocks are."""
    order, sizes = EpochOrder((1, 9, 4), 5, 2), (1, 9, 4)
    begins = np.cumsum([0, *sizes])
    counts = np.zeros((14, 14), int)
    for words in range(400):
        at = [begins[b] + i for b, low, high in order.pieces((words,), 0, 0, 14) for i in range(low, high)]
        assert sorted(at) == list(range(14))
        counts[at, np.arange(14)] += 1
    for row in (0, 3, 12):
        assert scipy.stats.chisquare(counts[row]).pvalue > 1e-6
    for (low, high), words in itertools.product([(0, 3), (5, 14), (13, 14)], range(3)):
        whole = [(b, i) for b, a, e in order.pieces((words,), 1, 0, 14) for i in range(a, e)]
        part = [(b, i) for b, a, e in order.pieces((words,), 1, low, high) for i in range(a, e)]
        assert part == whole[low:high]


def test_one_window_is_a_uniform_permutation():
    order = EpochOrder((5, 3, 4), 3, 3)
    firsts = np.zeros(12, int)
    for words in range(3000):
        rows = [b * 10 + i for b, low, high in order.pieces((words,), 0, 0, 12) for i in range(low, high)]
        firsts[sorted(rows).index(np.asarray(rows)[order.shuffle((words,), 0, 0)][0])] += 1
    assert scipy.stats.chisquare(firsts).pvalue > 1e-6


@pytest.mark.parametrize("t", [0, 1, 5, 10, 11, 23, 40])
def test_batches_are_a_function_of_the_step_alone(t):
    """Whoever asks for step t, in whatever order and number, gets the same bits."""
    one, other = streamed(), streamed()
    many = one.feed(KEY, max(0, t - 2), t + 1, 4)
    alone = other.realise_at(KEY, t)
    again = many.fed_at(KEY, jnp.asarray(t))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_processes_read_their_own_shards_and_add_up_to_all():
    """Three processes: every row belongs to one of them, and their shares of the log likelihood sum to all of it."""
    parts = [streamed(process=(p, 3)) for p in range(3)]
    seen = [[i for t in range(part.epoch) for i in numbers(part, t)] for part in parts]
    assert sorted(itertools.chain(*seen)) == list(range(N))
    owners = [{i // 17 for i in rows} for rows in seen]
    assert all(not a & b for a, b in itertools.combinations(owners, 2))  # whole blocks
    assert len({part.feeder.rows for part in parts}) == len({part.epoch for part in parts}) == 1
    passes = [AllRows(part.template, part.places, part.feeder) for part in parts]
    total = sum(rows.log_density(Z) - FULL.log_prior(Z) for rows in passes)
    with pytest.raises(MissingCapability, match="share of process 1 of 3"):
        drive(GradientVI(), parts[1], key=KEY, steps=1)
    with pytest.raises(MissingCapability, match="share of process 1 of 3"):
        _ = parts[1].exact
    np.testing.assert_allclose(total, FULL.log_density(Z) - FULL.log_prior(Z), rtol=1e-12)
    held = [np.sum([np.sum(part.realise_at(KEY, t).weights) for t in range(part.epoch)]) for part in parts]
    np.testing.assert_allclose(sum(held), N * parts[0].epoch)
    with pytest.raises(InputError, match="as many shards or blocks"):
        streamed(process=(0, 8))


def test_all_rows_have_the_exact_density_gradient_and_curvature():
    exact = streamed().exact
    points = jnp.stack([Z, 2 * Z, Z - 1])
    value, gradient, hessian = exact.curvatures(points)
    np.testing.assert_allclose(exact.log_densities(points), jax.vmap(FULL.log_density)(points), rtol=1e-12)
    np.testing.assert_allclose(value, jax.vmap(FULL.log_density)(points), rtol=1e-12)
    np.testing.assert_allclose(gradient, jax.vmap(jax.grad(FULL.log_density))(points), rtol=1e-10)
    np.testing.assert_allclose(hessian, -np.broadcast_to(PRECISION, (3, D, D)), rtol=1e-10)
    with pytest.raises(MissingCapability, match="cannot be compiled"):
        jax.make_jaxpr(lambda z: exact.log_density(z))(Z)


def test_gradient_vi_finds_the_posterior_and_its_certificate_is_that_of_all_rows():
    fit = jn.run(GradientVI(learning_rate=0.01), streamed(), key=KEY, steps=2000)
    mean, cov = fit.posterior.mean_and_cov()
    sd = np.sqrt(np.diag(np.linalg.inv(PRECISION)))
    assert np.all(np.abs(mean - MEAN) < 0.5 * sd)  # noise of minibatches, cooled down
    np.testing.assert_allclose(np.sqrt(np.diag(cov)) / sd, 1.0, atol=0.25)
    again = jn.certify(fit.posterior, FULL, jax.random.key(9))
    by_pass = jn.certify(fit.posterior, streamed().exact, jax.random.key(9))
    np.testing.assert_allclose(by_pass.elbo, again.elbo, rtol=1e-9)
    np.testing.assert_allclose(by_pass.khat, again.khat, atol=1e-6)
    assert [c.name for c in by_pass.checks][-1] == "missed modes"
    assert "of them do not show" in " ".join(by_pass.blind_to)


def test_chunks_resume_and_threads_change_no_bit(tmp_path):
    def run(target, **options):
        return drive(GradientVI(), target, key=KEY, steps=60, **options)

    want = run(streamed())
    for got in (run(streamed(), chunk=7), run(streamed(), chunk=1)):
        np.testing.assert_array_equal(got.run.history.objective, want.run.history.objective)
    stopped = streamed()
    real, calls = stopped.feeder.batches, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    object.__setattr__(stopped.feeder, "batches", interrupted)
    assert run(stopped, chunk=9, checkpoint=tmp_path).run.stop is StopCode.INTERRUPTED
    got = run(streamed(), chunk=9, checkpoint=tmp_path)
    np.testing.assert_array_equal(got.run.history.objective, want.run.history.objective)
    for a, b in zip(jax.tree.leaves(got.posterior), jax.tree.leaves(want.posterior), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(StorageError, match="another run"):
        run(streamed(batch_size=11), checkpoint=tmp_path)


def test_a_second_run_on_other_rows_compiles_nothing():
    drive(GradientVI(), streamed(), key=KEY, steps=20)
    doubled = generate_rows(lambda low, high: {"x": 2 * X[low:high], "y": Y[low:high]}, N, block=17)
    other, key = Streamed(make, doubled, 10, window=600), jax.random.key(3)
    with compilations() as count:
        drive(GradientVI(learning_rate=0.03), other, key=key, steps=40)
    assert count == []


def test_ivon_and_sghmc_run_on_it():
    fit = jn.run(IVON(), streamed(), key=KEY, steps=100, certify=False)
    assert np.all(np.isfinite(fit.posterior.mean_and_cov()[0]))
    draws = jn.run(SGHMC(chains=2), streamed(), key=KEY, steps=100)
    assert {c.name for c in draws.certificate.checks} >= {"rhat", "missed modes", "evidence elsewhere"}
    with pytest.raises(MissingCapability, match="needs the exact log density"):
        jn.run(Laplace(), streamed(), key=KEY)


def test_a_numpyro_model_and_a_gaussian_process_are_targets_of_it():
    def model(x, y):
        beta = numpyro.sample("beta", dist.Normal(0, 1).expand([D]).to_event(1))
        with numpyro.plate("rows", len(y)):
            numpyro.sample("y", dist.Normal(x @ beta, 0.5), obs=y)

    target = Streamed(lambda rows: from_numpyro(model, rows["x"], rows["y"]), source(), 10, window=600)
    constant = -0.5 * D * np.log(2 * np.pi) - N * (0.5 * np.log(2 * np.pi) + np.log(0.5))
    np.testing.assert_allclose(target.exact.log_density(Z), FULL.log_density(Z) + constant, rtol=1e-10)
    shares, values = [], []
    for t in range(target.epoch):
        batch = target.realise_at(KEY, t)
        shares.append(np.sum(np.asarray(batch.weights) > 0) / N), values.append(batch.log_density(Z))
    np.testing.assert_allclose(np.dot(shares, values), target.exact.log_density(Z), rtol=1e-10)

    kernel, z = jn.gp.kernels.Matern32(), np.linspace(-2, 2, 5)[:, None] * np.ones(D)
    gp = Streamed(
        lambda rows: jn.gp.LatentModel(
            jn.gp.priors.Inducing(kernel, rows["x"], z), jn.gp.likelihoods.Gaussian(0.25), rows["y"]
        ),
        source(),
        10,
        window=600,
    )
    whole = jn.gp.LatentModel(jn.gp.priors.Inducing(kernel, X, z), jn.gp.likelihoods.Gaussian(0.25), Y)
    u = jnp.linspace(-1, 1, 5)
    np.testing.assert_allclose(gp.exact.log_density(u), whole.log_density(u), rtol=1e-10)
    got = jn.run(StochasticCVI(rate=1.0, settling=1.0), gp, key=KEY, steps=gp.epoch, certify=False)
    want = jn.run(StochasticCVI(rate=1.0), whole, key=KEY, steps=1, certify=False)
    # an epoch of steps averaged alike is exact for a Gaussian likelihood, up to batches that differ by a row
    np.testing.assert_allclose(got.posterior.q.white.mean, want.posterior.q.white.mean, atol=0.05)


def test_two_modes_of_which_one_was_missed_are_not_certified():
    """|beta_0| is all that the rows tell: the other sign holds half of the mass."""

    def bent(beta, rows):
        return -2.0 * (rows["y"] - rows["x"] @ jnp.stack([jnp.abs(beta[0]), beta[1]])) ** 2

    target = Streamed(lambda rows: from_rows(log_prior, bent, rows, jnp.zeros(D)), source(), 50)
    start = jn.core.PointPosterior(target.space, jnp.asarray([1.0, -0.4]))
    fit = jn.run(GradientVI(learning_rate=0.01), target, key=KEY, steps=600, start=start)
    assert not fit.certificate.passed
    (check,) = [c for c in fit.certificate.checks if c.name == "missed modes"]
    assert check.holds is False


def test_rows_that_are_not_finite_end_the_run_with_their_place_and_its_checkpoint_goes_on(tmp_path):
    bad = {"x": X.copy(), "y": Y.copy()}
    source = generate_rows(lambda low, high: {name: values[low:high] for name, values in bad.items()}, N, block=17)
    target = Streamed(make, source, 10, window=600)
    bad["y"][50] = np.inf
    with pytest.raises(InputError, match=r"Column 'y' is NaN, null or infinite at row 50 of the function"):
        drive(GradientVI(), target, key=KEY, steps=20, chunk=2, checkpoint=tmp_path)
    bad["y"][50] = Y[50]
    got = drive(GradientVI(), target, key=KEY, steps=20, chunk=2, checkpoint=tmp_path)
    want = drive(GradientVI(), target, key=KEY, steps=20)
    np.testing.assert_array_equal(got.run.history.objective, want.run.history.objective)


def test_asking_what_a_target_offers_evaluates_none_of_it(monkeypatch):
    def evaluated(self):
        raise AssertionError

    target = streamed()
    monkeypatch.setattr(Streamed, "first", property(evaluated))
    monkeypatch.setattr(Streamed, "exact", property(evaluated))
    assert isinstance(target, Streams)
    assert isinstance(target, Noisy)
    assert not isinstance(FULL, Streams)


def test_bad_arguments_are_refused_at_the_door(tmp_path):
    with pytest.raises(InputError, match="between 1 and 103 rows, got 104"):
        streamed(104)
    with pytest.raises(InputError, match="source must be made by"):
        Streamed(make, {"x": X}, 10)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="make must be a function"):
        Streamed(FULL, source(), 10)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="number < count"):
        streamed(process=(2, 2))
    with pytest.raises(MissingCapability, match="no rows"):
        Streamed(lambda rows: from_log_density(lambda z: jnp.sum(rows["y"]) * z @ z, jnp.zeros(D)), source(), 10)
    with pytest.raises(InputError, match="make fails on rows of the columns x float64"):
        Streamed(lambda rows: make({"x": rows["q"]}), source(), 10)


def test_what_make_does_with_rows_beyond_handing_them_on_is_seen():
    """A mean of one batch, a column in a closure, a column left out: each would be wrong from the second batch on."""
    for wrong, words in (
        (lambda r: make({"x": r["x"], "y": r["y"] - jnp.mean(r["y"])}), "computes something from the rows"),
        (
            lambda r: from_rows(log_prior, lambda b, rows: log_likelihood(b, rows | {"y": r["y"]}), r, jnp.zeros(D)),
            "in a closure",
        ),
        (
            lambda r: from_rows(
                log_prior, lambda b, rows: log_likelihood(b, rows | {"y": r["y"]}), {"x": r["x"]}, jnp.zeros(D)
            ),
            "'y' is not among the arrays",
        ),
    ):
        with pytest.raises(InputError, match=words):
            Streamed(wrong, source(), 10)


def test_memory_of_rows_stays_within_what_is_said(tmp_path):
    """Peak of NumPy's arrays over an epoch of files, against `memory`; the data are thirty times as large."""
    import tracemalloc

    rows = 60_000
    x = np.random.default_rng(0).normal(size=(rows, 4))
    for i in range(6):
        part = x[i * 10_000 : (i + 1) * 10_000]
        columns = {f"x{j}": part[:, j] for j in range(4)}
        pq.write_table(pa.table(columns), tmp_path / f"{i}.parquet", row_group_size=500)
    stacked = open_rows(tmp_path, columns={"x": [f"x{j}" for j in range(4)]})
    target = Streamed(
        lambda r: from_rows(log_prior, lambda b, r: -((r["x"][:, :2] @ b) ** 2), r, jnp.zeros(D)),
        stacked,
        100,
        window=8_000,
    )
    assert target.memory * 20 < x.nbytes
    target.feed(KEY, 0, 1, 2, 1)
    tracemalloc.start()
    for t in range(1, target.epoch, 2):
        target.feed(KEY, t, t + 2, 2, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    target.rest()
    assert peak < target.memory + 400_000  # Python's own objects, footers and the like

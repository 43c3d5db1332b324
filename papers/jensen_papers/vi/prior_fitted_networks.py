"""P319: transformers can do Bayesian inference (Müller, Hollmann, Pineda Arango, Grabocka, Hutter 2022).

What is claimed: a transformer trained on data sets drawn from a prior approximates the exact posterior predictive
density of a Gaussian process, in one forward pass and without its kernel. Measured here against the process itself,
whose predictive density is known; `--full` trains longer, with ten points of context.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen import amortised
from jensen.core import Compiled
from jensen_papers.result import Claim, Result

PAPER = "Müller et al. (2022)"
LENGTH, NOISE = 0.3, 0.01  # of the RBF kernel; variance of the noise: wide enough for the bars
QUERIES = 4
_brief = partial(Compiled, small=1_000_000)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in single precision, and write a figure to `figure` if given; `full` trains 3,000 steps."""
    began = time.perf_counter()
    context, steps = (10, 4000) if full else (5, 500)
    simulator = _process(context)
    with jax.enable_x64(False):
        z, data = amortised.simulations(jax.random.key(0), simulator, 2000)
        network = amortised.prior_fitted_network(jax.random.key(1), z, data, bars=48, width=48, blocks=3)
        fit = amortised.amortise(
            simulator, network, key=jax.random.key(2), steps=steps, batch_size=64, learning_rate=3e-3, progress=False
        )
        trained: Any = fit.conditional
        table = _compare(trained, context)
        claims = [*_gaps(table, full), _permutation(trained, context), _separate(trained, context)]
        claims.append(_speed(trained, context))
        if figure is not None:
            _draw(trained, table, context, figure)
    return Result("P319", "prior-fitted-networks", time.perf_counter() - began, tuple(claims))


@_brief
def _given(network: Any, task: dict[str, Any]) -> Any:
    return network.given(task)


def _kernel(a: Any, b: Any) -> Any:
    return jnp.exp(-0.5 * ((a[:, None] - b[None, :]) / LENGTH) ** 2)


def _function(key: Any, x: Any) -> Any:
    """Noisy values of a draw of the process at `x`."""
    noise = NOISE + 1e-4  # single precision needs a little jitter
    return jnp.linalg.cholesky(_kernel(x, x) + noise * jnp.eye(len(x))) @ jax.random.normal(key, x.shape)


@_brief
def _task(key: Any, count: Any, context: int) -> dict[str, Any]:
    """`count` points of a draw of the process, of `context` places, and queries with their answers."""
    keys = jax.random.split(key, 2)
    x = jax.random.uniform(keys[0], (context + QUERIES,))
    y = _function(keys[1], x)
    mask = jnp.arange(context) < count
    return {"x": x[:context, None], "y": y[:context], "mask": mask, "query": x[context:, None], "answer": y[context:]}


def _process(context: int) -> Any:
    """The prior over data sets: between 0 and `context` points of a Gaussian process, and queries to answer."""
    return _Tasks(jn.core.real_space(answer=(QUERIES,)), context)


class _Tasks(eqx.Module):
    """Data sets and answers, as a simulator."""

    space: jn.core.Space
    context: int = eqx.field(static=True)

    def simulate(self, key: Any) -> tuple[Any, Any]:
        """(answers at the queries, context and queries)."""
        key_count, key_task = jax.random.split(key)
        task = _task(key_task, jax.random.randint(key_count, (), 0, self.context + 1), self.context)
        return task.pop("answer"), task


def _exact(task: dict[str, Any]) -> Any:
    """log density of each answer under the process given the context, in nats."""
    x, y, mask = task["x"][:, 0], task["y"], task["mask"]
    present = mask.astype(x.dtype)
    gram = _kernel(x, x) * present[:, None] * present[None, :] + jnp.diag(jnp.where(mask, NOISE + 1e-4, 1.0))
    cross = _kernel(task["query"][:, 0], x) * present
    weights = jnp.linalg.solve(gram, jnp.stack([*cross, y * present], axis=1))
    mean = cross @ weights[:, -1]
    variance = 1 + NOISE + 1e-4 - jnp.sum(cross * weights[:, :-1].T, axis=1)
    return -0.5 * jnp.log(2 * jnp.pi * variance) - 0.5 * (task["answer"] - mean) ** 2 / variance


def _separately(density: Any, answers: Any) -> Any:
    """log density of each answer by itself."""
    return jax.vmap(lambda logits, y: eqx.tree_at(lambda b: b.logits, density, logits[None]).log_prob(y[None]))(
        density.logits, answers
    )


def _compare(network: Any, context: int) -> np.ndarray:
    """A row for each context size: (size, loss of the network, of the process, standard error of the difference)."""

    @_brief
    def losses(network: Any, key: Any, count: Any) -> Any:
        def one(key: Any) -> Any:
            task = _task(key, count, context)
            return -jnp.mean(_separately(network.given(task), task["answer"])), -jnp.mean(_exact(task))

        return jax.vmap(one)(jax.random.split(key, 1000))

    rows = []
    for count in range(context + 1):
        ours, exact = (np.asarray(v, float) for v in losses(network, jax.random.key(100 + count), jnp.asarray(count)))
        rows.append((count, ours.mean(), exact.mean(), (ours - exact).std() / np.sqrt(len(ours))))
    return np.array(rows)


def _gaps(table: np.ndarray, full: bool) -> list[Claim]:
    gap, error = table[:, 1] - table[:, 2], table[:, 3]
    where = f"{PAPER}, abstract: near-perfectly mimics Gaussian processes"
    worst, mean = float(gap.max()), float(gap.mean())
    constant = 0.5 * np.log(2 * np.pi * np.e * (1 + NOISE))
    below = float(constant - table[3, 1])
    lowest = float(np.min(gap + 3 * error))
    claims = [
        Claim(
            "Loss above the exact process (nats), worst of all context sizes", where, worst, "< 0.5", None, worst < 0.5
        ),
        Claim(
            "Loss below the prior's own density at three points of context (nats)",
            where,
            below,
            "> 0.5",
            0.0,
            below > 0.5,
        ),
        Claim(
            "Least gap to the exact process plus three standard errors: no network can be better",
            "The forward divergence is positive",
            lowest,
            ">= 0",
            None,
            lowest >= 0,
        ),
    ]
    if full:
        claims.append(Claim("Mean gap to the exact process (nats)", where, mean, "< 0.1", None, mean < 0.1))
    return claims


def _permutation(network: Any, context: int) -> Claim:
    task = _task(jax.random.key(7), jnp.asarray(context), context)
    order = jax.random.permutation(jax.random.key(8), context)
    moved = task | {name: task[name][order] for name in ("x", "y", "mask")}
    off = float(jnp.max(jnp.abs(_given(network, task).logits - _given(network, moved).logits)))
    where = f"{PAPER}, no positional encoding"
    return Claim("Change of the logits when the context is permuted", where, off, "< 1e-4", None, off < 1e-4)


def _separate(network: Any, context: int) -> Claim:
    """A query's answer does not depend on other queries, nor on what is masked."""
    task = _task(jax.random.key(9), jnp.asarray(2), context)
    other = task | {
        "query": task["query"].at[1:].set(0.9),
        "y": jnp.where(task["mask"], task["y"], 5.0),
        "x": jnp.where(task["mask"][:, None], task["x"], 0.1),
    }
    off = float(jnp.max(jnp.abs(_given(network, task).logits[0] - _given(network, other).logits[0])))
    where = f"{PAPER}, attention mask"
    words = "Change of a query's logits when other queries and masked points change"
    return Claim(words, where, off, "< 1e-4", None, off < 1e-4)


def _speed(network: Any, context: int) -> Claim:
    tasks = jax.jit(jax.vmap(lambda key: _task(key, context, context)))(jax.random.split(jax.random.key(3), 1000))
    forward = eqx.filter_jit(lambda n, t: jax.vmap(lambda task: n.given(task).logits)(t))
    jax.block_until_ready(forward(network, tasks))
    began = time.perf_counter()
    jax.block_until_ready(forward(network, tasks))
    ours = 1e6 * (time.perf_counter() - began) / 1000
    words = "Microseconds a data set, 1,000 at once"
    return Claim(words, f"{PAPER}, speed: a forward pass", ours, "< 5000", None, ours < 5000, timed=True)


@_brief
def _predicted(network: Any, task: dict[str, Any], queries: Any) -> Any:
    """Mean and standard deviation of the answers to queries of shape (groups, QUERIES, 1), a group at a time."""

    def one(query: Any) -> Any:
        mean, cov = network.given(task | {"query": query}).mean_and_cov()
        return mean, jnp.sqrt(jnp.diagonal(cov))

    return jax.vmap(one)(queries)


def _draw(network: Any, table: np.ndarray, context: int, path: Path) -> None:
    """Losses by context size, and one predictive density beside the process's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table[:, 0], table[:, 2], "k--", label="exact process")
    left.errorbar(table[:, 0], table[:, 1], 3 * table[:, 3], marker="o", label="network")
    left.set(title="loss against the exact process", xlabel="points of context", ylabel="loss (nats)")
    left.legend()
    task = _task(jax.random.key(20), jnp.asarray(context), context)
    x = np.linspace(0, 1, QUERIES * 16)
    mean, spread = (np.ravel(a) for a in _predicted(network, task, jnp.asarray(x).reshape(-1, QUERIES, 1)))
    right.fill_between(x, mean - 2 * spread, mean + 2 * spread, alpha=0.3, label="mean and two sds")
    right.plot(x, mean)
    right.plot(np.asarray(task["x"][:, 0]), np.asarray(task["y"]), "ko", label="context")
    right.set(title="one data set", xlabel="x", ylabel="y")
    right.legend()
    figure.savefig(path)

"""P365: distribution transformers, with the prior as an input (Whittle, Ziomek, Rawling, Osborne 2025).

What is claimed: a transformer that maps the components of a Gaussian-mixture prior and observations to the components
of a posterior gives posteriors on par with other approximations in milliseconds, and follows a change of the prior
without training again. Measured here where the posterior is known in closed form. `--full` trains three times longer.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen import amortised
from jensen.families import Gaussian, GaussianMixture
from jensen_papers.result import Claim, Result

PAPER = "Whittle et al. (2025)"
NOISE = 2.0  # sd of an observation; component means have sd 3 and their own sds lie about 0.5
SIMULATED = 2000  # data sets at a time
NUM = 400  # data sets that divergences are measured on
GRID = np.linspace(-25.0, 25.0, 4001)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in single precision, and write a figure to `figure` if given; `full` trains 3,000 steps."""
    began = time.perf_counter()
    simulator = _Tasks(jn.core.real_space(z=(1,)))
    with jax.enable_x64(False):
        _, data = amortised.simulations(jax.random.key(0), simulator, SIMULATED)
        network = amortised.distribution_transformer(jax.random.key(1), data, width=32, blocks=2)
        fit = amortised.amortise(
            simulator,
            network,
            key=jax.random.key(2),
            steps=3000 if full else 300,
            batch_size=256,
            learning_rate=3e-3,
            progress=False,
        )
        _, tasks = amortised.simulations(jax.random.key(3), simulator, SIMULATED)
        tasks = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)[:NUM]), tasks)
        trained: Any = fit.conditional
        found = _given_many(trained, tasks)
        exact = jax.jit(jax.vmap(_exact))(tasks)
        claims = [
            *_divergences(tasks, found, exact, 0.01 if full else 0.05),
            _order(trained, tasks),
            _speed(trained, tasks),
        ]
        if figure is not None:
            _draw(tasks, found, exact, figure)
    return Result("P365", "distribution-transformers", time.perf_counter() - began, tuple(claims))


class _Tasks(eqx.Module):
    """A prior of two components from the meta-prior, its unknown, and one observation of it."""

    space: jn.core.Space

    def simulate(self, key: Any) -> tuple[Any, Any]:
        """(z, prior and observation)."""
        keys = jax.random.split(key, 5)
        means = 3.0 * jax.random.normal(keys[0], (2, 1))
        scales = 0.5 * jnp.exp(0.3 * jax.random.normal(keys[1], (2, 1, 1)))
        prior = GaussianMixture(jax.nn.log_softmax(jax.random.normal(keys[2], (2,))), means, scales)
        z = prior.sample(keys[3])
        return z, {"prior": prior, "observed": (z + NOISE * jax.random.normal(keys[4], (1,)))[None]}


def _exact(task: dict[str, Any]) -> GaussianMixture:
    """The component-wise update of Kalman, weights by each component's evidence."""
    prior, y = task["prior"], task["observed"][0, 0]
    variance = prior.scale_trils[:, 0, 0] ** 2
    gain = variance / (variance + NOISE**2)
    mean = prior.means[:, 0] + gain * (y - prior.means[:, 0])
    evidence = jax.vmap(lambda m, v: Gaussian(m[None], jnp.sqrt(v)[None, None]).log_prob(y[None]))
    logits = prior.log_weights + evidence(prior.means[:, 0], variance + NOISE**2)
    return GaussianMixture(logits, mean[:, None], jnp.sqrt((1 - gain) * variance)[:, None, None])


@eqx.filter_jit
def _given_many(network: Any, tasks: Any) -> GaussianMixture:
    return jax.vmap(network.given)(tasks)


@eqx.filter_jit
def _on_grid(mixtures: GaussianMixture) -> Any:
    grid = jnp.asarray(GRID)[:, None]
    return jax.vmap(lambda q: jax.vmap(q.log_prob)(grid))(mixtures)


@eqx.filter_jit
def _matched(mixtures: GaussianMixture) -> GaussianMixture:
    """Each mixture's Gaussian of the same mean and variance."""

    def matched(q: GaussianMixture) -> GaussianMixture:
        mean, cov = q.mean_and_cov()
        return GaussianMixture(jnp.zeros(1), mean[None], jnp.sqrt(cov)[None])

    return jax.vmap(matched)(mixtures)


def _divergences(tasks: Any, found: GaussianMixture, exact: GaussianMixture, bound: float) -> list[Claim]:
    """Mean KL(exact || q) in nats over data sets, by quadrature on a grid of spacing 0.0125."""
    truth = np.asarray(_on_grid(exact), float)
    step = GRID[1] - GRID[0]

    def divergence(q: GaussianMixture) -> np.ndarray:
        return np.sum(np.exp(truth) * (truth - np.asarray(_on_grid(q), float)), axis=1) * step

    ours, gaussian, prior = (divergence(q) for q in (found, _matched(exact), tasks["prior"]))
    where = f"{PAPER}, Gaussian-mixture experiment with a closed form; KL(exact || q)"
    kl, matched, unchanged = float(ours.mean()), float(gaussian.mean()), float(prior.mean())
    # the prior changes from task to task: those with the means moved beyond one sd of the meta-prior are as good
    far = float(ours[np.abs(np.asarray(tasks["prior"].means)).max((1, 2)) > 3].mean())
    return [
        Claim("Mean divergence from the exact posterior (nats)", where, kl, f"< {bound}", unchanged, kl < bound),
        Claim(
            "The same over that of the exact posterior's own Gaussian",
            where,
            kl / matched,
            "< 0.25",
            1.0,
            kl / matched < 0.25,
        ),
        Claim(
            "Mean divergence under priors with a component beyond one sd of the meta-prior (nats)",
            f"{PAPER}, abstract: the prior changed on the fly",
            far,
            f"< {2 * bound}",
            None,
            far < 2 * bound,
        ),
    ]


def _order(network: Any, tasks: Any) -> Claim:
    task = jax.tree.map(lambda a: a[:50], tasks)
    swapped = task | {"prior": jax.tree.map(lambda a: a[:, ::-1], task["prior"])}
    a, b = (_given_many(network, t) for t in (task, swapped))
    off = float(jnp.max(jnp.abs(a.means - b.means[:, ::-1])))
    where = f"{PAPER}, no positional encoding"
    return Claim(
        "Change of the posterior when the prior's components are reordered", where, off, "< 1e-4", None, off < 1e-4
    )


def _speed(network: Any, tasks: Any) -> Claim:
    jax.block_until_ready(_given_many(network, tasks).means)
    began = time.perf_counter()
    jax.block_until_ready(_given_many(network, tasks).means)
    ours = 1e3 * (time.perf_counter() - began) / NUM
    task = jax.tree.map(lambda a: a[0], tasks)
    target = jn.targets.from_log_density(_log_joint, np.zeros(1), task["prior"], task["observed"])
    nuts = jn.algorithms.NUTS()
    seconds = []
    for seed in range(2):  # the second compiles nothing
        start = time.perf_counter()
        jn.run(nuts, target, key=jax.random.key(seed), steps=500, certify=False, progress=False)
        seconds.append(1e3 * (time.perf_counter() - start))
    words = "Milliseconds a posterior, 400 at once, against 4 x 500 steps of NUTS, both compiled"
    where = f"{PAPER}, abstract: minutes to milliseconds"
    return Claim(words, where, ours, "< NUTS / 100", seconds[1], ours < seconds[1] / 100, timed=True)


def _log_joint(z: Any, prior: GaussianMixture, observed: Any) -> Any:
    return prior.log_prob(z) - 0.5 * jnp.sum((observed - z) ** 2) / NOISE**2


def _draw(tasks: Any, found: GaussianMixture, exact: GaussianMixture, path: Path) -> None:
    """Prior, exact posterior and the network's, of six data sets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    curves = {"prior": tasks["prior"], "exact posterior": exact, "transformer": found}
    dense = {name: np.exp(np.asarray(_on_grid(jax.tree.map(lambda a: a[:6], q)))) for name, q in curves.items()}
    for i, axes in enumerate(figure.subplots(2, 3).flat):
        for (name, values), style in zip(dense.items(), ("k:", "k-", "C1--"), strict=True):
            axes.plot(GRID, values[i], style, label=name)
        seen = values[i] > 1e-3
        axes.axvline(float(tasks["observed"][i, 0, 0]), color="0.8")
        axes.set(xlim=(GRID[seen].min() - 4, GRID[seen].max() + 4), xlabel="z")
    figure.axes[0].legend(fontsize=7)
    figure.suptitle("posteriors of six data sets; grey: the observation")
    figure.savefig(path)

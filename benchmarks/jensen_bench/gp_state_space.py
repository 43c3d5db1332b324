"""How does the time of a Poisson regression on the line grow with n, under a Matern state-space prior?

Counts at n random times with a log rate that is smooth at the scale of 1, 100 times a lengthscale; CVI to convergence
by `jn.run`, in double precision. For each n: seconds of a first fit (with compilation) and of a second one on new data
of the same shape (elapsed, and of all cores), of one sweep (a conditioning), steps, the error of the log rate against
the truth beside its posterior standard deviation, and the peak memory of the process. Sizes come from the command line
(10,000 to 1,000,000 without). `--figure PATH` plots seconds and memory over n. Goal: n = 1,000,000 in under 60 s,
linear in n.
"""

import json
import resource
import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import DensityPosterior, PointPosterior
from jensen.gp import LatentModel
from jensen.gp.kernels import Matern32
from jensen.gp.likelihoods import Poisson
from jensen.gp.priors.state_space import StateSpace

DENSITY = 100  # times a lengthscale


def data(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, counts, and the log rate they are drawn from."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, n / DENSITY, n))
    rate = 0.7 * np.sin(t) + 0.7 * np.cos(0.37 * t + 1.0)
    return t, rng.poisson(np.exp(rate)).astype(float), rate


@eqx.filter_jit
def condition(q: Any) -> Any:
    """One conditioning of the prior on sites: means and standard deviations."""
    marginals = q.marginals()
    return marginals.mean[:, 0], jnp.sqrt(marginals.cov[:, 0, 0])


def measure(n: int, blocks: int | None = None) -> dict[str, float]:
    """The numbers of one size."""

    def fit(seed: int) -> tuple[Any, tuple[float, float], np.ndarray]:
        t, y, rate = data(n, seed)
        began, cpu = time.perf_counter(), time.process_time()
        target = LatentModel(StateSpace(Matern32(1.0, 1.0), t, blocks=blocks), Poisson(), y)
        start = PointPosterior(target.space, jnp.zeros(target.space.dimension))
        algorithm = jn.algorithms.CVI()
        run = jn.run(algorithm, target, key=jax.random.key(seed), start=start, certify=False, progress=False)
        assert isinstance(run.posterior, DensityPosterior)
        jax.block_until_ready(condition(run.posterior.q))
        return run, (time.perf_counter() - began, time.process_time() - cpu), rate

    _, first, _ = fit(0)
    run, second, rate = fit(1)
    q = run.posterior.q
    began = time.perf_counter()
    mean, sd = jax.block_until_ready(condition(q))
    sweep = time.perf_counter() - began
    error, sd = np.asarray(mean) - rate, np.asarray(sd)
    return {
        "n": n,
        "blocks": q.prior.blocks,
        "first_s": first[0],
        "first_cpu_s": first[1],
        "second_s": second[0],
        "second_cpu_s": second[1],
        "sweep_s": sweep,
        "steps": run.runs[-1].steps,
        "microseconds_a_point": 1e6 * second[0] / n,
        "rms_error": float(np.sqrt(np.mean(error**2))),
        "rms_sd": float(np.sqrt(np.mean(sd**2))),
        "covered_90": float(np.mean(np.abs(error) < 1.6449 * sd)),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def draw(rows: list[dict[str, float]], path: str) -> None:
    """Seconds and peak memory over n, with lines of slope one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    n = np.array([row["n"] for row in rows])
    for key, style, label in (
        ("first_cpu_s", "s--", "the first fit, with compilation: processor time"),
        ("second_s", "o-", "a second fit: elapsed"),
        ("second_cpu_s", "^-", "a second fit: processor time"),
    ):
        time_axes.loglog(n, [row[key] for row in rows], style, label=label)
    time_axes.loglog(n, rows[-1]["second_cpu_s"] * n / n[-1], ":", color="black", label="linear in n")
    time_axes.axhline(60.0, color="grey", linewidth=0.8)
    time_axes.set(xlabel="n", ylabel="seconds", ylim=(None, 5000.0))
    time_axes.legend(fontsize="small", loc="upper left", frameon=False)
    memory_axes.semilogx(n, [row["peak_gib"] for row in rows], "o-")
    memory_axes.set(xlabel="n", ylabel="peak memory of the process, GiB", ylim=(0, None))
    for axes in (time_axes, memory_axes):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] = ()) -> int:
    """Run the benchmark and print it as JSON, a row a size."""
    jax.config.update("jax_enable_x64", True)
    given = list(arguments)
    figure = None
    if "--figure" in given:
        at = given.index("--figure")
        figure = given[at + 1]
        del given[at : at + 2]
    rows = []
    for n in [int(a) for a in given] or [10_000, 30_000, 100_000, 300_000, 1_000_000]:
        rows.append(measure(n))
        print(json.dumps({name: round(value, 4) for name, value in rows[-1].items()}), flush=True)
    if figure is not None:
        draw(rows, figure)
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))

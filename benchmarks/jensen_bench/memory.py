"""How do memory and time of a step grow with rows, unknowns, particles and flow depth, for each algorithm?

Memory is what XLA plans for the compiled programs of a run, the larger of the beginning and a chunk of steps:
arguments, results and temporaries, an upper bound that does not depend on the machine's load. Time is the processor
seconds of the chunk, the least of three. Each is measured at three sizes, and the exponent is the slope of its
logarithm between the two larger ones (`d log bytes / d log size`): 1 is linear; below 1, what is constant still weighs.

`--growth` looks instead at what must not grow: resident memory over `--fits` fits of one shape in one process, and the
bytes of state and history over steps.
"""

import argparse
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen._run import drive
from jensen._run.chunk import advance, begin
from jensen.core import Algorithm, PointPosterior
from jensen.core.algebra import one_thread
from jensen.families import FlowBuilder, FullRank, LowRank, MeanField
from jensen.gradient_estimators import StickingTheLanding
from jensen.objectives import NegativeElbo

a = jn.algorithms
STEPS = 2  # of a chunk
Target = Callable[[int], Any]


def logistic(rows: int, columns: int) -> Any:
    """A logistic regression."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns)) / math.sqrt(columns)
    y = rng.random(rows) < 0.5

    def log_prior(beta):
        return -0.5 * jnp.sum(beta**2)

    def log_likelihood(beta, rows):
        logits = rows["x"] @ beta
        return rows["y"] * logits - jax.nn.softplus(logits)

    return jn.targets.from_rows(log_prior, log_likelihood, {"x": x, "y": y.astype(float)}, jnp.zeros(columns))


def process(rows: int) -> Any:
    """A Gaussian process of 16 inducing points for counts, or signs, of one input."""
    x = np.linspace(0, 10, rows)
    y = (np.sin(x) > np.random.default_rng(0).normal(size=rows)).astype(float)
    prior = jn.gp.priors.Inducing(jn.gp.kernels.Matern32(), x, np.linspace(0, 10, 16))
    return jn.gp.LatentModel(prior, jn.gp.likelihoods.BernoulliProbit(), y)


def autoencoder(rows: int) -> Any:
    """(target, conditional) of a small autoencoder on rows of 16 numbers."""
    from jensen import vae
    from jensen.vae.model import latent_rows

    x = np.random.default_rng(0).normal(size=(rows, 16))
    made = vae.VAE(2, hidden=(16,), epochs=1, random_state=0).fit(x[:64])
    return latent_rows(made.model_, jnp.asarray(x)), made.conditional_


def by_draws(num: int) -> Any:
    """GradientVI with so many draws a step."""
    return a.GradientVI(objective=NegativeElbo(StickingTheLanding(num_draws=num)))


GRADIENT = {
    "GradientVI mean field": lambda: a.GradientVI(family=MeanField()),
    "GradientVI full rank": lambda: a.GradientVI(family=FullRank()),
    "GradientVI low rank": lambda: a.GradientVI(family=LowRank(4)),
    "GradientVI flow": lambda: a.GradientVI(family=FlowBuilder(num_layers=2)),
    "FixedSampleVI": lambda: a.FixedSampleVI(),
    "IVON": lambda: a.IVON(),
    "SGHMC": lambda: a.SGHMC(),
    "BatchMatch": lambda: a.BatchMatch(),
    "ForwardBackward": lambda: a.ForwardBackward(),
    "BuresWassersteinGradient": lambda: a.BuresWassersteinGradient(),
    "NaturalGradientVI": lambda: a.NaturalGradientVI(),
    "Laplace": lambda: a.Laplace(),
    "LaplaceMixture": lambda: a.LaplaceMixture(),
    "Mode": lambda: a.Mode(),
    "Pathfinder": lambda: a.Pathfinder(),
    "MultiPathfinder": lambda: a.MultiPathfinder(),
    "NUTS": lambda: a.NUTS(max_doublings=5),
    "TemperedSMC": lambda: a.TemperedSMC(num_particles=200, num_moves=2),
}
SITED = {name: (lambda name=name: getattr(a, name)()) for name in ("CVI", "EP", "ADF", "SequentialEP", "SiteLaplace")}
PARTICLES = {
    "GradientVI (draws)": by_draws,
    "FixedSampleVI (draws)": lambda n: a.FixedSampleVI(num_draws=n),
    "BatchMatch (draws)": lambda n: a.BatchMatch(batch_size=n),
    "SGHMC (chains)": lambda n: a.SGHMC(chains=n),
    "NUTS (chains)": lambda n: a.NUTS(chains=n, max_doublings=5),
    "TemperedSMC (particles)": lambda n: a.TemperedSMC(num_particles=n, num_moves=2),
    "MultiPathfinder (paths)": lambda n: a.MultiPathfinder(num_paths=n // 8),
}


def measure(algorithm: Algorithm, target: Any, start: Any = None) -> tuple[float, float]:
    """(planned bytes, processor seconds of a chunk) of an algorithm on a target."""
    key = jax.random.key(0)
    seen = target.exact if hasattr(target, "exact") else target
    first, planned = compiled(lambda parts: begin.fn(*parts), (algorithm, seen, key, start))
    parts = algorithm, target, first[0], key
    bounds = tuple(jnp.asarray(n, jnp.int32) for n in (0, STEPS, 1000))
    seconds = []

    def steps(parts: Any) -> Any:
        return advance.fn(*parts, bounds, STEPS)

    _, more = compiled(steps, parts, seconds)
    return float(max(planned, more)), min(seconds)


def compiled(fn: Any, parts: Any, seconds: list[float] | None = None) -> tuple[Any, int]:
    """(result, planned bytes) of a program; its processor seconds are appended."""
    arrays, rest = eqx.partition(parts, eqx.is_array)
    static: list[Any] = []

    def run(arrays: Any) -> Any:
        out, others = eqx.partition(fn(eqx.combine(arrays, rest)), eqx.is_array)
        static.append(others)
        return out

    program = jax.jit(run).lower(arrays).compile()
    plan: Any = program.memory_analysis()
    total = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    for _ in range(1 if seconds is None else 3):
        began = time.process_time()
        out = jax.block_until_ready(program(arrays))
        if seconds is not None:
            seconds.append(time.process_time() - began)
    return eqx.combine(out, static[-1]), total


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Slope of the logarithm between the two largest sizes."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def row(name: str, axis: str, sizes: Sequence[int], cases: Sequence[tuple[Algorithm, Any]], start: Any = None) -> dict:
    """One line of the table."""
    told = [measure(algorithm, target, start(target) if start else None) for algorithm, target in cases]
    planned, seconds = zip(*told, strict=True)
    line = {
        "algorithm": name,
        "axis": axis,
        "sizes": list(sizes),
        "MB": [round(p / 1e6, 3) for p in planned],
        "cpu_s": [round(s, 5) for s in seconds],
        "memory_exponent": round(exponent(sizes, planned), 2),
        "time_exponent": round(exponent(sizes, seconds), 2),
    }
    print(json.dumps(line), file=sys.stderr, flush=True)
    return line


def table(small: bool, only: str, last: int) -> list[dict]:
    """Every algorithm along every axis that it has."""
    scale = 4 if small else 1
    rows, columns = [s // scale for s in (500, 4000, 32000)], [s // scale for s in (16, 64, 256)]
    sites, counts, depths = [s // scale for s in (100, 400, 1600)], [s // scale for s in (64, 256, 1024)], [2, 4, 8]
    rows, columns, sites, counts, depths = (sizes[-last:] for sizes in (rows, columns, sites, counts, depths))
    out = []
    targets = {n: logistic(n, 8) for n in rows}, {d: logistic(256 // scale, d) for d in columns}
    for name, make in GRADIENT.items():
        if only in name:
            out.append(row(name, "N", rows, [(make(), targets[0][n]) for n in rows]))
            out.append(row(name, "d", columns, [(make(), targets[1][d]) for d in columns]))
    for name, make in SITED.items():
        if only in name:
            out.append(row(name, "N", sites, [(make(), process(n)) for n in sites]))
    if only in "StochasticCVI":
        cases = [(a.StochasticCVI(), jn.targets.Shuffled(process(n), 16)) for n in sites]
        out.append(row("StochasticCVI (16 rows a step)", "N", sites, cases))
    if only in "AmortisedVI":
        pairs = [autoencoder(n) for n in sites]
        make_amortised: Any = a.AmortisedVI
        cases = [(make_amortised(q), jn.targets.Shuffled(t, 16)) for t, q in pairs]
        start = lambda t: PointPosterior(t.exact.space, t.exact.theta)  # noqa: E731
        out.append(row("AmortisedVI (16 rows a step)", "N", sites, cases, start))
    target = targets[0][rows[0]]
    for name, make_many in PARTICLES.items():
        if only in name:
            out.append(row(name, "particles", counts, [(make_many(n), target) for n in counts]))
    if only in "GradientVI flow":
        flows = [(a.GradientVI(family=FlowBuilder(num_layers=n)), target) for n in depths]
        out.append(row("GradientVI flow", "depth", depths, flows))
    return out


def markdown(lines: Sequence[dict]) -> str:
    """The table for people."""
    out = [
        "| algorithm | along | sizes | MB | memory ~ size^ | CPU ms of a step | time ~ size^ |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        sizes, planned = (", ".join(f"{v:g}" for v in line[name]) for name in ("sizes", "MB"))
        seconds = ", ".join(f"{1e3 * s / STEPS:.3g}" for s in line["cpu_s"])
        cells = (
            line["algorithm"],
            line["axis"],
            sizes,
            planned,
            line["memory_exponent"],
            seconds,
            line["time_exponent"],
        )
        out.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(out)


def resident() -> int:
    """Resident bytes of this process after a collection."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(fits: int, looks: int = 40) -> dict[str, Any]:
    """Resident memory over fits of one shape (data, key and rate new each time), and what a longer run keeps."""
    rng, sizes, live = np.random.default_rng(0), [], []

    def once(i: int) -> None:
        shape = (200, 4)
        target = jn.targets.from_log_density(_density, jnp.zeros(4), jnp.asarray(rng.normal(size=shape)))
        algorithm = a.GradientVI(learning_rate=0.01 + 1e-5 * i)
        jn.run(algorithm, target, key=jax.random.key(i), steps=100)

    for i in range(fits):
        once(i)
        if (i + 1) % max(1, fits // looks) == 0:
            sizes.append(resident())
            live.append(len(jax.live_arrays()))
            print(f"{i + 1} fits: {sizes[-1] / 1e6:.1f} MB, {live[-1]} arrays", file=sys.stderr, flush=True)
    settled = sizes[len(sizes) // 4 :]
    target = jn.targets.from_log_density(_density, jnp.zeros(4), jnp.asarray(rng.normal(size=(200, 4))))
    lengths = (500, 5000)
    kept = [drive(a.GradientVI(), target, key=jax.random.key(0), steps=n) for n in lengths]
    state = [sum(leaf.nbytes for leaf in jax.tree.leaves(o.state) if eqx.is_array(leaf)) for o in kept]
    history = [_history_bytes(o.run.history) / n for o, n in zip(kept, lengths, strict=True)]
    return {
        "fits": fits,
        "resident_MB": [round(size / 1e6, 1) for size in sizes],
        "growth_after_warm_up": settled[-1] / settled[0] - 1,
        "live_arrays": live,
        "state_bytes_of_500_and_5000_steps": state,
        "history_bytes_a_step": history,
    }


def _density(z: Any, x: Any) -> Any:
    return -0.5 * jnp.sum(z**2) - jnp.sum(jax.nn.softplus(x @ z))


def _history_bytes(history: Any) -> int:
    return sum(
        np.asarray(leaf).nbytes for leaf in jax.tree.leaves((history.objective, history.residual, history.scalars))
    )


def main(arguments: Sequence[str] = ()) -> int:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser("memory", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a quarter of each size")
    parser.add_argument("--sizes", type=int, default=3, choices=(2, 3), help="how many of them, the largest")
    parser.add_argument("--only", default="", help="algorithms whose name has this in it")
    parser.add_argument("--growth", action="store_true", help="what must not grow, over many fits")
    parser.add_argument("--fits", type=int, default=1000)
    parsed = parser.parse_args(list(arguments))
    jax.config.update("jax_enable_x64", True)
    if parsed.growth:
        print(json.dumps(growth(parsed.fits), indent=1))
        return 0
    with one_thread():  # as within a run
        print(markdown(table(parsed.small, parsed.only, parsed.sizes)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

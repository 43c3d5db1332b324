"""What can be shared over a mesh, each with what the cost model says that a step of it sends."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen._run.chunk import _realised, begin, one_step
from jensen._run.devices import devices_of
from jensen._run.spread import exact, laid, whole
from jensen.core import Clock, PointPosterior, Streams
from jensen_bench._collectives import Collective, collectives

ROWS, WIDTH, DRAWS, BATCH = 4099, 32, 16, 256
PARTICLES, INDUCING, LATENTS, HIDDEN = 512, 32, 4, 24


@dataclasses.dataclass
class Thing:
    """An algorithm on a target over one axis, and the words (numbers of the run's precision) that a step must send."""

    name: str
    algorithm: Any
    target: Any
    axis: str
    sent: dict[str, int]
    start: Any = None


def regression(rows: int = ROWS, width: int = WIDTH) -> Any:
    """Logistic regression with standard normal priors, as a target of rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, width)).astype(jnp.result_type(float))
    y = (rng.uniform(size=rows) < 1 / (1 + np.exp(-x @ np.linspace(-1, 1, width)))).astype(x.dtype)

    def log_likelihood(b: Any, data: Any) -> Any:
        return jax.nn.log_sigmoid((2 * data[1] - 1) * (data[0] @ b))

    return jn.targets.from_rows(lambda b: -0.5 * jnp.sum(b**2), log_likelihood, (x, y), jnp.zeros(width))


def things() -> list[Thing]:
    """All of them, at sizes at which what a step sends is clear from small change."""
    from jensen.algorithms import NUTS, BatchMatch, GradientVI, Restarts, StochasticCVI, TemperedSMC
    from jensen.families import LowRank
    from jensen.targets import Minibatched, Shuffled

    plain = jn.objectives.NegativeElbo(jn.gradient_estimators.Reparameterisation(num_draws=DRAWS))
    rows, d, k, b, n = regression(), WIDTH, DRAWS, BATCH, PARTICLES
    scales = jnp.linspace(0.5, 2, d)
    normal = jn.targets.from_log_density(lambda z: -0.5 * jnp.sum((z - 1) ** 2 / scales), jnp.zeros(d))
    gradient, restarts = GradientVI(objective=plain), 16
    values_and_gradients = {"values of the draws": k, "gradients of the draws": k * d}
    process, m = sparse_process(), INDUCING
    wrapper: Any = Restarts
    many = wrapper(gradient, restarts)
    autoencoder, rows_of_it, start, trained = small_autoencoder()
    return [
        Thing("GradientVI, rows", gradient, rows, "data", values_and_gradients),
        Thing(
            "GradientVI, minibatches",
            gradient,
            Minibatched(rows, b),
            "data",
            values_and_gradients | {"the rows drawn": b * (d + 1), "their places": b},
        ),
        Thing("GradientVI, draws", gradient, normal, "draws", {"gradient of the factor": d * d, "of the mean": d}),
        Thing("GradientVI, factor", gradient, rows, "parameters", {"the draws, gathered": k * d}),
        Thing(
            "GradientVI, low-rank factor",
            GradientVI(LowRank(4), plain),
            normal,
            "parameters",
            {"products of factor and draws": 4 * 4 + 2 * 4 * k, "sums over coordinates": 2 * k + 4},
        ),
        Thing("BatchMatch, rows", BatchMatch(k), rows, "data", values_and_gradients),
        Thing(
            "BatchMatch, draws", BatchMatch(4 * k), normal, "draws", {"moments of draws and scores": 2 * d * d + 4 * d}
        ),
        Thing("Restarts", many, normal, "draws", {"objectives and scalars": 5 * restarts}),
        Thing(
            "TemperedSMC, particles",
            TemperedSMC(n, num_moves=2, leapfrog_steps=3),
            normal,
            "draws",
            {"particles, resampled": n * (2 * d + 1), "weights": 2 * n, "covariance": d * d + d, "bisection": 4 * 50},
        ),
        Thing("NUTS, chains", NUTS(chains=8), normal, "draws", {"moments of the chains": 3 * d, "scalars": 3}),
        Thing(
            "StochasticCVI, rows",
            StochasticCVI(),
            Shuffled(process, b),
            "data",
            {"natural gradient": m * m + m, "the rows drawn": 3 * b, "their places": 3 * b // 2},
        ),
        Thing(
            "AmortisedVI, rows",
            autoencoder,
            Shuffled(rows_of_it, b),
            "data",
            {"gradient of both networks": trained, "the rows drawn": b * 8, "their places": b // 2},
            start,
        ),
    ]


def sparse_process() -> Any:
    """A Gaussian-process classifier with inducing points."""
    from jensen.gp import LatentModel, kernels, likelihoods, priors

    rng = np.random.default_rng(1)
    x = rng.uniform(-3, 3, (1003, 1))
    y = (np.sin(2 * x[:, 0]) + 0.3 * rng.normal(size=len(x)) > 0).astype(float)
    inducing = priors.Inducing(kernels.RBF(1.0, 1.0), x, np.linspace(-3, 3, INDUCING)[:, None])
    return LatentModel(inducing, likelihoods.BernoulliLogit(), y)


def small_autoencoder() -> tuple[Any, Any, Any, int]:
    """(AmortisedVI of a variational autoencoder, its rows, where it starts, how many numbers are trained)."""
    from jensen.vae._build import build, chosen_likelihood
    from jensen.vae.model import latent_rows
    from jensen.vae.priors import StandardNormal

    x = np.random.default_rng(2).normal(size=(1003, 8))
    prior = StandardNormal(LATENTS)
    made = build(jax.random.key(0), x, chosen_likelihood("gaussian", x), prior, "mean_field", (HIDDEN,), None, ())
    model, conditional = made
    rows = latent_rows(model, jnp.asarray(x))
    networks = eqx.filter((model.partition()[0], conditional), eqx.is_inexact_array)
    trained = sum(a.size for a in jax.tree.leaves(networks))
    return jn.algorithms.AmortisedVI(conditional), rows, PointPosterior(rows.space, rows.theta), trained


@eqx.filter_jit
def step(algorithm: Any, target: Any, state: Any, key: Any, clock: Clock) -> Any:
    """A step as the loop takes it."""
    target = whole(target)
    new, told = one_step(algorithm, key, state, _realised(target, key, clock.t), clock)
    return laid(new, algorithm, exact(target)), told


def prepared(thing: Thing, mesh: Any) -> tuple[Any, tuple[Any, ...], Any]:
    """(devices, the arguments of `step` on them, its compiled program)."""
    devices = devices_of(mesh, thing.algorithm, thing.target)
    with devices.use():
        target, key, algorithm = devices.target(thing.target), devices.same(jax.random.key(0)), thing.algorithm
        algorithm, model = devices.same(algorithm), devices.beginning(thing.target)
        state, _, _ = begin(algorithm, model, key, devices.same(thing.start))
        if isinstance(target, Streams):
            target = devices.fed(target.feed(jax.random.key(0), 3, 4, 1))
        clock = Clock(*devices.same((jnp.asarray(3, jnp.int32), jnp.asarray(30, jnp.int32))))
        arguments = (algorithm, target, state, key, clock)
        program = step.lower(*arguments).compile()
    return devices, arguments, program


def counted(thing: Thing, size: int) -> tuple[list[Collective], float]:
    """The collectives of a step over `size` devices, and the floating-point operations of one of them."""
    program: Any = prepared(thing, None if size == 1 else jn.local_mesh(**{thing.axis: size}))[2]
    program = getattr(program, "compiled", program)
    analysis = program.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return collectives(program), float(analysis.get("flops", float("nan")))

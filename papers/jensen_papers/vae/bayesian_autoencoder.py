"""P321: fully Bayesian autoencoders with sparse-process latents (Tran, Shahbaba, Mandt and Filippone, 2023).

What is claimed: with decoder, inducing points, hyperparameters and latents all sampled by stochastic-gradient
Hamiltonian Monte Carlo, latents are closer to the truth than by variational autoencoders, with and without a process
prior. Truths: a Gaussian mean's posterior, dense linear algebra, the joint Gaussian of a linear decoder, the ball's
place. Baselines: a variational autoencoder with independent latents, and one with the same process prior by an encoder,
at a point in all else. Data: a ball in 8 x 8 noisy pixels that follows a Gaussian process in time.

The authors' sampler (tranbahien/sgp-bae) draws its noise and never adds it, and scales the gradient of a potential that
is of all rows already by their number: both are measured. Ours has neither. Latents of rows are unknowns that persist;
the authors start them at each minibatch from a network that is regressed onto the sampler, which is not built: it is
for more rows than memory holds latents of. `--full`: more frames and pixels, longer chains.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.algorithms import SGHMC, AmortisedVI
from jensen.amortised import Encoded
from jensen.core import PointPosterior
from jensen.gp.kernels import RBF
from jensen.gp.priors import Inducing
from jensen.targets import JointRows, Tempered, from_log_density
from jensen.vae import (
    LatentModel,
    LinearDecoder,
    MeanField,
    StandardNormal,
    latent_process,
    latent_rows,
    perceptron_decoder,
    perceptron_encoder,
)
from jensen.vae.likelihoods import gaussian
from jensen_papers.result import Claim, Result

PAPER = "Tran, Shahbaba, Mandt and Filippone (2023)"
CODE = "tranbahien/sgp-bae, samplers/adaptive_sghmc.py"
ROWS, SEEDS = 100, 5
NOISE = 0.3  # of pixels
OURS, PROCESS, INDEPENDENT = "sampled", "process prior, encoder", "independent latents"


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and draw the ball's latents to `figure` if given; `full` on more and longer videos."""
    began = time.perf_counter()
    sizes = dict(side=32, frames=200, steps=3000, draws=3000) if full else dict(side=8, frames=60, steps=400, draws=200)
    with jax.enable_x64(True):
        claims = [*_temperature(), _conditional(), *_linear()]
    with jax.enable_x64(False):
        runs = [moving_ball(seed, **sizes) for seed in range(SEEDS)]
    claims += _claims(runs, sizes)
    if figure is not None:
        _draw(runs[0], figure)
    return Result("P321", "bayesian-autoencoder", time.perf_counter() - began, tuple(claims))


def _mean_of_rows(z: Any) -> Any:
    """A Gaussian mean under a flat prior: N rows at zero, of variance one."""
    return -0.5 * ROWS * jnp.sum(z**2)


def _chains(sampler: Any, target: Any, key: Any, steps: int, start: Any = None) -> np.ndarray:
    """Draws (chains, draws, d) after warm-up."""
    fit = jn.run(sampler, target, key=key, steps=steps, start=start, certify=False, progress=False)
    posterior: Any = fit.posterior
    return np.asarray(posterior.chains)


def _temperature() -> list[Claim]:
    """The variance of a Gaussian mean, times the number of rows: one at the right temperature."""
    sampler: Any = SGHMC(chains=8, leaps=20, step_size=0.1)
    target = from_log_density(_mean_of_rows, jnp.zeros(4))
    found, errors = [], []
    for power in (1.0, float(ROWS)):
        make: Any = Tempered
        tempered = make(target, jnp.asarray(power))
        squares = _chains(sampler, tempered, jax.random.key(1), 300) ** 2 * ROWS
        each = squares.mean((1, 2))
        found.append(each.mean())
        errors.append(each.std(ddof=1) / np.sqrt(len(each)))
    published = float(ROWS * np.var(_as_published(np.random.default_rng(0))))
    bias = 0.05  # of the step: (e / s)^2 M^-1 / 4, with M^-1 = 1 / (N s) in units of the posterior
    return [
        Claim(
            f"Posterior variance of a Gaussian mean of {ROWS} rows times their number (truth 1)",
            f"Derived; {PAPER}'s sampler, with its noise",
            found[0],
            "within five standard errors and the step's bias of .05 of 1",
            1.0,
            abs(found[0] - 1) < 5 * errors[0] + bias,
        ),
        Claim(
            f"The same where a gradient that is of all rows is scaled by their number once more: 1 / {ROWS} of it",
            f"{CODE}, scale_grad; measured before at .0085 in the row",
            found[1],
            "< 0.02",
            1.0,
            found[1] < 0.02,
        ),
        Claim(
            "The same by the update as published, which draws noise and does not add it: a mode, and no posterior",
            f"{CODE}, step: sample_t is not used",
            published,
            "< 1e-6",
            1.0,
            published < 1e-6,
        ),
    ]


def _as_published(rng: np.random.Generator, steps: int = 4000, rate: float = 0.02, decay: float = 0.05) -> np.ndarray:
    """Places of 8 chains after burn-in under the published update, with gradients of all rows."""
    place = rng.normal(size=8) / np.sqrt(ROWS)
    momentum, squares, kept = np.zeros(8), np.ones(8), []
    for step in range(steps):
        gradient = ROWS * place
        if step < steps // 2:
            squares += (gradient**2 - squares) / 100
        momentum += -(rate**2) * gradient / np.sqrt(squares + 1e-16) - decay * momentum
        place = place + momentum
        if step >= 3 * steps // 4:
            kept.append(place)
    return np.asarray(kept)


def _conditional() -> Claim:
    """FITC of the library's sparse prior against the covariances written out."""
    rng = np.random.default_rng(0)
    x, z, noise = np.sort(rng.uniform(0, 6, 30)), np.linspace(0, 6, 8), 0.02

    def gram(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 0.7 * np.exp(-0.5 * ((a[:, None] - b) / 1.1) ** 2)

    design = Inducing(RBF(1.1, 0.7), x[:, None], z[:, None]).design()
    weights, residual = np.asarray(design.weights[:, 0]), np.asarray(design.residual[:, 0, 0])
    ours = weights @ weights.T + np.diag(residual + noise)
    low_rank = gram(x, z) @ np.linalg.solve(gram(z, z), gram(z, x))
    truth = low_rank + np.diag(np.diag(gram(x, x) - low_rank)) + noise * np.eye(30)
    f = rng.normal(size=30)
    values = [-0.5 * (f @ np.linalg.solve(c, f) + np.linalg.slogdet(2 * np.pi * c)[1]) for c in (ours, truth)]
    off = abs(values[0] - values[1])
    return Claim(
        "Error of the latents' log density, 30 rows and 8 inducing inputs, against dense FITC (nats); what is left is "
        "the jitter of the library, 1e-10 of the diagonal",
        f"{PAPER}, its p(z | V); truth: linear algebra",
        off,
        "< 1e-5",
        None,
        off < 1e-5,
    )


def _linear(rows: int = 8, columns: int = 3) -> list[Claim]:
    """A linear decoder, all else fixed: the joint of inducing values and latents is Gaussian."""
    rng = np.random.default_rng(1)
    x, weight = np.linspace(0, 4, rows), rng.normal(size=(columns, 1))
    Y = np.sin(x)[:, None] * weight[:, 0] + 0.5 * rng.normal(size=(rows, columns))
    decoder = LinearDecoder(jnp.asarray(weight), jnp.zeros(columns))
    model = latent_process(
        x, Y, decoder, gaussian(0.5, trained=False), RBF(1.5, 1.0), 1, inducing=4, noise=0.05, free=()
    )
    joint: Any = JointRows(model)
    mean, cov = map(np.asarray, _gaussian_of(joint))
    sampler: Any = SGHMC(chains=8, leaps=20, step_size=0.05)
    draws = _chains(sampler, joint, jax.random.key(2), 500)
    each = draws.mean(1)
    errors = each.std(0, ddof=1) / np.sqrt(len(each))
    off = float(np.max(np.abs(each.mean(0) - mean) / errors))
    ratio = draws.reshape(-1, len(mean)).var(0) / np.diag(cov)
    words = f"{len(mean)} unknowns, linear decoder, 8 chains"
    return [
        Claim(
            f"Largest error of a sampled mean of inducing values and latents, in standard errors; {words}",
            "Derived: the joint posterior is Gaussian",
            off,
            "< 7 (Student's t of 7 degrees, 12 means)",
            None,
            off < 7,
        ),
        Claim(
            f"Sampled over exact variance, the farthest from one; {words}",
            "Derived: the joint posterior is Gaussian",
            float(ratio[np.argmax(np.abs(ratio - 1))]),
            "within 15 % of 1",
            1.0,
            bool(np.all(np.abs(ratio - 1) < 0.15)),
        ),
    ]


@eqx.filter_jit
def _gaussian_of(target: Any) -> Any:
    zero = jnp.zeros(target.space.dimension)
    cov = jnp.linalg.inv(-jax.hessian(target.log_density)(zero))
    return cov @ jax.grad(target.log_density)(zero), cov


def ball(seed: int, side: int, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(times, places (frames, 2), noisy frames (frames, side^2)) of a ball that follows a process of lengthscale 2."""
    rng = np.random.default_rng(seed)
    times = 0.5 * np.arange(frames)
    cov = np.exp(-0.5 * ((times[:, None] - times) / 2) ** 2) + 1e-8 * np.eye(frames)
    places = np.linalg.cholesky(cov) @ rng.normal(size=(frames, 2))
    pixels = np.linspace(-2.5, 2.5, side)
    square = (pixels[:, None] - places[:, None, None, 0]) ** 2 + (pixels - places[:, None, None, 1]) ** 2
    clean = np.exp(-0.5 * square).reshape(frames, -1)
    return times, places, clean + NOISE * rng.normal(size=clean.shape)


def moving_ball(seed: int, side: int, frames: int, steps: int, draws: int) -> dict[str, Any]:
    """Latents of each method and their error after the best affine map to the ball's places."""
    times, places, seen = ball(seed, side, frames)
    keys = jax.random.split(jax.random.key(seed), 6)
    rows, likelihood, head = jnp.asarray(seen, jnp.float32), gaussian(NOISE, trained=False), MeanField(2)
    decoder = perceptron_decoder(keys[0], 2, (16,), jnp.mean(rows, 0)[:, None])
    encoder = perceptron_encoder(keys[1], jnp.mean(rows, 0), jnp.std(rows, 0), (16,), head.context)
    make: Any = AmortisedVI
    plain = LatentModel(StandardNormal(2), decoder, likelihood)
    out = {
        INDEPENDENT: _trained(
            keys[2], make(Encoded(encoder, head), learning_rate=1e-2), latent_rows(plain, rows), steps
        )[1]
    }
    model = latent_process(
        times, seen, decoder, likelihood, RBF(2.0, 1.0), 2, inducing=max(15, frames // 4), noise=0.01, weight_scale=1.0
    )
    data = model.data
    encoder = perceptron_encoder(keys[1], jnp.mean(data, 0), jnp.std(data, 0), (16,), head.context)
    z, out[PROCESS] = _trained(keys[3], make(Encoded(encoder, head), learning_rate=1e-2), model, steps)
    joint: Any = JointRows(model)
    start = PointPosterior(joint.space, joint.join(z, jnp.asarray(out[PROCESS], z.dtype)))
    sampler: Any = SGHMC(chains=1, leaps=10, step_size=0.03)
    chain = _chains(sampler, joint, keys[4], draws, start)[0]
    out[OURS] = np.asarray(joint.split(jnp.asarray(np.mean(chain, 0)))[1])
    return {"places": places, "latents": out, "errors": {name: aligned(u, places)[1] for name, u in out.items()}}


def _trained(key: Any, algorithm: Any, target: Any, steps: int) -> tuple[Any, np.ndarray]:
    """(the shared unknowns, means of q of all rows)."""
    start = PointPosterior(target.space, target.theta)
    fit = jn.run(algorithm, target, key=key, steps=steps, start=start, certify=False, progress=False)
    posterior: Any = fit.posterior
    return posterior.z, np.asarray(_means(posterior.conditional, target.data))


@eqx.filter_jit
def _means(conditional: Any, rows: Any) -> Any:
    return jax.vmap(lambda row: conditional.given(row).mean)(rows)


def aligned(latents: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, float]:
    """(latents by the best affine map to the places, root mean squared error)."""
    wide = np.column_stack([latents, np.ones(len(latents))])
    made = wide @ np.linalg.lstsq(wide, places, rcond=None)[0]
    return made, float(np.sqrt(np.mean((made - places) ** 2)))


def _claims(runs: list[dict[str, Any]], sizes: dict[str, int]) -> list[Claim]:
    errors = {name: np.array([run["errors"][name] for run in runs]) for name in (OURS, PROCESS, INDEPENDENT)}
    words = f"{sizes['side']} x {sizes['side']} pixels, {sizes['frames']} frames, mean over {SEEDS} videos"
    return [
        Claim(
            f"Error of latents after an affine map to the ball's places, {words}; baseline: {name}. Lower in "
            f"{int(np.sum(errors[OURS] < errors[name]))} of {SEEDS}",
            f"{PAPER}, the moving ball; no number",
            errors[OURS].mean(),
            "< baseline",
            errors[name].mean(),
            bool(errors[OURS].mean() < errors[name].mean()),
        )
        for name in (INDEPENDENT, PROCESS)
    ]


def _draw(run: dict[str, Any], path: Path) -> None:
    """The ball's path, and each method's latents mapped to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for place, (name, latents) in zip(
        figure.subplots(1, 3, sharex=True, sharey=True), run["latents"].items(), strict=True
    ):
        made, error = aligned(latents, run["places"])
        place.plot(*run["places"].T, "k", lw=1, label="ball")
        place.plot(*made.T, ".-", lw=0.6, ms=4)
        place.set_title(f"{name}, error {error:.2f}", fontsize=8)
    figure.savefig(path)

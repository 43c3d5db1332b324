"""P147: stochastic backpropagation in deep latent Gaussian models (Rezende, Mohamed and Wierstra, 2014).

What is claimed: gradients of Gaussian expectations by the derivatives of the integrand (Bonnet, Price) have little
variance; a rank-one precision gives correlated posteriors at the cost of independent ones; the recognition model meets
the exact evidence where it can; models with noise at every layer learn images; missing values can be drawn. Truths:
dense linear algebra, a polynomial's exact gradient, probabilistic PCA, Gaussian conditional means. Baselines: the
score-function gradient, column means, mixtures of Bernoullis. The paper's own tables were not at hand.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.amortised import Encoded
from jensen.vae import (
    LatentModel,
    LayeredHead,
    RankOne,
    RankOnePrecision,
    SharedScale,
    StandardNormal,
    deep_latent_decoder,
    fit_linear,
    impute,
    linear_vae,
    log_likelihood_bound,
    perceptron_encoder,
    probabilistic_pca,
    train,
)
from jensen.vae.likelihoods import Bernoulli
from jensen_papers.result import Claim, Result
from jensen_papers.vae._linear import linear_data
from jensen_papers.vae._mixtures import binary_digits, mixture_of_bernoullis

PAPER = "Rezende, Mohamed and Wierstra (2014)"
COLUMNS, K, ROWS = 8, 3, 300


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and draw images that were half hidden to `figure` if given; `full` trains longer."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        claims = [_identities(), *_gradients(), *_linear()]
    trained, test, images = _digits(1000 if full else 60)
    claims.append(images)
    if figure is not None:
        _draw(trained, test, figure)
    return Result("P147", "stochastic-backpropagation", time.perf_counter() - began, tuple(claims))


def _identities() -> Claim:
    """The rank-one formulas against dense linear algebra."""
    worst = 0.0
    for k in (5, 50):
        rng = np.random.default_rng(k)
        q = RankOnePrecision(*(jnp.asarray(rng.normal(size=k)) for _ in range(3)))
        precision = np.diag(np.exp(q.log_precision)) + np.outer(q.factor, q.factor)
        dense = np.linalg.inv(precision)
        root, cov, variances, found = map(np.asarray, _of_rank_one(q))
        entropy = 0.5 * (k * (1 + np.log(2 * np.pi)) - np.linalg.slogdet(precision)[1])
        errors = (
            np.max(np.abs(root @ root.T - dense)),
            np.max(np.abs(cov - dense)),
            np.max(np.abs(variances - np.diag(dense))),
            np.abs(found - entropy),
        )
        worst = max(worst, *map(float, errors))
    return Claim(
        "Largest error of covariance, its root, its diagonal and the entropy of a rank-one precision, 5 and 50 latents",
        f"{PAPER}, section 4.3; truth: dense linear algebra",
        worst,
        "< 1e-10",
        None,
        worst < 1e-10,
    )


@eqx.filter_jit
def _of_rank_one(q: Any) -> Any:
    root = jax.vmap(lambda e: q.from_noise(e) - q.mean, out_axes=1)(jnp.eye(q.dimension))
    return root, q.mean_and_cov()[1], q.variances, q.entropy()


def _integrand(z: Any, a: Any, b: Any) -> Any:
    return z @ a @ z + jnp.sum(b * z**4)


def _gradients(draws: int = 20_000) -> list[Claim]:
    """Bonnet's and Price's estimates of a polynomial's gradient, whose expectation is known.

    Of random polynomials of 3 latents the gradient for the mean has a ninth of the score function's variance (median of
    40, at most a quarter): tenfold it is from ten latents on, and the more, the more there are.
    """
    rng = np.random.default_rng(0)
    k = 20
    a, b, mean = (jnp.asarray(rng.normal(size=shape)) for shape in ((k, k), (k,), (k,)))
    a = a + a.T
    tril = jnp.asarray(np.linalg.cholesky(0.5 * np.eye(k) + 0.3))
    cov = np.asarray(tril @ tril.T)
    m, s = np.asarray(mean), np.diagonal(cov)
    # E[z^4] = m^4 + 6 m^2 s + 3 s^2
    truth_m = 2 * np.asarray(a) @ m + np.asarray(b) * (4 * m**3 + 12 * m * s)
    truth_c = np.asarray(a) + np.diag(np.asarray(b) * (6 * m**2 + 6 * s))
    (bonnet, score_m), (price, score_c) = _estimates(jax.random.key(1), mean, tril, a, b, draws)
    worst, ratios = 0.0, []
    for ours, score, truth in ((bonnet, score_m, truth_m), (price, score_c, truth_c)):
        error = np.std(ours, 0) / np.sqrt(draws)
        worst = max(worst, float(np.max(np.abs(np.mean(ours, 0) - truth) / error)))
        ratios.append(float(np.sum(np.var(ours, 0)) / np.sum(np.var(score, 0))))
    return [
        Claim(
            f"Largest error of the gradients for mean and covariance, {k} latents, in standard errors of {draws} draws",
            f"{PAPER}, equations 7 and 8; truth: a quartic's expectation in closed form",
            worst,
            "< 5",
            None,
            worst < 5,
        ),
        Claim(
            f"Variance of the gradient over that of the score function's, the larger of mean and covariance, {k} "
            "latents. With 3 it is a ninth for the mean (median of 40 polynomials, at most a quarter)",
            f"{PAPER}, section 3; no number",
            max(ratios),
            "< 0.1",
            1.0,
            max(ratios) < 0.1,
        ),
    ]


@eqx.filter_jit
def _estimates(key: Any, mean: Any, tril: Any, a: Any, b: Any, draws: int) -> Any:
    precision = jnp.linalg.inv(tril @ tril.T)
    eps = jax.random.normal(key, (draws, len(mean)))

    def one(e: Any) -> Any:
        z = mean + tril @ e
        value, gradient, hessian = (
            _integrand(z, a, b),
            jax.grad(_integrand)(z, a, b),
            jax.hessian(_integrand)(z, a, b),
        )
        pulled = precision @ (z - mean)
        return (gradient, value * pulled), (0.5 * hessian, 0.5 * value * (jnp.outer(pulled, pulled) - precision))

    return jax.vmap(one)(eps)


def _linear() -> list[Claim]:
    """A linear decoder with a rank-one posterior: the evidence is met, and values that are missing are drawn."""
    X = linear_data(np.random.default_rng(0), ROWS, COLUMNS, K)
    truth = probabilistic_pca(X, K)
    model, conditional = linear_vae(jax.random.key(1), COLUMNS, K)
    rest = jnp.concatenate([jnp.zeros(K), jnp.full(K, 0.1)])  # no factor at all would be a saddle
    start: Any = conditional.encoder
    conditional = Encoded(SharedScale(start.weight, start.bias, rest), RankOne(K))
    model, conditional, bound = fit_linear(model, conditional, X)
    gap = abs(bound - float(truth.log_evidence))
    off, baseline = _imputation(X, truth, model, conditional)
    return [
        Claim(
            f"|bound - exact evidence| a row (nats), linear decoder, rank-one posterior, {K} latents",
            "Derived: the optimum is probabilistic PCA (Tipping and Bishop 1999)",
            gap,
            "< 1e-3",
            None,
            gap < 1e-3,
        ),
        Claim(
            "Largest error of the chain's mean of missing values (half of each row), in standard errors",
            f"{PAPER}, appendix F; truth: the Gaussian conditional mean",
            off,
            "< 5",
            None,
            off < 5,
        ),
        baseline,
    ]


def _imputation(X: np.ndarray, truth: Any, model: Any, conditional: Any) -> tuple[float, Claim]:
    rng = np.random.default_rng(1)
    rows, chains = X[:6], 100
    missing = np.stack([rng.permutation(COLUMNS) < COLUMNS // 2 for _ in rows])
    weight, mean = np.asarray(truth.weight), np.asarray(truth.mean)
    cov = weight @ weight.T + float(truth.noise) * np.eye(COLUMNS)
    filled = np.where(missing, mean, rows)
    many = jnp.asarray(np.tile(filled, (chains, 1)))  # chains that do not know of each other: their errors are plain
    drawn = np.asarray(
        impute(jax.random.key(2), model, conditional, many, jnp.asarray(np.tile(missing, (chains, 1))), 60)
    )
    means = drawn[30:].mean(0).reshape(chains, *rows.shape)
    found, error = means.mean(0), means.std(0, ddof=1) / np.sqrt(chains)
    worst, exact = 0.0, rows.copy()
    for i, gone in enumerate(missing):
        solved = np.linalg.solve(cov[np.ix_(~gone, ~gone)], rows[i, ~gone] - mean[~gone])
        exact[i, gone] = mean[gone] + cov[np.ix_(gone, ~gone)] @ solved
        worst = max(worst, float(np.max(np.abs(found[i, gone] - exact[i, gone]) / error[i, gone])))
    ours, plain = (float(np.sqrt(np.mean((a - rows)[missing] ** 2))) for a in (found, filled))
    claim = Claim(
        "Root mean squared error of missing values, against column means",
        f"{PAPER}, section 6.4; no number",
        ours,
        "< baseline",
        plain,
        ours < plain,
    )
    return worst, claim


def _digits(epochs: int) -> tuple[Any, np.ndarray, Claim]:
    """Two layers of latents on binary digits, split 1; settings were chosen on split 0."""
    X, test = binary_digits(1)
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(0), 4)
        sizes, likelihood = (8, 4), Bernoulli()
        decoder = deep_latent_decoder(keys[0], sizes, (128,), jnp.asarray(likelihood.initial(X), jnp.float32))
        head = LayeredHead(tuple(RankOne(size) for size in sizes))
        rows = jnp.asarray(X, jnp.float32)
        encoder = perceptron_encoder(keys[1], rows.mean(0), jnp.ones(64, jnp.float32), (128,), head.context)
        model = LatentModel(StandardNormal(sum(sizes)), decoder, likelihood)
        settings: dict[str, Any] = dict(epochs=epochs, batch_size=64, learning_rate=3e-3, patience=30, progress=False)
        trained = train(keys[2], model, Encoded(encoder, head), rows[72:], held_out=rows[:72], **settings)
        seen = jnp.asarray(test, jnp.float32)
        ours = float(jnp.mean(log_likelihood_bound(keys[3], trained.model, trained.conditional, seen, 500)))
    best = max(mixture_of_bernoullis(X, test, components) for components in (20, 50, 100))
    claim = Claim(
        f"Test bound (nats, 500 weights), binary digits, {sizes[0]} and {sizes[1]} latents in two layers with rank-one "
        "posteriors, against the best mixture of 20, 50 and 100 Bernoulli components",
        f"{PAPER}, section 6: trains on images; the baseline is exact on the same split",
        ours,
        "> baseline",
        best,
        ours > best,
    )
    return trained, test, claim


def _draw(trained: Any, test: np.ndarray, path: Path) -> None:
    """Digits, their lower half hidden, and the mean of what is drawn there."""
    from matplotlib.figure import Figure

    rows = test[:10]
    missing = np.zeros(rows.shape, bool)
    missing[:, 32:] = True
    hidden = np.where(missing, 0.5, rows)
    with jax.enable_x64(False):
        start = jnp.asarray(np.where(missing, 0.0, rows), jnp.float32)
        chain = impute(jax.random.key(5), trained.model, trained.conditional, start, jnp.asarray(missing), 200)
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots(3, len(rows))
    for line, images in enumerate((rows, hidden, np.asarray(chain[50:]).mean(0))):
        for place, image in zip(axes[line], images, strict=True):
            place.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
    for place, words in zip(axes[:, 0], ("digit", "half hidden", "drawn, mean"), strict=True):
        place.set_ylabel(words, fontsize=7)
    figure.savefig(path)

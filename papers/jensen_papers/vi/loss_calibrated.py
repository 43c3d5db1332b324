"""P296: making reliable and flexible decisions in long-tailed classification (Li and Zhang 2025).

What is claimed: Bayesian decisions that know a utility call tail classes head less often (False Head Rate) than the
most probable class does. Measured on digits of which five classes are thinned tenfold, with a mean-field softmax
regression and the utility of a called head -4, of a correct call 1; the authors' ensembles of residual networks are
not. The loss-calibrated bound that the objective stands on is checked by quadrature. `--full` takes five splits.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.families import DiagonalGaussian
from jensen.gradient_estimators import StickingTheLanding
from jensen.objectives import LossCalibrated, NegativeElbo, bayes_action
from jensen_papers.result import Claim, Result

PAPER = "Li and Zhang (2025)"
CLASSES, HEAD, THIN, PENALTY = 10, 5, 10, -4.0


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and write a figure to `figure` if given; `full` takes five splits of the digits."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        claims = [*_decisions(), *_rate(), *_bound()]
    with jax.enable_x64(False):
        rows = [_digits(seed) for seed in range(5 if full else 2)]
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    claims += _digit_claims(mean, rows)
    if figure is not None:
        _draw(mean, figure)
    return Result("P296", "loss-calibrated", time.perf_counter() - began, tuple(claims))


def false_head_rate(labels: Any, predictions: Any, border: int) -> float:
    """Of the rows of tail classes (labels from `border` on), the share that is called a head class."""
    tail = np.asarray(labels) >= border
    return float(np.mean(np.asarray(predictions)[tail] < border))


def utility() -> np.ndarray:
    """u(y, a): 1 for the class itself, -4 for a tail class that is called head, 0 for any other error."""
    u = np.eye(CLASSES)
    u[HEAD:, :HEAD] = PENALTY
    return u


def _decisions() -> list[Claim]:
    """Conjugate counts: p(y | x, data) = (n_xy + 1) / (n_x + C) exactly, decisions by enumeration."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 6, size=(200, 5))
    draws = np.stack([rng.dirichlet(row + 1, size=4000).mean(axis=0) for row in counts])
    exact, wrong, regret = (counts + 1) / (counts.sum(axis=1, keepdims=True) + 5), 0, 0.0
    for _ in range(20):
        u = rng.normal(size=(5, 5))
        best = [max(range(5), key=lambda a, p=p, u=u: sum(p[y] * u[y, a] for y in range(5))) for p in exact]
        wrong += int(np.sum(np.asarray(bayes_action(jnp.asarray(exact), jnp.asarray(u))) != best))
        chosen = np.asarray(bayes_action(jnp.asarray(draws), jnp.asarray(u)))
        value = exact @ u
        regret = max(regret, float(np.max(value[np.arange(200), best] - value[np.arange(200), chosen])))
    where = "Bayesian decision theory: the enumerated action, conjugate Dirichlet-multinomial rows"
    return [
        Claim(
            "Decisions off the enumerated Bayes action, 20 random utilities", where, float(wrong), "0", None, wrong == 0
        ),
        Claim(
            "Utility lost by 4,000 posterior draws in place of the exact predictive",
            where,
            regret,
            "< 0.05",
            None,
            regret < 0.05,
        ),
    ]


def _rate() -> list[Claim]:
    labels, predictions = [0, 1, 5, 6, 7, 9], [0, 6, 2, 6, 9, 4]
    got = false_head_rate(labels, predictions, 5)
    return [
        Claim(
            "False Head Rate of four tail rows, two called head", f"{PAPER}, definition", got, "0.5", None, got == 0.5
        )
    ]


def _bound() -> list[Claim]:
    """A logistic posterior on the line and a gain: -LossCalibrated against log int p G by quadrature."""
    x, y = jnp.array([-2.0, -1.0, 0.5, 1.0, 3.0]), jnp.array([0.0, 0.0, 1.0, 0.0, 1.0])

    def log_density(z: Any, x: Any, y: Any) -> Any:
        return jnp.sum(y * z[0] * x - jax.nn.softplus(z[0] * x)) + jax.scipy.stats.norm.logpdf(z[0])

    def log_gain(z: Any, at: Any) -> Any:
        return jnp.log(1.0 + 4.0 * jax.nn.sigmoid(z[0] * at))

    at, target = jnp.asarray(2.0), jn.targets.from_log_density(log_density, np.zeros(1), x, y)
    grid = jnp.linspace(-8.0, 8.0, 8001)[:, None]
    values = jax.jit(jax.vmap(lambda z: log_density(z, x, y) + log_gain(z, at)))(grid)
    truth = float(jax.nn.logsumexp(values) + jnp.log(grid[1, 0] - grid[0, 0]))
    start = DiagonalGaussian(jnp.zeros(1), jnp.zeros(1))
    bound = {}
    many = LossCalibrated(log_gain, (at,), StickingTheLanding(20_000))
    value = eqx.filter_jit(lambda objective, key, q, target: objective.loss(key, q, target).value)
    for name, objective in (("calibrated", LossCalibrated(log_gain, (at,))), ("plain", NegativeElbo())):
        algorithm = jn.algorithms.GradientVI(family=start, objective=objective, learning_rate=0.05)
        fit = jn.run(algorithm, target, key=jax.random.key(0), steps=600, certify=False, progress=False)
        q = fit.posterior.q  # pyright: ignore[reportAttributeAccessIssue]
        bound[name] = -float(value(many, jax.random.key(1), q, target))
    gap, other = truth - bound["calibrated"], truth - bound["plain"]
    where = "Loss-calibrated bound, Lacoste-Julien et al. (2011); truth by quadrature"
    words = "Calibrated bound below log int p(z, data) G(z) dz, nats, against that at the plain ELBO's q"
    return [Claim(words, where, gap, "0 to 0.05, < baseline", other, -1e-3 < gap < min(0.05, other))]


def _log_prior(w: Any) -> Any:
    return -0.5 * jnp.sum(w**2)


def _log_likelihood(w: Any, rows: Any) -> Any:
    x, y = rows
    return jnp.take_along_axis(jax.nn.log_softmax(x @ w), y[:, None], axis=1)[:, 0]


def _long_tailed(seed: int) -> tuple[Any, Any, Any, Any]:
    """Half of the digits to train on, classes 5 to 9 thinned tenfold; the other half to test on, as it is."""
    data = jn.datasets.load("digits")
    x = np.concatenate([data["images"].reshape(-1, 64) / 4.0, np.full((len(data["labels"]), 1), 4.0)], axis=1)
    x, y = (x / 4.0).astype(np.float32), data["labels"].astype(np.int32)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    train, test = order[: len(y) // 2], order[len(y) // 2 :]
    kept = np.concatenate([train[y[train] < HEAD], train[y[train] >= HEAD][::THIN]])
    return x[kept], y[kept], x[test], y[test]


def _digits(seed: int) -> dict[str, float]:
    """False Head Rates and mean utilities on the test half, of three ways to decide."""
    x, y, x_test, y_test = _long_tailed(seed)
    target = jn.targets.from_rows(_log_prior, _log_likelihood, (x, y), np.zeros((65, CLASSES), np.float32))
    start = DiagonalGaussian(jnp.zeros(650), jnp.full(650, -2.0))
    algorithm = jn.algorithms.GradientVI(
        family=start, objective=NegativeElbo(StickingTheLanding(4)), learning_rate=0.05
    )
    fit = jn.run(algorithm, target, key=jax.random.key(seed), steps=500, certify=False, progress=False)
    draws = np.asarray(fit.posterior.sample_z(jax.random.key(1), 100)).reshape(100, 65, CLASSES)
    bayes = np.mean([np.asarray(jax.nn.softmax(x_test @ w)) for w in draws], axis=0)
    fitted = np.asarray(jax.nn.softmax(x_test @ np.asarray(_maximum_likelihood(x, y))))
    u = utility()
    chosen = {
        "expected utility": np.asarray(bayes_action(jnp.asarray(bayes), jnp.asarray(u, bayes.dtype))),
        "most probable": bayes.argmax(axis=1),
        "maximum likelihood": fitted.argmax(axis=1),
    }
    rates = {f"rate, {name}": false_head_rate(y_test, a, HEAD) for name, a in chosen.items()}
    gained = {f"utility, {name}": float(np.mean(u[y_test, a])) for name, a in chosen.items()}
    difference = u[y_test, chosen["expected utility"]] - u[y_test, chosen["most probable"]]
    return rates | gained | {"error": float(difference.std() / np.sqrt(len(difference)))}


@jax.jit
def _maximum_likelihood(x: Any, y: Any) -> Any:
    """Softmax regression by 500 steps of Adam, no prior."""
    import optax

    adam = optax.adam(0.05)

    def step(carry: Any, _: Any) -> Any:
        w, state = carry
        updates, state = adam.update(jax.grad(lambda w: -jnp.sum(_log_likelihood(w, (x, y))))(w), state)
        return (w + updates, state), None

    w = jnp.zeros((x.shape[1], CLASSES), x.dtype)
    return jax.lax.scan(step, (w, adam.init(w)), None, length=500)[0][0]


def _digit_claims(mean: dict[str, float], rows: list[dict[str, float]]) -> list[Claim]:
    where = f"{PAPER}, False Head Rate; on digits thinned tenfold"
    ours, plain, fitted = (mean[f"rate, {n}"] for n in ("expected utility", "most probable", "maximum likelihood"))
    gain = mean["utility, expected utility"]
    other = mean["utility, most probable"]
    slack = 2 * float(np.mean([row["error"] for row in rows])) / np.sqrt(len(rows))
    return [
        Claim(
            "False Head Rate of expected-utility decisions, against the most probable class",
            where,
            ours,
            "< baseline",
            plain,
            ours < plain,
        ),
        Claim(
            "The same against maximum likelihood with its most probable class",
            where,
            ours,
            "<= 0.8 baseline",
            fitted,
            ours <= 0.8 * fitted,
        ),
        Claim(
            "Mean test utility, against the most probable class",
            where,
            gain,
            "> baseline - 2 standard errors",
            other,
            gain > other - slack,
        ),
    ]


def _draw(mean: dict[str, float], path: Path) -> None:
    """False Head Rates."""
    from matplotlib.figure import Figure

    names = [name for name in mean if name.startswith("rate")]
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.barh([name.removeprefix("rate, ") for name in names], [mean[name] for name in names])
    axes.set(xlabel="False Head Rate", title="Digits, five classes thinned tenfold")
    figure.savefig(path)

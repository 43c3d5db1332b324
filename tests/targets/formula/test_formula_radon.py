"""Real data: NUTS on the radon regression against its posterior by quadrature."""

import jax
import numpy as np
import pytest
from scipy import stats

from jensen import datasets
from jensen.targets._formula import from_formula
from jensen.targets._formula._model import regression_model


def posterior_by_quadrature(t):
    """Means and sds of the slope, the intercept, log sd of counties and log sigma.

    Given the two scales everything is Gaussian, so that those are integrated in closed form; the scales on a grid.
    """
    y, x = t["log_radon"], t["floor"].astype(float)
    names, county = np.unique(t["county"], return_inverse=True)
    scale = 2.5 * y.std()
    w = np.concatenate([np.ones((len(y), 1)), (x - x.mean())[:, None], np.eye(len(names))[county]], axis=1)
    gram, cross, total = w.T @ w, w.T @ (y - y.mean()), float(((y - y.mean()) ** 2).sum())
    log_tau, log_sigma = np.linspace(-2.6, -0.2, 25), np.linspace(-0.45, -0.12, 21)
    rows = []
    for a in log_tau:
        for b in log_sigma:
            tau, sigma = np.exp(a), np.exp(b)
            prior = np.concatenate([[scale**2, (scale / x.std()) ** 2], np.full(len(names), tau**2)])
            precision = gram / sigma**2 + np.diag(1 / prior)
            mean = np.linalg.solve(precision, cross / sigma**2)
            cov = np.linalg.inv(precision)[:2, :2]
            evidence = -0.5 * (total / sigma**2 - mean @ cross / sigma**2) - len(y) * b
            evidence -= 0.5 * (np.linalg.slogdet(precision)[1] + np.log(prior).sum())
            evidence += stats.halfnorm.logpdf(tau, scale=scale) + a + stats.t.logpdf(sigma, 4.0, 0.0, y.std()) + b
            contrast = np.array([1.0, -x.mean()])
            intercept = y.mean() + contrast @ mean[:2]
            rows.append((evidence, mean[1], cov[1, 1], intercept, contrast @ cov @ contrast, a, b))
    e, slope, slope_var, intercept, intercept_var, a, b = np.array(rows).T
    p = np.exp(e - e.max())
    p /= p.sum()
    zero = np.zeros_like(a)
    result = {}
    moments = {
        "floor": (slope, slope_var),
        "Intercept": (intercept, intercept_var),
        "tau": (a, zero),
        "sigma": (b, zero),
    }
    for name, (mean, var) in moments.items():
        centre = p @ mean
        result[name] = centre, np.sqrt(p @ (var + (mean - centre) ** 2))
    edge = p.reshape(25, 21)
    assert max(edge[0].sum(), edge[-1].sum(), edge[:, 0].sum(), edge[:, -1].sum()) < 1e-4
    return result


@pytest.fixture(scope="module")
def radon():
    return datasets.load("radon")


def test_nuts_finds_the_posterior_of_the_radon_regression(radon):
    from numpyro.diagnostics import effective_sample_size
    from numpyro.infer import MCMC, NUTS

    target = from_formula("log_radon ~ floor + (1|county)", radon)
    truth = posterior_by_quadrature(radon)
    mcmc = MCMC(NUTS(regression_model), num_warmup=250, num_samples=400, progress_bar=False)
    mcmc.run(jax.random.key(0), target.fitted_design)
    draws = {name: np.asarray(x) for name, x in mcmc.get_samples().items()}
    draws = {
        "floor": draws["floor"],
        "Intercept": draws["Intercept"],
        "tau": np.log(draws["1|county_sigma"]),
        "sigma": np.log(draws["sigma"]),
    }
    for name, (mean, sd) in truth.items():
        error = sd / np.sqrt(effective_sample_size(draws[name][None]))
        assert abs(draws[name].mean() - mean) < 5 * error
        assert 5 * error < 0.6 * sd  # a shift of 0.6 sd cannot hide
    # Gelman and Hill (2006), section 12.3, report -0.69 and 1.46 with sds 0.07 and 0.05.
    assert truth["floor"][0] == pytest.approx(-0.69, abs=0.01)
    assert truth["Intercept"][0] == pytest.approx(1.46, abs=0.01)


def test_labels_are_the_counties(radon):
    target = from_formula("log_radon ~ floor + log_uranium + (1 + floor|county)", radon)
    assert target.labels["1|county"][0][:2] == ("AITKIN", "ANOKA")
    assert target.space.dimension == 6 + 2 * 85

"""Families of responses: the distribution of y given the linear predictor eta, and what y may be."""

import abc
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, UnknownName
from jensen.targets._formula._priors import Default, make_prior


@dataclass(frozen=True)
class ResponseData:
    """A checked response: values (n,), trials (n,) or None, the number of levels (0 unless ordered)."""

    values: np.ndarray
    trials: np.ndarray | None = None
    num_levels: int = 0


@dataclass(frozen=True)
class Family(abc.ABC):
    """How y depends on eta (n,): `link(E[y]) = eta`, with auxiliary parameters that have priors of their own."""

    name: str
    link: str
    whole: bool  # y is counted

    @abc.abstractmethod
    def distribution(self, eta: Float[Array, " n"], auxiliary: dict[str, Array], trials: Any) -> Any:
        """NumPyro's distribution of y given eta, a batch of n."""

    def auxiliary(self, y: np.ndarray, scale: float) -> tuple[Default, ...]:
        """Default priors of the auxiliary parameters, from the response and its scale."""
        return ()

    def check(self, y: np.ndarray, name: str) -> None:  # noqa: B027 (every real y is allowed unless a family objects)
        """Raise `InputError` where y lies outside the support."""

    def scale(self, y: np.ndarray, centred: bool) -> float:
        """The scale of eta: 1 unless eta has the unit of y."""
        return 1.0

    def location(self, y: np.ndarray) -> float:
        """Where the prior of the intercept is centred, on the scale of eta."""
        return 0.0


def _spread(y: np.ndarray, centred: bool) -> float:
    return float(np.std(y) if centred else np.sqrt(np.mean(y**2)))


@dataclass(frozen=True)
class Gaussian(Family):
    """y ~ N(eta, sigma^2)."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        import numpyro.distributions as dist

        return dist.Normal(eta, auxiliary["sigma"])

    def auxiliary(self, y: np.ndarray, scale: float) -> tuple[Default, ...]:
        return (_sigma(scale),)

    def check(self, y: np.ndarray, name: str) -> None:
        if np.ptp(y) == 0:
            raise InputError(f"The response {name!r} is constant ({y[0]:g}): there is nothing to explain")

    def scale(self, y: np.ndarray, centred: bool) -> float:
        return _spread(y, centred)

    def location(self, y: np.ndarray) -> float:
        return float(np.mean(y))


@dataclass(frozen=True)
class Student(Gaussian):
    """y ~ Student t(nu, eta, sigma): a regression that outliers pull little."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        import numpyro.distributions as dist

        return dist.StudentT(auxiliary["nu"], eta, auxiliary["sigma"])

    def auxiliary(self, y: np.ndarray, scale: float) -> tuple[Default, ...]:
        return (_sigma(scale), Default("nu", make_prior("gamma", 2.0, 0.1), (), "positive", "Juarez and Steel (2010)"))


def _sigma(scale: float) -> Default:
    return Default("sigma", make_prior("half_student_t", 4.0, scale), (), "positive", "scale of the response")


@dataclass(frozen=True)
class Bernoulli(Family):
    """P(y = 1) = logistic(eta)."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        import numpyro.distributions as dist

        return dist.Bernoulli(logits=eta)

    def check(self, y: np.ndarray, name: str) -> None:
        if not np.all((y == 0) | (y == 1)):
            raise InputError(
                f"The family bernoulli needs a response of 0 and 1, {name!r} runs from {y.min():g} to {y.max():g}: "
                f"recode it, as in {{{name} > 0}}"
            )


@dataclass(frozen=True)
class Binomial(Family):
    """y ~ Binomial(trials, logistic(eta))."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        import numpyro.distributions as dist

        return dist.Binomial(trials, logits=eta)

    def check(self, y: np.ndarray, name: str) -> None:
        _check_counts(y, name, self.name)


@dataclass(frozen=True)
class Poisson(Family):
    """y ~ Poisson(exp(eta))."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        import numpyro.distributions as dist

        return dist.Poisson(jnp.exp(eta))

    def check(self, y: np.ndarray, name: str) -> None:
        _check_counts(y, name, self.name)

    def location(self, y: np.ndarray) -> float:
        return float(np.log(max(np.mean(y), 1.0 / len(y))))


@dataclass(frozen=True)
class NegativeBinomial(Poisson):
    """y ~ NegativeBinomial of mean mu = exp(eta) and variance mu + mu^2 / alpha."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        from jensen.targets._formula._negative_binomial import NegativeBinomialLog

        return NegativeBinomialLog(eta, auxiliary["alpha"])

    def auxiliary(self, y: np.ndarray, scale: float) -> tuple[Default, ...]:
        prior = make_prior("inverse_gamma", 0.4, 0.3)
        return (Default("alpha", prior, (), "positive", "avoids 0 and leaves the Poisson limit open, as brms"),)


@dataclass(frozen=True)
class Gamma(Family):
    """y ~ Gamma of mean exp(eta) and shape alpha: coefficient of variation 1 / sqrt(alpha)."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        import numpyro.distributions as dist

        return dist.Gamma(auxiliary["alpha"], auxiliary["alpha"] * jnp.exp(-eta))

    def auxiliary(self, y: np.ndarray, scale: float) -> tuple[Default, ...]:
        shape = float(np.mean(y) ** 2 / np.var(y))
        prior = make_prior("half_student_t", 4.0, 2.5 * shape)
        return (Default("alpha", prior, (), "positive", "2.5 times the shape without predictors"),)

    def check(self, y: np.ndarray, name: str) -> None:
        if not np.all(y > 0):
            raise InputError(
                f"The family gamma needs a positive response, {name!r} runs from {y.min():g}: drop those rows, or use "
                "another family"
            )
        if np.ptp(y) == 0:
            raise InputError(f"The response {name!r} is constant ({y[0]:g}): there is nothing to explain")

    def location(self, y: np.ndarray) -> float:
        return float(np.log(np.mean(y)))


@dataclass(frozen=True)
class Ordered(Family):
    """P(y <= k) = logistic(cutpoints[k] - eta): cumulative logit, levels 0 .. K-1, no intercept."""

    def distribution(self, eta: Array, auxiliary: dict[str, Array], trials: Any) -> Any:
        import numpyro.distributions as dist

        return dist.OrderedLogistic(eta, auxiliary["cutpoints"])


def _check_counts(y: np.ndarray, name: str, family: str) -> None:
    bad = (y < 0) | (y != np.floor(y))
    if np.any(bad):
        raise InputError(
            f"The family {family} needs counts 0, 1, 2, ..., {name!r} holds {y[bad][0]:g} in row "
            f"{int(np.argmax(bad))}: use gaussian or gamma for measurements"
        )


_FAMILIES = {
    family.name: family
    for family in (
        Gaussian("gaussian", "identity", False),
        Student("student", "identity", False),
        Bernoulli("bernoulli", "logit", True),
        Binomial("binomial", "logit", True),
        Poisson("poisson", "log", True),
        NegativeBinomial("negative_binomial", "log", True),
        Gamma("gamma", "log", False),
        Ordered("ordered", "cumulative logit", True),
    )
}


def family_names() -> tuple[str, ...]:
    """Names of the families of responses."""
    return tuple(_FAMILIES)


def family_of(name: str) -> Family:
    """The family called `name`. Raises `UnknownName`, which suggests the nearest."""
    if name not in _FAMILIES:
        raise UnknownName("family", str(name), _FAMILIES)
    return _FAMILIES[name]

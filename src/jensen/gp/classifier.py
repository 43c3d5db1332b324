"""Gaussian-process classification as a scikit-learn estimator."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from jensen.algorithms import CVI
from jensen.core import InputError
from jensen.gp._choice import LINE, choose
from jensen.gp._estimator import (
    LARGEST_ITERATED,
    GPEstimator,
    check_sizes,
    doubled,
    inducing_points,
    pad,
    pad_times,
    padded,
    stretch,
)
from jensen.gp._site_evidence import fixed_point, site_evidence
from jensen.gp.hyperparameters import Hyperparameters
from jensen.gp.kernels.text import kernel as as_kernel
from jensen.gp.latent import LatentModel
from jensen.gp.likelihoods import BernoulliProbit, Softmax
from jensen.gp.priors import Dense, Inducing, StateSpace, Vecchia


def _model(tree: Any, template: LatentModel) -> LatentModel:
    """The template with the kernels (and inducing points, where they are trained) of the tree."""
    prior: Any = template.prior
    if isinstance(prior, Vecchia):
        return eqx.tree_at(lambda m: m.prior.kernel, template, tree["kernel"])
    kernels = (tree["kernel"],) * prior.num_values
    model = eqx.tree_at(lambda m: m.prior.kernels, template, kernels)
    return eqx.tree_at(lambda m: m.prior.features, model, tree["features"]) if "features" in tree else model


def _evidence(tree: Any, template: LatentModel, rule: Any) -> Any:
    # the evidence is off by the square of the sites' distance from their fixed point
    loose = eqx.tree_at(lambda r: r.tolerance, rule, jnp.maximum(rule.tolerance, 1e-3))
    return site_evidence(loose, _model(tree, template))


@eqx.filter_jit
def _sites(tree: Any, template: LatentModel, rule: Any) -> Any:
    return fixed_point(rule, _model(tree, template))


@eqx.filter_jit
def _probabilities(tree: Any, template: LatentModel, sites: Any, x: Any) -> Any:
    mean, cov = _model(tree, template).prior.predict(sites, x)
    return jax.vmap(template.likelihood.predict)(mean, cov)[0]


class GPClassifier(ClassifierMixin, GPEstimator):
    """Gaussian-process classification with scikit-learn's interface: probit for two classes, softmax for more.

    A latent function f ~ GP(0, kernel) for two classes, one for each class (of one kernel) for more; q(f) = prior times
    Gaussian sites set by `rule`, P(y = c | x) = E_q[p(y = c | f(x))]. Exact algebra up to 500 latent values; above, a
    filter in linear time for one input and a kernel with a state-space form, else inducing points; `representation_`
    says which and why. Everything is computed in double precision, whatever the flags.

    Hyperparameters: the mode of the rule's evidence with a log-normal prior of scale `prior_scale`, or their posterior
    with `hyperparameters=jensen.fit`, over which probabilities are averaged.

    Args:
        kernel: text (`matern52`, `rbf + linear`, ...; see `gp.kernels.kernel`) or a kernel object.
        rule: `jensen.algorithms.CVI()`, `EP()` or `SiteLaplace()`; CVI where None.
        representation: auto, exact, state_space, vecchia (two classes, distinct rows) or inducing.
        num_inducing: M for each latent function; 100 in all, but at least 20, where None.
        num_neighbours: rows that a row leans on, of a Vecchia representation.
        optimise: whether hyperparameters are trained; else they stay at their starting values.
        num_starts: places from which the climb begins.
        steps: of training at most, in all; None for 300.
        prior_scale: in log units; None for type-II maximum likelihood.
        hyperparameters: None for their mode, or a function of (target, key=...) that gives a `Fit`, such as
        `jensen.fit`.
        num_draws: draws of the hyperparameters that probabilities are averaged over.
        random_state: seed.
        progress: show a bar.

    Attributes: `classes_`, `kernel_`, `hyperparameters_`, `log_evidence_` (a lower bound with CVI), `representation_`,
    `certificate_`.
    """

    def __init__(
        self,
        kernel: Any = "matern52",
        *,
        rule: Any = None,
        representation: Any = "auto",
        num_inducing: Any = None,
        num_neighbours: Any = 16,
        optimise: Any = True,
        num_starts: Any = 1,
        steps: Any = None,
        prior_scale: Any = 3.0,
        hyperparameters: Any = None,
        num_draws: Any = 16,
        random_state: Any = None,
        progress: Any = False,
    ):
        self.kernel = kernel
        self.rule = rule
        self.representation = representation
        self.num_inducing = num_inducing
        self.num_neighbours = num_neighbours
        self.optimise = optimise
        self.num_starts = num_starts
        self.steps = steps
        self.prior_scale = prior_scale
        self.hyperparameters = hyperparameters
        self.num_draws = num_draws
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any) -> "GPClassifier":
        """Train on X of shape (n, d) and labels y (n,). Raises `ValueError` for NaN, wrong shapes or a single class."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self._check_settings()
        check_sizes(X)
        self.classes_, labels = np.unique(y, return_inverse=True)
        c = len(self.classes_)
        if c < 2:
            raise InputError(f"GPClassifier needs two classes or more, and y has one class: {self.classes_[0]}")
        values = 1 if c == 2 else c
        with jax.enable_x64(True):
            self.kernel_ = doubled(as_kernel(self.kernel, X))
            kind, why = choose(self.representation, self.kernel_, X, values, LARGEST_ITERATED)
            if kind == "state_space":  # the extent of a long series says nothing of its lengthscale
                self.kernel_ = doubled(as_kernel(self.kernel, X[stretch(X, LINE)]))
            rule = doubled(CVI() if self.rule is None else self.rule)
            tree: dict[str, Any] = {"kernel": self.kernel_}
            size = len(X) if kind == "vecchia" else padded(len(X))
            if kind == "vecchia" and c > 2:
                raise InputError("A Vecchia prior holds one latent function, for two classes: take 'inducing'")
            kernels: Any = [self.kernel_] * values
            inputs: Any = pad(X, size)
            if kind == "state_space":
                prior: Any = StateSpace(kernels, pad_times(X, size))
            elif kind == "exact":
                prior = Dense(kernels, inputs)
            elif kind == "vecchia":
                prior = Vecchia(self.kernel_, inputs, self.num_neighbours)
                why += f"; {self.num_neighbours} neighbours"
            else:
                m = self.num_inducing or max(20, 100 // values)
                features = inducing_points(X, min(m, len(X)), self._seed())
                prior = Inducing(kernels, inputs, features)
                why += f"; {len(features.z)} points"
                if self.hyperparameters is None:
                    tree["features"] = features  # places have a mode, and no posterior worth the name
            # rows that pad have the weight 0
            weights = (np.arange(size) < len(X)).astype(float)
            template = LatentModel(prior, BernoulliProbit() if c == 2 else Softmax(c), pad(labels, size), weights)
            draws, at = self._train(_evidence, tree, template, rule, x=X), Hyperparameters(tree).at
            self._trees, self._template = [at(d) for d in draws], template
            self._sites = [_sites(tree, template, rule) for tree in self._trees]
            self.kernel_ = at(jnp.asarray(np.median(draws, 0)))["kernel"]
        self.representation_ = f"{kind}: {why}"
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """P(y = c | x), shape (m, C), rows in the order of X, columns in that of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        with jax.enable_x64(True):
            at = jnp.asarray(pad(X, padded(len(X))))
            parts = [
                np.asarray(_probabilities(tree, self._template, sites, at))[: len(X)]
                for tree, sites in zip(self._trees, self._sites, strict=True)
            ]
        p = np.mean(parts, 0)
        return np.stack([1 - p, p], 1) if p.ndim == 1 else p / p.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The class of the largest probability."""
        check_is_fitted(self)
        return self.classes_[np.argmax(self.predict_proba(X), 1)]

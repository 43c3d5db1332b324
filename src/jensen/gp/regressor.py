"""Gaussian-process regression as a scikit-learn estimator."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from jensen.core import InputError
from jensen.core.algebra import one_thread
from jensen.gp._choice import LINE, choose, left_over, may_need_neighbours
from jensen.gp._estimator import (
    LARGEST,
    STEPS,
    GPEstimator,
    check_sizes,
    doubled,
    inducing_points,
    stretch,
)
from jensen.gp._minibatch import TrainedModel
from jensen.gp._prediction import at_once, conditioned, joint, mixed, normal
from jensen.gp._representation import FEW, PROBED, represented, some_rows
from jensen.gp.evidence_target import EvidenceTarget
from jensen.gp.exact import GaussianRegression, rounding_variance
from jensen.gp.hyperparameters import Hyperparameters
from jensen.gp.kernels.text import kernel as as_kernel
from jensen.gp.latent import LatentModel
from jensen.gp.likelihoods import Gaussian
from jensen.gp.priors.inducing import Inducing
from jensen.gp.priors.vecchia import nearest_neighbours

LONG = 10_000_000_000  # n M^2 above which a pass over all rows, some hundred times, takes minutes
BATCH = 1000  # rows a step where that is so


def _placed(tree: Any, template: LatentModel) -> LatentModel:
    """The latent model with the kernel, inducing points and noise of the tree."""
    parts = (tree["kernel"],), tree["features"], tree["noise"]
    return eqx.tree_at(lambda m: (m.prior.kernels, m.prior.features, m.likelihood.noise), template, parts)


def _evidence(tree: Any, model: GaussianRegression) -> Any:
    return model.at(tree).log_evidence()


class GPRegressor(RegressorMixin, GPEstimator):
    """Gaussian-process regression, y = f(x) + N(0, noise), f ~ GP(mean of y, kernel), with scikit-learn's interface.

    Up to 2,000 rows the posterior is exact, O(n^3). With one input and a kernel that has a state-space form (Matern,
    Hida-Matern, quasi-periodic, ...) it is exact for any number of rows in linear time (`gp.Kalman`), which is taken
    above 1,000. Else the collapsed bound of `num_inducing` inducing points (`gp.Collapsed`), whose places are trained
    too, O(n M^2); but nearest neighbours (`gp.VecchiaRegression`), O(n), for a Matern kernel of two or three inputs
    whose waves are too short for the points, as an exact fit to 500 rows shows. Long training begins on some of the
    rows. Rows with one input share one latent value. `representation_` says which and why. Everything is computed in
    double precision, whatever the flags.

    Hyperparameters: a log-normal prior of scale `prior_scale` about their starting values (lengthscales at the inputs'
    standard deviation times sqrt(d), the kernel's variance at 1, noise at a tenth, both relative to the variance of y),
    and their mode by L-BFGS from `num_starts` places; or, with `hyperparameters=jensen.fit`, their posterior,
    certificate included, over which predictions are averaged (inducing points then stay where k-means puts them).

    Targets that come twice at one input would have an evidence without bound as the noise goes to zero, though they are
    only equal to their last digit: of an exact posterior with such rows, the noise is what is trained plus the variance
    of rounding, a twelfth of the square of the least distance between two targets. Records that were entered twice are
    better dropped.

    Args:
        kernel: text (`matern52`, `rbf + linear`, ...; see `gp.kernels.kernel`) or a kernel object.
        noise: starting value of the noise variance, relative to that of y.
        representation: auto, exact, state_space, vecchia or inducing.
        num_inducing: M; 100 up to 10,000 rows, 200 above, where None.
        num_neighbours: rows that a row leans on, of a Vecchia representation.
        batch_size: rows a training step sees, with inducing points; where None all of them, but 1,000 where n M^2 is
        above 1e10 (250,000 rows with 200 points). q(u) then takes natural-gradient steps and the hyperparameters Adam's
        from where a climb on some rows has led; predictions use all rows.
        optimise: whether hyperparameters are trained; else they stay at their starting values.
        num_starts: places from which the climb begins.
        steps: of training at most, in all; None for 300, the first 60 of them on some of the rows where there are many
        more, or for these 60 and 2,000 of minibatches.
        prior_scale: in log units; None for type-II maximum likelihood.
        hyperparameters: None for their mode, or a function of (target, key=...) that gives a `Fit`, such as
        `jensen.fit`.
        num_draws: draws of the hyperparameters that predictions are averaged over.
        normalize_y: centre and scale y by its mean and standard deviation for training.
        random_state: seed.
        progress: show a bar.

    Attributes: `kernel_`, `noise_`, `hyperparameters_` (at the mode or the posterior median, in units of normalised y),
    `log_evidence_` (there, of normalised y; a lower bound with inducing points, an estimate with neighbours),
    `representation_`, `certificate_`.
    """

    def __init__(
        self,
        kernel: Any = "matern52",
        *,
        noise: Any = 0.1,
        representation: Any = "auto",
        num_inducing: Any = None,
        num_neighbours: Any = 30,
        batch_size: Any = None,
        optimise: Any = True,
        num_starts: Any = 1,
        steps: Any = None,
        prior_scale: Any = 3.0,
        hyperparameters: Any = None,
        num_draws: Any = 16,
        normalize_y: Any = True,
        random_state: Any = None,
        progress: Any = False,
    ):
        self.kernel = kernel
        self.noise = noise
        self.representation = representation
        self.num_inducing = num_inducing
        self.num_neighbours = num_neighbours
        self.batch_size = batch_size
        self.optimise = optimise
        self.num_starts = num_starts
        self.steps = steps
        self.prior_scale = prior_scale
        self.hyperparameters = hyperparameters
        self.num_draws = num_draws
        self.normalize_y = normalize_y
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any) -> "GPRegressor":
        """Train on X of shape (n, d) and y (n,). Raises `ValueError` for NaN, wrong shapes or wrong settings."""
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        y = np.asarray(y, float)
        self._check_settings()
        check_sizes(X, y)
        if not self.noise > 0:
            raise InputError(f"noise must be positive, got {self.noise}")
        spread = float(np.std(y)) if self.normalize_y else 1.0
        self._level = float(np.mean(y)) if self.normalize_y else 0.0
        self._scale = spread if spread > 0 else 1.0  # constant targets: nothing to scale
        with jax.enable_x64(True):
            self.kernel_ = doubled(as_kernel(self.kernel, X))
            places = np.unique(X, axis=0) if LARGEST < len(X) <= 10 * LARGEST else X  # perhaps few enough to be exact
            kind, why = choose(self.representation, self.kernel_, places, largest=LARGEST)
            if kind == "state_space":  # the extent of a long series says nothing of its lengthscale
                self.kernel_ = doubled(as_kernel(self.kernel, X[stretch(X, LINE)]))
            tree: dict[str, Any] = {"kernel": self.kernel_, "noise": jnp.asarray(float(self.noise))}
            white = (y - self._level) / self._scale
            kind, why, features, begin = self._represented(kind, why, tree, X, white)
            if kind == "inducing" and self.hyperparameters is None:
                tree["features"] = features  # places have a mode, and no posterior worth the name
            # blocks of rows are spread evenly over their order, which may have a period
            order = np.random.default_rng(self._seed()).permutation(len(X)) if kind == "inducing" else np.arange(len(X))
            self._rounding = rounding_variance(X, white) if kind == "exact" else 0.0
            self._model = represented(kind, tree, X[order], white[order], features, self._rounding)
            stream, why = self._streamed(kind, why, tree, X, white, features)
            few, times = some_rows(self._model, tree, X, white, self._seed())
            draws = self._train(_evidence, tree, self._model, x=X, some=few, times=times, begin=begin, stream=stream)
            at = Hyperparameters(tree).at
            self._trees, middle = [at(d) for d in draws], at(jnp.asarray(np.median(draws, 0)))
            self._held: list[Any] = []
            self.kernel_, self.noise_ = middle["kernel"], float(middle["noise"]) + self._rounding
        self.representation_ = f"{kind}: {why}"
        return self

    def _streamed(self, kind: str, why: str, tree: Any, x: np.ndarray, y: np.ndarray, features: Any) -> tuple[Any, str]:
        """(how the model is trained by minibatches and in what size, or None; the reason with what is said of that)."""
        if kind != "inducing" or not self.optimise or self.hyperparameters is not None:
            if self.batch_size is not None and kind != "inducing":
                raise InputError(
                    f"batch_size is for inducing points, and the representation is {kind!r}: leave it None, or ask for "
                    "representation='inducing'"
                )
            return None, why
        work = len(x) * len(features.z) ** 2
        if self.batch_size is None and work <= LONG:
            return None, why
        size = min(self.batch_size or BATCH, len(x))
        prior = Inducing([tree["kernel"]], x, features)
        template = LatentModel(prior, Gaussian(tree["noise"]), y)
        scale = jnp.inf if self.prior_scale is None else self.prior_scale
        reason = "as asked" if self.batch_size else f"n M^2 is {work:.1g}"
        return (TrainedModel(_placed, tree, template, scale), size), f"{why}, trained by {size} rows a step ({reason})"

    def _represented(self, kind: str, why: str, tree: Any, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        """(kind, reason, inducing points or pattern of neighbours, where the climb begins or None).

        Neighbours are measured in lengthscales of an exact fit to a few rows. That also says where they are needed:
        where inducing points would leave more of the variance than the noise is.
        """
        m = min(self.num_inducing or (100 if len(x) <= 10_000 else 200), len(x))
        doubtful = self.representation == "auto" and kind == "inducing" and may_need_neighbours(tree["kernel"], x)
        points: Any = inducing_points(x, m, self._seed()) if kind == "inducing" else None
        begin, probed = None, tree
        if self.optimise and (doubtful or kind == "vecchia"):
            some = np.random.default_rng(self._seed()).choice(len(x), min(PROBED, len(x)), replace=False)
            target = EvidenceTarget(_evidence, tree, represented("exact", tree, x[some], y[some], None))
            key = jax.random.key(self._seed())
            begin, _ = self._climbed(key, target, target.hyperparameters.theta, self.num_starts, STEPS)
            probed = target.hyperparameters.at(begin)
        if doubtful:
            left, noise = left_over(probed["kernel"], x[:FEW], points), float(probed["noise"])
            if left > noise:
                words = (
                    f"{m} inducing points would leave {left:.2g} of the variance, more than the noise of {noise:.2g}"
                )
                kind, why = "vecchia", words
        if kind == "vecchia":
            scale = getattr(probed["kernel"], "lengthscale", np.std(x, 0) + (np.ptp(x, 0) == 0))
            features: Any = nearest_neighbours(x, self.num_neighbours, scale)
            return kind, f"{why}; {self.num_neighbours} neighbours", features, begin
        if kind == "inducing":
            full = {**probed, "features": points} if self.hyperparameters is None else probed
            begin = None if begin is None else Hyperparameters(full).theta
            return kind, f"{why}; {len(points.z)} points", points, begin
        return kind, why, None, None

    def _new(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))

    def _given(self) -> list[Any]:
        """What predicts, for each draw of the hyperparameters: made by the first prediction."""
        if not self._held:
            self._held.extend(conditioned(tree, self._model) for tree in self._trees)
        return self._held

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False, noise: bool = False) -> Any:
        """Mean of f (m,), with `return_std` its standard deviation too, with `return_cov` the covariance (m, m).

        `noise=True` adds the noise: the spread of new observations. Raises `ValueError` for another number of columns.
        """
        if return_std and return_cov:
            raise InputError("Ask for return_std or return_cov, not for both")
        X = self._new(X)
        with jax.enable_x64(True), one_thread(len(self._model.y)):
            if return_cov:
                mean, cov = mixed([joint(given, jnp.asarray(X)) for given in self._given()])
                cov = cov + (self._mean_noise() * np.eye(len(X)) if noise else 0.0)
                return self._level + self._scale * mean, self._scale**2 * cov
            mean, variance = mixed([at_once(given, X) for given in self._given()])
            mean = self._level + self._scale * mean
            if not return_std:
                return mean
            return mean, self._scale * np.sqrt(variance + (self._mean_noise() if noise else 0.0))

    def _mean_noise(self) -> float:
        return float(np.mean([float(tree["noise"]) for tree in self._trees])) + self._rounding

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0, noise: bool = False) -> np.ndarray:
        """Joint draws of f (of new observations with `noise=True`) at X, shape (m, n_samples)."""
        from sklearn.utils import check_random_state

        X, rng = self._new(X), check_random_state(random_state)
        which = rng.randint(len(self._trees), size=n_samples)
        out = np.empty((len(X), n_samples))
        with jax.enable_x64(True), one_thread(len(self._model.y)):
            for i in np.unique(which):
                mean, cov = (np.asarray(a) for a in joint(self._given()[i], jnp.asarray(X)))
                cov = cov + (float(self._trees[i]["noise"]) + self._rounding) * np.eye(len(X)) if noise else cov
                out[:, which == i] = normal(rng, mean, cov, int(np.sum(which == i)))
        return self._level + self._scale * out

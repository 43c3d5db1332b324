"""What the scikit-learn estimators share: settings, padding, training."""

import math
import numbers
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen._run import run
from jensen.algorithms import Mode
from jensen.core import Compiled, InputError, PointPosterior, PRNGKey
from jensen.gp._choice import KINDS
from jensen.gp._climb import GrowingEvidence, GrowingMode
from jensen.gp._linalg import explain
from jensen.gp._minibatch import TrainedCVI, TrainedModel
from jensen.gp.evidence_target import EvidenceTarget, log_normal_prior
from jensen.gp.priors.inducing import Points
from jensen.targets import Minibatched

try:
    from sklearn.base import BaseEstimator
except ImportError as error:  # the rest of the library does without it
    words = "GPRegressor and GPClassifier are scikit-learn estimators: pip install 'jensen[sklearn]'"
    raise ImportError(words) from error

LARGEST = 2000  # latent values up to which one factorisation an evaluation is cheap: n^3 / 3 in a tenth of a second
LARGEST_ITERATED = 500  # the same where an evaluation takes some ten factorisations
STEPS = 300
STEPS_BEFORE = 60  # of them on some of the rows, where all are climbed on after them
BRIEF = 40  # steps up to which it takes longer to compile them well
LARGEST_NUMBER = 1e140  # in X and y
LOWEST = 1e300  # where a climb ends that found no finite value
MEMORY = 40  # pairs of L-BFGS: hundreds of coordinates of inducing points are ill-conditioned, and pairs cost little
TOLERANCE = 0.01  # distance to the mode of the hyperparameters, in their posterior standard deviations
LOOSE = 0.03  # the same of a climb with inducing points on some rows and then on all: thousandths of a nat to the mode
MIDDLE = 1  # XLA's level of optimisation for what runs once or some hundred times: see `core.haste`


def padded(n: int) -> int:
    """The size to which n rows are padded, so that data of nearby sizes share a compiled program."""
    if n <= 32:
        return 32
    power = 2 ** math.floor(math.log2(n - 1))
    return next(int(power * share) for share in (1.25, 1.5, 2.0) if power * share >= n)


def pad(a: np.ndarray, size: int) -> np.ndarray:
    """`a` with its first row repeated up to `size` rows."""
    return np.concatenate([a, np.repeat(a[:1], size - len(a), 0)])


def pad_times(t: np.ndarray, size: int) -> np.ndarray:
    """Times (n, 1) followed by later ones up to `size`, at the mean gap: a regular grid stays one."""
    gap = np.ptp(t) / max(len(t) - 1, 1)
    return np.concatenate([t, np.max(t) + gap * np.arange(1, size - len(t) + 1)[:, None]])


def stretch(t: np.ndarray, size: int) -> np.ndarray:
    """Numbers of the `size` middle times (n, 1), in order: all, where there are no more."""
    first = max(len(t) - size, 0) // 2
    return np.argsort(t[:, 0], kind="stable")[first : first + size]


def inducing_points(x: np.ndarray, m: int, seed: int) -> Points:
    """`m` centres of the inputs by some rounds of k-means on their standardised values."""
    from sklearn.cluster import KMeans

    width = np.std(x, 0)
    width = np.where(width > 0, width, 1.0)
    rng = np.random.default_rng(seed)
    some = x[rng.choice(len(x), 50 * m, replace=False)] if len(x) > 50 * m else x
    unique = np.unique(some, axis=0)
    if len(unique) <= m and len(some) < len(x):  # few distinct rows, and perhaps others elsewhere
        unique = np.unique(x, axis=0)
    if len(unique) <= m:
        return Points(unique / width, width)
    make: Any = KMeans  # its stubs are wrong about n_init
    return Points(make(m, n_init=1, max_iter=5, random_state=seed).fit(unique / width).cluster_centers_, width)


def check_sizes(x: np.ndarray, y: np.ndarray | None = None) -> None:
    """Raises `InputError` for numbers whose squares overflow: distances and variances of them do not exist."""
    for name, values in (("X", x), ("y", np.zeros(1) if y is None else y)):
        largest = float(np.max(np.abs(values)))
        if largest > LARGEST_NUMBER:
            raise InputError(
                f"{name} holds {largest:.3g}, whose square overflows in double precision: choose another unit or scale "
                f"it (sklearn.preprocessing.StandardScaler)"
            )


def doubled(tree: Any) -> Any:
    """The tree in double precision: kernels and rules may have been made under other flags."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) if eqx.is_inexact_array(a) else a, tree)


@eqx.filter_jit
def _evidence_at(target: EvidenceTarget, theta: Any) -> Any:
    return target.log_density(theta) - target.log_prior(theta)


@Compiled
def _log_prior(hyperparameters: Any, theta: Any, scale: Any) -> Any:
    return log_normal_prior(hyperparameters, theta, scale)


def _log_evidence(target: EvidenceTarget, theta: Any) -> float:
    return float(_evidence_at(target, theta))


class GPEstimator(BaseEstimator):
    """Training of hyperparameters, shared by regression and classification."""

    def _seed(self) -> int:
        from sklearn.utils import check_random_state

        state = getattr(self, "random_state", None)
        return 0 if state is None else int(check_random_state(state).randint(2**31 - 1))

    def _train(
        self,
        evidence: Callable[..., Any],
        tree: Any,
        *args: Any,
        x: np.ndarray,
        some: Any = None,
        times: float = 1.0,
        begin: Any = None,
        stream: Any = None,
    ) -> Any:
        """The coordinates of the hyperparameters, (draws, p): their mode, or draws of their posterior.

        The prior is centred at `tree`. `some`: the one of `args`, of some of the rows, on which the climb to the mode
        begins; `times`: how much more curved the evidence of all is; `begin`: coordinates where it begins instead;
        `stream`: the model and the size of the batches by which it is trained instead of by all rows.
        """
        settings: Any = self
        scale = jnp.inf if settings.prior_scale is None else settings.prior_scale
        level = MIDDLE if settings.hyperparameters is None else None
        target = EvidenceTarget(evidence, tree, *args, prior_scale=scale, optimisation=level)
        begin = target.hyperparameters.theta if begin is None else begin
        climbs = settings.hyperparameters is None and target.hyperparameters.names and settings.optimise
        if not climbs and not math.isfinite(_log_evidence(target, begin)):
            raise explain(settings.kernel_, x)
        self.certificate_, self.log_evidence_ = None, None
        key = jax.random.key(self._seed())
        if settings.hyperparameters is not None:
            fit = settings.hyperparameters(target, key=key)
            draws = jnp.asarray(fit.posterior.sample(jax.random.key(1), settings.num_draws)["theta"])
            self.certificate_ = fit.certificate
        elif climbs:
            z, height = self._mode(key, target, begin, some, times, stream)
            draws = z[None]
            self.log_evidence_ = (
                None if height is None else height - float(_log_prior(target.hyperparameters, z, target.prior_scale))
            )
        else:
            draws = begin[None]
        middle = jnp.asarray(np.median(draws, 0))  # of the values too: coordinates are increasing functions of them
        numbers = np.asarray(target.hyperparameters.numbers(middle))
        self.hyperparameters_ = dict(zip(target.hyperparameters.names, numbers.tolist(), strict=True))
        if self.log_evidence_ is None:
            self.log_evidence_ = _log_evidence(target, middle)
        if not math.isfinite(self.log_evidence_):
            raise explain(settings.kernel_, x)
        return draws

    def _mode(
        self, key: PRNGKey, target: EvidenceTarget, begin: Any, some: Any, times: float, stream: Any
    ) -> tuple[Any, float | None]:
        """The coordinates where training ends, and the log density there if it is known: see `_train`."""
        settings: Any = self
        starts, left, steps = settings.num_starts, settings.steps, STEPS
        if some is not None:
            few = eqx.tree_at(lambda t: t.args, target, (some,))
            if starts == 1 and stream is None:
                steps = left or STEPS
                before = min(STEPS_BEFORE, steps - 1)  # the last step sees all rows, and says the evidence
                growing = GrowingEvidence(target.at_level(0 if steps <= BRIEF else MIDDLE), few, times)
                return self._climbed(key, growing, begin, 1, steps, before)
            steps = min(STEPS_BEFORE, left or STEPS_BEFORE)
            begin, _ = self._climbed(key, few.at_level(0), begin, starts, steps)
            starts, left, steps = 1, left and left - steps, STEPS - STEPS_BEFORE
            if left == 0:
                return begin, None
        if stream is not None:
            return self._by_batches(key, stream, begin, left), None
        return self._climbed(key, target, begin, starts, left or steps)

    def _climbed(
        self,
        key: PRNGKey,
        target: EvidenceTarget | GrowingEvidence,
        begin: Any,
        num_starts: int,
        steps: int,
        before: int = 0,
    ) -> tuple[Any, float]:
        """The best coordinates that L-BFGS finds from `begin` and from other starts, and the log density there.

        `before`: steps on some of the rows, of a target that grows.
        """
        growing = isinstance(target, GrowingEvidence)
        mode: Any = Mode(num_starts=num_starts, memory=MEMORY, tolerance=LOOSE if growing else TOLERANCE)
        mode = GrowingMode(mode, before) if growing else mode
        keys = jax.random.split(key, num_starts - 1)
        others = jax.vmap(target.start)(keys) if num_starts > 1 else begin[None]
        start = PointPosterior(target.space, begin, others)
        shown: Any = getattr(self, "progress", False)
        fit = run(mode, target, key=key, steps=steps, start=start, certify=False, progress=shown)
        height = -float(fit.runs[0].history.objective[-1])
        return fit.posterior.sample_z(key, 1)[0], height if height > -LOWEST else -math.inf

    def _by_batches(self, key: PRNGKey, stream: tuple[TrainedModel, int], begin: Any, steps: int | None) -> Any:
        """The coordinates to which minibatches of so many rows lead from `begin`."""
        settings: Any = self
        model, size = stream
        zero = jnp.zeros(model.template.prior.dimension, begin.dtype)
        start = PointPosterior(model.space, jnp.concatenate([begin, zero]))
        rows = Minibatched(model, size)
        fit = run(TrainedCVI(), rows, key=key, steps=steps, start=start, certify=False, progress=settings.progress)
        return model.split(fit.posterior.sample_z(key, 1)[0])[0]

    def _check_settings(self) -> None:
        settings: Any = self
        if settings.num_starts < 1:
            raise InputError(f"num_starts must be 1 or more, got {settings.num_starts}")
        if settings.representation not in ("auto", *KINDS):
            known = ", ".join(map(repr, KINDS))
            raise InputError(f"representation is 'auto' or one of {known}, got {settings.representation!r}")
        if settings.num_neighbours < 1:
            raise InputError(f"num_neighbours must be 1 or more, got {settings.num_neighbours}")
        for name in ("batch_size", "steps"):
            size = getattr(settings, name, None)
            if size is not None and (isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1):
                raise InputError(f"{name} must be a whole number of 1 or more, or None, got {size!r}")
        if settings.num_inducing is not None and settings.num_inducing < 1:
            raise InputError(f"num_inducing must be 1 or more, got {settings.num_inducing}")

"""The variational autoencoder as a scikit-learn transformer."""

import numbers
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import InputError
from jensen.datasets.sources import RowSource
from jensen.vae._build import build, chosen_likelihood, chosen_prior
from jensen.vae._saving import load, save
from jensen.vae._table import SHOWN, checked
from jensen.vae.bounds import log_likelihood_bound
from jensen.vae.likelihoods import Gaussian, HeteroscedasticGaussian
from jensen.vae.monitors import LatentUse, latent_use
from jensen.vae.row_certificate import RowCertificate, certify_rows
from jensen.vae.row_sources import Passed, ScaledRows, likelihood_of
from jensen.vae.training import train

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:  # the rest of the library does without it
    raise ImportError("VAE is a scikit-learn estimator: pip install 'jensen[sklearn]'") from error


@eqx.filter_jit
def _encode(conditional: Any, X: Any) -> Any:
    return jax.vmap(lambda x: conditional.given(x).mean_and_cov()[0])(X)


@eqx.filter_jit
def _decode(model: Any, Z: Any) -> Any:
    return jax.vmap(model.reconstruct)(Z)


@eqx.filter_jit
def _draw(key: Any, model: Any, n: int) -> Any:
    return jax.vmap(model.sample)(jax.random.split(key, n))


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """p(x, z) = p(z) p(x | decoder(z)), q(z | x) from an encoder: latents of rows, with scikit-learn's interface.

    Both networks are trained together by `AmortisedVI` in single precision and used in double, whatever the flags; a
    share of the rows is held out, and the epoch that tells them best is kept. Under the two Gaussian likelihoods
    columns are standardised inside; what goes in and out is in their own units. Rows are flat: give `image_shape` for
    convolutions.

    Args:
        latent_dim: number of latents.
        likelihood: auto (bernoulli for 0 and 1 alone, else gaussian), bernoulli, categorical, continuous_bernoulli,
            discretised_logistic, gaussian (one noise scale, learned), heteroscedastic_gaussian, multinomial, poisson;
            or an object of `vae.likelihoods`.
        hidden: widths of the hidden layers of both networks, all equal; () makes both linear.
        image_shape: (height, width, channels), for convolutional networks in place of `hidden`.
        channels: of the convolutional layers; each halves height and width.
        prior: standard_normal, mixture (learned, of `num_components`), vamp (the encoder's own posteriors of as many
            learned pseudo-inputs), or a density of `families`, trained along.
        posterior: mean_field, full_rank, flow (splines that see the row, exact densities) or implicit (a network's
            mixture of Gaussians: any shape, bounds hold but are looser). Codes of the last two are means of draws.
        objective: of a row; where None the ELBO, its divergence in closed form where that is known.
            `objectives.ImportanceWeighted(num_weights=50, estimator=...)` makes an importance-weighted autoencoder,
            `vae.BetaElbo(weight)` a beta-VAE.
        epochs: at most so many passes over the rows.
        batch_size: rows a step; where None a twentieth of the rows, at least 16 and at most 128.
        learning_rate: Adam's.
        validation_fraction: of the rows, held out; 0 for none, and none below 20 rows.
        patience: epochs without improvement on held-out rows after which training ends.
        dynamic_binarisation: X holds probabilities, and binary rows are drawn from them at each visit.
        num_draws: K of the importance-weighted bound that `score_samples` gives.
        checkpoint: a folder; a killed fit goes on from there.
        random_state: seed.
        progress: show a bar.
        mesh: devices to share the rows of a step, as in `jensen.run`.

    Attributes: `model_` (a `LatentModel`), `conditional_` (q(z | x)), `likelihood_`, `history_` (of each step, the
    bound's negative for all rows in nats; `held_out` a row), `n_iter_` (steps).

    A latent coordinate has no meaning of its own: sign, order and (with the standard normal prior and a full-rank
    posterior) rotation are arbitrary. `certify` says of how many rows q(z | x) is the posterior of what was trained; it
    does not say that the model is right.
    """

    def __init__(
        self,
        latent_dim: Any = 2,
        *,
        likelihood: Any = "auto",
        hidden: Any = (128,),
        image_shape: Any = None,
        channels: Any = (16, 32),
        prior: Any = "standard_normal",
        num_components: Any = 10,
        posterior: Any = "mean_field",
        objective: Any = None,
        epochs: Any = 100,
        batch_size: Any = None,
        learning_rate: Any = 1e-3,
        validation_fraction: Any = 0.1,
        patience: Any = 10,
        dynamic_binarisation: Any = False,
        num_draws: Any = 100,
        checkpoint: Any = None,
        random_state: Any = None,
        progress: Any = False,
        mesh: Any = None,
    ):
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.hidden = hidden
        self.image_shape = image_shape
        self.channels = channels
        self.prior = prior
        self.num_components = num_components
        self.posterior = posterior
        self.objective = objective
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.dynamic_binarisation = dynamic_binarisation
        self.num_draws = num_draws
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.progress = progress
        self.mesh = mesh

    def fit(self, X: Any, y: Any = None) -> "VAE":
        """Train on X of shape (rows, columns), or on a source of rows that are read while it trains.

        A source (`datasets.open_rows`, `generate_rows`) has one column of vectors. Two passes over it are made first,
        for ranges and scales; no rows of it are held out, so that all `epochs` are run. Everything else takes arrays.

        Raises `ValueError` for NaN, wrong shapes, settings or values.
        """
        if isinstance(X, RowSource):
            return self._fit_source(X)
        X = checked(self, X, reset=True)
        self._check(len(X), np.min(X), np.max(X))
        seen = np.round(X) if self.dynamic_binarisation else X  # what the likelihood will see
        self.likelihood_ = chosen_likelihood("bernoulli" if self.dynamic_binarisation else self.likelihood, seen)
        self._standardise(X.mean(0), X.std(0), np.ptp(X, 0) == 0)
        seed = self._seed()
        rows, held = self._split(self._inside(X), seed)
        held = None if held is None else jnp.asarray(held, jnp.float32)
        return self._train(seed, rows, jnp.asarray(rows, jnp.float32), held)

    def _fit_source(self, source: RowSource) -> "VAE":
        passed = Passed(source)
        self._check(source.num_rows, np.min(passed.low), np.max(passed.high))
        self.n_features_in_ = len(passed.mean)
        if self.dynamic_binarisation:
            self.likelihood_ = chosen_likelihood("bernoulli", np.round(passed.rows))
        else:
            self.likelihood_ = likelihood_of(self.likelihood, source, passed)
        self._standardise(passed.mean, passed.deviation, passed.low == passed.high)
        scaled = ScaledRows(source, self._centre, self._spread)
        return self._train(self._seed(), self._inside(passed.rows), scaled, None)

    def _seed(self) -> int:
        rng = check_random_state(self.random_state)
        return int(rng.randint(2**31 - 1)) if self.random_state is not None else 0

    def _train(self, seed: int, rows: np.ndarray, X: Any, held: Any) -> "VAE":
        """Train on X, an array or a source, from parts begun at `rows`."""
        with jax.enable_x64(False):
            key = jax.random.key(seed)
            key_parts, key_prior, key_run = jax.random.split(key, 3)
            prior = chosen_prior(key_prior, self.prior, self.latent_dim, self.num_components)
            image = None if self.image_shape is None else tuple(self.image_shape)
            sizes = tuple(self.hidden), image, tuple(self.channels)
            likelihood = jax.tree.map(_single, self.likelihood_)
            model, conditional = build(
                key_parts, rows, likelihood, jax.tree.map(_single, prior), self.posterior, *sizes
            )
            trained = train(
                key_run,
                model,
                conditional,
                X,
                held_out=held,
                objective=jax.tree.map(_single, self.objective),
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                patience=self.patience,
                dynamic=bool(self.dynamic_binarisation),
                checkpoint=self.checkpoint,
                mesh=self.mesh,
                progress=self.progress,
            )
        with jax.enable_x64(True):  # rows by themselves or among others: no difference to be seen
            self.model_, self.conditional_ = jax.tree.map(_double, (trained.model, trained.conditional))
        self.likelihood_ = self.model_.likelihood
        self.history_, self.n_iter_ = trained.run.history, trained.run.steps
        self._n_features_out = int(self.latent_dim)
        return self

    def _check(self, num_rows: int, low: float, high: float) -> None:
        whole = isinstance(self.latent_dim, numbers.Integral) and not isinstance(self.latent_dim, bool)
        if not whole or self.latent_dim < 1:
            raise InputError(f"latent_dim must be a whole number of at least 1, got {self.latent_dim!r}")
        if num_rows < 2:
            raise InputError("A VAE cannot be trained on n_samples=1 row: give more rows")
        if not 0 <= self.validation_fraction < 1:
            raise InputError(f"validation_fraction must lie in [0, 1), got {self.validation_fraction}")
        if self.dynamic_binarisation and not (low >= 0 and high <= 1):
            raise InputError(
                f"dynamic_binarisation draws from probabilities, and X ranges over [{low:g}, {high:g}]: "
                "divide by the largest value (pixels by 255)"
            )

    def _standardise(self, centre: np.ndarray, spread: np.ndarray, constant: np.ndarray) -> None:
        n = len(centre)
        self._centre, self._spread = np.zeros(n), np.ones(n)
        if not isinstance(self.likelihood_, Gaussian | HeteroscedasticGaussian):
            return
        places = np.flatnonzero(constant)
        if len(places):
            some = ", ".join(str(i) for i in places[:SHOWN]) + (", ..." if len(places) > SHOWN else "")
            raise InputError(
                f"Columns {some} of X are constant ({len(places)} of {n}): a Gaussian density of a constant is "
                "unbounded; drop them (sklearn.feature_selection.VarianceThreshold)"
            )
        self._centre, self._spread = centre, spread

    def _inside(self, X: np.ndarray) -> np.ndarray:
        return (X - self._centre) / self._spread

    def _split(self, X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        held = int(self.validation_fraction * len(X))
        if len(X) < 20 or held < 1:
            return X, None
        order = np.random.default_rng(seed).permutation(len(X))
        return X[order[held:]], X[order[:held]]

    def _new(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._inside(checked(self, X, reset=False))

    def transform(self, X: Any) -> np.ndarray:
        """Means of q(z | x), (rows, latent_dim). Raises `ValueError` for another number of columns."""
        X = self._new(X)
        with jax.enable_x64(True):
            return np.asarray(_encode(self.conditional_, X), float)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """E[x | z] of latents Z, (rows, latent_dim), as rows. Raises `ValueError` for another number of latents."""
        check_is_fitted(self)
        Z = np.asarray(Z, np.float64)
        if Z.ndim != 2 or Z.shape[1] != self.latent_dim:
            raise InputError(f"Z must have shape (rows, {self.latent_dim}), got {Z.shape}")
        with jax.enable_x64(True):
            return self._centre + self._spread * np.asarray(_decode(self.model_, Z), float)

    def sample(self, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:
        """Rows drawn from the model, noise of the likelihood included."""
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        with jax.enable_x64(True):
            rows = _draw(jax.random.key(seed), self.model_, int(n_samples))
        return self._centre + self._spread * np.asarray(rows, float)

    def score_samples(self, X: Any) -> np.ndarray:
        """A lower bound on log p(x) of each row in nats, importance-weighted by `num_draws` draws (see `vae.bounds`).

        For densities (the Gaussian likelihoods, continuous Bernoulli) per unit of the columns as given.
        Raises `ValueError` for values outside the likelihood's support.
        """
        rows = self._new(X)
        if not self.dynamic_binarisation:
            self.likelihood_.check(rows)
        with jax.enable_x64(True):
            key = jax.random.key(0)
            bound = log_likelihood_bound(key, self.model_, self.conditional_, jnp.asarray(rows), self.num_draws)
        return np.asarray(bound, float) - np.sum(np.log(self._spread))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(np.mean(self.score_samples(X)))

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the fitted autoencoder into one file, whole or not at all; `VAE.load` gives it back, value for value.

        Settings of the training that its use does not need (objective, checkpoint, seed, progress) are left out.
        Raises `NotFittedError` before `fit`, `InputError` for a prior or likelihood of your own, `StorageError` for a
        file that exists and where the system refuses.
        """
        check_is_fitted(self)
        return save(self, Path(path), overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "VAE":
        """The autoencoder that `save` wrote; nothing of the file is executed.

        Raises `StorageError` for a file that is missing, truncated, of another kind, or of another architecture than
        its settings say.
        """
        return load(cls, Path(path))

    def latent_use(self, X: Any, num_draws: int = 1000) -> LatentUse:
        """What the latents are used for on these rows: see `vae.latent_use`."""
        X = self._new(X)
        with jax.enable_x64(True):
            return latent_use(jax.random.key(1), self.conditional_, jnp.asarray(X), num_draws)

    def certify(self, X: Any, num_draws: int = 1000) -> RowCertificate:
        """How far q(z | x) of each of these rows may be trusted: see `vae.certify_rows`. Give rows not trained on.

        The ELBO in it is per unit of the standardised columns.
        """
        X = self._new(X)
        with jax.enable_x64(True):
            return certify_rows(jax.random.key(2), self.model_, self.conditional_, jnp.asarray(X), num_draws)


def _double(leaf: Any) -> Any:
    # by NumPy: each shape would be a program
    return jnp.asarray(np.asarray(leaf, np.float64)) if eqx.is_inexact_array(leaf) else leaf


def _single(leaf: Any) -> Any:
    return jnp.asarray(np.asarray(leaf, np.float32)) if eqx.is_inexact_array(leaf) else leaf

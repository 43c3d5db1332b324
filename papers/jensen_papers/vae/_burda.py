"""The one-layer protocol of Burda, Grosse and Salakhutdinov (2016), as a curve of the test bound over passes.

784-200-200-50 and back, 50 Gaussian latents, minibatches of 20, learning rate 10^(-3 - i/7) for 3^i passes over 60,000
images, i = 0, 1, ... (3,280 passes in all with i = 7), test bound by 5,000 weights. Ours as theirs but for: GELU where
they have tanh, Adam's epsilon 1e-8 where they have 1e-4, and moments of Adam that begin anew with each rate.
"""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.amortised import Encoded
from jensen.core import StopCode
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import ImportanceWeighted
from jensen.vae import (
    LatentModel,
    MeanField,
    SampledLikelihoodElbo,
    StandardNormal,
    log_likelihood_bound,
    perceptron_decoder,
    perceptron_encoder,
    train,
)
from jensen.vae.likelihoods import Bernoulli

PIXELS, HIDDEN, LATENT, BATCH, STAGES, WEIGHTS = 784, (200, 200), 50, 20, 8, 5000
ONE = Reparameterisation(num_draws=1)
OBJECTIVES: dict[str, Any] = {
    "vae": SampledLikelihoodElbo(ONE),
    "iwae": ImportanceWeighted(num_weights=50, estimator=ONE),
}
BINARISATIONS = ("dynamic", "fixed")


@dataclasses.dataclass(frozen=True)
class Point:
    """The mean test bound (nats) and its standard error after `passes`; processor seconds of a pass of this stage."""

    objective: str
    binarisation: str
    passes: int
    bound: float
    standard_error: float
    test_rows: int
    seconds: float


def images(binarisation: str) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, test rows): grey values of all 60,000 and 10,000, or the fixed binary 50,000 + 10,000 and 10,000.

    Test rows of grey values are drawn once.
    """
    if binarisation == "fixed":
        data = jn.datasets.load("binarized_mnist")
        parts = [np.asarray(data[name], np.float32).reshape(-1, PIXELS) for name in ("train", "valid", "test")]
        return np.concatenate(parts[:2]), parts[2]
    data = jn.datasets.load("mnist")
    grey = [np.asarray(data[name], np.float32).reshape(-1, PIXELS) / 255 for name in ("x_train", "x_test")]
    return grey[0], (np.random.default_rng(0).random(grey[1].shape) < grey[1]).astype(np.float32)


def curve(objective: str, binarisation: str, stages: int, test_rows: int, seed: int = 0) -> Iterator[Point]:
    """A point after each stage, of `test_rows` test images in the order of the file; ends early on SIGTERM."""
    rows, test = images(binarisation)
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(seed), stages + 3)
        head, X, held = MeanField(LATENT), jnp.asarray(rows), jnp.asarray(test[:test_rows])
        start = jnp.asarray(Bernoulli().initial(rows), jnp.float32)
        decoder = perceptron_decoder(keys[0], LATENT, HIDDEN, start)
        encoder = perceptron_encoder(keys[1], jnp.mean(X, 0), jnp.ones(PIXELS), HIDDEN, head.context)
        model: Any = LatentModel(StandardNormal(LATENT), decoder, Bernoulli())
        conditional: Any = Encoded(encoder, head)
        passes = 0
        for i in range(stages):
            options: Any = dict(batch_size=BATCH, warmup=0.0, cooling=0.0, progress=False)
            options |= dict(learning_rate=10 ** (-3 - i / 7), dynamic=binarisation == "dynamic")
            began = time.process_time()
            trained = train(keys[i + 3], model, conditional, X, objective=OBJECTIVES[objective], epochs=3**i, **options)
            if trained.run.stop is not StopCode.STEPS:  # asked to end: a part of the passes is no point of the curve
                return
            seconds = (time.process_time() - began) / 3**i
            model, conditional, passes = trained.model, trained.conditional, passes + 3**i
            bounds = np.asarray(log_likelihood_bound(keys[2], model, conditional, held, WEIGHTS), float)
            error = float(np.std(bounds, ddof=1) / np.sqrt(len(bounds)))
            yield Point(objective, binarisation, passes, float(np.mean(bounds)), error, len(bounds), seconds)

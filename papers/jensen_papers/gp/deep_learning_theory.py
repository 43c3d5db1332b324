"""P202: the principles of deep learning theory (Roberts, Yaida and Hanin 2022).

What is claimed: a network of finite width departs from its Gaussian limit by an amount that grows as depth over width,
which recursions over layers predict; tuned to criticality, signals neither explode nor vanish, and activations fall
into classes by how the variance then behaves. The baseline is the limit of infinite width, whose kurtosis is 1 in units
of a Gaussian's. `--full` simulates tanh networks as well.
"""

import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jensen.gp.infinite_width import (
    Activation,
    Linear,
    RandomNetwork,
    ReLU,
    Smooth,
    VertexRecursion,
    draw_networks,
    vertex_recursion,
)
from jensen_papers.result import Claim, Result

PAPER = "Roberts, Yaida and Hanin (2022)"
TANH = Smooth(jnp.tanh)
LAYERS, WIDTH, NETS = 5, 16, 200_000


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` adds tanh networks."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        deep = _recursion(TANH, 1.0, 1.0, 1000)
        claims = [*_products(), _slope(), *_tanh(deep), *_off_critical()]
        if full:
            claims.append(_simulated_tanh())
    if figure is not None:
        _draw(deep, figure)
    return Result("P202", "deep-learning-theory", time.perf_counter() - began, tuple(claims))


def _recursion(phi: Activation, weight_variance: float, variance: float, depth: int) -> VertexRecursion:
    return jax.jit(lambda w, k: vertex_recursion(phi, w, 0.0, k, depth))(
        jnp.asarray(weight_variance), jnp.asarray(variance)
    )


def _kurtosis(phi: Activation, weight_variance: float, width: int, layers: int, nets: int) -> tuple[float, float]:
    """E z^4 / (3 E[z^2]^2) of an output of the last of `layers` layers, and its standard error.

    Given the layer below the output is Gaussian of variance proportional to S = sum phi^2, so that the ratio is
    E[S^2] / E[S]^2: an estimator without the noise of the last layer.
    """
    with jax.enable_x64(False):  # for speed
        network = RandomNetwork(phi, width=width, depth=layers - 1, weight_variance=weight_variance, bias_variance=0.0)
        draw = jax.jit(
            lambda key, x: draw_networks(key, lambda k, x: jnp.sum(network.hidden(k, x) ** 2), x, nets, batch=20_000)
        )
        s = np.asarray(draw(jax.random.key(0), jnp.ones((1, 1))), float)
    s = s / s.mean()
    ratio = float(np.mean(s**2))
    return ratio, float(np.std(s**2 - 2 * ratio * s) / math.sqrt(nets))


def _products() -> list[Claim]:
    claims = []
    for name, phi, w, growth in (("linear", Linear(), 1.0, 2), ("ReLU", ReLU(), 2.0, 5)):
        found, error = _kurtosis(phi, w, WIDTH, LAYERS, NETS)
        truth = (1 + growth / WIDTH) ** (LAYERS - 1)
        claims.append(
            Claim(
                f"Kurtosis over 3 of {name} networks, width {WIDTH}, {LAYERS} layers, {NETS} networks, against the "
                f"exact (1 + {growth} / n)^(L - 1) = {truth:.4f}; baseline: the limit of infinite width",
                f"{PAPER}, chapters 3 and 5; derived",
                found,
                f"within 4 standard errors, {4 * error:.3f}",
                1.0,
                abs(found - truth) < 4 * error,
            )
        )
    return claims


def _slope() -> Claim:
    """(kurtosis / 3 - 1) n / (L - 1) -> 5 for ReLU."""
    slopes = []
    for width in (8, 128):
        found, error = _kurtosis(ReLU(), 2.0, width, LAYERS, 20_000)
        slopes.append(((found - 1) * width / (LAYERS - 1), error * width / (LAYERS - 1)))
    (narrow, _), (wide, error) = slopes
    return Claim(
        "Excess kurtosis of ReLU networks in units of depth over width, (kurtosis / 3 - 1) n / (L - 1), at n = 128, "
        "against 5; baseline: at n = 8",
        f"{PAPER}: the ratio of depth to width is the expansion parameter",
        wide,
        f"within 0.35 (second order) and 4 standard errors, {4 * error:.2f}, and nearer than the baseline",
        narrow,
        abs(wide - 5) < 0.35 + 4 * error and abs(wide - 5) < abs(narrow - 5),
    )


def _tanh(deep: VertexRecursion) -> list[Claim]:
    layers = np.arange(1, 1001)
    decay = 2 * layers * np.asarray(deep.variance)
    vertex = np.asarray(deep.vertex / deep.variance**2) / layers
    where = f"{PAPER}, chapter 5: the class of K* = 0"
    return [
        Claim(
            "2 l K_l of critical tanh networks (C_W = 1, C_b = 0) at l = 1000",
            where,
            float(decay[-1]),
            "in [0.99, 1.02]",
            None,
            bool(0.99 <= decay[-1] <= 1.02),
        ),
        Claim(
            "V_l / (l K_l^2) of critical tanh networks at l = 1000, against 2/3",
            where,
            float(vertex[-1]),
            "in [0.66, 0.67]",
            None,
            bool(0.66 <= vertex[-1] <= 0.67),
        ),
    ]


def _off_critical() -> list[Claim]:
    tanh = np.asarray(_recursion(TANH, 0.8, 1.0, 62).variance)
    relu = np.asarray(_recursion(ReLU(), 1.8, 1.0, 62).variance)
    ratio, worst = float(tanh[-1] / tanh[-2]), float(np.max(np.abs(relu[1:] / relu[:-1] - 0.9)))
    where = f"{PAPER}, chapter 5: off criticality signals vanish or explode exponentially"
    return [
        Claim(
            "K_{l+1} / K_l of tanh networks with C_W = 0.8 after 60 layers",
            where,
            ratio,
            "0.8 within 1e-4",
            None,
            abs(ratio - 0.8) < 1e-4,
        ),
        Claim(
            "Largest |K_{l+1} / K_l - 0.9| of ReLU networks with C_W = 1.8",
            where,
            worst,
            "< 1e-12",
            None,
            worst < 1e-12,
        ),
    ]


def _simulated_tanh(width: int = 64, nets: int = 200_000) -> Claim:
    found, error = _kurtosis(TANH, 1.0, width, LAYERS, nets)
    flow = _recursion(TANH, 1.0, 1.0, LAYERS)
    predicted = float(flow.vertex[-1] / flow.variance[-1] ** 2) / width
    second = (LAYERS / width) ** 2
    return Claim(
        f"Excess kurtosis of tanh networks, width {width}, {LAYERS} layers, over that of the vertex recursion "
        f"({predicted:.4f})",
        f"{PAPER}, chapter 4",
        (found - 1) / predicted,
        "1 within (L / n)^2 and 4 standard errors",
        None,
        abs(found - 1 - predicted) < second + 4 * error,
    )


def _draw(deep: VertexRecursion, path: Path) -> None:
    """Variance and vertex of critical tanh networks."""
    from matplotlib.figure import Figure

    layers = np.arange(1, len(deep.variance) + 1)
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(layers, np.asarray(deep.variance), label="recursion")
    left.loglog(layers, 1 / (2 * layers), "k--", linewidth=0.8, label="1 / (2 l)")
    left.set(xlabel="layer l", ylabel="variance of tanh pre-activations")
    right.loglog(layers[1:], np.asarray(deep.vertex / deep.variance**2)[1:], label="recursion")
    right.loglog(layers, 2 * layers / 3, "k--", linewidth=0.8, label="2 l / 3")
    right.set(xlabel="layer l", ylabel="excess kurtosis times width")
    left.legend()
    right.legend()
    figure.savefig(path)

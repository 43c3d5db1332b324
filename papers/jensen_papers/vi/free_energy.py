"""P105: deep variational free energy (hydrogen at high pressure): flows for classical and quantum systems in heat.

What is claimed: with a flow for the classical coordinates, probabilities for the excited states, and a coordinate flow
inside orthonormal wave functions, the free energy F = <H> - T S is a variational upper bound whose entropy is exact,
tight enough for an equation of state. Hydrogen is out of scope: measured are a classical double well in two dimensions
and a quantum anharmonic oscillator, whose exact free energies are known. Baselines are the best Gaussian
(Gibbs-Bogoliubov) and harmonic trial states without a flow. Errors are in nats, beta (F - F exact), the relative
entropy of the two states: relative errors say nothing where F passes through zero, as it does near g = 1, beta = 0.5.
"""

import math
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.algorithms import GradientVI
from jensen.core import DensityPosterior
from jensen.families import Affine, Coupling, FlowBuilder, FullRank, Gaussian
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import NegativeElbo
from jensen_papers.result import Claim, Result

PAPER = "P105, method: F >= F exact, the entropy without error"
FLOW = FlowBuilder(Coupling(Affine(), width=16, depth=1), num_layers=6)
LEVELS, NODES = 100, 256
TEMPERATURES = (0.5, 2.0, 8.0)  # inverse
COUPLINGS = (0.1, 1.0)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` takes more steps."""
    began = time.perf_counter()
    with jax.enable_x64(True):
        couplings = (*COUPLINGS, 10.0) if full else COUPLINGS
        oscillators = {(g, b): _oscillator(g, b) for g in couplings for b in TEMPERATURES}
        claims = [*_classical(20_000 if full else 1500), *_quantum(oscillators), _harmonic()]
    if figure is not None:
        _draw(oscillators, figure)
    return Result("P105", "free-energy", time.perf_counter() - began, tuple(claims))


def _energy(z: Any) -> Any:
    """-beta H of a double well in one coordinate that is coupled to another, beta = 1."""
    return -(0.25 * z[0] ** 4 - 0.5 * z[0] ** 2 + 0.25 * z[1] ** 4 + 0.5 * (z[1] - z[0]) ** 2)


def _classical(steps: int) -> list[Claim]:
    target = jn.targets.from_log_density(_energy, np.zeros(2))
    axis = jnp.linspace(-7.0, 7.0, 701)
    values = jax.jit(lambda: jax.vmap(lambda a: jax.vmap(lambda b: _energy(jnp.stack([a, b])))(axis))(axis))()
    exact = -float(jax.nn.logsumexp(values) + 2 * jnp.log(axis[1] - axis[0]))
    start = DensityPosterior(target.space, Gaussian(jnp.zeros(2), jnp.eye(2)))
    free = {}
    for name, family, rate, n in (("flow", FLOW, 5e-3, steps), ("gaussian", FullRank(), 0.02, 1000)):
        objective = NegativeElbo(Reparameterisation(64))
        algorithm = GradientVI(family, objective, learning_rate=rate)
        fit = jn.run(algorithm, target, key=jax.random.key(0), steps=n, start=start, certify=False, progress=False)
        assert isinstance(fit.posterior, DensityPosterior)
        free[name] = eqx.filter_jit(NegativeElbo(Reparameterisation(40_000)).loss)(
            jax.random.key(1), fit.posterior.q, target
        )
    gap, error = float(free["flow"].value) - exact, float(free["flow"].standard_error)
    baseline = float(free["gaussian"].value) - exact
    return [
        Claim(
            "F - F exact of a flow on a coupled double well, beta = 1, against the best Gaussian (Gibbs-Bogoliubov)",
            PAPER,
            gap,
            "< 0.02",
            baseline,
            gap < min(0.02, baseline),
        ),
        Claim(
            "The same plus three standard errors: an upper bound",
            PAPER,
            gap + 3 * error,
            ">= 0",
            None,
            gap >= -3 * error,
        ),
    ]


def _functions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes y, and the oscillator's functions phi_n and their derivatives there, times the root of the weight."""
    y, weights = np.polynomial.hermite.hermgauss(NODES)  # exp(-y^2) is in the weights
    phi = np.zeros((LEVELS + 1, NODES))
    phi[0] = math.pi**-0.25 * np.sqrt(weights)
    phi[1] = math.sqrt(2) * y * phi[0]
    for n in range(1, LEVELS):
        phi[n + 1] = math.sqrt(2 / (n + 1)) * y * phi[n] - math.sqrt(n / (n + 1)) * phi[n - 1]
    n = np.arange(LEVELS)[:, None]
    return y, phi[:-1], np.sqrt(n / 2) * np.roll(phi, 1, 0)[:-1] - np.sqrt((n + 1) / 2) * phi[1:]


def _coordinate(parameters: Any, y: Any) -> Any:
    """x(y), odd and increasing: a y + sum_j c_j asinh(b_j y) / b_j with a, b_j, c_j > 0, their logarithms given."""
    a, b, c = jnp.exp(parameters[0]), jnp.exp(parameters[1:5]), jnp.exp(parameters[5:9])
    return a * y + jnp.sum(c * jnp.arcsinh(b * y) / b)


def _free_energy(parameters: Any, g: Any, beta: Any, functions: Any, flow: Any) -> Any:
    """min_p sum_n p_n (E_n + log p_n / beta) = -1 / beta log sum_n exp(-beta E_n), E_n = <psi_n| H |psi_n>.

    H = p^2 / 2 + x^2 / 2 + g x^4. psi_n(x) = phi_n(y) sqrt(dy/dx): orthonormal whatever the map, so that the entropy of
    p is that of the state. The kinetic energy is 1/2 int (phi' / x' - phi x'' / (2 x'^2))^2 dy, x' = dx/dy; all
    integrals by Gauss-Hermite quadrature. `flow` = 0 leaves the width a alone.
    """
    nodes, phi, slope = functions

    def of(y: Any) -> Any:
        return jnp.where(flow, _coordinate(parameters, y), jnp.exp(parameters[0]) * y)

    x, first, second = (jax.vmap(h)(nodes) for h in (of, jax.grad(of), jax.grad(jax.grad(of))))
    kinetic = 0.5 * jnp.sum((slope / first - 0.5 * phi * second / first**2) ** 2, 1)
    levels = kinetic + jnp.sum((0.5 * x**2 + g * x**4) * phi**2, 1)
    return -jax.nn.logsumexp(-beta * levels) / beta


@jax.jit
def _minimise(g: Any, beta: Any, functions: Any, flow: Any) -> Any:
    """The least free energy over the parameters, by BFGS."""
    from jax.scipy.optimize import minimize

    start = jnp.concatenate([jnp.zeros(1), jnp.log(jnp.array([0.3, 0.6, 1.2, 2.4])), jnp.full(4, -3.0)])
    found = minimize(_free_energy, start, (g, beta, functions, flow), method="BFGS", options={"maxiter": 300})
    return found.fun


def _exact(g: float, beta: float, size: int = 300) -> float:
    """By diagonalisation in `size` oscillator states."""
    off = np.sqrt(np.arange(1, size + 8) / 2)
    x = np.diag(off, 1) + np.diag(off, -1)
    square = x @ x
    oscillator = np.diag(np.arange(size) + 0.5)
    levels = np.linalg.eigvalsh(oscillator + g * (square @ square)[:size, :size])
    low = levels[levels < levels[0] + 700 / beta]
    return float(levels[0] - np.log(np.sum(np.exp(-beta * (low - levels[0])))) / beta)


def _oscillator(g: float, beta: float) -> dict[str, float]:
    """Free energies: exact, with a coordinate flow in the trial states, and of harmonic states of the best width."""
    functions = tuple(jnp.asarray(f) for f in _functions())
    found = {name: float(_minimise(g, beta, functions, flow)) for name, flow in (("flow", 1), ("harmonic", 0))}
    return {"exact": _exact(g, beta), **found}


def _quantum(found: dict[tuple[float, float], dict[str, float]]) -> list[Claim]:
    above = {name: [b * (f[name] - f["exact"]) for (_, b), f in found.items()] for name in ("flow", "harmonic")}
    worst, other = max(above["flow"]), max(above["harmonic"])
    gain = min(b - a for a, b in zip(above["flow"], above["harmonic"], strict=True))
    least = min(above["flow"])
    where = f"anharmonic oscillator, {len(found)} pairs of coupling and temperature"
    return [
        Claim(
            f"Largest beta (F - F exact), nats, {where}; against harmonic states",
            PAPER,
            worst,
            "< 0.01",
            other,
            worst < 0.01,
        ),
        Claim(f"Least beta (F - F exact), {where}: an upper bound", PAPER, least, ">= -1e-8", None, least >= -1e-8),
        Claim(f"Least gain of the flow over harmonic states, nats, {where}", PAPER, gain, "> 0", None, gain > 0),
    ]


def _harmonic() -> Claim:
    """g = 0 without a flow: F = log(2 sinh(beta / 2)) / beta."""
    errors = [
        abs(_oscillator(0.0, beta)["harmonic"] - math.log(2 * math.sinh(beta / 2)) / beta) for beta in TEMPERATURES
    ]
    worst = max(errors)
    return Claim(
        "Error of F of the harmonic oscillator, 100 levels", "Closed form", worst, "< 1e-8", None, worst < 1e-8
    )


def _draw(found: dict[tuple[float, float], dict[str, float]], path: Path) -> None:
    """Free energies above the exact ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for g in dict.fromkeys(g for g, _ in found):
        betas = [b for h, b in found if h == g]
        for name, style in (("flow", "o-"), ("harmonic", "s--")):
            axes.loglog(
                betas, [found[g, b][name] - found[g, b]["exact"] for b in betas], style, label=f"g = {g}, {name}"
            )
    axes.set(xlabel="inverse temperature", ylabel="F - F exact")
    axes.legend()
    figure.savefig(path)

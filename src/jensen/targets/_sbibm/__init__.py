"""The tasks of the benchmark of simulation-based inference, as simulators. Lueckmann et al. (2021).

`sbibm(name)` is the task, `sbibm_names()` lists them. Reference posteriors are `jensen.datasets.load("sbibm/<name>")`.
"""

from collections.abc import Callable

from jensen.core import UnknownName
from jensen.targets._sbibm.bernoulli_glm import bernoulli_glm, bernoulli_glm_raw
from jensen.targets._sbibm.gaussians import gaussian_linear, gaussian_linear_uniform, gaussian_mixture
from jensen.targets._sbibm.lotka_volterra import lotka_volterra
from jensen.targets._sbibm.sir import sir
from jensen.targets._sbibm.slcp import slcp
from jensen.targets._sbibm.two_moons import two_moons
from jensen.targets._simulators import Simulator

__all__ = ["sbibm", "sbibm_names"]

_TASKS: dict[str, Callable[[], Simulator]] = {
    "bernoulli_glm": bernoulli_glm,
    "bernoulli_glm_raw": bernoulli_glm_raw,
    "gaussian_linear": gaussian_linear,
    "gaussian_linear_uniform": gaussian_linear_uniform,
    "gaussian_mixture": gaussian_mixture,
    "lotka_volterra": lotka_volterra,
    "sir": sir,
    "slcp": slcp,
    "two_moons": two_moons,
}


def sbibm_names() -> tuple[str, ...]:
    """Names of the tasks: all of the benchmark but `slcp_distractors`, whose law of the distractors is not at hand."""
    return tuple(_TASKS)


def sbibm(name: str) -> Simulator:
    """The task `name` of the benchmark as a simulator with one unknown, `theta`, shape (d,).

    Data have the benchmark's order, but for "slcp": four points, shape (4, 2). `condition(data)` is the exact
    posterior, its likelihood normalised over the data but for "bernoulli_glm", where a term of the data alone is left
    out. The two tasks of differential equations solve them to a relative error of about 1e-6, and give NaN where
    2,000 steps do not suffice.

    Raises `UnknownName`, which suggests the nearest; `DatasetError` for the two Bernoulli tasks where their design is
    not below $JENSEN_DATA.

    Source: Lueckmann, Boelts, Greenberg, Goncalves and Macke (2021).
    """
    if name not in _TASKS:
        raise UnknownName("sbibm task", name, _TASKS)
    return _TASKS[name]()

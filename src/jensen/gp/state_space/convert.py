"""From a kernel on the line to its stochastic differential equation."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax.numpy as jnp
import tinygp.kernels as tk
from jaxtyping import Array, Float
from tinygp.kernels import quasisep

from jensen.core import InputError
from jensen.gp.kernels.dot_product import Constant, Periodic
from jensen.gp.kernels.hida_matern import HidaMatern
from jensen.gp.kernels.stationary import Matern12, Matern32, Matern52
from jensen.gp.state_space import sde
from jensen.gp.state_space.matern import Matern

POINTS = 64  # of the trapezoid rule for Fourier coefficients of an analytic periodic function


def state_space_form(kernel: Any, harmonics: int = 8) -> sde.SDE:
    """The process whose kernel is `kernel`, differentiable in the kernel's parameters.

    Takes `Matern12`, `Matern32`, `Matern52`, `HidaMatern`, `Constant`, `Periodic`, tinygp's `Exp`, `Matern32`,
    `Matern52`, `Cosine` and `Constant`, every `tinygp.kernels.quasisep` kernel, and sums and products of these (the
    quasi-periodic kernel is `Matern32(...) * Periodic(...)`). All are exact but `Periodic`, which keeps `harmonics`
    sinusoids and a level: the part of the variance left out is below 1e-7 for a lengthscale of 1 and 8 harmonics, and
    grows as the lengthscale falls (Solin and Sarkka 2014, Explicit link between periodic covariance functions and
    state space models).

    Raises `InputError` for a kernel without a finite state-space form, and for inputs that are not one-dimensional.
    """
    if isinstance(kernel, quasisep.Scale):
        return sde.Scaled(state_space_form(kernel.kernel, harmonics), _scalar(kernel.scale))
    if isinstance(kernel, quasisep.Quasisep) and not isinstance(kernel, quasisep.Sum | quasisep.Product):
        return sde.Quasiseparable(kernel)
    if isinstance(kernel, tk.Sum | quasisep.Sum):
        return sde.Sum(state_space_form(kernel.kernel1, harmonics), state_space_form(kernel.kernel2, harmonics))
    if isinstance(kernel, tk.Product | quasisep.Product):
        return _product(kernel.kernel1, kernel.kernel2, harmonics)
    if isinstance(kernel, Periodic):
        return _periodic(kernel, harmonics)
    form = FORMS.get(type(kernel))
    if form is None:
        raise InputError(
            f"{type(kernel).__name__} has no finite state-space form: use Matern12, Matern32, Matern52, HidaMatern, "
            "Periodic, Constant, a kernel of tinygp.kernels.quasisep, or sums and products of these (in place of RBF: "
            "HidaMatern(order=4)); or the dense prior"
        )
    return form(kernel)


def _product(first: Any, second: Any, harmonics: int) -> sde.SDE:
    for scale, other in ((first, second), (second, first)):
        if isinstance(scale, tk.Constant | Constant):
            return sde.Scaled(state_space_form(other, harmonics), _level(scale))
    return sde.Product(state_space_form(first, harmonics), state_space_form(second, harmonics))


def _level(kernel: Any) -> Float[Array, ""]:
    return _scalar(kernel.value if isinstance(kernel, tk.Constant) else kernel.variance)


def _scalar(value: Any) -> Float[Array, ""]:
    value = jnp.asarray(value, jnp.result_type(float))
    if value.size != 1:
        raise InputError(f"A state-space prior has one input, time: got a parameter with {value.size} dimensions")
    return value.reshape(())


def _hida(kernel: HidaMatern) -> sde.SDE:
    inner = Matern(kernel.order, kernel.lengthscale, kernel.variance)
    return inner if kernel.frequency is None else sde.Product(inner, sde.Oscillation(kernel.frequency))


def _periodic(kernel: Periodic, harmonics: int) -> sde.SDE:
    """Cosine series of exp(-2 sin^2(a / 2) / l^2) in the angle a = 2 pi t / period."""
    angles = 2 * jnp.pi * jnp.arange(POINTS) / POINTS
    period, lengthscale, variance = map(_scalar, (kernel.period, kernel.lengthscale, kernel.variance))
    values = jnp.exp((jnp.cos(angles) - 1) / lengthscale**2)
    parts: list[sde.SDE] = [sde.Level(variance * jnp.mean(values))]
    for j in range(1, harmonics + 1):
        share = variance * 2 * jnp.mean(values * jnp.cos(j * angles))
        parts.append(sde.Scaled(sde.Oscillation(2 * jnp.pi * j / period), share))
    return reduce(sde.Sum, parts)


def _matern(order: int) -> Callable[[Any], sde.SDE]:
    return lambda kernel: Matern(order, _scalar(kernel.lengthscale), _scalar(kernel.variance))


def _unit_matern(order: int) -> Callable[[Any], sde.SDE]:
    return lambda kernel: Matern(order, _scalar(kernel.scale), jnp.ones((), jnp.result_type(float)))


FORMS: dict[type, Callable[[Any], sde.SDE]] = {
    Matern12: _matern(0),
    Matern32: _matern(1),
    Matern52: _matern(2),
    HidaMatern: _hida,
    Constant: lambda kernel: sde.Level(_level(kernel)),
    tk.Constant: lambda kernel: sde.Level(_level(kernel)),
    tk.Exp: _unit_matern(0),
    tk.Matern32: _unit_matern(1),
    tk.Matern52: _unit_matern(2),
    tk.Cosine: lambda kernel: sde.Oscillation(2 * jnp.pi / _scalar(kernel.scale)),
}

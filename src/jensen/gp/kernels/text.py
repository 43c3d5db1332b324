"""Kernels from text: `matern52`, `rbf + linear`, `matern32 * periodic + constant`."""

import ast
from typing import Any

import jax.numpy as jnp
import numpy as np
from tinygp.kernels import Kernel, Product, Sum

from jensen.core import InputError, UnknownName
from jensen.gp.kernels.dot_product import Constant, Linear, Periodic
from jensen.gp.kernels.stationary import RBF, Matern12, Matern32, Matern52, RationalQuadratic

_KINDS: dict[str, Any] = {
    "constant": Constant,
    "exponential": Matern12,
    "linear": Linear,
    "matern12": Matern12,
    "matern32": Matern32,
    "matern52": Matern52,
    "periodic": Periodic,
    "rational_quadratic": RationalQuadratic,
    "rbf": RBF,
    "squared_exponential": RBF,
}


def kernel(spec: Any, x: Any = None) -> Kernel:
    """A kernel from an object (returned as it is) or from text.

    Text: names joined by `+`, `*` and parentheses: constant, linear, periodic, rational_quadratic, rbf (or
    squared_exponential), matern12 (or exponential), matern32, matern52. With inputs `x` (n, d) each kernel gets a
    lengthscale for each input, started at its standard deviation times sqrt(d) (a period at a third of the range);
    without, one of 1.

    Raises `UnknownName` for an unknown name, with the nearest; `InputError` for text that cannot be read, showing
    where.
    """
    if isinstance(spec, Kernel):
        return spec
    if not isinstance(spec, str):
        raise InputError(f"A kernel is an object of jensen.gp.kernels or tinygp.kernels, or text; got {spec!r}")
    try:
        tree = ast.parse(spec.strip(), mode="eval").body
    except SyntaxError as error:
        at = " " * max((error.offset or 1) - 1, 0)
        raise InputError(f"The kernel cannot be read:\n  {spec.strip()}\n  {at}^") from error
    return _build(tree, spec, x)


def _build(node: ast.expr, spec: str, x: Any) -> Kernel:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return Sum(_build(left, spec, x), _build(right, spec, x))
        case ast.BinOp(left, ast.Mult(), right):
            return Product(_build(left, spec, x), _build(right, spec, x))
        case ast.Name(name):
            if name.lower() not in _KINDS:
                raise UnknownName("kernel", name, list(_KINDS))
            return _make(_KINDS[name.lower()], x)
    raise InputError(
        f"The kernel {spec!r} has {ast.unparse(node)!r}: only names joined by + and * and parentheses are read; build "
        "others from objects of jensen.gp.kernels"
    )


def _make(kind: Any, x: Any) -> Kernel:
    if x is None or kind is Constant:
        return kind()
    x = np.asarray(x, float).reshape(len(x), -1)
    spread, width = np.std(x, 0), np.ptp(x, 0)
    spread, width = np.where(spread > 0, spread, 1.0), np.where(width > 0, width, 1.0)
    if kind is Linear:
        return Linear(jnp.asarray(1 / (spread**2 * x.shape[1])))
    if kind is Periodic:
        return Periodic(jnp.ones(x.shape[1]), jnp.asarray(width / 3))
    return kind(jnp.asarray(spread * np.sqrt(x.shape[1])))

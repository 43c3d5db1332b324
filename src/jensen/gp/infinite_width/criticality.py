"""How signals travel through deep random networks: susceptibilities, the edge of chaos, the first order in 1 / n."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, Scalar, as_scalar, require
from jensen.gp.infinite_width.activations import Activation


class Susceptibilities(eqx.Module):
    """Growth a layer of a small change of an input: along it (`parallel`), and across it (`perpendicular`)."""

    parallel: Scalar
    perpendicular: Scalar


def susceptibilities(
    activation: Activation, weight_variance: float | Scalar, variance: float | Scalar
) -> Susceptibilities:
    """chi_par = C_W E[z phi phi'] / K = C_W d E[phi^2] / dK and chi_perp = C_W E[phi'^2], z ~ N(0, K).

    A network is critical where both are 1. chi_perp is the slope of the correlation map at correlation 1: above 1
    nearby inputs part (chaos), below 1 all inputs become one.

    Source: Poole et al. (2016); Schoenholz et al. (2017); Roberts, Yaida and Hanin (2022), chapter 5.
    """
    w, k = as_scalar(weight_variance), as_scalar(variance)
    return Susceptibilities(w * jax.grad(activation.second_moment)(k), w * activation.slope_moment(k))


class EdgeOfChaos(eqx.Module):
    """Variances of weights and biases for which chi_perp = 1 at the fixed point `variance` of the pre-activations."""

    weight_variance: Scalar
    bias_variance: Scalar
    variance: Scalar


def edge_of_chaos(activation: Activation, variance: float | Scalar) -> EdgeOfChaos:
    """C_W = 1 / E[phi'^2] and C_b = q - C_W E[phi^2], for pre-activations of variance q = `variance`.

    The edge is a curve, and q tells where on it: for tanh q -> 0 gives C_W -> 1, C_b -> 0. For scale-invariant
    activations (linear, ReLU) every q gives the one point C_W = 1 / E[phi'^2], C_b = 0.

    Raises `InputError` where `variance` is not positive, or phi jumps and there is no edge.

    Source: Poole et al. (2016); Schoenholz et al. (2017).
    """
    q = as_scalar(variance)
    require(bool(q > 0), f"The variance of pre-activations must be positive, got {float(q):g}", InputError)
    slope = activation.slope_moment(q)
    require(bool(jnp.isfinite(slope)), f"{type(activation).__name__} jumps: it has no edge of chaos", InputError)
    w = 1 / slope
    return EdgeOfChaos(w, jnp.maximum(q - w * activation.second_moment(q), 0.0), q)


class VertexRecursion(eqx.Module):
    """Layer by layer, shape (depth,): the variance K_l of pre-activations and the four-point vertex V_l."""

    variance: Float[Array, " depth"]
    vertex: Float[Array, " depth"]


def vertex_recursion(
    activation: Activation,
    weight_variance: float | Scalar,
    bias_variance: float | Scalar,
    variance: float | Scalar,
    depth: int,
) -> VertexRecursion:
    """K_{l+1} = C_b + C_W E[phi^2] and V_{l+1} = C_W^2 Var(phi^2) + chi_par^2 V_l, from K_1 = `variance`, V_1 = 0.

    At width n, E[z^4] / (3 E[z^2]^2) = 1 + V_l / (n K_l^2) + O(1 / n^2) for a pre-activation z of layer l: a network
    of finite width is Gaussian to zeroth order in l / n only. Entry 0 is layer 1.

    Raises `InputError` for a depth below 1.

    Source: Roberts, Yaida and Hanin (2022), The principles of deep learning theory, chapters 4 and 5.
    """
    require(depth >= 1, f"depth must be 1 or more, got {depth}", InputError)
    w, b, first = as_scalar(weight_variance), as_scalar(bias_variance), as_scalar(variance)

    def layer(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        k, v = carry
        second = activation.second_moment(k)
        fresh = activation.fourth_moment(k) - second**2
        chi = susceptibilities(activation, w, k).parallel
        return (b + w * second, w**2 * fresh + chi**2 * v), carry

    _, (ks, vs) = jax.lax.scan(layer, (first, jnp.zeros_like(first)), None, length=depth)
    return VertexRecursion(ks, vs)

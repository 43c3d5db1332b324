"""Decoders that cannot bring distant latents together: gradients of strongly convex networks, and a linear map."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.vae.networks import Decoder


class BrenierMap(eqx.Module):
    """T(z) = grad phi(z) + c z, phi convex: |T(z) - T(z')| >= c |z - z'|, for DT is symmetric with eigenvalues >= c.

    phi(z) = sum w^+ h_L, h_1 = s(A_1 z + b_1)^2, h_l+1 = s(P_l^+ h_l + A_l z + b_l), s = softplus, P^+ = softplus(P):
    nonnegative weights and convex rising activations after the first layer keep it convex in z. c = `strength`.

    Source: Amos, Xu and Kolter (2017), Input convex neural networks; for decoders: Wang, Blei and Cunningham (2021).
    """

    linear: tuple[Float[Array, "_ d"], ...]
    biases: tuple[Float[Array, " _"], ...]
    positive: tuple[Float[Array, "_ _"], ...]
    out: Float[Array, " h"]
    strength: Scalar = scalar_field(1.0)

    def potential(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """phi(z)."""
        h = jax.nn.softplus(self.linear[0] @ z + self.biases[0]) ** 2
        for weight, bias, mixed in zip(self.linear[1:], self.biases[1:], self.positive, strict=True):
            h = jax.nn.softplus(jax.nn.softplus(mixed) @ h + weight @ z + bias)
        return jax.nn.softplus(self.out) @ h

    def __call__(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        return jax.grad(self.potential)(z) + jax.lax.stop_gradient(self.strength) * z


class InverseLipschitzDecoder(Decoder):
    """raw = start + T_2(B T_1(z)), |raw(z) - raw(z')| >= L |z - z'|: latents that differ are decoded apart.

    T_1 and T_2 are `BrenierMap`s with strengths sqrt(L), B = (I; 0) the embedding, which keeps distances; the
    constants multiply. L = 0 leaves an injective map without a bound. A large L forces |raw| beyond small data: the
    divergence rises, and the reconstruction gets worse. Nothing may come after it: a logistic function bounds what it
    is given, and the guarantee holds for the raw numbers alone.

    Source: Kinoshita, Oono, Fukumizu, Yoshida and Maeda (2023), Controlling posterior collapse by an inverse Lipschitz
    constraint on the decoder network; with L = 0: Wang, Blei and Cunningham (2021), LIDVAE.
    """

    start: Float[Array, "n p"]
    inner: BrenierMap
    outer: BrenierMap

    @property
    def constant(self) -> Float[Array, ""]:
        """L."""
        return self.inner.strength * self.outer.strength

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        first = self.inner(z)
        embedded = jnp.zeros(self.start.size, first.dtype).at[: len(first)].set(first)
        return self.start + self.outer(embedded).reshape(self.start.shape)


def brenier_map(key: PRNGKey, size: int, hidden: tuple[int, ...], strength: float) -> BrenierMap:
    """A map of R^size with small random weights. Raises `InputError` for a negative strength or no hidden layer."""
    if strength < 0 or not hidden or min(size, *hidden) < 1:
        raise InputError(f"A Brenier map wants sizes of at least 1 and strength >= 0, got {size}, {hidden}, {strength}")
    real, keys = jnp.result_type(float), jax.random.split(key, 2 * len(hidden))
    draw = jax.random.normal
    linear = tuple(draw(k, (h, size), real) / np.sqrt(size * h) for k, h in zip(keys, hidden, strict=False))
    positive = tuple(
        jnp.full((h, g), np.log(np.expm1(1 / g)), real) + 0.1 * draw(k, (h, g), real)
        for k, g, h in zip(keys[len(hidden) :], hidden[:-1], hidden[1:], strict=False)
    )
    out = jnp.full(hidden[-1], np.log(np.expm1(0.5)), real)
    return BrenierMap(linear, tuple(jnp.zeros(h, real) for h in hidden), positive, out, strength)


def inverse_lipschitz_decoder(
    key: PRNGKey, latent: int, hidden: tuple[int, ...], start: Float[Array, "n p"], constant: float
) -> InverseLipschitzDecoder:
    """With `constant` L. Raises `InputError` for a negative L, or fewer raw numbers than latents."""
    if constant < 0 or start.size < latent:
        raise InputError(
            f"An inverse Lipschitz decoder wants L >= 0 and no fewer raw numbers than latents, got L = {constant}, "
            f"{start.size} raw numbers and {latent} latents"
        )
    key_inner, key_outer = jax.random.split(key)
    root = float(np.sqrt(constant))
    inner, outer = brenier_map(key_inner, latent, hidden, root), brenier_map(key_outer, start.size, hidden, root)
    return InverseLipschitzDecoder(start, inner, outer)


def constrained_collapse(
    eigenvalues: np.ndarray | Array, noise: float, constant: float, weight: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(w_i^2, KL_i) of an optimal linear autoencoder whose singular values w_i are at least L = `constant`.

    w_i^2 = max(L^2, lambda_i - beta s), s = `noise`, beta = `weight`; the divergence of unit i, in nats, is
    1/2 (log(1 + w^2 / (beta s)) - w^2 / (w^2 + beta s) + lambda_i w^2 / (w^2 + beta s)^2). No unit collapses for L > 0.
    """
    values, floor = np.asarray(eigenvalues, float), weight * noise
    w2 = np.maximum(constant**2, values - floor)
    divergence = 0.5 * (np.log1p(w2 / floor) - w2 / (w2 + floor) + values * w2 / (w2 + floor) ** 2)
    return w2, divergence

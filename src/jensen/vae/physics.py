"""Autoencoders around a known model: its parameters are latents, and networks add what it does not know."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.amortised import Encoded, Encoder
from jensen.core import BatchObjective, Estimate, GradientEstimator, InputError, PRNGKey, Scalar, scalar_field
from jensen.vae.conditional import ConditionalDecoder, ConditionalModel
from jensen.vae.heads import MeanField
from jensen.vae.known_models import KnownModel, Trajectory
from jensen.vae.likelihoods import Gaussian, gaussian
from jensen.vae.networks import Decoder, perceptron
from jensen.vae.objectives import ONE, known_divergence
from jensen.vae.priors import StandardNormal

NARROW = -3.0  # log scales of the law's parameters at the start


class Parts(eqx.Module):
    """A decoded row with all parts, with the network within alone, with that outside alone, and with the law alone."""

    whole: Float[Array, " n"]
    within: Float[Array, " n"]
    outside: Float[Array, " n"]
    known: Float[Array, " n"]


class PhysicsAt(Decoder):
    """A `PhysicsDecoder` at what is given of a row."""

    decoder: "PhysicsDecoder"
    x: Float[Array, " m"]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n 1"]:
        return (self._solved(z, jnp.ones((), z.dtype)) + self._outside(z))[:, None]

    def parts(self, z: Float[Array, " k"]) -> Parts:
        """The row with and without the networks."""
        if self.decoder.within is None:
            known = driven = self.known(z)
        else:  # both at once: the loop over times costs more than what it computes
            known, driven = jax.vmap(lambda share: self._solved(z, share))(jnp.asarray([0.0, 1.0], z.dtype))
        outside = self._outside(z)
        return Parts(driven + outside, driven, known + outside, known)

    def known(self, z: Float[Array, " k"]) -> Float[Array, " n"]:
        """What the law says alone."""
        law = self.decoder.known
        return law.values(law.parameters(z[: law.size]), self.x)

    def _solved(self, z: Float[Array, " k"], share: Float[Array, ""]) -> Float[Array, " n"]:
        """The law with this share of the network within."""
        decoder, p = self.decoder, self.decoder.known.size
        network = decoder.within
        if network is None:
            return self.known(z)
        own = z[p : p + decoder.driving]

        def added(t: Array, y: Array) -> Array:
            force = share * network(jnp.concatenate([own, y, t[None]]))
            return jnp.zeros_like(y).at[jnp.asarray(decoder.enters)].set(force)

        return decoder.known.values(decoder.known.parameters(z[:p]), self.x, added)

    def _outside(self, z: Float[Array, " k"]) -> Float[Array, ""] | Float[Array, " n"]:
        return jnp.zeros(()) if self.decoder.outside is None else self.decoder.outside(z)


class PhysicsDecoder(ConditionalDecoder):
    """x = g(theta, given; dy/dt + f(z_1, y, t)) + r(z), z = (z_P, z_1, z_2), theta the law's parameters from z_P.

    `known`: the law g. `within`: f, a network of z_1, of `driving` numbers, state and time, added to the derivatives of
    the components `enters`; `outside`: r, a network of all latents, added to the row. Either may be None. r gives a row
    of fixed length: with it there is no going on in time.

    Source: Takeishi and Kalousis (2021), Physics-integrated variational autoencoders.
    """

    known: KnownModel
    within: eqx.nn.MLP | eqx.nn.Linear | None
    outside: eqx.nn.MLP | eqx.nn.Linear | None
    inputs: int = eqx.field(static=True)
    driving: int = eqx.field(static=True)
    enters: tuple[int, ...] = eqx.field(static=True)

    def given(self, x: Float[Array, " m"]) -> PhysicsAt:
        return PhysicsAt(self, x)

    def over(self, times: Any) -> "PhysicsDecoder":
        """The same at other times, t_0 first: for going on beyond the rows. Raises `InputError` where it cannot."""
        if not isinstance(self.known, Trajectory) or self.outside is not None:
            raise InputError("Only a trajectory without a network outside goes on in time: make it with outside=False")
        times = jnp.asarray(times, self.known.times.dtype)
        Trajectory.__check_init__(eqx.tree_at(lambda k: k.times, self.known, times))
        return eqx.tree_at(lambda d: d.known.times, self, times)


class UnmixingEncoder(Encoder):
    """(m_A, s_A) = neural(x), u = x + unmixer(x, m_A), (m_P, s_P) = physics(given, u); c = (m_P, m_A, s_P, s_A).

    u is to be the row without what the networks add, so that parameters are read off what the law explains. Rows are
    (given, x), of `inputs` numbers given; columns are centred and scaled, by what is kept and not trained. For
    `MeanField`.

    Source: Takeishi and Kalousis (2021).
    """

    centre: Float[Array, " c"]
    spread: Float[Array, " c"]
    neural: eqx.nn.MLP | eqx.nn.Linear
    unmixer: eqx.nn.MLP | eqx.nn.Linear
    physics: eqx.nn.MLP | eqx.nn.Linear
    inputs: int = eqx.field(static=True)

    def _inside(self, row: Float[Array, " c"]) -> Float[Array, " c"]:
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        return (row - centre) / spread

    def of_unmixed(self, row: Float[Array, " c"]) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
        """Mean and log scale of z_P, from (given, u)."""
        mean, log_scale = jnp.split(self.physics(self._inside(row)), 2)
        return mean, log_scale

    def unmixed(self, row: Float[Array, " c"]) -> tuple[Float[Array, " c"], Float[Array, " a"], Float[Array, " a"]]:
        """(given, u), and mean and log scale of z_A."""
        inside = self._inside(row)
        mean, log_scale = jnp.split(self.neural(inside), 2)
        change = self.unmixer(jnp.concatenate([inside, mean])) * jax.lax.stop_gradient(self.spread[self.inputs :])
        return row.at[self.inputs :].add(change), mean, log_scale

    def __call__(self, data: Float[Array, " c"]) -> Float[Array, " k2"]:
        unmixed, neural, log_neural = self.unmixed(data)
        mean, log_scale = self.of_unmixed(unmixed)
        return jnp.concatenate([mean, neural, log_scale, log_neural])


class PhysicsElbo(BatchObjective):
    """-E log p(x | z) + (1 + a) KL(q || prior) + (a R_need + b R_simulated + c R_unmixed) / 2 s^2, s the noise scale.

    R_need = 1/4 (|x_W - x_P|^2 + |x_O - x_P|^2 + |x - x_W|^2 + |x - x_O|^2) between the decoded row x, that with the
    network within or outside alone, and that of the law alone: networks do no more than they must. R_simulated =
    |theta_hat(g(theta*)) - theta*|^2, theta* uniform on the range: on rows of the law itself the encoder is right.
    R_unmixed = |u - x_P|^2, x_P held still: the encoder takes out what the networks put in. a = `need`,
    b = `simulated`, c = `unmixed`. With all three zero it is the ELBO; no bound is declared.

    Raises `InputError` without a `PhysicsDecoder`, an `UnmixingEncoder` and the Gaussian likelihood.

    Source: Takeishi and Kalousis (2021), Physics-integrated variational autoencoders. Their code's loss over 2 s^2,
    but for the divergence, of which they count half.
    """

    bound: ClassVar[str | None] = None
    need: Scalar = scalar_field(0.01)
    simulated: Scalar = scalar_field(0.1)
    unmixed: Scalar = scalar_field(0.001)
    estimator: GradientEstimator = ONE

    def __check_init__(self):
        for name in ("need", "simulated", "unmixed"):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and not float(value) >= 0:
                raise InputError(f"The weight `{name}` must not be negative, got {float(value):g}")

    def losses(self, key: PRNGKey, conditional: Any, rows: Any, local: Callable[[Any], Any], num_rows: int) -> Estimate:
        encoder = getattr(conditional, "encoder", None)
        model = local(rows[0]).model
        if not isinstance(encoder, UnmixingEncoder) or not isinstance(model.decoder, PhysicsAt):
            raise InputError(
                "PhysicsElbo wants an UnmixingEncoder and a PhysicsDecoder, got "
                f"{type(encoder).__name__} and {type(model.decoder).__name__}: see physics_autoencoder"
            )
        if not isinstance(model.likelihood, Gaussian):
            raise InputError(f"PhysicsElbo wants the Gaussian likelihood, got {type(model.likelihood).__name__}")

        def one(key: PRNGKey, row: Array) -> Estimate:
            key_draw, key_range = jax.random.split(key)
            target, q = local(row), conditional.given(row)
            decoder, likelihood = target.model.decoder, target.model.likelihood
            # of the noise that is trained along, the penalties may not make more
            weight = 0.5 * jnp.exp(-2 * jax.lax.stop_gradient(likelihood.log_scale))
            u = encoder.unmixed(row)[0][encoder.inputs :]

            def misfit(_: Any, z: Array) -> Array:
                parts = decoder.parts(z)
                apart = _square(parts.within - parts.known, weight) + _square(parts.outside - parts.known, weight)
                apart += _square(parts.whole - parts.within, weight) + _square(parts.whole - parts.outside, weight)
                mixed = _square(u - jax.lax.stop_gradient(parts.known), weight)
                lost = -likelihood.log_prob(target.x, parts.whole[:, None])
                return lost + 0.25 * self.need * apart + self.unmixed * mixed

            known = decoder.decoder.known
            theta = known.within_range(jax.random.uniform(key_range, (known.size,), row.dtype))
            made = jax.lax.stop_gradient(known.values(theta, decoder.x))
            found = known.parameters(encoder.of_unmixed(row.at[encoder.inputs :].set(made))[0])
            apart = (1 + self.need) * known_divergence(q, target)
            apart += self.simulated * jnp.sum((found - theta) ** 2) * jnp.mean(weight)
            sampled = self.estimator.expectation(key_draw, q, misfit)
            return Estimate(sampled.value + apart, sampled.surrogate + apart, sampled.standard_error)

        return jax.vmap(one)(jax.random.split(key, len(rows)), rows)


def _square(difference: Float[Array, " n"], weight: Float[Array, "*n"]) -> Float[Array, ""]:
    return jnp.sum(weight * difference**2)


def physics_autoencoder(
    key: PRNGKey,
    known: KnownModel,
    rows: Float[Array, "rows c"],
    inputs: int,
    *,
    driving: int | None = 1,
    enters: tuple[int, ...] = (-1,),
    outside: int | None = None,
    hidden: tuple[int, ...] = (64,),
    scale: float = 0.1,
) -> tuple[ConditionalModel, Encoded]:
    """The untrained parts for rows (given, x), the first `inputs` numbers of which are given: see `PhysicsDecoder`.

    `driving`: latents of the network within, which drives the components `enters` of the state; 0 for a network of
    state and time alone, None for none. `outside`: latents that the network outside has for its own, or None. `hidden`:
    widths of all networks, tanh between. `scale`: of the noise, kept. A law without parameters is taken for a latent
    equation of networks alone, and its encoder reads nothing but z_A. Train by `train` under `PhysicsElbo`.

    Raises `InputError` for sizes that do not fit.
    """
    latents = (known.size, driving or 0, outside or 0)
    if rows.ndim != 2 or not 0 <= inputs < rows.shape[1] or min(latents) < 0 or sum(latents) < 1:
        raise InputError(
            f"Rows (given, x) with at least one latent are wanted, got shape {rows.shape}, {inputs} given and "
            f"{latents} latents of the law, within and outside"
        )
    columns = rows.shape[1] - inputs
    made = jax.eval_shape(known.values, known.low, rows[0, :inputs])
    if made.shape != (columns,):
        raise InputError(f"The law gives {made.shape} values and a row has {columns} besides the {inputs} given")
    if driving is not None and not isinstance(known, Trajectory):
        raise InputError("A law in closed form has no state that a network could drive: pass driving=None")
    keys = jax.random.split(key, 5)
    within = None
    if isinstance(known, Trajectory) and driving is not None:
        states = jax.eval_shape(known.start, rows[0, :inputs]).shape[0]
        if not all(-states <= place < states for place in enters) or not enters:
            raise InputError(f"The state has {states} components, and the network is to enter {enters}")
        within = smooth(perceptron(keys[0], driving + states + 1, hidden, len(enters)))
    outer = None if outside is None else smooth(perceptron(keys[1], sum(latents), hidden, columns))
    decoder: Any = PhysicsDecoder
    decoder = decoder(known, within, outer, inputs, driving or 0, tuple(enters))
    neural = latents[1] + latents[2]
    spread = jnp.where(jnp.ptp(rows, 0) > 0, jnp.std(rows, 0), 1.0)
    encoder: Any = UnmixingEncoder
    encoder = encoder(
        jnp.mean(rows, 0),
        spread,
        smooth(perceptron(keys[2], rows.shape[1], hidden, 2 * neural)),
        smooth(perceptron(keys[3], rows.shape[1] + neural, hidden, columns)),
        narrow(smooth(perceptron(keys[4], rows.shape[1], hidden, 2 * known.size))),
        inputs,
    )
    model: Any = ConditionalModel
    likelihood = jax.tree.map(lambda a: a.astype(rows.dtype), gaussian(scale, trained=False))
    return model(StandardNormal(sum(latents)), decoder, likelihood), Encoded(encoder, MeanField(sum(latents)))


def narrow(network: Any) -> Any:
    """The network with its last outputs, log scales, begun at `NARROW`: wide draws of parameters ask laws far off."""
    last: Any = network if isinstance(network, eqx.nn.Linear) else network.layers[-1]
    bias = last.bias.at[last.bias.shape[0] // 2 :].set(NARROW)
    return eqx.tree_at(lambda n: (n if isinstance(n, eqx.nn.Linear) else n.layers[-1]).bias, network, bias)


def smooth(network: eqx.nn.MLP | eqx.nn.Linear) -> eqx.nn.MLP | eqx.nn.Linear:
    """The network with tanh between its layers: the field of an equation should not have kinks."""
    if isinstance(network, eqx.nn.Linear):
        return network
    return eqx.tree_at(lambda n: n.activation, network, jnp.tanh)

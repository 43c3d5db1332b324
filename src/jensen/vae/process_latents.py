"""A Bayesian autoencoder's decoder: rows at known inputs, latents that are sparse Gaussian processes of these."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, PRNGKey, Space, Target, Variable, real_space
from jensen.gp import Hyperparameters
from jensen.gp.priors import Inducing
from jensen.vae.likelihoods import Likelihood
from jensen.vae.networks import Decoder

FREE = ("decoder", "hyperparameters", "inducing inputs")


class Process(eqx.Module):
    """What the Gaussian processes of latents are made from: a kernel, and the variance of white noise on top."""

    kernel: Any
    noise: Float[Array, ""]


class ProcessRow(Target):
    """log p(y | u) + sum_q log N(u_q; m_q, v): a row's latents u given the processes at its input."""

    space: Space = eqx.field(static=True)
    decoder: Decoder
    likelihood: Likelihood
    y: Float[Array, " n"]
    mean: Float[Array, " k"]
    variance: Float[Array, ""]

    def log_likelihood(self, z: Float[Array, " k"]) -> Float[Array, ""]:
        """log p(y | u)."""
        return self.likelihood.log_prob(self.y, self.decoder(z))

    def log_density(self, z: Float[Array, " k"]) -> Float[Array, ""]:
        prior = jax.scipy.stats.norm.logpdf(z, self.mean, jnp.sqrt(self.variance))
        return jnp.sum(prior) + self.log_likelihood(z)


class LatentProcess(Target):
    """p(w) p(V) p(Z) p(theta) prod_n p(y_n | decoder_w(u_n)) prod_q N(u_nq; a_n^T V_q, k_nn - |a_n|^2 + s).

    a_n = L^-1 k_n, k_n the kernel between Z and x_n. Rows y_n at inputs x_n have latents u_n, k channels of a Gaussian
    process that is seen through M inducing points Z: V are white inducing values, (M, k), L L^T = K_ZZ; given V rows
    are independent (FITC). Nothing is a point estimate: the unknowns are V ~ N(0, I), the decoder's weights
    w ~ N(0, `weight_scale`^2), kernel hyperparameters and noise s, logarithms of which have standard deviation one
    about where they begin, and the inducing inputs Z, normal about the inputs' mean with twice their spread. Those not
    in `free` stay as given. All channels share a kernel.

    Offers `Locals`. `targets.JointRows(model)` has the latents among the unknowns, for `SGHMC`: a fully Bayesian
    autoencoder. `AmortisedVI` makes of it a variational autoencoder with a process prior, at a point in all else.

    `data`: rows (x, y) side by side, as `latent_process` makes them.

    Source: Tran, Shahbaba, Mandt and Filippone (2023), Fully Bayesian autoencoders with latent sparse Gaussian
    processes; the conditional: Snelson and Ghahramani (2006); Rossi, Heinonen, Bonilla, Shen and Filippone (2021).
    """

    space: Space = eqx.field(static=True)
    data: Float[Array, "rows c"]
    decoder: Decoder
    likelihood: Likelihood
    process: Process
    inducing: Float[Array, "m d"]
    centre: Float[Array, " d"]
    spread: Float[Array, " d"]
    weight_scale: Float[Array, ""]
    size: int = eqx.field(static=True)
    num_rows: int = eqx.field(static=True)
    free: tuple[str, ...] = eqx.field(static=True, default=FREE)

    @property
    def theta(self) -> Float[Array, " d"]:
        """The unknowns where they begin: everything as given, V = 0."""
        parts: dict[str, Any] = {"inducing values": jnp.zeros((len(self.inducing), self.size), self.data.dtype)}
        parts |= {f"decoder{path}": leaf for path, leaf in _leaves(self.decoder)} if "decoder" in self.free else {}
        parts |= {"hyperparameters": Hyperparameters(self.process).theta, "inducing inputs": self.inducing}
        return self.space.join({v.name: parts[v.name] for v in self.space.variables})

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        """Near `theta`: values drawn from their prior, all else moved by a tenth."""
        moved = 0.1 * jax.random.normal(key, (self.space.dimension,), self.data.dtype)
        values = {v.name: jnp.full(v.shape, 10.0 if v.name == "inducing values" else 1.0) for v in self.space.variables}
        return self.theta + self.space.join(values).astype(moved.dtype) * moved

    def at(self, z: Float[Array, " d"]) -> tuple[Decoder, Process, Float[Array, "m c"], Float[Array, "m k"]]:
        """(decoder, process, inducing inputs, inducing values) of these unknowns."""
        parts = self.space.split(z)
        decoder, process = self.decoder, self.process
        if "decoder" in self.free:
            trainable, rest = eqx.partition(self.decoder, eqx.is_inexact_array)
            leaves = [parts[f"decoder{path}"] for path, _ in _leaves(self.decoder)]
            decoder = eqx.combine(jax.tree.unflatten(jax.tree.structure(trainable), leaves), rest)
        if "hyperparameters" in self.free:
            process = Hyperparameters(self.process).at(parts["hyperparameters"])
        return decoder, process, parts.get("inducing inputs", self.inducing), parts["inducing values"]

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        total, begun = jnp.zeros((), z.dtype), Hyperparameters(self.process).theta
        for name, part in self.space.split(z).items():
            mean, scale = 0.0, 1.0
            if name.startswith("decoder"):
                scale = self.weight_scale
            elif name == "hyperparameters":
                mean = begun
            elif name == "inducing inputs":
                mean, scale = self.centre, 2 * self.spread
            total = total + jnp.sum(jax.scipy.stats.norm.logpdf(part, mean, scale))
        return total

    def local(self, z: Float[Array, " d"], row: Float[Array, " c"]) -> ProcessRow:
        decoder, *_ = self.at(z)
        x, y = row[: self.inducing.shape[1]], row[self.inducing.shape[1] :]
        mean, variance = self.latents_at(z, x[None])
        return ProcessRow(real_space(z=(self.size,)), decoder, self.likelihood, y, mean[0], variance[0])

    def latents_at(self, z: Float[Array, " d"], x: Float[Array, "n c"]) -> tuple[Array, Array]:
        """Means (n, k) and variances (n,) of the latents at inputs x, given V and all else."""
        _, process, inducing, values = self.at(z)
        design = Inducing(process.kernel, x, inducing).design()
        return design.weights[:, 0] @ values, design.residual[:, 0, 0] + process.noise

    def predicted(self, z: Float[Array, " d"], x: Float[Array, "n c"]) -> Float[Array, "n columns"]:
        """Rows at new inputs x: E[y | decoder at the latents' means], for one draw z of the unknowns; average them."""
        decoder, *_ = self.at(z)
        return jax.vmap(lambda u: self.likelihood.mean(decoder(u)))(self.latents_at(z, x)[0])

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return jnp.full((), jnp.nan, z.dtype)

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return "the latents of rows are not integrated: use targets.JointRows(model), or AmortisedVI"

    def minibatch(self, rows: Int[Array, " b"]) -> "LatentProcess":
        return eqx.tree_at(lambda t: t.data, self, self.data[rows])


def _leaves(decoder: Decoder) -> list[tuple[str, Array]]:
    trainable = eqx.filter(decoder, eqx.is_inexact_array)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(trainable)]


def latent_process(
    x: Any,
    Y: Any,
    decoder: Decoder,
    likelihood: Likelihood,
    kernel: Any,
    size: int,
    *,
    inducing: Any = 20,
    noise: float = 0.01,
    weight_scale: float = 1.0,
    free: tuple[str, ...] = FREE,
) -> LatentProcess:
    """`LatentProcess` of rows Y, (N, n), at inputs x, (N, d) or (N,), with `size` channels.

    `kernel`: of `gp.kernels`, its hyperparameters where they begin and the medians of their priors. `inducing`: the
    inducing inputs (M, d), or how many, taken evenly from the sorted inputs. `noise`: a variance. The likelihood's own
    numbers stay as they are.

    Raises `InputError` for shapes that do not agree, values outside the likelihood's support or that are not finite,
    and names in `free` that are not among decoder, hyperparameters and inducing inputs.
    """
    x, Y = np.asarray(x, float), np.asarray(Y, float)
    x = x[:, None] if x.ndim == 1 else x
    if Y.ndim != 2 or x.ndim != 2 or len(x) != len(Y) or 0 in (*Y.shape, *x.shape):
        raise InputError(f"Rows (N, n) at inputs (N, d) are wanted, got {Y.shape} and {x.shape}")
    if not (np.all(np.isfinite(Y)) and np.all(np.isfinite(x))):
        raise InputError("Rows and inputs must be finite: leave out what was not seen")
    likelihood.check(Y)
    if size < 1 or noise <= 0 or weight_scale <= 0:
        raise InputError(f"size, noise and weight_scale must be positive, got {size}, {noise:g} and {weight_scale:g}")
    unknown = sorted(set(free) - set(FREE))
    if unknown:
        raise InputError(f"Unknown parts {', '.join(unknown)} in free: there are {', '.join(FREE)}")
    real = jnp.result_type(float)
    if isinstance(inducing, int):
        if not 1 <= inducing <= len(x):
            raise InputError(f"The number of inducing points must lie between 1 and {len(x)} rows, got {inducing}")
        order = np.lexsort(x.T[::-1])
        inducing = x[order[np.round(np.linspace(0, len(x) - 1, inducing)).astype(int)]]
    inducing = np.asarray(inducing, float)
    if inducing.ndim != 2 or inducing.shape[1] != x.shape[1]:
        raise InputError(f"Inducing inputs must have shape (M, {x.shape[1]}), got {inducing.shape}")
    made = jax.eval_shape(decoder, jax.ShapeDtypeStruct((size,), real)).shape
    if made != (Y.shape[1], likelihood.outputs):
        raise InputError(
            f"The decoder gives {made}, and {Y.shape[1]} columns with {likelihood.outputs} outputs are wanted"
        )
    process = Process(kernel, jnp.asarray(noise, real))
    variables = [Variable("inducing values", (len(inducing), size))]
    if "decoder" in free:
        variables += [Variable(f"decoder{path}", leaf.shape) for path, leaf in _leaves(decoder)]
    if "hyperparameters" in free:
        variables += [Variable("hyperparameters", Hyperparameters(process).theta.shape)]
    if "inducing inputs" in free:
        variables += [Variable("inducing inputs", inducing.shape)]
    made_of = np.concatenate([x, Y], 1), inducing, x.mean(0), np.maximum(x.std(0), 1e-12), weight_scale
    data, places, centre, spread, scale = (jnp.asarray(a, real) for a in made_of)
    space, rows = Space(tuple(variables)), len(Y)
    return LatentProcess(
        space, data, decoder, likelihood, process, places, centre, spread, scale, size, rows, tuple(free)
    )

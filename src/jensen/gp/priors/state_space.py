"""Gaussian processes in time as a prior of linear cost."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import GaussianPrior, InputError, Marginals, Sites
from jensen.gp.kernels.stationary import as_rows
from jensen.gp.priors._white import Mean, zero_mean
from jensen.gp.state_space._lanes import block_diagonal, congruence, matmul, matvec, root, transpose
from jensen.gp.state_space.convert import state_space_form
from jensen.gp.state_space.filtering import Chain, Smoothed, smooth
from jensen.gp.state_space.sde import SDE

SHORT = 30_000  # times below which the program for several blocks takes longer to compile than it saves
EVEN = 1e-9  # relative spread of gaps below which times count as a regular grid: float64 grids differ by rounding


class StateSpace(GaussianPrior):
    """f ~ GP(m, k) on the line, exactly, by its stochastic differential equation: O(n d^3) time, O(n d^2) memory.

    `kernel`: any that `state_space_form` takes (Matern, Hida-Matern, quasi-periodic, sums and products of these), or a
    sequence of k for k independent latent functions; `d` is the number of states of all. `t`: times, (n,) or (n, 1), in
    any order, repeated or not; a regular grid costs less. `mean`: a mean function for all. `blocks`: stretches of time
    that are run through side by side, 1 for the sequential filter, n for the associative scan of logarithmic depth;
    None chooses. All agree to rounding. `harmonics`: see `state_space_form`.

    Differentiable in the kernels' parameters. Double precision is advised for long series and smooth kernels.

    Raises `InputError` for kernels without a state-space form, and for times that are not finite or not
    one-dimensional.

    Source: Hartikainen and Sarkka (2010); parallel in time: Sarkka and Garcia-Fernandez (2021), Temporal
    parallelization of Bayesian smoothers; the adjoint smoother: Bryson and Frazier (1963), Bierman (1973).
    """

    kernels: tuple[Any, ...]
    t: Float[Array, " n"] = eqx.field(metadata={"fixed": True})
    gaps: Float[Array, " #n"] = eqx.field(metadata={"fixed": True})
    order: Int[Array, " n"]
    mean: Mean = eqx.field(static=True, default=zero_mean)
    blocks: int = eqx.field(static=True, default=1)
    harmonics: int = eqx.field(static=True, default=8)

    def __init__(self, kernel: Any, t: Any, mean: Mean = zero_mean, blocks: int | None = None, harmonics: int = 8):
        self.kernels = tuple(kernel) if isinstance(kernel, list | tuple) else (kernel,)
        times = _times(t)
        if not np.all(np.isfinite(times)):
            raise InputError("Times must be finite: drop the rows with NaN or infinity")
        order = np.argsort(times, kind="stable")
        ordered = times[order]
        gaps = np.diff(ordered, prepend=ordered[0])
        even = len(times) > 2 and np.ptp(gaps[1:]) <= EVEN * gaps[1]
        real = jnp.result_type(float)
        self.t = jnp.asarray(ordered, real)
        self.gaps = jnp.asarray(np.mean(gaps[1:], keepdims=True) if even else gaps, real)
        self.order = jnp.asarray(order)
        self.mean, self.harmonics = mean, harmonics
        self.blocks = _blocks(len(times)) if blocks is None else min(max(blocks, 1), len(times))
        for one in self.kernels:
            state_space_form(one, harmonics)

    @property
    def num_sites(self) -> int:
        return self.t.shape[0]

    @property
    def num_values(self) -> int:
        return len(self.kernels)

    @property
    def dimension(self) -> int:
        """n d: the noise of each time's state."""
        return self.num_sites * jax.eval_shape(lambda: self._chain(self.gaps).stationary).shape[0]

    def _forms(self) -> list[SDE]:
        return [state_space_form(kernel, self.harmonics) for kernel in self.kernels]

    def _chain(self, gaps: Float[Array, " b"]) -> Chain:
        """All latent functions as one process, over these gaps."""
        stationary = jnp.zeros((0, 0, 1), self.t.dtype)
        transition = noise = jnp.zeros((0, 0, gaps.shape[0]), self.t.dtype)
        rows = jnp.zeros((0, 0, 1), self.t.dtype)
        for form in self._forms():
            stationary = block_diagonal(stationary, form.stationary()[..., None])
            transition = block_diagonal(transition, form.transition(gaps))
            noise = block_diagonal(noise, form.noise(gaps))
            rows = block_diagonal(rows, form.readout()[None, :, None])
        return Chain(stationary[..., 0], transition, noise, rows[..., 0])

    def _smooth(self, sites: Sites) -> tuple[Chain, Smoothed, Float[Array, "n k"]]:
        chain = self._chain(self.gaps)
        offset = self._offset(self.t)
        linear, precision = sites.linear[self.order], sites.precision[self.order]
        centred = linear - jnp.einsum("nij,nj->ni", precision, offset)
        passes = smooth(chain, centred.T, jnp.moveaxis(precision, 0, -1), self.blocks)
        constant = jnp.sum(linear * offset) - 0.5 * jnp.einsum("ni,nij,nj->", offset, precision, offset)
        return chain, eqx.tree_at(lambda s: s.log_normaliser, passes, passes.log_normaliser + constant), offset

    def _offset(self, t: Float[Array, " m"]) -> Float[Array, "m k"]:
        return jnp.broadcast_to(self.mean(as_rows(t))[:, None], (t.shape[0], self.num_values))

    def condition(self, sites: Sites) -> Marginals:
        chain, passes, offset = self._smooth(sites)
        mean, cov = _read(chain.readout, *passes.smoothed())
        back = jnp.argsort(self.order)
        n, k = offset.shape
        nothing = jnp.zeros((n, k, k), cov.dtype)
        return Marginals((mean + offset)[back], cov[back], nothing, passes.log_normaliser)

    def predict(self, sites: Sites, x: Any) -> tuple[Float[Array, "m k"], Float[Array, "m k k"]]:
        """At new times: the filtered state of the last site before each, met by the adjoint of the first one after."""
        chain, passes, _ = self._smooth(sites)
        new = jnp.asarray(x, self.t.dtype)
        if new.ndim > 2 or (new.ndim == 2 and new.shape[1] != 1):
            raise InputError(f"New times must have shape (m,) or (m, 1), got {new.shape}")
        new = new.reshape(-1)
        last = jnp.searchsorted(self.t, new, side="right")  # sites at or before
        before = self._chain(jnp.maximum(new - self.t[jnp.maximum(last - 1, 0)], 0.0))
        after = self._chain(jnp.maximum(self.t[jnp.minimum(last, self.num_sites - 1)] - new, 0.0))

        mean, cov = passes.filtered(chain.readout)
        mean, cov = (a[..., jnp.maximum(last - 1, 0)] for a in (mean, cov))
        mean, cov = matvec(before.transition, mean), congruence(before.transition, cov) + before.noise
        fresh = last == 0
        mean = jnp.where(fresh, 0.0, mean)
        cov = jnp.where(fresh, chain.stationary[..., None], cov)

        ahead = transpose(after.transition)
        known = last < self.num_sites
        nearest = jnp.minimum(last, self.num_sites - 1)
        adjoint = jnp.where(known, matvec(ahead, passes.adjoint[:, nearest]), 0.0)
        information = jnp.where(known, congruence(ahead, passes.information[..., nearest]), 0.0)
        mean, cov = mean - matvec(cov, adjoint), cov - congruence(cov, information)
        mean, cov = _read(chain.readout, mean, cov)
        return mean + self._offset(new), cov

    def from_white(self, z: Float[Array, " d"]) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
        """x_0 = P^(1/2) z_0 and x_t = Phi_t x_{t-1} + Q_t^(1/2) z_t."""
        chain, n = self._chain(self.gaps), self.num_sites
        white = z.reshape(n, -1)
        first = root(chain.stationary[..., None])[..., 0] @ white[0]
        spread, transition = (
            jnp.broadcast_to(jnp.moveaxis(a, -1, 0), (n, *a.shape[:2]))[1:]
            for a in (root(chain.noise), chain.transition)
        )

        def move(state: Array, now: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            phi, scale, noise = now
            state = phi @ state + scale @ noise
            return state, state

        _, rest = jax.lax.scan(move, first, (transition, spread, white[1:]))
        values = jnp.concatenate([first[None], rest]) @ chain.readout.T + self._offset(self.t)
        k = self.num_values
        return values[jnp.argsort(self.order)], jnp.zeros((n, k, k), values.dtype)


def _times(t: Any) -> np.ndarray:
    if isinstance(t, jax.core.Tracer):
        raise InputError("StateSpace sorts its times once, outside compiled functions: build it before jax.jit")
    times = np.asarray(t, float)
    if times.ndim == 2 and times.shape[1] == 1:
        times = times[:, 0]
    if times.ndim != 1 or len(times) == 0:
        raise InputError(
            f"A state-space prior has one input, time, of shape (n,) or (n, 1): got shape {np.shape(t)}. For several "
            "inputs use the dense or an inducing-point prior"
        )
    return times


def _blocks(n: int) -> int:
    """Near sqrt(n), where the steps of a pass and the lanes of a step balance."""
    return 1 if n < SHORT else 2 ** round(np.log2(n) / 2)


def _read(
    readout: Float[Array, "k d"], mean: Float[Array, "d n"], cov: Float[Array, "d d n"]
) -> tuple[Float[Array, "n k"], Float[Array, "n k k"]]:
    out = readout[..., None]
    spread = congruence(out, cov)
    spread = 0.5 * (spread + transpose(spread))
    return matmul(out, mean[:, None])[:, 0].T, jnp.moveaxis(spread, -1, 0)

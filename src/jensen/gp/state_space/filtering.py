"""Kalman filtering and smoothing of Gauss-Markov processes under Gaussian sites, in linear time and parallel in time.

Times are cut into blocks that are run through side by side, one step of each at a time: one block is the sequential
filter, as many blocks as times the associative scan of logarithmic depth, and what is in between costs about twice the
arithmetic of the first at a small part of its time, for one instruction works on all blocks. Smoothing is by the
adjoint recursion, which inverts no covariance of states, so that sites of zero precision (or negative, while the whole
stays positive) and times that coincide need no care.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.gp.state_space._lanes import absorb, congruence, eye, matmul, matvec, transpose


class Chain(eqx.Module):
    """x_0 ~ N(0, P); x_t = Phi_t x_{t-1} + N(0, Q_t); k values read out as H x_t; t = 1 .. n, or one Phi, Q for all."""

    stationary: Float[Array, "d d"]
    transition: Float[Array, "d d #n"]
    noise: Float[Array, "d d #n"]
    readout: Float[Array, "k d"]


class Smoothed(eqx.Module):
    """What the two passes leave at each time, time last.

    `mean`, `cov`: x_t given the sites before t. `gain`: g = (I + Pi S)^-1 (l - Pi H m) and `weight`: G = (I + Pi S)^-1
    Pi with S = H C H^T, so that x_t given the sites up to t has mean m + C H^T g and covariance C - C H^T G H C.
    `adjoint`, `information`: a, A with E[x_t | all] = m - C a and cov[x_t | all] = C - C A C. `log_normaliser`: log of
    the integral of prior times sites.
    """

    mean: Float[Array, "d n"]
    cov: Float[Array, "d d n"]
    gain: Float[Array, "k n"]
    weight: Float[Array, "k k n"]
    adjoint: Float[Array, "d n"]
    information: Float[Array, "d d n"]
    log_normaliser: Float[Array, ""]

    def filtered(self, readout: Float[Array, "k d"]) -> tuple[Float[Array, "d n"], Float[Array, "d d n"]]:
        """Means and covariances of x_t given the sites up to t."""
        out = matmul(self.cov, transpose(readout[..., None]))
        return self.mean + matvec(out, self.gain), self.cov - congruence(out, self.weight)

    def smoothed(self) -> tuple[Float[Array, "d n"], Float[Array, "d d n"]]:
        """Means and covariances of x_t given all sites."""
        return self.mean - matvec(self.cov, self.adjoint), self.cov - congruence(self.cov, self.information)


class _Conditional(eqx.Module):
    """x_end given x_start is N(A x_start + b, C), and sites in between weigh x_start by exp(e . x - x^T J x / 2)."""

    slope: Float[Array, "d d b"]
    mean: Float[Array, "d b"]
    cov: Float[Array, "d d b"]
    linear: Float[Array, "d b"]
    precision: Float[Array, "d d b"]


def smooth(chain: Chain, linear: Float[Array, "k n"], precision: Float[Array, "k k n"], blocks: int = 1) -> Smoothed:
    """Condition a chain on sites exp(l_t . f_t - f_t^T Pi_t f_t / 2), f_t = H x_t, with times in `blocks` blocks."""
    n, d = linear.shape[1], chain.stationary.shape[0]
    length = -(-n // blocks)
    one_gap = chain.transition.shape[2] == 1
    gaps = () if one_gap else (chain.transition, chain.noise)
    moving = tuple(_in_blocks(a, blocks, length) for a in (*gaps, linear, precision))

    def parts(now: Any) -> Any:
        return (chain.transition, chain.noise, *now) if one_gap else now

    start = jnp.zeros((d, 1), linear.dtype), chain.stationary[..., None]
    if blocks > 1:
        totals, _ = jax.lax.scan(
            lambda c, now: (_extend(c, chain.readout, *parts(now)), None), _nothing(d, blocks, linear.dtype), moving
        )
        zero = jnp.zeros((d, d, 1), linear.dtype)
        prior = _Conditional(zero, start[0], start[1], start[0], zero)
        first = jax.tree.map(lambda a, b: jnp.concatenate([a, b[..., :-1]], -1), prior, totals)
        before = _accumulate(_compose, first)
        start = before.mean, before.cov

    identity = eye(d, blocks).astype(linear.dtype)
    none = jnp.zeros((d, blocks), linear.dtype)

    def forward(carry: Any, now: Any) -> Any:
        mean, cov, slope, shift, information, total = carry
        phi, q, site, weight = parts(now)
        mean, cov = matvec(phi, mean), congruence(phi, cov) + q
        gain, pull, log_z = _update(chain.readout, mean, cov, site, weight)
        out = transpose(chain.readout[..., None])
        back = matmul(slope, transpose(phi))
        seen = matmul(back, out)
        spread_out = matmul(cov, out)
        after = (
            mean + matvec(spread_out, gain),
            cov - congruence(spread_out, pull),
            back - matmul(matmul(seen, pull), transpose(spread_out)),
            shift - matvec(seen, gain),
            information + congruence(seen, pull),
            total + log_z,
        )
        return after, (mean, cov, gain, pull)

    carry = (*start, identity, none, jnp.zeros_like(identity), none[0])
    carry = jax.tree.map(lambda a: jnp.broadcast_to(a, (*a.shape[:-1], blocks)), carry)
    (_, _, *affine, total), passed = jax.lax.scan(forward, carry, moving)

    adjoint = none, jnp.zeros_like(identity)
    if blocks > 1:
        after = _accumulate(_chain, tuple(affine), reverse=True)
        adjoint = tuple(jnp.concatenate([a[..., 1:], jnp.zeros_like(a[..., :1])], -1) for a in after[1:])

    def backward(carry: Any, now: Any) -> Any:
        (phi, *_), (_, cov, gain, pull) = parts(now[0]), now[1]
        out = transpose(chain.readout[..., None])
        kept = eye(d) - matmul(matmul(out, pull), transpose(matmul(cov, out)))
        adjoint = matvec(kept, carry[0]) - matvec(out, gain)
        information = congruence(kept, carry[1]) + congruence(out, pull)
        return (matvec(transpose(phi), adjoint), congruence(transpose(phi), information)), (adjoint, information)

    _, adjoints = jax.lax.scan(backward, adjoint, (moving, passed), reverse=True)
    mean, cov, gain, weight, vector, matrix = (
        jnp.moveaxis(a, 0, -1).reshape(*a.shape[1:-1], -1)[..., :n] for a in (*passed, *adjoints)
    )
    return Smoothed(mean, cov, gain, weight, vector, matrix, jnp.sum(total))


def _accumulate(combine: Callable[[Any, Any], Any], parts: Any, reverse: bool = False) -> Any:
    """Inclusive scan of an associative operation over the last axis, in log2 n rounds (Hillis and Steele 1986).

    In round r every place takes in the one 2^r before it. One program for all rounds, where
    `jax.lax.associative_scan` compiles each anew, for minutes.
    """
    size = jax.tree.leaves(parts)[0].shape[-1]

    def round_(r: Any, totals: Any) -> Any:
        step = jnp.left_shift(1, r)
        other = jnp.arange(size) + (step if reverse else -step)
        there = (other >= 0) & (other < size)
        before = jax.tree.map(lambda a: a[..., jnp.clip(other, 0, size - 1)], totals)
        return jax.tree.map(lambda new, old: jnp.where(there, new, old), combine(before, totals), totals)

    return jax.lax.fori_loop(0, math.ceil(math.log2(size)), round_, parts)


def _in_blocks(a: Float[Array, "*p n"], blocks: int, length: int) -> Float[Array, "s *p b"]:
    """Times cut into blocks and padded with zeros: after the last, nothing is seen and no state kept."""
    padded = jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, blocks * length - a.shape[-1])])
    return jnp.moveaxis(padded.reshape(*a.shape[:-1], blocks, length), -1, 0)


def _update(
    readout: Float[Array, "k d"],
    mean: Float[Array, "d b"],
    cov: Float[Array, "d d b"],
    linear: Float[Array, "k b"],
    precision: Float[Array, "k k b"],
) -> tuple[Array, Array, Array]:
    """g, G and log of the integral of N(f; H m, S) exp(l . f - f^T Pi f / 2)."""
    out = readout[..., None]
    f, s = matvec(out, mean), congruence(out, cov)
    after, log_det = absorb(s, precision)
    miss = linear - matvec(precision, f)
    pull = precision - congruence(precision, after)
    gain = miss - matvec(precision, matvec(after, miss))
    at_mean = jnp.sum(f * (linear - 0.5 * matvec(precision, f)), 0)
    return gain, pull, at_mean + 0.5 * jnp.sum(miss * matvec(after, miss), 0) - 0.5 * log_det


def _nothing(d: int, blocks: int, dtype: Any) -> _Conditional:
    zero, none = jnp.zeros((d, d, blocks), dtype), jnp.zeros((d, blocks), dtype)
    return _Conditional(eye(d, blocks).astype(dtype), none, zero, none, zero)


def _extend(
    so_far: _Conditional, readout: Float[Array, "k d"], phi: Array, q: Array, linear: Array, precision: Array
) -> _Conditional:
    """One more time and its site."""
    slope, mean, cov = matmul(phi, so_far.slope), matvec(phi, so_far.mean), congruence(phi, so_far.cov) + q
    gain, pull, _ = _update(readout, mean, cov, linear, precision)
    out = transpose(readout[..., None])
    spread_out, seen = matmul(cov, out), matmul(transpose(slope), out)
    return _Conditional(
        slope - matmul(matmul(spread_out, pull), transpose(seen)),
        mean + matvec(spread_out, gain),
        cov - congruence(spread_out, pull),
        so_far.linear + matvec(seen, gain),
        so_far.precision + congruence(seen, pull),
    )


def _compose(first: _Conditional, then: _Conditional) -> _Conditional:
    """Two stretches of time, one after the other (Sarkka and Garcia-Fernandez 2021, eq. 14)."""
    after, _ = absorb(first.cov, then.precision)
    # (I + C J)^-1 = I - after J
    at_end = first.slope - matmul(after, matmul(then.precision, first.slope))
    miss = then.linear - matvec(then.precision, first.mean)
    return _Conditional(
        matmul(then.slope, at_end),
        matvec(then.slope, first.mean + matvec(after, miss)) + then.mean,
        congruence(then.slope, after) + then.cov,
        matvec(transpose(first.slope), miss - matvec(then.precision, matvec(after, miss))) + first.linear,
        congruence(transpose(first.slope), then.precision - congruence(then.precision, after)) + first.precision,
    )


def _chain(later: tuple[Array, ...], earlier: tuple[Array, ...]) -> tuple[Array, ...]:
    """The adjoint recursion over two stretches of time: x -> E x + v, A -> E A E^T + W."""
    (slope, shift, spread), (outer, added, more) = later, earlier
    return matmul(outer, slope), matvec(outer, shift) + added, congruence(outer, spread) + more

"""One no-U-turn transition of many chains at once, as a single loop of leapfrog steps with one gradient in it.

Every turn of the loop moves each unfinished chain by one leapfrog step, wherever in its tree that chain is: no chain
waits for another one's doubling, only for the longest trajectory, and the compiled program holds the target once.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen.core import PRNGKey, Scalar

LEAVES = 8  # leapfrog steps a turn
MAX_ENERGY_ERROR = 1000.0  # nats, beyond which a trajectory has diverged (Betancourt 2017)


class Place(eqx.Module):
    """A point with its log density and gradient."""

    position: Float[Array, "*chains d"]
    log_density: Float[Array, "*chains"]
    gradient: Float[Array, "*chains d"]


class End(eqx.Module):
    """A point of a trajectory: position, momentum (unit mass) and gradient."""

    position: Float[Array, " d"]
    momentum: Float[Array, " d"]
    gradient: Float[Array, " d"]


class Tree(eqx.Module):
    """A trajectory, complete up to `depth` doublings, and the subtree of 2^depth leaves that grows at one end of it.

    `weight`: log sum of exp(-energy error) over the leaves; `total`: sum of their momenta; `chosen`: the leaf sampled
    so far; `sub_*` the same of the subtree, `leaf` its number of leaves, `forward` its direction, `tip` its last leaf.
    `starts`, `bases`: for each level of the subtree the momentum of the leaf where the current binary subtree of that
    level began, and the sum of momenta before it plus half its own.
    """

    left: End
    right: End
    tip: End
    chosen: Place
    weight: Scalar
    total: Float[Array, " d"]
    depth: Int[Array, ""]
    sub_chosen: Place
    sub_weight: Scalar
    sub_total: Float[Array, " d"]
    leaf: Int[Array, ""]
    forward: Bool[Array, ""]
    starts: Float[Array, "levels d"]
    bases: Float[Array, "levels d"]
    acceptance: Scalar
    leapfrog_steps: Int[Array, ""]
    diverging: Bool[Array, ""]
    active: Bool[Array, ""]


class Trajectories(eqx.Module):
    """Transitions of every chain under way: their trees, the energies they began with, and the turns made so far."""

    key: PRNGKey
    energy: Float[Array, " chains"]
    trees: Tree
    count: Int[Array, ""]

    @property
    def going(self) -> Bool[Array, ""]:
        """Whether the trajectory of any chain still grows."""
        return jnp.any(self.trees.active)


class Transition(eqx.Module):
    """Where every chain is afterwards, its mean acceptance probability, whether it diverged, its leapfrog steps."""

    place: Place
    acceptance: Float[Array, " chains"]
    diverging: Bool[Array, " chains"]
    leapfrog_steps: Int[Array, " chains"]


def begin(key: PRNGKey, place: Place, max_doublings: int) -> Trajectories:
    """Trajectories of one leaf each, with momenta drawn afresh."""
    momentum = jax.random.normal(key, place.position.shape, place.position.dtype)
    energy = 0.5 * jnp.sum(momentum**2, 1) - place.log_density
    trees = jax.vmap(lambda p, r: _root(p, r, max_doublings))(place, momentum)
    return Trajectories(key, energy, trees, jnp.zeros((), jnp.int32))


def turn(
    under_way: Trajectories,
    density: Callable[[Float[Array, " d"]], Float[Array, ""]],
    step_size: Scalar,
    scale: Float[Array, "*d d"],
    max_doublings: int,
    whole: bool,
) -> Trajectories:
    """The next `LEAVES` leapfrog steps of every chain, or fewer where all are done before, unless `whole`.

    Multinomial NUTS with the inverse mass matrix C C^T where `scale` is C: of shape (d,) if diagonal, else (d, d) and
    lower triangular. Energy errors that are NaN count as divergences. At most 2^max_doublings leapfrog steps in all.

    Source: Hoffman and Gelman (2014); multinomial sampling and the criterion on summed momenta: Betancourt (2017);
    checkpoints instead of recursion: Phan, Pradhan, Jankowiak (2019).
    """
    energy, shape = under_way.energy, (LEAVES, *under_way.energy.shape, 2)
    # numbers for several steps: on a processor to make some takes as long as two leapfrog steps of a small model
    u = jax.random.uniform(jax.random.fold_in(under_way.key, under_way.count), shape, energy.dtype)

    def leaf(tree: Tree, energy: Scalar, u: Float[Array, " 2"]) -> Tree:
        return _grow(tree, energy, u, density, step_size, scale, max_doublings)

    def step(carry: tuple[Int[Array, ""], Tree]) -> tuple[Int[Array, ""], Tree]:
        n, trees = carry
        return n + 1, jax.vmap(leaf)(trees, energy, u[n])

    first = (jnp.zeros((), jnp.int32), under_way.trees)
    _, trees = jax.lax.while_loop(lambda c: (c[0] < LEAVES) & (whole | jnp.any(c[1].active)), step, first)
    return Trajectories(under_way.key, energy, trees, under_way.count + 1)


def end(done: Trajectories) -> Transition:
    """What came of trajectories that no longer grow."""
    trees = done.trees
    steps = jnp.maximum(trees.leapfrog_steps, 1)
    return Transition(trees.chosen, trees.acceptance / steps, trees.diverging, trees.leapfrog_steps)


def _root(place: Place, momentum: Float[Array, " d"], levels: int) -> Tree:
    end = End(place.position, momentum, place.gradient)
    zero, none = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    empty = jnp.zeros_like(place.log_density)
    nothing = jnp.zeros((levels, momentum.shape[0]), momentum.dtype)
    return Tree(
        left=end,
        right=end,
        tip=end,
        chosen=place,
        weight=empty,
        total=momentum,
        depth=zero,
        sub_chosen=place,
        sub_weight=empty - jnp.inf,
        sub_total=jnp.zeros_like(momentum),
        leaf=zero,
        forward=none,
        starts=nothing,
        bases=nothing,
        acceptance=empty,
        leapfrog_steps=zero,
        diverging=none,
        active=~none,
    )


def _grow(
    tree: Tree, energy: Scalar, u: Float[Array, " 2"], density: Any, step_size: Scalar, scale: Array, max_doublings: int
) -> Tree:
    """One leaf more, and where that completes the subtree, its union with the trajectory.

    A finished chain is moved as well, for nothing: only what is read afterwards is kept still.
    """
    new_subtree = tree.leaf == 0
    # the first leaf of a subtree is always chosen, so that its number is free to tell the direction
    forward = jnp.where(new_subtree, u[1] < 0.5, tree.forward)
    tip = _choose(new_subtree, _choose(forward, tree.right, tree.left), tree.tip)
    tip, log_density = _leapfrog(tip, density, jnp.where(forward, step_size, -step_size), scale)
    error = energy + log_density - 0.5 * jnp.sum(tip.momentum**2)
    error = jnp.where(jnp.isnan(error), -jnp.inf, error)
    diverging = error < -MAX_ENERGY_ERROR

    sub_weight = jnp.logaddexp(tree.sub_weight, error)
    here = Place(tip.position, log_density, tip.gradient)
    sub_chosen = _choose(new_subtree | (jnp.log(u[1]) < error - sub_weight), here, tree.sub_chosen)
    sub_total = tree.sub_total + tip.momentum
    starts, bases, turning = _check(tree, tip.momentum, sub_total)

    leaf = tree.leaf + 1
    failed = diverging | turning
    complete = tree.active & ~failed & (leaf == jnp.left_shift(1, tree.depth))
    left = _choose(complete & ~forward, tip, tree.left)
    right = _choose(complete & forward, tip, tree.right)
    total = tree.total + jnp.where(complete, sub_total, 0.0)
    depth = tree.depth + complete
    turned = complete & _is_turning(left.momentum, right.momentum, total - 0.5 * (left.momentum + right.momentum))
    return Tree(
        left=left,
        right=right,
        tip=tip,
        # biased towards the new half, which moves chains further than the weights alone would
        chosen=_choose(complete & (jnp.log(u[0]) < sub_weight - tree.weight), sub_chosen, tree.chosen),
        weight=jnp.where(complete, jnp.logaddexp(tree.weight, sub_weight), tree.weight),
        total=total,
        depth=depth,
        sub_chosen=sub_chosen,
        sub_weight=jnp.where(complete, -jnp.inf, sub_weight),
        sub_total=jnp.where(complete, 0.0, sub_total),
        leaf=jnp.where(complete, 0, leaf),
        forward=forward,
        starts=starts,
        bases=bases,
        acceptance=tree.acceptance + jnp.where(tree.active, jnp.exp(jnp.minimum(error, 0.0)), 0.0),
        leapfrog_steps=tree.leapfrog_steps + tree.active,
        diverging=jnp.where(tree.active, diverging, tree.diverging),
        active=tree.active & ~failed & ~turned & (depth < max_doublings),
    )


def _leapfrog(end: End, density: Any, step_size: Scalar, scale: Array) -> tuple[End, Scalar]:
    momentum = end.momentum + 0.5 * step_size * (end.gradient @ scale if scale.ndim == 2 else end.gradient * scale)
    drift = scale @ momentum if scale.ndim == 2 else scale * momentum
    position = end.position + step_size * drift
    log_density, gradient = jax.value_and_grad(density)(position)
    momentum = momentum + 0.5 * step_size * (gradient @ scale if scale.ndim == 2 else gradient * scale)
    return End(position, momentum, gradient), log_density


def _check(
    tree: Tree, momentum: Float[Array, " d"], sub_total: Float[Array, " d"]
) -> tuple[Array, Array, Bool[Array, ""]]:
    """Remember an even leaf; at an odd one, whether any binary subtree that ends with it has turned.

    Leaf n opens the level of its number of set bits above the lowest one, and closes as many levels as it ends in ones.
    """
    n = tree.leaf
    top = jax.lax.population_count(jax.lax.shift_right_logical(n, jnp.ones_like(n)))
    closed = jax.lax.population_count(n ^ (n + 1)) - 1  # number of ones at its end
    even = (n & 1) == 0
    here = (even & (jnp.arange(tree.starts.shape[0]) == top))[:, None]
    starts = jnp.where(here, momentum, tree.starts)
    bases = jnp.where(here, sub_total - 0.5 * momentum, tree.bases)
    since = sub_total - 0.5 * momentum

    def check(carry: tuple[Int[Array, ""], Bool[Array, ""]]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
        level, _ = carry
        return level - 1, _is_turning(starts[level], momentum, since - bases[level])

    # a loop, for a leaf closes one level on average: all levels at once would cost more than the leapfrog step
    asked = (top, jnp.zeros((), bool))
    _, turning = jax.lax.while_loop(lambda c: (c[0] > top - closed) & ~even & ~c[1], check, asked)
    return starts, bases, turning


def _is_turning(first: Array, last: Array, between: Array) -> Bool[Array, ""]:
    return (first @ between <= 0) | (last @ between <= 0)


def _choose(condition: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)

"""Hidden Markov models: targets of their continuous unknowns, the paths of hidden states summed out."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, PRNGKey, Program, Space, Target
from jensen.targets._layout import Layout, layout_of
from jensen.targets._sums import key_of, log_sum_exp


class Chain(eqx.Module):
    """p(s, y) = exp(a_{s_1}) prod_{t > 1} exp(A_{t, s_{t-1}, s_t}) prod_t exp(e_{t, s_t}), s_t one of k states.

    `log_initial`: a, shape (k,). `log_transition`: A, rows from, columns to, shape (k, k) or (t - 1, k, k).
    `log_emission`: e, shape (t, k). Entries may be -inf. Nothing need be normalised.
    """

    log_initial: Float[Array, " k"]
    log_transition: Float[Array, "*t k k"]
    log_emission: Float[Array, "n k"]

    def log_evidence(self) -> Float[Array, ""]:
        """log sum_s p(s, y) by the forward algorithm in logs: O(t k^2). Rabiner (1989)."""
        return log_sum_exp(self._forward()[-1], 0)

    def draw(self, key: PRNGKey) -> Int[Array, " n"]:
        """s ~ p(s | y): forward sums, then states drawn backwards."""
        keys = jax.random.split(key, self.log_emission.shape[0])
        log_alpha = self._forward()
        last = jax.random.categorical(keys[-1], log_alpha[-1])

        def back(after: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            key, log_alpha, log_step = at
            state = jax.random.categorical(key, log_alpha + log_step[:, after])
            return state, state

        _, before = jax.lax.scan(back, last, (keys[:-1], log_alpha[:-1], self._steps()), reverse=True)
        return jnp.append(before, last).astype(jnp.int32)

    def _steps(self) -> Float[Array, "m k k"]:
        t, k = self.log_emission.shape
        return jnp.broadcast_to(self.log_transition, (t - 1, k, k))

    def _forward(self) -> Float[Array, "n k"]:
        """log p(s_t, y_1 .. y_t) at each t."""

        def forward(log_alpha: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            log_step, emission = at
            new = log_sum_exp(log_alpha[:, None] + log_step, 0) + emission
            return new, new

        first = self.log_initial + self.log_emission[0]
        rest = jax.lax.scan(forward, first, (self._steps(), self.log_emission[1:]))[1]
        return jnp.concatenate([first[None], rest])


class _Model(eqx.Module):
    """What the user declared: a function from the unknowns to (log prior, initial, transition, emission)."""

    space: Space
    parts: Callable[..., Any] = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)
    args: tuple[Any, ...]
    states: str = eqx.field(static=True)

    def at(self, values: dict[str, Array]) -> tuple[Float[Array, ""], Chain]:
        log_prior, *rest = self.parts(self.layout.tree(values), *self.args)
        return jnp.asarray(log_prior, jnp.result_type(float)), Chain(*map(jnp.asarray, rest))


class _Completed(Program):
    """The unknowns with a path drawn from p(s | z), by a key made of the bits of z."""

    model: _Model

    def constrain(self, values: dict[str, Array]) -> dict[str, Array]:
        path = self.model.at(values)[1].draw(key_of(self.model.space.join(values)))
        return {**values, self.model.states: path}

    def unconstrain(self, x: dict[str, Array]) -> dict[str, Array]:
        return {name: x[name] for name in self.model.space.names}


class HiddenMarkovTarget(Target):
    """log p(z) = log prior(z) + log sum_s p(s, y | z), the sum over all k^t paths s by the forward algorithm.

    Made by `from_hidden_markov`. Draws of a posterior come with a path s ~ p(s | z, y).
    """

    model: _Model

    @property
    def space(self) -> Space:
        return Space(self.model.space.variables, _Completed(self.model))

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        log_prior, chain = self.model.at(self.model.space.split(z))
        return (log_prior + chain.log_evidence()).astype(z.dtype)

    def draw_states(self, key: PRNGKey, z: Float[Array, " d"]) -> Int[Array, " n"]:
        """s ~ p(s | z, y), shape (t,)."""
        return self.model.at(self.model.space.split(z))[1].draw(key)


def from_hidden_markov(parts: Any, example: Any, *args: Any, states: str = "state") -> HiddenMarkovTarget:
    """A target from a hidden Markov model whose chain is declared, of any length: cost O(t k^2), not k^t.

    Args:
        parts: `parts(tree, *args)` returns (log prior, log initial weights (k,), log transitions (k, k) or
            (t - 1, k, k) with rows for the state before, log emissions (t, k)) of a PyTree of unconstrained arrays.
        example: a PyTree of arrays with the shapes of the unknowns; its values are not used.
        *args: data, array leaves.
        states: the name under which a posterior's draws hold the path, shape (t,), numbers from 0.

    Raises `InputError` if `parts` is not callable or does not return four arrays of these shapes, or `states` names an
    unknown. The check traces `parts` abstractly; nothing is computed.

    Source: Rabiner (1989); backward draws: Scott (2002).
    """
    if not callable(parts):
        raise InputError(f"parts must be callable, got {type(parts).__name__}")
    space, layout = layout_of(example)
    if states in space.names:
        raise InputError(f"states={states!r} is the name of an unknown: choose another for the path")
    args = jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, args)
    real = jnp.result_type(float)
    tree = jax.tree.unflatten(layout.treedef, [jax.ShapeDtypeStruct(s, real) for s in layout.shapes])
    out = eqx.filter_eval_shape(parts, tree, *args)
    shapes = [tuple(getattr(a, "shape", (None,))) for a in out] if isinstance(out, tuple) else []
    if not _fits(shapes):
        raise InputError(
            "parts must return a tuple (log prior, log initial (k,), log transitions (k, k) or (t - 1, k, k), log "
            f"emissions (t, k)), got {shapes if shapes else type(out).__name__}"
        )
    return HiddenMarkovTarget(model=_Model(space, parts, layout, args, states))  # pyright: ignore[reportCallIssue]


def _fits(shapes: list[tuple[Any, ...]]) -> bool:
    if len(shapes) != 4 or len(shapes[3]) != 2:
        return False
    prior, initial, transition, (t, k) = shapes
    return prior == () and initial == (k,) and transition in ((k, k), (t - 1, k, k))

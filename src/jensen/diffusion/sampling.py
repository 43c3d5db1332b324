"""Draws by a denoiser: the probability-flow equation, in many steps."""

import jax
from jaxtyping import Array, Float

from jensen.core import PRNGKey
from jensen.core.fields import check_count
from jensen.diffusion.denoisers import Denoiser
from jensen.diffusion.noise import NoiseLevels


def draw_by_denoising(
    key: PRNGKey, denoiser: Denoiser, levels: NoiseLevels, start: Float[Array, " d"], num_steps: int = 32
) -> Float[Array, " d"]:
    """A draw: dx/ds = (x - D(x, s)) / s from x ~ N(start, high^2 I) down to low, and D of that; by Heun's rule.

    Two evaluations of D a step. Its distribution is that of the rows up to noise of size `low`, the error of D, and
    the start: N(start, high^2 I) is p_high only where `high` is several times the spread of the rows. `start`: their
    mean.

    Raises `InputError` for fewer than one step.

    Source: Karras, Aittala, Aila and Laine (2022), algorithm 1.
    """
    check_count("num_steps", num_steps)
    grid = levels.grid(num_steps + 1)

    def slope(x: Float[Array, " d"], s: Float[Array, ""]) -> Float[Array, " d"]:
        return (x - denoiser(x, s)) / s

    def step(x: Float[Array, " d"], pair: tuple[Array, Array]) -> tuple[Float[Array, " d"], None]:
        s, after = pair
        first = slope(x, s)
        second = slope(x + (after - s) * first, after)
        return x + 0.5 * (after - s) * (first + second), None

    x = start + levels.high * jax.random.normal(key, start.shape, start.dtype)
    x, _ = jax.lax.scan(step, x, (grid[:-1], grid[1:]))
    return denoiser(x, grid[-1])

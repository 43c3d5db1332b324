"""NUTS of the peers, as functions of a key."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

CHAINS, WARMUP, DRAWS = 4, 1000, 1000


def numpyro_model_nuts(target: Any) -> Callable[[Any], Any]:
    """NumPyro's NUTS on a NumPyro model, as its users call it; draws by site, (chains, draws, ...)."""
    from numpyro.infer import MCMC, NUTS

    model = target.model
    mcmc = MCMC(
        NUTS(model.fn),
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )

    def run(key: Any) -> Any:
        mcmc.run(key, *model.args, **model.kwargs)
        return mcmc.get_samples(group_by_chain=True)

    return run


def blackjax_nuts(target: Any) -> Callable[[Any], Any]:
    """BlackJAX's window adaptation and NUTS, each chain its own, all in one jit; z of shape (chains, draws, d)."""
    import blackjax

    @jax.jit
    def run(key: Any) -> Any:
        def chain(key: Any) -> Any:
            key_start, key_warm, key_run = jax.random.split(key, 3)
            warm: Any = blackjax.window_adaptation(blackjax.nuts, target.log_density)
            (state, parameters), _ = warm.run(key_warm, target.start(key_start), WARMUP)
            kernel = blackjax.nuts(target.log_density, **parameters)

            def step(state: Any, key: Any) -> Any:
                state, _ = kernel.step(key, state)
                return state, state.position

            return jax.lax.scan(step, state, jax.random.split(key_run, DRAWS))[1]

        return jax.vmap(chain)(jax.random.split(key, CHAINS))

    return lambda key: jnp.asarray(run(key))

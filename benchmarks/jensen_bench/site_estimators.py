"""What do per-site estimators cost over a gradient written out by hand?

The program: a coin of 8 tosses, a 16-d normal given it, and a Bernoulli-logistic likelihood of 500 rows; the
hand-written loss has the same arithmetic in plain JAX. Two ways past the coins, each against its own hand-written twin:
the score function with leave-one-out baseline, and the sum over all 2^8 values. Printed: microseconds of a compiled
gradient, ours and the twin's, and the ratios; the goal is at most 1.2.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import jensen as jn
from jensen.gradient_estimators import PerSite, sites

DRAWS, COINS, D, ROWS = 16, 8, 16, 500


def model(x: Any, y: Any) -> None:
    """Logistic regression whose first coefficients are switched by coins."""
    a = numpyro.sample("a", dist.Bernoulli(0.5 * jnp.ones(COINS)).to_event(1))
    b = numpyro.sample("b", dist.Normal(jnp.zeros(D), 1.0).to_event(1))
    logits = x @ (b * jnp.concatenate([a, jnp.ones(D - COINS)]))
    numpyro.sample("y", dist.Bernoulli(logits=logits).to_event(1), obs=y)


def guide(estimator: Any) -> None:
    """Independent coins, and a normal whose mean they shift."""
    starts = {"l": jnp.zeros(COINS), "w": jnp.zeros(COINS), "m": jnp.zeros(D), "s": -jnp.ones(D)}
    theta: dict[str, Any] = {name: numpyro.param(name, start) for name, start in starts.items()}
    a = numpyro.sample("a", dist.Bernoulli(logits=theta["l"]).to_event(1), infer={"estimator": estimator})
    mean = theta["m"] + jnp.concatenate([theta["w"] * a, jnp.zeros(D - COINS)])
    normal = dist.Normal(mean, jnp.exp(theta["s"])).to_event(1)
    numpyro.sample("b", normal, infer={"estimator": sites.Reparameterised()})


def cost(q: Any, a: Any, eps: Any, x: Any, y: Any) -> Any:
    """(log q(a), -ELBO of one draw), the normal reparameterised."""
    fresh = jnp.concatenate([q["w"] * a, jnp.zeros(D - COINS)])
    b = q["m"] + fresh + jnp.exp(q["s"]) * eps
    log_a = jnp.sum(a * q["l"] - jax.nn.softplus(q["l"]))
    log_b = jnp.sum(-0.5 * eps**2 - q["s"]) - 0.5 * D * jnp.log(2 * jnp.pi)
    prior = COINS * jnp.log(0.5) - 0.5 * jnp.sum(b**2) - 0.5 * D * jnp.log(2 * jnp.pi)
    logits = x @ (b * jnp.concatenate([a, jnp.ones(D - COINS)]))
    return log_a, log_a + log_b - prior - jnp.sum(y * logits - jax.nn.softplus(logits))


def by_score(q: Any, key: Any, x: Any, y: Any) -> Any:
    """The score function with leave-one-out baseline, written out."""
    key_a, key_b = jax.random.split(key)
    a = jax.random.bernoulli(key_a, jax.nn.sigmoid(q["l"]), (DRAWS, COINS)).astype(float)
    log_a, values = jax.vmap(cost, (None, 0, 0, None, None))(q, a, jax.random.normal(key_b, (DRAWS, D)), x, y)
    fixed = jax.lax.stop_gradient(values)
    return jnp.mean(values + (fixed - (jnp.sum(fixed) - fixed) / (DRAWS - 1)) * log_a)


def by_sum(q: Any, key: Any, x: Any, y: Any) -> Any:
    """The sum over all tosses, written out."""
    table = jnp.stack(jnp.meshgrid(*[jnp.arange(2.0)] * COINS, indexing="ij"), -1).reshape(-1, COINS)

    def one(eps: Any) -> Any:
        log_a, values = jax.vmap(cost, (None, 0, None, None, None))(q, table, eps, x, y)
        return jnp.exp(log_a) @ values

    return jnp.mean(jax.vmap(one)(jax.random.normal(key, (DRAWS, D))))


def microseconds(step: Callable[[Any], Any], repeats: int) -> float:
    """Best time of a call, after the first."""
    times = []
    for i in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(step(jax.random.key(i)))
        times.append(time.perf_counter() - began)
    return 1e6 * min(times[1:])


def main(arguments: Sequence[str] = ()) -> int:
    """Run the benchmark and print it as JSON; it takes no arguments."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, D))
    y = (rng.random(ROWS) < 0.5).astype(float)
    target = jn.targets.from_numpyro(model, x, y)
    objective = jn.objectives.NegativeElbo(PerSite(DRAWS))
    rows: dict[str, Any] = {}
    for name, estimator, twin in (
        ("score function", sites.ScoreFunction(), by_score),
        ("enumeration", sites.Enumeration(), by_sum),
    ):
        family = jn.families.program(guide, estimator).family(jax.random.key(0), target)
        trainable, rest = family.partition()

        @jax.jit
        def ours(trainable: Any, key: Any, target: Any, rest: Any = rest) -> Any:
            loss = lambda t: objective.loss(key, eqx.combine(t, rest), target).surrogate  # noqa: E731
            return jax.value_and_grad(loss)(trainable)

        written = jax.jit(jax.value_and_grad(twin))
        parameters = trainable.parameters  # pyright: ignore[reportAttributeAccessIssue]
        repeats = 200 if name == "score function" else 30
        mine = microseconds(lambda key, ours=ours, t=trainable: ours(t, key, target), repeats)
        hand = microseconds(lambda key, w=written, p=parameters: w(p, key, jnp.asarray(x), jnp.asarray(y)), repeats)
        rows[name] = {"ours_us": round(mine), "by_hand_us": round(hand), "ratio": round(mine / hand, 3)}
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

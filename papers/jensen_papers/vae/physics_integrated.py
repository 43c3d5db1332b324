"""P056: physics-integrated variational autoencoders (Takeishi and Kalousis, 2021).

What is claimed: with regularisers that keep networks to what a known law leaves over, the law's parameters mean what
they should, and the model goes on where its data end. Data as the authors': a forced, damped pendulum of which the
model knows y'' = -omega^2 sin y alone; milder forces, fewer rows and times. Truths: omega of each row, the unforced
pendulum, a solver at 1e-12. Baselines, in the same program: no regularisers; no law (y'' a network). Departures from
the authors' code: Bogacki-Shampine steps in place of Euler's, which pump energy into a pendulum; the divergence counts
whole; omega is a softplus of the latent; rows have no network outside, which cannot go on in time. Their baseline
without a law holds dy/dt at zero besides, so that y never moves; ours does not. `--full`: their forces, rows, 50 times,
longer training, and a model with both networks.
"""

import time
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from jensen.algorithms import AmortisedVI
from jensen.targets import Shuffled
from jensen.vae import PhysicsElbo, Trajectory, latent_rows, physics_autoencoder
from jensen_papers.result import Claim, Result
from jensen_papers.vae._training import train_each

PAPER = "Takeishi and Kalousis (2021)"
SLOW, FAST = 0.785, 3.14  # of omega, as the authors draw it
SEEDS, SCALE = 3, float(np.exp(-4.5))
WEIGHTS = {"regularised": (0.01, 0.1, 0.001), "none": (0.0, 0.0, 0.0), "ten times": (0.1, 0.1, 0.001)}
NO_LAW = "no law"


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims, and draw rows beyond their times to `figure` if given; `full` at the paper's size."""
    began = time.perf_counter()
    sizes: dict[str, Any] = dict(rows=300, times=16, step=0.1, force=4.0, hidden=(32,), steps=300, batch=32)
    if full:
        sizes = dict(rows=1000, times=49, step=0.05, force=40.0, hidden=(64, 64), steps=25_000, batch=200)
    train, test = pendulums(0, sizes["rows"], sizes), pendulums(1, 200, sizes, times=2 * sizes["times"])
    with jax.enable_x64(False):
        found = {name: measured(states, test, sizes) for name, states in trained(train, sizes).items()}
    claims = [_generator(sizes), *_claims(found, _least_squares(test, sizes))]
    if full:
        with jax.enable_x64(False):
            claims.append(_both_networks(train, test, sizes))
    if figure is not None:
        _draw(found, test, sizes, figure)
    return Result("P056", "physics-integrated", time.perf_counter() - began, tuple(claims))


def forced(t: float, y: np.ndarray, of: np.ndarray) -> np.ndarray:
    """d/dt of angles and velocities side by side; `of`: omega, damping, force and frequency of each row."""
    angle, velocity = np.split(y, 2)
    omega, damping, force, frequency = of
    pulled = force * np.cos(2 * np.pi * frequency * t) - np.sin(angle)
    return np.concatenate([velocity, omega**2 * pulled - damping * velocity])


def pendulums(seed: int, rows: int, sizes: dict[str, Any], times: int | None = None) -> dict[str, np.ndarray]:
    """`of` (4, rows), `clean` and noisy `seen` angles (rows, 1 + times), the first at time zero."""
    rng = np.random.default_rng(seed)
    lows, highs = (SLOW, 0.0, 0.0, 3.14), (FAST, 0.8, sizes["force"], 6.28)
    of = np.stack([rng.uniform(low, high, rows) for low, high in zip(lows, highs, strict=True)])
    start = rng.uniform(-1.57, 1.57, rows)
    clean = solved(of, start, np.arange(1 + (times or sizes["times"])) * sizes["step"], 1e-9)
    return {"of": of, "clean": clean, "seen": clean + 0.01 * rng.normal(size=clean.shape)}


def solved(of: np.ndarray, start: np.ndarray, times: np.ndarray, tolerance: float) -> np.ndarray:
    """Angles (rows, times) of pendulums at rest at time zero."""
    y = np.concatenate([start, np.zeros_like(start)])
    settings: dict[str, Any] = dict(method="DOP853", t_eval=times, rtol=tolerance, atol=tolerance)
    return solve_ivp(forced, (0.0, times[-1]), y, args=(of,), **settings).y[: len(start)]


def unforced(t: Any, y: Any, theta: Any) -> Any:
    """What the model knows: a pendulum with omega = softplus(theta)."""
    return jnp.stack([y[1], -(jax.nn.softplus(theta[0]) ** 2) * jnp.sin(y[0])])


def at_rest(given: Any) -> Any:
    """From the angle at time zero."""
    return jnp.stack([given[0], jnp.zeros_like(given[0])])


def law(sizes: dict[str, Any], known: bool = True) -> Trajectory:
    """The unforced pendulum at the times of rows; where not `known` omega is e^-30, and y'' is left to networks."""
    ends = np.log(np.expm1([SLOW, FAST])) if known else np.asarray([-30.0, -29.0])
    times = np.arange(1 + sizes["times"]) * sizes["step"]
    low, high, times = (jnp.asarray(a, jnp.float32) for a in (ends[:1], ends[1:], times))
    return Trajectory(low, high, times, unforced, at_rest, solver=diffrax.Bosh3())


def trained(data: dict[str, np.ndarray], sizes: dict[str, Any], **networks: Any) -> dict[str, list[tuple[Any, Any]]]:
    """(model, conditional) of each seed under each set of weights and without the law, all in one program."""
    rows = jnp.asarray(data["seen"], jnp.float32)
    networks = {"driving": 2, "hidden": sizes["hidden"], "scale": SCALE, **networks}
    made = [physics_autoencoder(jax.random.key(i), law(sizes), rows, 1, **networks) for i in range(SEEDS)]
    free = law(sizes, known=False)
    without = [(eqx.tree_at(lambda m: m.decoder.known, model, free), q) for model, q in made]
    weights = {**WEIGHTS, NO_LAW: WEIGHTS["none"]}
    models, conditionals = _stack(made * len(WEIGHTS) + without)
    lanes = len(weights) * SEEDS
    each = [jnp.repeat(jnp.asarray(w, jnp.float32), SEEDS) for w in zip(*weights.values(), strict=True)]

    def algorithm(conditional: Any, need: Any, simulated: Any, unmixed: Any) -> Any:
        make: Any = AmortisedVI
        objective = PhysicsElbo(need, simulated, unmixed)
        return make(conditional, objective, learning_rate=jnp.asarray(3e-3, jnp.float32))

    algorithms = eqx.filter_vmap(algorithm)(conditionals, *each)
    shuffled: Any = Shuffled
    targets = eqx.filter_vmap(lambda model: shuffled(latent_rows(model, rows), sizes["batch"]))(models)
    keys = jnp.tile(jax.random.split(jax.random.key(7), SEEDS), len(weights))
    steps = sizes["steps"]
    states, _ = train_each(keys, algorithms, targets, steps, _nothing, steps, stacked=True, hasty=False)
    moving, still = eqx.partition(states, eqx.is_array)
    states = eqx.combine(jax.device_get((moving.z, moving.conditional)), (still.z, still.conditional))
    out: dict[str, list[tuple[Any, Any]]] = {name: [] for name in weights}
    for i, name in zip(range(lanes), np.repeat(list(weights), SEEDS), strict=True):
        z, conditional = _at(states, i)
        model = made[i % SEEDS][0] if name != NO_LAW else without[i % SEEDS][0]
        out[str(name)].append((latent_rows(model, rows).at(z), conditional))
    return out


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *a: jnp.asarray(np.stack(a)) if eqx.is_array(a[0]) else a[0], *trees)


def _at(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda a: jnp.asarray(a[i]) if isinstance(a, np.ndarray) else a, tree)


def _nothing(state: Any, target: Any) -> Any:
    return jnp.zeros(())


@eqx.filter_jit
def _decoded(model: Any, conditional: Any, rows: Any, times: Any) -> Any:
    """(theta, rows without networks, rows, rows over longer times where there is no network outside) at means of q."""
    longer = model.decoder if model.decoder.outside is not None else model.decoder.over(times)

    def one(row: Any) -> Any:
        z = conditional.given(row).mean
        at, known = model.decoder.given(row[:1]), model.decoder.known
        parts = at.parts(z)
        return known.parameters(z[: known.size])[0], parts.known, parts.whole, longer.given(row[:1])(z)[:, 0]

    return jax.vmap(one)(rows)


def measured(
    states: list[tuple[Any, Any]], test: dict[str, np.ndarray], sizes: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Errors of each seed on test rows: omega (mean absolute), law, reconstruction and what lies beyond (RMSE)."""
    n, omega = sizes["times"], test["of"][0]
    rows = jnp.asarray(test["seen"][:, : n + 1], jnp.float32)
    times = jnp.arange(1 + 2 * n, dtype=jnp.float32) * sizes["step"]
    still = np.zeros_like(omega)
    exact = solved(np.stack([omega, still, still, still]), test["clean"][:, 0], np.asarray(times[: n + 1], float), 1e-9)
    out: dict[str, list[Any]] = {name: [] for name in ("omega", "law", "needed", "seen", "beyond", "rows")}
    for model, conditional in states:
        theta, known, whole, longer = (np.asarray(a, float) for a in _decoded(model, conditional, rows, times))
        out["omega"].append(np.mean(np.abs(np.log1p(np.exp(theta)) - omega)))
        out["law"].append(np.sqrt(np.mean((known - exact[:, 1:]) ** 2)))
        out["needed"].append(0.5 * np.mean(np.sum((whole - known) ** 2, 1)))
        out["seen"].append(np.sqrt(np.mean((whole - test["clean"][:, 1 : n + 1]) ** 2)))
        out["beyond"].append(
            np.sqrt(np.mean((longer[:, n:] - test["clean"][:, n + 1 :]) ** 2)) if longer.shape[1] > n else np.nan
        )
        out["rows"].append(longer)
    return {name: np.asarray(values) for name, values in out.items()}


def _generator(sizes: dict[str, Any]) -> Claim:
    data = pendulums(2, 20, sizes)
    times = np.arange(1 + sizes["times"]) * sizes["step"]
    apart = [
        solved(data["of"][:, i : i + 1], data["clean"][i, :1], times, 1e-12)[0] - data["clean"][i] for i in range(5)
    ]
    worst = float(np.max(np.abs(apart)))
    return Claim(
        "Largest error of the data's angles against each row by itself at a tolerance of 1e-12",
        "The authors' generate.py: solve_ivp of the forced, damped pendulum",
        worst,
        "< 1e-6",
        None,
        worst < 1e-6,
    )


def _least_squares(test: dict[str, np.ndarray], sizes: dict[str, Any]) -> float:
    """Mean error of omega where the law alone is fitted to each row by least squares, over a grid of omega."""
    grid, n = np.linspace(0.3, 4.5, 106), sizes["times"]
    rows = test["seen"][:, : n + 1]
    still = np.zeros(len(grid) * len(rows))
    of = np.stack([np.tile(grid, len(rows)), still, still, still])
    start = np.repeat(rows[:, 0], len(grid))
    made = solved(of, start, np.arange(1 + n) * sizes["step"], 1e-6).reshape(len(rows), len(grid), -1)
    best = np.argmin(np.sum((made - rows[:, None]) ** 2, 2), 1)
    return float(np.mean(np.abs(grid[best] - test["of"][0])))


def _claims(found: dict[str, dict[str, np.ndarray]], least_squares: float) -> list[Claim]:
    ours, plain, strong, free = (found[name] for name in (*WEIGHTS, NO_LAW))
    needed = [float(run["needed"].mean()) for run in (plain, ours, strong)]
    paired = f"{SEEDS} seeds, each with its start"

    def lower(words: str, name: str, other: dict[str, np.ndarray], source: str) -> Claim:
        wins = ours[name] < other[name]
        return Claim(
            f"{words}, {paired}; lower in {wins.sum()} of {SEEDS}",
            source,
            ours[name].mean(),
            "< baseline for all seeds",
            other[name].mean(),
            bool(np.all(wins)),
        )

    return [
        lower("Mean error of omega; baseline: no regularisers", "omega", plain, f"{PAPER}: interpretable z_P"),
        lower(
            "RMSE of the law's part against the unforced pendulum at the true omega; baseline: no regularisers",
            "law",
            plain,
            f"{PAPER}: the physics part is used in a meaningful manner",
        ),
        Claim(
            f"R_need at ten times the weight; at the authors' {needed[1]:.3f}, without regularisers {needed[0]:.3f}",
            f"{PAPER}, R_PPC",
            needed[2],
            "falls with the weight",
            needed[1],
            needed[0] > needed[1] > needed[2],
        ),
        lower(
            "RMSE over as long again beyond the times of the rows; baseline: no law",
            "beyond",
            free,
            f"{PAPER}: extrapolation (theirs is of the advection-diffusion data)",
        ),
        Claim(
            "Mean error of omega, reported; baseline: the law alone, by least squares of each row (it may be better: "
            "the encoder has to learn from rows what least squares is told)",
            "Derived: how much of omega a forced row tells to who does not know the force",
            ours["omega"].mean(),
            "< 3 baseline",
            least_squares,
            bool(ours["omega"].mean() < 3 * least_squares),
        ),
    ]


def _both_networks(train: dict[str, np.ndarray], test: dict[str, np.ndarray], sizes: dict[str, Any]) -> Claim:
    found = {n: measured(s, test, sizes) for n, s in trained(train, sizes, driving=1, outside=2).items()}
    words = ", ".join(f"{name} {run['omega'].mean():.3f} / {run['seen'].mean():.3f}" for name, run in found.items())
    ours, plain = found["regularised"]["omega"].mean(), found["none"]["omega"].mean()
    return Claim(
        f"Mean error of omega with both networks (error of omega / RMSE of reconstruction: {words})",
        f"{PAPER}, the pendulum's table",
        ours,
        "< baseline",
        plain,
        bool(ours < plain),
    )


def _draw(found: dict[str, Any], test: dict[str, np.ndarray], sizes: dict[str, Any], path: Path) -> None:
    """Three rows, what each model makes of them beyond its times, and errors of omega."""
    from matplotlib.figure import Figure

    n, step = sizes["times"], sizes["step"]
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    *places, last = figure.subplots(1, 4)
    times = step * np.arange(1, 2 * n + 1)
    for i, place in enumerate(places):
        place.plot(times, test["clean"][i, 1:], "k", lw=1, label="truth")
        for name in ("regularised", "none", NO_LAW):
            place.plot(times, found[name]["rows"][0][i], lw=1, label=name)
        place.axvline(n * step, color="0.7", lw=0.8)
        place.set(xlabel="time", ylabel="angle" if i == 0 else "")
    places[0].legend(fontsize=6)
    for i, name in enumerate(WEIGHTS):
        last.plot(np.full(SEEDS, i), found[name]["omega"], "o")
    last.set_xticks(range(len(WEIGHTS)), list(WEIGHTS), fontsize=7)
    last.set(ylabel="error of omega", xlim=(-0.5, len(WEIGHTS) - 0.5), ylim=(0, None))
    figure.savefig(path)

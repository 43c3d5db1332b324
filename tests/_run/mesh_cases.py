"""Runs over meshes, in processes of their own: `python -m tests._run.mesh_cases MODE FOLDER ...` prints JSON.

`forced`: eight devices that the CPU is split into; each case without and with a mesh. `pair PORT RANK`: the same cases
in one of two processes, against what `forced` left in the folder. `lost PORT RANK`: process 1 dies on the way, and
`resumed` goes on from the checkpoint of that run.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import monitoring
from jax.sharding import Mesh
from jensen_bench._scaling_things import Thing, counted

import jensen as jn
from jensen._run import driver
from jensen._run.devices import Devices
from jensen._run.work import Work
from jensen.algorithms import NUTS, AmortisedVI, BatchMatch, GradientVI, Restarts, StochasticCVI, TemperedSMC
from jensen.core import InputError, PointPosterior, ProcessLost
from jensen.datasets import generate_rows
from jensen.families import LowRank
from jensen.gp import LatentModel, likelihoods
from jensen.gp.kernels import RBF
from jensen.gp.priors import Inducing
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import NegativeElbo
from jensen.targets import Minibatched, Shuffled, Streamed, from_log_density, from_rows
from jensen.vae._build import build
from jensen.vae.model import latent_rows
from jensen.vae.priors import StandardNormal

ROWS, WIDTH = 203, 8  # an odd number of rows: no number of devices shares it equally


@dataclasses.dataclass
class Case:
    """What is run, and the axes of its mesh for a number of devices."""

    algorithm: Any
    target: Any
    steps: int
    axes: Callable[[int], dict[str, int]]
    start: Any = None
    certify: bool = False
    pair: bool = True


def over(axis: str) -> Callable[[int], dict[str, int]]:
    return lambda n: {axis: n}


@functools.cache
def regression() -> Any:
    """A logistic regression of few rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, WIDTH))
    y = (rng.uniform(size=ROWS) < 1 / (1 + np.exp(-x @ np.linspace(-1, 1, WIDTH)))).astype(float)
    likelihood = lambda b, rows: jax.nn.log_sigmoid((2 * rows[1] - 1) * (rows[0] @ b))  # noqa: E731
    return from_rows(lambda b: -0.5 * jnp.sum(b**2), likelihood, (x, y), jnp.zeros(WIDTH))


def streamed(process: tuple[int, int]) -> Case:
    """All rows in each step, read by parts: in whatever order they come, the run is that of the rows in memory.

    203 rows of one process, of two 103 and 100: no number of devices shares them equally.
    """
    x, y = (np.asarray(a) for a in regression().data)
    likelihood = lambda b, rows: jax.nn.log_sigmoid((2 * rows["y"] - 1) * (rows["x"] @ b))  # noqa: E731
    make = lambda rows: from_rows(lambda b: -0.5 * jnp.sum(b**2), likelihood, rows, jnp.zeros(WIDTH))  # noqa: E731
    source = generate_rows(lambda low, high: {"x": x[low:high], "y": y[low:high]}, ROWS, block=20)
    target = Streamed(make, source, ROWS, process=process)
    return Case(GradientVI(objective=plain(), learning_rate=0.05), target, 30, over("data"), certify=True)


def plain() -> Any:
    return NegativeElbo(Reparameterisation(num_draws=8))


def sparse_gp() -> Any:
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(-3, 3, (61, 1)), 0)
    y = (np.sin(2 * x[:, 0]) + 0.3 * rng.normal(size=61) > 0).astype(float)
    return LatentModel(Inducing(RBF(1.0, 1.0), x, np.linspace(-3, 3, 8)[:, None]), likelihoods.BernoulliLogit(), y)


def autoencoder() -> Case:
    x = np.random.default_rng(2).normal(size=(61, 5))
    likelihood, prior = likelihood_of(x), StandardNormal(2)
    model, conditional = build(jax.random.key(0), x, likelihood, prior, "mean_field", (6,), None, ())
    rows = latent_rows(model, jnp.asarray(x))
    start = PointPosterior(rows.space, rows.theta)
    return Case(AmortisedVI(conditional), Shuffled(rows, 24), 20, over("data"), start)


def likelihood_of(x: np.ndarray) -> Any:
    from jensen.vae._build import chosen_likelihood

    return chosen_likelihood("gaussian", x)


def cases() -> dict[str, Case]:
    rows, plain = regression(), NegativeElbo(Reparameterisation(num_draws=8))
    normal = from_log_density(lambda z: -0.5 * jnp.sum((z - 1) ** 2 / jnp.linspace(0.5, 2, WIDTH)), jnp.zeros(WIDTH))
    both = lambda n: {"data": 2, "draws": n // 2}  # noqa: E731
    return {
        "gradient": Case(GradientVI(objective=plain, learning_rate=0.05), rows, 30, over("data")),
        "minibatches": Case(GradientVI(objective=plain), Minibatched(rows, 40), 30, over("data"), pair=False),
        "full rank": Case(GradientVI(objective=plain), rows, 30, over("parameters"), pair=False),
        "low rank": Case(GradientVI(LowRank(2), plain), normal, 30, over("parameters"), pair=False),
        "restarts": Case(Restarts(GradientVI(objective=plain), 8), normal, 30, over("draws"), pair=False),
        "batch and match": Case(BatchMatch(16), rows, 30, both, certify=True),
        "particles": Case(TemperedSMC(64, num_moves=2, leapfrog_steps=3), normal, 30, over("draws")),
        "chains": Case(NUTS(chains=8, max_doublings=4), normal, 30, over("draws")),
        "sparse process": Case(StochasticCVI(), Shuffled(sparse_gp(), 24), 30, over("data")),
        "autoencoder": autoencoder(),
    }


def run(case: Case, mesh: Any) -> Any:
    keywords = {"steps": case.steps, "start": case.start, "certify": case.certify, "progress": False}
    return jn.run(case.algorithm, case.target, key=jax.random.key(3), mesh=mesh, **keywords)


def fitted(mesh: Any) -> Any:
    return jn.fit(regression(), key=jax.random.key(3), mesh=mesh, progress=False)


def numbers(fit: Any) -> list[np.ndarray]:
    """All that a fit says, as real arrays."""
    found = [*jax.tree.leaves(fit.posterior), fit.history.objective, *fit.history.scalars.values()]
    if fit.certificate is not None:
        found += [np.array([c.value for c in fit.certificate.checks]), np.array(fit.certificate.elbo)]
    return [np.asarray(a, float) for a in found if isinstance(a, jax.Array | np.ndarray) and a.dtype.kind in "fib"]


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Largest difference, relative to the larger of 1 and the array's largest entry; infinite for other shapes."""
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return float("inf")
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        scale = max(1.0, float(np.max(np.abs(np.nan_to_num(b)), initial=0.0)))
        worst = max(worst, float(np.max(np.abs(np.nan_to_num(a) - np.nan_to_num(b)), initial=0.0)) / scale)
    return worst


def on_one_device(fit: Any) -> bool:
    arrays = [a for a in jax.tree.leaves(fit.posterior) if isinstance(a, jax.Array)]
    return all(len(a.sharding.device_set) == 1 and a.is_fully_addressable for a in arrays)


class Compilations:
    """Counts programs that XLA was asked for."""

    def __init__(self):
        self.count = 0
        monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.count += name == "/jax/core/compile/backend_compile_duration"


def forced(folder: Path) -> dict[str, Any]:
    compilations, out, kept = Compilations(), {}, {}
    for name, case in cases().items():
        one = numbers(run(case, None))
        mesh = jn.local_mesh(**case.axes(8))
        fit = run(case, mesh)
        before = compilations.count
        again = run(case, mesh)
        out[name] = {
            "difference": difference(numbers(fit), one),
            "repeats": difference(numbers(again), numbers(fit)) == 0.0,
            "compiled again": compilations.count - before,
            "ordinary": on_one_device(fit),
        }
        kept |= {f"{name}/{i:03}": a for i, a in enumerate(one)}
        if case.certify:
            fit.save(folder / "fit")
            out["saved"] = difference([np.asarray(jn.load(folder / "fit").posterior.q.mean)], [one[0]])
    case = streamed((0, 1))
    kept |= {f"streamed/{i:03}": a for i, a in enumerate(numbers(run(case, None)))}
    case.certify = False  # which is had without a mesh, by passes
    one, fit, before = numbers(run(case, None)), run(case, jn.local_mesh()), compilations.count
    out["streamed"] = {
        "difference": difference(numbers(fit), one),
        "repeats": difference(numbers(run(case, jn.local_mesh())), numbers(fit)) == 0.0,
        "compiled again": compilations.count - before,
        "ordinary": on_one_device(fit),
    }
    whole, fit = fitted(None), fitted("all")
    kept |= {f"fit/{i:03}": a for i, a in enumerate(numbers(whole))}
    out["fit"] = {"difference": difference(numbers(fit), numbers(whole)), "ordinary": on_one_device(fit)}
    out["fit"]["passed"] = fit.certificate.passed
    np.savez(folder / "one_device.npz", **kept)
    return out | {"layout": layout(), "errors": errors(), "sent": sent()}


def sent() -> dict[str, list[tuple[str, int]]]:
    """Kinds and bytes of what a step sends between eight devices, small change left out."""
    found = {}
    for name in ("gradient", "sparse process", "streamed"):
        case = streamed((0, 1)) if name == "streamed" else cases()[name]
        made, _ = counted(Thing(name, case.algorithm, case.target, "data", {}), 8)
        found[name] = [(c.kind, c.bytes * c.rounds) for c in made if c.bytes > 300]
    return found


def layout() -> dict[str, Any]:
    """Bytes on each device of a target's rows, of a full-rank factor, of chains."""
    rows = regression()
    placed = Devices(jn.local_mesh()).target(rows)
    sizes: dict[str, Any] = {"whole": sum(a.nbytes for a in jax.tree.leaves(rows.data))}
    sizes["rows"] = on_each(placed.leaves)
    for name in ("full rank", "chains"):
        case = cases()[name]
        outcome = driver.drive(case.algorithm, case.target, key=jax.random.key(3), steps=2)
        mesh = jn.local_mesh(**case.axes(8))
        state = Devices(mesh).state(outcome.state, case.algorithm, case.target)
        member = state.q.scale_tril if name == "full rank" else state.place.position
        sizes[name] = on_each([member])
        sizes[f"whole {name}"] = member.nbytes
    return sizes


def on_each(leaves: list[jax.Array]) -> list[int]:
    shards = [s for a in leaves for s in a.addressable_shards]
    return [sum(s.data.nbytes for s in shards if s.device == d) for d in jax.devices()]


def errors() -> dict[str, str]:
    """What wrong meshes are answered; none of them compiles anything."""
    all_cases = cases()
    one = np.array(jax.devices())
    tries = {
        "axis": ("gradient", lambda: Mesh(one, ("batch",))),
        "no mesh": ("gradient", lambda: "some"),
        "rows": ("particles", lambda: jn.local_mesh(data=8)),
        "chains": ("chains", lambda: jn.local_mesh(draws=3)),
        "parameters": ("full rank", lambda: jn.local_mesh(parameters=3)),
        "too many": ("gradient", lambda: jn.local_mesh(data=9)),
    }
    found, compilations = {}, Compilations()
    for name, (case, mesh) in tries.items():
        try:
            run(all_cases[case], mesh())
            found[name] = "nothing"
        except InputError as error:
            found[name] = str(error)
    return found | {"compiled": str(compilations.count)}


def join(port: str, rank: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(rank), heartbeat_timeout_seconds=10)


def spanning(axes: dict[str, int]) -> Mesh:
    """One of the two devices of each process, or all four."""
    each = np.array(jax.devices()).reshape(2, 2)
    return Mesh(
        each.reshape(*axes.values()) if axes == {"data": 4} else each[:, 0].reshape(*axes.values()), tuple(axes)
    )


def pair(folder: Path) -> dict[str, Any]:
    saved, out = np.load(folder / "one_device.npz"), {}

    def compare(name: str, fit: Any) -> None:
        theirs = [saved[key] for key in sorted(saved.files) if key.startswith(f"{name}/")]
        out[name] = {"difference": difference(numbers(fit), theirs), "ordinary": on_one_device(fit)}
        out[name]["digest"] = hashlib.sha256(b"".join(a.tobytes() for a in numbers(fit))).hexdigest()

    for name, case in cases().items():
        if case.pair:
            compare(name, run(case, spanning(case.axes(2))))
    case = streamed((jax.process_index(), 2))
    out["rows of a process"] = case.target.step_rows // 2
    compare("streamed", run(case, spanning({"data": 4})))
    fit = fitted(spanning({"data": 2}))
    compare("fit", fit)
    fit.save(folder / f"pair{jax.process_index()}")
    out["resumed"] = interrupted(folder / ("first" if jax.process_index() == 0 else "nowhere"), saved)
    try:
        wrong = dataclasses.replace(cases()["chains"], steps=30 + jax.process_index())
        run(wrong, spanning({"draws": 2}))
    except InputError as error:
        out["other steps"] = str(error)
    return out


def interrupted(place: Path, saved: Any) -> dict[str, Any]:
    """A run of which process 1 alone gets SIGTERM within the second chunk, gone on with from a checkpoint of process 0.

    And a ladder that it gets on its first rung.
    """
    case = cases()["gradient"]
    words = {"steps": 30, "chunk": 10, "certify": False, "checkpoint": place, "mesh": spanning({"data": 2})}
    with told_to_end(10):
        first = jn.run(case.algorithm, case.target, key=jax.random.key(3), **words)
    fit = jn.run(case.algorithm, case.target, key=jax.random.key(3), **words)
    theirs = [saved[key] for key in sorted(saved.files) if key.startswith("gradient/")]
    found = {"steps": [first.runs[0].steps, fit.runs[0].steps], "difference": difference(numbers(fit), theirs)}
    with told_to_end(0):
        ladder = fitted(spanning({"data": 2}))
    found |= {"stop": first.runs[0].stop.name, "rungs": len(ladder.runs), "uncertified": first.certificate is None}
    return found | {"folder": place.exists()}


@contextlib.contextmanager
def told_to_end(step: int) -> Iterator[None]:
    """Process 1 gets SIGTERM as it begins the chunk from a step."""
    chunk = Work.chunk

    def signalled(work: Any, *args: Any) -> None:
        if work.t == step and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        chunk(work, *args)

    Work.chunk = signalled
    try:
        yield
    finally:
        Work.chunk = chunk


def lost(folder: Path) -> dict[str, Any]:
    """A checkpointed run in which process 1 dies after 30 steps; what process 0 meets, how long after a chunk."""
    case, chunk, ended = cases()["gradient"], Work.chunk, [0.0]

    def chunk_or_die(work: Any, *args: Any) -> None:
        if work.t >= 30 and jax.process_index() == 1:
            os._exit(9)
        chunk(work, *args)
        ended.append(time.monotonic())

    Work.chunk = chunk_or_die
    try:
        words = {"mesh": spanning({"data": 2}), "steps": 60, "chunk": 10, "checkpoint": folder / "lost"}
        jn.run(case.algorithm, case.target, key=jax.random.key(3), **words)
    except ProcessLost as error:
        return {"error": str(error), "chunks": len(ended) - 1, "seconds": time.monotonic() - ended[-1]}
    return {"error": "none"}


def resumed(folder: Path) -> dict[str, Any]:
    """The checkpoint that `lost` left, taken up on one device, against a run that nothing disturbed."""
    case = cases()["gradient"]
    words = {"steps": 60, "chunk": 10, "certify": False}
    fit = jn.run(case.algorithm, case.target, key=jax.random.key(3), checkpoint=folder / "lost", **words)
    whole = jn.run(case.algorithm, case.target, key=jax.random.key(3), **words)
    return {"difference": difference(numbers(fit), numbers(whole))}


def main(mode: str, folder: Path, *rest: str) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[2] / ".jax_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if rest:
        join(*rest)
    found = {"forced": forced, "pair": pair, "lost": lost, "resumed": resumed}[mode](folder)
    print(json.dumps(found), flush=True)
    if mode == "lost":
        os._exit(0)  # leaving in order would wait for the process that is no more


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])

"""What does a step send between devices, does the cost model know it, and how much faster are two cores than one?

`jensen bench scaling` prints JSON of three parts:

- `sent`: for each thing that can be shared over a mesh, bytes and collectives of a step over eight devices (forced ones
  of the CPU), read from the compiled program, beside the model's; and how much more arithmetic the eight do than one.
- `work`: CPU seconds of a step over 1, 2, 4 and 8 devices of one process, relative to one: what sharing itself costs.
- `two_processes`: seconds of a step in one process on one core and in two on a core each (gloo), the model's guess
  from an all-reduce that was timed by itself, and the efficiency, time of one / (2 x time of two).
- `predicted`: the model on machines that are not here, from their makers' figures.

`jensen bench scaling sent` (or another part) runs that part alone.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

REPEATS = 40
LARGE = 120_000  # rows of the timed regression: a step takes tens of milliseconds


def sent() -> dict[str, Any]:
    """Counted and predicted bytes of a step over eight devices."""
    from jensen_bench._scaling_things import counted, things

    found = {}
    for thing in things():
        made, flops = counted(thing, 8)
        alone = counted(thing, 1)[1]
        counted_bytes = sum(c.bytes * c.rounds for c in made)
        predicted = 8 * sum(thing.sent.values())
        found[thing.name] = {
            "axis": thing.axis,
            "bytes": counted_bytes,
            "predicted": predicted,
            "ratio": round(counted_bytes / predicted, 3),
            "collectives": sum(c.rounds for c in made),
            "bytes_a_round": sum(c.bytes * c.per_round for c in made),
            "work": round(8 * flops / alone, 2),
            "of": thing.sent,
        }
    return found


def timed(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Least seconds of a call among `REPEATS`: what the machine does when nobody else is on it."""
    import jax

    jax.block_until_ready(call())
    times = []
    for _ in range(REPEATS):
        began = clock()
        jax.block_until_ready(call())
        times.append(clock() - began)
    return min(times)


def work() -> dict[str, Any]:
    """CPU seconds of a step over some devices of this process."""
    import jensen as jn
    from jensen_bench._scaling_things import prepared

    seconds = {}
    for size in (1, 2, 4, 8):
        _, arguments, program = prepared(regression_of_rows(), None if size == 1 else jn.local_mesh(data=size))
        seconds[str(size)] = timed(lambda p=program, a=arguments: p(*a), time.process_time)
    return {size: {"cpu_s": round(s, 5), "relative": round(s / seconds["1"], 3)} for size, s in seconds.items()}


def regression_of_rows() -> Any:
    """The timed thing: all gradients of a large regression."""
    import jensen as jn
    from jensen_bench._scaling_things import DRAWS, Thing, regression

    plain = jn.objectives.NegativeElbo(jn.gradient_estimators.Reparameterisation(num_draws=DRAWS))
    return Thing("rows", jn.algorithms.GradientVI(objective=plain), regression(LARGE), "data", {})


def process(processes: int, rank: int, port: int) -> dict[str, Any]:
    """Seconds of a step, and of the all-reduce in it, in one of some processes with a core each."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    jax.config.update("jax_enable_x64", True)
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, rank)
    from jensen_bench._scaling_things import DRAWS, WIDTH, prepared

    mesh = None if processes == 1 else Mesh(np.array(jax.devices()), ("data",))
    _, arguments, program = prepared(regression_of_rows(), mesh)
    found = {"step_s": timed(lambda: program(*arguments), time.perf_counter)}
    if mesh is not None:
        whole, parts = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("data")))
        ones = np.ones((processes, DRAWS * (WIDTH + 1)))
        x = jax.make_array_from_callback(ones.shape, parts, lambda index: ones[index])
        reduce = jax.jit(lambda x: jnp.sum(x, 0), out_shardings=whole)
        found["all_reduce_s"] = timed(lambda: reduce(x), time.perf_counter)
    return found


def two_processes() -> dict[str, Any]:
    """One process on a core against two on a core each, and what the model expects of the two."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (one,) = _read([_start("process", 1, 1, 0, port)])
    two = _read([_start("process", 1, 2, rank, port) for rank in (0, 1)])
    seconds = max(t["step_s"] for t in two)
    reduce = max(t["all_reduce_s"] for t in two)
    expected = one["step_s"] / 2 + reduce
    return {
        "one_s": round(one["step_s"], 5),
        "two_s": round(seconds, 5),
        "all_reduce_s": round(reduce, 6),
        "expected_two_s": round(expected, 5),
        "efficiency": round(one["step_s"] / (2 * seconds), 3),
        "expected_efficiency": round(one["step_s"] / (2 * expected), 3),
    }


@dataclasses.dataclass(frozen=True)
class Machine:
    """Devices that work together: how many, what one computes and reads a second, what a link carries, its delay."""

    devices: int
    flops: float
    memory: float
    link: float
    latency: float

    def seconds(self, step: "Step", devices: int | None = None) -> float:
        """Of a step: arithmetic or memory, whichever is slower, shared equally; what all do; ring all-reduces."""
        p = self.devices if devices is None else devices
        computed = max(step.flops / self.flops, step.read / self.memory) / p + step.whole / self.flops
        return computed + (0.0 if p == 1 else step.collectives * self.latency + 2 * (p - 1) / p * step.sent / self.link)


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step does: operations that are shared, bytes it reads, bytes sent, collectives, operations that all do."""

    flops: float
    read: float
    sent: float
    collectives: int
    whole: float = 0.0


MACHINES = {  # single precision; an H200 by its maker's data sheet, delays of NCCL as commonly measured
    "8 GPUs (NVLink)": Machine(8, 60e12, 4.8e12, 450e9, 15e-6),
    "64 hosts of 8 GPUs (400 Gb/s a GPU)": Machine(512, 60e12, 4.8e12, 50e9, 60e-6),
}
EXAMPLES = {  # single precision, by the table of docs/scaling.md
    "regression, 10^8 rows of 100, 16 draws": Step(4 * 16 * 1e8 * 100, 2 * 4e10, 4 * 16 * 101, 1),
    "regression, 10^6 rows of 100, 16 draws": Step(4 * 16 * 1e6 * 100, 2 * 4e8, 4 * 16 * 101, 1),
    "sparse process, 1,000 points, 65,536 rows of 10": Step(
        4 * 65536 * 1e6, 4 * 4 * 65536 * 1e3, 4 * (1e6 + 65536 * 15), 5, 3e9
    ),
    "autoencoder, 5 million numbers, 65,536 rows of 784": Step(
        6 * 5e6 * 65536, 8 * 4 * 5e6, 4 * (5e6 + 65536 * 784), 4
    ),
    "SMC, 10^6 particles of 100, 40 gradients of 10^5 rows": Step(4 * 40 * 1e6 * 1e7, 40 * 4e9, 4 * 1e6 * 201, 117),
    "NUTS, 512 chains, 100 leapfrogs of 10^6 rows of 100": Step(4 * 512 * 100 * 1e8, 200 * 4e8, 4 * 300, 204),
}


def predicted() -> dict[str, Any]:
    """Seconds of a step and efficiency on machines that are not here."""
    found: dict[str, Any] = {}
    for name, machine in MACHINES.items():
        for example, step in EXAMPLES.items():
            one, many = machine.seconds(step, 1), machine.seconds(step)
            efficiency = one / (machine.devices * many)
            found.setdefault(example, {})[name] = {"one_s": one, "s": many, "efficiency": round(efficiency, 3)}
    return found


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "sent": sent,
    "work": work,
    "two_processes": two_processes,
    "predicted": predicted,
    "process": process,
}


def _start(part: str, devices: int, *arguments: int) -> subprocess.Popen[str]:
    flags = f"--xla_force_host_platform_device_count={devices} {os.environ.get('XLA_FLAGS', '')}"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jensen_bench.scaling", "--worker", part, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def _read(workers: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    told = [worker.communicate(timeout=900)[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise SystemExit("A worker of the benchmark failed: see its words above")
    return [json.loads(out.splitlines()[-1]) for out in told]


def main(arguments: Sequence[str] = ()) -> int:
    """Run the parts named, all of them where none is, and print them as JSON."""
    if arguments and arguments[0] == "--worker":
        import jax

        part, rest = arguments[1], [int(a) for a in arguments[2:]]
        if part != "process":
            jax.config.update("jax_enable_x64", True)
        print(json.dumps(PARTS[part](*rest)), flush=True)
        return 0
    wanted = arguments or ("sent", "work", "two_processes", "predicted")
    unknown = [part for part in wanted if part not in PARTS or part == "process"]
    if unknown:
        raise SystemExit(f"Unknown part {unknown[0]!r}: sent, work, two_processes, predicted")
    alone = {"two_processes": two_processes, "predicted": predicted}
    found = {part: alone[part]() if part in alone else _read([_start(part, 8)])[0] for part in wanted}
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

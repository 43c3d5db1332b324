"""Where a run computes: on one device, or over those of a mesh, in one process or several."""

import contextlib
import hashlib
import math
import re
import zlib
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jensen._run.spread import Spread, exact, row_count, spread_target, state_specs
from jensen.core import InputError, JensenError, ProcessLost, Streams, gathered
from jensen.core.parallel import AXES, DATA, DRAWS, PARAMETERS

LOST = re.compile("gloo|nccl|peer|connection|heartbeat|coordination|unavailable|deadline|aborted", re.IGNORECASE)


def local_mesh(**sizes: Any) -> Mesh:
    """A mesh of this process's devices: `local_mesh()`, `local_mesh(draws=8)`, `local_mesh(data=4, draws=2)`.

    Axes are `data`, `draws` and `parameters`, see `run`; all devices along `data` where none is named. In several
    processes (`jax.distributed`) make the mesh of `jax.devices()`, so that it spans them all:
    `jax.sharding.Mesh(np.array(jax.devices()), ("data",))`.

    Raises `InputError` for another axis, or if the sizes do not multiply to a number of devices that there are.
    """
    devices = jax.local_devices()
    sizes = sizes or {DATA: len(devices)}
    _check_axes(tuple(sizes))
    asked = ", ".join(f"{axis}={n!r}" for axis, n in sizes.items())
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes.values()):
        raise InputError(f"The sizes of a mesh must be positive whole numbers, got {asked}")
    wanted = math.prod(sizes.values())
    if wanted > len(devices):
        raise InputError(f"A mesh of {asked} wants {wanted} devices, this process has {len(devices)}")
    return Mesh(np.array(devices[:wanted]).reshape(*sizes.values()), tuple(sizes))


class OneDevice:
    """No mesh: everything stays where it is."""

    writes = True
    several = False

    def use(self) -> Any:
        """A context in which programs are traced and run."""
        return contextlib.nullcontext()

    def target(self, target: Any) -> Any:
        """A target as the loop takes it; one whose rows are read stays as it is, and `fed` takes what it feeds."""
        return target

    def beginning(self, target: Any) -> Any:
        """What the first state is made from, as the compiled programs take it."""
        return target.first if isinstance(target, Streams) else target

    def fed(self, target: Any) -> Any:
        """A target with the batches of some steps."""
        return target

    def exact(self, target: Any) -> Any:
        """The exact log density of a target, for certificates."""
        return exact(target)

    def same(self, tree: Any) -> Any:
        """Arrays that every device holds whole."""
        return tree

    def state(self, state: Any, algorithm: Any, target: Any) -> Any:
        """A state where the loop keeps it."""
        return state

    def local(self, tree: Any) -> Any:
        """Ordinary arrays, whole, the same in every process."""
        return tree

    def most(self, value: int) -> int:
        """The largest value that a process has: all wait for one another, and know the same."""
        return value

    def agree(self, *trees: Any) -> None:
        """Refuse arguments that differ between processes."""


class Devices:
    """The devices of a mesh with axes among `data`, `draws` and `parameters`."""

    def __init__(self, mesh: Mesh):
        # the axes of `jax.make_mesh` are explicit ones: shardings would be part of types, in every line of every model
        self.mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))
        members = {device.process_index for device in mesh.devices.flat}
        self.several = len(members) > 1
        self.writes = not self.several or jax.process_index() == 0
        self._targets: dict[int, tuple[Any, Spread]] = {}

    def size(self, axis: str) -> int:
        """Devices along an axis; 1 for one that the mesh has not."""
        return dict(self.mesh.shape).get(axis, 1)

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """The mesh in use; an error that the loss of a process leaves behind is raised as `ProcessLost`."""
        try:
            with jax.set_mesh(self.mesh):
                yield
        except (ValueError, RuntimeError) as error:  # JAX gives either, by platform
            if not self.several or isinstance(error, JensenError) or not LOST.search(str(error)):
                raise
            raise ProcessLost(
                f"Another process of this run has ended or cannot be reached ({str(error).splitlines()[0][:200]}): "
                "start all of them again; with checkpoint= they go on from the last one"
            ) from error

    def target(self, target: Any) -> Any:
        if isinstance(target, Streams):
            return target
        if id(target) not in self._targets:  # kept with its key, so that the id stays its own
            self._targets = {id(target): (target, spread_target(target, self.size(DATA), self._put))}
        return self._targets[id(target)][1]

    def beginning(self, target: Any) -> Any:
        return self.same(target.first) if isinstance(target, Streams) else self.target(target)

    def fed(self, target: Any) -> Any:
        """A target with the batches of some steps: each process has all their rows, or its own part of them.

        Rows that the devices cannot share equally lie whole on each, which computes its part of them all the same.
        """
        size, rows = self.size(DATA), target.weights.shape[1] * target.processes
        spec = PartitionSpec(None, DATA) if size > 1 and rows % size == 0 else PartitionSpec()

        def put(local: Any) -> Any:
            if target.processes > 1:
                return jax.make_array_from_process_local_data(NamedSharding(self.mesh, spec), np.asarray(local))
            return self._put(local, spec)

        shared = jax.tree.map(put, (target.columns, target.weights))
        rest = self.same(eqx.tree_at(lambda f: (f.columns, f.weights), target, (None, None)))
        return eqx.tree_at(lambda f: (f.columns, f.weights), rest, shared, is_leaf=lambda x: x is None)

    def exact(self, target: Any) -> Any:
        if isinstance(target, Streams):  # read by passes of each process over its own rows
            return exact(target)
        # discrete unknowns are gone through by what knows the target's own class
        return exact(target) if target.space.discrete_names else self.target(target)

    def same(self, tree: Any) -> Any:
        return jax.tree.map(lambda a: self._put(a, PartitionSpec()) if eqx.is_array(a) else a, tree)

    def state(self, state: Any, algorithm: Any, target: Any) -> Any:
        arrays, rest = eqx.partition(state, eqx.is_array)
        with jax.set_mesh(self.mesh):
            specs = state_specs(arrays, algorithm, target)
        return eqx.combine(jax.tree.map(self._put, arrays, specs), rest)

    def local(self, tree: Any) -> Any:
        arrays, rest = eqx.partition(tree, lambda a: isinstance(a, jax.Array))
        if self.several:
            with self.use():
                arrays = _gather(arrays)
        return eqx.combine(jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), arrays), rest)

    def most(self, value: int) -> int:
        if not self.several:
            return value
        from jax.experimental.multihost_utils import process_allgather

        with self.use():
            return int(np.max(process_allgather(np.int32(value))))

    def agree(self, *trees: Any) -> None:
        if not self.several:
            return
        from jax.experimental.multihost_utils import process_allgather

        mine = np.frombuffer(_digest(trees), np.uint32)
        with self.use():
            others = np.asarray(process_allgather(mine))
        others = others.reshape(jax.process_count(), -1)
        if np.any(others != others[0]):
            odd = [int(i) for i in np.flatnonzero(np.any(others != others[0], axis=1))]
            raise InputError(
                f"Processes {odd} were given another key, algorithm, target, start or number of steps than process 0: "
                "every process must make the same call"
            )

    def _put(self, leaf: Any, spec: PartitionSpec, length: int | None = None) -> Any:
        """A leaf on the devices, its leading axis filled up to `length` by its last entry."""
        sharding = NamedSharding(self.mesh, spec)
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = self._put(jax.random.key_data(leaf), spec, length)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:  # on several processes already
            return jax.device_put(leaf, sharding)
        host = np.asarray(leaf)
        if length is not None and length != len(host):
            host = np.concatenate([host, np.broadcast_to(host[-1:], (length - len(host), *host.shape[1:]))])
        if self.several:
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
        return jax.device_put(host, sharding)


@jax.jit
def _gather(tree: Any) -> Any:
    return gathered(tree)


def devices_of(mesh: Any, algorithm: Any, target: Any) -> Any:
    """Where to run: `mesh` is a `jax.sharding.Mesh`, "all" or None, or what this function gave (then unchecked).

    Raises `InputError` for a mesh that does not fit the algorithm and the target.
    """
    if mesh is None:
        if isinstance(target, Streams) and target.processes > 1:
            raise InputError(
                f"{target.processes} processes read rows of their own, and a run without a mesh would see some of them "
                'only: pass mesh=jax.sharding.Mesh(np.array(jax.devices()), ("data",)), in each process'
            )
        return OneDevice()
    if isinstance(mesh, Devices | OneDevice):
        return mesh
    inner = exact(target)
    lanes = 0 if algorithm is None else algorithm.lanes
    if isinstance(mesh, str) and mesh == "all":
        size = len(jax.local_devices())
        by_rows = row_count(inner) >= size and not (lanes and lanes % size == 0)
        mesh = local_mesh(**{DATA if by_rows else DRAWS: size})
    if not isinstance(mesh, Mesh):
        raise InputError(
            f'mesh must be a jax.sharding.Mesh, "all" or None, got {mesh!r}: jensen.local_mesh() makes one'
        )
    _check_axes(mesh.axis_names)
    devices = Devices(mesh)
    _check_processes(devices)
    if isinstance(target, Streams) and target.processes > 1:
        _check_shares(devices, target)
    _check_fit(devices, algorithm, inner, lanes)
    return devices


def _check_axes(names: tuple[Any, ...]) -> None:
    unknown = [name for name in names if name not in AXES]
    if unknown:
        known = "; ".join(f"{axis!r} for {what}" for axis, what in AXES.items())
        raise InputError(f"The mesh has an axis {unknown[0]!r}, and axes are {known}: jensen.local_mesh(data=8)")


def _check_processes(devices: Devices) -> None:
    members = {device.process_index for device in devices.mesh.devices.flat}
    if devices.several and len(members) != jax.process_count():
        raise InputError(
            f"The mesh spans {len(members)} of {jax.process_count()} processes: make it of jax.devices(), or of "
            "jax.local_devices() for a run of each process's own"
        )
    if jax.process_index() not in members:
        raise InputError("The mesh holds none of this process's devices: make it of jax.devices()")


def _check_shares(devices: Devices, target: Any) -> None:
    size = devices.size(DATA)
    if not (devices.several and size % jax.process_count() == 0):
        raise InputError("Processes that read rows of their own share them: take a mesh with an axis 'data' over all")
    if target.step_rows % size:  # each process would take its own part for the whole
        raise InputError(
            f"A step has {target.step_rows} rows, which the {size} devices of the axis 'data' cannot share equally: "
            "make the mesh of all devices of each process"
        )


def _check_fit(devices: Devices, algorithm: Any, target: Any, lanes: int) -> None:
    data, draws, parameters = (devices.size(axis) for axis in (DATA, DRAWS, PARAMETERS))
    rows, d = row_count(target), target.space.dimension
    if data > 1 and rows < data:
        have = f"{rows} rows" if rows else "no rows that are known (targets.from_rows, a NumPyro model, a formula)"
        raise InputError(
            f"The mesh shares rows among {data} devices, and the {type(target).__name__} has {have}: use the axis "
            "'draws', jensen.local_mesh(draws=...)"
        )
    if lanes % draws:
        raise InputError(
            f"{type(algorithm).__name__} has {lanes} particles, chains or restarts, which the {draws} devices of the "
            f"axis 'draws' cannot share equally: take a multiple of {draws}, or another mesh"
        )
    if d % parameters:
        raise InputError(
            f"The target has {d} unconstrained coordinates, which the {parameters} devices of the axis 'parameters' "
            "cannot share equally: take a mesh whose size there divides them"
        )


def _digest(trees: Any) -> bytes:
    digest = hashlib.sha256()
    leaves = jax.tree.leaves_with_path(trees)
    for path, leaf in leaves:
        digest.update(jax.tree_util.keystr(path).encode())
        if eqx.is_array(leaf) or isinstance(leaf, np.ndarray):
            key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            leaf = jax.random.key_data(leaf) if key else leaf
            digest.update(f"{leaf.dtype}{leaf.shape}".encode())
            if getattr(leaf, "is_fully_addressable", True):
                digest.update(zlib.crc32(np.ascontiguousarray(leaf).data.cast("B")).to_bytes(4, "little"))
        elif isinstance(leaf, int | float | str | bool):  # not functions, whose words hold addresses
            digest.update(repr(leaf).encode())
    return digest.digest()

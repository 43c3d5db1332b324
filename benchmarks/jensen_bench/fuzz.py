"""Files, tables and formulas from strangers: only documented errors may come out of the readers.

Hypothesis makes the inputs. A reader starts from valid bytes that are cut, overwritten, repeated and spliced, from
plain data whose parts are exchanged under a right checksum, or from tokens of its grammar. An input passes if the
reader gives a result or raises a `JensenError`; anything else is a finding, printed with the smallest input that shows
it.
`jensen bench fuzz --inputs 20000` tries so many inputs a reader; `--only csv,formula` chooses readers.
"""

import argparse
import contextlib
import copy
import functools
import hashlib
import io
import json
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from jensen.core import JensenError

ODD = (0, 1, -1, 2**31, -(2**31), 2**62, 2**64, 10**400, 1e308, -0.5, float("inf"), True, None, "", "nan", "x" * 300)
ODD_JSON = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=8),
    st.integers(),
    st.lists(st.sampled_from(ODD), max_size=4),
    st.dictionaries(st.text(max_size=3), st.sampled_from(ODD), max_size=3),
    st.sampled_from(
        ["__import__('os')", "../../x", "os.system", "$float", {"$float": "nan"}, [[[]]], {"class": "Popen"}]
    ),
)
PLAIN = "y x z c g log poly bs C I p offset T np.log x.values __class__ True None `my x` df ref out degree lambda"
SIGNS = "` ~ + - * / : | ** ( ) [ ] { } , = == < 0 1 2 3.5 1e9 99999999 'a' \" ' ; ^ % \xb2 \u0661 \xe9"
WORDS = (*PLAIN.split(), *SIGNS.split(), "import os", "\n", "\t", " ", "\0", "\u202e", "\ud800")
ATOMS = (
    *(
        "x",
        "z",
        "c",
        "k",
        "`my x`",
        "0",
        "1",
        "log(x)",
        "log(k)",
        "exp(exp(x))",
        "poly(x, 2)",
        "poly(k, 5)",
        "bs(z, df=5)",
    ),
    *("bs(x, 9, degree=2)", "{x ** 2}", "{x ** 400}", "{x / k}", "I(x * z)", "C(k)", "C(c)", "T(c, 'b')", "T(c, 'q')"),
    *(
        "S(c, 'a')",
        "B(c, 'a')",
        "B(k, 2)",
        "offset(z)",
        "offset(log(k))",
        "offset(2)",
        "{c == 'a'}",
        "{x > z}",
        "{k < c}",
    ),
    *(
        "(1|g)",
        "(x|g)",
        "(0 + z|g)",
        "(1|c/g)",
        "(poly(x, 2)|g)",
        "(c|g)",
        "(1|k)",
        "(1|c:g:k)",
        "center(c)",
        "{True + x}",
    ),
    *("sigma", "tanh(x)", "standardize(k)", "abs(z)", "{c + c}", "{1 / 0 + x}", "(x + z)**2", "{x ** z}", "y", "n"),
)
LEFT = (
    "y",
    "log(y)",
    "{y / x}",
    "p(k, n)",
    "p(k, 2)",
    "c['a']",
    "k",
    "c",
    "{y > 1.5}",
    "C(k)",
    "{k / 0}",
    "I(c)",
    "poly(y, 2)",
)
FORMULAS = (
    "y ~ x + z",
    "y ~ x*c + (1 + x | g)",
    "y ~ poly(x, 2) + bs(z, df=4)",
    "p(k, n) ~ T(c, ref='a')",
    "log(z) ~ {x ** 2}",
)


@st.composite
def spoiled(draw: Any, valid: bytes, most: int = 4) -> bytes:
    """`valid` after up to `most` edits of its bytes."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.integers(1, 16))
        match draw(st.sampled_from(("flip", "cut", "write", "insert", "repeat", "end", "number"))):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : at + size]
            case "write":
                data[at : at + size] = draw(st.binary(min_size=size, max_size=size))
            case "insert":
                data[at:at] = draw(st.binary(max_size=size))
            case "repeat":
                data[at:at] = data[at : at + 8 * size]
            case "end":
                del data[at:]
            case "number":
                number = draw(st.sampled_from((0, 1, 2**15, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1)))
                data[at : at + 8] = number.to_bytes(8, draw(st.sampled_from(("little", "big"))))
    return bytes(data)


@st.composite
def exchanged(draw: Any, valid: Any, most: int = 3) -> Any:
    """The plain data `valid` with up to `most` of its parts, at any depth, taken out or exchanged for odd ones."""
    data = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(data))
        if not places:
            break
        owner, name = draw(st.sampled_from(places))
        if name not in owner if isinstance(owner, dict) else name >= len(owner):
            continue
        if draw(st.booleans()):
            owner[name] = copy.deepcopy(draw(ODD_JSON))
        else:
            del owner[name]
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    for name in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, name
        if isinstance(data[name], dict | list):
            yield from _places(data[name])


class Reader:
    """Inputs of one kind, and what is done with one of them in an empty folder."""

    def __init__(self, inputs: st.SearchStrategy[Any], read: Callable[[Any, Path], Any]):
        self.inputs, self.read = inputs, read


def _csv(_: bool) -> Reader:
    from jensen.datasets import read_table

    valid = b"y,x,c\n" + b"".join(f"{i}.5,{i * i},{'ab'[i % 2]}\n".encode() for i in range(12))
    cells = st.sampled_from(
        ("1", "-2.5", "NA", "", '"', '""', "a", "1e999", "nan", "0x1", "é", "\ufeff", "\0", "=1+1", "'")
    )
    rows = st.lists(st.lists(cells, max_size=4).map(",".join), max_size=6).map(lambda rows: "\n".join(rows).encode())

    def read(case: tuple[bytes, str], folder: Path) -> None:
        (folder / f"t{case[1]}").write_bytes(case[0])
        read_table(folder / f"t{case[1]}")

    kinds = st.sampled_from((".csv", ".csv", ".tsv", ".txt", ".parquet", ".npz", ".pkl", ""))
    return Reader(st.tuples(st.one_of(spoiled(valid), rows, st.binary(max_size=40)), kinds), read)


def _parquet(_: bool) -> Reader:
    import polars as pl

    from jensen.datasets import read_table

    frame = pl.DataFrame({"y": [1.5, 2.0, None], "x": [1, 2, 3], "c": ["a", "b", "a"], "t": [True, False, True]})
    valid = []
    for packing in ("uncompressed", "snappy", "zstd", "gzip"):
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression=packing)  # pyright: ignore[reportArgumentType]
        valid.append(buffer.getvalue())

    def read(data: bytes, folder: Path) -> None:
        (folder / "t.parquet").write_bytes(data)
        read_table(folder / "t.parquet")

    return Reader(st.one_of([spoiled(v) for v in valid]), read)


def _npz(_: bool) -> Reader:
    from jensen.core.files import pack_arrays, read_arrays

    arrays = {"X": np.arange(12.0).reshape(4, 3), "names": np.array(["a", "b"]), "mask": np.ones(3, bool)}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # pyright: ignore[reportArgumentType]

    def read(data: bytes, folder: Path) -> None:
        (folder / "a.npz").write_bytes(data)
        read_arrays(folder / "a.npz")

    return Reader(st.one_of(spoiled(pack_arrays(arrays)), spoiled(packed.getvalue()), st.binary(max_size=64)), read)


def _fits(built: bool) -> list[Any]:
    """A fit with each class of posterior, and several families; with those that take a while to build if `built`."""
    import jax
    import jax.numpy as jnp

    import jensen.families as jf
    from jensen.core import (
        Certificate,
        Check,
        DensityPosterior,
        DrawsPosterior,
        Fit,
        History,
        PointPosterior,
        Run,
        Space,
        StopCode,
        Variable,
        WeightedPosterior,
        interval,
        positive,
    )

    space = Space((Variable("mu", (2,)), Variable("sigma", (), positive()), Variable("p", (), interval(0.2, 0.7))))
    d, key = space.dimension, jax.random.key(0)
    base = jf.Gaussian(jnp.zeros(d), jnp.eye(d))
    makers = (jf.HeavyTailed(), jf.Mixture(2), jf.HierarchicalBuilder(size=2, num_auxiliary=1, width=3, depth=1))
    families = [base, jf.LowRankGaussian(jnp.zeros(d), jnp.zeros(d), jnp.zeros((d, 2)))]
    if built:
        families += [maker.build(key, base) for maker in (*makers, jf.Planar(2), jf.FlowBuilder(num_layers=2))]
    z = jnp.ones((6, d))
    posteriors = [DensityPosterior(space, q) for q in families]
    posteriors += [WeightedPosterior(space, z, jnp.zeros(6), base), PointPosterior(space, z[0], z)]
    posteriors += [DrawsPosterior(space, jnp.ones((2, 3, d)), jnp.zeros((2, 3), bool))]
    check = Check("k-hat", 0.3, 0.1, 0.7, True, "far modes", True, "Heavy.", "A flow.", "V. (2024)")
    history = History(np.array([3.0, np.nan]), np.ones(2), {"rate": np.ones(2)})
    certificate = Certificate((check,), khat=0.3, elbo=-1.0)
    run = Run("Laplace", {"rate": 0.1}, history, StopCode.PLATEAU, 1.0, ("note",), "certified", certificate)
    info = {"seed": 3, "model": "y ~ x", "labels": {"mu": [["a", "b"]]}}
    return [Fit(p, certificate, (run,), info, {"y": np.ones((2, 2))}, {"y": np.ones(2)}) for p in posteriors]


def _fit(built: bool) -> Reader:
    from jensen.core.storage import load_fit, save_fit

    saved = []
    with tempfile.TemporaryDirectory() as place:
        for i, fit in enumerate(_fits(built)):
            path = save_fit(fit, Path(place) / str(i))
            saved.append((json.loads((path / "fit.json").read_text()), (path / "arrays.npz").read_bytes()))

    def read(case: tuple[str, bytes], folder: Path) -> None:
        (folder / "fit.json").write_text(case[0], errors="surrogatepass")
        (folder / "arrays.npz").write_bytes(case[1])
        load_fit(folder)

    def one(header: dict[str, Any], data: bytes) -> st.SearchStrategy[Any]:
        def sealed(arrays: bytes) -> tuple[str, bytes]:
            own = header | {"arrays_bytes": len(arrays), "arrays_sha256": hashlib.sha256(arrays).hexdigest()}
            return json.dumps(own), arrays

        text = json.dumps(header)
        return st.one_of(
            exchanged(header).map(lambda h: (json.dumps(h), data)),
            exchanged(header).map(lambda h: (json.dumps(h), data)),
            spoiled(data).map(sealed),
            spoiled(text.encode()).map(lambda t: (t.decode(errors="replace"), data)),
        )

    return Reader(st.one_of([one(*s) for s in saved]), read)


def _checkpoint(_: bool) -> Reader:
    """Every file that a run leaves in its folder, spoiled; the run is begun again over it."""
    import jax
    import jax.numpy as jnp

    import jensen as jn

    target = jn.targets.from_log_density(lambda z: -0.5 * jnp.sum(z["a"] ** 2), {"a": jnp.zeros(2)})
    method = jn.algorithms.GradientVI()

    def again(folder: Path, steps: int = 4) -> Any:
        options: Any = dict(steps=steps, chunk=2, certify=False, progress=False)
        return jn.run(method, target, key=jax.random.key(0), checkpoint=folder, **options)

    with tempfile.TemporaryDirectory() as place:
        again(Path(place))
        files = {p.relative_to(place): p.read_bytes() for p in Path(place).rglob("*") if p.is_file()}

    def read(case: tuple[Path, bytes], folder: Path) -> None:
        for name, data in (files | {case[0]: case[1]}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        again(folder)

    return Reader(
        st.one_of([spoiled(data).map(functools.partial(lambda n, d: (n, d), name)) for name, data in files.items()]),
        read,
    )


def _with_header(saved: Any, load: Callable[[Path], Any]) -> Reader:
    """Of one npz file that holds its header as JSON: `saved.save(path)` writes it, `load(path)` reads it."""
    from jensen.core.files import pack_arrays, read_arrays

    with tempfile.TemporaryDirectory() as place:
        path = saved.save(Path(place) / "v.npz")
        data, arrays = path.read_bytes(), read_arrays(path)
    header = json.loads(arrays["header"].tobytes().decode())

    def sealed(own: Any) -> bytes:
        return pack_arrays({**arrays, "header": np.frombuffer(json.dumps(own).encode(), np.uint8)})

    def read(case: bytes, folder: Path) -> None:
        (folder / "v.npz").write_bytes(case)
        load(folder / "v.npz")

    return Reader(st.one_of(spoiled(data), exchanged(header).map(sealed), exchanged(header).map(sealed)), read)


def _vae(_: bool) -> Reader:
    from jensen.vae import VAE

    rows = np.random.default_rng(0).normal(size=(20, 3))
    return _with_header(VAE(1, hidden=(3,), epochs=1, batch_size=10, random_state=0).fit(rows), VAE.load)


def _amortised(_: bool) -> Reader:
    import jax

    import jensen as jn
    from jensen import amortised

    simulator = jn.targets.from_simulator(
        lambda key: {"mu": jax.random.normal(key)}, lambda key, x: x["mu"] + jax.random.normal(key, (3,))
    )
    network = amortised.neural_posterior(
        jax.random.key(0), simulator, amortised.Vector(4, 1, 2), amortised.SplineFlow(1, 2, 4)
    )
    made = amortised.amortise(simulator, network, key=jax.random.key(1), steps=1, progress=False)
    return _with_header(made, amortised.load)


def _formula(_: bool) -> Reader:
    from jensen.targets import from_formula

    rng, n = np.random.default_rng(0), 24
    table = {
        **{name: rng.uniform(1, 2, n) for name in ("y", "x", "z", "my x", "sigma")},
        **{"c": np.array(["a", "b", "d"])[np.arange(n) % 3], "g": np.array(["u", "v", "w", "q"])[np.arange(n) % 4]},
        **{"k": np.arange(n) % 3, "n": np.full(n, 3)},
    }
    families = st.sampled_from((*("gaussian",) * 6, "poisson", "bernoulli", "binomial", "ordered", "gamma"))
    tokens = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
    right = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(lambda words: "y ~ " + "".join(words))
    edited = st.one_of([spoiled(f.encode()).map(lambda data: data.decode(errors="replace")) for f in FORMULAS])
    numbers = st.one_of(st.sampled_from((*ODD, [1], (2, 3), "1", print)), st.floats())
    names = st.sampled_from(("x", "Intercept", "sigma", "1|g_sigma", "sd(g|x)", "eval", "__class__"))
    kinds = st.sampled_from(("normal", "student_t", "exponential", "os.system", "Normal", 3, None))
    priors = st.dictionaries(names, st.tuples(kinds, numbers, numbers), max_size=2)

    def read(case: tuple[str, str, dict[str, Any], dict[str, Any]], folder: Path) -> None:
        text, family, given_priors, rows = case
        target = from_formula(text, table, family=family, priors=given_priors)
        target.design({name: values[:3] for name, values in rows.items()})

    joined = st.tuples(
        st.sampled_from((*LEFT, *("y",) * len(LEFT))),
        st.lists(
            st.tuples(st.sampled_from((" + ", " + ", ":", "*", " - ", "/")), st.sampled_from(ATOMS)),
            min_size=1,
            max_size=4,
        ),
    ).map(lambda parts: f"{parts[0]} ~ {''.join(op + atom for op, atom in parts[1]).lstrip('+:*-/ ')}")
    texts = st.one_of(joined, joined, tokens, right, edited, edited, st.text(max_size=30))
    columns = st.sampled_from(
        [table["x"], -table["x"], 1e307 * table["x"], table["c"], table["k"], table["g"], np.full(3, np.nan)]
    )
    exchanges = st.dictionaries(st.sampled_from(sorted(table)), columns, max_size=2).map(lambda new: table | new)
    exchanges = st.one_of(st.just(table), exchanges)
    return Reader(st.tuples(texts, families, st.one_of(st.just({}), st.just({}), priors), exchanges), read)


SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
MANY = 1000  # inputs from which the costlier kinds of a reader's inputs are made too
READERS: dict[str, Callable[[bool], Reader]] = {
    "csv": _csv,
    "parquet": _parquet,
    "npz": _npz,
    "fit": _fit,
    "vae": _vae,
    "amortised": _amortised,
    "checkpoint": _checkpoint,
    "formula": _formula,
}


def fuzz(name: str, inputs: int, number: int = 0) -> dict[str, Any]:
    """Try `inputs` inputs on the reader `name`: how many were read and how many refused, or the first finding.

    The same `number` gives the same inputs. A finding is raised as it came, after Hypothesis has made it small.
    """
    counts = {"read": 0, "refused": 0}
    reader = READERS[name](inputs >= MANY)
    phases = (Phase.generate, Phase.shrink)

    @seed(number)
    @settings(max_examples=inputs, deadline=None, database=None, phases=phases, suppress_health_check=SLOW)
    @given(case=reader.inputs)
    def attempt(case: Any) -> None:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reader.read(case, Path(folder))
                counts["read"] += 1
            except JensenError:
                counts["refused"] += 1

    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        attempt()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"reader": name, **counts, "cpu_seconds": time.process_time() - began, "peak_mib": peak}


def main(arguments: Sequence[str]) -> int:
    """Fuzz every reader, print a line each. Exit code 1 where anything but a documented error came out."""
    parser = argparse.ArgumentParser(prog="jensen bench fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="a reader")
    parser.add_argument("--only", default=",".join(READERS), help="readers, divided by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(list(arguments))
    unknown = set(options.only.split(",")) - set(READERS)
    if unknown:
        parser.error(f"unknown readers {', '.join(sorted(unknown))}: they are {', '.join(READERS)}")
    failed = 0
    for name in options.only.split(","):
        try:
            row = fuzz(name, options.inputs, options.seed)
        except Exception as error:
            failed += 1
            row = {
                "reader": name,
                "finding": f"{type(error).__name__}: {error}",
                "notes": getattr(error, "__notes__", []),
            }
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            print(
                "  ".join(
                    f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                ),
                flush=True,
            )
    return 1 if failed else 0

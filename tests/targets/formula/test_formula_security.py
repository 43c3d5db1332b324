"""A formula, the names in a table and priors are untrusted text: nothing in them runs, writes, or grows at will."""

import sys
import tracemalloc

import numpy as np
import pytest

from jensen._cli.models import parse_priors
from jensen.core import InputError, UnknownName
from jensen.targets import from_formula
from jensen.targets._formula._guard import MAX_COLUMNS, check_tree
from jensen.targets._formula._syntax import parse
from jensen.targets._formula._tokens import FormulaError

N = 24
RNG = np.random.default_rng(0)
BASE = {
    "y": RNG.normal(size=N),
    "x": RNG.uniform(1, 2, N),
    "z": RNG.uniform(1, 2, N),
    "c": np.array(["a", "b", "d"])[np.arange(N) % 3],
}
CODE = "__import__('os').system('touch owned')"
MARKS = (
    "owned",
    "import os;",
    "x.values",
    "lambda: 0",
    "{IFS}",
    "x.__class__",
)  # of code that stands in names and formulas


ACTIONS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.remove")
SEEN: list[str] | None = None


def watch(event, args):
    """Python's own audit events: each compilation of text (by eval, exec, compile; not of a file that is imported)
    and each call of the system."""
    if SEEN is not None and (
        event in ACTIONS
        or (event == "compile" and str(args[1]).startswith("<") and any(mark in str(args[0]) for mark in MARKS))
    ):
        SEEN.append(f"{event}{args}")


sys.addaudithook(watch)  # it cannot be taken off: outside of a trap it does nothing


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A folder in which nothing may appear, while no text with a mark is compiled and nothing of the system called."""
    global SEEN
    monkeypatch.chdir(tmp_path)
    SEEN = []
    yield SEEN
    seen, SEEN = SEEN, None
    assert seen == []
    assert list(tmp_path.iterdir()) == []


def test_the_trap_springs(trap):
    eval("'owned'")
    assert len(trap) == 1
    trap.clear()


@pytest.mark.parametrize(
    "text",
    [
        f"y ~ {CODE}",
        f"y ~ {{{CODE}}}",
        f"y ~ I({CODE})",
        "y ~ eval('1')",
        "y ~ exec('import os')",
        "y ~ open('owned', 'w')",
        "y ~ getattr(x, 'values')",
        "y ~ print(x)",
        "y ~ os.system('touch owned')",
        "y ~ np.log(x)",
        "y ~ x.__class__.__mro__",
        "y ~ x.values",
        "y ~ {x.values.tofile('owned')}",
        "y ~ log.__self__(x)",
        "y ~ `x`.values",
        "y ~ (lambda: x)()",
        "y ~ lambda x: x",
        "y ~ {[a for a in x]}",
        "y ~ x[0]",
        "y ~ {x[0]}",
        "y ~ {'{0.__class__}'.format(x)}",
        "y ~ f'{x}'",
        "y ~ {x if x else z}",
        "y ~ {x := z}",
        "y ~ {x; z}",
        "y ~ x\\n__import__",
        "y ~ log(x)(z)",
        "y ~ C(c)(x)",
        "y ~ center()(x)",
        "y ~ Treatment(c)",
        "y ~ CategoricalBox(c)",
        "y ~ bs.__init__.__globals__",
        "y ~ N",
        "y ~ CODE",
        "y ~ np",
        "y ~ (1|os.environ)",
        "y ~ (1|`os.environ`)",
        "y ~ C(c, Treatment)",
        "y ~ C(c, Sum)",
        f"{CODE} ~ x",
        "eval(y) ~ x",
        "y[CODE()] ~ x",
        "y ~ log(x, out=z)",
        "y ~ log(x, z)",
        "y ~ exp(x, where=z)",
        "y ~ log(x, dtype='O')",
        "y ~ poly(x, z)",
        "y ~ bs(x, knots=z)",
        "y ~ T(c, ref=x)",
    ],
)
def test_code_in_a_formula_is_one_error_with_its_place(trap, text):
    with pytest.raises(InputError) as caught:
        from_formula(text, BASE, family="bernoulli" if text.startswith("y[") else "gaussian")
    assert isinstance(caught.value, UnknownName) or str(caught.value).endswith("^")


def test_functions_of_formulas_do_not_write_into_columns():
    before = {name: column.copy() for name, column in BASE.items()}
    for text in ("y ~ log(x, out=z) + z", "y ~ log(x, z) + z"):
        with pytest.raises(FormulaError, match="log takes one argument"):
            from_formula(text, BASE)
    for name, column in BASE.items():
        np.testing.assert_array_equal(column, before[name])


@pytest.mark.parametrize(
    "name", [CODE.replace("__", ""), "import os; os.remove('x')", "x.values", "lambda: 0", "${IFS}"]
)
def test_names_of_columns_are_only_names(trap, name):
    target = from_formula(f"y ~ `{name}`", BASE | {name: BASE["x"]})
    assert name in target.space.names
    plain = from_formula("y ~ x", BASE)
    np.testing.assert_array_equal(target.fitted_design.common, plain.fitted_design.common)


def test_levels_that_are_code_are_only_levels(trap):
    levels = np.array([CODE, "{x.__class__}", "a"])[np.arange(N) % 3]
    target = from_formula("y ~ x + (1|g)", BASE | {"g": levels})
    assert set(target.labels["1|g"][0]) == {CODE, "{x.__class__}", "a"}


@pytest.mark.parametrize(
    "prior",
    [
        {"x": (CODE, 0, 1)},
        {"x": ("normal", CODE, 1)},
        {"x": CODE},
        {"x": "normal(0, 1)"},
        {CODE: ("normal", 0, 1)},
        {"x": ("os.system", 0, 1)},
        {"x": ("__class__", 0, 1)},
        {"x": ("Normal", 0, 1)},
        {"x": ("expand", 0, 1)},
        {"x": ("normal", np.array([print], object), 1)},
    ],
)
def test_priors_are_names_and_numbers(trap, prior):
    with pytest.raises(InputError):
        from_formula("y ~ x", BASE, priors=prior)


@pytest.mark.parametrize("text", [f"x={CODE}", "x=normal(0, 1).sample()", "x=normal(*[0, 1])", f"x=normal({CODE}, 1)"])
def test_priors_of_the_command_are_read_as_text(trap, text):
    with pytest.raises(InputError, match="--prior"):
        parse_priors([text])


@pytest.mark.parametrize("text", ["y ~ np.log(x)", "y ~ x.values", "y ~ eval(x)", "y ~ {q + x}", "y ~ (1|q)"])
def test_the_second_wall_holds_without_the_first(text):
    """Were the grammar to let a text through that `formulae` reads otherwise, its tree would still be refused."""
    import pandas as pd
    from formulae.model_description import model_description

    with pytest.raises(InputError, match="neither a column nor a function"):
        check_tree(model_description(text), parse("y ~ x"), pd.DataFrame(BASE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y ~ {c * 999999999}", "is text, and cannot enter"),
        ("y ~ {c + c}", "is text, and cannot enter"),
        ("y ~ I(x + {c})", "expected a column or a number"),
        ("log(c * 999999999) ~ x", "is text, and cannot enter"),
    ],
)
def test_text_is_not_multiplied(text, message):
    with pytest.raises(InputError, match=message):
        from_formula(text, BASE)


def test_designs_of_more_columns_than_can_be_made_are_refused_before():
    n = 2_000
    words = np.array([str(i) for i in range(n)])
    frame = {"y": np.arange(n) * 1.0, "a": words, "b": words[::-1].copy(), "x": np.arange(n) % 7 * 1.0}
    from_formula("y ~ x", frame)  # what is imported on first use is not measured
    tracemalloc.start()
    for text in ("y ~ a:b", "y ~ a*b*x", "y ~ C(a):C(b)", "y ~ x + (a:b|b)"):
        with pytest.raises(InputError, match=f"at most {MAX_COLUMNS:,} columns"):
            from_formula(text, frame)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    with pytest.raises(InputError, match="more combinations of levels than can be numbered"):
        from_formula("y ~ x + (1|a:b:c:d:e:f)", frame | dict.fromkeys("cdef", words))


@pytest.mark.parametrize(("fitted", "new"), [("x", ["1"]), ("c", [1.0])])
def test_new_rows_are_of_the_kind_that_was_fitted(fitted, new):
    target = from_formula(f"y ~ {fitted}", BASE)
    with pytest.raises(InputError, match=f"Column '{fitted}' holds"):
        target.design({fitted: new})

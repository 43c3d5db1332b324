"""The grammar: what is read, what is refused, and where the caret stands."""

import pytest

from jensen.core import InputError
from jensen.targets._formula._syntax import Response, parse
from jensen.targets._formula._tokens import FormulaError


@pytest.mark.parametrize(
    ("text", "columns", "categorical"),
    [
        ("y ~ x", ("y", "x"), ()),
        ("y ~ x*c + (1 + x|g)", ("y", "x", "c", "g"), ("g",)),
        ("y ~ -1 + log(x) + {z ** 2} + {(z > 3)}", ("y", "x", "z"), ()),
        ("log(y) ~ poly(x, 2) + bs(z, df=4) + offset(log(e))", ("y", "x", "z", "e"), ()),
        ("y ~ C(k) + T(c, ref='a') + (0 + z | g:h) + (1|a/b)", tuple("ykczghab"), tuple("kcghab")),
        ("`my y` ~ (a + b + c)**2 - a:b", ("my y", "a", "b", "c"), ()),
        ("y ~ Sepal.Length + x1_b", ("y", "Sepal.Length", "x1_b"), ()),
        ("y ~ bs(x, lower_bound=-2, df=5)", ("y", "x"), ()),
    ],
)
def test_columns_that_a_formula_names(text, columns, categorical):
    formula = parse(text)
    assert formula.columns() == columns
    assert tuple(c for c in columns if formula.is_categorical(c)) == categorical


def test_responses():
    assert parse("p(k, n) ~ x").response == Response("k", trials="n")
    assert parse("prop(k, 12) ~ x").response == Response("k", trials=12)
    assert parse("y['yes'] ~ x").response == Response("y", level="yes")
    assert parse("{y / 2} ~ x").response == Response("{y / 2}")


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("y ~ x +", 7, "expected a term after '\\+'"),
        ("y ~ x z", 6, "expected an operator such as '\\+' before 'z'"),
        ("y ~ x ~ z", 6, "one '~'"),
        ("y x", 3, "needs '~'"),
        ("~ x", 0, "expected the response"),
        ("y + z ~ x", 2, "expected '~' after the response"),
        ("y ~", 3, "expected a term after '~'"),
        ("y ~ (x", 6, "expected '\\)' to close"),
        ("y ~ x)", 5, "has no place here"),
        ("y ~ x^2", 5, "powers '{x \\*\\* 2}'"),
        ("y ~ 1|g", 5, "stand in parentheses"),
        ("y ~ (|g)", 5, "write '1' for a group intercept"),
        ("y ~ (1|(x|g))", 7, "grouping column"),
        ("y ~ (1|log(g))", 7, "always categorical"),
        ("y ~ 2*x", 4, "only 0 and 1"),
        ("y ~ x[1]", 5, "only in the response"),
        ("y ~ 1e-3", 5, "digits and one point"),
        ("y ~ `a", 4, "backquote is not closed"),
        ("y ~ 'a", 4, "text is not closed"),
        ("y ~ x == 2", 6, "comparison stands in braces"),
        ("y ~ lag(x)", 4, "Unknown function 'lag'"),
        ("y ~ I()", 6, "needs an argument"),
        ("y ~ p(x, z)", 4, "only as the response"),
        ("y ~ log(offset(x))", 8, "not stand inside"),
    ],
)
def test_errors_show_the_place(text, position, problem):
    with pytest.raises(FormulaError, match=problem) as caught:
        parse(text)
    assert str(caught.value).splitlines()[-1] == " " * (position + 2) + "^"


@pytest.mark.parametrize(
    "text",
    [
        "y ~ np.log(x)",
        "y ~ center.__init__(x)",
        "y ~ `__class__`",
        "y ~ {x.__class__}",
        "y ~ {__import__('os')}",
        "y ~ eval('1')",
        "y ~ log(x)(x)",
        "y ~ {9**9**9**9}",
        "y ~ {x + 99**99}",
        "y ~ {(99 + 1)**99}",
        "y ~ {'a' * 999999999}",
        "y ~ {x + 'a' * 9}",
        "y ~ poly(x, 100000000)",
        "y ~ bs(x, df=1000 * 100000)",
        "y ~ a*b*c*d*e*f*g*h*i*j*k*l",
        "y ~ (a+b+c+d+e+f+g+h+i+j+k+l)**9",
        "y ~ " + "(" * 5000,
        "y ~ " + "(" * 100 + "x" + ")" * 100,
        "y ~ " + "{" + "-" * 10 + "x**2}",
    ],
)
def test_nothing_runs_as_python_or_without_bound(text):
    with pytest.raises(InputError):
        parse(text)


def test_a_formula_is_text():
    with pytest.raises(InputError, match="is text"):
        parse(3)

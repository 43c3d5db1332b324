"""Tokens of a formula, with their positions."""

import re
from dataclasses import dataclass

from jensen.core import InputError

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))
      | (?P<name>[^\W\d_][\w.]*)
      | (?P<quoted>`[^`]+`)
      | (?P<string>"[^"']*"|'[^"']*')
      | (?P<op>\*\*|==|!=|<=|>=|[-~+*/:|(){}\[\],=<>])""",
    re.VERBOSE,
)


class FormulaError(InputError):
    """A formula that cannot be read; the message shows the place."""

    def __init__(self, text: str, position: int, problem: str):
        super().__init__(f"Formula error: {problem}\n  {text}\n  {' ' * position}^")


@dataclass(frozen=True)
class Token:
    """A piece of a formula: `name`, `number`, `quoted`, `string`, `op` or `end`."""

    kind: str
    text: str
    position: int


def tokenise(text: str) -> list[Token]:
    """The tokens of `text`, the last of kind `end`. Raises `FormulaError` at what is none."""
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FormulaError(text, at, _unreadable(text[at]))
        kind = match.lastgroup or ""
        if kind == "number" and re.match(r"[\w.]", text[match.end() :]):
            raise FormulaError(text, match.end(), "a number is written with digits and one point, as 0.001")
        if kind == "name" and not text[at].isalpha():
            raise FormulaError(text, at, f"a column whose name begins with {text[at]!r} is written in backquotes")
        if "__" in match.group() and kind in ("name", "quoted"):
            raise FormulaError(text, at, "names with '__' are not read: rename the column")
        if kind != "space":
            tokens.append(Token(kind, match.group(), at))
        at = match.end()
    return [*tokens, Token("end", "", len(text))]


def _unreadable(char: str) -> str:
    known = {
        "^": "interactions up to order n are written '(a + b) ** n', powers '{x ** 2}'",
        "%": "'%' is not an operator of formulas",
        "_": "a column whose name begins with '_' is written in backquotes",
        "`": "a backquote is not closed",
        "'": "a text is not closed",
        '"': "a text is not closed",
    }
    return known.get(char, f"{char!r} cannot stand in a formula; other names are written in backquotes")

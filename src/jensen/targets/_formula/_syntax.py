"""The grammar of formulas, checked before anything is evaluated: a formula is untrusted text.

`formulae` stops reading at the first token that it cannot place and ignores the rest in silence. Here the whole text
must be read, and every name must be a column.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from jensen.core import InputError, UnknownName
from jensen.targets._formula._arithmetic import LITERALS, PROPORTIONS, Reader, Use
from jensen.targets._formula._tokens import Token, tokenise

MAX_LENGTH = 5_000
MAX_TERMS = 1_000


@dataclass(frozen=True)
class Response:
    """The left side: a column, one level of a column, successes of trials, or an expression."""

    name: str
    level: str | None = None
    trials: str | int | None = None


@dataclass(frozen=True)
class Formula:
    """A formula that has passed the checks."""

    text: str
    response: Response
    left: tuple[Use, ...]
    right: tuple[Use, ...]

    def columns(self) -> tuple[str, ...]:
        """The columns that the formula names, in the order of first use."""
        return tuple(dict.fromkeys(use.column for use in (*self.left, *self.right)))

    def is_categorical(self, column: str) -> bool:
        """Whether the values of `column` are anywhere only told apart."""
        return any(use.categorical for use in (*self.left, *self.right) if use.column == column)

    def check_columns(self, known: tuple[str, ...], uses: tuple[Use, ...]) -> None:
        """Raise `UnknownName` for a use of a column that is not `known`."""
        for use in uses:
            if use.column not in known:
                raise UnknownName("column", use.column, known)


def parse(text: Any) -> Formula:
    """Read `text`, a formula `response ~ terms`. Raises `FormulaError`, with a caret at the place."""
    if not isinstance(text, str):
        raise InputError(f"A formula is text such as 'y ~ x + (1|g)', got {type(text).__name__}")
    text = re.sub(r"\s", " ", text).rstrip()
    if len(text) > MAX_LENGTH:
        raise InputError(f"The formula has {len(text)} characters: at most {MAX_LENGTH} are read")
    return _Parser(text, tokenise(text)).formula()


class _Parser(Reader):
    """The algebra of terms; its methods return into how many terms an expression expands."""

    def formula(self) -> Formula:
        if not any(t.text == "~" and t.kind == "op" for t in self.tokens):
            raise self.error(
                "a formula needs '~' between the response and its predictors, as in 'y ~ x'", self.tokens[-1]
            )
        response = self.response()
        left, self.uses = tuple(self.uses), []
        if self.accept("~") is None:
            raise self.error("expected '~' after the response")
        if self.token.kind == "end":
            raise self.error("expected a term after '~' (write '1' for the intercept alone)")
        self.sum(in_group=False)
        if self.token.kind != "end":
            raise self.error(self.leftover())
        return Formula(self.text, response, left, tuple(self.uses))

    def leftover(self) -> str:
        token = self.token
        if token.text == "|":
            return "group effects stand in parentheses, as in '(1|g)'"
        if token.text in ("==", "!=", "<", "<=", ">", ">="):
            return "a comparison stands in braces, as in '{x > 0}'"
        if token.text == "~":
            return "a formula has one '~'"
        if token.kind in ("name", "number", "quoted", "string"):
            return f"expected an operator such as '+' before {token.text!r}"
        return f"{token.text!r} has no place here"

    def response(self) -> Response:
        token = self.token
        following = self.tokens[self.at + 1].text
        if token.kind == "name" and token.text in PROPORTIONS and following == "(":
            return self.proportion()
        if token.kind == "name" and following == "[":
            self.at += 2
            level = self.token
            if level.kind not in ("string", "name"):
                raise self.error(f"expected a level, as in {token.text}['yes']")
            self.at += 1
            self.expect("]", self.tokens[self.at - 2])
            self.use(token, categorical=True)
            return Response(token.text, level.text.strip("'\""))
        if token.kind in ("name", "quoted") and following != "(":
            self.no_literal(token)
            self.at += 1
            return Response(self.use(token, categorical=False))
        if token.kind == "name" or token.text == "{":
            start = token.position
            self.factor(in_group=False)
            return Response(self.text[start : self.token.position].strip())
        raise self.error("expected the response, the name of a column, before '~'")

    def proportion(self) -> Response:
        opened = self.tokens[self.at + 1]
        self.at += 2
        successes = self.token
        if successes.kind not in ("name", "quoted"):
            raise self.error("expected the column of successes, as in 'p(successes, trials) ~ x'")
        self.at += 1
        name = self.use(successes, categorical=False)
        if self.accept(",") is None:
            raise self.error("expected ',' and the trials, as in 'p(successes, trials) ~ x'")
        token = self.token
        if token.kind == "number" and token.text.isdigit():
            trials: str | int = int(token.text)
        elif token.kind in ("name", "quoted"):
            trials = self.use(token, categorical=False)
        else:
            raise self.error("expected the trials: a column or a whole number")
        self.at += 1
        self.expect(")", opened)
        return Response(name, trials=trials)

    def sum(self, in_group: bool) -> int:
        count = self.product(in_group)
        while operator := self.accept("+", "-"):
            self.operand(operator)
            count += self.product(in_group)
        return self.limited(count)

    def product(self, in_group: bool) -> int:
        count = self.interaction(in_group)
        while operator := self.accept("*", "/"):
            self.operand(operator)
            other = self.interaction(in_group)
            count = self.limited(count + other + count * other)
        return count

    def interaction(self, in_group: bool) -> int:
        count = self.power(in_group)
        while operator := self.accept(":"):
            self.operand(operator)
            count = self.limited(count * self.power(in_group))
        return count

    def power(self, in_group: bool) -> int:
        count = self.signed(in_group)
        if operator := self.accept("**"):
            order = self.token
            if order.kind != "number" or not order.text.isdigit() or int(order.text) < 1:
                raise self.error("the order of interaction after '**' is a whole number; a power is written '{x ** 2}'")
            self.at += 1
            if self.accept("**"):
                raise self.error("'**' cannot follow '**'", operator)
            count = self.limited(sum(math.comb(count, i) for i in range(1, min(int(order.text), count) + 1)))
        return count

    def signed(self, in_group: bool) -> int:
        sign = self.accept("-", "+")
        if sign and self.token.kind != "number":
            raise self.error("a sign may stand only before 0 and 1; write arithmetic in braces, as in '{-x}'", sign)
        return self.factor(in_group)

    def operand(self, operator: Token) -> None:
        ends = self.token.kind == "end" or self.token.text in (")", "}", "]", ",", "|", "~", "*", "/", ":", "**")
        if ends:
            raise self.error(f"expected a term after {operator.text!r}")

    def limited(self, count: int) -> int:
        if count > MAX_TERMS:
            raise self.error(f"the formula expands into more than {MAX_TERMS} terms")
        return count

    def factor(self, in_group: bool) -> int:
        token = self.token
        following = self.tokens[self.at + 1] if token.kind != "end" else token
        if token.kind == "number":
            if token.text not in ("0", "1"):
                raise self.error("only 0 and 1 (no intercept, intercept) stand alone; arithmetic is written {2 * x}")
            self.at += 1
            return 1
        if token.kind == "name" and following.text == "(":
            return self.call(top=True)
        if token.kind in ("name", "quoted"):
            self.no_literal(token)
            self.at += 1
            if self.token.text == "[":
                raise self.error("a level in brackets may stand only in the response")
            self.use(token, categorical=False)
            return 1
        if self.accept("{"):
            self.deeper()
            first = len(self.uses)
            self.comparison()
            if len(self.uses) == first:
                raise self.error("a term names a column", token)
            self.expect("}", token)
            self.depth -= 1
            return 1
        if self.accept("("):
            return self.bracket(token, in_group)
        if token.kind == "end" or token.kind == "op":
            raise self.error("expected a term" + (f", found {token.text!r}" if token.text else ""))
        raise self.error(f"{token.text} cannot be a term")

    def no_literal(self, token: Token) -> None:
        if token.text in LITERALS:
            raise self.error(f"{token.text} is a value, not a column: write a column of that name in backquotes", token)

    def bracket(self, opened: Token, in_group: bool) -> int:
        self.deeper()
        if self.token.text in (")", "|"):
            raise self.error(
                "expected a term" + (" before '|' (write '1' for a group intercept)" * (self.token.text == "|"))
            )
        count = self.sum(in_group)
        if bar := self.accept("|"):
            if in_group:
                raise self.error("group effects cannot stand inside group effects", bar)
            self.operand(bar)
            count = self.limited(2 * count * self.grouping())
        self.expect(")", opened)
        self.depth -= 1
        return count

    def grouping(self) -> int:
        """The right side of '|': columns joined by ':', '/', '+', '*'."""
        count = 0
        while True:
            token = self.token
            if token.kind not in ("name", "quoted"):
                raise self.error("expected the name of a grouping column after '|'")
            self.at += 1
            if self.token.text == "(":
                raise self.error("a grouping is a column, always categorical: write '(1|g)' without a function", token)
            self.use(token, categorical=True)
            count = 2 * count + 1
            if not (operator := self.accept(":", "/", "+", "*")):
                return count
            self.operand(operator)

"""Reading of function calls and arithmetic, the parts of a formula that are evaluated on columns.

`formulae` resolves a call such as `np.log(x)` by walking attributes of Python objects; here a function must stand in
`FUNCTIONS`, and whatever could take unbounded time or memory (powers of whole numbers, text times a number, a basis of
a million columns) is refused.
"""

from dataclasses import dataclass, field

from jensen.core import UnknownName
from jensen.targets._formula._tokens import FormulaError, Token

NUMERIC_FUNCTIONS = ("log", "log10", "log2", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tanh")
STATEFUL_FUNCTIONS = ("center", "scale", "standardize", "poly", "bs")
CATEGORICAL_FUNCTIONS = ("C", "T", "S", "B", "binary")
PROPORTIONS = ("p", "prop", "proportion")
FUNCTIONS = (*NUMERIC_FUNCTIONS, *STATEFUL_FUNCTIONS, *CATEGORICAL_FUNCTIONS, *PROPORTIONS, "I", "offset")
LITERALS = ("True", "False", "None")

# What may follow the column, in order. Every other parameter is refused: `out=` of NumPy's functions would write into
# a column of the table, `where=` would leave memory as it was found.
SETTINGS = {
    "poly": ("degree", "raw"),
    "bs": ("df", "degree", "lower_bound", "upper_bound", "center"),
    "T": ("ref",),
    "S": ("omit",),
    "B": ("success",),
    "binary": ("success",),
}

MAX_DEPTH = 30
MAX_SETTING = 1_000  # of a spline or polynomial, whose columns it may count


@dataclass(frozen=True)
class Use:
    """A column where the formula names it; `categorical` where its values are only told apart."""

    column: str
    position: int
    categorical: bool


@dataclass
class Reader:
    """A place in the tokens of a formula and the columns used so far; reads calls and arithmetic by descent."""

    text: str
    tokens: list[Token]
    at: int = 0
    depth: int = 0
    uses: list[Use] = field(default_factory=list)

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def accept(self, *texts: str) -> Token | None:
        token = self.token
        if token.kind == "op" and token.text in texts:
            self.at += 1
            return token
        return None

    def expect(self, text: str, opened: Token) -> None:
        if self.accept(text) is None:
            found = f", found {self.token.text!r}" if self.token.text else ""
            raise self.error(f"expected {text!r} to close {opened.text!r} at character {opened.position + 1}{found}")

    def error(self, problem: str, token: Token | None = None) -> FormulaError:
        return FormulaError(self.text, (token or self.token).position, problem)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} brackets inside each other")

    def call(self, top: bool) -> int:
        token = self.token
        self.check_function(token, top)
        opened = self.tokens[self.at + 1]
        self.at += 2
        self.deeper()
        first = len(self.uses)
        if self.token.text == ")":
            raise self.error(f"{token.text}() needs an argument, a column")
        if self.token.kind == "name" and self.tokens[self.at + 1].text == "=":
            raise self.error(f"the first argument of {token.text} is a column, without a name")
        self.comparison()
        if len(self.uses) == first and token.text != "offset":
            raise self.error(f"{token.text}() needs a column", opened)
        self.settings(token)
        self.expect(")", opened)
        self.depth -= 1
        if token.text in CATEGORICAL_FUNCTIONS:
            self.uses[first:] = [Use(u.column, u.position, True) for u in self.uses[first:]]
        return 1

    def settings(self, function: Token) -> None:
        known, given, named = SETTINGS.get(function.text, ()), set(), False
        # formulae 0.6 takes knots second and intercept fifth: only the first setting of bs has a place of its own.
        places = known[:1] if function.text == "bs" else known
        while comma := self.accept(","):
            token = self.token
            if token.kind == "name" and self.tokens[self.at + 1].text == "=":
                name, named = token.text, True
                self.at += 2
            else:
                if named:
                    raise self.error("a setting without a name stands before those with one")
                name = places[len(given)] if len(given) < len(places) else ""
            if name not in known or name in given:
                words = f"takes a column and {', '.join(known)}" if known else "takes one argument, a column"
                twice = f", and {name} is given twice" if name in given else ""
                raise self.error(f"{function.text} {words}{twice}", token if name else comma)
            given.add(name)
            self.setting(function)

    def setting(self, function: Token) -> None:
        """A number, a text or True, False, None: never a column, whose values would be taken for settings."""
        start = self.token
        while self.accept("-", "+"):
            pass
        value = self.token
        numeric = function.text in ("poly", "bs")
        literal = value.kind == "name" and value.text in LITERALS and value is start
        text = value.kind == "string" and value is start and not numeric
        if not (value.kind == "number" or literal or text) or self.tokens[self.at + 1].text not in (",", ")"):
            raise self.error(f"settings of {function.text} are plain numbers" + " or text" * (not numeric), start)
        if numeric and value.kind == "number" and float(value.text) > MAX_SETTING:
            raise self.error(f"settings of {function.text} are at most {MAX_SETTING}", value)
        self.at += 1

    def check_function(self, token: Token, top: bool) -> None:
        if "." in token.text:
            short = token.text.rsplit(".", 1)[-1]
            hint = f": write {short}(...)" if short in FUNCTIONS else ""
            raise self.error(f"functions of modules and objects are not called{hint}")
        if token.text in PROPORTIONS:
            raise self.error(f"{token.text}(successes, trials) may stand only as the response")
        if token.text == "offset" and not top:
            raise self.error("offset(...) may not stand inside another function")
        if token.text not in FUNCTIONS:
            unknown = UnknownName("function", token.text, FUNCTIONS)
            raise self.error(f"{unknown} Functions: {', '.join(FUNCTIONS)}")

    def comparison(self) -> None:
        self.arithmetic()
        if self.accept("==", "!=", "<", "<=", ">", ">="):
            self.arithmetic()

    def arithmetic(self) -> None:
        self.operand_of_arithmetic()
        while operator := self.accept("+", "-", "*", "/"):
            self.check_value_after(operator)
            self.operand_of_arithmetic()

    def operand_of_arithmetic(self) -> None:
        first, start = len(self.uses), self.token
        self.atom()
        if start.kind == "string" and self.token.text in ("+", "-", "*", "/", "**"):
            raise self.error("a text cannot enter arithmetic", start)
        if operator := self.accept("**"):
            # A power of whole numbers alone is computed exactly, without any limit on its size.
            if len(self.uses) == first:
                raise self.error("only a column is raised to a power: write the number itself", start)
            if start.text in ("+", "-"):
                raise self.error("a sign before a power is ambiguous: write -(x ** 2) or (-x) ** 2", start)
            self.check_value_after(operator)
            self.atom()
            if self.token.text == "**":
                raise self.error("a power of a power needs parentheses")

    def check_value_after(self, operator: Token) -> None:
        if self.token.kind in ("end", "string") or self.token.text in (")", "}", ","):
            raise self.error(f"expected a value after {operator.text!r}")

    def atom(self) -> None:
        while self.accept("-", "+"):
            pass
        token = self.token
        if token.kind == "name" and self.tokens[self.at + 1].text == "(":
            self.call(top=False)
        elif token.kind == "name" and token.text in LITERALS:
            self.at += 1
        elif token.kind in ("name", "quoted"):
            self.at += 1
            self.use(token, categorical=False)
        elif token.kind in ("number", "string"):
            self.at += 1
        elif self.accept("("):
            self.deeper()
            self.comparison()
            self.expect(")", token)
            self.depth -= 1
        else:
            raise self.error("expected a column or a number" + (f", found {token.text!r}" if token.text else ""))

    def use(self, token: Token, categorical: bool) -> str:
        column = token.text.strip("`")
        self.uses.append(Use(column, token.position, categorical))
        return column

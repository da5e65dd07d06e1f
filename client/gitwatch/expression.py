"""`--where EXPR`, `--print EXPR`: a small language with Python's syntax, evaluated over the names of a report.

Owns nothing. Runs: one process a command, main thread; imported only when an expression is given.
Invariant: nothing can be reached but the names that the caller offers, the fields of maps, the functions and the string
methods listed here: there is no general attribute access, so nothing to escape by.
Invariant: it ends. An expression is at most `LONGEST` characters, a value at most `_LARGEST` characters or bits, and
`deadline` ends whatever takes longer, a regular expression included: `re` holds the GIL, but looks for signals as it
matches (measured with Python 3.11 to 3.13), so an alarm whose handler raises gets through in the main thread.
What is not known is None. A field of None is None, and an order between None and anything is false, so that one
repository without facts does not end a query over five hundred.
Python's own compiler makes the tree (`_ast` costs nothing to import); a library for this costs 15 ms.
"""

from __future__ import annotations

import _ast as tree
import signal
import warnings

from gitwatchd.errors import UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Names(Protocol):
        def __getitem__(self, name: str, /) -> Any: ...

    Evaluate = Callable[[Names], Any]

LONGEST = 4000
LIMIT_S = 5.0
"""For all repositories together. 500 take 5 ms."""
_LARGEST = 100_000
_ELSEWHERE = {"=": "==", "&": "and", "|": "or", "!": "not"}


class Expression:
    """`names`: those it mentions. Raises UserError where the text is none, or says what cannot be evaluated.

    `command`: whose --help-where explains the names.
    """

    __slots__ = ("_command", "_evaluate", "names", "option", "text")

    def __init__(self, text: str, option: str, known: frozenset[str], *, command: str = "status") -> None:
        self.text = text
        self.option = option
        self._command = command
        self.names: set[str] = set()
        if len(text) > LONGEST:
            raise UserError(f"{option}: the expression has {len(text)} characters; {LONGEST} are the most")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # `"\\d"` is what people write, and what they mean
                parsed: Any = compile(text.strip(), "expression", "eval", tree.PyCF_ONLY_AST)
            self._evaluate = _Builder(self, known).build(parsed.body)
        except SyntaxError as why:
            raise self.error(why.msg + _meant(text.strip(), why.offset)) from None
        except (RecursionError, MemoryError):
            raise self.error("it is nested too deep") from None
        except ValueError as why:  # a NUL, an integer of thousands of digits
            raise self.error(str(why)) from None

    def __call__(self, names: Names) -> Any:
        """Its value for these names. Raises UserError; TimeIsUp inside `deadline`."""
        try:
            return self._evaluate(names)
        except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as why:
            raise self.error(f"{why or type(why).__name__} (at {names['path']})") from None

    def text_for(self, names: Names) -> str:
        """Its value as it is printed: what is not known is empty."""
        value = self(names)
        try:
            return _text(value)
        except ValueError as why:
            raise self.error(str(why)) from None

    def error(self, why: str) -> UserError:
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return UserError(f"{self.option} {text!r}: {why}", f"see `gitwatch {self._command} --help-where`")


class TimeIsUp(Exception):
    pass


def deadline(seconds: float, expressions: str) -> _Deadline:
    """A context in which expressions may be evaluated for so long; then it raises UserError."""
    return _Deadline(seconds, expressions)


class _Deadline:
    __slots__ = ("_expressions", "_seconds")

    def __init__(self, seconds: float, expressions: str) -> None:
        self._seconds = seconds
        self._expressions = expressions

    def __enter__(self) -> None:
        def end(_number: int, _frame: object) -> None:
            raise TimeIsUp

        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if kind is TimeIsUp:
            raise UserError(
                f"{self._expressions} was not evaluated within {self._seconds:.2g} s",
                "a regular expression that repeats a repetition, as (a+)+ does, can take for ever",
            ) from None


# ---- from the syntax tree to functions of the names


class _Builder:
    def __init__(self, expression: Expression, known: frozenset[str]) -> None:
        self._expression = expression
        self._known = known

    def build(self, node: Any) -> Evaluate:
        builder: Callable[[Any], Evaluate] | None = getattr(self, "_" + type(node).__name__.lower(), None)
        if builder is None:
            raise self._refused(node)
        return builder(node)

    def _refused(self, node: Any, what: str = "") -> UserError:
        text = (self._expression.text.strip().splitlines() or [""])[node.lineno - 1]
        part = text.encode()[node.col_offset : node.end_col_offset].decode(errors="replace")[:40]
        return self._expression.error(what or f"{part!r} is more than an expression can do here")

    def _constant(self, node: Any) -> Evaluate:
        value = node.value
        if not isinstance(value, str | int | float | bool | None):
            raise self._refused(node)
        return lambda _: value

    def _name(self, node: Any) -> Evaluate:
        name = node.id
        if name in _CONSTANTS:
            value = _CONSTANTS[name]
            return lambda _: value
        if name not in self._known:
            raise self._refused(node, f"there is no name {name!r}{_nearest(name, self._known)}")
        self._expression.names.add(name)
        return lambda names: names[name]

    def _attribute(self, node: Any) -> Evaluate:
        value, field = self.build(node.value), node.attr
        if field in _METHODS:
            raise self._refused(node, f"{field} is a method: write {field}(…)")

        def read(names: Names) -> Any:
            of = value(names)
            if of is None:
                return None
            if not isinstance(of, dict) or field not in of:
                raise LookupError(f"nothing has a field {field!r} here")
            return of[field]

        return read

    def _call(self, node: Any) -> Evaluate:
        if node.keywords or any(isinstance(argument, tree.Starred) for argument in node.args):
            raise self._refused(node)
        arguments = [self.build(argument) for argument in node.args]
        if isinstance(node.func, tree.Name):
            function = _FUNCTIONS.get(node.func.id)
            if function is None:
                raise self._refused(
                    node.func, f"there is no function {node.func.id!r}{_nearest(node.func.id, _FUNCTIONS)}"
                )
            return lambda names: _bounded(function(*[argument(names) for argument in arguments]))
        if not isinstance(node.func, tree.Attribute):
            raise self._refused(node)
        method = _METHODS.get(node.func.attr)
        if method is None:
            raise self._refused(node.func, f"there is no method {node.func.attr!r}{_nearest(node.func.attr, _METHODS)}")
        of = self.build(node.func.value)

        def call(names: Names) -> Any:
            value = of(names)
            if value is None:
                return False if node.func.attr in _ASKING else None
            if not isinstance(value, str):
                raise TypeError(f"{node.func.attr}() is for strings, not for {_kind(value)}")
            return _bounded(method(value, *[argument(names) for argument in arguments]))

        return call

    def _boolop(self, node: Any) -> Evaluate:
        values = [self.build(value) for value in node.values]
        stop = isinstance(node.op, tree.Or)

        def evaluate(names: Names) -> Any:
            result = None
            for value in values:
                result = value(names)
                if bool(result) is stop:
                    break
            return result

        return evaluate

    def _unaryop(self, node: Any) -> Evaluate:
        value = self.build(node.operand)
        if isinstance(node.op, tree.Not):
            return lambda names: not value(names)
        sign = {tree.USub: -1, tree.UAdd: 1}.get(type(node.op))
        if sign is None:
            raise self._refused(node)
        return lambda names: _number(value(names)) * sign

    def _binop(self, node: Any) -> Evaluate:
        operate = _OPERATORS.get(type(node.op))
        if operate is None:
            raise self._refused(node)
        left, right = self.build(node.left), self.build(node.right)
        return lambda names: _bounded(operate(left(names), right(names)))

    def _compare(self, node: Any) -> Evaluate:
        first = self.build(node.left)
        rest = [(_COMPARISONS[type(o)], self.build(c)) for o, c in zip(node.ops, node.comparators, strict=True)]

        def evaluate(names: Names) -> bool:
            left = first(names)
            for compare, value in rest:
                right = value(names)
                if not compare(left, right):
                    return False
                left = right
            return True

        return evaluate

    def _ifexp(self, node: Any) -> Evaluate:
        test, yes, no = self.build(node.test), self.build(node.body), self.build(node.orelse)
        return lambda names: yes(names) if test(names) else no(names)

    def _tuple(self, node: Any) -> Evaluate:
        elements = [self.build(element) for element in node.elts]
        return lambda names: tuple(element(names) for element in elements)

    _list = _set = _tuple

    def _subscript(self, node: Any) -> Evaluate:
        of, index = self.build(node.value), self.build(node.slice)

        def read(names: Names) -> Any:
            value = of(names)
            return None if value is None else value[index(names)]

        return read

    def _slice(self, node: Any) -> Evaluate:
        parts = [None if part is None else self.build(part) for part in (node.lower, node.upper, node.step)]
        return lambda names: slice(*[None if part is None else part(names) for part in parts])

    def _joinedstr(self, node: Any) -> Evaluate:
        parts = [self.build(part) for part in node.values]
        return lambda names: _bounded("".join([_text(part(names)) for part in parts]))

    def _formattedvalue(self, node: Any) -> Evaluate:
        value = self.build(node.value)
        if node.conversion not in (-1, ord("s")):
            raise self._refused(node)
        spec = ""
        if node.format_spec is not None:
            constants = node.format_spec.values
            if not all(isinstance(part, tree.Constant) for part in constants):
                raise self._refused(node)
            spec = "".join(part.value for part in constants)
            if any(len(digits) > 3 for digits in "".join(c if c.isdigit() else " " for c in spec).split()):
                raise self._refused(node, "a width has three digits at most")
        return lambda names: format(_text(found) if (found := value(names)) is None else found, spec)


_CONSTANTS = {"true": True, "false": False, "null": None}
"""JSON's words beside Python's own."""


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _kind(value: Any) -> str:
    return {dict: "a map", bool: "a truth value", str: "a string"}.get(type(value), f"a {type(value).__name__}")


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"{_kind(value) if value is not None else 'null'} is no number")
    return value


def _bounded(value: Any) -> Any:
    size = value.bit_length() if type(value) is int else len(value) if isinstance(value, str | tuple | list) else 0
    if size > _LARGEST:
        raise ValueError("a value grows too large")
    return value


def _meant(text: str, offset: int | None) -> str:
    """What stands for the sign of another language that Python stumbled over there."""
    word = _ELSEWHERE.get(text[offset - 1 : offset] if offset else "")
    return f"; did you mean {word!r}?" if word else ""


def _nearest(name: str, choices: Any) -> str:
    import difflib

    near = difflib.get_close_matches(name, choices, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


# ---- operators, each of which looks at the size of what it would make before it makes it


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    return _number(left) + _number(right)


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(right, str):
        left, right = right, left
    if isinstance(left, str):
        if not isinstance(right, int) or len(left) * right > _LARGEST:
            raise ValueError("a value grows too large")
        return left * right
    return _number(left) * _number(right)


def _power(left: Any, right: Any) -> Any:
    left, right = _number(left), _number(right)
    if type(left) is int and type(right) is int and left.bit_length() * abs(right) > _LARGEST:
        raise ValueError("a value grows too large")
    result = left**right
    return _number(result)  # the root of a negative number is none


_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    tree.Add: _add,
    tree.Sub: lambda left, right: _number(left) - _number(right),
    tree.Mult: _multiply,
    tree.Div: lambda left, right: _number(left) / _number(right),
    tree.FloorDiv: lambda left, right: _number(left) // _number(right),
    tree.Mod: lambda left, right: _number(left) % _number(right),
    tree.Pow: _power,
}


def _contains(left: Any, right: Any) -> bool:
    if right is None or (left is None and isinstance(right, str)):
        return False
    return left in right


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: left is not None and right is not None and compare(left, right)


_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    tree.Eq: lambda left, right: bool(left == right),
    tree.NotEq: lambda left, right: bool(left != right),
    tree.Lt: _ordered(lambda left, right: bool(left < right)),
    tree.LtE: _ordered(lambda left, right: bool(left <= right)),
    tree.Gt: _ordered(lambda left, right: bool(left > right)),
    tree.GtE: _ordered(lambda left, right: bool(left >= right)),
    tree.In: _contains,
    tree.NotIn: lambda left, right: not _contains(left, right),
    tree.Is: lambda left, right: left is right,
    tree.IsNot: lambda left, right: left is not right,
}


# ---- functions and methods


def _search(text: Any, pattern: Any, *, ignore_case: bool) -> bool:
    if text is None:
        return False
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise TypeError("rx() is for strings")
    import re  # kept compiled by `re` itself

    try:
        return re.search(pattern, text, re.IGNORECASE if ignore_case else 0) is not None
    except (re.error, OverflowError) as why:
        raise ValueError(f"{pattern!r:.60} is no regular expression: {why}") from None


def _rx(text: Any, pattern: Any) -> bool:
    return _search(text, pattern, ignore_case=False)


def _rxi(text: Any, pattern: Any) -> bool:
    return _search(text, pattern, ignore_case=True)


def _replace(text: str, old: Any, new: Any) -> str:
    if (text.count(old) + 1) * len(new) > _LARGEST:
        raise ValueError("a value grows too large")
    return text.replace(old, new)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "rx": _rx, "rxi": _rxi, "len": lambda value: 0 if value is None else len(value),
    "str": lambda value: _text(value), "int": lambda value: int(value), "float": lambda value: float(value),
    "abs": lambda value: abs(_number(value)), "min": min, "max": max, "round": lambda *given: round(*given),
}  # fmt: skip

_METHODS: dict[str, Callable[..., Any]] = {
    "rx": _rx, "rxi": _rxi, "replace": _replace,
    **{
        name: getattr(str, name)
        for name in (
            "startswith", "endswith", "lower", "upper", "casefold", "capitalize", "title", "swapcase",
            "strip", "lstrip", "rstrip", "removeprefix", "removesuffix", "split", "rsplit", "splitlines", "partition",
            "rpartition", "find", "rfind", "count", "isdigit", "isdecimal", "isalpha", "isalnum", "islower", "isupper",
            "isspace", "isascii",
        )
    },
}  # fmt: skip

_ASKING = frozenset({"rx", "rxi", "startswith", "endswith", *(name for name in _METHODS if name.startswith("is"))})
"""Methods whose answer is yes or no: of what is not known it is no."""

"""Read a program's text into operations, one call a line; nothing is ever evaluated.

The usual forms are recognised by regular expressions; every other line goes to Python's `ast`, after its length, its
brackets and its numbers were found to be within bounds, and only literals are taken from the tree. A line that cannot
be read is an error of that line alone.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import NoReturn

from prox_spark.program import operations as ops
from prox_spark.program.dialects import Dialect, Parameter, Signature, get_dialect

MAX_PROGRAM_CHARS = 16 * 1024 * 1024
MAX_CALL_CHARS = 64 * 1024
# Bounds of a call without the contents of its strings. The longest call of any dialect needs 60 characters.
MAX_OUTLINE_CHARS = 512
MAX_BRACKETS = 8
MAX_DIGITS = 18

_NUMBER = r"(0|[1-9][0-9]{0,8})"
_PLAIN_STRING = r'"([^"\\\x00-\x1f\x7f\ud800-\udfff]*)"'
PLAIN_RANGE = re.compile(rf"remove_lines\(line_start={_NUMBER}, line_end={_NUMBER}\)")
_PLAIN_NORMALIZE = re.compile(rf"normalize\(source_str={_PLAIN_STRING}(?:, target_str={_PLAIN_STRING})?\)")
_PLAIN_CALLS: dict[str, dict[str, ops.Operation]] = {
    "prox": {
        "keep_chunk()": ops.KeepChunk(),
        "remove_lines(all=True)": ops.RemoveAll(),
        "keep_doc()": ops.KeepDoc(),
        "drop_doc()": ops.DropDoc(),
    },
    "refinex": {"keep_all()": ops.KeepChunk()},
    "ultrax": {"keep_all()": ops.KeepChunk(), "remove_all()": ops.RemoveAll()},
}

# A string, or one without an end, which takes the rest: so each character is looked at twice at most.
_STRING = re.compile(r"""("[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')|["'].*""", re.DOTALL)
_PREFIX = re.compile(r'(?<![A-Za-z0-9_])(?![rRuU]")[A-Za-z0-9_]+"')
_MANY_DIGITS = re.compile(rf"(?<![A-Za-z_0-9])[0-9][0-9A-Za-z_]{{{MAX_DIGITS},}}")
_OPENING = re.compile(r"[(\[{]")
_CLOSING = re.compile(r"[)\]}]")
# What Python's tokenizer may warn about: unknown escapes, and a number followed by a letter.
_MAY_WARN = re.compile(r"\\|[0-9][A-Za-z]")


class _Refused(Exception):
    """A line that is not a call of the dialect; `column` counts the line's characters from 1."""

    def __init__(self, code: str, message: str, column: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.column = column


def parse_program(source: str, dialect: str = "prox") -> ops.Program:
    """Read a program. Never raises because of the source.

    Args:
        source: program text, one call a line; blank lines and blanks around calls do not matter.
        dialect: `prox`, `refinex` or `ultrax`.

    Returns:
        The operations that could be read, an error for every line that could not, and whether the text was cut off
        within its last call (`truncated`) or repeats a call (`looped`; each call counts once).

    Raises:
        ConfigError: the dialect is unknown.
    """
    spec = get_dialect(dialect)
    if len(source) > MAX_PROGRAM_CHARS:
        message = f"the program has {len(source)} characters, more than {MAX_PROGRAM_CHARS}"
        return ops.Program((), (ops.ProgramError("too_long", message, 1, 1, source),), dialect)
    plain = _PLAIN_CALLS[dialect]
    found: dict[ops.Operation, int] = {}
    errors: list[ops.ProgramError] = []
    seen: set[str] = set()
    truncated = looped = False
    written = source.split("\n")
    for number, raw in enumerate(written, 1):
        call = raw.strip()
        if not call:
            continue
        if call in seen:
            looped = True
            continue
        seen.add(call)
        operation = plain.get(call) or (_read_plain(call) if dialect == "prox" else None)
        if operation is None:
            try:
                operation = _read_call(call, spec)
            except _Refused as refused:
                if number == len(written) and _is_incomplete(call, spec):
                    truncated = True
                    continue
                column = refused.column + len(raw) - len(raw.lstrip())
                errors.append(ops.ProgramError(refused.code, refused.message, number, column, call))
                continue
        if operation in found:
            looped = True
        else:
            found[operation] = number
    return ops.Program(tuple(found), tuple(errors), dialect, truncated, looped, tuple(found.values()))


def _read_plain(call: str) -> ops.Operation | None:
    """Read the canonical forms without `ast`; None where only `ast` can tell."""
    if len(call) > MAX_CALL_CHARS:
        return None
    if match := PLAIN_RANGE.fullmatch(call):
        return ops.RemoveLines(int(match[1]), int(match[2]))
    if match := _PLAIN_NORMALIZE.fullmatch(call):
        return ops.Normalize(match[1], match[2] or "")
    return None


def _read_call(call: str, dialect: Dialect) -> ops.Operation:
    if len(call) > MAX_CALL_CHARS:
        raise _Refused("too_long", f"the call has {len(call)} characters, more than {MAX_CALL_CHARS}")
    _check_outline(call)
    node = _parse_expression(call)
    if not isinstance(node, ast.Call):
        raise _Refused("not_a_call", "the line is not a call")
    name = node.func.id if isinstance(node.func, ast.Name) else None
    signatures = dialect.calls.get(name) if name is not None else None
    if name is None or signatures is None:
        raise _Refused("unknown_operation", f"the dialect {dialect.name} has no such operation")
    given = {keyword.arg for keyword in node.keywords}
    signature = signatures[0]
    for other in signatures[1:]:
        if any(given.intersection(parameter.names) for parameter in other.parameters):
            signature = other
    try:
        return signature.build(*_bind(node, name, signature, dialect))
    except _Refused as refused:
        # `ast` counts bytes.
        refused.column = len(call.encode()[: refused.column - 1].decode(errors="ignore")) + 1
        raise


def _check_outline(call: str) -> None:
    """Refuse what would make `ast` work long or deep, before it sees the call."""
    # It ends a line for Python, and a comment, which the outline knows nothing of.
    if "\r" in call:
        raise _Refused("syntax", "a carriage return within a call")
    outline, is_open = _outline(call)
    if is_open:
        raise _Refused("syntax", "a string has no end")
    if len(outline) > MAX_OUTLINE_CHARS:
        raise _Refused("too_long", f"the call has more than {MAX_OUTLINE_CHARS} characters outside of its strings")
    if len(_OPENING.findall(outline)) > MAX_BRACKETS:
        raise _Refused("too_deep", f"the call has more than {MAX_BRACKETS} brackets")
    if _MANY_DIGITS.search(outline):
        raise _Refused("too_many_digits", f"a number has more than {MAX_DIGITS} digits")
    if _PREFIX.search(outline):
        raise _Refused("not_a_literal", "only plain strings are read")
    if not outline.isascii() or "\x00" in outline:
        raise _Refused("syntax", "a character outside of strings is not ASCII")
    # A string in three quotes would let `ast` see other strings than the outline does.
    if '"""' in outline:
        raise _Refused("syntax", "strings must stand apart and in one pair of quotes")


def _outline(call: str) -> tuple[str, bool]:
    """Return a call with its strings emptied, and whether the last string has no end."""
    outline = _STRING.sub(lambda match: '""' if match[1] else '"', call)
    return outline, outline.count('"') % 2 == 1


def _parse_expression(call: str) -> ast.expr:
    try:
        if _MAY_WARN.search(call):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(call, mode="eval").body
        return ast.parse(call, mode="eval").body
    except SyntaxError as error:
        raise _Refused("syntax", f"not one Python call: {error.msg}", error.offset or 1) from None
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise _Refused("syntax", f"not readable as Python: {type(error).__name__}") from None


def _bind(node: ast.Call, name: str, signature: Signature, dialect: Dialect) -> list[object]:
    """Match the arguments to the parameters; columns of errors are `ast`'s, in bytes, plus one."""
    parameters = signature.parameters
    places = {alias: place for place, parameter in enumerate(parameters) for alias in parameter.names}
    values: list[object] = [None] * len(parameters)
    filled: set[int] = set()
    for place, argument in enumerate(node.args):
        if place >= len(parameters):
            raise _Refused("too_many_arguments", f"{name} takes {len(parameters)}", argument.col_offset + 1)
        values[place] = _value(argument, parameters[place], dialect, by_name=False)
        filled.add(place)
    for keyword in node.keywords:
        column = keyword.col_offset + 1
        if keyword.arg is None:
            raise _Refused("not_a_literal", "arguments must be written out", column)
        if keyword.arg not in places:
            raise _Refused("unknown_argument", f"{name} has no argument {keyword.arg} here", column)
        place = places[keyword.arg]
        if place in filled:
            raise _Refused("duplicate_argument", f"{name} is given {keyword.arg} twice", column)
        values[place] = _value(keyword.value, parameters[place], dialect, by_name=True)
        filled.add(place)
    for place, parameter in enumerate(parameters):
        if place not in filled:
            if parameter.default is None:
                raise _Refused("missing_argument", f"{name} lacks {parameter.names[0]}")
            values[place] = parameter.default
    return values


def _value(node: ast.expr, parameter: Parameter, dialect: Dialect, by_name: bool) -> object:
    """Take a literal out of the tree and check that it is of the parameter's kind."""
    column = node.col_offset + 1
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    constant = node.operand if isinstance(node, ast.UnaryOp) and negative else node
    if not isinstance(constant, ast.Constant):
        raise _Refused("not_a_literal", f"{parameter.names[0]} must be a literal", column)
    value = constant.value
    if parameter.kind == "text":
        if not isinstance(value, str) or negative:
            _wrong_type(parameter, "a string", column)
        return value
    if parameter.kind == "true":
        if not isinstance(value, bool) or negative or not by_name:
            _wrong_type(parameter, "True", column)
        if not value:
            raise _Refused("wrong_value", f"{parameter.names[0]} can only be True", column)
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong_type(parameter, "a whole number", column)
    number = -value if negative else value
    return number - dialect.first_line if parameter.kind == "line" else number


def _wrong_type(parameter: Parameter, wanted: str, column: int) -> NoReturn:
    raise _Refused("wrong_type", f"{parameter.names[0]} must be {wanted}", column)


def _is_incomplete(call: str, dialect: Dialect) -> bool:
    """Tell whether a line is the beginning of a call: part of a name, or a name and a bracket that nothing closes."""
    name, bracket, _ = call.partition("(")
    if not bracket:
        return any(known.startswith(call) for known in dialect.calls)
    if name.rstrip() not in dialect.calls:
        return False
    outline, is_open = _outline(call)
    return is_open or len(_OPENING.findall(outline)) > len(_CLOSING.findall(outline))

"""Write a program in its dialect's canonical form, the form that is stored and that `parse_program` reads back."""

from __future__ import annotations

from prox_spark.program import operations as ops
from prox_spark.program.dialects import DIALECTS

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def write_program(program: ops.Program) -> str:
    """Write a program: one call a line, what could not be read word for word at its place, no newline at the end.

    Only where the last line could not be read a newline follows it: without one, a call that lacks its end would be
    taken for a program cut off by the token limit instead of an error.
    """
    calls = [write_operation(operation, program.dialect) for operation in program.operations]
    if not program.errors:
        return "\n".join(calls)
    places = program.lines if len(program.lines) == len(calls) else (0,) * len(calls)
    written = [(place, call, "") for place, call in zip(places, calls, strict=True)]
    written += [(error.line, error.source, "" if error.source.endswith("\n") else "\n") for error in program.errors]
    written.sort(key=lambda entry: entry[0])
    return "\n".join(call for _, call, _ in written) + written[-1][2]


def write_operation(operation: ops.Operation, dialect: str = "prox") -> str:
    """Write one operation as a call of a dialect; one that the dialect lacks is written as its own dialect has it."""
    first = DIALECTS[dialect].first_line if dialect in DIALECTS else 0
    match operation:
        case ops.KeepDoc():
            return "keep_doc()"
        case ops.DropDoc():
            return "drop_doc()"
        case ops.KeepChunk():
            return "keep_chunk()" if dialect == "prox" else "keep_all()"
        case ops.RemoveAll():
            return "remove_lines(all=True)" if dialect == "prox" else "remove_all()"
        case ops.RemoveLines(start, end) if dialect == "prox":
            return f"remove_lines(line_start={_number(start)}, line_end={_number(end)})"
        case ops.RemoveLines(start, end):
            return f"remove_lines({_number(start + first)}, {_number(end + first)})"
        case ops.Normalize(source, ""):
            return f"normalize(source_str={quote(source)})"
        case ops.Normalize(source, target):
            return f"normalize(source_str={quote(source)}, target_str={quote(target)})"
        case ops.RemoveString(line, string):
            return f"remove_str({_number(line + first)}, {quote(string)})"
        case ops.ReplaceString(line, old, new):
            return f"replace_str({_number(line + first)}, {quote(old)}, {quote(new)})"
        case ops.AddLine(line, index, content):
            return f"add_line({_number(line + first)}, {_number(index)}, {quote(content)})"


def quote(string: str) -> str:
    """Write a string as a literal in double quotes that shows every character and keeps to one line."""
    if string.isprintable() and '"' not in string and "\\" not in string:
        return f'"{string}"'
    return '"' + "".join(map(_escape, string)) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _number(number: int) -> str:
    # Hexadecimal has no limit of digits, so writing a program made by hand cannot fail.
    return str(number) if abs(number) < 10**18 else hex(number)

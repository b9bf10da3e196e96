"""The calls of each dialect: their names, parameters, and the operation they mean.

`prox`: arXiv 2409.17115. `refinex`: arXiv 2507.03253. `ultrax`: arXiv 2607.08646, github.com/openbmb/UltraX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prox_spark.errors import ConfigError
from prox_spark.program import operations as ops


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a call.

    Attributes:
        names: the names it may be given by; the first is the canonical one.
        kind: `line` (a line number as the dialect counts), `number`, `text`, or `true` (True, by name only).
        default: the value when it is left out; None when it must be given.
    """

    names: tuple[str, ...]
    kind: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """A call's parameters in positional order, and how the operation is made of their values."""

    parameters: tuple[Parameter, ...]
    build: Callable[..., ops.Operation]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A dialect: its name, its calls, and the number of a document's first line in it.

    A call of two forms has two signatures; the second is meant when one of its parameters is given by name.
    """

    name: str
    first_line: int
    calls: dict[str, tuple[Signature, ...]] = field(hash=False)


def _nothing(operation: ops.Operation) -> tuple[Signature, ...]:
    return (Signature((), lambda: operation),)


def _remove_all(_: Any) -> ops.Operation:
    return ops.RemoveAll()


def _range(*names: tuple[str, str]) -> Signature:
    parameters = tuple(Parameter(pair, "line") for pair in names)
    return Signature(parameters, ops.RemoveLines)


PROX = Dialect(
    "prox",
    0,
    {
        "keep_doc": _nothing(ops.KeepDoc()),
        "untouch_doc": _nothing(ops.KeepDoc()),
        "drop_doc": _nothing(ops.DropDoc()),
        "keep_chunk": _nothing(ops.KeepChunk()),
        "remove_lines": (
            _range(("line_start", "start"), ("line_end", "end")),
            Signature((Parameter(("all",), "true"),), _remove_all),
        ),
        "normalize": (
            Signature((Parameter(("source_str",), "text"), Parameter(("target_str",), "text", "")), ops.Normalize),
        ),
    },
)

REFINEX = Dialect(
    "refinex",
    0,
    {
        "keep_all": _nothing(ops.KeepChunk()),
        "remove_lines": (_range(("line_start", "start"), ("line_end", "end")),),
        "remove_str": (Signature((Parameter(("line",), "line"), Parameter(("string",), "text")), ops.RemoveString),),
    },
)

ULTRAX = Dialect(
    "ultrax",
    1,
    {
        "keep_all": _nothing(ops.KeepChunk()),
        "remove_all": _nothing(ops.RemoveAll()),
        "remove_lines": (_range(("line_start", "start"), ("line_end", "end")),),
        "replace_str": (
            Signature(
                (Parameter(("line",), "line"), Parameter(("old",), "text"), Parameter(("new",), "text")),
                ops.ReplaceString,
            ),
        ),
        "add_line": (
            Signature(
                (Parameter(("line",), "line"), Parameter(("index",), "number"), Parameter(("content",), "text")),
                ops.AddLine,
            ),
        ),
    },
)

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (PROX, REFINEX, ULTRAX)}


def get_dialect(name: str) -> Dialect:
    """Return a dialect by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return DIALECTS[name]
    except (KeyError, TypeError):
        raise ConfigError(f"unknown dialect {name!r}; known are {', '.join(sorted(DIALECTS))}") from None

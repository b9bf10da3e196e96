"""What a program may say: one frozen dataclass an operation, and the program that holds them.

Line numbers in operations always count from 0 through the whole document, whatever the dialect writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KeepDoc:
    """The document is worth keeping."""


@dataclass(frozen=True, slots=True)
class DropDoc:
    """The document is not worth keeping."""


@dataclass(frozen=True, slots=True)
class KeepChunk:
    """The chunk is clean."""


@dataclass(frozen=True, slots=True)
class RemoveLines:
    """Remove the lines from `line_start` to `line_end`, both included."""

    line_start: int
    line_end: int


@dataclass(frozen=True, slots=True)
class RemoveAll:
    """Remove every line of the chunk."""


@dataclass(frozen=True, slots=True)
class Normalize:
    """Replace every occurrence of `source` in the chunk's lines by `target`; an empty target deletes it."""

    source: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class RemoveString:
    """Delete `string` from one line, in which it must stand exactly once."""

    line: int
    string: str


@dataclass(frozen=True, slots=True)
class ReplaceString:
    """Replace `old` by `new` in one line, in which `old` must stand exactly once."""

    line: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class AddLine:
    """Insert a line below line `line` (-1: above the first); several at one place stand in the order of `index`."""

    line: int
    index: int
    content: str


Operation = KeepDoc | DropDoc | KeepChunk | RemoveLines | RemoveAll | Normalize | RemoveString | ReplaceString | AddLine


@dataclass(frozen=True, slots=True)
class ProgramError:
    """Why one operation could not be read or applied.

    Attributes:
        code: one of the error codes listed in docs/program.md.
        message: the reason for a human reader.
        line: line of the program, from 1; 0 when the error is not in the program's text.
        column: column of the program's line, in characters from 1; 0 when the error is not in the program's text.
        source: the program's line, without surrounding blanks.
        chunk: number of the chunk whose program it is, None for the document's program or a program by itself.
    """

    code: str
    message: str
    line: int
    column: int
    source: str
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """What was read of a program's text; `str()` writes it in its dialect's canonical form.

    Attributes:
        operations: in written order, each once.
        errors: what could not be read, in written order.
        dialect: the dialect it was read in, and is written in.
        truncated: the text ended within a call; everything before that call counts.
        looped: a call stood there more than once; it counts once.
        lines: for each operation its line in the text, from 1; takes no part in comparisons.
    """

    operations: tuple[Operation, ...] = ()
    errors: tuple[ProgramError, ...] = ()
    dialect: str = "prox"
    truncated: bool = False
    looped: bool = False
    lines: tuple[int, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        from prox_spark.program.writer import write_program

        return write_program(self)

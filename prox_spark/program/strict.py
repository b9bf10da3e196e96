"""The policy `strict`: operations resolved on what the model saw, guards around them, every change explained."""

from __future__ import annotations

from dataclasses import replace

from prox_spark.program import operations as ops
from prox_spark.program.apply import Changes
from prox_spark.program.dialects import get_dialect
from prox_spark.program.outcome import Outcome
from prox_spark.program.parser import parse_program
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.ranges import read_ranges
from prox_spark.program.refined import Guards
from prox_spark.program.resolve import ChunkResolver, Document, Resolved, Unresolved
from prox_spark.program.words import count_words
from prox_spark.program.writer import write_operation

_Errors = list[ops.ProgramError]


def run_strict(text: str, programs: DocumentPrograms, guards: Guards, dialect: str, whole: bool = False) -> Outcome:
    """Apply a document's programs, or as much of them as the guards let pass.

    Args:
        text: the document.
        programs: its programs.
        guards: the bounds; limits of size were checked before.
        dialect: the dialect of the programs.
        whole: the programs are one string for the whole document, in which operations on the document may stand too.
    """
    errors: _Errors = []
    if programs.doc_program is not None:
        dropped, errors = _read_document_program(programs.doc_program)
        if dropped:
            return Outcome("dropped", "drop_doc")
    if whole and _says_drop(programs.chunks[0].program, dialect):
        return Outcome("dropped", "drop_doc")
    document, resolved, found = _resolve_chunks(text, programs.chunks, guards, dialect, whole)
    errors = errors + found
    # Every error makes its program unusable as a whole.
    partial = bool(errors)
    if len(errors) >= guards.max_errors:
        return Outcome("fallback", "max_errors", partial=partial, errors=tuple(errors))
    if document is None or not resolved:
        reason = "program_error" if partial else None
        if programs.doc_program is None and not programs.chunks:
            reason = "no_program"
        return Outcome("unchanged", reason, partial=partial, errors=tuple(errors))
    changes = Changes(document)
    for chunk, changed in resolved:
        changes.take(changed, chunk)
    outcome = _guard(changes, guards)
    outcome.partial = partial
    outcome.errors = tuple(errors)
    return outcome


def drops_document(source: str) -> bool:
    """Whether the program for a document says to drop it, and has no error."""
    return _read_document_program(source)[0]


def _read_document_program(source: str) -> tuple[bool, _Errors]:
    """Read the program for the document: whether it says to drop it, and its errors. With an error it says nothing.

    Only `prox` has operations on the document, so they are read in it whatever the dialect of the chunks.
    """
    if source == "keep_doc()":
        return False, []
    program = parse_program(source)
    errors = list(program.errors)
    for operation, line in zip(program.operations, program.lines, strict=True):
        if not isinstance(operation, (ops.KeepDoc, ops.DropDoc)):
            written = write_operation(operation)
            errors.append(ops.ProgramError("misplaced", "not an operation on the document", line, 1, written))
    return not errors and ops.DropDoc() in program.operations, errors


def _says_drop(source: str, dialect: str) -> bool:
    if "drop_doc" not in source:
        return False
    program = parse_program(source, dialect)
    return not program.errors and ops.DropDoc() in program.operations


def _resolve_chunks(
    text: str, chunks: tuple[ChunkProgram, ...], guards: Guards, dialect: str, whole: bool
) -> tuple[Document | None, list[tuple[int, Resolved]], _Errors]:
    """Resolve the programs of all chunks; the document is None where no program asks for anything.

    Returns:
        The document, for each chunk without an error its number and what its program does, and all errors.
    """
    document: Document | None = None
    resolved: list[tuple[int, Resolved]] = []
    errors: _Errors = []
    keep = "keep_chunk()" if dialect == "prox" else "keep_all()"
    after = 0
    for chunk in chunks:
        if chunk.error is not None:
            errors.append(_chunk_error(chunk, "write_error", chunk.error))
            continue
        if chunk.program == keep or not chunk.program:
            continue
        ranges = read_ranges(chunk.program, chunk.first_line, chunk.last_line) if dialect == "prox" else None
        program = parse_program(chunk.program, dialect) if ranges is None else ops.Program()
        if program.errors:
            errors += [replace(error, chunk=chunk.chunk) for error in program.errors]
            # The other operations are resolved too, so that all that is wrong is told and counted.
        if document is None:
            document = Document(text, text.split("\n"), get_dialect(dialect).first_line, guards.allow_new_words)
        if not after <= chunk.first_line <= chunk.last_line < len(document.lines):
            errors.append(_chunk_error(chunk, "bad_chunk", "its lines are not in the text, or in another chunk too"))
            continue
        after = chunk.last_line + 1
        if ranges is not None:
            resolved.append((chunk.chunk, Resolved(ranges)))
            continue
        changed, found = _resolve_chunk(document, chunk, program, whole)
        errors += found
        if changed is not None and not program.errors:
            resolved.append((chunk.chunk, changed))
    return document, resolved, errors


def _chunk_error(chunk: ChunkProgram, code: str, message: str) -> ops.ProgramError:
    return ops.ProgramError(code, message, 0, 0, "", chunk.chunk)


def _resolve_chunk(
    document: Document, chunk: ChunkProgram, program: ops.Program, whole: bool
) -> tuple[Resolved | None, _Errors]:
    """Resolve a chunk's program; None where it changes nothing or has an error."""
    resolver = ChunkResolver(document, chunk.first_line, chunk.last_line, chunk.cut_line)
    errors: _Errors = []
    for operation, line in zip(program.operations, program.lines, strict=True):
        try:
            if not whole and isinstance(operation, (ops.KeepDoc, ops.DropDoc)):
                raise Unresolved("misplaced", "an operation on the document in a chunk's program")
            resolver.add(operation)
        except Unresolved as problem:  # noqa: PERF203 - each operation has its own error
            source = write_operation(operation, program.dialect)
            errors.append(ops.ProgramError(problem.code, problem.message, line, 1, source, chunk.chunk))
    if errors or program.errors:
        return None, errors
    try:
        resolved = resolver.finish()
    except Unresolved as problem:
        return None, [_chunk_error(chunk, problem.code, problem.message)]
    return (resolved if resolved.removed or resolved.replaced or resolved.added else None), errors


def _guard(changes: Changes, guards: Guards) -> Outcome:
    """Ask the last two guards, which look at what would be left, and build the text."""
    words_in = count_words(changes.document.text)
    lost, added = changes.count_words()
    words_out = words_in - lost + added
    edits = tuple(changes.edits)
    # What only puts one thing in another's place, such as a plain quote for a curly one, removes nothing.
    if lost > 0 or any(not edit.inserted for edit in edits):
        if words_in and lost / words_in > guards.max_removed_ratio:
            return Outcome("dropped", "max_removed_ratio", words_in=words_in, edits=edits)
        if words_out < guards.min_words:
            return Outcome("dropped", "min_words", words_in=words_in, edits=edits)
    kept = changes.lines()
    return Outcome(
        "refined", text="\n".join(kept), lines_out=len(kept), words_in=words_in, words_out=words_out, edits=edits
    )

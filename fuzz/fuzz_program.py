"""Coverage-guided fuzzing of the parser and the executors: what must hold for every program and every text.

    python fuzz/fuzz_program.py --seconds 60 [--corpus DIRECTORY]

The golden cases are the start; inputs that reach new code are kept in the corpus directory, for the next run. A finding
ends the run: its input is written to `crash-…`, and `python fuzz/fuzz_program.py crash-…` shows it again. What it shows
becomes a line of tests/program/golden.jsonl, or a test beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["prox_spark.program"]):
    from prox_spark.program.dialects import DIALECTS
    from prox_spark.program.execute import execute
    from prox_spark.program.operations import Program
    from prox_spark.program.parser import parse_program
    from prox_spark.program.programs import ChunkProgram, DocumentPrograms
    from prox_spark.program.refined import Guards, Refined

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "program" / "golden.jsonl"
CALLS = (
    *("keep_doc()", "drop_doc()", "keep_chunk()", "untouch_doc()", "keep_all()", "remove_all()", "remove_lines("),
    *(
        "line_start=",
        "line_end=",
        "all=True",
        "normalize(",
        "source_str=",
        "target_str=",
        "remove_str(",
        "replace_str(",
    ),
    *("add_line(", "99999999999", '"', "\\n", "\n", "\\u0041", ", "),
)
DIALECT_NAMES = tuple(DIALECTS)
# Bytes before program and text.
HEAD = 3
# No error of ours: of the two, one is told by the executor, and neither may come from a small input.
UNEXPECTED = ("execute_failed", "work_limit")


class Broken(AssertionError):
    """Raised when something does not hold."""


def need(holds: bool, what: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(what)


def test_one_input(data: bytes) -> None:
    """Look at what comes out for the dialect, the guards, the program and the text that the bytes stand for.

    One byte chooses, two say where the program ends and the text begins; bytes that are no UTF-8 are lone surrogates.
    """
    if len(data) < HEAD:
        return
    choices, end = data[0], int.from_bytes(data[1:HEAD], "little")
    body = data[HEAD:].decode("utf-8", "surrogateescape")
    source, text = body[:end], body[end:]
    dialect = DIALECT_NAMES[choices % 3]
    guards = Guards(min_words=0, max_removed_ratio=1.0, max_errors=100, allow_new_words=bool(choices & 64))
    check_parser(source, dialect)
    for policy in ("strict", "gair"):
        check_executor(text, source, policy, dialect, guards if choices & 128 else Guards())
    check_chunks(text, source, dialect, guards)


def check_parser(source: str, dialect: str) -> None:
    """What is read is written so that it reads the same, and every line that is no call has an error of its own."""
    program = parse_program(source, dialect)
    lines = source.count("\n") + 1
    need(len(program.operations) + len(program.errors) <= lines, "more is read than there are lines")
    need(all(1 <= error.line <= lines for error in program.errors), "an error's line is not in the program")
    need(all(1 <= line <= lines for line in program.lines), "an operation's line is not in the program")
    again = parse_program(str(Program(program.operations, dialect=dialect)), dialect)
    need(again.operations == program.operations, "operations read otherwise after they were written")
    need(not again.errors and not again.looped, "what was written is not canonical")


def check_executor(text: str, source: str, policy: str, dialect: str, guards: Guards) -> None:
    """The result is one of the statuses, explains itself, comes out the same again, and is not made of new words."""
    refined = execute(text, source, policy, dialect=dialect, guards=guards)
    check_refined(text, refined)
    need(execute(text, source, policy, dialect=dialect, guards=guards) == refined, "not the same when done again")
    tagged = execute(text, source, policy, dialect=dialect, guards=guards, mode="tag")
    need(tagged.text == text and tagged.status == refined.status, "mode tag touched the text, or decided otherwise")


def check_refined(text: str, refined: Refined) -> None:
    """What holds for every result."""
    need(refined.status in ("refined", "unchanged", "dropped", "fallback", "quarantined"), "an unknown status")
    need(not [error for error in refined.errors if error.code in UNEXPECTED], f"{refined.errors}")
    need((refined.text is None) == (refined.status == "dropped"), "only what is dropped has no text")
    if refined.status in ("unchanged", "fallback"):
        need(refined.text == text, "a text that was not to change has changed")
    if refined.status == "unchanged":
        need(not refined.edits, "edits of an unchanged text")
    if refined.text is not None:
        need(refined.chars_out == len(refined.text), "chars_out does not count the text")
        need(
            refined.lines_out == refined.text.count("\n") + 1 or not refined.text, "lines_out does not count its lines"
        )
    for edit in refined.edits:
        need(0 <= edit.first_line <= edit.last_line < refined.lines_in, "an edit outside of the text")


def check_chunks(text: str, source: str, dialect: str, guards: Guards) -> None:
    """A document of two chunks, each with its part of the program."""
    last = text.count("\n")
    middle = last // 2
    parts = source.split("\n")
    programs = ["\n".join(parts[: len(parts) // 2]), "\n".join(parts[len(parts) // 2 :])]
    chunks = [ChunkProgram(0, 0, middle, programs[0]), ChunkProgram(1, middle + 1, last, programs[1])]
    given = DocumentPrograms("keep_doc()", tuple(chunks[: 1 if middle == last else 2]))
    check_refined(text, execute(text, given, dialect=dialect, guards=guards))


def seed(corpus: Path) -> None:
    """Write the golden cases as inputs."""
    for number, line in enumerate(GOLDEN.read_text("ascii").splitlines()):
        case = json.loads(line)
        source = str(case.get("source") or case.get("program") or "")
        head = bytes([DIALECT_NAMES.index(case["dialect"])]) + len(source).to_bytes(2, "little")
        body = (source + str(case.get("text", ""))).encode("utf-8", "replace")
        (corpus / f"golden-{number}").write_bytes(head + body)


def main() -> None:
    """Fuzz for so many seconds, or show one input again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, default=None, help="kept between runs; default: a new one each time")
    parser.add_argument("input", nargs="?", help="an input to show again")
    options = parser.parse_args()
    if options.input:
        arguments = [options.input]
    else:
        corpus = options.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
        corpus.mkdir(parents=True, exist_ok=True)
        seed(corpus)
        words = corpus.with_name(f"{corpus.name}.dict")
        lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"\n' for word in CALLS]
        words.write_text("".join(lines), encoding="ascii")
        arguments = [str(corpus), f"-max_total_time={options.seconds}", f"-dict={words}", "-timeout=20"]
        arguments += [
            f"-artifact_prefix={corpus.parent}/",
            "-max_len=16384",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ]
    atheris.Setup([sys.argv[0], *arguments], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

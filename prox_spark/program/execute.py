"""Apply programs to a text: the cheap half of the job, and the one that can be repeated with other settings."""

from __future__ import annotations

from prox_spark.errors import PolicyError
from prox_spark.program.dialects import get_dialect
from prox_spark.program.gair import run_gair
from prox_spark.program.languages import primary_language
from prox_spark.program.operations import ProgramError
from prox_spark.program.outcome import Outcome
from prox_spark.program.programs import ChunkProgram, DocumentPrograms
from prox_spark.program.refined import Edit, Guards, Refined
from prox_spark.program.scores import Thresholds, rescore
from prox_spark.program.strict import run_strict
from prox_spark.program.words import count_words

__all__ = ["MODES", "POLICIES", "Edit", "Guards", "ProgramError", "Refined", "execute"]

POLICIES = ("strict", "gair")
MODES = ("refine", "tag")
# Guards that drop a document because its lines' programs leave hardly anything of it.
_LITTLE_LEFT = ("max_removed_ratio", "min_words")
# Below this score a refiner holds a document to be worth keeping, by its own word: the scores of its lines say the
# opposite then, and one of the two is wrong. Of a thread of 1,500 comments it was the lines'.
_EVEN = 0.5


def execute(
    text: str,
    programs: DocumentPrograms | str,
    policy: str = "strict",
    *,
    dialect: str = "prox",
    guards: Guards = Guards(),
    language: str | None = None,
    languages: tuple[str, ...] | None = None,
    thresholds: Thresholds | None = None,
    mode: str = "refine",
) -> Refined:
    """Apply a document's programs to its text. Never raises because of a text or a program.

    Args:
        text: the document as it was when its programs were written.
        programs: its programs, or a string: one program for the whole document as one chunk.
        policy: `strict`, or `gair` (the released ProX executor).
        dialect: the dialect of the programs; `gair` reads its own.
        guards: bounds of what a program may do.
        language: the document's language, such as `en` or `en-GB`; None when it is not known.
        languages: the languages that the refiner was made for; None or empty for any. A document known to be in
            another language stays as it is.
        thresholds: programs with stored scores are written again from them; None takes the programs as stored.
        mode: `refine`, or `tag`: all the same, but the text stays.

    Returns:
        The refined text and everything there is to say about it.

    Raises:
        PolicyError: policy or mode is unknown.
        ConfigError: the dialect is unknown.
    """
    if policy not in POLICIES:
        raise PolicyError(f"unknown policy {policy!r}; known are {', '.join(POLICIES)}")
    if mode not in MODES:
        raise PolicyError(f"unknown mode {mode!r}; known are {', '.join(MODES)}")
    get_dialect(dialect)
    if not isinstance(text, str):
        return Refined(None, "quarantined", "null_text")
    try:
        lines = text.count("\n") + 1
        reason = _over_limit(text, lines, guards)
        if reason is not None:
            return Refined(text, "quarantined", reason, lines_in=lines, chars_in=len(text))
        outcome = _decide(text, lines, programs, policy, dialect, guards, language, languages, thresholds)
        return _dress(text, lines, outcome, mode)
    except Exception as error:
        # One document must never end a job: what went wrong is told in its row.
        problem = ProgramError("execute_failed", f"{type(error).__name__}: {error}"[:1000], 0, 0, "")
        return _dress(text, text.count("\n") + 1, Outcome("fallback", "execute_failed", errors=(problem,)), mode)


def _over_limit(text: str, lines: int, guards: Guards) -> str | None:
    # A character takes one to four bytes, so few texts must be encoded to know.
    if len(text) > guards.max_bytes:
        return "max_bytes"
    unsure = 4 * len(text) > guards.max_bytes and not text.isascii()
    if unsure and len(text.encode("utf-8", "surrogatepass")) > guards.max_bytes:
        return "max_bytes"
    return "max_lines" if lines > guards.max_lines else None


def _decide(
    text: str,
    lines: int,
    programs: DocumentPrograms | str,
    policy: str,
    dialect: str,
    guards: Guards,
    language: str | None,
    languages: tuple[str, ...] | None,
    thresholds: Thresholds | None,
) -> Outcome:
    whole = isinstance(programs, str)
    if isinstance(programs, str):
        programs = DocumentPrograms(None, (ChunkProgram(0, 0, lines - 1, programs),))
    if programs.error is not None:
        problem = ProgramError("write_error", programs.error, 0, 0, "")
        return Outcome("quarantined", "write_error", errors=(problem,))
    known = primary_language(language) if language else ""
    another = known and languages and known not in map(primary_language, languages)
    if another or programs.passed_over:
        return Outcome("unchanged", "language")
    if thresholds is not None:
        programs = rescore(programs, thresholds)
    if policy == "gair":
        return run_gair(text, programs, whole)
    outcome = run_strict(text, programs, guards, dialect, whole)
    if outcome.reason in _LITTLE_LEFT and programs.doc_score is not None and programs.doc_score < _EVEN:
        return Outcome("fallback", "contradiction", partial=outcome.partial, errors=outcome.errors)
    return outcome


def _dress(text: str, lines: int, outcome: Outcome, mode: str) -> Refined:
    """Count what the policy has not, and choose the text to hand out."""
    words_in = outcome.words_in if outcome.words_in >= 0 else count_words(text)
    out: str | None = text
    if outcome.status == "dropped":
        out = None
        lines_out = words_out = chars_out = 0
    elif outcome.text is not None:
        out = outcome.text
        lines_out, chars_out = outcome.lines_out, len(out)
        words_out = outcome.words_out if outcome.words_out >= 0 else count_words(out)
    else:
        lines_out, words_out, chars_out = lines, words_in, len(text)
    return Refined(
        text if mode == "tag" else out,
        outcome.status,
        outcome.reason,
        outcome.partial,
        outcome.edits,
        outcome.errors,
        lines,
        lines_out,
        words_in,
        words_out,
        len(text),
        chars_out,
    )

"""What one document may take of a refiner, and the codes of documents that take more, or break it."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_ERROR_CHARS = 500
# Codes that an error of a document may begin with; they are reasons in `quarantine`, where any other error is a
# `program_error`.
CODES = ("too_many_tokens", "too_slow", "out_of_memory", "tokenizer_failed")
CODED = re.compile(rf"({'|'.join(CODES)}): ")
# ONNX Runtime has no class of its own for it: on the CPU its arena says so, on a GPU the arena, CUDA or cuBLAS.
_NO_MEMORY = re.compile(r"bad_alloc|out of memory|failed to allocate memory|ALLOC_FAILED|available memory of", re.I)


@dataclass(frozen=True)
class Budget:
    """Most that one document may take; None: as much as it needs.

    tokens: of all its prompts. Counted while they are made: nothing is made beyond.
    seconds: of tokenizing it and of its share in the model's runs. Looked at between runs, so that the one in which it
        is spent is finished; a refiner that decodes takes a whole window of prompts into one run.
    """

    tokens: int | None = None
    seconds: float | None = None


NO_BOUND = Budget()


def told(code: str, words: str) -> str:
    """Return the error of a document for one of CODES."""
    return f"{code}: {words}"[:MAX_ERROR_CHARS]


def code_of(error: str) -> str | None:
    """Return the code that a document's error begins with; None for any other error."""
    match = CODED.match(error)
    return match[1] if match else None


def describe(error: BaseException, code: str | None = None) -> str:
    """Return an exception as the error of a document: with `out_of_memory` where it is that, else with `code`."""
    if out_of_memory(error):
        code = "out_of_memory"
    words = f"{type(error).__name__}: {error}"
    return told(code, words) if code else words[:MAX_ERROR_CHARS]


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that there was not enough memory, on the machine or on the GPU."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def of_a_text(error: BaseException) -> bool:
    """Return whether an exception may be one text's fault; not so a wish to end the process.

    A panic of the tokenizer's Rust comes as a BaseException: `except Exception` would let one page end the job.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"

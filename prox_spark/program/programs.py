"""The programs of one document, as a refiner writes them and as the `programs` table keeps them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChunkProgram:
    """The program of one chunk; the fields are those of `programs.chunks`.

    Attributes:
        chunk: number of the chunk in its document, from 0.
        first_line: first line of the chunk, from 0 through the document.
        last_line: last line of the chunk, included.
        program: program text.
        line_scores: for each line the probability that it is to be removed, where the refiner scores lines.
        prompt_tokens: tokens read.
        new_tokens: tokens written; 0 where nothing is decoded.
        truncated: the token limit ended the program.
        looped: the program repeated a call.
        cut_line: the chunk is one line that is longer than the window and was shown cut to it.
        error: why no program could be written; the chunk is then left as it is.
    """

    chunk: int
    first_line: int
    last_line: int
    program: str
    line_scores: tuple[float, ...] | None = None
    prompt_tokens: int = 0
    new_tokens: int = 0
    truncated: bool = False
    looped: bool = False
    cut_line: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentPrograms:
    """All programs of one document: one row of the `programs` table.

    Attributes:
        doc_program: program for the document (`keep_doc()` or `drop_doc()`); None: the refiner works on chunks only.
        chunks: programs of its chunks, in order; empty when the refiner works on documents only.
        doc_score: probability that the document is to be dropped, where the refiner scores documents.
        error: why no program could be written for this document.
        doc_prompt_tokens: tokens read for doc_program alone, where it has a prompt of its own.
        doc_new_tokens: tokens written for doc_program alone.
        language: language of the document, where it was identified before the refiner was asked.
    """

    doc_program: str | None
    chunks: tuple[ChunkProgram, ...] = ()
    doc_score: float | None = None
    error: str | None = None
    doc_prompt_tokens: int = 0
    doc_new_tokens: int = 0
    language: str | None = None

    @property
    def passed_over(self) -> bool:
        """Whether the refiner was not asked, because it was not made for the document's language."""
        written = self.doc_program is not None or self.chunks or self.error is not None
        return self.language is not None and not written

    @property
    def prompt_tokens(self) -> int:
        """Tokens read for the document and all its chunks."""
        return self.doc_prompt_tokens + sum(chunk.prompt_tokens for chunk in self.chunks)

    @property
    def new_tokens(self) -> int:
        """Tokens written for the document and all its chunks."""
        return self.doc_new_tokens + sum(chunk.new_tokens for chunk in self.chunks)

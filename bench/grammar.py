"""Decoding by the grammar beside plain decoding: runs of the graph, processor time, and what a token costs in Python.

Both write the same programs, those that the labels of pages stand for: the model's logits are computed and then not
looked at, so any decoding bundle will do, whether it was trained to write programs or not.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, median, show

from prox_spark.program import operations as ops
from prox_spark.program.writer import write_program
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.decode import DecodeEngine
from prox_spark.refiner.device import open_session
from prox_spark.refiner.grammar import Grammar
from prox_spark.refiner.guide import Guide, Guides
from prox_spark.text.chunks import Chunk

READING, WRITING, SPENT = "reading, s", "writing, s", "grammar, µs a token"
COLUMNS = ["rows", "grammar", "tokens", "chosen", "runs", READING, WRITING, SPENT]


class Dictated(Guides):
    """Guides that take the tokens of given programs, whatever the logits say; with or without what is forced."""

    def __init__(self, bundle: Bundle, programs: dict[Chunk, str], by_grammar: bool) -> None:
        super().__init__(bundle.tokenizer(), bundle.manifest.end_tokens, "prox", bundle.manifest.level)
        self.programs, self.by_grammar = programs, by_grammar
        self.seconds, self.asked = 0.0, 0

    def guide(self, chunk: Chunk) -> Guide:
        return DictatedGuide(self, self.programs[chunk], Grammar(self.dialect, self.level, chunk))


class DictatedGuide(Guide):
    """Writes one program."""

    def __init__(self, guides: Dictated, program: str, grammar: Grammar) -> None:
        super().__init__(guides, grammar)
        self.dictated, self.by_grammar, self.counts = guides.tokenizer.encode(program), guides.by_grammar, guides

    def choose(self, best: int, logits: Callable[[], np.ndarray]) -> int | None:
        if len(self.tokens) == len(self.dictated):
            return min(self.guides.end_tokens)
        token = self.dictated[len(self.tokens)]
        began = time.thread_time()
        chosen = super().choose(token, logits) if self.by_grammar else token
        self.counts.seconds += time.thread_time() - began
        self.counts.asked += 1
        assert chosen == token, "the grammar allows the programs that we write"
        return token

    def follow(self, token: int) -> tuple[list[int], bool]:
        if not self.by_grammar:
            self.tokens.append(token)
            return [], False
        began = time.thread_time()
        followed = super().follow(token)
        self.counts.seconds += time.thread_time() - began
        assert self.tokens == self.dictated[: len(self.tokens)], "what is forced is what would have come"
        return followed


def chunks_of(bundle: Bundle, pages: Path, many: int) -> Iterator[tuple[Chunk, str]]:
    """Prompts of labelled pages and their programs, one chunk a page."""
    prompt = bundle.prompt(bundle.tokenizer())
    with gzip.open(pages, "rt", encoding="utf-8") as file:
        for record, _ in zip(map(json.loads, file), range(many), strict=False):
            lines = record["lines"]
            chunk = next(iter(prompt.chunks("\n".join(line["text"] for line in lines))))
            removed = [n for n in range(chunk.last_line + 1) if lines[n]["label"] == "remove"]
            starts = [n for n in removed if n - 1 not in removed]
            ends = [n for n in removed if n + 1 not in removed]
            ranges = tuple(ops.RemoveLines(start, end) for start, end in zip(starts, ends, strict=True))
            whole = len(removed) == chunk.lines
            yield chunk, write_program(ops.Program((ops.RemoveAll(),) if whole else ranges or (ops.KeepChunk(),)))


def measure(bundle: Bundle, pairs: Sequence[tuple[Chunk, str]], rows: int, by_grammar: bool) -> dict[str, Any]:
    """Write the programs with so many rows side by side; processor seconds, and runs that do not read prompts."""
    guides = Dictated(bundle, dict(pairs), by_grammar)
    session = open_session(bundle.graph, "cpu")
    engine = DecodeEngine(session, bundle.manifest.end_tokens, 1000, guides.tokenizer.decode, rows, guides)
    chunks = [chunk for chunk, _ in pairs]
    engine.prompt_logits(chunks[:1])
    counts = {"runs": 0, "reading": 0.0}
    run, read = engine._run, engine._read

    def counted(*given: Any) -> Any:
        counts["runs"] += 1
        return run(*given)

    def timed(*given: Any) -> Any:
        runs, began = counts["runs"], time.process_time()
        found = read(*given)
        counts["reading"] += time.process_time() - began
        counts["runs"] = runs
        return found

    engine._run, engine._read = counted, timed  # type: ignore[method-assign]
    began = time.process_time()
    written = engine.run(chunks)
    seconds = time.process_time() - began
    assert [one.program for one in written] == [program for _, program in pairs]
    return {
        "rows": rows,
        "grammar": "on" if by_grammar else "off",
        "tokens": sum(len(one.tokens) for one in written),
        "chosen": guides.asked,
        "runs": counts["runs"],
        READING: counts["reading"],
        WRITING: seconds - counts["reading"],
        SPENT: 1e6 * guides.seconds / sum(len(one.tokens) for one in written),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--refiner", type=Path, required=True, help="a decoding bundle for chunks")
    parser.add_argument("--pages", type=Path, required=True, help="labelled pages, jsonl.gz")
    parser.add_argument("--count", type=int, default=32, help="pages to read")
    parser.add_argument("--quick", action="store_true", help="eight pages, one round")
    options = parser.parse_args()
    bundle = Bundle.load(options.refiner)
    pairs = list(chunks_of(bundle, options.pages, 8 if options.quick else options.count))
    figures = []
    for _ in range(1 if options.quick else options.rounds):
        for rows in (1, 4, 16):
            figures += [measure(bundle, pairs, rows, by_grammar) for by_grammar in (False, True)]
    table = []
    for kind in dict.fromkeys((one["rows"], one["grammar"]) for one in figures):
        same = [one for one in figures if (one["rows"], one["grammar"]) == kind]
        table.append([str(kind[0]), kind[1], *(median([one[column] for one in same]) for column in COLUMNS[2:])])
    show("decoding by the grammar", COLUMNS, table, figures, options.json or options.work / "grammar.json")


if __name__ == "__main__":
    main()

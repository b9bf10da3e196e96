"""The rules of C4, the Colossal Clean Crawled Corpus.

Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
arXiv 1910.10683, section 2.2. "Code" below is the authors' own, `c4_utils.py` of TensorFlow Datasets; it has rules that
the paper does not name, applies the page rules only to lines that passed those before, and counts 5 words and 3
sentences where the paper counts 3 and 5. The paper's numbers are used here, as in datatrove's `C4QualityFilter`.

Left out: the list of bad words, and the removal of spans of three sentences seen before, which needs the whole corpus.
Sentences are counted by their ends here, not by Punkt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from prox_spark.refiner.verdict import Verdict

# Paper: "retained lines that contained at least 3 words".
MIN_WORDS = 3
# Paper: "discarded any page with fewer than 5 sentences".
MIN_SENTENCES = 5
# Code: a line with a longer word goes.
MAX_WORD_CHARACTERS = 1000
# Paper: "lines that ended in a terminal punctuation mark (i.e. a period, exclamation mark, question mark, or end
# quotation mark)"; code: but not in an ellipsis. The apostrophe is datatrove's addition.
END_MARKS = (".", "?", "!", '"', "'")
ELLIPSIS = "..."
# Paper: "removed any line with the word Javascript".
SCRIPT = "javascript"
# Paper: "removed any page where the phrase 'lorem ipsum' appeared", "removed any pages that contained a curly bracket".
PLACEHOLDER = "lorem ipsum"
BRACKET = "{"
# Paper and code: lines with these phrases are boilerplate policy notices.
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# Paper: "removed any such markers (e.g. [1], [citation needed])"; code: the pattern.
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")

# Tried once for a run of marks, not from each of them.
_SENTENCE_END = re.compile(r"""(?<![.?!])[.?!]+["'”’)\]]*(?=\s|$)""")


def judge_c4(lines: Sequence[str]) -> Verdict:
    """The verdict of all rules, on lines and on the document."""
    verdict = judge_c4_lines(lines)
    return Verdict(verdict.remove, verdict.delete, _drop(lines, verdict.remove))


def judge_c4_lines(lines: Sequence[str]) -> Verdict:
    """The verdict of the rules on lines.

    C4 has no blank lines. Here a blank line goes only with the line before it: clean paragraphs stay as they are.
    """
    remove: list[bool] = []
    delete: dict[int, list[str]] = {}
    gone = False
    for number, line in enumerate(lines):
        if line.strip():
            gone = _removed(line)
            if not gone and (marks := CITATION.findall(line)):
                delete[number] = marks
        remove.append(gone)
    return Verdict(remove, delete)


def _removed(line: str) -> bool:
    words = line.split()
    bare = CITATION.sub("", line.strip())
    return (
        any(len(word) > MAX_WORD_CHARACTERS for word in words)
        or not bare.endswith(END_MARKS)
        or bare.endswith(ELLIPSIS)
        or len(words) < MIN_WORDS
        or _unwanted(bare.lower())
    )


def _unwanted(lowered: str) -> bool:
    return SCRIPT in lowered or any(phrase in lowered for phrase in POLICY)


def _drop(lines: Sequence[str], remove: Sequence[bool]) -> str | None:
    kept = [line for line, gone in zip(lines, remove, strict=True) if not gone and line.strip()]
    for line in kept:
        if PLACEHOLDER in line.lower():
            return "lorem_ipsum"
        if BRACKET in line:
            return "curly_bracket"
    sentences = sum(max(1, len(_SENTENCE_END.findall(line))) for line in kept)
    return "too_few_sentences" if sentences < MIN_SENTENCES else None

"""Documents that are to come through untouched, made from the kept text of labelled pages and from source code.

Much of what a corpus holds is clean and looks unlike an article: lists, tables, verse, code, posts of a forum. Labelled
pages have few of them, and a model that has only seen articles takes short lines for menus.
"""

from __future__ import annotations

import re
import sysconfig
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random

from prox_spark.training.page import Page

MAX_LINES = 150
# Share of documents that are a text as a human kept it.
_WHOLE = 0.3
# Share of documents of short items that have nothing to do with each other.
_DIGEST = 0.15
# Share of documents that go on and on, up to so many lines: among labelled pages most long ones are lists of comments
# and links, and a model that has seen only these takes a book for one.
_LONG, LONG_LINES = 0.15, 2000
_NAMES = ("anna", "mike_77", "Tobias", "jlr", "OldSailor", "priya", "dr. no", "Marta", "guest1204", "kernelpanic")
_BULLETS = ("- ", "* ", "• ", "", "", "1")
_MARKDOWN = " | "
_SEPARATORS = ("\t", "\t", _MARKDOWN, "  ", "; ", ", ")
_MONTHS = ("January", "March", "April", "May", "June", "August", "October", "December")


def clean(pages: Sequence[Page], chance: Random) -> tuple[str, ...]:
    """The lines of one document of which all is content."""
    if chance.random() < _DIGEST:
        return tuple(digest(pages, chance))
    long = chance.random() < _LONG
    text = [line for _ in range(chance.randint(5, 40) if long else 1) for line in _text(pages, chance)]
    if chance.random() >= _WHOLE:
        text = chance.choice(list(KINDS.values()))(text, chance)
    return tuple(text[: LONG_LINES if long else MAX_LINES]) or ("Nothing here is noise, and little is here.",)


def digest(pages: Sequence[Page], chance: Random) -> list[str]:
    """News in brief: a few sentences each from several texts, some under the text's first words as a headline."""
    lines: list[str] = []
    for _ in range(chance.randint(2, 12)):
        text = [line for line in _text(pages, chance) if line.strip()]
        first = chance.randrange(len(text))
        sentences = re.split(r"(?<=[.!?]) +", text[first])[: chance.randint(1, 4)]
        lines += [" ".join(text[0].split()[:9])] if chance.random() < 0.4 else []
        lines.append(chance.choice(("", "", "- ", "• ")) + " ".join(sentences))
    return lines


def part(text: list[str], chance: Random) -> list[str]:
    """A few paragraphs, as excerpts are; often one or two."""
    first = chance.randrange(len(text))
    return text[first : first + chance.choice((1, 2, 3, 5, 8))]


def wrapped(text: list[str], chance: Random) -> list[str]:
    """Lines of a mail or a plain text file, broken at a width."""
    width = chance.randint(50, 90)
    return [line for paragraph in text for line in [*textwrap.wrap(paragraph, width), ""]]


def verse(text: list[str], chance: Random) -> list[str]:
    """Short lines in stanzas."""
    words, length = " ".join(text).split(), chance.randint(5, 8)
    lines = [" ".join(words[i : i + length]).capitalize() for i in range(0, len(words), length)]
    stanza = chance.choice((4, 4, 6, 8))
    return [part for i in range(0, len(lines), stanza) for part in [*lines[i : i + stanza], ""]]


def items(text: list[str], chance: Random) -> list[str]:
    """A list, with a line above and one below that say what it is."""
    phrases = [part.strip() for line in text for part in re.split(r"[.;,:]", line) if 2 < len(part) < 120]
    bullet, most = chance.choice(_BULLETS), chance.randint(4, 40)
    listed = [f"{n}. {p}" if bullet == "1" else bullet + p for n, p in enumerate(phrases[:most], 1)]
    return [text[0], *listed, *text[1 : 1 + chance.randint(0, 2)]]


def table(text: list[str], chance: Random) -> list[str]:
    """Rows of a name and a cell a column; each column has its own kind of cells."""
    words = re.findall(r"[^\W\d_]{3,}", " ".join(text)) or ["value"]
    separator, columns = chance.choice(_SEPARATORS), chance.randint(2, 6)
    cells = [lambda: chance.choice(words), *(_cells(words, chance) for _ in range(columns - 1))]
    rows = [[chance.choice(words).capitalize() for _ in cells]]
    rows += [[cell() for cell in cells] for _ in range(chance.randint(3, 40))]
    if separator == _MARKDOWN:
        rows.insert(1, ["---"] * columns)
    lines = [separator.join(row) if separator != _MARKDOWN else f"| {separator.join(row)} |" for row in rows]
    return [*text[: chance.randint(0, 2)], *lines, *text[2 : 2 + chance.randint(0, 2)]]


def _cells(words: list[str], chance: Random) -> Callable[[], str]:
    kinds: tuple[Callable[[], str], ...] = (
        lambda: str(chance.randint(0, 50)),
        lambda: f"{chance.randint(0, 5_000_000):,}",
        lambda: f"{chance.uniform(0, 100):.2f}",
        lambda: f"{chance.uniform(-20, 100):.1f}%",
        lambda: f"${chance.uniform(0, 900):.2f}",
        lambda: str(chance.randint(1800, 2030)),
        lambda: f"{chance.randint(1, 28)} {chance.choice(_MONTHS)} {chance.randint(1900, 2030)}",
        lambda: chance.choice(("yes", "no", "-", "n/a")),
        lambda: " ".join(chance.choices(words, k=chance.randint(1, 4))),
    )
    return chance.choice(kinds)


def forum(text: list[str], chance: Random) -> list[str]:
    """Posts, each with who wrote it."""
    lines = []
    for paragraph in text:
        name = chance.choice(_NAMES)
        lines.append(
            chance.choice((f"{name} wrote:", f"{name}:", f"Posted by {name}, {chance.randint(1, 12)} hours ago"))
        )
        lines += [f"> {chance.choice(text)[:80]}", paragraph] if chance.random() < 0.2 else [paragraph]
    return lines


def code(text: list[str], chance: Random) -> list[str]:
    """Some functions of Python's standard library, as a tutorial shows them."""
    source = chance.choice(_sources()).read_text(encoding="utf-8", errors="replace").split("\n")
    first, length = chance.randrange(len(source)), chance.randint(5, 80)
    shown = source[first : first + length]
    return [text[0], *shown, *text[1:2]] if chance.random() < 0.5 else shown


KINDS: Mapping[str, Callable[[list[str], Random], list[str]]] = {
    "part": part,
    "wrapped": wrapped,
    "verse": verse,
    "items": items,
    "table": table,
    "forum": forum,
    "code": code,
}


@cache
def _sources() -> tuple[Path, ...]:
    library = Path(sysconfig.get_path("stdlib"))
    return tuple(sorted(path for path in library.glob("*.py") if path.stat().st_size > 4_000))


def _text(pages: Sequence[Page], chance: Random) -> list[str]:
    """The gold text of a page with some, else its kept lines; blank lines as they stand."""
    for _ in range(20):
        page = chance.choice(pages)
        gold = page.gold.strip() or "\n".join(page.only(remove=False).lines).strip()
        if len(gold.split()) >= 30:
            return gold.split("\n")
    return ["A text of its own, short as it is, with one sentence and an end."]

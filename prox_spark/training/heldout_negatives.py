"""A second family of documents that are worth dropping, for evaluation only.

The kinds are those of `negatives`, but no generator, template or mechanism is shared with training, so that a refiner
which has only learnt the makers' habits is found out.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import TypedDict

from prox_spark.training.page import Page
from prox_spark.training.spinning import load_templates, spin

Generator = Callable[[Sequence[Page], Random], list[str]]

TEMPLATES = load_templates("evaluation")
MAX_LINES = 120
# Of one kind, before it is given up.
TRIES = 20
_LONGER_WORD = re.compile(r"[A-Za-z]{5,}")


class Negative(TypedDict):
    """One made document, as it is written to the file."""

    id: str
    kind: str
    text: str


def heldout_negatives(
    pages: Sequence[Page], count: int, seed: int = 1, foreign: Sequence[str] = ()
) -> Iterator[Negative]:
    """Make documents to evaluate with, the kinds in turn; the same for the same pages and seed.

    foreign: lines of other languages than the refiner's; without any, documents of them are made of menus alone.
    """
    kinds = list(GENERATORS)
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        lines: list[str] = []
        tries = 0
        while not any(line.strip() for line in lines):
            # Of pages without short noise some kinds cannot be made: another takes their place.
            kind = kinds[(number + tries // TRIES) % len(kinds)]
            lines = language_blocks(pages, chance, foreign) if kind == "languages" else GENERATORS[kind](pages, chance)
            tries += 1
        text = "\n".join(line for line in lines[:MAX_LINES] if line.strip())
        yield {"id": f"negative-{seed}-{number}", "kind": kind, "text": text}


def hollow_page(pages: Sequence[Page], chance: Random) -> list[str]:
    """A page whose text did not load: what stands above it and below it, perhaps with the headline between."""
    page = _rich(pages, chance, remove=True)
    kept = [number for number, remove in enumerate(page.remove) if not remove]
    first, last = (kept[0], kept[-1]) if kept else (len(page.lines), -1)
    above = [line for line in page.lines[:first] if _short(line)]
    below = [line for line in page.lines[last + 1 :] if _short(line)]
    headline = [page.lines[first]] if kept and _short(page.lines[first]) and chance.random() < 0.5 else []
    return [*above[-60:], *headline, *below[:60]]


def frames(pages: Sequence[Page], chance: Random) -> list[str]:
    """Every second or third line of several sites' furniture, as a crawler with broken layout saw them."""
    step = chance.choice((2, 3))
    chosen = [_rich(pages, chance, remove=True) for _ in range(chance.randint(2, 5))]
    return [
        line for page in chosen for line in _lines(page, remove=True)[::step][: chance.randint(5, 30)] if _short(line)
    ]


def site_index(pages: Sequence[Page], chance: Random) -> list[str]:
    """An index from A to Z, a trail of breadcrumbs, or a forum's list of topics, made of headlines."""
    titles = [_headline(chance.choice(pages), chance) for _ in range(chance.randint(8, 70))]
    shape = chance.randrange(3)
    if shape == 0:
        return ["A B C D E F G H I J K L M N O P Q R S T U V W X Y Z", *sorted(set(titles), key=str.casefold)]
    if shape == 1:
        return [f"Home > {' > '.join(chance.sample(titles, 2))}" for _ in titles]
    rest = "[Replies: {number}|{number} posts] [Views: {number}|] [by {word}|{date}|Sticky|]"
    fill = _fillers(pages, chance)
    return ["Topic / Author Replies Views Last post", *(f"{title} {spin(rest, chance, fill)}" for title in titles)]


def word_list(pages: Sequence[Page], chance: Random) -> list[str]:
    """All words of a page by alphabet or by how often they occur, as tag clouds and dictionaries dump them."""
    counts = Counter(_LONGER_WORD.findall(" ".join(_rich(pages, chance).lines).lower()))
    words = sorted(counts) if chance.random() < 0.5 else [word for word, _ in counts.most_common(200)]
    if chance.random() < 0.4:
        return [f"{word} {counts[word]}" for word in words]
    width = chance.randint(5, 40)
    return [" ".join(words[start : start + width]) for start in range(0, len(words), width)]


def spun_text(pages: Sequence[Page], chance: Random) -> list[str]:
    """A page whose longer words were exchanged for those of another: the grammar's shell without its meaning."""
    shell, words = _rich(pages, chance), _LONGER_WORD.findall(" ".join(_rich(pages, chance).lines)) or ["thing"]
    return [_LONGER_WORD.sub(lambda _: chance.choice(words).lower(), line) for line in _lines(shell)]


def letter_soup(pages: Sequence[Page], chance: Random) -> list[str]:
    """Pseudo-words of a chain of letters that has read one page."""
    text, order = " ".join(_lines(_rich(pages, chance))) + " ", chance.randint(2, 4)
    followers: dict[str, list[str]] = {}
    for place in range(len(text) - order):
        followers.setdefault(text[place : place + order], []).append(text[place + order])
    soup = text[:order]
    for _ in range(chance.randint(300, 4000)):
        soup += chance.choice(followers.get(soup[-order:]) or [" "])
    words, width = soup.split(), chance.randint(6, 60)
    return [" ".join(words[start : start + width]) for start in range(0, len(words), width)]


def stuck_record(pages: Sequence[Page], chance: Random) -> list[str]:
    """A generator that does not stop: one or two sentences over and over, now and then with a word changed."""
    sentences = [
        s for line in _lines(_rich(pages, chance)) for s in re.split(r"(?<=[.!?]) ", line) if len(s.split()) > 4
    ]
    loop = chance.sample(sentences, min(len(sentences), chance.randint(1, 2))) or ["Thank you for your visit."]
    lines = []
    for _ in range(chance.randint(8, 60)):
        words = " ".join(loop).split()
        words[chance.randrange(len(words))] = chance.choice(words)
        lines.append(" ".join(words))
    return lines


def reversed_text(pages: Sequence[Page], chance: Random) -> list[str]:
    """A page with the words of every line turned round, or shuffled within it: right words, no syntax."""
    lines = [line.split() for line in _lines(_rich(pages, chance))]
    if chance.random() < 0.5:
        return [" ".join(reversed(words)) for words in lines]
    return [" ".join(chance.sample(words, len(words))) for words in lines]


def spam(pages: Sequence[Page], chance: Random) -> list[str]:
    """Comment spam, essay mills, pills, bets: paragraphs of one or several trades."""
    fill = _fillers(pages, chance)
    trades = chance.sample(TEMPLATES["spam"], chance.randint(2, 8))
    return [
        " ".join(spin(chance.choice(trades), chance, fill) for _ in range(chance.randint(1, 4)))
        for _ in range(chance.randint(3, 30))
    ]


def linked_text(pages: Sequence[Page], chance: Random) -> list[str]:
    """Honest sentences with an advertisement's sentence after every one, as link farms publish them."""
    fill = _fillers(pages, chance)
    sentences = [line for line in _lines(_rich(pages, chance)) if 5 < len(line.split()) < 30][: chance.randint(2, 8)]
    pitch = chance.choice(TEMPLATES["spam"])
    return [
        part for line in sentences or ["Welcome"] for part in (line, *(spin(pitch, chance, fill) for _ in range(3)))
    ]


def listing_rows(pages: Sequence[Page], chance: Random) -> list[str]:
    """Rows of a shop, of coupons, of a directory or a scoreboard."""
    row, fill = chance.choice(TEMPLATES["rows"]), _fillers(pages, chance)
    return [spin(row, chance, fill) for _ in range(chance.randint(4, 100))]


def wall(pages: Sequence[Page], chance: Random) -> list[str]:
    """An error, a wall or a notice instead of the page; half of them below a site's head."""
    return _head(pages, chance) + _sentences("errors", chance.choice((1, 1, 2, 3, 5)), pages, chance)


def empty_site(pages: Sequence[Page], chance: Random) -> list[str]:
    """A site that is for sale, or not made yet."""
    return _sentences("parked", chance.randint(3, 25), pages, chance)


def machine(pages: Sequence[Page], chance: Random) -> list[str]:
    """One format of a machine, many times over, or all on one line."""
    row, fill = chance.choice(TEMPLATES["machine"]), _fillers(pages, chance)
    lines = [spin(row, chance, fill) for _ in range(chance.randint(4, 90))]
    return ["".join(lines)] if chance.random() < 0.2 else lines


def language_blocks(pages: Sequence[Page], chance: Random, foreign: Sequence[str] = ()) -> list[str]:
    """A site's menu, then a block of another language, then menus of a third."""
    menus = chance.sample(TEMPLATES["interface"], chance.randint(3, 12))
    start = chance.randrange(len(foreign)) if foreign else 0
    block = [line for line in foreign[start : start + chance.randint(2, 15)] if line.strip()]
    return [*(_head(pages, chance) or ["Home", "Contact"]), *block, *menus]


GENERATORS: Mapping[str, Generator] = {
    "hollow_page": hollow_page,
    "frames": frames,
    "site_index": site_index,
    "word_list": word_list,
    "spun_text": spun_text,
    "letter_soup": letter_soup,
    "stuck_record": stuck_record,
    "reversed_text": reversed_text,
    "spam": spam,
    "linked_text": linked_text,
    "listing_rows": listing_rows,
    "wall": wall,
    "empty_site": empty_site,
    "machine": machine,
    "languages": language_blocks,
}


def _lines(page: Page, remove: bool = False) -> list[str]:
    return [line for line, gone in zip(page.lines, page.remove, strict=True) if gone is remove and line.strip()]


def _rich(pages: Sequence[Page], chance: Random, remove: bool = False) -> Page:
    """A page with at least eight lines to keep (or to remove), or the best of thirty."""
    tried = [chance.choice(pages) for _ in range(30)]
    return next((p for p in tried if p.remove.count(remove) >= 8), max(tried, key=lambda p: p.remove.count(remove)))


def _short(line: str) -> bool:
    # Reader comments count as noise in the labels, but a page of them alone may be worth keeping: no sentences.
    return 0 < len(line.split()) <= 12 and not line.rstrip().endswith((".", "!", "?"))


def _headline(page: Page, chance: Random) -> str:
    found = [line.strip("•-» ") for line in page.lines if 3 <= len(line.split()) <= 10]
    return chance.choice(found) if found else "Untitled document"


def _head(pages: Sequence[Page], chance: Random) -> list[str]:
    lines = [line for line in _lines(_rich(pages, chance, remove=True), remove=True) if _short(line)]
    return lines[: chance.randint(1, 20)] if chance.random() < 0.5 else []


def _sentences(section: str, count: int, pages: Sequence[Page], chance: Random) -> list[str]:
    fill = _fillers(pages, chance)
    return [spin(template, chance, fill) for template in chance.choices(TEMPLATES[section], k=count)]


def _fillers(pages: Sequence[Page], chance: Random) -> dict[str, Callable[[], str]]:
    page = _rich(pages, chance)
    words = [word.lower() for word in _LONGER_WORD.findall(" ".join(_lines(page)))] or ["online"]
    places = [chance.randrange(len(words)) for _ in range(3)]
    terms = [" ".join(words[place : place + chance.randint(1, 2)]) for place in places]
    host = "".join(chance.choice(words) for _ in range(2))
    return {
        "term": lambda: chance.choice(terms),
        "word": lambda: chance.choice(words),
        "title": lambda: _headline(chance.choice(pages), chance),
        "site": lambda: host.title(),
        "domain": lambda: f"{host}.{chance.choice(('com', 'net', 'info', 'biz', 'co.uk'))}",
        "number": lambda: str(int(chance.paretovariate(0.5)) % 10**5),
        "price": lambda: f"{chance.choice(('US$ ', '£', 'EUR ', '$'))}{chance.randint(2, 4999)}",
        "year": lambda: str(chance.randint(2001, 2026)),
        "date": lambda: f"{chance.randint(2004, 2026)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
        "hex": lambda: f"{chance.getrandbits(16):04x}",
        "ip": lambda: f"10.{chance.randint(0, 255)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}",
    }

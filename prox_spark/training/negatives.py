"""Documents that are worth dropping, made for training from labelled pages and templates.

They have to be hard: boilerplate keeps a teaser sentence or two, spam is made of well-formed sentences, error pages
stand in the menus of a real site. The documents that a refiner is measured on come from other generators.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from random import Random

from prox_spark.training import nonsense
from prox_spark.training.nonsense import MAX_LINES, kept_lines
from prox_spark.training.page import Page
from prox_spark.training.spinning import load_templates, spin

Generator = Callable[[Sequence[Page], Random], list[str]]

TEMPLATES = load_templates("training")
_TRIES = 20
_TEASER_WORDS = 14
# The kind of documents whose lines are not those of what they were made from.
REFLOWED = "reflowed"
# Shares of documents that go on with one of another kind, and whose words are in lines of another length.
_JOINED, _REFLOWED = 0.15, 0.1
_WORD = re.compile(r"[^\W\d_]{4,}")


def negative(pages: Sequence[Page], chance: Random, foreign: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Make one document that is worth dropping: its kind, and its lines (never empty).

    foreign: lines of other languages than the refiner's, for documents that mix them with boilerplate.
    """
    kind, lines = _one(pages, chance, foreign)
    if chance.random() < _JOINED:
        # Crawlers glue together what has nothing to do with each other, and so do dumps of a site.
        lines = [*lines[: _length(chance)], *_one(pages, chance, foreign)[1]]
    if chance.random() < _REFLOWED:
        # A list of anything stands in columns or in one line, as its page's layout had it.
        kind, lines = REFLOWED, _as_lines(" ".join(lines).split(), chance)
    lines = [line for line in lines if line.strip()]
    return kind, lines[:MAX_LINES] or ["404 Not Found"]


def _one(pages: Sequence[Page], chance: Random, foreign: Sequence[str]) -> tuple[str, list[str]]:
    kind = chance.choice(list(GENERATORS))
    lines = other_languages(pages, chance, foreign) if kind == "other_languages" else GENERATORS[kind](pages, chance)
    return kind, lines


def boilerplate(pages: Sequence[Page], chance: Random) -> list[str]:
    """What is to be removed from one page, all of it or a run, with at most two teasers."""
    lines = _few_teasers(_removed(_noisy(pages, chance)), chance, 2)
    if chance.random() < 0.6:
        return lines
    length = min(len(lines), _length(chance))
    first = chance.randrange(len(lines) - length + 1)
    return lines[first : first + length]


def mixed_boilerplate(pages: Sequence[Page], chance: Random) -> list[str]:
    """Blocks of what is to be removed from several pages of one domain (or, where there is one page, of others)."""
    first = _noisy(pages, chance)
    same = [page for page in pages if page.domain == first.domain and page is not first]
    others = chance.sample(same, min(len(same), 3)) or [_noisy(pages, chance) for _ in range(chance.randint(1, 2))]
    blocks = []
    for page in [first, *others]:
        lines, size = _removed(page), chance.randint(3, 12)
        blocks += [lines[start : start + size] for start in range(0, len(lines), size)]
    chance.shuffle(blocks)
    return _few_teasers([line for block in blocks for line in block], chance, 2)[: _length(chance)]


def teasers(pages: Sequence[Page], chance: Random) -> list[str]:
    """A front page: headlines of other pages, each with the beginning of its text, cut off."""
    lines = []
    for _ in range(chance.randint(4, 18)):
        page = chance.choice(pages)
        start = next((line for line in kept_lines(page) if len(line.split()) > 15), "")
        cut = " ".join(start.split()[: chance.randint(8, 24)])
        lines.append(_title(page, chance))
        lines += [f"{cut}{chance.choice(('…', '...', ' [...]', ' Read more', ' More »'))}"] if cut else []
        lines += [chance.choice(("Read more", "0 Comments", "Share", "Continue reading →", _date(chance)))] * (
            chance.random() < 0.5
        )
    return _framed(lines, pages, chance)


def links(pages: Sequence[Page], chance: Random) -> list[str]:
    """Title-like lines of many pages one below the other, as archives, blogrolls and search results have them."""
    bullet = chance.choice(("", "", "• ", "» ", "- "))
    ending: Callable[[], str] = chance.choice(
        (lambda: "", lambda: "", lambda: f" ({chance.randint(1, 400)})", lambda: f" - {_date(chance)}")
    )
    lines = [f"{bullet}{_title(chance.choice(pages), chance)}{ending()}" for _ in range(_length(chance))]
    if chance.random() < 0.4:
        last = chance.randint(3, 90)
        shown = " ".join(str(n) for n in range(1, min(last, chance.randint(4, 12))))
        lines.append(f"{chance.choice(('', '« Previous ', 'Page: '))}{shown} … {last} Next »")
    return _framed(lines, pages, chance)


def tags(pages: Sequence[Page], chance: Random) -> list[str]:
    """Tag clouds, categories with counts, archives by month."""
    page, lines = chance.choice(pages), []
    for _ in range(chance.randint(1, 4)):
        shape = chance.randrange(4)
        terms = [_term(chance.choice((page, chance.choice(pages))), chance) for _ in range(chance.randint(6, 50))]
        if shape == 0:
            lines.append(chance.choice((", ", " ", " | ", " · ")).join(terms))
        elif shape == 1:
            lines += [f"{term.title()} ({chance.randint(1, 300)})" for term in terms]
        elif shape == 2:
            year = chance.randint(2004, 2025)
            lines += [f"{month} {year}" for month in _MONTHS]
        else:
            lines += [f"{chance.choice(('Tagged', 'Posted in', 'Filed under', 'Tags:'))} {', '.join(terms[:6])}"]
    return _framed(lines, pages, chance)


def word_salad(pages: Sequence[Page], chance: Random) -> list[str]:
    """Words of one or several pages in no order, in lines as long as the page's own."""
    sources = [chance.choice(pages) for _ in range(chance.randint(1, 3))]
    words = [word for page in sources for line in kept_lines(page) for word in line.split()]
    # Whole phrases that stay together make the salad harder to tell from text.
    size = chance.choice((1, 1, 2, 3, 5))
    phrases = [words[start : start + size] for start in range(0, len(words), size)]
    chance.shuffle(phrases)
    return _as_lines([word for phrase in phrases for word in phrase], chance)


def chain(pages: Sequence[Page], chance: Random) -> list[str]:
    """A walk along pairs of words: locally fluent, without sense."""
    followers: dict[str, list[str]] = {}
    words = [
        word for _ in range(chance.randint(3, 12)) for line in kept_lines(chance.choice(pages)) for word in line.split()
    ]
    for word, following in pairwise(words):
        followers.setdefault(word, []).append(following)
    walk = [chance.choice(words)] if words else []
    for _ in range(chance.randint(60, 900) if words else 0):
        walk.append(chance.choice(followers.get(walk[-1]) or words))
    return _as_lines(walk, chance)


def stuffing(pages: Sequence[Page], chance: Random) -> list[str]:
    """A text whose words give way to the same few search terms again and again."""
    page = chance.choice(pages)
    terms, rate = [_term(page, chance) for _ in range(chance.randint(1, 4))], chance.uniform(0.12, 0.35)
    lines = []
    for line in kept_lines(page):
        words = [chance.choice(terms) if chance.random() < rate else word for word in line.split()]
        lines.append(" ".join(words))
        if chance.random() < 0.25:
            lines.append(", ".join(chance.choice(terms) for _ in range(chance.randint(3, 15))))
    return lines


def sales(pages: Sequence[Page], chance: Random) -> list[str]:
    """Well-formed sentences that praise the same one or two things."""
    fill = _fillers(chance.choice(pages), pages, chance)

    def sentence() -> str:
        return spin(chance.choice(TEMPLATES["sales"]), chance, fill)

    lines = [" ".join(sentence() for _ in range(chance.randint(1, 5))) for _ in range(chance.randint(3, 25))]
    return _framed(lines, pages, chance, rate=0.3)


def products(pages: Sequence[Page], chance: Random) -> list[str]:
    """A shop's listing without a word of its own."""
    fill = _fillers(chance.choice(pages), pages, chance)
    item = chance.sample(TEMPLATES["products"], chance.randint(2, 5))
    count = chance.randint(2, MAX_LINES // len(item) - 5)
    return _framed([spin(template, chance, fill) for _ in range(count) for template in item], pages, chance)


def error_page(pages: Sequence[Page], chance: Random) -> list[str]:
    """What a server, a wall or a missing script says instead of the page."""
    return _templated(TEMPLATES["errors"], 1, 9, pages, chance)


def parked(pages: Sequence[Page], chance: Random) -> list[str]:
    """A domain without a site."""
    return _templated(TEMPLATES["parked"], 3, 24, pages, chance)


def remains(pages: Sequence[Page], chance: Random) -> list[str]:
    """What scripts and styles leave in a text."""
    return _templated(TEMPLATES["script"], 3, 40, pages, chance)


def logs(pages: Sequence[Page], chance: Random) -> list[str]:
    """What machines tell machines: one or two formats, over and over."""
    fill = _fillers(chance.choice(pages), pages, chance)
    kinds = chance.sample(TEMPLATES["logs"], chance.randint(1, 2))
    return [spin(chance.choice(kinds), chance, fill) for _ in range(_length(chance))]


def encoded(pages: Sequence[Page], chance: Random) -> list[str]:
    """Bytes as text, with or without the header of a mail or a key."""
    data = "\n".join(kept_lines(chance.choice(pages))).encode() if chance.random() < 0.5 else chance.randbytes(6000)
    width, count = chance.choice((48, 57, 60, 96)), _length(chance)
    pieces = [data[start : start + width] for start in range(0, len(data), width)][:count]
    as_hex = chance.random() < 0.4
    lines = [piece.hex(" ") if as_hex else base64.b64encode(piece).decode() for piece in pieces]
    if chance.random() < 0.4:
        lines = ['Content-Type: image/jpeg; name="image001.jpg"', "Content-Transfer-Encoding: base64", *lines]
    return lines


def other_languages(pages: Sequence[Page], chance: Random, foreign: Sequence[str] = ()) -> list[str]:
    """Lines of other languages among boilerplate; without such lines, the words of their sites' menus."""
    lines = _few_teasers(_removed(_noisy(pages, chance)), chance, 0)[: _length(chance)]
    pool = foreign if foreign and chance.random() < 0.7 else TEMPLATES["interface"]
    for _ in range(chance.randint(3, 3 + len(lines))):
        lines.insert(chance.randint(0, len(lines)), chance.choice(pool))
    return lines


def interlarded(pages: Sequence[Page], chance: Random) -> list[str]:
    """A text of a page between sentences that sell something."""
    fill = _fillers(chance.choice(pages), pages, chance)
    offers = [spin(template, chance, fill) for template in chance.sample(TEMPLATES["sales"], chance.randint(1, 6))]
    return nonsense.interlarded(pages, chance, offers)


GENERATORS: Mapping[str, Generator] = {
    "boilerplate": boilerplate,
    "mixed_boilerplate": mixed_boilerplate,
    "teasers": teasers,
    "links": links,
    "tags": tags,
    "word_salad": word_salad,
    "chain": chain,
    "stuffing": stuffing,
    "sales": sales,
    "products": products,
    "error_page": error_page,
    "parked": parked,
    "remains": remains,
    "logs": logs,
    "encoded": encoded,
    "other_languages": other_languages,
    "disordered": nonsense.disordered,
    "crossed": nonsense.crossed,
    "garbled": nonsense.garbled,
    "copies": nonsense.copies,
    "doorway": nonsense.doorway,
    "interlarded": interlarded,
}

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip


def _length(chance: Random) -> int:
    # Short documents are as frequent as long ones: log-uniform between 3 and the most.
    return round(3 * math.pow(MAX_LINES / 3, chance.random()))


def _removed(page: Page) -> list[str]:
    return [line for line, remove in zip(page.lines, page.remove, strict=True) if remove and line.strip()]


def _noisy(pages: Sequence[Page], chance: Random) -> Page:
    """A page with something to remove; where twenty tries find none, the one with most of it."""
    found = [chance.choice(pages) for _ in range(_TRIES)]
    return next((page for page in found if len(_removed(page)) >= 5), max(found, key=lambda page: sum(page.remove)))


def _few_teasers(lines: list[str], chance: Random, most: int) -> list[str]:
    long = [number for number, line in enumerate(lines) if len(line.split()) > _TEASER_WORDS]
    left = set(chance.sample(long, min(len(long), most)))
    # Comments are labelled as noise too, but a page of nothing else is not worth less than a forum.
    return [line for number, line in enumerate(lines) if number in left or number not in long] or ["Loading…"]


def _title(page: Page, chance: Random) -> str:
    titles = [line for line in page.lines if 3 <= len(line.split()) <= 14]
    return chance.choice(titles).lstrip("•-» ") if titles else _term(page, chance).title()


def _term(page: Page, chance: Random) -> str:
    """A phrase of one to three longer words that stand side by side in the page."""
    lines = kept_lines(page) or page.lines
    for _ in range(_TRIES):
        words = _WORD.findall(chance.choice(lines)) if lines else []
        if words:
            size, first = chance.choice((1, 2, 2, 3)), chance.randrange(len(words))
            return " ".join(words[first : first + size]).lower()
    return "online"


def _as_lines(words: list[str], chance: Random) -> list[str]:
    lines: list[str] = []
    start, typical = 0, chance.choice((8, 25, 60, 120))
    while start < len(words) and len(lines) < MAX_LINES:
        size = max(2, round(chance.gauss(typical, typical / 2)))
        lines.append(" ".join(words[start : start + size]))
        start += size
    return lines[: _length(chance) + 2]


def _templated(pool: Sequence[str], fewest: int, most: int, pages: Sequence[Page], chance: Random) -> list[str]:
    fill = _fillers(chance.choice(pages), pages, chance)
    lines = [spin(chance.choice(pool), chance, fill) for _ in range(chance.randint(fewest, most))]
    return _framed(lines, pages, chance)


def _framed(lines: list[str], pages: Sequence[Page], chance: Random, rate: float = 0.5) -> list[str]:
    """The lines within the menus and the foot of a site, or as they are."""
    if chance.random() > rate:
        return lines
    if chance.random() < 0.3:
        return [*chance.sample(TEMPLATES["menu"], chance.randint(2, 12)), *lines]
    around = _few_teasers(_removed(_noisy(pages, chance)), chance, 1)
    head, foot = chance.randint(0, min(len(around), 25)), chance.randint(0, min(len(around), 15))
    return [*around[:head], *lines, *around[len(around) - foot :]]


def _date(chance: Random) -> str:
    day, month, year = chance.randint(1, 28), chance.randrange(12), chance.randint(2003, 2026)
    return chance.choice(
        (f"{_MONTHS[month]} {day}, {year}", f"{day}/{month + 1}/{year}", f"{year}-{month + 1:02}-{day:02}")
    )


def _fillers(page: Page, pages: Sequence[Page], chance: Random) -> dict[str, Callable[[], str]]:
    """What templates' slots are filled with; the same few terms come back, as they do in real spam."""
    subjects = [_term(page, chance) for _ in range(chance.randint(1, 5))]
    return {
        "term": lambda: chance.choice(subjects) if chance.random() < 0.8 else _term(page, chance),
        "word": lambda: _term(page, chance).split()[0],
        "title": lambda: _title(chance.choice(pages), chance),
        "site": lambda: page.domain.removeprefix("www.").split(".")[0].title(),
        "domain": lambda: page.domain or "example.com",
        "number": lambda: str(chance.randint(1, 10 ** chance.randint(1, 4))),
        "price": lambda: f"{chance.choice('$£€')}{chance.randint(1, 999)}.{chance.choice(('00', '95', '99', '50'))}",
        "year": lambda: str(chance.randint(1998, 2026)),
        "date": lambda: _date(chance),
        "hex": lambda: f"{chance.getrandbits(24):06x}",
        "ip": lambda: ".".join(str(chance.randint(1, 254)) for _ in range(4)),
    }

"""Noise planted into clean lines: examples for deletions within a line, which labels of whole lines cannot give."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from prox_spark.training.programs import Verdict

# Share of the lines of a document that get something planted, between these two.
_RATE = (0.03, 0.25)
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=\w)")
_MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")


def planted(lines: Sequence[str], chance: Random) -> list[Verdict]:
    """The lines with noise in some of them, at least one, and the deletions that take it out again."""
    long = [number for number, line in enumerate(lines) if len(line.split()) >= 6]
    count = max(1, round(len(long) * chance.uniform(*_RATE)))
    chosen = set(chance.sample(long, min(count, len(long))))
    # A page's noise repeats itself, so one document has a few sorts of it.
    sorts = chance.sample(_SORTS, chance.randint(1, 3))
    return [
        _plant(line, chance.choice(sorts)(chance), chance) if number in chosen else Verdict(line)
        for number, line in enumerate(lines)
    ]


def _plant(line: str, noise: str, chance: Random) -> Verdict:
    ends = [match.end() for match in _SENTENCE_END.finditer(line)]
    roll = chance.random()
    if len(noise) == 1:
        # A control character stands anywhere, also within a word.
        place, added = chance.randint(1, len(line) - 1), noise
    elif roll < 0.2:
        place, added = 0, f"{noise} "
    elif roll < 0.5 and ends:
        place, added = chance.choice(ends), f"{noise} "
    else:
        place, added = len(line), f" {noise}"
    return Verdict(line[:place] + added + line[place:], deletions=((place, place + len(added)),))


def _date(chance: Random) -> str:
    day, month, year = chance.randint(1, 28), chance.choice(_MONTHS), chance.randint(2004, 2026)
    time = f"{chance.randint(1, 12)}:{chance.randint(0, 59):02} {chance.choice(('am', 'PM'))}"
    forms = (
        f"[{day} {month} {year}]",
        f"{month} {day}, {year} {time}",
        f"(updated {month} {day}, {year})",
        f"{time} |",
    )
    return chance.choice(forms)


def _share_count(chance: Random) -> str:
    number = chance.randint(0, 2000)
    forms = (f"Tweet {number}", f"Share{number}", f"{number} Shares", f"Like {number} Comments {number // 7}")
    return chance.choice((*forms, "Facebook Twitter Email", "Pin it", f"| {number} views"))


def _more(chance: Random) -> str:
    forms = (
        "Read more",
        "Read more »",
        "[Read more…]",
        "Continue reading →",
        "(more...)",
        "Click here for more",
        "Next »",
    )
    return chance.choice(forms)


def _mark(chance: Random) -> str:
    number = chance.randint(1, 60)
    forms = (
        "[edit]",
        f"[{number}]",
        "[citation needed]",
        f"#{number}",
        "(opens in new tab)",
        "^",
        "¶",
        "[hide]",
        "Reply",
    )
    return chance.choice(forms)


def _url(chance: Random) -> str:
    site = "".join(chance.choice("abcdefghiklmnoprstuw") for _ in range(chance.randint(4, 10)))
    path = f"{chance.randint(1, 99999)}{chance.choice(('', '.html', '?utm_source=feed', '#more'))}"
    return f"{chance.choice(('http://www.', 'https://', 'www.'))}{site}.{chance.choice(('com', 'org', 'net'))}/{path}"


def _notice(chance: Random) -> str:
    forms = (
        "Advertisement",
        "ADVERTISEMENT",
        "Story continues below",
        "Image: Getty",
        "Enlarge this image",
        "Print Email",
    )
    return chance.choice(forms)


def _control_character(chance: Random) -> str:
    return chance.choice("\x07\x0b\x1a\u200b\u200e\u00ad\ufeff\ufffd\u2028")


_SORTS: tuple[Callable[[Random], str], ...] = (_date, _share_count, _more, _mark, _url, _notice, _control_character)

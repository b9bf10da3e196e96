"""Documents as the web has them at its worst, made up by a seed: what has broken text tools, tokenizers and workers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

Document = tuple[str | None, bytes | None]
MEBIBYTE = 1 << 20

WORDS = ["river", "town", "water", "mill", "bridge", "stone", "flood", "road", "otter", "hill", "century", "valley"]
SPECIAL = ("</s>", "<s>", "[/doc]", "[doc]", "[000]", "<|endoftext|>", "[INST]", "<<SYS>>", "<unk>", "<0x0A>")
ODD = "\u202e\u2066\u200d\u200b\ufeff\u2028\u2029\x85\x0b\x0c\x1c\x1b[2J\u0000\ufffe\uffff\U0010ffff\u0301\u0489"
SCRIPTS = "漢字かなカナไทยكتابעבריתहिन्दीবাংলা한국어ĐıßſİÅﬁ𝔘𝔫𝔦😀👩‍👩‍👧‍👦🇩🇪"
PROGRAMS = ("drop_doc()", "remove_lines(all=True)", 'normalize(source_str="a", target_str="b")', "__import__('os')")


def prose(dice: random.Random, words: int) -> str:
    """Return plain lines of ten words."""
    lines = [" ".join(dice.choices(WORDS, k=10)) for _ in range(max(1, words // 10))]
    return "\n".join(lines)


def letters(dice: random.Random, alphabet: str, size: int) -> str:
    """Return so many characters of an alphabet."""
    return "".join(dice.choices(alphabet, k=size))


# Each takes dice and a size in characters, from a hundred to a mebibyte, and gives the bytes of a text.
KINDS: dict[str, Callable[[random.Random, int], bytes | None]] = {
    "prose": lambda dice, size: prose(dice, size // 6).encode(),
    "nothing": lambda dice, size: b"",
    "no text": lambda dice, size: None,
    "blanks": lambda dice, size: letters(dice, " \t\r\n\u3000\xa0", size).encode(),
    "newlines": lambda dice, size: b"\n" * size,
    "carriage returns": lambda dice, size: b"one\rtwo\r\n" * (size // 8),
    "a line without blanks": lambda dice, size: b"x" * size,
    "two letters": lambda dice, size: letters(dice, "xy", size).encode(),
    "one line of words": lambda dice, size: prose(dice, size // 6).replace("\n", " ").encode(),
    "one word a line": lambda dice, size: b"word\n" * (size // 5),
    "NUL": lambda dice, size: b"\0" * size,
    "controls": lambda dice, size: letters(dice, ODD, size // 4).encode("utf-8", "replace"),
    "scripts": lambda dice, size: letters(dice, SCRIPTS, size // 4).encode(),
    "combining marks": lambda dice, size: ("Z" + "\u0300\u0315\u035c" * (size // 7)).encode(),
    "digits": lambda dice, size: letters(dice, "0123456789", size).encode(),
    "base 64": lambda dice, size: letters(dice, "ABCDEFabcdef0123456789+/=", size).encode(),
    "minified": lambda dice, size: letters(dice, "(){};=>,.a0\"'\\", size).encode(),
    "brackets": lambda dice, size: b"[" * size,
    "quotes": lambda dice, size: letters(dice, "\"'\\\n", size).encode(),
    "mark-up": lambda dice, size: b"<script>alert(1)</script><td>\n" * (size // 30),
    "special tokens": lambda dice, size: "".join(dice.choices(SPECIAL, k=size // 6)).encode(),
    "numbered lines": lambda dice, size: "\n".join(f"[{n:03d}]{n}" for n in range(size // 8)).encode(),
    "programs": lambda dice, size: "\n".join(dice.choices(PROGRAMS, k=size // 20 + 1)).encode(),
    "one line often": lambda dice, size: (prose(dice, 10) + "\n").encode() * (size // 60 + 1),
    "not UTF-8": lambda dice, size: dice.randbytes(size),
    "cut off in a character": lambda dice, size: "漢".encode() * (size // 3) + b"\xe6\xbc",
    "a surrogate": lambda dice, size: b"text \xed\xa0\x80 and more" * (size // 20 + 1),
    "Latin-1": lambda dice, size: "caf\xe9 d\xe9j\xe0 vu\n".encode("latin-1") * (size // 14 + 1),
    "the refiner fails": lambda dice, size: f"{prose(dice, 30)}\n##ERROR##".encode(),
    "the refiner raises": lambda dice, size: f"{prose(dice, 30)}\n##CRASH##".encode(),
    "a broken program": lambda dice, size: f"{prose(dice, 30)}\n##BAD##".encode(),
    "a loop": lambda dice, size: f"{prose(dice, 30)}\nHome\n##LOOP##".encode(),
}


def hostile_documents(count: int = 1_000, largest: int = MEBIBYTE, seed: int = 6) -> list[Document]:
    """Return ids and texts, some of them null, some ids twice. Sizes are spread evenly over their magnitudes.

    One document in 49 has the largest size, and one is four times as large.
    """
    dice = random.Random(seed)
    documents: list[Document] = []
    kinds = list(KINDS.items())
    for number in range(count):
        name, make = kinds[number % len(kinds)]
        size = largest if number % 49 == 7 else int(100 * (largest / 100) ** (dice.random() * 0.75))
        documents.append((f"{number} {name}", make(dice, 4 * largest if number == 70 else size)))
    for number in range(3, count, 97):
        doc_id, text = documents[number]
        documents[number] = (None if number % 2 else documents[number - 1][0], text)
        documents.append((doc_id, b"another text under this id"))
    return documents


def ids_of(documents: list[Document]) -> Counter[str]:
    """Return the ids that are there, and how often."""
    return Counter(doc_id for doc_id, _ in documents if doc_id is not None)

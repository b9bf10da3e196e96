"""Splits that share neither a domain nor a near-duplicate."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

from datasketch import MinHash, MinHashLSH

# Jaccard similarity of two texts' shingles of five words above which they are taken for copies of each other.
SIMILAR = 0.7
_SHINGLE_WORDS = 5
_PERMUTATIONS = 128
# Bands and rows of the index: one of four numbers finds nearly all pairs that are as similar as that, and others beside
# them, which their sketches tell apart.
_BANDS = (32, 4)


class Groups:
    """Documents joined by their domain or by being near-duplicates; a group is never divided.

    Both joins reach on: where A copies B's text and B shares a domain with C, all three are one group. ``copies``
    counts the pages that were found to be near-duplicates of one from another domain.
    """

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._index = MinHashLSH(num_perm=_PERMUTATIONS, params=_BANDS)
        self._sketches: dict[str, MinHash] = {}
        self._domains: dict[str, str] = {}
        self.copies = 0

    def add(self, domain: str, text: str) -> None:
        """Take in one document: the text is what it says, without menus, which copies of a page do not share."""
        self._parent.setdefault(domain, domain)
        shingles = _shingles(text)
        if not shingles:
            return
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if key in self._domains:
            self._found(domain, self._domains[key])
            return
        sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
        sketch.update_batch(shingles)
        for like in sorted(self._index.query(sketch)):
            if sketch.jaccard(self._sketches[like]) >= SIMILAR:
                self._found(domain, self._domains[like])
        self._sketches[key] = sketch
        self._domains[key] = domain
        self._index.insert(key, sketch)

    def domains(self) -> list[str]:
        """All domains so far."""
        return list(self._parent)

    def group(self, domain: str) -> str:
        """The name of a domain's group: that of the first domain in the alphabet that belongs to it."""
        while (parent := self._parent[domain]) != domain:
            self._parent[domain] = self._parent[parent]
            domain = parent
        return domain

    def _found(self, domain: str, other: str) -> None:
        self.copies += domain != other
        first, second = sorted((self.group(domain), self.group(other)))
        self._parent[second] = first


def in_share(group: str, share: float, seed: int) -> bool:
    """Whether a group belongs to the ``share`` of all groups that are held out under this seed."""
    number = int(hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()[:12], 16)
    return number < share * 16**12


def _shingles(text: str) -> list[bytes]:
    words = text.lower().split()
    ends: Iterable[int] = range(_SHINGLE_WORDS, len(words) + 1)
    # Shorter texts say too little: two notices of six words are not copies of one page.
    if len(words) < 4 * _SHINGLE_WORDS:
        return []
    return sorted({" ".join(words[end - _SHINGLE_WORDS : end]).encode("utf-8", "surrogatepass") for end in ends})

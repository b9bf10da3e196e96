"""Which process is killed when: dealt from a seed, so that a run of faults can be had again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

# Points at which a driver kills itself: before a table's commit, and after one that it has not been told of.
COMMITS = ("commit:programs", "unseen:programs", "commit:refined", "unseen:refined", "unseen:quarantine", "end")
STAGES = {"refine": ("check", "write", "execute", "done"), "write": ("check", "write"), "execute": ("check", "execute")}
# Killed from outside after a stage of a slice has ended, and so in the next one.
VICTIMS = ("driver", "driver JVM", "executor", "Python worker", "cluster worker")
LONGEST_DELAY = 1.5
# Kills from outside (0) and at commits (1) take turns like this: of five, three come between data and commit, or
# between two tables.
TURNS = (1, 0, 0, 1, 1)
# A slice puts the rows that do not pass CHECK into quarantine, and then those on which its refiner fails.
WRITES_A_SLICE = {"unseen:quarantine": 2}


@dataclass(frozen=True)
class Fault:
    """One kill.

    point: of a driver that kills itself, else None; nth: which of its writes there, from 1.
    stage, delay: so many seconds after the nth end of a stage `victim` is killed.
    """

    number: int
    command: str
    victim: str
    point: str | None
    stage: str
    delay: float
    nth: int = 1

    @property
    def told(self) -> str:
        """When it happens, in words."""
        return f"{self.point or f'{self.delay:.2f} s after {self.stage}'}, no. {self.nth}"


def draw(seed: int, number: int, command: str, slices: int) -> Fault:
    """Return the fault of that number; the same one for the same seed.

    slices: how many the job still has to do. One of them is left out of the drawing of `nth`, except where there is no
    other: what a job before has written is not written again, and the fault would come too late.
    """
    chance = random.Random(f"{seed} {number}")
    stage, delay = chance.choice(STAGES[command]), chance.uniform(0, LONGEST_DELAY)
    turn = number % len(TURNS)
    # How many of its kind came before it.
    before = number // len(TURNS) * TURNS.count(TURNS[turn]) + TURNS[:turn].count(TURNS[turn])
    point, victim = None, "driver"
    if TURNS[turn]:
        point = dealt(seed, before, [one for one in COMMITS if command == "refine" or not _elsewhere(one, command)])
    else:
        victim = dealt(seed, before, VICTIMS)
    nth = 1 + chance.randrange(max(1, slices - 1) * WRITES_A_SLICE.get(point or stage, 1))
    return Fault(number, command, victim, point, stage, delay, nth)


def dealt(seed: int, number: int, cards: Sequence[str]) -> str:
    """Return the card of that number: each comes once before any comes again."""
    deck = list(cards)
    random.Random(f"{seed} {number // len(deck)} {deck[0]}").shuffle(deck)
    return deck[number % len(deck)]


def _elsewhere(point: str, command: str) -> bool:
    """Whether the command does not write to the point's table."""
    return point.endswith("refined" if command == "write" else "programs")

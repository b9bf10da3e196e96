"""Which process is killed when: drawn from a seed, so that a run of faults can be had again."""

from __future__ import annotations

import random
from dataclasses import dataclass

# Points at which a driver kills itself: before a table's commit, and after one that it has not been told of.
COMMITS = ("commit:programs", "unseen:programs", "commit:refined", "unseen:refined", "unseen:quarantine", "end")
STAGES = {"refine": ("check", "write", "execute", "done"), "write": ("check", "write"), "execute": ("check", "execute")}
# Killed from outside after a stage of a slice has ended, and so in the next one.
VICTIMS = ("driver", "driver JVM", "executor", "Python worker", "cluster worker")
LONGEST_DELAY = 1.5
# So that kills come between data and commit, and between two tables, often enough.
COMMIT_SHARE = 0.6


@dataclass(frozen=True)
class Fault:
    """One kill.

    point: of a driver that kills itself, else None. stage, delay: so many seconds after its end `victim` is killed.
    """

    number: int
    command: str
    victim: str
    point: str | None
    stage: str
    delay: float

    @property
    def told(self) -> str:
        """When it happens, in words."""
        return self.point or f"{self.delay:.2f} s after {self.stage}"


def draw(seed: int, number: int, command: str) -> Fault:
    """Return the fault of that number; the same one for the same seed."""
    chance = random.Random(f"{seed} {number}")
    stage = chance.choice(STAGES[command])
    victim, delay = chance.choice(VICTIMS), chance.uniform(0, LONGEST_DELAY)
    points = [point for point in COMMITS if command == "refine" or not _elsewhere(point, command)]
    point = chance.choice(points) if chance.random() < COMMIT_SHARE else None
    return Fault(number, command, "driver" if point else victim, point, stage, delay)


def _elsewhere(point: str, command: str) -> bool:
    """Whether the command does not write to the point's table."""
    return point.endswith("refined" if command == "write" else "programs")

"""The faults that `make test-faults` draws: the same for a seed, and enough of them at commits."""

from __future__ import annotations

from tests.faults.plan import COMMITS, VICTIMS, draw

COMMANDS = ("refine", "refine", "refine", "write", "write", "execute")


def test_faults_are_drawn_from_the_seed_and_reach_every_victim() -> None:
    for seed in range(1, 20):
        faults = [draw(seed, n, COMMANDS[n % len(COMMANDS)]) for n in range(30)]
        assert faults == [draw(seed, n, COMMANDS[n % len(COMMANDS)]) for n in range(30)]
        assert sum(fault.point is not None for fault in faults) >= 10
    many = [draw(seed, n, COMMANDS[n % len(COMMANDS)]) for seed in range(5) for n in range(30)]
    assert {fault.victim for fault in many} == set(VICTIMS)
    assert {fault.point for fault in many} >= set(COMMITS)
    assert not [fault for fault in many if fault.command == "write" and fault.point == "unseen:refined"]

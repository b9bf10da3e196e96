"""The faults that `make test-faults` deals: the same for a seed, enough of them at commits, of every victim in turn."""

from __future__ import annotations

from tests.faults.plan import COMMITS, VICTIMS, WRITES_A_SLICE, Fault, draw

COMMANDS = ("refine", "refine", "refine", "write", "write", "execute")


def faults_of(seed: int, slices: int = 3) -> list[Fault]:
    return [draw(seed, n, COMMANDS[n % len(COMMANDS)], slices) for n in range(30)]


def test_faults_are_drawn_from_the_seed_and_reach_every_victim() -> None:
    for seed in range(1, 20):
        faults = faults_of(seed)
        assert faults == faults_of(seed)
        points = [fault.point for fault in faults if fault.point is not None]
        assert len(points) == 18
        assert {"programs", "refined"} <= {point.partition(":")[2] for point in points}
        struck = [fault.victim for fault in faults if fault.point is None]
        assert set(struck[:5]) == set(struck[5:10]) == set(VICTIMS)
    many = [fault for seed in range(5) for fault in faults_of(seed)]
    assert {fault.victim for fault in many} == set(VICTIMS)
    assert {fault.point for fault in many} >= set(COMMITS)
    assert not [fault for fault in many if fault.command == "write" and fault.point == "unseen:refined"]


def test_a_write_is_drawn_that_the_slices_that_are_left_have() -> None:
    for slices in (1, 2, 3):
        many = [fault for seed in range(5) for fault in faults_of(seed, slices)]
        for point in ("commit:programs", "unseen:quarantine", None):
            most = max(1, slices - 1) * WRITES_A_SLICE.get(point or "", 1)
            assert {fault.nth for fault in many if fault.point == point} == set(range(1, most + 1))

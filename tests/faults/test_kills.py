"""Kills in a row at drawn points over WRITE and EXECUTE on a cluster; after that the tables as if nothing had been.

FAULTS_KILLS (default 6) and FAULTS_SEED (default 1) say how many and which; a table of what was done is printed,
whatever came of it. One that came too late is followed by another: as many kills take place as were asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.cluster import ROOT, Cluster, environment, family, kill
from tests.faults.conftest import FILES
from tests.faults.plan import Fault, draw
from tests.helpers.spark_jobs import check_accounts, contents, page, rows_of, run

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("FAULTS_KILLS", "6"))
SEED = int(os.environ.get("FAULTS_SEED", "1"))
# Commands whose runs over one set of tables are killed, one after the other, before it is finished and looked at.
ROUNDS = (("refine", "refine", "refine"), ("write", "write", "execute"))
PATIENCE = 600
# For a victim that is not there yet: Python workers come with the first task that needs one.
SOON = 60
# How a driver ends that has finished its job.
FINISHED = "exit code 0"
# Of this many kills, at least so many are to be at a commit.
MANY, AT_COMMITS = 30, 10


@dataclass
class Outcome:
    """What came of a fault: whether the process was killed, how the driver ended, and after how many slices."""

    fault: Fault
    killed: bool
    ended: str
    slices: int

    @property
    def left(self) -> int:
        """How many slices the same command would find not done on these tables."""
        return 0 if self.ended == FINISHED else FILES - self.slices


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_kills_in_a_row_leave_the_tables_of_an_undisturbed_run(
    spark: Any,
    cluster: Cluster,
    settings: dict[str, Any],
    undisturbed: dict[str, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes: list[Outcome] = []
    verdict = "ended before the tables were compared, or they differ"
    try:
        for number in itertools.count():
            wanted = KILLS - kills(outcomes)
            if wanted == 0 or len(outcomes) >= 2 * KILLS:
                break
            tables = str(tmp_path / f"tables-{number}")
            commands = ROUNDS[number % len(ROUNDS)]
            go_through(spark, cluster, {**settings, "tables": tables}, commands, wanted, outcomes)
            found = contents(spark, tables)
            last = f"seed {SEED}, after fault {outcomes[-1].fault.number}"
            for name, rows in undisturbed.items():
                assert found[name] == rows, f"{last}: {name} differs"
            told_of = [row.run_id for row in rows_of(spark, tables, "runs")]
            assert len(told_of) == len(set(told_of)), f"{last}: a run is told of twice"
        verdict = "0 lost, 0 doubled, tables equal row for row"
    finally:
        with capsys.disabled():
            print(f"\n{told(outcomes, verdict)}")
    assert kills(outcomes) == KILLS, "too many jobs ended before their fault came"
    if KILLS >= MANY:
        points = commit_points(outcomes)
        assert len(points) >= AT_COMMITS, "too few of the kills were at a commit"
        assert {"programs", "refined"} <= {point.partition(":")[2] for point in points}, "of one stage only"


def go_through(
    spark: Any, cluster: Cluster, job: dict[str, Any], commands: tuple[str, ...], wanted: int, outcomes: list[Outcome]
) -> None:
    """Let faults happen to one set of tables, `wanted` at most, and finish them; adds what came of each."""
    before = kills(outcomes)
    left = dict.fromkeys(commands, FILES)
    for command in commands:
        if kills(outcomes) - before == wanted:
            break
        if left[command] == 0:
            continue  # Finished in spite of its fault, or before it: another one would meet no work on these tables.
        if command == "execute":
            run(spark, command="write", **job)
        outcomes.append(suffer(cluster, job, draw(SEED, len(outcomes), command, left[command])))
        left[command] = min(left[command], outcomes[-1].left)
    for command in dict.fromkeys(commands):
        check_accounts(run(spark, command=command, **job))


def kills(outcomes: list[Outcome]) -> int:
    """How many of the faults took place."""
    return sum(one.killed for one in outcomes)


def commit_points(outcomes: list[Outcome]) -> list[str]:
    """Where those that took place at a commit did."""
    return [one.fault.point for one in outcomes if one.killed and one.fault.point is not None]


def test_the_shipped_refiner_killed_before_what_it_wrote_is_committed_and_while_it_reads(
    spark: Any, cluster: Cluster, settings: dict[str, Any], tmp_path: Path
) -> None:
    source = str(tmp_path / "source")
    for file in range(2):
        rows = [(f"{file}-{n}", page(n)) for n in range(4)]
        frame = spark.createDataFrame(rows, "doc_id string, text string").coalesce(1)
        frame.write.format("delta").mode("append").save(source)
    given = {**settings, "source": source, "refiners": ("web-lite",)}
    run(spark, tables=str(tmp_path / "undisturbed"), **given)
    tables = str(tmp_path / "tables")
    faults = (
        Fault(KILLS, "refine", "driver", "commit:programs", "write", 0.0, nth=2),
        Fault(KILLS + 1, "refine", "executor", None, "check", 0.5),
    )
    outcomes = [suffer(cluster, {**given, "tables": tables}, fault) for fault in faults]
    assert all(one.killed for one in outcomes), "a job ended before its fault came"
    run(spark, tables=tables, **given)
    assert contents(spark, tables) == contents(spark, str(tmp_path / "undisturbed"))


def suffer(cluster: Cluster, job: dict[str, Any], fault: Fault) -> Outcome:
    """Run a job on the cluster until its fault has come and it has ended."""
    if fault.command == "execute":
        job = {name: value for name, value in job.items() if name != "refiners"}
    else:
        job = {"refiners": ["scripted:noise"], **job}
    asked = {"job": job, "command": fault.command, "session": cluster.session()}
    asked |= {"die": fault.point, "nth": fault.nth}
    log = (cluster.logs / f"driver-{fault.number}.log").open("wb")
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.driver", json.dumps(asked)],
        env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
    )  # fmt: skip
    started: list[psutil.Process] = []
    heard: list[str] = []
    said: queue.Queue[str | None] = queue.Queue()
    listener = threading.Thread(target=_listen, args=(driver, said, heard), daemon=True)
    listener.start()
    killed = False
    try:
        if fault.point is None:
            killed = _wait_for(said, fault.stage, fault.nth)
            if killed:
                time.sleep(fault.delay)
                started = family(driver.pid)
                killed = _strike(cluster, driver, fault)
        driver.wait(PATIENCE)
    finally:
        # A JVM that has lost its Python ends what it is at.
        for process in started:
            with contextlib.suppress(psutil.Error):
                process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
    if fault.point is not None:
        killed = driver.returncode == -9
    listener.join(PATIENCE)
    slices = max((1 + int(line.split()[0]) for line in heard if line.endswith(" done")), default=0)
    return Outcome(fault, killed, "killed" if driver.returncode == -9 else f"exit code {driver.returncode}", slices)


def _listen(driver: subprocess.Popen[str], said: queue.Queue[str | None], heard: list[str]) -> None:
    assert driver.stdout is not None
    for line in driver.stdout:
        heard.append(line.rstrip())
        said.put(heard[-1])
    said.put(None)


def _wait_for(said: queue.Queue[str | None], stage: str, nth: int) -> bool:
    """Wait until a stage has ended for the nth time; False where the job ended before."""
    times = 0
    while (line := said.get(timeout=PATIENCE)) is not None:
        times += line.split()[-1:] == [stage]
        if times == nth:
            return True
    return False


def _strike(cluster: Cluster, driver: subprocess.Popen[str], fault: Fault) -> bool:
    """Kill the fault's victim; False where the job ends before there is one."""
    deadline = time.monotonic() + SOON
    while driver.poll() is None and time.monotonic() < deadline:
        if fault.victim == "cluster worker":
            cluster.kill_worker(fault.number % len(cluster.workers))
            return True
        victims = _victims(cluster, driver, fault.victim)
        if victims:
            kill(victims[0])
            return True
        time.sleep(0.05)
    return False


def _victims(cluster: Cluster, driver: subprocess.Popen[str], victim: str) -> list[psutil.Process]:
    """Processes of that kind that are there now."""
    if victim == "driver":
        return family(driver.pid)[-1:]
    if victim == "driver JVM":
        return [one for one in family(driver.pid) if one.name() == "java"]
    return cluster.executors() if victim == "executor" else cluster.python_workers()


def told(outcomes: list[Outcome], verdict: str) -> str:
    """The table of faults, and what became of the tables."""
    rows = [("fault", "command", "killed", "when", "done", "the driver")]
    for one in outcomes:
        fault = one.fault
        done = "yes" if one.killed else "no: too late"
        rows.append((str(fault.number), fault.command, fault.victim, fault.told, done, one.ended))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counted = f"seed {SEED}: {kills(outcomes)} kills, {len(commit_points(outcomes))} of them at a commit"
    return "\n".join([*lines, f"{counted}; {verdict}"])

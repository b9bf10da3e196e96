"""A Spark standalone cluster of one master and two workers, as processes of this machine that can be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import psutil

from prox_spark.java import find_java

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment() -> dict[str, str]:
    """What every process of the cluster is started with."""
    java, spec = find_java(), find_spec("pyspark")
    assert java is not None and spec is not None and spec.origin is not None
    return os.environ | {
        "JAVA_HOME": str(java.home),
        "SPARK_HOME": str(Path(spec.origin).parent),
        "PYTHONPATH": str(ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


class Cluster:
    """The cluster while the block lasts. `logs` is where its processes write what they say."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.port = free_port()
        self.master: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """What a session is given as `spark.master`."""
        return f"spark://127.0.0.1:{self.port}"

    def __enter__(self) -> Cluster:
        self.logs.mkdir(parents=True, exist_ok=True)
        self.master = self._start("master", "master.Master", "--port", str(self.port))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.2)
        for number in range(WORKERS):
            self._add_worker(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in [*self.workers, *([self.master] if self.master else [])]:
            for process in family(one.pid):
                kill(process)
            one.wait()

    def session(self) -> dict[str, str]:
        """Settings of a session on this cluster: one core an executor, and failures that are soon noticed."""
        return {
            "spark.master": self.url,
            "spark.executor.cores": "1",
            "spark.executor.memory": "512m",
            "spark.driver.memory": "768m",
            "spark.cores.max": str(WORKERS),
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "spark.task.maxFailures": "8",
        }

    def executors(self) -> list[psutil.Process]:
        """JVMs of executors that are there now."""
        return [one for worker in self.workers for one in family(worker.pid) if _runs(one, "CoarseGrainedExecutor")]

    def python_workers(self) -> list[psutil.Process]:
        """Python processes that do tasks now: the daemon's children."""
        found = [one for jvm in self.executors() for one in family(jvm.pid) if _runs(one, "pyspark.daemon")]
        return [one for one in found if _parent_runs(one, "pyspark.daemon")]

    def kill_worker(self, number: int) -> None:
        """Take a machine of the cluster away, executors and all, and put another in its place."""
        for process in family(self.workers[number].pid):
            kill(process)
        self.workers[number].wait()
        self._add_worker(number)

    def _add_worker(self, number: int) -> None:
        arguments = ("--cores", "1", "--memory", "1g", "--work-dir", str(self.logs / f"work-{number}"))
        worker = self._start(f"worker-{number}", "worker.Worker", *arguments, self.url)
        self.workers[number : number + 1] = [worker]

    def _start(self, name: str, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        start = Path(environment()["SPARK_HOME"], "bin", "spark-class")
        listening = ("--host", "127.0.0.1", "--webui-port", str(free_port()))
        with (self.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [str(start), f"org.apache.spark.deploy.{what}", *listening, *arguments],
                env=environment(), stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started, the youngest first."""
    try:
        one = psutil.Process(pid)
        return [*reversed(one.children(recursive=True)), one]
    except psutil.NoSuchProcess:
        return []


def kill(process: psutil.Process) -> None:
    """End a process of ours at once."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _runs(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in part for part in process.cmdline())
    except psutil.Error:
        return False


def _parent_runs(process: psutil.Process, word: str) -> bool:
    try:
        parent = process.parent()
    except psutil.Error:
        return False
    return parent is not None and _runs(parent, word)

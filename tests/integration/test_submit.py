"""The jobs and the demo as users start them: by a real `spark-submit`, each in a JVM of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from prox_spark.java import find_java

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def environment() -> dict[str, str]:
    java = find_java()
    assert java is not None
    more = {"JAVA_HOME": str(java.home), "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable, "COLUMNS": "120"}
    return os.environ | more


def submit(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one job by spark-submit with the settings for one machine."""
    spec = find_spec("pyspark")
    assert spec is not None and spec.origin is not None
    spark_home = Path(spec.origin).parent
    command = [str(spark_home / "bin" / "spark-submit"), "--properties-file", str(ROOT / "conf" / "local.conf")]
    command += ["--master", "local[2]", "--driver-memory", "1g", "--driver-java-options", QUICK_START]
    command += [str(ROOT / "jobs" / job), *arguments]
    with_home = environment() | {"SPARK_HOME": str(spark_home)}
    return subprocess.run(command, cwd=ROOT, env=with_home, capture_output=True, text=True, check=False)


def pages_in(tmp_path: Path, texts: list[str]) -> list[str]:
    """Write a file of pages and return the flags that name it, and tables beside it."""
    pages = tmp_path / "pages.jsonl"
    rows = [{"doc_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    pages.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return ["--source", str(pages), "--format", "jsonl", "--tables", str(tmp_path / "tables")]


@pytest.mark.slow
def test_write_then_execute_as_two_jobs(tmp_path: Path) -> None:
    text = "Home\nA line with more than ten words, so that the page is worth keeping for it alone.\nShare"
    where = pages_in(tmp_path, [f"{text}\nPage number {n}, as it came." for n in range(5)])

    wrote = submit("write.py", *where, "--refiner", "scripted:short-lines", "--preflight", "off")
    assert wrote.returncode == 0, wrote.stderr
    assert "5 written" in wrote.stdout
    executed = submit("execute.py", *where)
    assert executed.returncode == 0, executed.stderr
    assert "5 refined" in executed.stdout


def test_an_error_is_one_message_and_its_exit_code(tmp_path: Path) -> None:
    done = submit(
        "refine.py", "--source", str(tmp_path / "no"), "--tables", f"{tmp_path}/t", "--refiner", "scripted:no"
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_spent_error_budget_is_exit_code_3_and_what_was_done_stays(tmp_path: Path) -> None:
    text = "Home\nA line with more than ten words, so that the page is worth keeping for it alone."
    where = pages_in(tmp_path, [f"{text}\n{'##ERROR##' if n < 25 else n}" for n in range(30)])
    done = submit("refine.py", *where, "--refiner", "scripted:noise", "--preflight", "off")
    assert done.returncode == 3, done.stderr
    # On stderr Spark's own log has the stream's end as well.
    assert "failed on 25 of 30 documents" in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stdout
    assert list((tmp_path / "tables" / "refined").glob("*.parquet"))


def test_the_demo(tmp_path: Path) -> None:
    command = [sys.executable, "demo/demo.py", "--out", str(tmp_path), "--refiner", "scripted:short-lines"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (
        "56 pages in the Delta table",
        "Documents by status",
        "Lines removed from most pages",
        "Where to look next",
    ):
        assert text in done.stdout, text
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">56<" in report
    assert {path.name for path in (tmp_path / "tables").iterdir()} >= {"programs", "refined", "quarantine", "runs"}

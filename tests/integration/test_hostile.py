"""A thousand hostile documents: the job ends, every one is accounted for, and a worker's memory is bounded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from prox_spark.refiner.scripted import CODED_FAILURES
from tests.helpers.hostile import hostile_documents, ids_of
from tests.helpers.spark_jobs import LONG, check_accounts, check_places, rows_of, run

pytestmark = pytest.mark.integration

LARGEST = 200_000
MOST_MEBIBYTES = 1_000


def worker_peaks() -> list[float]:
    """Return the most memory that each Python worker of this process ever had, in MiB; empty where nothing tells."""
    peaks = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "pyspark.daemon" not in process.cmdline():
                continue
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        except (OSError, psutil.Error):  # it ended while we looked, or there is no /proc
            continue
        peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
    return peaks


def test_a_thousand_hostile_documents(
    spark: Any, tables: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = hostile_documents(1_000, LARGEST)
    documents += [(code, f"{LONG}\n{marker}".encode()) for marker, code in CODED_FAILURES.items()]
    assert len(documents) > 1_000 and len(ids_of(documents)) > 900
    path = str(tmp_path / "source")
    frame = spark.createDataFrame(documents, "doc_id string, raw binary")
    frame.selectExpr("doc_id", "cast(raw as string) as text").coalesce(2).write.format("delta").save(path)
    guards = {"max_bytes": 4 * LARGEST - 1, "max_lines": 100_000}
    done = run(spark, path, tables, guards=guards, max_tokens=20_000, max_error_rate=1.0, preflight="off")
    check_accounts(done)
    counts = Counter(done.counts)
    assert counts["rows"] == len(documents)
    quarantine = rows_of(spark, tables, "quarantine")
    assert {row.reason for row in quarantine} >= {
        *("null_id", "null_text", "invalid_utf8", "too_large", "too_many_lines", "duplicate_id"),
        *("too_many_tokens", "program_error"),
    }
    coded = {row.doc_id: row for row in quarantine if row.doc_id in CODED_FAILURES.values()}
    for marker, code in CODED_FAILURES.items():
        assert (coded[code].stage, coded[code].reason) == ("write", code)
        assert marker in coded[code].detail and coded[code].text == f"{LONG}\n{marker}"
    unnamed = {row.doc_id for row in quarantine if row.reason == "null_id"}
    check_places(spark, tables, set(ids_of(documents)) | unnamed)
    if not Path("/proc/self/status").exists():
        pytest.skip("every document is accounted for; what memory workers took cannot be told without /proc")
    peaks = worker_peaks()
    with capsys.disabled():
        print(f"\npeak memory of Python workers: {', '.join(f'{peak:.0f} MiB' for peak in peaks)}")
    assert peaks and max(peaks) < MOST_MEBIBYTES

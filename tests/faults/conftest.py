"""What fault tests share: a source that everything happens to, and what is to be in the tables in the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.spark_jobs import contents, page, run

# In the second file a document goes to `quarantine`, in the third it comes back.
FILES, ROWS_A_FILE = 3, 12


@pytest.fixture(scope="session")
def source(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Files of good pages, pages on which the refiner fails, bad rows, an id that stands in every file, and one whose
    text is missing in every second file: it moves from `refined` to `quarantine` and back.
    """
    path = str(tmp_path_factory.mktemp("faults") / "source")
    for file in range(FILES):
        rows: list[tuple[str | None, str | None, int]] = []
        for n in range(ROWS_A_FILE):
            marker = {3: "##ERROR##", 5: "##DROP##", 7: "##BAD##"}.get(n, "a line of its own that is long enough")
            rows.append((f"{file}-{n}", page(n, marker) if n != 9 else None, n))
        rows += [(None, page(file), 0), ("everywhere", page(1_000), file)]
        rows.append(("moves", page(2_000) if file % 2 == 0 else None, file))
        frame = spark.createDataFrame(rows, "doc_id string, text string, n int").coalesce(1)
        frame.write.format("delta").mode("append").save(path)
    return path


@pytest.fixture(scope="session")
def settings(source: str) -> dict[str, Any]:
    """Of every job: each file is a slice, and errors of the refiner are no reason to stop."""
    return {"source": source, "batch_bytes": 1, "max_error_rate": 1.0, "preflight": "off"}


@pytest.fixture(scope="session")
def undisturbed(spark: Any, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What is in the tables after one run that nothing happened to."""
    tables = str(tmp_path_factory.mktemp("undisturbed") / "tables")
    run(spark, tables=tables, **settings)
    return contents(spark, tables)

"""Sources, runs and accounts for the tests of Spark jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prox_spark.config import job_settings
from prox_spark.spark.job import RunSummary, run_job
from prox_spark.spark.tables import Tables

# Differ from run to run.
PER_RUN = {
    "programs": {"run_id", "written_at"},
    "refined": {"run_id", "refined_at"},
    "quarantine": {"run_id", "quarantined_at"},
}
# As `prox-spark` starts Spark on one machine, but for two cores and small shuffles.
SESSION = {
    "spark.master": "local[2]",
    "spark.driver.memory": "2g",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    # Tests run many small queries once: compile them quickly rather than well. And keep what was compiled: with one
    # level of compiling there would be room for 48 MB, and a thread would be busy making more.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC",
}
LONG = "This line has quite enough words in it to be kept by any rule that counts the words of a line"


def page(n: int, *more: str) -> str:
    """Return a page of two good lines, two short ones, and what else is asked for."""
    return "\n".join([f"{LONG} {n}", "Home", *more, f"Another good line of page {n}: {LONG}", "Log in"])


def rows_of(spark: Any, tables: str, table: str) -> list[Any]:
    """Return all rows of a table under a directory."""
    return spark.read.format("delta").load(f"{tables}/{table}").collect()


def run(spark: Any, source: str, tables: str, command: str = "refine", **settings: Any) -> RunSummary:
    """Run a job with the scripted refiner `noise`, unless told otherwise."""
    settings.setdefault("refiners", () if command == "execute" else ("scripted:noise",))
    made = job_settings(source=source, tables=tables, **settings)
    return run_job(made, command, spark=spark)  # type: ignore[arg-type]


def keep_answers(spark: Any, tables: str, documents: Any, run_id: str) -> None:
    """Put an answer for each document (doc_id, text) into `annotations`: that of a model which gave its text back."""
    home = Tables(tables)
    home.create(spark, names=("annotations",))
    answers = documents.where("doc_id IS NOT NULL AND text IS NOT NULL").select("doc_id", "text").distinct()
    rows = answers.selectExpr(
        *("doc_id", "sha2(text, 256) AS text_hash", "0 AS chunk", "'clean' AS task", "'hash' AS prompt_hash"),
        *("'big' AS model", "'ok' AS status", "text", "text AS answer", f"'{run_id}' AS run_id"),
    )
    home.append(rows, "annotations")


def check_accounts(summary: RunSummary) -> None:
    """Assert that a run's counts add up to the rows of its source."""
    counts = Counter(summary.counts)
    statuses = sum(counts[name] for name in ("refined", "unchanged", "dropped", "fallback"))
    assert counts["rows"] == counts["documents"] + summary.duplicates
    if summary.command != "write":
        assert counts["documents"] == statuses + counts["quarantined"] + counts["already"] + counts["without_programs"]
    reasons = sum(n for name, n in counts.items() if name.startswith("quarantined."))
    assert counts["quarantined"] == reasons


def check_places(spark: Any, tables: str, ids: set[str]) -> None:
    """Assert that every id is in `refined` or in `quarantine`, and in `refined` once."""
    refined = [row.doc_id for row in rows_of(spark, tables, "refined")]
    quarantined = {row.doc_id for row in rows_of(spark, tables, "quarantine")}
    assert len(refined) == len(set(refined))
    assert not set(refined) & quarantined
    assert set(refined) | quarantined == ids


def contents(spark: Any, tables: str) -> dict[str, list[str]]:
    """Every row of every table as text, in order, without what differs from run to run."""
    found = {}
    for name, left_out in PER_RUN.items():
        rows = [
            {k: v for k, v in row.asDict(True).items() if k not in left_out} for row in rows_of(spark, tables, name)
        ]
        found[name] = sorted(str(sorted(row.items())) for row in rows)
    return found


def plan_nodes(spark: Any, since: int = 0) -> Iterator[tuple[int, Any, Any]]:
    """Give every node of the plans of all queries from number `since` on: the query's number, node, query's metrics."""
    store = spark._jsparkSession.sharedState().statusStore()
    executions = store.executionsList()
    for n in range(executions.size()):
        number = executions.apply(n).executionId()
        if number < since:
            continue
        values = store.executionMetrics(number)
        nodes = store.planGraph(number).allNodes()
        for m in range(nodes.size()):
            yield number, nodes.apply(m), values


def metric(node: Any, values: Any, name: str) -> str | None:
    """Return a metric of a node as Spark shows it; None where it has none of this name, or no value yet."""
    metrics = node.metrics()
    named = (one.accumulatorId() for one in map(metrics.apply, range(metrics.size())) if one.name() == name)
    return next((values.apply(one) for one in named if values.contains(one)), None)


def udf_rows(spark: Any, since: int = 0) -> Counter[str]:
    """Return the rows out of each Python stage in all queries from number `since` on, by Spark's own metrics."""
    found: Counter[str] = Counter()
    for _, node, values in plan_nodes(spark, since):
        rows = metric(node, values, "number of output rows") if "MapInArrow" in node.name() else None
        if rows is not None:
            udfs = ("WriteUdf", "ExecuteUdf", "MeasureUdf", "ProbeUdf")
            found[next((udf for udf in udfs if udf in node.desc()), node.desc())] += int(rows.replace(",", ""))
    return found


def last_query(spark: Any) -> int:
    """Return the number that Spark's next query will have."""
    executions = spark._jsparkSession.sharedState().statusStore().executionsList()
    return 1 + max((executions.apply(n).executionId() for n in range(executions.size())), default=-1)


def plans_with_python(spark: Any, since: int = 0) -> dict[int, int]:
    """Return how many Python stages of ours stand in the plan of each query that has any, by the query's number."""
    return dict(Counter(number for number, node, _ in plan_nodes(spark, since) if "MapInArrow" in node.name()))


# Plans show no more of a path than this many characters.
SHOW_PATHS = {"spark.sql.maxMetadataStringLength": "1000"}


def showing_paths(spark: Any) -> Any:
    """Return a new session under SHOW_PATHS."""
    session = spark.newSession()
    for name, value in SHOW_PATHS.items():
        session.conf.set(name, value)
    return session


def scanned_bytes(spark: Any, path: str, since: int = 0) -> int:
    """Return the size of the files under a path that queries from number `since` on have read, by Spark's metrics.

    The queries must have been made under SHOW_PATHS.
    """
    read = (
        metric(node, values, "size of files read")
        for _, node, values in plan_nodes(spark, since)
        if node.name().startswith("Scan") and path in _location(node.desc()) and "_delta_log" not in node.desc()
    )
    return sum(_size(shown) for shown in read if shown is not None)


def _location(described: str) -> str:
    """The part of a scan's description that says where its files are; filters of other scans name paths as well."""
    return described.partition("Location: ")[2].partition("]")[0]


def _size(shown: str) -> int:
    """'1.5 KiB' -> 1536; of several figures the total, which stands first."""
    number, unit = shown.strip().splitlines()[-1].split(" (")[0].split()[:2]
    return int(float(number.replace(",", "")) * 1024 ** ("B", "KiB", "MiB", "GiB").index(unit))

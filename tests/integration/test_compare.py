"""Two policies over one purchase of programs: what a plan says before, and what `diff` says after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prox_spark.config import job_settings
from prox_spark.errors import SourceError
from prox_spark.progress import plan_rows
from prox_spark.spark.compare import compare
from prox_spark.spark.job import plan_job
from tests.helpers.spark_jobs import page, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_a_plan_says_what_is_done_again_and_diff_what_came_of_it(spark: Any, tables: str, tmp_path: Path) -> None:
    source, other = str(tmp_path / "source"), str(tmp_path / "other")
    rows = [
        ("a", page(1, "One two three four five")),
        ("b", page(2)),
        ("c", page(3, "Five words stand in here")),
        ("n", None),
    ]
    frame = spark.createDataFrame(rows, "doc_id string, text string")
    frame.write.format("delta").save(source)
    run(spark, source, tables, refiners=("scripted:scored",), preflight="off")

    def plan(**settings: Any) -> Any:
        settings = {"refiners": ("scripted:scored",), "preflight": "off", **settings}
        return plan_job(job_settings(source=source, tables=tables, **settings), spark=spark)

    def shown(plan: Any) -> dict[str, str]:
        return dict(plan_rows(plan, job_settings(source=source, tables=tables)))

    same, bolder, scripted = plan(), plan(caution="aggressive"), plan(refiners=("scripted:noise",))
    assert (same.already, same.to_do, same.to_write) == (3, {}, 0)
    assert (bolder.already, bolder.to_do, bolder.to_write) == (0, {"policy": 3}, 0)
    assert (scripted.already, scripted.to_do, scripted.to_write) == (0, {"refiner": 3}, 3)
    assert shown(same)["done before"].startswith("3: nothing is done")
    assert shown(bolder)["other policy"].startswith("3 in refined by another policy")
    assert shown(scripted)["other refiner"].startswith("3 in refined by the programs of another refiner")

    spark.sql(f"UPDATE delta.`{source}` SET text = concat(text, '!') WHERE doc_id = 'b'")
    spark.createDataFrame([("d", page(4))], frame.schema).write.format("delta").mode("append").save(source)
    assert plan().to_do == {"text": 1, "new": 1} and plan().already == 2

    run(spark, source, other, "execute", programs=tables, caution="aggressive")
    found = compare(spark, tables, other)
    assert (found.a.documents, found.b.documents) == (4, 3)
    assert found.a.refiners == ("scripted:scored 1",) and found.a.policies == ("strict",)
    # Of the source's newest text there are no programs, so that the other tables lack b; d came after both.
    pairs = {(pair.status_a, pair.status_b): (pair.documents, pair.same) for pair in found.pairs}
    assert pairs == {("refined", "refined"): (2, 0), ("refined", None): (1, 0), ("quarantined", "quarantined"): (1, 0)}
    of_source, of_a, of_b = found.words
    assert of_source > of_a == of_b + 10
    assert {page.a.doc_id for page in found.pages} == {"a", "c"} and found.pages[0].words_a == found.pages[
        0
    ].words_b + 5
    # Where the lines that go are only told, the text is the source's on both sides: what is told is compared.
    told = [str(tmp_path / name) for name in ("told", "told_too", "told_otherwise")]
    for place, caution in zip(told, ("balanced", "balanced", "aggressive"), strict=True):
        run(spark, source, place, "execute", programs=tables, caution=caution, mode="tag")
    alike, unlike, mixed = (compare(spark, told[0], place) for place in (told[1], told[2], other))
    assert {(p.status_a, p.status_b, p.documents, p.same) for p in alike.pairs if p.status_a == "refined"} == {
        ("refined", "refined", 2, 2)
    }
    for found in (unlike, mixed):
        assert {(p.status_a, p.status_b, p.documents, p.same) for p in found.pairs if p.status_a == "refined"} == {
            ("refined", "refined", 2, 0)
        }
        assert {page.a.original for page in found.pages} == {True} and len(found.pages) == 2
    # Lines that one chunk removes at once and two chunks one after the other are the same lines.
    refined = spark.read.format("delta").load(f"{told[0]}/refined")
    rows = [row.asDict(recursive=True) for row in refined.collect()]
    for place, runs in ((told[0], [(0, 1)]), (told[1], [(0, 0), (1, 1)])):
        for row in rows:
            row["edits"] = [{**row["edits"][0], "first_line": first, "last_line": last} for first, last in runs]
        made = spark.createDataFrame(rows, refined.schema)
        made.write.format("delta").mode("overwrite").save(f"{place}/refined")
    (same,) = (p for p in compare(spark, told[0], told[1]).pairs if p.status_a == "refined")
    assert (same.documents, same.same) == (2, 2)
    with pytest.raises(SourceError, match="there is no table 'refined'"):
        compare(spark, tables, str(tmp_path / "nowhere"))

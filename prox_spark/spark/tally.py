"""What a slice holds, and what of it the tables know already: found by one join of keys, counted in one reading."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from prox_spark.spark.check import JSON_TIMES
from prox_spark.spark.work import Desk, Work

SUMMED = (
    "rows",
    "bytes",
    "done",
    "done_here",
    "replaces",
    "superseded",
    "in_quarantine",
    "written",
    "unwritten",
    "unwritten_bytes",
)


@dataclass
class Tally:
    """What a slice holds, counted in one reading: rows after equal ones were taken together.

    rows, bad, bytes: documents, those with a reason, bytes of text.
    reasons: bad rows by reason. done: already executed (refine, execute) or written (write), `done_here`: in this run.
    replaces: rows whose id is in `refined`. superseded: rows in whose place this run had put another one before.
    in_quarantine: rows whose id is there. written: good, with programs. unwritten, unwritten_bytes: good, not done and
    without programs. good_bytes: bytes of good rows; largest: of the largest of them. duplicates: rows with the id and
    the text of another row. causes: good rows that are not done, by what is new about them (`new`, `text`, `refiner`,
    `policy`, `carried`).
    """

    rows: int = 0
    bad: int = 0
    bytes: int = 0
    done: int = 0
    done_here: int = 0
    replaces: int = 0
    superseded: int = 0
    in_quarantine: int = 0
    written: int = 0
    unwritten: int = 0
    unwritten_bytes: int = 0
    good_bytes: int = 0
    largest: int = 0
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    causes: dict[str, int] = field(default_factory=dict)

    @property
    def todo(self) -> int:
        """Documents that passed CHECK and are not done."""
        return self.rows - self.bad - self.done


def place_and_count(desk: Desk, checked: DataFrame) -> tuple[DataFrame, Tally]:
    """The checked documents with what the tables know of them, and their count.

    What documents carry is compared only where some seem to be done: of new ones, the rule, nothing can have changed,
    and a slice of them need not read what all others carry. A plan, which has to read its source anew for a second
    count, compares at once.
    """
    matters = bool(desk.work.source.carried) and desk.work.command != "write"
    compared = matters and desk.number < 0
    placed = place(desk, checked, compared)
    tally = count(placed)
    if matters and not compared and tally.done:
        placed = place(desk, checked, compared=True)
        tally = count(placed)
    return placed, tally


def place(desk: Desk, checked: DataFrame, compared: bool) -> DataFrame:
    """The checked documents with what the tables know of them: the columns of FLAGS.

    compared: a document that carries other values than in `refined` is not done.
    """
    work, spark = desk.work, desk.spark
    placed = checked
    for table, columns in (
        ("refined", ("text_hash", "write_key", "policy_key", "run_id", *(("carries",) if compared else ()))),
        ("programs", ("text_hash", "run_id", "error")),
        ("quarantine", ("run_id",)),
    ):
        owner = work.programs_in if table == "programs" else work.tables
        known = table not in work.empty and owner.exists(spark, table)
        there = owner.read(spark, table) if known else None
        if there is not None and table == "programs":
            there = there.where(F.col("write_key") == work.refiners.write_key)
        if there is not None and table == "quarantine":
            there = there.groupBy("doc_id").agg(F.max("run_id").alias("run_id"))
        if there is not None and table == "refined" and compared:
            there = there.withColumn("carries", _carries(work, there))
        if there is None or there.select("run_id").first() is None:
            placed = placed.select("*", *_nothing(table, columns))
            continue
        there = there.select(F.col("doc_id").alias(f"_{table}_id"), *[F.col(c).alias(f"_{table}_{c}") for c in columns])
        match = placed["doc_id"].eqNullSafe(there[f"_{table}_id"])
        if table == "programs":
            match &= placed["text_hash"].eqNullSafe(there["_programs_text_hash"])
        placed = placed.join(there, match, "left")
    before = [F.col(f"`{name}`") for name in checked.columns]
    alike = F.col("_refined_carries").eqNullSafe(_carries(work, checked)) if compared else F.lit(True)
    return placed.select(*before, *[flag.alias(name) for name, flag in _flags(work, alike).items()])


def _carries(work: Work, rows: DataFrame) -> Column:
    """A hash of what rows hold in the columns that the source carries; one that the rows lack is null in them."""
    there = {name.lower() for name in rows.columns}
    values = [
        (F.col(f"`{field.name}`") if field.name.lower() in there else F.lit(None).cast(field.dataType)).alias(f"c{n}")
        for n, field in enumerate(work.source.carried)
    ]
    # By JSON, because maps cannot be hashed, and because a hash of columns does not tell which of them are null.
    return F.xxhash64(F.to_json(F.struct(*values), JSON_TIMES))


def _flags(work: Work, alike: Column) -> dict[str, Column]:
    """The columns of FLAGS, over what the joins with the tables brought; alike: carries what it carries there."""
    run = F.lit(work.run_id)
    good = F.col("reason").isNull()
    same = F.col("_refined_text_hash").eqNullSafe(F.col("text_hash"))
    written = F.col("_programs_id").isNotNull()
    if work.command == "write":
        done = good & written & F.col("_programs_error").isNull()
        here = F.col("_programs_run_id") == run
    else:
        done = (
            good
            & same
            & (F.col("_refined_write_key") == work.refiners.write_key)
            & (F.col("_refined_policy_key") == work.policy_key)
            & alike
        )
        here = F.col("_refined_run_id") == run
    done = F.coalesce(done, F.lit(False))
    cause = (
        F.when(F.col("_refined_id").isNull(), "new")
        .when(~same, "text")
        .when(F.col("_refined_write_key") != work.refiners.write_key, "refiner")
        .when((F.col("_refined_policy_key") == work.policy_key) & ~alike, "carried")
        .otherwise("policy")
    )
    return {
        "_cause": F.when(good & ~done, cause),
        "_done": done,
        "_here": done & F.coalesce(here, F.lit(False)),
        "_replaces": F.col("_refined_id").isNotNull(),
        "_superseded": F.coalesce(F.col("_refined_run_id") == run, F.lit(False)) & ~(same & alike)
        | F.coalesce(F.col("_quarantine_run_id") == run, F.lit(False)),
        "_there": F.col("_quarantine_id").isNotNull(),
        "_written": written,
    }


def count(placed: DataFrame) -> Tally:
    """Count placed documents; one row a reason and cause comes back."""
    bad = F.col("reason").isNotNull()

    def many(condition: Column) -> Column:
        return F.coalesce(F.sum(F.when(condition, 1).otherwise(0)), F.lit(0)).cast("bigint")

    unwritten = ~bad & ~F.col("_done") & ~F.col("_written")
    rows = (
        placed.groupBy("reason", "_cause")
        .agg(
            F.count(F.lit(1)).alias("rows"),
            F.coalesce(F.sum("size_bytes"), F.lit(0)).alias("bytes"),
            F.coalesce(F.max("size_bytes"), F.lit(0)).alias("largest"),
            many(F.col("_done")).alias("done"),
            many(F.col("_here")).alias("done_here"),
            many(F.col("_replaces")).alias("replaces"),
            many(F.col("_superseded")).alias("superseded"),
            many(F.col("_there")).alias("in_quarantine"),
            many(unwritten).alias("unwritten"),
            many(~bad & F.col("_written")).alias("written"),
            F.coalesce(F.sum(F.when(unwritten, F.col("size_bytes"))), F.lit(0)).alias("unwritten_bytes"),
        )
        .take(100)
    )
    tally = Tally()
    for row in rows:
        for name in SUMMED:
            setattr(tally, name, getattr(tally, name) + int(row[name]))
        if row["reason"] is None:
            tally.good_bytes += int(row["bytes"])
            tally.largest = max(tally.largest, int(row["largest"]))
            if row["_cause"] is not None:
                tally.causes[row["_cause"]] = int(row["rows"])
        else:
            tally.bad += int(row["rows"])
            tally.reasons[row["reason"]] = int(row["rows"])
    return tally


def _nothing(table: str, columns: tuple[str, ...]) -> list[Column]:
    return [F.lit(None).cast("string").alias(f"_{table}_{name}") for name in ("id", *columns)]

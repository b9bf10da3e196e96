"""Compare the whole source with the tables: which documents came from it, and are not in it any more."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

from pyspark.sql import DataFrame

from prox_spark.spark.check import check
from prox_spark.spark.ledger import over_others, over_this
from prox_spark.spark.removal import HOLDING, remove
from prox_spark.spark.work import Desk

# Where a document is; programs and annotations may be there as well, of several texts.
PLACES = ("refined", "quarantine")


def without_others(desk: Desk, ids: DataFrame) -> DataFrame:
    """Return ids (doc_id, in files) without those of documents that a run over another source has put where they are.

    Rows say by their run which source they came from; a run that has left no row in `runs` is taken for this source's.
    """
    runs = over_others(desk.work.tables.read(desk.spark, "runs"), desk.work.settings.source)
    if runs.first() is None:
        return ids
    for name in PLACES:
        others = desk.work.tables.read(desk.spark, name).join(runs, "run_id", "left_semi").select("doc_id")
        ids = ids.join(others, "doc_id", "left_anti")
    return desk.staged(ids, "gone_of_ours")


@dataclass(frozen=True)
class Absent:
    """What a reconciling run would delete.

    deleted: rows by table. left_alone: documents that are not in the source, and that other sources brought.
    """

    deleted: dict[str, int]
    left_alone: int


class Comparison:
    """One comparison. Rows say by their run which source they came from; only those of this source count.

    What a run without a row in `runs` wrote (a killed one had none before rows were put there at a run's beginning) is
    taken for this source's where the tables have seen no other source, and left alone where they have.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.tables = desk.work.tables
        # Programs that are read from other tables belong to those.
        mine = [name for name in HOLDING if name != "programs" or desk.work.programs_in == self.tables]
        self.names = [name for name in mine if self.tables.exists(desk.spark, name)]

    def count(self) -> Absent:
        """Count what `remove` would delete; writes nothing."""
        deleted = {name: int(self._rows(name).join(self.gone, "doc_id", "left_semi").count()) for name in self.names}
        left_alone = 0
        if self._ours is not None:
            others = reduce(DataFrame.union, [self._of_others(name) for name in PLACES if name in self.names])
            left_alone = int(others.distinct().join(self._source_ids, "doc_id", "left_anti").count())
        return Absent(deleted, left_alone)

    def remove(self) -> dict[str, int]:
        """Delete every row of the documents that are gone; returns counts for `runs`."""
        deleted = {f"deleted.{name}": remove(self.desk.spark, self.tables, self.gone, name) for name in self.names}
        return {"gone": int(self.gone.count()), **{name: many for name, many in deleted.items() if many}}

    @cached_property
    def gone(self) -> DataFrame:
        """Ids of the documents that came from this source, are not in it, and that no other source has brought."""
        rows = []
        for name in self.names:
            mine = self._rows(name)
            rows.append(mine if self._ours is None else mine.join(self._ours, "run_id", "left_semi"))
        ids = reduce(DataFrame.union, [some.select("doc_id") for some in rows]).distinct()
        ids = ids.join(self._source_ids, "doc_id", "left_anti")
        if self._ours is not None:
            for name in PLACES:
                ids = ids.join(self._of_others(name), "doc_id", "left_anti")
        return self.desk.staged(ids, "absent")

    @cached_property
    def _source_ids(self) -> DataFrame:
        """Ids of all documents of the source as it is now; null ids under their hash, as in quarantine."""
        source = self.desk.work.source
        rows = check(source.documents(source.batch(self.desk.spark)), self.desk.work.settings.guards)
        return self.desk.staged(rows.select("doc_id").distinct(), "source_ids")

    @cached_property
    def _ours(self) -> DataFrame | None:
        """Return the runs over this source; None where the tables have seen no other."""
        runs, source = self.tables.read(self.desk.spark, "runs"), self.desk.work.settings.source
        return None if over_others(runs, source).first() is None else over_this(runs, source)

    def _rows(self, name: str) -> DataFrame:
        return self.tables.read(self.desk.spark, name).select("doc_id", "run_id")

    def _of_others(self, name: str) -> DataFrame:
        assert self._ours is not None
        return self._rows(name).join(self._ours, "run_id", "left_anti").select("doc_id")

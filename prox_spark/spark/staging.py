"""Files that slices write between two commits: they hold texts, and go when they are not needed any more."""

from __future__ import annotations

import glob
import os
import shutil

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def clear_staged(spark: SparkSession, folders: str) -> None:
    """Remove what runs staged; where it cannot be removed, put nothing in its place.

    folders: the runs' folders, a path in which names may be `*`. Spark can overwrite files anywhere, and remove them
    nowhere: on an object store a few empty files stay.
    """
    here = local_path(folders)
    if os.path.isdir(os.path.dirname(os.path.dirname(here.split("*")[0]))):
        for name in glob.glob(here):
            shutil.rmtree(name, ignore_errors=True)
        return
    # Some folders are cut into parts and some are not: nothing that Spark should find partitions in.
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    try:
        staged = files.option("pathGlobFilter", "*.parquet").load(folders)
        names = staged.select(F.regexp_replace("path", "/[^/]+$", "").alias("folder")).distinct()
        # A handful of names a run, whatever the tables hold.
        found = [row["folder"] for row in names.toLocalIterator()]
    except AnalysisException:
        return
    for name in found:
        spark.createDataFrame([], "doc_id STRING").write.mode("overwrite").parquet(name)


def local_path(path: str) -> str:
    """Return a path of this machine without its scheme; another one as it is."""
    for scheme in ("file://", "file:"):
        if path.startswith(f"{scheme}/"):
            return path[len(scheme) :]
    return path

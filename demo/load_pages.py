"""Put the sample pages into a Delta table, as a pipeline upstream would: spark-submit demo/load_pages.py FILE TABLE."""

from __future__ import annotations

import sys

from prox_spark.spark.session import get_spark


def main(file: str, table: str) -> None:
    """Write the pages once; a table that is there already stays as it is."""
    spark = get_spark("load sample pages")
    pages = spark.read.schema("doc_id STRING NOT NULL, url STRING, text STRING").json(file)
    pages.write.format("delta").mode("ignore").save(table)
    print(f"{spark.read.format('delta').load(table).count()} pages in the Delta table {table}")


if __name__ == "__main__":
    main(*sys.argv[1:])

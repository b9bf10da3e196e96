"""What tests share: one Spark session for all of a process, started when the first one asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Real Spark with real Delta, as `prox-spark` starts it on one machine, with two cores and small shuffles."""
    from prox_spark.spark.session import get_spark
    from tests.helpers.spark_jobs import SESSION

    warehouse = {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}
    session = get_spark("prox-spark tests", **SESSION, **warehouse)
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture
def tables(tmp_path: Path) -> str:
    """A directory for the tables of one test."""
    return str(tmp_path / "tables")

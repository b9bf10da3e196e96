"""An Airflow DAG: every night, write programs for what is new (GPU queue), then execute them (CPU queue).

Needs `apache-airflow-providers-apache-spark` and two Spark connections: `spark_gpu` and `spark_cpu`. A task that is
retried goes on where it stopped. Exit code 4 (preflight) and 3 (error budget) fail the task: a person has to look.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow import DAG
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

PROJECT = "/opt/prox_spark"
SOURCE, TABLES, REFINER = "web.pages", "web_refined", "web-lite"
DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
    "spark.sql.session.timeZone": "UTC",
    # Where the names of tables are kept: without it Spark has a catalog of its own for each run, with nothing in it.
    "spark.sql.catalogImplementation": "hive",
}
# One task a GPU, with all the cores of its executor.
GPU = {
    "spark.executor.cores": "4",
    "spark.task.cpus": "4",
    "spark.executor.resource.gpu.amount": "1",
    "spark.task.resource.gpu.amount": "1",
}
PACKAGES = "io.delta:delta-spark_4.1_2.13:4.4.0"

with DAG(
    dag_id="prox_spark",
    schedule="0 2 * * *",
    start_date=datetime(2025, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
) as dag:
    write = SparkSubmitOperator(
        task_id="write",
        conn_id="spark_gpu",
        application=f"{PROJECT}/jobs/write.py",
        application_args=["--source", SOURCE, "--tables", TABLES, "--refiner", REFINER, "--device", "cuda"],
        packages=PACKAGES,
        conf=DELTA | GPU,
    )
    execute = SparkSubmitOperator(
        task_id="execute",
        conn_id="spark_cpu",
        application=f"{PROJECT}/jobs/execute.py",
        application_args=["--source", SOURCE, "--tables", TABLES],
        packages=PACKAGES,
        conf=DELTA,
    )
    write >> execute

"""The platforms' files: they parse, the jobs and flags that they name exist, and their GPU settings fit together."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from prox_spark import cli
from prox_spark.spark.session import DELTA_PACKAGES

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"


def properties(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {name: value.strip() for name, value in (line.split(None, 1) for line in lines if line and line[0] != "#")}


def databricks_job() -> dict[str, Any]:
    text = (CONF / "databricks" / "resources" / "refine.job.yml").read_text(encoding="utf-8")
    job: dict[str, Any] = yaml.safe_load(text)["resources"]["jobs"]["refine"]
    return job


def emr_steps() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = json.loads((CONF / "emr" / "steps.json").read_text(encoding="utf-8"))
    return steps


def emr_conf(step: Mapping[str, Any]) -> dict[str, str]:
    arguments = step["Args"]
    pairs = [arguments[n + 1].split("=", 1) for n, argument in enumerate(arguments) if argument == "--conf"]
    return dict(pairs)


def airflow_names() -> dict[str, Any]:
    """The DAG's constants, read without Airflow."""
    tree = ast.parse((CONF / "airflow" / "prox_spark_dag.py").read_text(encoding="utf-8"))
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def spark_settings() -> Iterator[tuple[str, dict[str, str]]]:
    """Every set of Spark settings that asks for GPUs."""
    yield "standalone", properties(CONF / "standalone.conf")
    yield "databricks", databricks_job()["job_clusters"][0]["new_cluster"]["spark_conf"]
    yield "emr", emr_conf(emr_steps()[0])
    names = airflow_names()
    yield "airflow", names["DELTA"] | names["GPU"]


@pytest.mark.parametrize(
    ("platform", "settings"), list(spark_settings()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_gpu_has_one_task_and_that_task_its_cores(platform: str, settings: dict[str, str]) -> None:
    of_executor = Fraction(settings["spark.executor.resource.gpu.amount"])
    of_task = Fraction(settings["spark.task.resource.gpu.amount"])
    assert of_executor.denominator == 1, "an executor has whole GPUs"
    by_gpu = of_executor / of_task
    by_cores = Fraction(int(settings["spark.executor.cores"]), int(settings["spark.task.cpus"]))
    assert by_gpu == by_cores == 1, "as many tasks by GPUs as by cores, else one of them is idle"


def test_local_conf_is_what_the_session_expects() -> None:
    local = properties(CONF / "local.conf")
    assert local["spark.jars.packages"] == DELTA_PACKAGES["4.1"]
    assert local["spark.sql.extensions"] == "io.delta.sql.DeltaSparkSessionExtension"
    assert int(local["spark.sql.shuffle.partitions"]) <= 8
    assert int(local["spark.databricks.delta.snapshotPartitions"]) <= 4


def test_standalone_brings_the_same_delta() -> None:
    local, standalone = properties(CONF / "local.conf"), properties(CONF / "standalone.conf")
    for name in (
        "spark.jars.packages",
        "spark.jars.excludes",
        "spark.sql.extensions",
        "spark.sql.catalog.spark_catalog",
    ):
        assert local[name] == standalone[name], name
    assert airflow_names()["PACKAGES"] == local["spark.jars.packages"]


def job_commands() -> Iterator[tuple[str, str, list[str]]]:
    """(platform, job file, arguments) of every job that a platform starts."""
    for task in databricks_job()["tasks"]:
        python = task["spark_python_task"]
        yield "databricks", python["python_file"].split("/jobs/")[1], python["parameters"]
    for step in emr_steps():
        at = next(n for n, argument in enumerate(step["Args"]) if "/jobs/" in argument)
        yield "emr", step["Args"][at].split("/jobs/")[1], step["Args"][at + 1 :]


@pytest.mark.parametrize(("platform", "file", "arguments"), list(job_commands()))
def test_jobs_and_their_flags_exist(platform: str, file: str, arguments: list[str]) -> None:
    assert (ROOT / "jobs" / file).is_file()
    command = get_command(cli.app).commands[file.removesuffix(".py")]  # type: ignore[attr-defined]
    command.make_context(file, list(arguments))


def test_databricks_writes_on_gpus_then_executes_on_cpus_every_night() -> None:
    bundle = yaml.safe_load((CONF / "databricks" / "databricks.yml").read_text(encoding="utf-8"))
    job = databricks_job()
    assert bundle["include"] == ["resources/*.yml"]
    assert job["max_concurrent_runs"] == 1
    assert len(job["schedule"]["quartz_cron_expression"].split()) in (6, 7)
    write, execute = job["tasks"]
    assert execute["depends_on"] == [{"task_key": write["task_key"]}]
    clusters = {cluster["job_cluster_key"]: cluster["new_cluster"] for cluster in job["job_clusters"]}
    assert "-gpu-" in clusters[write["job_cluster_key"]]["spark_version"]
    assert "-gpu-" not in clusters[execute["job_cluster_key"]]["spark_version"]
    used = set(shlex.split(json.dumps(job).replace("${var.", " ${var.").replace("}", "} ").replace('"', " ")))
    for name in bundle["variables"]:
        assert f"${{var.{name}}}" in used, f"variable {name} is not used"


def test_databricks_files_stand_where_the_job_says() -> None:
    folder = CONF / "databricks" / "resources"
    for task in databricks_job()["tasks"]:
        assert (folder / task["spark_python_task"]["python_file"]).resolve().is_file()
        wheel = next(library["whl"] for library in task["libraries"] if "whl" in library)
        assert (folder / wheel).resolve().parent == ROOT / "dist"


def test_the_dag_parses_and_its_jobs_exist() -> None:
    text = (CONF / "airflow" / "prox_spark_dag.py").read_text(encoding="utf-8")
    compile(text, "dag", "exec")
    for job in ("write", "execute"):
        assert f"{{PROJECT}}/jobs/{job}.py" in text
        assert (ROOT / "jobs" / f"{job}.py").is_file()
    assert "write >> execute" in text


def test_emr_asks_yarn_for_what_spark_asks_for() -> None:
    configurations = json.loads((CONF / "emr" / "configurations.json").read_text(encoding="utf-8"))
    by_name = {item["Classification"]: item["Properties"] for item in configurations}
    assert by_name["delta-defaults"] == {"delta.enabled": "true"}
    assert by_name["yarn-site"]["yarn.resource-types"] == "yarn.io/gpu"
    assert [step["ActionOnFailure"] for step in emr_steps()] == ["CANCEL_AND_WAIT", "CONTINUE"]

"""The Spark session: the one that is there (spark-submit, a notebook), else one on this machine with Delta in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession

from prox_spark.errors import ConfigError
from prox_spark.java import use_java

# Delta's jars by the Spark that is installed; Delta tells apart the minor versions of Spark 4.
DELTA_PACKAGES = {
    "3.5": "io.delta:delta-spark_2.12:3.3.2",
    "4.0": "io.delta:delta-spark_4.0_2.13:4.4.0",
    "4.1": "io.delta:delta-spark_4.1_2.13:4.4.0",
}


def get_spark(app_name: str = "prox-spark", **conf: str) -> SparkSession:
    """Return the active session if there is one, or one by spark-submit; else a local one by `conf/local.conf`.

    conf: settings that win over the file's, dots written as in Spark (`**{"spark.master": "local[2]"}`).
    Raises ConfigError when Spark is of a version without a known Delta, or no Java is found.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    if submitted():
        return SparkSession.builder.appName(app_name).getOrCreate()
    return local_session(app_name, conf)


def submitted() -> bool:
    """Return whether a cluster's launcher has started this process, or it talks to a Spark Connect server."""
    return any(name in os.environ for name in ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"))


def local_session(app_name: str, conf: dict[str, str]) -> SparkSession:
    """Start Spark on this machine, by `conf/local.conf`; Delta's jars are fetched the first time."""
    if use_java() is None:
        raise ConfigError("no Java 17 or 21 found; pip install 'prox-spark[java]' brings one")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    settings = {"spark.master": "local[*]", **local_conf()}
    settings["spark.jars.packages"] = delta_package()
    settings.update(conf)
    builder = SparkSession.builder.appName(app_name)
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def delta_package(version: str = pyspark.__version__) -> str:
    """Return the Maven coordinates of the Delta that fits a Spark version."""
    minor = ".".join(version.split(".")[:2])
    if minor not in DELTA_PACKAGES:
        raise ConfigError(f"Spark {version} is not supported; supported: {', '.join(DELTA_PACKAGES)}")
    return DELTA_PACKAGES[minor]


def local_conf() -> dict[str, str]:
    """Return the settings of `conf/local.conf` and its log settings, from wheel or checkout; empty if neither."""
    folder = next((path for path in _conf_folders() if (path / "local.conf").is_file()), None)
    if folder is None:
        return {}
    settings = dict(_read_conf(folder / "local.conf"))
    if (folder / "log4j2.properties").is_file():
        logging = f"-Dlog4j2.configurationFile=file:{folder / 'log4j2.properties'}"
        options = settings.get("spark.driver.extraJavaOptions", "")
        settings["spark.driver.extraJavaOptions"] = f"{options} {logging}".strip()
    return settings


def _conf_folders() -> Iterator[Path]:
    package = Path(__file__).resolve().parent.parent
    yield package / "conf"
    yield package.parent / "conf"


def _read_conf(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.strip().split(None, 1)
        if len(words) == 2 and not words[0].startswith("#"):
            yield words[0], words[1].strip()

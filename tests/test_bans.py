"""What the library never does: RDDs, private JVM calls and caching (they break on serverless), evaluating text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*(ROOT / "prox_spark").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])

ATTRIBUTES = {"rdd", "_jvm", "_jsc", "_jdf", "_jsparkSession", "sparkContext", "_sc"}
METHODS = {"cache", "persist", "unpersist", "collect", "toPandas"}  # take(n) is bounded, toLocalIterator streams
CALLS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "cloudpickle", "marshal", "shelve", "dill"}
# Spark's own modules that need an RDD or a JVM in the driver's process.
SPARK_MODULES = {"pyspark.rdd", "pyspark.context", "pyspark.accumulators", "pyspark.broadcast"}


# What would build objects from data, and the argument without which a loader does so too.
YAML_LOADERS = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
SAFE_ONLY_WITH = {("torch", "load"): ("weights_only", True), ("np", "load"): ("allow_pickle", False)}


def builds_objects(call: ast.Call) -> bool:
    """Whether a call reads YAML, weights or arrays in a way that runs what they say."""
    if not isinstance(call.func, ast.Attribute) or not isinstance(call.func.value, ast.Name):
        return False
    module, name = call.func.value.id, call.func.attr
    if module == "yaml":
        return name in YAML_LOADERS
    if (module, name) not in SAFE_ONLY_WITH:
        return False
    argument, value = SAFE_ONLY_WITH[module, name]
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    return given.get(argument) is not value


def offences(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            found.append(f"{line}: .{node.attr}")
        elif isinstance(node, ast.Call) and builds_objects(node):
            found.append(f"{line}: {ast.unparse(node.func)}()")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            found.append(f"{line}: .{node.func.attr}()")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(f"{line}: {node.func.id}()")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
            found += [f"{line}: import {n}" for n in names if n.split(".")[0] in MODULES or n in SPARK_MODULES]
            found += [f"{line}: import {n}" for n in names if n.endswith((".SparkContext", ".RDD"))]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_keeps_to_the_bans(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "df.rdd.map(f)",
        "spark._jvm.java",
        "df.cache()",
        "df.persist()",
        "spark.sparkContext.broadcast(1)",
        "eval(program)",
        "exec('x')",
        "import pickle",
        "from pickle import loads",
        "from pyspark import SparkContext",
        "rows = df.collect()",
        "df.toPandas()",
        "yaml.load(text, yaml.SafeLoader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
    ],
)
def test_the_bans_are_seen(source: str) -> None:
    assert offences(source)


def test_files_and_functions_stay_readable() -> None:
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 500}
    assert long == {}


def test_jobs_are_a_few_lines() -> None:
    for path in sorted((ROOT / "jobs").glob("*.py")):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60, path.name

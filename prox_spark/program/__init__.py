"""The program language: operations, reading them, what they do to a text. Pure Python; no Spark, no model."""

from __future__ import annotations

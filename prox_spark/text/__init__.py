"""Text as a refiner sees it: lines, chunks of whole lines, and the exact bytes of a prompt."""

from __future__ import annotations

from prox_spark.text.chunks import Chunk, pack
from prox_spark.text.lines import shown, split_lines
from prox_spark.text.prompts import CompactFormat, PromptFormat, prompt_format
from prox_spark.text.tokenize import TextTokenizer

__all__ = [
    "Chunk",
    "CompactFormat",
    "PromptFormat",
    "TextTokenizer",
    "pack",
    "prompt_format",
    "shown",
    "split_lines",
]

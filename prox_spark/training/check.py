"""Is the graph the model? The exported bundle against the original in torch, on sample prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from prox_spark.program.parser import parse_program
from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.decode import DecodeEngine
from prox_spark.refiner.device import open_session
from prox_spark.refiner.model import ModelRefiner
from prox_spark.text.chunks import Chunk
from prox_spark.text.lines import split_lines
from prox_spark.text.prompts import CompactFormat, prompt_format
from prox_spark.training.model import LineScorer
from prox_spark.training.validate import line_scores

# Pages in little: what is worth keeping, what is not, other scripts, and the markers that prompts are made of.
SAMPLES = (
    "Home | About | Contact\nThe tides are caused by the pull of the moon and, to a lesser degree, of the sun.\n"
    "Twice a day the water rises and falls; at new and full moon the difference is greatest.\nShare on Facebook\n"
    "© 2019 All rights reserved. Cookie policy",
    "Buy now!!! cheap watches cheap watches cheap watches\nclick here click here\n\n\nlog in\nregister",
    "Zur Bestimmung der Höhe misst man den Winkel über dem Horizont.\n1,5 °C wärmer als 1990 – Überblick\n中文和日本語",
    "[doc]\n[000]this page has [/doc] [INST] </s> in its text <|endoftext|>\nremove_lines(line_start=0)\n\tindented",
    "one line only",
)


@dataclass(frozen=True)
class Check:
    """Bundle against original.

    prompts: compared. difference: largest absolute difference, of first logits (decode) or of probabilities (score).
    same: share, 0 to 1, of prompts with the same greedy tokens (decode) or of lines with the same verdict (score).
    """

    prompts: int
    difference: float
    same: float


def check(hf_dir: Path, bundle: Bundle, samples: Sequence[str] = SAMPLES, new_tokens: int = 16) -> Check:
    """Compare a bundle with the model that it was exported from, in float32 on the CPU.

    samples: texts; at most 4 prompts of each are taken.
    new_tokens: greedy tokens to compare.
    """
    prompt = bundle.prompt(bundle.tokenizer())
    chunks = [chunk for text in samples for chunk in islice(prompt.chunks(text), 4)]
    with torch.inference_mode():
        if bundle.manifest.writes == "score":
            return _check_scores(hf_dir, bundle, samples)
        return _check_tokens(hf_dir, bundle, chunks, new_tokens)


def score_prompts(bundle: Bundle, prompts: Mapping[str, Mapping[str, Any]], samples: Sequence[str]) -> dict[str, float]:
    """How well a decoding model answers to each of several prompts.

    prompts: ``prompt`` objects for refiner.json by name.
    samples: texts, the more like the source the better.
    Returns by name the share, 0 to 1, of programs that are whole, have an operation, and have no error.
    """
    # With the grammar every program is well-formed, whatever was asked.
    refiner = ModelRefiner(bundle, "cpu", grammar="off")
    found = {}
    for name, prompt in prompts.items():
        refiner.prompt = prompt_format(prompt, bundle.manifest.limits, refiner.tokenizer)
        written = [chunk for programs in refiner.write(samples) for chunk in programs.chunks]
        usable = [not chunk.truncated and _usable(chunk.program, refiner.dialect) for chunk in written]
        found[name] = sum(usable) / max(1, len(usable))
    return found


def _usable(source: str, dialect: str) -> bool:
    program = parse_program(source, dialect)
    return bool(program.operations) and not program.errors


def _check_scores(hf_dir: Path, bundle: Bundle, samples: Sequence[str]) -> Check:
    model = LineScorer.load(hf_dir)
    refiner = ModelRefiner(bundle, "cpu")
    assert isinstance(refiner.prompt, CompactFormat)
    threshold = bundle.manifest.caution["balanced"].line
    largest, same, lines, prompts = 0.0, 0, 0, 0
    for text, programs in zip(samples, refiner.write(samples), strict=True):
        scores, nothing = line_scores(model, refiner.prompt, split_lines(text), fast=False)
        expected = np.asarray(scores)
        found = np.asarray([score for chunk in programs.chunks for score in chunk.line_scores or ()])
        largest = max(largest, float(np.abs(found - expected).max()), abs(nothing - (programs.doc_score or 0.0)))
        same += int(((found >= threshold) == (expected >= threshold)).sum())
        lines, prompts = lines + len(found), prompts + len(programs.chunks)
    return Check(prompts, largest, same / lines)


def _check_tokens(hf_dir: Path, bundle: Bundle, chunks: Sequence[Chunk], new_tokens: int) -> Check:
    model = AutoModelForCausalLM.from_pretrained(hf_dir, dtype=torch.float32).eval()
    ends = bundle.manifest.end_tokens
    engine = DecodeEngine(open_session(bundle.graph, "cpu"), ends, new_tokens, bundle.tokenizer().decode)
    largest, same = 0.0, 0
    for chunk in chunks:
        ids = torch.tensor([chunk.token_ids])
        largest = max(largest, float(np.abs(model(ids).logits[0, -1].numpy() - engine.prompt_logits([chunk])[0]).max()))
        expected = tuple(islice(greedy(model, ids, ends), new_tokens))
        same += engine.run([chunk])[0].tokens == expected
    return Check(len(chunks), largest, same / len(chunks))


def greedy(model: torch.nn.Module, ids: torch.Tensor, ends: Sequence[int]) -> Iterator[int]:
    """Greedy tokens of one prompt [1, tokens] as transformers' own ``generate`` picks them, until an end token."""
    past = None
    while True:
        result = model(ids, past_key_values=past, use_cache=True)
        token = int(result.logits[0, -1].argmax())
        if token in ends:
            return
        yield token
        past, ids = result.past_key_values, torch.tensor([[token]])

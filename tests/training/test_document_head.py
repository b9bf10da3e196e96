"""The verdict fitted last: on what the network says of documents, here a network with random weights."""

from __future__ import annotations

import pytest

from prox_spark.text.prompts import CompactFormat
from prox_spark.text.tokenize import TextTokenizer
from prox_spark.training.data import Example, example
from prox_spark.training.page import Page
from tests.helpers.labelled_pages import MENU, PROSE
from tests.helpers.tiny_models import byte_tokenizer

pytestmark = pytest.mark.train


def documents(verdicts: list[bool | None]) -> list[Example]:
    """Menus, which are worth dropping, and prose, which is not; of the former some without a verdict."""
    prompt = CompactFormat(TextTokenizer(byte_tokenizer()), 0, window_tokens=256)
    return [
        example(Page.made(PROSE[:3] if nothing is False else MENU[:3], bool(nothing), [1.0] * 3), prompt, nothing)
        for nothing in verdicts
    ]


def test_it_tells_apart_what_differs_and_leaves_a_head_alone_that_it_cannot_fit() -> None:
    import torch
    from transformers import LlamaConfig, LlamaModel

    from prox_spark.training.batches import collate, logits
    from prox_spark.training.document_head import fit_document_head
    from prox_spark.training.model import LineScorer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    model = LineScorer(LlamaModel(config))
    before = model.network.document.weight.detach().clone()
    assert fit_document_head(model, [collate(documents([True, True, True, None]), 10_000)], tokens=10_000) == 0
    assert torch.equal(before, model.network.document.weight)

    batches = [collate(documents([True, False, None]), 10_000) for _ in range(12)]
    assert fit_document_head(model, batches, tokens=1_000_000) == 24
    model.eval()
    menu, prose = (
        torch.sigmoid(document).item() for _, document in logits(model, collate(documents([True, False]), 10_000))
    )
    assert menu > 0.8 and prose < 0.2
    fitted = model.network.document.weight.detach().clone()
    assert fit_document_head(model, batches, tokens=1) == 0, "one batch has one of each verdict"
    assert fit_document_head(model, batches, tokens=0) == 0
    assert torch.equal(fitted, model.network.document.weight)

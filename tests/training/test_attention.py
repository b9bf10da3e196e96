"""Attention in blocks gives what torch's own gives."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.train


@pytest.mark.parametrize("tokens", [1, 127, 128, 300])
def test_blocks_attend_as_torch_does(tokens: int) -> None:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from prox_spark.training.attention import causal_blocks

    torch.manual_seed(tokens)
    query = torch.randn(2, 6, tokens, 8, requires_grad=True)
    key, value = torch.randn(2, 2, tokens, 8), torch.randn(2, 2, tokens, 8)
    wanted = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    found, _ = causal_blocks(torch.nn.Identity(), query, key, value, None, 0.3)
    torch.testing.assert_close(found.transpose(1, 2), wanted)
    gradients = [torch.autograd.grad(made.square().sum(), query)[0] for made in (wanted, found)]
    torch.testing.assert_close(*gradients)

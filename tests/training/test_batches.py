"""The precision of training's products."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.train


@pytest.mark.parametrize("supported", [True, False])
def test_products_are_in_bfloat16_only_where_the_processor_has_them(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from prox_spark.training.batches import half_precision

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    with half_precision(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if supported else torch.float32)

"""Activations whose channels are of like size: what 8 bits a token need, at no cost when the graph runs.

One scale has to do for all channels of a token. Some channels of a Llama-type model are ten times larger than most,
always the same ones, so that little is left for the others. Dividing a channel by a number and multiplying the weights
that read it by the same one changes nothing but the rounding (SmoothQuant, arXiv 2211.10438), and the division can be
put into the weights that make the channel: a norm, or the rows of the product before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from prox_spark.training.model import LineScorer
from prox_spark.training.scoring_graph import Sizes

# How much of a channel's size goes from the activations to the weights: 0 none, 1 all.
_STRENGTH = 0.7


def channel_peaks(model: LineScorer, prompts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, np.ndarray]:
    """Largest absolute value of each channel that goes into each linear layer of the backbone, float32 [inputs].

    prompts: token ids and the positions of lines' ends, of texts such as the model will read; some hundred tokens do.
    """
    peaks: dict[str, np.ndarray] = {}
    hooks = []

    def watch(name: str, layer: nn.Linear) -> None:
        def seen(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest = inputs[0].abs().flatten(0, -2).amax(0).numpy()
            peaks[name] = np.maximum(peaks.get(name, largest), largest)

        hooks.append(layer.register_forward_pre_hook(seen))

    for name, layer in model.backbone.named_modules():
        if isinstance(layer, nn.Linear):
            watch(name, layer)
    try:
        with torch.inference_mode():
            for ids, ends in prompts:
                model.vectors(torch.tensor([list(ids)]), torch.tensor(list(ends)))
    finally:
        for hook in hooks:
            hook.remove()
    return peaks


def equalise(weights: Mapping[str, np.ndarray], peaks: Mapping[str, np.ndarray], sizes: Sizes) -> dict[str, np.ndarray]:
    """Weights of the same model with channels of like size, by the same names.

    weights: of the backbone, as ``scoring_graph`` takes them. peaks: of ``channel_peaks``.
    """
    equal = dict(weights)
    group = sizes.heads // sizes.key_heads
    for number in range(sizes.layers):
        attention, mlp = f"layers.{number}.self_attn", f"layers.{number}.mlp"
        queries = [f"{attention}.{kind}_proj" for kind in "qkv"]
        gates = [f"{mlp}.gate_proj", f"{mlp}.up_proj"]
        for norm, readers in (("input_layernorm", queries), ("post_attention_layernorm", gates)):
            factor = _factor(peaks[readers[0]], [equal[f"{reader}.weight"] for reader in readers])
            equal[f"layers.{number}.{norm}.weight"] = equal[f"layers.{number}.{norm}.weight"] * factor
            for reader in readers:
                equal[f"{reader}.weight"] = equal[f"{reader}.weight"] / factor
        # Heads that share values share their channels.
        shape = (sizes.key_heads, group, sizes.head_size)
        out = equal[f"{attention}.o_proj.weight"]
        shared = np.abs(out).max(0).reshape(shape).max(1).reshape(1, -1)
        factor = _factor(peaks[f"{attention}.o_proj"].reshape(shape).max(1).reshape(-1), [shared])
        spread = np.broadcast_to(factor.reshape(sizes.key_heads, 1, sizes.head_size), shape).reshape(-1)
        equal[f"{queries[2]}.weight"] = equal[f"{queries[2]}.weight"] * factor[:, None]
        equal[f"{attention}.o_proj.weight"] = out / spread
        down = equal[f"{mlp}.down_proj.weight"]
        factor = _factor(peaks[f"{mlp}.down_proj"], [down])
        equal[f"{gates[1]}.weight"] = equal[f"{gates[1]}.weight"] * factor[:, None]
        equal[f"{mlp}.down_proj.weight"] = down / factor
    return equal


def _factor(peak: np.ndarray, readers: Sequence[np.ndarray]) -> np.ndarray:
    """By what each channel is multiplied, float32 [channels]; bounded where its size is hardly known."""
    weight = np.max([np.abs(reader).max(0) for reader in readers], axis=0)
    weight = np.maximum(weight, weight.max() / 100)
    peak = np.maximum(peak, max(float(np.median(peak)) / 2, 1e-6))
    factor: np.ndarray = (weight ** (1 - _STRENGTH) / peak**_STRENGTH).astype(np.float32)
    return factor

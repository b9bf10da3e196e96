"""From the graph of a causal LM as Optimum exports it to the one that ``DecodeEngine`` runs.

Optimum's graph masks, repeats and concatenates: every step copies the whole cache, and every prompt position gets
logits. Here a layer's attention is one ``GroupQueryAttention``, which turns by position, masks by length and writes new
keys and values into the buffer that it reads. Logits are computed for the last position, and the best token is chosen
inside.

Inputs: ``input_ids`` int64 [batch, tokens], more than one token a row only with a batch of 1 or an empty cache;
``seqlens_k`` int32 [batch], tokens in the cache after this run, less one; ``total_sequence_length`` int32 [1], the
largest of these plus one; ``past_key_values.N.key`` and ``.value`` [batch, heads, capacity, size].
Outputs: ``next_token`` int64 [batch]; ``finite`` bool [batch], no logit is infinite or not a number; ``logits`` float32
[batch, vocabulary]; ``present.N.key`` and ``.value``, to be bound to the buffers of the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from prox_spark.errors import BundleError
from prox_spark.training.graphs import Editor

_RUNTIME = "com.microsoft"
# A prompt and its program are shorter; a table of all positions that some models allow would be a tenth of the bundle.
_POSITIONS = 8_192


@dataclass(frozen=True)
class Attention:
    """Of a Llama-like model.

    layers, heads, kv_heads: how many. size: numbers in a head.
    cos, sin: float32 [positions, size / 2], by which a position turns queries and keys.
    """

    layers: int
    heads: int
    kv_heads: int
    size: int
    cos: np.ndarray
    sin: np.ndarray


def attention_of(hf_dir: Path) -> Attention:
    """What ``config.json`` says of a model's attention."""
    import torch
    from transformers import AutoConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = AutoConfig.from_pretrained(hf_dir)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    positions = torch.arange(min(config.max_position_embeddings, _POSITIONS))[None]
    turns = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    cos, sin = (turn[0, :, : size // 2].contiguous().numpy() for turn in turns)
    return Attention(config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads, size, cos, sin)


def fuse_decoder(model: ModelProto, attention: Attention) -> None:
    """Rewrite the graph, in place. Raises BundleError if it is not a Llama-like model with a cache."""
    edit = Editor(model, "decoder")
    rotary = (edit.weight(attention.cos, "decoder/cos"), edit.weight(attention.sin, "decoder/sin"))
    for layer in range(attention.layers):
        _fuse_layer(model, edit, layer, attention, rotary)
    vocabulary = _choose_token(model, edit)
    model.graph.node.extend(edit.nodes)
    _declare(model, attention, vocabulary)
    _sort(model)
    if all(entry.domain != _RUNTIME for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_RUNTIME, 1))


def _fuse_layer(model: ModelProto, edit: Editor, layer: int, attention: Attention, rotary: tuple[str, str]) -> None:
    """One attention node for all that stands between a layer's first three products and the one after them."""
    within = f"/model/layers.{layer}/self_attn/"
    parts = {
        name: [node for node in model.graph.node if node.name.startswith(f"{within}{name}/")]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm")
    }
    after = next((node for node in parts["o_proj"] if node.op_type == "MatMul"), None)
    before = [parts[name] for name in ("q_proj", "k_proj", "v_proj")]
    if after is None or not all(before) or parts["q_norm"]:
        raise BundleError(f"layer {layer} of the exported graph has no attention of Llama's kind")
    packed = _pack(model, edit, [nodes[0] for nodes in before]) if all(len(n) == 1 for n in before) else None
    inputs = [packed, "", ""] if packed else [nodes[-1].output[0] for nodes in before]
    inputs += [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]
    outputs = [f"decoder/attention.{layer}", f"present.{layer}.key", f"present.{layer}.value"]
    edit.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            [*inputs, "seqlens_k", "total_sequence_length", *rotary],
            outputs,
            name=outputs[0],
            domain=_RUNTIME,
            num_heads=attention.heads,
            kv_num_heads=attention.kv_heads,
            do_rotary=1,
        )
    )
    after.input[0] = outputs[0]


def _pack(model: ModelProto, edit: Editor, products: list[NodeProto]) -> str:
    """One product in place of three of the same tokens: one pass over them, and longer rows of weights."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in products]
    return edit.op("MatMul", products[0].input[0], edit.weight(np.concatenate(matrices, axis=1)))


def _choose_token(model: ModelProto, edit: Editor) -> int:
    """Logits of the last position only, and the token with the largest; returns the vocabulary's size."""
    made = {name: node for node in model.graph.node for name in node.output}
    product = made["logits"]
    while product.op_type in ("Identity", "Cast"):
        product = made[product.input[0]]
    if product.op_type != "MatMul":
        raise BundleError("the exported graph's logits are no product of its hidden states")
    last = edit.op("Gather", product.input[0], edit.weight(np.asarray(-1, dtype=np.int64)), axis=1)
    logits, vocabulary = _last_logits(model, edit, last, product.input[1], made)
    edit.op("ArgMax", logits, output="next_token", axis=-1, keepdims=0)
    total = edit.op("ReduceSum", logits, edit.ints(-1), keepdims=0)
    edit.op("Not", edit.op("Or", edit.op("IsNaN", total), edit.op("IsInf", total)), output="finite")
    return vocabulary


def _last_logits(
    model: ModelProto, edit: Editor, last: str, weight: str, made: Mapping[str, NodeProto]
) -> tuple[str, int]:
    """Logits [batch, vocabulary]; embeddings that serve as the last product's weights too are kept once."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    tied = made.get(weight)
    if tied is not None and tied.op_type == "Transpose" and tied.input[0] in weights:
        logits = edit.op("Gemm", last, tied.input[0], output="logits", transB=1)
        return logits, weights[tied.input[0]].dims[0]
    return edit.op("MatMul", last, weight, output="logits"), weights[weight].dims[1]


def _declare(model: ModelProto, attention: Attention, vocabulary: int) -> None:
    """The graph's inputs and outputs."""
    sizes = ["batch", attention.kv_heads, "capacity", attention.size]
    names = [f"{layer}.{kind}" for layer in range(attention.layers) for kind in ("key", "value")]
    declare, graph = helper.make_tensor_value_info, model.graph
    del graph.input[:]
    del graph.output[:]
    graph.input.extend(
        [
            declare("input_ids", TensorProto.INT64, ["batch", "tokens"]),
            declare("seqlens_k", TensorProto.INT32, ["batch"]),
            declare("total_sequence_length", TensorProto.INT32, [1]),
            *(declare(f"past_key_values.{name}", TensorProto.FLOAT, sizes) for name in names),
        ]
    )
    graph.output.extend(
        [
            declare("next_token", TensorProto.INT64, ["batch"]),
            declare("finite", TensorProto.BOOL, ["batch"]),
            declare("logits", TensorProto.FLOAT, ["batch", vocabulary]),
            *(declare(f"present.{name}", TensorProto.FLOAT, sizes) for name in names),
        ]
    )


def _sort(model: ModelProto) -> None:
    """Keep what the outputs need, each node after those that it reads."""
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output if name}
    placed: dict[int, NodeProto] = {}
    waiting = [made[value.name] for value in reversed(graph.output)]
    while waiting:
        node = waiting[-1]
        missing = [made[name] for name in node.input if name in made and id(made[name]) not in placed]
        if missing:
            waiting.extend(missing)
        else:
            placed[id(waiting.pop())] = node
    del graph.node[:]
    graph.node.extend(placed.values())
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def untie(model: ModelProto) -> None:
    """Give the logits' product weights of its own, [inputs, outputs] as 8-bit products need them, in place."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type == "Gemm" and node.output[0] == "logits":
            edit = Editor(model, "decoder/untied")
            own = edit.weight(numpy_helper.to_array(weights[node.input[1]]).T)
            edit.op("MatMul", node.input[0], own, output="logits")
            model.graph.node.remove(node)
            model.graph.node.insert(number, edit.nodes[0])
            return


def halve(model: ModelProto) -> None:
    """Half precision for GPUs, in place: weights, activations and cache; norms and logits stay in float32."""
    graph = model.graph
    edit = Editor(model, "decoder/half")
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 1:  # numbers alone belong to the norms
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*graph.input, *graph.output):
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    divided = {node.input[0]: node for node in graph.node if node.op_type == "Div"}
    for square in [node for node in graph.node if node.op_type == "Pow"]:
        x = square.input[0]
        scaled = divided[x]
        whole = edit.op("Cast", x, to=TensorProto.FLOAT)
        square.input[0] = scaled.input[0] = whole
        scaled.output[0], out = f"{scaled.output[0]}/float", scaled.output[0]
        edit.op("Cast", scaled.output[0], output=out, to=TensorProto.FLOAT16)
    logits = next(node for node in graph.node if node.output[0] == "logits")
    logits.output[0] = "logits/half"
    edit.op("Cast", "logits/half", output="logits", to=TensorProto.FLOAT)
    graph.node.extend(edit.nodes)
    _sort(model)

"""The graph of a scoring bundle, built from the weights: a Llama-type backbone and a vector at every line's end.

Not traced: a traced graph is spelled out in small operators, attends to what stands below as well, and computes every
layer for every token. Here

- tokens of all rows stand in one matrix, and only attention knows rows;
- a row's queries attend in eight blocks, each to what may stand above it: 9 of 16 of the work;
- the last layer, attention aside, is computed for the ends of lines only;
- norms, rotations and gates are ONNX Runtime's fused operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from onnx import ModelProto, TensorProto, helper

from prox_spark.training.graphs import Editor

RUNTIME = "com.microsoft"
OPSET = 18
# Attention's blocks of queries: 9 of 16 of the work with 8, 5 of 8 with 4; more would be too small for short rows.
BLOCKS = 8


@dataclass(frozen=True)
class Sizes:
    """What the backbone's ``config.json`` says.

    layers, hidden, heads, key_heads, head_size: of the backbone. epsilon: of its norms.
    """

    layers: int
    hidden: int
    heads: int
    key_heads: int
    head_size: int
    epsilon: float


class Products(Protocol):
    """How activations [tokens, inputs] meet a weight matrix: in float32, or in 8 bits."""

    def read(self, edit: Editor, x: str, tokens: str, /) -> Rows:
        """Activations made ready for any number of products. tokens: name of their number, int64 [1]."""
        ...

    def multiply(self, edit: Editor, rows: Rows, name: str, matrix: np.ndarray) -> str:
        """Product with a matrix [inputs, outputs], short of each row's factor."""
        ...

    def look_up(self, edit: Editor, name: str, matrix: np.ndarray, indices: str) -> str:
        """Rows of an embedding [tokens, width]."""
        ...


@dataclass(frozen=True)
class Rows:
    """Activations ready for products: the tensor, and the factor [tokens, 1] by which products are short, if any."""

    tensor: str
    factor: str | None


class Floats:
    """Products in float32."""

    def read(self, _edit: Editor, x: str, _tokens: str) -> Rows:
        """As they are."""
        return Rows(x, None)

    def multiply(self, edit: Editor, rows: Rows, name: str, matrix: np.ndarray) -> str:
        """One ``MatMul``."""
        return edit.op("MatMul", rows.tensor, edit.weight(matrix, name))

    def look_up(self, edit: Editor, name: str, matrix: np.ndarray, indices: str) -> str:
        """One ``Gather``."""
        return edit.op("Gather", edit.weight(matrix, name), indices)


def scoring_graph(
    sizes: Sizes, weights: Mapping[str, np.ndarray], rotation: np.ndarray, products: Products
) -> ModelProto:
    """The whole graph, as ``ScoreEngine`` runs it.

    weights: float32, by the names of transformers' ``LlamaModel`` (matrices [outputs, inputs]), and ``read.weight``
        [width, hidden] and ``read.bias`` [width].
    rotation: float32 [2, positions, head_size / 2]: cosines and sines of every position that a prompt may have.
    """
    model = helper.make_model(
        helper.make_graph([], "scoring", [], []),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(RUNTIME, 1)],
        ir_version=9,
    )
    _Builder(model, sizes, weights, rotation, products).build()
    return model


class _Builder:
    def __init__(
        self,
        model: ModelProto,
        sizes: Sizes,
        weights: Mapping[str, np.ndarray],
        rotation: np.ndarray,
        products: Products,
    ) -> None:
        self.model = model
        self.sizes = sizes
        self.weights = weights
        self.products = products
        self.edit = Editor(model, "prox")
        self.cosines, self.sines = (
            self.edit.weight(rotation[i].astype(np.float32), name) for i, name in enumerate(("cosines", "sines"))
        )

    def build(self) -> None:
        edit, graph = self.edit, self.model.graph
        width = len(self.weights["read.bias"])
        self._shapes()
        flat = edit.op("Reshape", "input_ids", edit.ints(-1))
        x = self.products.look_up(edit, "embed_tokens", self.weights["embed_tokens.weight"], flat)
        for number in range(self.sizes.layers):
            x = self._layer(x, number, last=number + 1 == self.sizes.layers)
        product = edit.op("MatMul", self._norm(x, "norm"), edit.weight(self.weights["read.weight"].T, "read"))
        edit.op("Add", product, edit.weight(self.weights["read.bias"], "read.bias"), output="line_vectors")
        graph.node.extend(edit.nodes)
        tokens = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "tokens"])]
        graph.input.extend([*tokens, helper.make_tensor_value_info("line_positions", TensorProto.INT64, ["lines"])])
        graph.output.append(helper.make_tensor_value_info("line_vectors", TensorProto.FLOAT, ["lines", width]))

    def _shapes(self) -> None:
        """What all layers share: numbers of tokens and lines, positions, and the blocks with their masks."""
        edit = self.edit
        shape = edit.op("Shape", "input_ids")
        rows, length = (edit.op("Gather", shape, edit.ints(i)) for i in (0, 1))
        self.tokens = edit.op("Mul", rows, length)
        self.lines = edit.op("Shape", "line_positions")
        self.first_position = edit.weight(np.zeros(1, dtype=np.int64), "first_position")
        block = edit.op("Div", edit.op("Add", length, edit.ints(BLOCKS - 1)), edit.ints(BLOCKS))
        numbers = edit.op("Range", *(edit.op("Squeeze", n) for n in (edit.ints(0), length, edit.ints(1))))
        self.rows = rows
        self.blocks: list[tuple[str, str]] = []
        self.masks = []
        for number in range(BLOCKS):
            start, end = (edit.op("Mul", block, edit.ints(n)) for n in (number, number + 1))
            self.blocks.append((start, end))
            queries = edit.op("Unsqueeze", edit.op("Slice", numbers, start, end), edit.ints(1))
            keys = edit.op("Unsqueeze", edit.op("Slice", numbers, edit.ints(0), end), edit.ints(0))
            below = edit.op("Less", queries, keys)
            self.masks.append(edit.op("Mul", edit.op("Cast", below, to=TensorProto.FLOAT), self._constant(-1e9)))

    def _constant(self, value: float) -> str:
        return self.edit.weight(np.float32(value))

    def _norm(self, x: str, name: str) -> str:
        weight = self.edit.weight(self.weights[f"{name}.weight"], name)
        return self.edit.op("SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=self.sizes.epsilon)

    def _product(self, rows: Rows, name: str) -> str:
        return self.products.multiply(self.edit, rows, name, self.weights[f"{name}.weight"].T)

    def _scaled(self, x: str, factor: str | None) -> str:
        return x if factor is None else self.edit.op("Mul", x, factor)

    def _layer(self, x: str, number: int, last: bool) -> str:
        edit, name = self.edit, f"layers.{number}"
        rows = self.products.read(edit, self._norm(x, f"{name}.input_layernorm"), self.tokens)
        query, key, value = (
            self._scaled(self._product(rows, f"{name}.self_attn.{kind}_proj"), rows.factor) for kind in "qkv"
        )
        attended, tokens = self._attend(query, key, value), self.tokens
        if last:
            attended, x = (edit.op("Gather", tensor, "line_positions") for tensor in (attended, x))
            tokens = self.lines
        rows = self.products.read(edit, attended, tokens)
        x = edit.op("Add", x, self._scaled(self._product(rows, f"{name}.self_attn.o_proj"), rows.factor))
        rows = self.products.read(edit, self._norm(x, f"{name}.post_attention_layernorm"), tokens)
        gate = self._scaled(self._product(rows, f"{name}.mlp.gate_proj"), rows.factor)
        gate = edit.op("QuickGelu", gate, domain=RUNTIME, alpha=1.0)
        # The factor of a row is left out here and made good after the next product.
        inner = self.products.read(edit, edit.op("Mul", gate, self._product(rows, f"{name}.mlp.up_proj")), tokens)
        down = self._product(inner, f"{name}.mlp.down_proj")
        if inner.factor is not None and rows.factor is not None:
            down = edit.op("Mul", down, edit.op("Mul", inner.factor, rows.factor))
        return edit.op("Add", x, down)

    def _heads(self, x: str, heads: int, rotate: bool) -> str:
        """[tokens, heads x size] to [rows, heads, length, size]."""
        edit = self.edit
        shape = edit.op("Concat", self.rows, edit.ints(-1, heads, self.sizes.head_size), axis=0)
        split = edit.op("Transpose", edit.op("Reshape", x, shape), perm=[0, 2, 1, 3])
        if not rotate:
            return split
        inputs = (split, self.first_position, self.cosines, self.sines)
        return edit.op("RotaryEmbedding", *inputs, domain=RUNTIME)

    def _attend(self, query: str, key: str, value: str) -> str:
        """Causal attention of every row, in blocks of queries; heads that share keys stand together."""
        edit, sizes = self.edit, self.sizes
        query = self._heads(query, sizes.heads, rotate=True)
        key, value = self._heads(key, sizes.key_heads, rotate=True), self._heads(value, sizes.key_heads, rotate=False)
        group = sizes.heads // sizes.key_heads
        together = edit.ints(0, sizes.key_heads, group, -1, sizes.head_size)
        query = edit.op("Reshape", query, together)
        key, value = (edit.op("Unsqueeze", tensor, edit.ints(2)) for tensor in (key, value))
        begin, axis = edit.ints(0), edit.ints(3)
        seen = []
        for (start, end), mask in zip(self.blocks, self.masks, strict=True):
            block = edit.op("Slice", query, start, end, axis)
            keys, values = (edit.op("Slice", tensor, begin, end, axis) for tensor in (key, value))
            scores = edit.op("FusedMatMul", block, keys, domain=RUNTIME, transB=1, alpha=float(sizes.head_size**-0.5))
            weights = edit.op("Softmax", edit.op("Add", scores, mask), axis=-1)
            seen.append(edit.op("MatMul", weights, values))
        attended = edit.op("Transpose", edit.op("Concat", *seen, axis=3), perm=[0, 3, 1, 2, 4])
        return edit.op("Reshape", attended, edit.ints(-1, sizes.heads * sizes.head_size))

"""8-bit products with one weight scale a row and one activation scale a token.

One scale for a whole tensor of activations would tie every document of a batch to its neighbours. Here a token's
numbers depend on that token alone, so programs are the same in every batch.

Weights use all of -127 to 127. x86 processors without VNNI add two 8-bit products in 16 bits, and 255 * 127 * 2 does
not fit: there ``refiner.device`` has ONNX Runtime take slower products that do not overflow, with the same sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from prox_spark.training.graphs import Editor
from prox_spark.training.scoring_graph import RUNTIME, Rows

# Smaller matrices, such as a head's last layer, are not worth it.
_SMALLEST = 64
_STEPS = 127


@dataclass(frozen=True)
class Quantised:
    """How many of a graph's matrices have 8-bit weights now."""

    products: int
    embeddings: int


def quantise(model: ModelProto, keep: tuple[str, ...] = ("prox/",)) -> Quantised:
    """Give the graph 8-bit weights, in place.

    Every ``MatMul`` with a constant matrix [inputs, outputs] becomes: activations to uint8 by the token's largest
    absolute value, an integer product with int8 weights (a scale an output), and back to float32. Every embedding
    [tokens, width] becomes int8 rows with a scale each.

    keep: products of nodes whose name begins so stay in float32.
    """
    graph = model.graph
    matrices = {tensor.name: tensor for tensor in graph.initializer if _is_matrix(tensor)}
    activations: dict[str, tuple[str, str]] = {}
    weights: dict[str, tuple[str, str]] = {}
    nodes: list[NodeProto] = []
    products = embeddings = 0
    for number, node in enumerate(graph.node):
        edit = Editor(model, f"q{number}")
        if node.op_type == "MatMul" and node.input[1] in matrices and not node.name.startswith(keep):
            if node.input[0] not in activations:
                activations[node.input[0]] = _quantise_activations(edit, node.input[0])
            if node.input[1] not in weights:
                weights[node.input[1]] = _quantise_columns(edit, matrices[node.input[1]])
            _multiply(edit, activations[node.input[0]], weights[node.input[1]], node.output[0])
            products += 1
        elif node.op_type == "Gather" and node.input[0] in matrices:
            _look_up(edit, matrices[node.input[0]], node.input[1], node.output[0])
            embeddings += 1
        else:
            nodes.append(node)
        nodes.extend(edit.nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    if products and all(entry.domain != RUNTIME for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(RUNTIME, 1))
    _drop_unused_weights(model)
    return Quantised(products, embeddings)


class Bytes:
    """Products of a scoring graph in 8 bits: see ``scoring_graph.Products``."""

    def __init__(self) -> None:
        self._zeros: dict[str, str] = {}

    def read(self, edit: Editor, x: str, tokens: str) -> Rows:
        """uint8 around 128, in one pass beside the two that find a token's largest absolute value."""
        largest, smallest = (edit.op(f"Reduce{kind}", x, edit.ints(-1), keepdims=0) for kind in ("Max", "Min"))
        largest = edit.op("Max", largest, edit.op("Neg", smallest), edit.weight(np.float32(1e-10)))
        scale = edit.op("Div", largest, edit.weight(np.float32(_STEPS)))
        if tokens not in self._zeros:
            self._zeros[tokens] = edit.op("Expand", edit.weight(np.full(1, 128, dtype=np.uint8)), tokens)
        quantised = edit.op("QuantizeLinear", x, scale, self._zeros[tokens], axis=0)
        return Rows(quantised, edit.op("Unsqueeze", scale, edit.ints(1)))

    def multiply(self, edit: Editor, rows: Rows, name: str, matrix: np.ndarray) -> str:
        """int8 weights with a scale an output."""
        columns, scale = _rows(matrix.T)
        weights = edit.weight(columns.T, f"{name}/int8"), edit.weight(scale[:, 0], f"{name}/scale")
        one, zero = edit.weight(np.float32(1)), edit.weight(np.asarray(128, dtype=np.uint8))
        return edit.op("MatMulIntegerToFloat", rows.tensor, weights[0], one, weights[1], zero, domain=RUNTIME)

    def look_up(self, edit: Editor, name: str, matrix: np.ndarray, indices: str) -> str:
        """int8 rows with a scale each."""
        rows, scale = _rows(matrix)
        row = edit.op("Gather", edit.weight(rows, f"{name}/int8"), indices)
        factor = edit.op("Gather", edit.weight(scale, f"{name}/scale"), indices)
        return edit.op("Mul", edit.op("Cast", row, to=TensorProto.FLOAT), factor)


def _is_matrix(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and min(tensor.dims) >= _SMALLEST


def _quantise_activations(edit: Editor, x: str) -> tuple[str, str]:
    """uint8 around 128 [.., tokens, width], and the largest absolute value of each token [.., tokens, 1]."""
    largest = edit.op("ReduceMax", edit.op("Abs", x), edit.ints(-1), keepdims=1)
    largest = edit.op("Max", largest, edit.weight(np.float32(1e-10)))
    steps = edit.op("Mul", x, edit.op("Div", edit.weight(np.float32(127)), largest))
    shifted = edit.op("Add", edit.op("Round", steps), edit.weight(np.float32(128)))
    return edit.op("Cast", shifted, to=TensorProto.UINT8), largest


def _rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 rows from -127 to 127, and the scale [rows, 1] of each."""
    scale = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-10).astype(np.float32) / np.float32(_STEPS)
    return np.clip(np.rint(matrix / scale), -_STEPS, _STEPS).astype(np.int8), scale


def _quantise_columns(edit: Editor, tensor: TensorProto) -> tuple[str, str]:
    """int8 weights [inputs, outputs]; the scale [outputs] of each output, over the 127 steps of an activation."""
    rows, scale = _rows(numpy_helper.to_array(tensor).T)
    factor = (scale[:, 0] / np.float32(127)).astype(np.float32)
    return edit.weight(rows.T, f"{tensor.name}/int8"), edit.weight(factor, f"{tensor.name}/scale")


def _multiply(edit: Editor, activations: tuple[str, str], weights: tuple[str, str], output: str) -> None:
    one, zero = edit.weight(np.float32(1)), edit.weight(np.asarray(128, dtype=np.uint8))
    inputs = (activations[0], weights[0], one, weights[1], zero)
    edit.op("Mul", edit.op("MatMulIntegerToFloat", *inputs, domain=RUNTIME), activations[1], output=output)


def _look_up(edit: Editor, tensor: TensorProto, indices: str, output: str) -> None:
    rows, scale = _rows(numpy_helper.to_array(tensor))
    row = edit.op("Gather", edit.weight(rows, f"{tensor.name}/rows"), indices)
    factor = edit.op("Gather", edit.weight(scale, f"{tensor.name}/row_scale"), indices)
    edit.op("Mul", edit.op("Cast", row, to=TensorProto.FLOAT), factor, output=output)


def _drop_unused_weights(model: ModelProto) -> None:
    graph = model.graph
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)

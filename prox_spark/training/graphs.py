"""Surgery on exported ONNX graphs: a scoring head, a decoder that reads only the last position, dead weight removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from prox_spark.errors import EngineError

EXTERNAL = "model.onnx_data"
# Protobuf ends at 2 GiB; a graph near it keeps its weights in a file beside it.
_LARGEST_FILE = 1_900_000_000


class Editor:
    """Adds nodes and weights to a graph under names of its own; every method gives the name of the new tensor."""

    def __init__(self, model: ModelProto, prefix: str) -> None:
        self.graph = model.graph
        self.prefix = prefix
        self.nodes: list[NodeProto] = []

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node, kept in ``nodes`` until it is put where it belongs."""
        name = output or f"{self.prefix}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{self.prefix}/{name}", **attributes))
        return name

    def weight(self, value: np.ndarray, name: str | None = None) -> str:
        """An initializer."""
        name = name or f"{self.prefix}/w{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def ints(self, *values: int) -> str:
        """An int64 vector."""
        return self.weight(np.asarray(values, dtype=np.int64))


def add_line_reader(model: ModelProto, head: Mapping[str, np.ndarray]) -> None:
    """Turn a backbone (``last_hidden_state``) into a graph that reads a vector at the end of every line, in place.

    head: ``read.weight`` [width, H] and ``read.bias`` [width], float32.
    Adds the input ``line_positions`` [lines] and the output ``line_vectors`` [lines, width]; positions are counted from
    the mask, so ``position_ids`` is an input no more.
    """
    edit = Editor(model, "prox")
    width, hidden = head["read.weight"].shape
    flat = edit.op("Reshape", "last_hidden_state", edit.ints(-1, hidden))
    product = edit.op("MatMul", edit.op("Gather", flat, "line_positions"), edit.weight(head["read.weight"].T))
    edit.op("Add", product, edit.weight(head["read.bias"]), output="line_vectors")
    graph = model.graph
    graph.node.extend(edit.nodes)
    _positions_from_mask(model)
    graph.input.append(helper.make_tensor_value_info("line_positions", TensorProto.INT64, ["lines"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("line_vectors", TensorProto.FLOAT, ["lines", width]))


def _positions_from_mask(model: ModelProto) -> None:
    graph = model.graph
    found = [value for value in graph.input if value.name == "position_ids"]
    if not found:
        return
    graph.input.remove(found[0])
    edit = Editor(model, "prox/positions")
    counted = edit.op("CumSum", "attention_mask", edit.weight(np.asarray(1, dtype=np.int64)))
    edit.op("Sub", counted, edit.ints(1), output="position_ids")
    prepend(model, edit.nodes)


def keep_last_logits(model: ModelProto) -> bool:
    """Let a decoder compute logits for its last position only, in place: a prompt's others are never read.

    Returns False, and changes nothing, where the logits are not one product of the hidden states.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    product = made["logits"]
    while product.op_type in ("Identity", "Cast"):
        product = made[product.input[0]]
    if product.op_type != "MatMul":
        return False
    edit = Editor(model, "prox/last")
    last = edit.op("Slice", product.input[0], edit.ints(-1), edit.ints(2**62), edit.ints(1))
    product.input[0] = last
    position = next(i for i, node in enumerate(graph.node) if node.output == product.output)
    nodes = [*graph.node[:position], *edit.nodes, *graph.node[position:]]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in graph.output:
        if value.name == "logits":
            value.type.tensor_type.shape.dim[1].Clear()
            value.type.tensor_type.shape.dim[1].dim_value = 1
    return True


def drop_nan_guard(model: ModelProto) -> int:
    """Take out ``where(isnan(softmax), 0, softmax)``, in place; returns how many were found.

    The guard is for rows that may look at nothing. With padding on the right every token sees the row's first one, and
    the guard is a third of the attention's time on a CPU.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    renamed: dict[str, str] = {}
    dead: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "Where":
            continue
        test, softmax = made.get(node.input[0]), made.get(node.input[2])
        if test is None or softmax is None or test.op_type != "IsNaN" or softmax.op_type != "Softmax":
            continue
        if test.input[0] == node.input[2]:
            renamed[node.output[0]] = node.input[2]
            dead += [node, test]
    for node in dead:
        graph.node.remove(node)
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    return len(renamed)


def prepend(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Put nodes in front of all others, in place."""
    every = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(every)


def fold_constants(source: Path, target: Path) -> ModelProto:
    """The graph after ONNX Runtime's hardware-independent simplifications, read back.

    Raises EngineError if the runtime cannot read the graph.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{target.name}_data")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises many kinds, none of them public
        raise EngineError(f"{source}: ONNX Runtime cannot read the exported graph: {error}") from error
    return onnx.load(str(target))


def save(model: ModelProto, path: Path) -> None:
    """Write the graph, checked; a large one with its weights in one file beside it."""
    del model.graph.value_info[:]
    model.producer_name, model.producer_version, model.doc_string = "prox_spark", "", ""
    if model.ByteSize() > _LARGEST_FILE:
        onnx.save(model, str(path), save_as_external_data=True, location=EXTERNAL, size_threshold=1024)
    else:
        onnx.save(model, str(path))
    onnx.checker.check_model(str(path))

"""Work on ONNX graphs: building, simplifying, saving them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

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


def fold_constants(source: Path, target: Path) -> ModelProto:
    """The graph after ONNX Runtime's hardware-independent simplifications, read back.

    Raises EngineError if the runtime cannot read the graph.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{target.name}_data")
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    read(source, options)
    return onnx.load(str(target))


def save(model: ModelProto, path: Path) -> None:
    """Write the graph, checked; a large one with its weights in one file beside it.

    Raises EngineError if ONNX Runtime cannot read it.
    """
    del model.graph.value_info[:]
    model.producer_name, model.producer_version, model.doc_string = "prox_spark", "", ""
    if model.ByteSize() > _LARGEST_FILE:
        onnx.save(model, str(path), save_as_external_data=True, location=EXTERNAL, size_threshold=1024)
    else:
        onnx.save(model, str(path))
    # Not onnx's own checker: it knows only the standard's operators.
    read(path)


def read(path: Path, options: onnxruntime.SessionOptions | None = None) -> None:
    """Let ONNX Runtime read a graph once. Raises EngineError if it cannot."""
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises many kinds, none of them public
        raise EngineError(f"{path}: ONNX Runtime cannot read the exported graph: {error}") from error

"""What ``score.py`` compares, each in a process of its own, whose peak is its memory: classes with ``run``."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from prox_spark.refiner.bundle import Bundle
from prox_spark.refiner.device import open_session
from prox_spark.refiner.refiner import Refiner
from prox_spark.refiner.score import LineJudge
from prox_spark.text.lines import split_lines

# What is known of 8-bit products here: tokens, inputs and outputs of one of the backbone's.
PRODUCT = (1024, 576, 1536)


class Ours:
    """The bundle as it ships, through ``Refiner.write``."""

    def __init__(self, bundle: str, threads: int) -> None:
        self.refiner = Refiner.load(bundle, "cpu", threads=threads)

    def run(self, texts: Sequence[str]) -> dict[str, Any]:
        """Seconds, tokens and all line scores."""
        began = time.perf_counter()
        written = list(self.refiner.write(texts))
        seconds = time.perf_counter() - began
        if errors := [one.error for one in written if one.error]:
            raise RuntimeError(errors[0])
        scores = [score for one in written for chunk in one.chunks for score in chunk.line_scores or ()]
        return {"seconds": seconds, "tokens": sum(one.prompt_tokens for one in written), "scores": scores}


class Plain:
    """The same weights in float32 as Optimum exports them: a plain prefill of padded batches, then the same heads."""

    def __init__(self, bundle: str, graph: str, threads: int, batch: int) -> None:
        found = Bundle.find(bundle)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.prompt = found.prompt(found.tokenizer())
        self.judge = LineJudge(open_session(found.line_graph, "cpu", threads=threads))
        weights = initializers(found.graph)
        self.read, self.bias = weights["read"], weights["read.bias"]
        self.batch = batch

    def run(self, texts: Sequence[str]) -> dict[str, Any]:
        """Seconds, tokens and all line scores."""
        began = time.perf_counter()
        chunks = [(number, chunk) for number, text in enumerate(texts) for chunk in self.prompt.chunks(text)]
        order = sorted(range(len(chunks)), key=lambda i: -len(chunks[i][1].token_ids))
        vectors: dict[int, np.ndarray] = {}
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            ids = np.zeros((len(rows), len(chunks[rows[0]][1].token_ids)), dtype=np.int64)
            mask = np.zeros_like(ids)
            for at, row in enumerate(rows):
                tokens = chunks[row][1].token_ids
                ids[at, : len(tokens)], mask[at, : len(tokens)] = tokens, 1
            feed = {"input_ids": ids, "attention_mask": mask, "position_ids": np.maximum(mask.cumsum(1) - 1, 0)}
            names = {value.name for value in self.session.get_inputs()}
            (hidden,) = self.session.run(["last_hidden_state"], {k: v for k, v in feed.items() if k in names})
            for at, row in enumerate(rows):
                vectors[row] = hidden[at][list(chunks[row][1].line_ends)] @ self.read + self.bias
        scores: list[float] = []
        for number, text in enumerate(texts):
            own = [vectors[row] for row, (document, _) in enumerate(chunks) if document == number]
            scores += self.judge.judge(split_lines(text), np.concatenate(own))[0]
        tokens = sum(len(chunk.token_ids) for _, chunk in chunks)
        return {"seconds": time.perf_counter() - began, "tokens": tokens, "scores": scores}


class Products:
    """The rate of 8-bit products, uint8 by int8, that ONNX Runtime reaches here: the best of twenty."""

    def __init__(self, threads: int) -> None:
        tokens, inputs, outputs = PRODUCT
        random = np.random.default_rng(0)
        weights = random.integers(-127, 128, (inputs, outputs)).astype(np.int8)
        self.activations = random.integers(0, 256, (tokens, inputs), dtype=np.uint8)
        graph = helper.make_graph(
            [helper.make_node("MatMulInteger", ["a", "b", "zero"], ["y"])],
            "product",
            [helper.make_tensor_value_info("a", TensorProto.UINT8, [tokens, inputs])],
            [helper.make_tensor_value_info("y", TensorProto.INT32, [tokens, outputs])],
            [numpy_helper.from_array(weights, "b"), numpy_helper.from_array(np.asarray(128, np.uint8), "zero")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def run(self, _texts: Sequence[str]) -> dict[str, Any]:
        """Billion operations a second."""
        best = math.inf
        for _ in range(20):
            began = time.perf_counter()
            self.session.run(None, {"a": self.activations})
            best = min(best, time.perf_counter() - began)
        return {"rate": 2 * math.prod(PRODUCT) / best / 1e9}


KINDS = {"ours": Ours, "plain": Plain, "products": Products}


def serve(connection: Connection, kind: str, arguments: dict[str, Any]) -> None:
    """In a process of its own: make a contender, then run it on every list of texts that comes in, until None."""
    contender = KINDS[kind](**arguments)
    connection.send("ready")
    while (texts := connection.recv()) is not None:
        found = contender.run(texts)
        connection.send({**found, "mebibytes": peak()})


def peak() -> float:
    """Most memory that this process ever held, in MiB; getrusage would tell of the process that started it, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 2**10


def initializers(graph: Path) -> dict[str, np.ndarray]:
    """Weights of a scoring graph, float32, by their names; of int8 ones what they stand for."""
    raw = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(graph)).graph.initializer}
    found = {name: value for name, value in raw.items() if "/" not in name}
    for name, value in raw.items():
        stem, _, kind = name.rpartition("/")
        if kind == "int8":
            found[stem] = value.astype(np.float32) * raw[f"{stem}/scale"]
    return found


def parameters(graph: Path) -> int:
    """Numbers in the backbone's matrices, its embeddings left out: each is one multiplication and addition a token."""
    return sum(value.size for name, value in initializers(graph).items() if name.endswith("_proj"))


def export_plain(bundle: Bundle, directory: Path) -> str:
    """The bundle's backbone through transformers and Optimum, as anyone would export it; returns the ONNX file."""
    import torch
    from optimum.exporters.onnx import main_export
    from transformers import LlamaConfig, LlamaModel

    weights = initializers(bundle.graph)
    size = 2 * weights["cosines"].shape[1]
    norm = next(n for n in onnx.load(str(bundle.graph)).graph.node if n.op_type == "SimplifiedLayerNormalization")
    # The second frequency is theta to the power of -2 / size.
    angle = math.atan2(weights["sines"][1, 1], weights["cosines"][1, 1])
    config = LlamaConfig(
        vocab_size=len(weights["embed_tokens"]),
        hidden_size=weights["embed_tokens"].shape[1],
        intermediate_size=weights["layers.0.mlp.up_proj"].shape[1],
        num_hidden_layers=sum(name.endswith(".q_proj") for name in weights),
        num_attention_heads=weights["layers.0.self_attn.q_proj"].shape[1] // size,
        num_key_value_heads=weights["layers.0.self_attn.k_proj"].shape[1] // size,
        head_dim=size,
        rope_theta=angle ** (-size / 2),
        rms_norm_eps=next(a.f for a in norm.attribute if a.name == "epsilon"),
    )
    model = LlamaModel(config)
    names = (name.removesuffix(".weight") for name in model.state_dict())
    state = {f"{name}.weight": torch.tensor(weights[name].T if "_proj" in name else weights[name]) for name in names}
    model.load_state_dict(state)
    model.save_pretrained(directory / "hf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main_export(str(directory / "hf"), directory / "onnx", task="feature-extraction", do_validation=False, opset=18)
    return str(directory / "onnx" / "model.onnx")

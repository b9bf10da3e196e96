"""Small random models with the inputs and outputs of real bundles, and a tokenizer, made in milliseconds without torch.

The network is a Llama-like decoder in little: RMS norm, causal attention with a cache, a gated unit, learned positions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from prox_spark.refiner.bundle import Bundle, write_bundle
from prox_spark.refiner.shapes import SHAPES, VERSION
from prox_spark.text.templates import PROX_CHUNK, PROX_DOC

HEADS, SIZE, WIDTH, LAYERS, POSITIONS = 2, 8, 16, 2, 4096
SAMPLES = [
    "[doc] [/doc] [000]hello world",
    "remove_lines(line_start=0, line_end=1)\nkeep_chunk()",
    "the quick brown fox",
]


def byte_tokenizer() -> Tokenizer:
    """GPT-2's kind: bytes as characters, no space put in front, ``<|endoftext|>`` in the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "</s>", "<s>", "<|im_start|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SAMPLES * 4, trainer)
    return tokenizer


def llama_tokenizer() -> Tokenizer:
    """Llama-2's kind: ``▁`` for spaces, one put in front of every text, bytes for unknown characters, ``<s>`` first."""
    special = ["<unk>", "<s>", "</s>"]
    pieces = special + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += sorted(
        {c for text in SAMPLES for c in text.replace(" ", "▁")} | set("▁INSTYuaeglpfhdso<>&.,;/[]0123456789")
    )
    merges = [("▁", "h"), ("▁", "["), ("l", "l"), ("]", "▁"), ("▁", "▁"), ("0", "0"), ("<", "/"), ("</", "s")]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


class Graph:
    """Nodes and weights of a graph in the making; every method gives the name of a new tensor."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.random = np.random.default_rng(seed)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.random.normal(0, shape[0] ** -0.5, shape), np.float32)

    def dim(self, tensor: str, axis: int) -> str:
        return self.op("Gather", self.op("Shape", tensor), self.constant([axis]), axis=0)

    def norm(self, x: str) -> str:
        square = self.op("ReduceMean", self.op("Mul", x, x), self.constant([-1]), keepdims=1)
        root = self.op("Sqrt", self.op("Add", square, self.constant(1e-5, np.float32)))
        return self.op("Mul", self.op("Div", x, root), self.constant(np.ones(WIDTH), np.float32))

    def heads(self, x: str) -> str:
        shape = self.constant([0, 0, HEADS, SIZE])
        return self.op("Transpose", self.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    def unhead(self, x: str) -> str:
        return self.op("Reshape", self.op("Transpose", x, perm=[0, 2, 1, 3]), self.constant([0, 0, WIDTH]))

    def mask(self, ids: str) -> str:
        """Added to attention: 0 where a query may look, else -1e9; [batch, 1, tokens, past + tokens]."""
        total, new = self.dim("attention_mask", 1), self.dim(ids, 1)
        scalar = self.constant([], np.int64)
        columns = self.op("Range", self.constant(0), self.op("Reshape", total, scalar), self.constant(1))
        queries = self.op("Slice", columns, self.op("Sub", total, new), total)
        causal = self.op(
            "GreaterOrEqual",
            self.op("Unsqueeze", queries, self.constant([1])),
            self.op("Unsqueeze", columns, self.constant([0])),
        )
        real = self.op("Unsqueeze", self.op("Cast", "attention_mask", to=TensorProto.BOOL), self.constant([1, 2]))
        allowed = self.op("And", causal, real)
        return self.op("Where", allowed, self.constant(0, np.float32), self.constant(-1e9, np.float32))

    def attention(self, query: str, key: str, value: str, mask: str) -> str:
        query, key, value = self.heads(query), self.heads(key), self.heads(value)
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        weights = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        return self.unhead(self.op("MatMul", weights, value))

    def cached_attention(self, query: str, key: str, value: str, number: int) -> str:
        past = [f"past_key_values.{number}.{kind}" for kind in ("key", "value")]
        inputs = [query, key, value, *past, "seqlens_k", "total_sequence_length"]
        outputs = [f"attended{number}", f"present.{number}.key", f"present.{number}.value"]
        shape = {"num_heads": HEADS, "kv_num_heads": HEADS, "scale": 1.0}
        node = helper.make_node("GroupQueryAttention", inputs, outputs, domain="com.microsoft", **shape)
        self.nodes.append(node)
        return outputs[0]

    def layer(self, x: str, mask: str | None, number: int) -> str:
        h = self.norm(x)
        query, key, value = (self.op("MatMul", h, self.weight(WIDTH, WIDTH)) for _ in range(3))
        if mask is None:
            seen = self.cached_attention(query, key, value, number)
        else:
            seen = self.attention(query, key, value, mask)
        x = self.op("Add", x, self.op("MatMul", seen, self.weight(WIDTH, WIDTH)))
        h = self.norm(x)
        gate = self.op("MatMul", h, self.weight(WIDTH, 2 * WIDTH))
        gated = self.op(
            "Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), self.op("MatMul", h, self.weight(WIDTH, 32))
        )
        return self.op("Add", x, self.op("MatMul", gated, self.weight(2 * WIDTH, WIDTH)))

    def backbone(self, vocabulary: int, positions: str, cached: bool) -> str:
        tokens = self.op("Gather", self.weight(vocabulary, WIDTH), "input_ids")
        x = self.op("Add", tokens, self.op("Gather", self.weight(POSITIONS, WIDTH), positions))
        x = self.op("Mul", x, self.constant(4, np.float32))
        mask = None if cached else self.mask("input_ids")
        for number in range(LAYERS):
            x = self.layer(x, mask, number)
        return self.norm(x)

    def save(self, path: Path, inputs: list[Any], outputs: list[Any]) -> None:
        graph = helper.make_graph(self.nodes, "tiny", inputs, outputs, self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)], ir_version=8
        )
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def tensor(name: str, *shape: Any, kind: int = TensorProto.INT64) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def decoder(path: Path, vocabulary: int, seed: int = 0) -> None:
    """A graph as a decoding bundle has it: attention over a cache that is written in place, the best token inside."""
    graph = Graph(seed)
    last = graph.op("Unsqueeze", graph.op("Cast", "seqlens_k", to=TensorProto.INT64), graph.constant([1]))
    scalar = graph.constant([], np.int64)
    back = graph.op(
        "Range", graph.constant(0), graph.op("Reshape", graph.dim("input_ids", 1), scalar), graph.constant(1)
    )
    first = graph.op("Add", graph.op("Sub", last, graph.dim("input_ids", 1)), graph.constant(1))
    x = graph.backbone(vocabulary, graph.op("Add", first, back), cached=True)
    x = graph.op("Gather", x, graph.constant(-1), axis=1)
    graph.nodes.append(helper.make_node("MatMul", [x, graph.weight(WIDTH, vocabulary)], ["logits"]))
    graph.nodes.append(helper.make_node("ArgMax", ["logits"], ["next_token"], axis=-1, keepdims=0))
    total = graph.op("ReduceSum", "logits", graph.constant([-1]), keepdims=0)
    graph.nodes.append(helper.make_node("Not", [graph.op("IsNaN", total)], ["finite"]))
    inputs = [tensor("input_ids", "batch", "tokens"), tensor("seqlens_k", "batch", kind=TensorProto.INT32)]
    inputs += [tensor("total_sequence_length", 1, kind=TensorProto.INT32)]
    names = [f"{n}.{kind}" for n in range(LAYERS) for kind in ("key", "value")]
    shape = ("batch", HEADS, "capacity", SIZE)
    inputs += [tensor(f"past_key_values.{name}", *shape, kind=TensorProto.FLOAT) for name in names]
    outputs = [tensor("next_token", "batch"), tensor("finite", "batch", kind=TensorProto.BOOL)]
    outputs += [tensor("logits", "batch", vocabulary, kind=TensorProto.FLOAT)]
    outputs += [tensor(f"present.{name}", *shape, kind=TensorProto.FLOAT) for name in names]
    graph.save(path, inputs, outputs)


def plain_decoder(path: Path, vocabulary: int, seed: int = 0) -> None:
    """The same network in plain operations: no cache, logits for every position."""
    graph = Graph(seed)
    positions = graph.op("Sub", graph.op("CumSum", "attention_mask", graph.constant(1)), graph.constant(1))
    x = graph.backbone(vocabulary, positions, cached=False)
    graph.nodes.append(helper.make_node("MatMul", [x, graph.weight(WIDTH, vocabulary)], ["logits"]))
    inputs = [tensor("input_ids", "batch", "tokens"), tensor("attention_mask", "batch", "tokens")]
    graph.save(path, inputs, [tensor("logits", "batch", "tokens", vocabulary, kind=TensorProto.FLOAT)])


def scorer(path: Path, vocabulary: int, seed: int = 0) -> None:
    """The graph of a scoring bundle that reads a vector at every line's end."""
    graph = Graph(seed)
    one = numpy_helper.from_array(np.ones(1, dtype=np.int64))
    shape = graph.op("Shape", "input_ids")
    graph.nodes.append(helper.make_node("ConstantOfShape", [shape], ["attention_mask"], value=one))
    positions = graph.op("Sub", graph.op("CumSum", "attention_mask", graph.constant(1)), graph.constant(1))
    x = graph.backbone(vocabulary, graph.op("Max", positions, graph.constant(0)), cached=False)
    flat = graph.op("Reshape", x, graph.constant([-1, WIDTH]))
    graph.nodes.append(helper.make_node("Gather", [flat, "line_positions"], ["line_vectors"]))
    inputs = [tensor("input_ids", "batch", "tokens"), tensor("line_positions", "lines")]
    graph.save(path, inputs, [tensor("line_vectors", "lines", WIDTH, kind=TensorProto.FLOAT)])


def judge(path: Path, seed: int = 0) -> None:
    """The graph that judges lines: each from its own vector and shapes and from the mean of all vectors."""
    graph = Graph(seed)
    mean = graph.op("ReduceMean", "vectors", graph.constant([0]), keepdims=1)
    seen = graph.op("Add", "vectors", mean)
    line = graph.op("MatMul", seen, graph.weight(WIDTH, 1))
    line = graph.op("Add", line, graph.op("MatMul", "shapes", graph.weight(SHAPES, 1)))
    for source, name in ((line, "line_scores"), (graph.op("MatMul", mean, graph.weight(WIDTH, 1)), "document_score")):
        logit = graph.op("Mul", graph.op("Reshape", source, graph.constant([-1])), graph.constant(2, np.float32))
        graph.nodes.append(helper.make_node("Sigmoid", [logit], [name]))
    inputs = [tensor("vectors", "lines", WIDTH, kind=TensorProto.FLOAT)]
    inputs += [tensor("shapes", "lines", SHAPES, kind=TensorProto.FLOAT)]
    outputs = [tensor("line_scores", "lines", kind=TensorProto.FLOAT)]
    graph.save(path, inputs, [*outputs, tensor("document_score", "one", kind=TensorProto.FLOAT)])


CAUTION = {
    "cautious": {"line": 0.8, "document": 0.9},
    "balanced": {"line": 0.5, "document": 0.5},
    "aggressive": {"line": 0.3, "document": 0.3},
}


def score_bundle(directory: Path, seed: int = 0, **changes: Any) -> Bundle:
    """A scoring bundle of a random model; ``changes`` replace keys of refiner.json."""
    directory.mkdir(parents=True)
    tokenizer = byte_tokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    scorer(directory / "model.onnx", tokenizer.get_vocab_size(), seed)
    judge(directory / "lines.onnx", seed)
    manifest = {
        "name": "tiny-score",
        "version": "0.1",
        "writes": "score",
        "level": "both",
        "dialect": "prox",
        "languages": ["en"],
        "line_graph": "lines.onnx",
        "prompt": {"format": "compact", "bos_token": "<|endoftext|>", "shapes": VERSION},
        "limits": {"window_tokens": 128, "max_line_tokens": 24, "head_tokens": 16},
        "precision": "fp32",
        "caution": CAUTION,
        "card": {"licence": "Apache-2.0"},
        **changes,
    }
    return write_bundle(directory, manifest)


def decode_bundle(directory: Path, seed: int = 12, level: str = "chunk", **changes: Any) -> Bundle:
    """A decoding bundle of a random model with the released refiners' prompts."""
    directory.mkdir(parents=True)
    tokenizer = llama_tokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    decoder(directory / "model.onnx", tokenizer.get_vocab_size(), seed)
    manifest = {
        "name": "tiny-decode",
        "version": "0.1",
        "writes": "decode",
        "level": level,
        "dialect": "prox",
        "prompt": PROX_CHUNK if level == "chunk" else PROX_DOC,
        "limits": {"window_tokens": 150 if level == "chunk" else 260, "max_new_tokens": 12},
        "end_tokens": [2, *range(7, 300, 8)],
        "precision": "fp32",
        **changes,
    }
    return write_bundle(directory, manifest)


def read_manifest(bundle: Bundle) -> dict[str, Any]:
    """``refiner.json`` as it lies there."""
    value: dict[str, Any] = json.loads((bundle.directory / "refiner.json").read_text(encoding="utf-8"))
    return value

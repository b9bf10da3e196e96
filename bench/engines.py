"""Writing programs through several engines: the same checkpoint, prompts and limits, one process an engine and round.

    python bench/engines.py
    python bench/engines.py --quick --engines optimum,ours
    python bench/engines.py --python genai=/envs/genai/bin/python --python llama.cpp=/envs/llama/bin/python

SmolLM2-135M-Instruct with all its layers reads prompts of 200 to 1,500 tokens, made of the demo's pages, and writes 24
tokens for each. Rounds are interleaved; medians are printed. "same" counts the prompts with all the tokens that
transformers writes in float32 (on a GPU: in half precision). Processor seconds mean something on a machine that does
other work too. Memory is the process's peak, loading included. Engines that are not installed are left out, with a line
that says how to install them; `--python` names the environment of one that needs its own.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from common import arguments, cores, figure, median, show
from peers import NEW_TOKENS, PEERS, Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "demo" / "sample_pages.jsonl.gz"
REFERENCE = "transformers"
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--engines", default="", help="names, with commas; default: all that run on the device")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--python", action="append", default=[], metavar="ENGINE=PATH", help="its environment")
    parser.add_argument("--tune", action="store_true", help="try all settings of every engine first, and take the best")
    parser.add_argument("--quick", action="store_true", help="6 prompts, 1 round")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.rounds = 6, 1
    options.work = (options.work / "engines").resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    step(options, "checkpoint", REFERENCE)
    lengths = write_prompts(options.work, options.prompts)
    print(f"{len(lengths)} prompts of {min(lengths)} to {max(lengths)} tokens, {sum(lengths)} together", flush=True)
    settings = {name: choose(options, name) for name in prepare(options)}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
    for _ in range(options.rounds):
        for name in settings:
            rounds[name].append(step(options, "measure", name, settings[name]))
            print(f"{name}: {figure(rounds[name][-1]['seconds'])} s", flush=True)
    report(options, rounds, settings, lengths)


def prepare(options: Namespace) -> list[str]:
    """Let every engine make its files; names of those that are installed."""
    asked = options.engines.split(",") if options.engines else list(PEERS)
    if unknown := set(asked) - set(PEERS):
        raise SystemExit(f"no engine {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    found = []
    for name in dict.fromkeys([REFERENCE, *asked]):
        if options.device not in PEERS[name].devices:
            continue
        result = step(options, "prepare", name)
        if "missing" in result:
            print(f"{name} is left out: {result['missing']}", flush=True)
        else:
            found.append(name)
    return found


def choose(options: Namespace, name: str) -> Settings:
    """The engine's best settings: the first ones, or with --tune the fastest on a quarter of the prompts."""
    every = PEERS[name].settings
    if not options.tune or len(every) == 1:
        return every[0]
    seconds = {i: step(options, "measure", name, one, "--every", "4")["seconds"] for i, one in enumerate(every)}
    return every[min(seconds, key=lambda i: seconds[i])]


def step(options: Namespace, what: str, name: str, settings: Settings | None = None, *more: str) -> dict[str, Any]:
    """Run one step in a process of the engine's environment; what its last line says."""
    given = dict(pair.split("=", 1) for pair in options.python)
    if what == "prepare" and PEERS[name].prepared_apart:
        given = {}
    python = next((path for prefix, path in given.items() if name.startswith(prefix)), sys.executable)
    command = [python, str(Path(__file__).with_name("peers.py")), what, name, str(options.work)]
    command += ["--device", options.device, "--threads", str(cores()), "--settings", json.dumps(settings or {}), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    with (options.work / "log.txt").open("a") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {what} failed, see {options.work / 'log.txt'}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_prompts(work: Path, number: int) -> list[int]:
    """Prompts of evenly spread lengths, each of other pages; returns their lengths."""
    from prox_spark.text.prompts import prompt_format
    from prox_spark.text.templates import PLAIN_CHUNK
    from prox_spark.text.tokenize import TextTokenizer

    tokenizer = TextTokenizer.from_file(work / "hf" / "tokenizer.json")
    with gzip.open(PAGES, "rt", encoding="utf-8") as lines:
        pages = [json.loads(line)["text"] for line in lines]
    prompts = []
    for i in range(number):
        window = 200 + 1300 * i // max(1, number - 1)
        text = "\n".join(pages[i % len(pages) :] + pages[: i % len(pages)])
        limits = {"window_tokens": window, "max_new_tokens": NEW_TOKENS}
        prompts.append(
            next(prompt_format({**PLAIN_CHUNK, "bos_token": None}, limits, tokenizer).chunks(text)).token_ids
        )
    (work / "prompts.json").write_text(json.dumps(prompts))
    return [len(prompt) for prompt in prompts]


def report(
    options: Namespace,
    rounds: dict[str, list[dict[str, Any]]],
    settings: dict[str, Settings],
    lengths: list[int],
) -> None:
    """Print the table, and write the figures."""
    expected = rounds[REFERENCE][0]["tokens"]
    rows, figures = [], []
    for name, own in rounds.items():
        same = sum(a == b for a, b in zip(own[0]["tokens"], expected, strict=True))
        versions = own[0]["versions"]
        kept = [{key: one[key] for key in ("seconds", "processor_seconds", "peak_mebibytes")} for one in own]
        rows.append(
            [
                name,
                median([len(lengths) / one["seconds"] for one in own]),
                median([one["processor_seconds"] / len(lengths) for one in own]),
                f"{same} of {len(lengths)}",
                median([one["peak_mebibytes"] for one in own]),
                ", ".join(f"{key} {value}" for key, value in settings[name].items()),
                ", ".join(f"{key} {value}" for key, value in versions.items()),
            ]
        )
        figures.append({"engine": name, "same": same, "settings": settings[name], "versions": versions, "rounds": kept})
    known = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    flags = [flag for flag in FLAGS if flag in known]
    columns = ["engine", "documents/s", "processor s each", "same", "peak MiB", "settings", "versions"]
    named = {"device": options.device, "cpu": flags, "prompt_tokens": lengths, "new_tokens": NEW_TOKENS}
    title = f"Engines on {options.device}, {cores()} cores ({' '.join(flags)}), {NEW_TOKENS} new tokens"
    show(title, columns, rows, {**named, "engines": figures}, options.json or options.work.parent / "engines.json")


if __name__ == "__main__":
    main()

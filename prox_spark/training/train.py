"""The training run of a scoring refiner: logs every step, checkpoints, resumes, ends in time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from prox_spark.errors import ConfigError
from prox_spark.text.prompts import CompactFormat
from prox_spark.text.tokenize import TextTokenizer
from prox_spark.training import data
from prox_spark.training.attention import use_causal_blocks
from prox_spark.training.batches import Batch, batched, half_precision, logits
from prox_spark.training.calibrate import calibrate, measure, preflight_bounds
from prox_spark.training.document_head import fit_document_head
from prox_spark.training.model import FEATURES, LineScorer, start, trained_before
from prox_spark.training.page import Page
from prox_spark.training.recipe import Recipe
from prox_spark.training.validate import score_clean, score_gold, score_pages, validate

CHECKPOINT = "checkpoint.pt"
# Where the branches part, and the weights that each has come to.
FORK, BRANCH = "fork.pt", "branch-{}.pt"


@dataclass
class Progress:
    """Where a run stands; kept in its checkpoint.

    tokens, seconds: of the path from the start to where the current branch is. branch: from 0. seen, spent: tokens and
    seconds of all branches. No branch is shown documents that another one was: the stream goes on.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    branch: int = 0
    seen: int = 0
    spent: float = 0.0


def train(
    recipe_path: Path | str,
    out: Path | None = None,
    data_path: Path | None = None,
    base: str | None = None,
    resume: bool = True,
) -> Path:
    """Train as the recipe says and return the HF directory with backbone, tokenizer and heads.

    out, data_path, base: instead of the recipe's own. Messages of the run go to the screen and to ``OUT/log.jsonl``.
    A run that was stopped goes on from its last checkpoint unless ``resume`` is false. Raises ConfigError for a recipe
    that cannot be read, where there are no data, and where a checkpoint to go on from has another base.
    """
    recipe = Recipe.load(Path(recipe_path))
    if data_path is not None:
        recipe = recipe.model_copy(update={"data": data_path})
    if base is not None:
        recipe = recipe.model_copy(update={"base": base})
    if not recipe.data.is_file():
        raise ConfigError(f"no labelled pages at {recipe.data}; say where they are with --data")
    directory = out or recipe.out
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    model, prompt, tokenizer_json = _prepare(recipe, directory)
    if torch.cuda.is_available():
        model.to("cuda")
    else:
        use_causal_blocks(model.backbone)
    pages = data.read_pages(recipe.data, recipe.languages)
    training, development = data.split_by_domain(pages)
    if not training or not development:
        raise ConfigError(
            f"{recipe.data}: {len(pages)} pages in {', '.join(recipe.languages)}; by their domains {len(training)} are "
            f"to train on and {len(development)}, a tenth, to choose thresholds with. Both are needed, of some dozen "
            "domains; see languages of the recipe"
        )
    optimizer = _optimizer(model, recipe)
    progress = _resume(directory, model, optimizer, recipe) if resume else Progress()
    log = Log(directory / "log.jsonl", fresh=progress.step == 0)
    log.write(pages=len(training), development=len(development), **vars(progress))
    foreign = data.foreign_lines(recipe.data, recipe.languages)
    batches = _batches(training, foreign, prompt, recipe, progress.seen)
    while progress.branch < recipe.branches:
        before = _done(recipe, progress)
        if before >= 1:
            _end_branch(directory, model, optimizer, progress, recipe)
            continue
        _step(model, optimizer, next(batches), recipe, progress, log)
        if before < 1 - recipe.decay <= _done(recipe, progress):
            _checkpoint(directory / FORK, model, optimizer, progress, recipe)
        if progress.step % recipe.checkpoint_every == 0:
            _checkpoint(directory / CHECKPOINT, model, optimizer, progress, recipe)
        if progress.step % recipe.evaluate_every == 0:
            log.write(step=progress.step, **validate(model, prompt, development, recipe.development_pages))
    model.load_state_dict(_mean_of_branches(directory, recipe))
    documents = fit_document_head(model, _told(batches, log), recipe.verdict_tokens)
    log.write(step=progress.step, verdict_fitted_on=documents)
    # In full precision, which a bundle's 8 bits are nearer to than bfloat16 is: harm is counted in single pages here.
    scored = score_pages(model, prompt, development, fast=False)
    gold = score_gold(model, prompt, development, data.noise_lines(training), fast=False)
    thresholds = calibrate(scored, gold, score_clean(model, prompt, development, fast=False))
    balanced = thresholds["balanced"]["line"]
    measured = {kind: s.rounded() for kind, s in measure(scored, balanced).items()}
    log.write(step=progress.step, thresholds=thresholds, development_scores=measured)
    calibrated = {"thresholds": thresholds, "preflight": preflight_bounds(scored, balanced)}
    return _finish(directory / "hf", model, tokenizer_json, recipe, calibrated, _card(recipe, progress, measured))


class Log:
    """One JSON object a line, on the screen and in a file."""

    def __init__(self, path: Path, fresh: bool) -> None:
        self._path = path
        if fresh:
            path.unlink(missing_ok=True)

    def write(self, **values: Any) -> None:
        """Add a line; floats are rounded to five digits."""
        line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _prepare(recipe: Recipe, directory: Path) -> tuple[LineScorer, CompactFormat, str]:
    model, tokenizer_json = start(recipe.base, recipe.layers, recipe.vocabulary)
    # Half of a small model is its embeddings; they and the first layers are good already, and without them a step is
    # a quarter cheaper.
    for part in (model.backbone.embed_tokens, *model.backbone.layers[: recipe.frozen_layers]):
        part.requires_grad_(False)
    path = directory / "tokenizer.json"
    path.write_text(tokenizer_json, encoding="utf-8")
    tokenizer = TextTokenizer.from_file(path)
    prompt = CompactFormat(
        tokenizer,
        tokenizer.token_id(recipe.bos_token),
        window_tokens=recipe.window_tokens,
        max_line_tokens=recipe.max_line_tokens,
        head_tokens=recipe.head_tokens,
    )
    return model, prompt, tokenizer_json


def _optimizer(model: LineScorer, recipe: Recipe) -> torch.optim.AdamW:
    trained = [p for p in model.backbone.parameters() if p.requires_grad]
    heads = [*model.read.parameters(), *model.network.parameters()]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "lr": recipe.learning_rate},
        {"params": [p for p in trained if p.ndim == 1], "lr": recipe.learning_rate, "weight_decay": 0.0},
        {"params": heads, "lr": recipe.head_learning_rate},
    ]
    for group in groups:
        group["peak"] = group["lr"]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)


def _batches(
    pages: list[Page], foreign: list[str], prompt: CompactFormat, recipe: Recipe, skip: int
) -> Iterator[Batch]:
    """Batches without end; those that a resumed run has seen are passed over.

    Raises ConfigError if all pages together do not fill one.
    """
    seen = 0
    for number in count():
        epoch = data.epoch(pages, prompt, recipe, number, foreign)
        for batch in batched(epoch, recipe.tokens_a_step, recipe.tokens_a_batch):
            seen += batch.tokens
            if seen > skip:
                yield batch
        # The first epoch may have been passed over, by `first_page`.
        if seen == 0 and number:
            raise ConfigError(
                f"{recipe.data}: {len(pages)} pages to train on in {', '.join(recipe.languages)}, which is less than a "
                f"step of {recipe.tokens_a_step} tokens; see languages and tokens_a_step of the recipe"
            )


def _told(batches: Iterator[Batch], log: Log) -> Iterator[Batch]:
    """Batches, with a line in the log for each that is done with: there are hundreds of them."""
    tokens = 0
    for batch in batches:
        yield batch
        tokens += batch.tokens
        log.write(verdict_tokens=tokens)


def _done(recipe: Recipe, progress: Progress) -> float:
    """Share of the path to a branch's end; whichever of tokens and minutes is nearer to its end decides."""
    return max(progress.tokens / recipe.tokens, progress.seconds / (60 * recipe.minutes))


def _rate(recipe: Recipe, progress: Progress) -> float:
    """Share of the peak rate."""
    done = _done(recipe, progress)
    return min(1.0, (done + 1e-3) / recipe.warmup, max(0.0, (1 - done) / recipe.decay))


def _step(
    model: LineScorer, optimizer: torch.optim.AdamW, batch: Batch, recipe: Recipe, progress: Progress, log: Log
) -> None:
    started = time.monotonic()
    rate = _rate(recipe, progress)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate
    model.train()
    optimizer.zero_grad(set_to_none=True)
    line_loss, document_loss = losses(model, batch)
    (line_loss + recipe.document_loss * document_loss).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
    optimizer.step()
    progress.step += 1
    progress.tokens += batch.tokens
    progress.seen += batch.tokens
    progress.seconds += time.monotonic() - started
    progress.spent += time.monotonic() - started
    log.write(
        step=progress.step,
        branch=progress.branch,
        tokens=progress.seen,
        minutes=progress.spent / 60,
        line_loss=line_loss.item(),
        document_loss=document_loss.item(),
        norm=norm,
        rate=rate,
        tokens_a_second=batch.tokens / (time.monotonic() - started),
    )


def losses(model: LineScorer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Loss of the line verdicts, each document's weighted by the root of its lines' weights, and of the documents'.

    In bfloat16 where it is safe and the device has it. Lines without weight and documents without a verdict count
    nothing.
    """
    device = model.device
    with half_precision(device):
        found = logits(model, batch)
    lines, documents, shares, known = torch.zeros((), device=device), torch.zeros((), device=device), 0.0, 0
    for (line_logits, document_logit), example in zip(found, batch.examples, strict=True):
        weights = torch.tensor(example.weights, device=device)
        total = sum(example.weights)
        if total > 0:
            target = torch.tensor(example.remove, dtype=torch.float32, device=device)
            summed = binary_cross_entropy_with_logits(line_logits.float(), target, weights, reduction="sum")
            lines = lines + summed / total**0.5
            shares += total**0.5
        if example.nothing is not None:
            target = torch.tensor([float(example.nothing)], device=device)
            documents = documents + binary_cross_entropy_with_logits(document_logit.float(), target)
            known += 1
    return lines / max(shares, 1.0), documents / max(known, 1)


def _end_branch(
    directory: Path, model: LineScorer, optimizer: torch.optim.AdamW, progress: Progress, recipe: Recipe
) -> None:
    """Keep the weights that a branch has come to, and go back to where it left the others."""
    torch.save(model.state_dict(), directory / BRANCH.format(progress.branch))
    progress.branch += 1
    if progress.branch < recipe.branches:
        fork = _load(directory / FORK, model, optimizer)
        progress.tokens, progress.seconds = fork.tokens, fork.seconds
    _checkpoint(directory / CHECKPOINT, model, optimizer, progress, recipe)


def _mean_of_branches(directory: Path, recipe: Recipe) -> dict[str, Tensor]:
    """Weights between those of all branches: nearer to what they have in common than to what each makes of its end."""
    states = [torch.load(directory / BRANCH.format(n), weights_only=True) for n in range(recipe.branches)]
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def _checkpoint(
    path: Path, model: LineScorer, optimizer: torch.optim.AdamW, progress: Progress, recipe: Recipe
) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(progress)}
    # Dropout goes on with the numbers that an undisturbed run would have drawn.
    state |= {"model_of": _model_of(recipe), "random": torch.get_rng_state()}
    state["random_cuda"] = torch.cuda.get_rng_state_all()
    half_written = path.with_suffix(".tmp")
    torch.save(state, half_written)
    half_written.replace(path)


def _model_of(recipe: Recipe) -> list[object]:
    return [recipe.base, recipe.layers, recipe.frozen_layers, recipe.vocabulary, FEATURES]


def _resume(directory: Path, model: LineScorer, optimizer: torch.optim.AdamW, recipe: Recipe) -> Progress:
    path = directory / CHECKPOINT
    if not path.exists():
        return Progress()
    of = torch.load(path, weights_only=True, map_location="cpu", mmap=True)["model_of"]
    if of != _model_of(recipe):
        raise ConfigError(f"{path} is of another model, {of[0]}; --fresh begins anew")
    return _load(path, model, optimizer)


def _load(path: Path, model: LineScorer, optimizer: torch.optim.AdamW) -> Progress:
    """Take up what `_checkpoint` wrote."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    torch.set_rng_state(state["random"])
    torch.cuda.set_rng_state_all(state["random_cuda"])
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def _card(recipe: Recipe, progress: Progress, measured: dict[str, dict[str, float]]) -> dict[str, Any]:
    # Of a base that was trained so itself, too.
    before = trained_before(recipe.base)
    return {
        **recipe.card,
        "training": {
            "base": before.get("base", recipe.base),
            "layers": recipe.layers,
            "vocabulary": recipe.vocabulary,
            "tokens": progress.seen + before.get("tokens", 0),
            "branches": recipe.branches,
            "minutes": round(progress.spent / 60) + before.get("minutes", 0),
            "verdict_tokens": recipe.verdict_tokens,
        },
        "metrics": {"development": measured},
    }


def _finish(
    directory: Path,
    model: LineScorer,
    tokenizer_json: str,
    recipe: Recipe,
    calibrated: dict[str, Any],
    card: dict[str, Any],
) -> Path:
    directory.mkdir(exist_ok=True)
    settings = {
        "kind": "score",
        "format": "compact",
        "bos_token": recipe.bos_token,
        "window_tokens": recipe.window_tokens,
        "max_line_tokens": recipe.max_line_tokens,
        "head_tokens": recipe.head_tokens,
        "languages": list(recipe.languages),
        **calibrated,
        "card": card,
    }
    model.save(directory, settings)
    (directory / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    return directory

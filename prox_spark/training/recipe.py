"""What a training run does, in one YAML file: ``models/<name>/recipe.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prox_spark.errors import ConfigError


class Recipe(BaseModel):
    """Settings of one training run. Unknown keys are errors; paths are taken from where the command is started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    base: str = Field(
        description="HF directory (a finished run's too), DIRECTORY/FILE.gguf, or package:NAME that carries one"
    )
    data: Path = Field(description="records with line labels, jsonl.gz")
    out: Path = Field(description="checkpoints, log and the finished HF directory")
    layers: int = Field(10, ge=1, description="layers kept, from the first")
    frozen_layers: int = Field(2, ge=0, description="of the layers kept, the first that are left as they are")
    vocabulary: int = Field(32768, ge=512, description="tokens kept, from the first")
    bos_token: str = "<|im_start|>"
    window_tokens: int = 512
    max_line_tokens: int = 24
    head_tokens: int = 16
    languages: tuple[str, ...] = ("en",)
    seed: int = 1
    first_page: int = Field(0, ge=0, description="pages of the first epoch passed over: those that the base has seen")
    tokens: int = Field(3_000_000, description="tokens from the start to the end of each branch")
    branches: int = Field(2, ge=1, description="ends of the run, over other documents each; their weights are averaged")
    tokens_a_step: int = 6144
    tokens_a_batch: int = Field(4096, description="tokens of one forward pass, padding included")
    learning_rate: float = 2e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = Field(0.03, gt=0, description="share of the run; constant afterwards")
    decay: float = Field(0.5, gt=0, lt=1, description="share of the run at the end in which the rate falls to zero")
    negative_rate: float = Field(0.6, description="made documents worth dropping, for every page")
    clean_rate: float = Field(0.25, description="made documents of which all is content, for every page")
    thread_rate: float = Field(0.15, description="pages of readers' comments alone, for every page that has some")
    clean_share: float = Field(0.25, description="a text with at most this share to remove counts as clean")
    clean_weight: float = Field(2.0, description="how much more a line to keep counts in a clean text")
    document_loss: float = Field(0.3, description="weight of the document verdict's loss")
    verdict_tokens: int = Field(2_500_000, description="further tokens, on which the document verdict is fitted last")
    max_chunks: int = Field(6, description="chunks in a row taken from one page an epoch")
    development_pages: int = Field(20, description="pages of each rendering scored while training")
    evaluate_every: int = Field(100, description="steps")
    checkpoint_every: int = Field(25, description="steps")
    minutes: float = Field(100.0, description="end a branch early when its path has used this up")
    card: dict[str, Any] = Field({}, description="licence, training data and the like, for the bundle's card")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe; ConfigError names the key that is unknown or wrong."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise ConfigError(f"no recipe at {path}") from error
        except (ValidationError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: {error}") from error

"""The training run itself, on a model of two tiny layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.labelled_pages import record, write_records

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of three layers with random weights and a byte-level tokenizer trained on the pages."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("base")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([record(n)["raw_text"] for n in range(4)], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def recipe(tmp_path: Path, base: Path, name: str, **changes: object) -> Path:
    data = write_records(tmp_path / "r.jsonl.gz", [record(n, kind) for n in range(60) for kind in ("wet", "extracted")])
    settings = {
        "name": name,
        "base": str(base),
        "data": str(data),
        "out": str(tmp_path / name),
        "layers": 2,
        "frozen_layers": 0,
        "vocabulary": 512,
        "bos_token": "<s>",
        "tokens": 40_000,
        "tokens_a_step": 2000,
        "tokens_a_batch": 1000,
        "learning_rate": 0.002,
        "checkpoint_every": 2,
        "evaluate_every": 1000,
        **changes,
    }
    path = tmp_path / f"{name}.yaml"
    path.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in settings.items()))
    return path


def test_a_run_learns_and_leaves_a_model_with_calibrated_thresholds(tmp_path: Path, base: Path) -> None:
    from prox_spark.training.model import LineScorer
    from prox_spark.training.train import train

    directory = train(recipe(tmp_path, base, "whole"))
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    losses = [row["line_loss"] for row in log if "line_loss" in row]
    assert losses[-1] < losses[0] / 2
    assert log[-1]["development_scores"]["wet"]["f1"] > 0.9
    settings = json.loads((directory / "prox_head.json").read_text())
    assert set(settings["thresholds"]) == {"cautious", "balanced", "aggressive"}
    assert 0 < settings["preflight"]["min_operations_rate"] <= 0.5
    assert settings["card"]["metrics"]["development"]["wet"]["documents"] > 0
    assert LineScorer.load(directory).backbone.config.num_hidden_layers == 2


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, base: Path) -> None:
    import torch

    from prox_spark.training.model import LineScorer
    from prox_spark.training.train import train

    whole = train(recipe(tmp_path, base, "undisturbed", tokens=12_000))
    # One step exceeds the time allowed, so the run ends after it with a checkpoint.
    train(recipe(tmp_path, base, "stopped", tokens=12_000, minutes=1e-6))
    resumed = train(recipe(tmp_path, base, "stopped", tokens=12_000, minutes=100.0))
    steps = [json.loads(line).get("step") for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()]
    assert 1 in steps
    assert steps.count(2) == 1
    one, other = LineScorer.load(whole).state_dict(), LineScorer.load(resumed).state_dict()
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_a_checkpoint_of_another_base_is_not_gone_on_from(tmp_path: Path, base: Path) -> None:
    import shutil

    from prox_spark.errors import ConfigError
    from prox_spark.training.train import train

    settings = recipe(tmp_path, base, "first", tokens=4_000, minutes=1e-6)
    train(settings)
    other = shutil.copytree(base, tmp_path / "other")
    with pytest.raises(ConfigError, match="is of another model"):
        train(settings, base=str(other))


def test_less_than_a_step_to_train_on_is_an_error(tmp_path: Path, base: Path) -> None:
    from prox_spark.errors import ConfigError
    from prox_spark.training.train import train

    with pytest.raises(ConfigError, match="0 pages to train on in fi"):
        train(recipe(tmp_path, base, "finnish", languages=["fi"]))


def test_a_base_of_another_type_is_an_error(tmp_path: Path, base: Path) -> None:
    import shutil

    from transformers import Qwen2Config, Qwen2ForCausalLM

    from prox_spark.errors import ConfigError
    from prox_spark.training.train import train

    other = shutil.copytree(base, tmp_path / "other")
    config = Qwen2Config(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    Qwen2ForCausalLM(config).save_pretrained(other)
    with pytest.raises(ConfigError, match="of type qwen2"):
        train(recipe(tmp_path, other, "qwen"))

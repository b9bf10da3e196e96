"""The training run itself, on a model of two tiny layers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.labelled_pages import record, write_records

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def few_clean_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds are chosen with hundreds of made documents; here a few are enough, as every run scores them."""
    from prox_spark.training import validate

    monkeypatch.setattr(validate, "_CLEAN", 20)


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
        "branches": 1,
        "tokens_a_step": 2000,
        "tokens_a_batch": 1000,
        "verdict_tokens": 4_000,
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

    directory = train(recipe(tmp_path, base, "whole", tokens=80_000))
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    losses = [row["line_loss"] for row in log if "line_loss" in row]
    # A step is a few documents, made ones among them: one alone says little.
    assert sum(losses[-6:]) / 6 < losses[0] / 2
    assert log[-1]["development_scores"]["wet"]["f1"] > 0.9
    settings = json.loads((directory / "prox_head.json").read_text())
    assert set(settings["thresholds"]) == {"cautious", "balanced", "aggressive"}
    assert 0 < settings["preflight"]["min_operations_rate"] <= 0.5
    assert settings["card"]["metrics"]["development"]["wet"]["documents"] > 0
    assert LineScorer.load(directory).backbone.config.num_hidden_layers == 2


def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from prox_spark.training import train as module
    from prox_spark.training.model import LineScorer

    whole = module.train(recipe(tmp_path, base, "undisturbed", tokens=20_000, branches=2))
    step, stopped = module._step, recipe(tmp_path, base, "stopped", tokens=20_000, branches=2)
    branches = set()
    # Once before the branches part, once in each of them.
    for last in (2, 7, 12):

        def stopping(*given: Any, last: int = last) -> None:
            if given[4].step == last:
                raise KeyboardInterrupt
            branches.add(given[4].branch)
            step(*given)

        monkeypatch.setattr(module, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            module.train(stopped)
    monkeypatch.undo()
    resumed = module.train(stopped)
    assert branches == {0, 1}
    one, other = LineScorer.load(whole).state_dict(), LineScorer.load(resumed).state_dict()
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_what_is_exported_lies_between_the_ends_of_the_branches(tmp_path: Path, base: Path) -> None:
    import torch

    from prox_spark.training.model import LineScorer
    from prox_spark.training.train import train

    mean = LineScorer.load(train(recipe(tmp_path, base, "branches", tokens=8_000, branches=2))).state_dict()
    first, second = (torch.load(tmp_path / f"branches/branch-{n}.pt", weights_only=True) for n in range(2))
    trained = [name for name in mean if not torch.equal(first[name], second[name]) and "document" not in name]
    assert len(trained) > 10
    assert all(torch.allclose(mean[name], (first[name] + second[name]) / 2, atol=1e-6) for name in trained)
    log = [json.loads(line) for line in (tmp_path / "branches" / "log.jsonl").read_text().splitlines()]
    shown = {n: [row["line_loss"] for row in log if row.get("branch") == n and "line_loss" in row] for n in range(2)}
    assert 0 < len(shown[1]) < len(shown[0]), "the second begins where the rate begins to fall"


def test_a_finished_run_goes_on_with_pages_that_it_has_not_seen(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from prox_spark.training import data
    from prox_spark.training import train as module
    from prox_spark.training.model import LineScorer

    first = module.train(recipe(tmp_path, base, "first", tokens=8_000))
    shown, example = [], data.example

    def showing(page: Any, *given: Any, **named: Any) -> Any:
        shown.append(page.id)
        return example(page, *given, **named)

    monkeypatch.setattr(data, "example", showing)
    settings = {"learning_rate": 0.0, "head_learning_rate": 0.0, "verdict_tokens": 1}
    again = module.train(recipe(tmp_path, first, "again", tokens=2_000, first_page=30, **settings))
    one, other = LineScorer.load(first).state_dict(), LineScorer.load(again).state_dict()
    # Nothing was learned, so what came along is what was there, heads included.
    assert all(torch.equal(one[name], other[name]) for name in one if "document" not in name)
    told = [json.loads((one / "prox_head.json").read_text())["card"]["training"] for one in (first, again)]
    assert told[1]["tokens"] > told[0]["tokens"] >= 8_000 and told[1]["base"] == str(base)
    order = list(data.split_by_domain(data.read_pages(tmp_path / "r.jsonl.gz"))[0])
    random.Random("1/0").shuffle(order)
    assert [name for name in shown if name][:5] == [page.id for page in order[30:35]]


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

    with pytest.raises(ConfigError, match="0 pages in fi"):
        train(recipe(tmp_path, base, "finnish", languages=["fi"]))
    with pytest.raises(ConfigError, match="less than a step of 10000000 tokens"):
        train(recipe(tmp_path, base, "large", tokens_a_step=10_000_000))


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

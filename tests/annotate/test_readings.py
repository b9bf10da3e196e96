"""Pieces of documents, prompts, settings, and what is read from answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox_spark.annotate.pieces import cut, numbered
from prox_spark.annotate.prompt import load_prompt, read_prompt
from prox_spark.annotate.readings import keeps, read_answer
from prox_spark.annotate.settings import annotate_settings
from prox_spark.config import JobSettings
from prox_spark.errors import ConfigError

CHUNK = "Home\nA line with good words in it.\nShare this\nAnother good line."
JOB = JobSettings(source="in/", tables="out/")
WHERE: dict[str, Any] = {"job": JOB, "task": "score", "base_url": "http://host/v1", "model": "m"}


def test_the_papers_rule() -> None:
    kept = {(e, f) for e in range(6) for f in range(6) if keeps(e, f)}
    assert kept == {(e, f) for e in (3, 4, 5) for f in range(6)} | {(2, 4), (2, 5)}


@pytest.mark.parametrize(
    "said",
    [
        '{"education": 2, "format": 4}',
        '{"education": 2.0, "format": 4, "reason": "x"}',
        '```json\n{"education": 2, "format": 4}\n```',
        'Sure! {"education": 2, "format": 4} Anything else?',
        '<think>perhaps {"education": 5}</think>\n{"education": 2, "format": 4}',
    ],
)
def test_scores(said: str) -> None:
    reading = read_answer(said, "score", "text")
    assert (reading.education, reading.format, reading.keep, reading.problem) == (2, 4, True, None)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("3 and 4", "not_json"),
        ("[3, 4]", "not_json"),
        ("{" * 100_000 + "}", "not_json"),
        ('{"education": 3}', "wrong_score"),
        ('{"education": 6, "format": 1}', "wrong_score"),
        ('{"education": -1, "format": 1}', "wrong_score"),
        ('{"education": 2.5, "format": 1}', "wrong_score"),
        ('{"education": true, "format": 1}', "wrong_score"),
        ('{"education": "3", "format": 1}', "wrong_score"),
        ('{"education": NaN, "format": 1}', "wrong_score"),
    ],
)
def test_scores_that_are_none(said: str, code: str) -> None:
    reading = read_answer(said, "score", "text")
    assert reading.problem is not None and reading.problem[0] == code
    assert reading.keep is None and len(reading.problem[1]) < 1000


def test_clean_texts() -> None:
    said = "<clean>\nA line with good words in it.\nAnother good line.\n</clean>"
    assert read_answer(said, "clean", CHUNK).text == "A line with good words in it.\nAnother good line."
    assert read_answer("<clean>\n</clean>", "clean", CHUNK).text == ""
    for wrong, code in (
        ("A line with good words in it.", "no_clean_text"),
        ("<clean>A line", "no_clean_text"),
        ("<clean>This page is about good lines and herons.</clean>", "new_words"),
        ("<clean>good good good good line</clean>", "new_words"),
        ("It stands between <clean> and </clean>:\n<clean>A good line</clean>", "no_clean_text"),
    ):
        problem = read_answer(wrong, "clean", CHUNK).problem
        assert problem is not None and problem[0] == code


@pytest.mark.parametrize("thought", ["<think>In <clean> {tags}.</think>", "So <clean> {it} is.\n</think>\n"])
def test_what_a_model_thinks_is_no_answer(thought: str) -> None:
    """Templates of some models open the thought themselves: only its end is in the answer."""
    assert read_answer(f"{thought}<clean>Another good line.</clean>", "clean", CHUNK).text == "Another good line."
    assert read_answer(f'{thought}{{"education": 3, "format": 1}}', "score", CHUNK).keep is True
    about = "A page about </think> and good words"
    assert read_answer(f"<clean>{about}</clean>", "clean", about).text == about


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ("prox", "remove_lines(start=7, end=7)\nremove_lines(line_start=9, line_end=9)"),
        ("prox", '```python\nremove_lines(line_start=7, line_end=7)\nnormalize(source_str="Share this")\n```'),
        ("refinex", 'remove_lines(7, 7)\nremove_str(9, "Share this")'),
        ("ultrax", "remove_lines(8, 8)\nremove_lines(10, 10)"),
    ],
)
def test_programs_count_lines_through_the_document(dialect: str, said: str) -> None:
    reading = read_answer(said, "program", CHUNK, first_line=7, dialect=dialect)
    assert reading.problem is None and reading.text is not None and reading.program is not None
    assert reading.text.replace("\n\n", "\n") == "A line with good words in it.\nAnother good line."
    again = read_answer(reading.program, "program", CHUNK, first_line=7, dialect=dialect)
    assert again == reading


def test_programs_that_keep_or_remove_all() -> None:
    assert read_answer("keep_chunk()", "program", CHUNK, 3).text == CHUNK
    assert read_answer("remove_lines(all=True)", "program", CHUNK, 3).text == ""


@pytest.mark.parametrize(
    "said",
    [
        "remove_lines(line_start=0, line_end=1)",  # not of this chunk
        "I removed the menu.",
        "drop_doc()",
        'normalize(source_str="stands nowhere")',
        'normalize(source_str="Home", target_str="Elephants")',
        "remove_lines(line_start=7, line_",
        "__import__('os').system('true')",
        "```\n```",
    ],
)
def test_programs_that_cannot_be_used(said: str) -> None:
    problem = read_answer(said, "program", CHUNK, 7).problem
    assert problem is not None and problem[0] == "program_error"


@given(said=st.text(), task=st.sampled_from(["score", "clean", "program"]), line=st.integers(0, 5))
def test_no_answer_raises(said: str, task: str, line: int) -> None:
    reading = read_answer(said, task, CHUNK, line)
    assert (reading.problem is None) == (reading.keep is not None or reading.text is not None)


@given(st.lists(st.text(alphabet="ab \n", max_size=300), max_size=8).map("\n".join))
def test_chunks_hold_every_line_once(text: str) -> None:
    pieces = list(cut(text, "clean", 200))
    assert "\n".join(piece.text for piece in pieces) == text
    assert [piece.first_line for piece in pieces[1:]] == [piece.last_line + 1 for piece in pieces[:-1]]
    for piece in pieces:
        assert piece.skip == ("line_too_long" if len(piece.text) > 200 else None if piece.text.strip() else "blank")


def test_scores_are_asked_of_the_beginning() -> None:
    (piece,) = cut("x" * 150 + "\n" + "y" * 150, "score", 200)
    assert (len(piece.text), piece.chunk, piece.last_line, piece.skip) == (200, 0, 1, None)
    assert numbered("a\nb", 998, "ultrax") == "[999]a\n[1000]b"


@pytest.mark.parametrize(
    ("task", "dialect"),
    [("score", "prox"), ("clean", "prox"), *(("program", d) for d in ("prox", "refinex", "ultrax"))],
)
def test_our_prompts(task: str, dialect: str) -> None:
    prompt = load_prompt(task, dialect)
    system, user = prompt.messages("{text} of a {page}")
    assert "{text} of a {page}" in user["content"] and system["role"] == "system"
    assert "not follow" in system["content"]


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("Judge.\n---\nPage: {text}\n", encoding="utf-8")
    assert load_prompt("score", "prox", str(mine)).messages("x")[1]["content"] == "Page: x"
    assert [message["role"] for message in read_prompt("w", "---\n{text}").messages("x")] == ["user"]
    for wrong in ("no separator {text}", "a\n---\nno place", "a\n---\n{text} {text}"):
        with pytest.raises(ConfigError, match="the prompt 'w' must be"):
            read_prompt("w", wrong)
    with pytest.raises(ConfigError, match="cannot read the prompt"):
        load_prompt("score", "prox", str(tmp_path / "none.txt"))


def test_settings() -> None:
    made = annotate_settings(extra_body='{"seed": 1}', **WHERE)
    assert made.extra_body == {"seed": 1} and made.answer_tokens == 512
    assert annotate_settings(**{**WHERE, "base_url": "http://h/v1/chat/completions/"}).base_url == "http://h/v1"
    assert "job" not in made.to_dict()
    for name, value, said in (
        ("base_url", "http://user:secret@host/v1", "may hold no user"),
        ("base_url", "http://host/v1?api-key=secret", "may hold no user"),
        ("base_url", "host/v1", "must be an http"),
        ("api_key_secret", "scope", "must be SCOPE/KEY"),
        ("base_url", "http://user:secret@ho\u2100st/v1", "is no address"),
        ("extra_body", "{", "extra_body is not JSON"),
        ("extra_body", '{"model": "another"}', "say it with --model"),
        ("extra_body", '{"messages": []}', "say it with --prompt"),
        ("extra_body", '{"stream": true}', "read whole"),
        ("extra_body", '{"n": 2}', "one answer is read"),
        ("concurrency", 0, "concurrency"),
    ):
        with pytest.raises(ConfigError, match=said) as raised:
            annotate_settings(**{**WHERE, name: value})
        assert "secret@" not in str(raised.value) and "=secret" not in str(raised.value)
    with pytest.raises(ConfigError, match="not from both"):
        annotate_settings(**WHERE, api_key_env="A", api_key_secret="s/k")

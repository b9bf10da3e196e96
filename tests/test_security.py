"""SECURITY.md keeps to what is there: every promise names tests, and those exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROMISES = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| what ")
]


def test_there_are_promises() -> None:
    assert len(PROMISES) >= 10
    assert all(len(promise) == 3 for promise in PROMISES)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[0])
def test_a_promise_names_what_holds_it(promise: list[str]) -> None:
    named = re.findall(r"`([^`]+)`", promise[2])
    assert named
    for name in named:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in there, name

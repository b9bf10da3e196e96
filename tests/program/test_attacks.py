"""Programs are data: whatever they spell, nothing of it is evaluated, imported, opened, or takes long.

The interpreter itself is asked: an audit hook sees every `exec`, import, file, process and socket while a program is
read and executed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from prox_spark.program.dialects import DIALECTS
from prox_spark.program.execute import execute
from prox_spark.program.parser import parse_program

TEXT = "\n".join(f"Line {n} has quite enough words in it to be kept for good" for n in range(20))
# Reading a program into a syntax tree is a `compile`, of which nothing is run; that would be an `exec`.
FORBIDDEN = ("exec", "import", "open", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "marshal.", "shutil.")
_seen: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event.startswith(FORBIDDEN):
        _seen.append(f"{event} {arguments!r}"[:200])


sys.addaudithook(_hook)


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Fail if the interpreter does anything but compute meanwhile."""
    global _seen
    _seen = seen = []
    try:
        yield
    finally:
        _seen = None
    assert seen == []


CALL = "__import__('os').system('touch {canary}')"
ATTACKS = {
    "a call of the system": CALL,
    "as an argument": f"remove_lines(line_start={CALL}, line_end=2)",
    "as a default of a lambda": f"normalize(source_str=(lambda x={CALL}: x)())",
    "as a keyword's name": f"remove_lines(**{{'line_start': {CALL}, 'line_end': 2}})",
    "in an f-string": f'normalize(source_str=f"{{{CALL}}}")',
    "in an f-string's format": f'normalize(source_str=f"{{1:{{{CALL}}}}}")',
    "in a comprehension": f"normalize(source_str=[{CALL} for _ in range(9)][0])",
    "in a walrus": f"remove_lines(a := {CALL}, 2)",
    "a decorator": f"@{CALL}\ndef f(): pass",
    "an assignment": f"remove_lines = {CALL}",
    "after a semicolon": f"keep_chunk(); {CALL}",
    "an import": "import os\nos.system('touch {canary}')",
    "await and yield": "await keep_chunk()\nyield keep_chunk()",
    "a dunder chain": "().__class__.__base__.__subclasses__()[133].__init__.__globals__['system']('id')",
    "a dunder chain as a name": "remove_lines.__globals__['__builtins__']['eval']('1')",
    "a dunder chain as an argument": "normalize(source_str=''.__class__.__mro__[1].__subclasses__())",
    "an attribute of an operation": "keep_chunk.__call__()",
    "a subscript of an operation": "keep_chunk[0]()",
    "a long dunder chain": "x" + ".__class__" * 6_000 + "()",
    "builtins by name": "eval('1')\nexec('1')\ncompile('1', '', 'eval')\nopen('{canary}', 'w')\nbreakpoint()\nexit()",
    "a huge integer": f"remove_lines(line_start=0, line_end={'9' * 60_000})",
    "a huge power": "remove_lines(line_start=0, line_end=9**9**9**9)",
    "a huge shift": "remove_lines(line_start=0, line_end=1 << 10**10)",
    "a huge repetition": "normalize(source_str='a' * 10**10)",
    "a huge hexadecimal number": f"remove_lines(line_start=0x{'f' * 60_000}, line_end=1)",
    "a huge exponent": "remove_lines(line_start=1e400000000, line_end=1)",
    "a huge range": "remove_lines(line_start=-99999999999, line_end=99999999999999999)",
    "brackets in brackets": "remove_lines(" + "(" * 50_000 + "1" + ")" * 50_000,
    "calls in calls": "keep_chunk(" * 20_000 + ")" * 20_000,
    "lists in lists": "[" * 60_000,
    "minus minus": "remove_lines(" + "-" * 60_000 + "1, 2)",
    "not not": "remove_lines(" + "not " * 15_000 + "1, 2)",
    "lambdas in lambdas": "lambda: " * 8_000 + "1",
    "conditions in conditions": "keep_chunk(" + "1 if 1 else " * 5_000 + "1)",
    "a string of a megabyte": 'normalize(source_str="' + "a" * 1_000_000 + '")',
    "a string of a megabyte without an end": 'normalize(source_str="' + "a" * 1_000_000,
    "a megabyte of escapes": 'normalize(source_str="' + "\\" * 1_000_000 + '")',
    "a megabyte of quotes": "'\"" * 500_000,
    "a megabyte of one name": "a" * 1_000_000,
    "a megabyte of blank lines": "\n" * 1_000_000 + CALL,
    "a percent format": 'normalize(source_str="%999999999d" % 1)',
    "a format method": 'normalize(source_str="{0.__class__.__init__.__globals__}".format(keep_chunk))',
    "a wide format": 'normalize(source_str="{:>99999999999}".format(1))',
    "bytes": 'normalize(source_str=b"a", target_str=rb"b")',
    "strings put together": 'normalize(source_str="a" "b" \'c\')',
    "a name of other letters": "r\u0435move_lines(line_start=0, line_end=19)",  # a Cyrillic e
    "a name that folds to ours": "\uff52\uff45move_lines(line_start=0, line_end=19)",  # full-width r and e
    "a name in mathematical letters": "\U0001d4f4\U0001d4ee\U0001d4ee\U0001d4f9_chunk()",
    "a keyword of other letters": "remove_lines(line_st\u0430rt=0, line_end=19)",
    "digits of another script": "remove_lines(line_start=\u0660, line_end=\u0661\u0669)",
    "a name with a joiner": "remove\u200d_lines(line_start=0, line_end=19)",
    "text that runs backwards": "\u202e)91=dne_enil ,0=trats_enil(senil_evomer",
    "NUL": "remove_lines(line_start=0,\0 line_end=19)",
    "a form feed": "\f__import__('os')",
    "a lone surrogate": "normalize\ud800(source_str='a')",
    "an encoding": "# -*- coding: rot13 -*-\n__vzcbeg__('bf')",
    "a type comment": "keep_chunk() # type: ignore[__import__('os')]\n#!exec",
    "50,000 repeats": "normalize(source_str='not there')\n" * 50_000,
    "50,000 attacks": f"{CALL}\n" * 50_000,
    "5,000 different attacks": "\n".join(f"__import__('os{n}')" for n in range(5_000)),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_of_a_program_is_run(attack: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    attack = attack.replace("{canary}", str(canary))
    began = time.process_time()
    with nothing_happens():
        for dialect in DIALECTS:
            program = parse_program(attack, dialect)
            str(program)
            refined = execute(TEXT, attack, "strict", dialect=dialect)
            assert refined.text == TEXT, "no attack is an operation that would change this text"
            assert not refined.edits
        execute(TEXT, attack, "gair")
    assert time.process_time() - began < 20
    assert not canary.exists()


def test_the_hook_would_see_it(tmp_path: Path) -> None:
    for act in (
        lambda: eval("1"),
        lambda: open(tmp_path / "x", "w").close(),
        lambda: __import__("this_module_is_not_there"),
    ):
        seen = pytest.raises(AssertionError, match=r"exec|open|import")
        with seen, nothing_happens(), suppress(ModuleNotFoundError):
            act()


def test_what_a_program_says_is_told_but_not_meant() -> None:
    """An attack in a string is a string: it is looked for in the text, and found nowhere but there."""
    call = "__import__('os').system('id')"
    text = f"{TEXT}\nThis line quotes {call} and goes on"
    with nothing_happens():
        refined = execute(text, f'normalize(source_str="{call}")')
    assert refined.text == text.replace(call, "")
